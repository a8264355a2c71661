"""AWS event stream framing: bytes in any slicing to complete, checked messages.

Not here: what a message means. A message is total length, headers length, CRC of these eight
bytes, headers, payload, CRC of all before it (big endian; `application/vnd.amazon.eventstream`).
Rules: both checksums are checked; lengths are checked before anything of that size is awaited; the
work is linear in the input however it is sliced; after the first broken message nothing is read.
"""

from __future__ import annotations

import struct
from uuid import UUID
from zlib import crc32

import msgspec

MESSAGE_BYTES_MAX = 25_165_824 + 131_072 + 16
"""What AWS's own clients accept: 24 MiB of payload and 128 KiB of headers."""

HEADERS_BYTES_MAX = 131_072
PRELUDE_BYTES = 12
LEAST_BYTES = PRELUDE_BYTES + 4

Value = bool | int | bytes | str


class Message(msgspec.Struct, frozen=True):
    """`headers` by name; times are milliseconds since 1970, UUIDs text."""

    headers: dict[str, Value]
    payload: bytes

    def text(self, name: str) -> str:
        """A header that should be text, "" where it is not there or is none."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class Framer:
    """Cuts a stream into messages, until `broken` says why there is none any more."""

    __slots__ = ("_need", "_pending", "broken")

    def __init__(self) -> None:
        self.broken: str | None = None
        self._pending = bytearray()
        self._need = PRELUDE_BYTES
        """Bytes that must be there before it is worth looking again."""

    def feed(self, data: bytes) -> list[Message]:
        """Messages completed by `data`, up to the first that is broken."""
        if self.broken is not None:
            return []
        pending = self._pending
        pending += data
        messages: list[Message] = []
        at = 0
        try:
            while len(pending) - at >= self._need:
                total = _total(pending, at)
                if len(pending) - at < total:
                    self._need = total
                    break
                messages.append(_message(bytes(pending[at : at + total])))
                at += total
                self._need = PRELUDE_BYTES
        except _Broken as error:
            self.broken = str(error)
        del pending[:at]
        return messages

    @property
    def cut(self) -> bool:
        """The stream ends in the middle of a message."""
        return bool(self._pending)


class _Broken(ValueError):
    """The bytes are no event stream (any more)."""


def _total(data: bytearray, at: int) -> int:
    """The length of the message that begins at `at`, once its prelude is found sound."""
    total, headers, checksum = _PRELUDE.unpack_from(data, at)
    if crc32(data[at : at + 8]) != checksum:
        raise _Broken("a prelude does not match its checksum")
    if headers > HEADERS_BYTES_MAX or not LEAST_BYTES + headers <= total <= MESSAGE_BYTES_MAX:
        raise _Broken(f"a message of {total} bytes with {headers} bytes of headers")
    return int(total)


def _message(data: bytes) -> Message:
    if crc32(data[:-4]) != int.from_bytes(data[-4:], "big"):
        raise _Broken("a message does not match its checksum")
    end = PRELUDE_BYTES + int.from_bytes(data[4:8], "big")
    try:
        headers = _headers(data, PRELUDE_BYTES, end)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise _Broken(f"the headers of a message cannot be read: {error}") from error
    return Message(headers, data[end:-4])


def _headers(data: bytes, at: int, end: int) -> dict[str, Value]:
    headers: dict[str, Value] = {}
    while at < end:
        length = data[at]
        name = data[at + 1 : at + 1 + length].decode()
        kind = data[at + 1 + length]
        headers[name], at = _value(data, at + 2 + length, kind)
    if at != end:
        raise ValueError("a header runs beyond its place")
    return headers


def _value(data: bytes, at: int, kind: int) -> tuple[Value, int]:
    """The value of a header and where it ends."""
    if kind in (0, 1):
        return kind == 0, at
    if kind in _NUMBERS:
        layout = _NUMBERS[kind]
        return int(layout.unpack_from(data, at)[0]), at + layout.size
    if kind in (6, 7):
        (length,) = _LENGTH.unpack_from(data, at)
        end = at + 2 + length
        value = data[at + 2 : end]
        if len(value) != length:
            raise ValueError("a value is cut off")
        return (value.decode() if kind == 7 else value), end
    if kind == 9:
        return str(UUID(bytes=data[at : at + 16])), at + 16
    raise ValueError(f"values of type {kind} are not known")


_PRELUDE = struct.Struct(">III")
_LENGTH = struct.Struct(">H")
_NUMBERS = {
    2: struct.Struct(">b"),
    3: struct.Struct(">h"),
    4: struct.Struct(">i"),
    5: struct.Struct(">q"),
    8: struct.Struct(">q"),
}
"""Byte, short, integer, long; timestamp."""
