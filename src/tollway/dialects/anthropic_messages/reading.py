"""Reading a provider's stream of Messages events: framing, errors, usage, its end.

What is made of the events is for the two readers on top: the relay that passes bytes on, and the
parser that gives events of `canon`. Rules: nothing raises for what a provider sends; the first
thing that is wrong becomes `meter.fault` and ends the reading. An answer is complete when
message_stop was seen, or the body ended after a stop reason.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from ...canon import Fault, Usage
from .. import Meter, faults
from ..sse import EventTooLarge, Framer
from ..surrogates import paired
from .answer import (
    BAD_JSON,
    Delta,
    Event,
    event_decoder,
    fault_inside,
    finish_of,
    is_given,
    note_block,
    note_delta,
)
from .usage import Report, merged, parse_usage

STRAY_BYTES_MAX = 64 * 1024
"""What is kept of a body that has no events in it, to say what it was instead."""


class StartedMeter(Meter):
    """Knows the input's tokens from the first event on, so that an answer that is cut off is
    charged the true input and our own count of what was delivered."""

    __slots__ = ("started",)

    def __init__(self) -> None:
        super().__init__()
        self.started: Usage | None = None

    def usage_or_estimate(self, prompt_tokens_likely: int) -> Usage:
        usage = super().usage_or_estimate(prompt_tokens_likely)
        if self.usage is not None or self.started is None:
            return usage
        counted = msgspec.structs.replace(
            self.started,
            completion_tokens=usage.completion_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            estimated=True,
        )
        return counted.checked()


class Reading:
    """State of one stream. Subclasses say what becomes of an event in `_take`."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        self._meter = StartedMeter()
        self.meter: Meter = self._meter
        self.quirks = quirks
        self.report: Report = {}
        """The usage as it was reported so far."""
        self._framer = Framer()
        self._stray: bytearray | None = bytearray()
        """The start of the body until its first event; None from then on."""

    def _over(self) -> bool:
        return self.meter.ended or self.meter.fault is not None

    def _read(self, data: bytes) -> None:
        if self._over():
            return
        if self._stray is not None and len(self._stray) < STRAY_BYTES_MAX:
            self._stray += data[:STRAY_BYTES_MAX]
        try:
            payloads = self._framer.feed(data)
        except EventTooLarge as error:
            self.meter.fault = faults.broken(f"The provider's stream is broken: {error}.")
            return
        self._payloads(payloads)

    def _read_rest(self) -> None:
        """The body has ended."""
        meter = self.meter
        if not self._over():
            self._payloads(self._framer.finish())
        if self._over():
            return
        if self._stray is not None:
            meter.fault = _not_a_stream(bytes(self._stray))
        elif meter.finish is None:
            meter.fault = faults.broken("The provider's stream broke off.")
        else:
            self._done()

    def _payloads(self, payloads: list[bytes]) -> None:
        meter = self.meter
        if payloads:
            self._stray = None
        for payload in payloads:
            try:
                if not payload.isascii():
                    payload.decode()  # strings that are skipped are not checked by the decoder
                event = event_decoder.decode(payload)
            except BAD_JSON:
                if payload.strip() == b"[DONE]":
                    continue
                mended = paired(payload)
                if mended is None:
                    meter.fault = _unreadable(payload)
                else:
                    self._payloads([mended])
                if meter.fault is not None or meter.ended:
                    return
                continue
            self._event(event, payload)
            if meter.fault is not None or meter.ended:
                return

    def _event(self, event: Event, payload: bytes) -> None:
        match event.type:
            case "content_block_delta" if event.delta is not None:
                note_delta(self.meter, event.delta)
            case "content_block_start" if event.content_block is not None:
                note_block(self.meter, event.content_block)
            case "content_block_stop":
                pass
            case "message_start" if event.message is not None:
                self.meter.upstream_id = (event.message.id or "")[:200] or None
                self._note_usage(event.message.usage)
                self._meter.started, self._meter.usage = self._meter.usage, None
            case "message_delta" if event.delta is not None:
                self._note_end(event.delta)
                self._note_usage(event.usage)
            case "message_stop":
                self._done()
                return
            case "ping":
                return
            case _:
                if is_given(event.error) or event.type in ("error", ""):
                    self.meter.fault = _declared(payload)
                return
        self._take(event, payload)

    def _take(self, event: Event, payload: bytes) -> None:
        raise NotImplementedError

    def _note_end(self, delta: Delta) -> None:
        if delta.stop_reason:
            meter = self.meter
            meter.finish, meter.native_finish = finish_of(delta.stop_reason), delta.stop_reason
            meter.spoke = True

    def _note_usage(self, raw: Raw) -> None:
        if not is_given(raw):
            return
        try:
            report: Any = msgspec.json.decode(raw)
        except BAD_JSON:
            return
        self.report = merged(self.report, report)
        self.meter.usage = parse_usage(self.report)
        tier = self.report.get("service_tier")
        self.meter.service_tier = tier if isinstance(tier, str) else None

    def _done(self) -> None:
        meter = self.meter
        if not meter.spoke and not (meter.usage and meter.usage.completion_tokens):
            meter.fault = faults.broken(
                "The provider ended its answer without having said anything."
            )
            return
        if meter.finish is None:
            meter.finish = "stop"
        meter.ended = meter.spoke = True


def _unreadable(payload: bytes) -> Fault:
    """Not JSON, or an error in a form of its own."""
    try:
        fault = fault_inside(payload)
    except BAD_JSON:
        fault = None
    return fault or faults.broken("The provider sent an event that cannot be read.", payload)


def _declared(payload: bytes) -> Fault | None:
    """The error of an event; an event of unknown type that holds none is passed over."""
    try:
        return fault_inside(payload)
    except BAD_JSON:
        return faults.broken("The provider sent an error that cannot be read.", payload)


def _not_a_stream(body: bytes) -> Fault:
    """What a body without a single event was."""
    if not body.strip():
        return faults.broken("The provider sent an empty answer.")
    try:
        fault = fault_inside(body)
    except BAD_JSON:
        return faults.broken("The provider answered with something that is not a stream.", body)
    return fault or faults.broken("The provider answered whole where a stream was asked.", body)
