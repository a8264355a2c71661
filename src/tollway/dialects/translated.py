"""The relay between two dialects: the provider's parser, then the caller's renderer.

The same for every pair, because both speak the events of `canon`. Nothing here knows a dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..canon import Event
from ..errors import TollwayError
from . import Bill, Meter


class Parser(Protocol):
    """Provider bytes, cut anywhere, to events. Owns the meter; never raises for what it reads."""

    meter: Meter

    def feed(self, data: bytes) -> list[Event]: ...

    def finish(self) -> list[Event]:
        """The provider closed its body."""


class Renderer(Protocol):
    """Events to the caller's bytes."""

    def render(self, events: Sequence[Event]) -> bytes:
        """Bytes for the caller, b"" where events are only collected (whole answers, finish)."""

    def ending(self, bill: Bill) -> bytes: ...

    def failure(self, error: TollwayError) -> bytes: ...


class Translated:
    """See `dialects.Relay`."""

    def __init__(self, parser: Parser, renderer: Renderer) -> None:
        self.meter = parser.meter
        self._parser = parser
        self._renderer = renderer

    def feed(self, data: bytes) -> bytes:
        events = self._parser.feed(data)
        if not events:
            return b""
        if self.meter.calls is not None:
            self.meter.calls.see(events)
        return self._renderer.render(events)

    def finish(self) -> bytes:
        events = self._parser.finish()
        if not events:
            return b""
        if self.meter.calls is not None:
            self.meter.calls.see(events)
        return self._renderer.render(events)

    def ending(self, bill: Bill) -> bytes:
        return self._renderer.ending(bill)

    def failure(self, error: TollwayError) -> bytes:
        return self._renderer.failure(error)
