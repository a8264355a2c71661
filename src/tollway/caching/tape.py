"""What is kept of an answer, and how it is told again. Pure.

A `Taped` relay passes everything on and remembers what it was fed. A replay feeds the same bytes
to a relay of the same making under a new head, and ends it with a bill of nothing: every dialect
gets its ids, sequence numbers and usage right by the code that got them right the first time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..canon import FinishReason, Request, Usage
from ..dialects import Bill, Head, Relay
from ..errors import TollwayError
from ..ledger.entries import Generation
from ..plugins.healing import relay_for
from ..routing.entries import Attempt

STEP_BYTES = 65_536
"""A replay says this much at a time: between two pieces others get their turn."""

OVERHEAD_BYTES = 1_024
"""What an answer takes beside its bytes: the value, its texts, its place in two tables."""

FREE = Bill(Usage(), 0, 0, 0)
"""A hit uses nothing and costs nothing."""


class Kept(msgspec.Struct, frozen=True):
    """A whole answer, as its provider said it."""

    source_id: str
    """The generation that paid for it."""
    model: str
    provider: str
    """Display name."""
    endpoint: str
    price_version: str
    outbound: str
    """The dialect its provider spoke."""
    quirks: tuple[str, ...]
    data: bytes
    finished: bool
    """The provider's body was read to its end, not only to the dialect's own end."""
    finish: FinishReason | None
    native_finish: str | None
    asked_s: float
    stored_s: float
    ttl_s: int

    @property
    def size(self) -> int:
        return len(self.data) + OVERHEAD_BYTES

    def age_s(self, now_s: float) -> int:
        return max(0, int(now_s - self.stored_s))

    def stale(self, now_s: float) -> bool:
        """Its time is over. A clock that was set back does not make it young again for longer."""
        return not self.stored_s - self.ttl_s < now_s < self.stored_s + self.ttl_s


class Taped:
    """See `dialects.Relay`. Remembers at most `bytes_max`; of a longer answer, nothing."""

    __slots__ = ("_attempt", "_data", "_finished", "_left", "_relay", "meter")

    def __init__(self, relay: Relay, attempt: Attempt, bytes_max: int) -> None:
        self.meter = relay.meter
        self._relay = relay
        self._attempt = attempt
        self._left = bytes_max
        self._data = bytearray()
        self._finished = False

    @property
    def overflowed(self) -> bool:
        return self._left < 0

    def feed(self, data: bytes) -> bytes:
        if self._left >= 0:
            self._left -= len(data)
            if self._left >= 0:
                self._data += data
            else:
                self._data.clear()
        return self._relay.feed(data)

    def finish(self) -> bytes:
        self._finished = True
        return self._relay.finish()

    def ending(self, bill: Bill) -> bytes:
        return self._relay.ending(bill)

    def failure(self, error: TollwayError) -> bytes:
        return self._relay.failure(error)

    def kept(self, source_id: str, asked_s: float, now_s: float, ttl_s: int) -> Kept | None:
        """What was remembered; None when it was too much. Only for a whole answer."""
        if self.overflowed:
            return None
        endpoint, provider = self._attempt.endpoint, self._attempt.provider
        return Kept(
            source_id=source_id,
            model=self._attempt.model.id,
            provider=provider.name,
            endpoint=endpoint.key,
            price_version=endpoint.price_version,
            outbound=endpoint.dialect,
            quirks=provider.quirks,
            data=bytes(self._data),
            finished=self._finished,
            finish=self.meter.finish,
            native_finish=self.meter.native_finish,
            asked_s=asked_s,
            stored_s=now_s,
            ttl_s=ttl_s,
        )


def kept(
    relay: Relay | None, source_id: str, asked_s: float, now_s: float, ttl_s: int
) -> Kept | None:
    """What the relay of a whole answer remembered, if it was told to and could."""
    return relay.kept(source_id, asked_s, now_s, ttl_s) if isinstance(relay, Taped) else None


def replay(told: Kept, request: Request, id: str, created: int) -> Iterator[bytes]:
    """The caller's bytes of an answer told again: of a stream piece by piece, else the body last.
    `request` is the one that asks now."""
    head = Head(id, told.model, told.provider, created, request.stream, replayed=True)
    relay = relay_for(request, head, told.outbound, told.quirks)
    for start in range(0, len(told.data), STEP_BYTES):
        piece = relay.feed(told.data[start : start + STEP_BYTES])
        if piece:
            yield piece
    rest = relay.finish() if told.finished else b""
    yield rest + relay.ending(FREE)


def record(
    told: Kept,
    request: Request,
    *,
    id: str,
    workspace: str,
    key_id: str,
    started_ms: int,
    ended_ms: int,
    coalesced: bool,
    notes: Mapping[str, Any],
) -> Generation:
    """The record of an answer told again: nothing used, nothing charged, and whose answer it is."""
    detail: dict[str, Any] = {
        "requested": request.models,
        "response_cache_source_id": told.source_id,
        "coalesced": coalesced,
        "native_finish_reason": told.native_finish,
        **notes,
    }
    if request.session_id is not None:
        detail["session_id"] = request.session_id
    if request.preset is not None:
        detail["preset_id"] = request.preset.id
        detail["preset"] = request.preset
    return Generation(
        id=id,
        at_ms=started_ms,
        workspace=workspace,
        key_id=key_id,
        model=told.model,
        provider=told.provider,
        endpoint=told.endpoint,
        status="completed",
        charge_nano=0,
        prompt_tokens=0,
        completion_tokens=0,
        reasoning_tokens=0,
        cached_tokens=0,
        estimated=False,
        streamed=request.stream,
        finish_reason=told.finish,
        latency_ms=ended_ms - started_ms,
        duration_ms=ended_ms - started_ms,
        price_version=told.price_version,
        detail=msgspec.json.encode(detail),
    )
