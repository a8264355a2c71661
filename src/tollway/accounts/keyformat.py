"""What an API key looks like, and what is kept of it. Pure.

Not here: where keys are stored (keys), who may do what (http/routes).

A key is `tlw_` + 43 base62 digits of 32 random bytes + 6 base62 digits of the CRC-32 of all that
precedes them. The check digits tell a typing error, or a key of another service, from an unknown
key without asking a database, and let secret scanners be certain. They protect nothing.

Rules. The key itself is never stored and never logged. Kept are its HMAC-SHA-256 under the
server's pepper (a stolen database alone cannot be searched for keys), a public id, and a label.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Callable

PREFIX = "tlw_"
ENTROPY_BYTES = 32
SECRET_DIGITS = 43
"""ceil(256 / log2(62))"""
CHECK_DIGITS = 6
"""ceil(32 / log2(62))"""
KEY_LENGTH = len(PREFIX) + SECRET_DIGITS + CHECK_DIGITS

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def key_text(entropy: bytes) -> str:
    """The key made of 32 random bytes. Raises ValueError for another number of bytes."""
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a key needs {ENTROPY_BYTES} random bytes, got {len(entropy)}")
    body = PREFIX + _base62(int.from_bytes(entropy, "big"), SECRET_DIGITS)
    return body + _check_digits(body)


def looks_like_key(text: str) -> bool:
    """Whether a key could be this text: prefix, length and check digits. Says nothing of whether
    it is known."""
    if len(text) != KEY_LENGTH or not text.startswith(PREFIX) or not text.isascii():
        return False
    return text[-CHECK_DIGITS:] == _check_digits(text[:-CHECK_DIGITS])


def key_label(key: str) -> str:
    """What may be shown of a key for ever: `tlw_abc…wxyz`."""
    return f"{key[: len(PREFIX) + 3]}…{key[-4:]}"


def key_digest(pepper: bytes, key: str) -> bytes:
    """What is stored of a key and looked up: 32 bytes."""
    return hmac.digest(pepper, key.encode(), "sha256")


def digester(pepper: bytes) -> Callable[[str], bytes]:
    """`key_digest` for many keys under one pepper. It copies a prepared state, which costs half
    as much and, unlike the one-shot function, keeps the interpreter's lock: no other thread can
    take its turn in the middle of identifying a caller."""
    prepared = hmac.new(pepper, digestmod="sha256")

    def digest(key: str) -> bytes:
        state = prepared.copy()
        state.update(key.encode())
        return state.digest()

    return digest


def key_hash(digest: bytes) -> str:
    """The public id of the key whose first digest this is: 64 hex digits, useless for signing in.
    A rotated key keeps it."""
    return hashlib.sha256(digest).hexdigest()


def _check_digits(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECK_DIGITS)


def _base62(number: int, digits: int) -> str:
    out = []
    for _ in range(digits):
        number, digit = divmod(number, 62)
        out.append(_DIGITS[digit])
    return "".join(reversed(out))
