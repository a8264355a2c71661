"""Reading a request body: whole, bounded before and after decompression, and only once.

Rules. A declared length above the limit is refused unread. `gzip` is the only encoding taken, and
it is inflated against the same limit, so a bomb costs no more memory than an honest body.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from .. import errors

_INFLATE_STEP = 65_536


class ClientGone(Exception):
    """The client left before its request was whole: there is nobody to answer."""


async def read_body(receive: Any, headers: Mapping[bytes, bytes], limit_bytes: int) -> bytes:
    """The request's body, at most `limit_bytes` long after decoding.

    Raises CallerError (413, 415, 400) and ClientGone.
    """
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
        raise errors.too_large(limit_bytes)
    body = await _receive_all(receive, limit_bytes)
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding in (b"identity", b""):
        return body
    if encoding in (b"gzip", b"x-gzip"):
        return inflate(body, limit_bytes)
    raise errors.unsupported_encoding(encoding.decode("latin-1"))


def inflate(body: bytes, limit_bytes: int) -> bytes:
    """Gunzip within a limit. Raises CallerError for a bomb or for what is not gzip."""
    engine = zlib.decompressobj(zlib.MAX_WBITS | 16)
    out, rest = bytearray(), body
    try:
        while rest and not engine.eof:
            out += engine.decompress(rest, _INFLATE_STEP)
            rest = engine.unconsumed_tail
            if len(out) > limit_bytes:
                raise errors.too_large(limit_bytes)
    except zlib.error:
        raise errors.bad_json("it is said to be gzip and is not") from None
    if not engine.eof:
        raise errors.bad_json("the gzip body is cut short")
    if engine.unused_data:  # or what one reader checks, another would read on
        raise errors.bad_json("something follows the gzip body")
    return bytes(out)


async def discard(receive: Any, most_bytes: int) -> None:
    """Read away what a client still sends after it was refused, so that it gets to read the
    answer instead of a reset; bounded, nothing is kept."""
    seen = 0
    while seen < most_bytes:
        message = await receive()
        if message["type"] != "http.request":
            return
        seen += len(message["body"])
        if not message.get("more_body", False):
            return


async def _receive_all(receive: Any, limit_bytes: int) -> bytes:
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    body: bytes = message["body"]
    if not message.get("more_body", False):
        if len(body) > limit_bytes:
            raise errors.too_large(limit_bytes)
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        parts.append(message["body"])
        size += len(message["body"])
        if size > limit_bytes:
            raise errors.too_large(limit_bytes)
    return b"".join(parts)
