"""Reading a request body: whole, bounded before and after decompression, and only once.

Rules. A declared length above the limit is refused unread. `gzip` is the only encoding taken, and
it is inflated against the same limit, so a bomb costs no more memory than an honest body. All
bodies that are still arriving share one room: many large ones cannot fill the memory together.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .. import errors

_INFLATE_STEP = 65_536

INFLATE_HERE_BYTES = 4_096
"""Larger bodies are inflated beside the loop: 32 KB can become 32 MB, a tenth of a second's work."""

_inflater = ThreadPoolExecutor(1, thread_name_prefix="tollway-inflate")
"""One, so that bombs cost one body's memory and leave the other cores alone."""


ROOM_BODIES = 3
"""Bodies of the largest size that may be arriving at once; small ones arrive in one piece and are
not counted."""


class Room:
    """Bytes that bodies still arriving may take together. One instance per server."""

    __slots__ = ("left",)

    def __init__(self, limit_bytes: int) -> None:
        self.left = ROOM_BODIES * limit_bytes


class ClientGone(Exception):
    """The client left before its request was on the road: there is nobody to answer."""


async def read_body(
    here: bytes | None,
    receive: Any,
    headers: Mapping[bytes, bytes],
    limit_bytes: int,
    room: Room,
) -> bytes:
    """The request's body, at most `limit_bytes` long after decoding. `here`: all of it, where it
    has come already; else `receive` brings it.

    Raises CallerError (413, 415, 400), Unavailable (503, no room now) and ClientGone.
    """
    declared = headers.get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
        raise errors.too_large(limit_bytes)
    if here is None:
        body = await _receive_all(receive, limit_bytes, room)
    elif len(here) > limit_bytes:
        raise errors.too_large(limit_bytes)
    else:
        body = here
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding in (b"identity", b""):
        return body
    if encoding in (b"gzip", b"x-gzip"):
        if len(body) <= INFLATE_HERE_BYTES:
            return inflate(body, limit_bytes)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_inflater, inflate, body, limit_bytes)
    raise errors.unsupported_encoding(encoding.decode("latin-1"))


def inflate(body: bytes, limit_bytes: int) -> bytes:
    """Gunzip within a limit. Raises CallerError for a bomb or for what is not gzip."""
    engine = zlib.decompressobj(zlib.MAX_WBITS | 16)
    out, at = bytearray(), 0
    try:
        while at < len(body) and not engine.eof:
            rest = body[at : at + _INFLATE_STEP]
            at += len(rest)
            while rest and not engine.eof:
                out += engine.decompress(rest, _INFLATE_STEP)
                rest = engine.unconsumed_tail
                if len(out) > limit_bytes:
                    raise errors.too_large(limit_bytes)
    except zlib.error:
        raise errors.bad_json("it is said to be gzip and is not") from None
    if not engine.eof:
        raise errors.bad_json("the gzip body is cut short")
    if engine.unused_data or at < len(body):  # or what one reader checks, another would read on
        raise errors.bad_json("something follows the gzip body")
    return bytes(out)


async def _receive_all(receive: Any, limit_bytes: int, room: Room) -> bytes:
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    body: bytes = message["body"]
    if not message.get("more_body", False):
        if len(body) > limit_bytes:
            raise errors.too_large(limit_bytes)
        return body
    parts, size = [body], len(body)
    room.left -= size
    try:
        while message.get("more_body", False):
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            piece: bytes = message["body"]
            parts.append(piece)
            size += len(piece)
            room.left -= len(piece)
            if size > limit_bytes:
                raise errors.too_large(limit_bytes)
            if room.left < 0:
                raise errors.overloaded()
        return b"".join(parts)
    finally:
        room.left += size
