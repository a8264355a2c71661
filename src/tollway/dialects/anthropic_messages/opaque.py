"""Reasoning of other vendors in the only places an Anthropic client gives back: signatures.

A client of this dialect returns `thinking{thinking, signature}` and `redacted_thinking{data}` and
nothing else. So a `reasoning_details` entry of another format travels as its own JSON, in base64
behind a prefix, in one of these two fields; the text stays readable where there is some. What has
the prefix is never sent to Anthropic. Not a secret and not trusted: it is the caller's own data.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

FORMAT = "anthropic-claude-v1"
PREFIX = "tollway.v1."
UNKNOWN = ("unknown", None, "")
"""Formats of reasoning that is nothing but text."""


def wrapped(detail: Raw | Mapping[str, Any]) -> str:
    """An entry as a signature. Given as Raw it comes back byte for byte."""
    plain = bytes(detail) if isinstance(detail, Raw) else msgspec.json.encode(detail)
    return PREFIX + urlsafe_b64encode(plain).decode()


def unwrapped(signature: str) -> Raw | None:
    """The entry in a signature of ours; None for any other signature, and for one that was
    tampered with."""
    if not signature.startswith(PREFIX):
        return None
    try:
        plain = urlsafe_b64decode(signature[len(PREFIX) :])
        msgspec.json.decode(plain, type=dict[str, Raw])
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None
    return Raw(plain)


def is_native(signature: str | None) -> bool:
    """Anthropic (or a host of its dialect) may have made it."""
    return bool(signature) and not str(signature).startswith(PREFIX)


def thinking_detail(text: str, signature: str | None, index: int) -> Raw:
    entry: dict[str, Any] = {"type": "reasoning.text", "text": text}
    if signature:
        entry["signature"] = signature
    return Raw(msgspec.json.encode({**entry, "format": FORMAT, "index": index}))


def signature_detail(signature: str, index: int) -> Raw:
    """The last fragment of a streamed entry; its text came before."""
    entry = {"type": "reasoning.text", "signature": signature, "format": FORMAT, "index": index}
    return Raw(msgspec.json.encode(entry))


def redacted_detail(data: str, index: int) -> Raw:
    entry = {"type": "reasoning.encrypted", "data": data, "format": FORMAT, "index": index}
    return Raw(msgspec.json.encode(entry))


class Detail(msgspec.Struct):
    """A `reasoning_details` entry as far as it is read here. Other fields ride in the Raw."""

    type: str = ""
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    id: str | None = None
    format: str | None = None
    index: int | None = None

    @property
    def words(self) -> str:
        return self.text or self.summary or ""


def read_detail(raw: Raw) -> Detail | None:
    """None for what is no such entry."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_decoder = msgspec.json.Decoder(Detail)
