"""Server-sent events: bytes in any slicing to complete events, and back.

Not here: what an event means. Rules: framing works on bytes and never decodes them; lines end in
LF, CR or CRLF and nothing else (`splitlines` would also cut at U+2028, which models write inside
valid JSON); the work is linear in the input however it is sliced; an event has a size cap.
The rules of the format are WHATWG's (HTML, 9.2.5), with one leniency: an event that the end of the
stream cuts off is still delivered by `finish()`, because providers forget the last blank line.
"""

from __future__ import annotations

LF, CR = b"\n\r"
"""As numbers, for `in`: looked for as bytes each costs an error that is raised and cleared inside."""

EVENT_BYTES_MAX = 16 * 1024 * 1024
"""Providers send images as one event of several MB; nothing sane is larger than this."""


class EventTooLarge(ValueError):
    """An event grew beyond the cap before it ended."""


class Framer:
    """Cuts a stream into the data of its events.

    `feed` returns the payloads completed so far, in order; an event without data gives nothing.
    `names` holds, for the last `feed` or `finish`, index of payload to `event:` name, and is empty
    for the dialects that do not name their events.
    """

    __slots__ = ("_after_cr", "_bom", "_cap", "_pending", "names")

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._pending = bytearray()
        """The unfinished event; searched only where new bytes can have ended it."""
        self._cap = event_bytes_max
        self._after_cr = False
        self._bom: bytes | None = b""
        """What may still become a byte order mark; None once the stream's start is decided."""
        self.names: dict[int, bytes] = {}

    def feed(self, data: bytes) -> list[bytes]:
        """Payloads completed by `data`. Raises EventTooLarge; the framer is of no use after it."""
        if self._bom is not None:
            data = self._without_bom(data)
        if self._after_cr or CR in data:
            data = self._with_lf(data)
        if not data:
            return []
        if self.names:
            self.names = {}
        pending = self._pending
        if not pending:
            payload = data[6:-2]  # of a read that is one event, as most are
            alone = payload and LF not in payload and len(data) <= self._cap
            if alone and data[:6] == b"data: " and data[-2:] == b"\n\n":
                return [payload]
        else:
            ends = data.find(b"\n\n") >= 0 or (data[0] == LF and pending[-1] == LF)
            pending += data
            if not ends:
                if len(pending) > self._cap:
                    raise EventTooLarge(f"an event is larger than {self._cap} bytes")
                return []
            data = bytes(pending)
        blocks = data.split(b"\n\n")
        if pending or blocks[-1]:
            self._pending = bytearray(blocks[-1])
        if len(data) > self._cap and max(map(len, blocks)) > self._cap:
            raise EventTooLarge(f"an event is larger than {self._cap} bytes")
        del blocks[-1]
        payloads: list[bytes] = []
        for block in blocks:
            payload = block[6:]
            if payload and block[:6] == b"data: " and LF not in payload:
                payloads.append(payload)
            else:
                self._read(block, payloads)
        return payloads

    def finish(self) -> list[bytes]:
        """The payload of an event that the end of the stream cut off, if there is one."""
        self.names = {}
        rest = bytes(self._pending) if self._bom is None else self._bom
        self._pending = bytearray()
        payloads: list[bytes] = []
        self._read(rest, payloads)
        return payloads

    def _read(self, block: bytes, payloads: list[bytes]) -> None:
        """One block of lines without a blank line inside (but perhaps before) it."""
        first, _, second = block.partition(b"\ndata: ")
        if second and first[:7] == b"event: " and LF not in first and LF not in second:
            if len(first) > 7:
                self.names[len(payloads)] = first[7:]
            payloads.append(second)
            return
        lines: list[bytes] = []
        name = b""
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            if field == b"data":
                lines.append(value[1:] if value[:1] == b" " else value)
            elif field == b"event":
                name = value[1:] if value[:1] == b" " else value
        payload = b"\n".join(lines)
        if payload:
            if name:
                self.names[len(payloads)] = name
            payloads.append(payload)

    def _without_bom(self, data: bytes) -> bytes:
        start = (self._bom or b"") + data
        if len(start) < 3 and _BOM.startswith(start):
            self._bom = start
            return b""
        self._bom = None
        return start[3:] if start.startswith(_BOM) else start

    def _with_lf(self, data: bytes) -> bytes:
        """Line ends as LF. A CR at the end of a read is a line end at once; should its LF follow
        in the next read, that LF is swallowed."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data[-1] == CR
        data = data.replace(b"\r\n", b"\n")
        return data.replace(b"\r", b"\n") if CR in data else data


def event(payload: bytes) -> bytes:
    """One event of a stream. `payload` has no line ends in it (JSON as it is encoded here)."""
    return b"data: " + payload + b"\n\n"


def escape_separators(data: bytes) -> bytes:
    """JSON text with U+0085, U+2028 and U+2029 escaped: valid inside JSON strings, where alone
    they can stand, but many clients split lines at them."""
    if data.isascii():
        return data
    if data.find(b"\xe2\x80") >= 0:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data.replace(b"\xc2\x85", b"\\u0085")


DONE = b"data: [DONE]\n\n"
_BOM = b"\xef\xbb\xbf"
