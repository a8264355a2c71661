"""A provider's Messages answer on its way to a caller of the same dialect.

Not here: reading (reading). Rules: events pass as the bytes they came in, but for three. The first
gets our id, model and provider. The last two are held back until the answer is complete and billed,
because they say how it ended and what it cost.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from ...errors import TollwayError
from .. import Bill, Head, Meter, faults
from ..sse import LF, escape_separators
from ..surrogates import paired
from ..toolcalls import ToolCalls
from .answer import (
    BAD_JSON,
    Event,
    blocks_decoder,
    fault_inside,
    fields_decoder,
    finish_of,
    message_decoder,
    note_block,
)
from .problems import failure_event, render_error
from .reading import Reading
from .usage import EMPTY, merged, parse_usage, render_usage

BODY_BYTES_MAX = 64 * 1024 * 1024


class StreamRelay(Reading):
    """See `dialects.Relay`."""

    def __init__(self, head: Head, quirks: Collection[str] = ()) -> None:
        super().__init__(quirks)
        self._head = head
        self._out: list[bytes] = []
        self._last: dict[str, Any] = {}
        """Fields of message_delta, the last one's own."""
        self._inputs: dict[int, str] = {}
        """Open tool_use blocks, and the input that came with their start: deltas take its place."""

    def feed(self, data: bytes) -> bytes:
        self._read(data)
        return self._flushed()

    def finish(self) -> bytes:
        self._read_rest()
        return self._flushed()

    def _flushed(self) -> bytes:
        out, self._out = self._out, []
        return escape_separators(b"".join(out)) if out else b""

    def _take(self, event: Event, payload: bytes) -> None:
        if self.meter.calls is not None:
            self._collect(self.meter.calls, event)
        if event.type == "message_delta":
            self._last.update(_copied(payload))
        elif event.type == "message_start":
            fields = _copied(payload)
            message: dict[str, Any] = {**fields_decoder.decode(fields["message"])}
            message.update(ours(self._head))
            if self._head.replayed:
                message["usage"] = EMPTY
            self._out.append(named("message_start", {**fields, "message": message}))
        else:
            if LF in payload:
                payload = msgspec.json.format(payload, indent=-1)
            self._out += (b"event: ", event.type.encode(), b"\ndata: ", payload, b"\n\n")

    def _collect(self, calls: ToolCalls, event: Event) -> None:
        index, block, delta = event.index, event.content_block, event.delta
        if event.type == "content_block_start" and block is not None and block.type == "tool_use":
            plain = bytes(block.input).strip()
            self._inputs[index] = "" if plain in (b"{}", b"null") else plain.decode()
            calls.add(index, block.name, "")
        elif event.type == "content_block_stop" and index in self._inputs:
            calls.add(index, None, self._inputs.pop(index))
        elif delta is not None and delta.partial_json and index in self._inputs:
            self._inputs[index] = ""
            calls.add(index, None, delta.partial_json)

    def ending(self, bill: Bill) -> bytes:
        told = {} if self._head.replayed else _other_counts(self.report)
        usage = {**told, **render_usage(bill, self.meter.service_tier)}
        delta = {"stop_reason": self.meter.native_finish or "end_turn", "stop_sequence": None}
        last = {"type": "message_delta", "delta": delta, **self._last, "usage": usage}
        stop = {"type": "message_stop", **bill.extra}
        return escape_separators(named("message_delta", last) + named("message_stop", stop))

    def failure(self, error: TollwayError) -> bytes:
        return failure_event(error)


class BodyRelay:
    """The same for a whole body: everything is said by `ending`."""

    def __init__(self, head: Head, quirks: Collection[str] = ()) -> None:
        self.meter = Meter()
        self._head = head
        self._data = bytearray()
        self._fields: dict[str, Any] = {}
        self._report: dict[str, Any] = {}

    def feed(self, data: bytes) -> bytes:
        if self.meter.fault is None:
            self._data += data
            if len(self._data) > BODY_BYTES_MAX:
                self._data.clear()
                self.meter.fault = faults.broken(
                    f"The provider's answer is larger than {BODY_BYTES_MAX:,} bytes."
                )
        return b""

    def finish(self) -> bytes:
        self.read()
        if self._fields and self.meter.calls is not None:
            for block in blocks_decoder.decode(self._fields["content"]):
                if block.type == "tool_use":
                    self.meter.calls.add(None, block.name, bytes(block.input).decode())
        return b""

    def read(self) -> None:
        """The body is complete: fill the meter from it."""
        if self.meter.fault is None and not self.meter.ended:
            body = bytes(self._data)
            self._data.clear()
            self._fields = read_body(body, self.meter, self._report)

    def ending(self, bill: Bill) -> bytes:
        told = {} if self._head.replayed else _other_counts(self._report)
        usage = {**told, **render_usage(bill, self.meter.service_tier)}
        body = {**self._fields, **ours(self._head), "usage": usage, **bill.extra}
        return escape_separators(msgspec.json.encode(body))

    def failure(self, error: TollwayError) -> bytes:
        return render_error(error)


def read_body(body: bytes, meter: Meter, report: dict[str, Any]) -> dict[str, Raw]:
    """The top level of a whole answer; the meter and the usage report are filled. What is wrong
    becomes `meter.fault`."""
    try:
        body.decode()
        fields = fields_decoder.decode(body)
        fault = None if b'"content"' in body and "error" not in fields else fault_inside(body)
        message = message_decoder.decode(body)
        said = msgspec.json.decode(message.usage) if message.usage else {}
    except BAD_JSON:
        mended = paired(body)
        if mended is not None:
            return read_body(mended, meter, report)
        what = "is not JSON" if body.strip() else "is empty"
        meter.fault = faults.broken(f"The provider's answer {what}.", body)
        return {}
    if fault is not None or message.content is None:
        meter.fault = fault or faults.broken("The provider's answer has no content.", body)
        return {}
    for block in message.content:
        note_block(meter, block)
        if block.input:
            meter.text_bytes += len(block.input)
    report.update(merged({}, said))
    meter.usage = parse_usage(report)
    tier = report.get("service_tier")
    meter.service_tier = tier if isinstance(tier, str) else None
    meter.upstream_id = (message.id or "")[:200] or None
    meter.native_finish = message.stop_reason
    meter.finish = finish_of(message.stop_reason or "end_turn")
    meter.spoke = meter.ended = True
    return fields


def ours(head: Head) -> dict[str, Any]:
    return {"id": head.id, "model": head.model, "provider": head.provider}


def named(name: str, fields: dict[str, Any]) -> bytes:
    """One event; `fields` as they come from Python, so without line ends."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(fields))


_OURS = frozenset({"cost", "cost_details", "is_byok", "inference_geo", "cache_creation"})


def _other_counts(report: dict[str, Any]) -> dict[str, Any]:
    """What the provider counted besides (passes over the context, speed). Money of a provider that
    is a router itself is not the caller's."""
    return {name: value for name, value in report.items() if name not in _OURS}


def _copied(payload: bytes) -> dict[str, Any]:
    """The top level of an event that is kept beyond its own bytes."""
    return {name: raw.copy() for name, raw in fields_decoder.decode(payload).items()}
