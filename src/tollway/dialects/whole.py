"""A provider's whole JSON answer, collected and read once: the base of parsers without a stream.

For embeddings, rankings and chat answers that are not streamed. Not here: what the fields mean
(each dialect). Rules: a body that is too large, no JSON object, or an error under status 200 is a
fault; so is one whose fields a dialect cannot make sense of. Nothing raises.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from .. import canon
from ..canon import Event, Fault, Usage
from . import Meter, faults
from .openai_chat_answer import BAD_JSON, fields_decoder
from .surrogates import paired

BODY_BYTES_MAX = 64 * 1024 * 1024
"""Room for two thousand vectors of 3,072 numbers written out as decimals."""


class WholeParser:
    """See `translated.Parser`: `feed` gives nothing, `finish` gives everything."""

    def __init__(self) -> None:
        self.meter = Meter()
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        if self.meter.fault is None:
            self._data += data
            if len(self._data) > BODY_BYTES_MAX:
                self._data.clear()
                self.meter.fault = faults.broken(
                    f"The provider's answer is larger than {BODY_BYTES_MAX:,} bytes."
                )
        return []

    def finish(self) -> list[Event]:
        meter = self.meter
        if meter.ended:
            return []
        events: list[Event] = []
        if meter.fault is None:
            body = bytes(self._data)
            self._data.clear()
            meter.fault = self._read(body, events)
        if meter.fault is not None:
            return [canon.Failed(meter.fault)]
        meter.spoke = meter.ended = True
        if meter.usage is not None:
            events.append(canon.Used(meter.usage))
        events.append(canon.Ended())
        return events

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        """What the fields say; sets `meter.usage`. May raise what decoding raises, ValueError and
        LookupError for what makes no sense."""
        raise NotImplementedError

    def _read(self, body: bytes, events: list[Event]) -> Fault | None:
        if not body.strip():
            return faults.broken("The provider sent an empty answer.")
        try:
            body.decode()
            fields = _object(body)
        except BAD_JSON:
            mended = paired(body)
            if mended is not None:
                return self._read(mended, events)
            return faults.broken("The provider's answer is not JSON.", body)
        try:
            declared = faults.error_inside(
                {name: msgspec.json.decode(fields[name]) for name in _TELLING if name in fields}
            )
            if declared is None:
                events += self.take(fields)
        except (*BAD_JSON, ValueError, LookupError):
            return faults.broken("The provider's answer is of unknown form.", body)
        return declared or self.meter.fault


def _object(body: bytes) -> dict[str, Raw]:
    """TEI answers with a bare array; it is read under the name `array`."""
    if body.lstrip()[:1] == b"[":
        msgspec.json.decode(body, type=list[Raw])
        return {"array": Raw(body)}
    return fields_decoder.decode(body)


def tokens(prompt: object, search_units: object = None) -> Usage | None:
    """A usage without output. A count that is no count (or absent) makes the report none, and our
    own is charged; whole floats are counts (Cohere writes 12.0)."""
    counted, units = _count(prompt), _count(search_units)
    if counted is None and units is None:
        return None
    return Usage(prompt_tokens=counted or 0, search_units=units or 0)


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= canon.TOKENS_MAX and value == int(value) else None


_TELLING = ("error", "object", "type", "base_resp", "code", "message")
"""Fields that may declare an error; the others can be megabytes of numbers."""
