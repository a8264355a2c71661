"""What the parsers of the smaller streams share: one fault or one end, and what stands before it.

Not here: framing and the meaning of an event. Rules as everywhere: the first thing that is wrong is
a single Failed event and the last; the finish reason is held back to the end; usage comes after it,
then Ended. A stream that stops before its own end is broken off unless its finish reason was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import canon
from ..canon import Event, Fault, FinishReason
from . import Meter, faults
from .openai_chat_answer import BAD_JSON, size
from .sse import EventTooLarge
from .surrogates import paired


class Answering:
    """Base of a parser. Subclasses give `_payloads`, `_last_payloads` and `_take`."""

    def __init__(self) -> None:
        self.meter = Meter()
        self._closed = False

    def feed(self, data: bytes) -> list[Event]:
        return [] if self._closed else self._read(self._payloads, data)

    def finish(self) -> list[Event]:
        """The provider closed its body."""
        if self._closed:
            return []
        events = self._read(self._last_payloads)
        return events if self._over else events + self._cut_off()

    # ---- for subclasses --------------------------------------------------------------------------

    def _payloads(self, data: bytes) -> Iterable[bytes]:
        raise NotImplementedError

    def _last_payloads(self) -> Iterable[bytes]:
        raise NotImplementedError

    def _take(self, payload: bytes) -> list[Event]:
        """One event of the wire; may raise what decoding raises, ValueError and LookupError. Sets
        the meter's finish, usage and ended."""
        raise NotImplementedError

    def _text(self, text: str) -> list[Event]:
        if not text:
            return []
        self.meter.spoke = True
        self.meter.text_bytes += size(text)
        return [canon.Text(text)]

    def _called(self, index: int, id: str | None, name: str | None, arguments: str) -> list[Event]:
        self.meter.spoke = True
        self.meter.text_bytes += size(arguments) + size(name or "")
        return [canon.ToolCall(index, id, name, arguments)]

    def _finished(self, reason: FinishReason, native: str) -> None:
        self.meter.finish, self.meter.native_finish = reason, native
        if reason == "error":
            self.meter.fault = Fault(
                status=502,
                error_type="provider_unavailable",
                message="The provider broke its answer off.",
                provider_code=native[:100],
            )

    # ---- the two ends ----------------------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._closed

    def _read(self, source: Callable[..., Iterable[bytes]], *data: bytes) -> list[Event]:
        events: list[Event] = []
        meter = self.meter
        try:
            for payload in source(*data):
                events += self._one(payload)
                if meter.fault is not None or meter.ended:
                    return events + self._closing()
        except EventTooLarge as error:
            meter.fault = faults.broken(f"The provider's stream is broken: {error}.")
            return events + self._closing()
        return events

    def _cut_off(self) -> list[Event]:
        """The body ended without its own end: only the goodbye is missing, or it broke off."""
        if self.meter.finish is None:
            said = "The provider's stream broke off."
            self.meter.fault = faults.broken(said if self.meter.spoke else _NOTHING)
        return self._closing()

    def _one(self, payload: bytes) -> list[Event]:
        try:
            payload.decode()
            return self._take(payload)
        except (*BAD_JSON, ValueError, LookupError):
            mended = paired(payload)
            if mended is not None:
                return self._one(mended)
            message = "The provider sent an event that cannot be read."
            self.meter.fault = faults.broken(message, payload)
            return []

    def _closing(self) -> list[Event]:
        self._closed = True
        meter = self.meter
        if meter.fault is not None:
            meter.ended = False
            return [canon.Failed(meter.fault)]
        meter.spoke = meter.ended = True
        events: list[Event] = [canon.Finish(meter.finish or "stop", meter.native_finish)]
        if meter.usage is not None:
            events.append(canon.Used(meter.usage))
        events.append(canon.Ended())
        return events


_NOTHING = "The provider ended its answer without having said anything."
