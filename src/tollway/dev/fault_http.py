"""HTTP/1.1 for the fault proxy: heads read and written, bodies passed on piece by piece.

Not a client and not a server: it frames. Nothing is kept of a body but the piece in hand; the
stream's own limit bounds what is read ahead. Sizes are strict: what is not HTTP raises `NotHttp`,
which is ordinary here and told in one line.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

import msgspec

HEAD_BYTES_MAX: Final = 128 * 1024
PIECE_BYTES: Final = 64 * 1024

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class NotHttp(Exception):
    """The peer's bytes are not HTTP/1.1, or more of a head than is taken."""


class Head(msgspec.Struct, frozen=True):
    """The first line, split at two spaces, and the headers as they came."""

    line: tuple[str, str, str]
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def chunked(self) -> bool:
        return any("chunked" in value.lower() for value in self.values("transfer-encoding"))

    @property
    def length(self) -> int | None:
        """Raises NotHttp when there are two minds about it."""
        found = {value.strip() for value in self.values("content-length")}
        if not found:
            return None
        text = found.pop()
        if found or not re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
            raise NotHttp("a content-length that is no number")
        return int(text)

    @property
    def closes(self) -> bool:
        said = ",".join(self.values("connection")).lower()
        return "close" in said or ("HTTP/1.0" in self.line and "keep-alive" not in said)

    def passed_on(self) -> list[tuple[str, str]]:
        """The headers that are not of the connection."""
        named = {name.strip() for name in ",".join(self.values("connection")).lower().split(",")}
        return [h for h in self.headers if h[0].lower() not in HOP_BY_HOP | named]


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """None when the peer left before it began one. Raises NotHttp, OSError."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise NotHttp("the head breaks off") from None
        return None
    except asyncio.LimitOverrunError:
        raise NotHttp(f"a head of more than {HEAD_BYTES_MAX} bytes") from None
    lines = raw.decode("latin-1").lstrip("\r\n").split("\r\n")
    first = lines[0].split(" ", 2)
    if len(first) < 2:
        raise NotHttp(f"not a head: {lines[0][:80]!r}")
    headers = []
    for line in lines[1:]:
        if not line:
            break
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise NotHttp(f"not a header: {line[:80]!r}")
        headers.append((name, value.strip(" \t")))
    return Head((first[0], first[1], first[2] if len(first) > 2 else ""), tuple(headers))


def head_bytes(line: str, headers: list[tuple[str, str]]) -> bytes:
    lines = [line, *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def body(
    reader: asyncio.StreamReader, head: Head, *, until_eof: bool = False
) -> AsyncIterator[bytes]:
    """Pieces as they arrive, without framing. Raises NotHttp, OSError, EOFError when it breaks
    off. `until_eof`: without framing it lasts as long as the connection (answers do)."""
    if head.chunked:
        async for piece in _chunks(reader):
            yield piece
    elif head.length is not None:
        left = head.length
        while left:
            piece = await _some(reader, left)
            left -= len(piece)
            yield piece
    elif until_eof:
        while piece := await reader.read(PIECE_BYTES):
            yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while left := await _chunk_size(reader):
        while left:
            piece = await _some(reader, left)
            left -= len(piece)
            yield piece
        if await reader.readexactly(2) != b"\r\n":
            raise NotHttp("a chunk without its end")
    while await _line(reader) != b"\r\n":
        pass  # trailers are not passed on


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    text = (await _line(reader)).partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{1,12}", text):
        raise NotHttp(f"not the size of a chunk: {text[:20]!r}")
    return int(text, 16)


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n")
    except asyncio.LimitOverrunError:
        raise NotHttp("a line of a chunk without end") from None


async def _some(reader: asyncio.StreamReader, most: int) -> bytes:
    piece = await reader.read(min(most, PIECE_BYTES))
    if not piece:
        raise EOFError("it broke off")
    return piece


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


LAST_CHUNK: Final = b"0\r\n\r\n"
