"""A provider's Messages answer, streamed or whole, as events of `canon`.

For callers of another dialect. Rules: the finish reason is held back to the end, usage comes after
it, then Ended; a fault is one Failed event and the last. A call of the answer tool (see render) is
the text of a structured answer. Blocks of the vendor's own tools are not shown: their searches are
in the usage, their sources in the annotations.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event
from .. import Head, Meter
from ..surrogates import decoded
from .answer import BAD_JSON, Block, Delta, explanation, is_given, message_decoder
from .answer import Event as Heard
from .conversation import annotation_of
from .opaque import redacted_detail, signature_detail, thinking_detail
from .reading import Reading
from .relay import BodyRelay
from .render import ANSWER_TOOL


class _Blocks:
    """Blocks and their pieces to events; the state of one answer."""

    def __init__(self) -> None:
        self.calls = -1
        """Index of the latest call."""
        self.thoughts = -1
        self.answered = False
        """The answer tool was called."""
        self._kind = ""
        self._wrote = False
        """The call that is open had a piece of its arguments."""
        self._input: Raw | None = None

    def start(self, block: Block, out: list[Event]) -> None:
        self._kind = block.type
        match block.type:
            case "text":
                if block.text:
                    out.append(canon.Text(block.text))
                if bytes(block.citations)[:1] == b"[":
                    self._cited(block.citations, out)
            case "thinking":
                self.thoughts += 1
                if block.thinking or block.signature:
                    text, signature = block.thinking or "", block.signature
                    detail = thinking_detail(text, signature, self.thoughts)
                    out.append(canon.Reasoning(text, (detail,)))
            case "redacted_thinking":
                self.thoughts += 1
                detail = redacted_detail(block.data or "", self.thoughts)
                out.append(canon.Reasoning("", (detail,)))
            case "tool_use":
                self._call(block, out)

    def _call(self, block: Block, out: list[Event]) -> None:
        self._wrote = False
        plain = bytes(block.input).strip()
        self._input = Raw(plain) if plain not in (b"", b"{}", b"null") else None
        if block.name == ANSWER_TOOL:
            self._kind = "answer"
            self.answered = True
            return
        self.calls += 1
        out.append(canon.ToolCall(self.calls, block.id, block.name))

    def delta(self, delta: Delta, out: list[Event]) -> None:
        match delta.type:
            case "text_delta":
                if delta.text:
                    out.append(canon.Text(delta.text))
            case "thinking_delta":
                if delta.thinking:
                    detail = thinking_detail(delta.thinking, None, max(0, self.thoughts))
                    out.append(canon.Reasoning(delta.thinking, (detail,)))
            case "signature_delta":
                if delta.signature:
                    detail = signature_detail(delta.signature, max(0, self.thoughts))
                    out.append(canon.Reasoning("", (detail,)))
            case "input_json_delta":
                if delta.partial_json:
                    self._piece(delta.partial_json, out)
            case "citations_delta":
                self._cited(Raw(b"[" + bytes(delta.citation) + b"]"), out)

    def _piece(self, text: str, out: list[Event]) -> None:
        self._wrote = True
        if self._kind == "answer":
            out.append(canon.Text(text))
        elif self._kind == "tool_use":
            out.append(canon.ToolCall(self.calls, arguments=text))

    def stop(self, out: list[Event]) -> None:
        """Arguments that came with the block's start, or none at all, are said here."""
        if self._kind in ("tool_use", "answer") and not self._wrote:
            self._piece(bytes(self._input or b"{}").decode(), out)
        self._kind = ""

    def _cited(self, raw: Raw, out: list[Event]) -> None:
        try:
            citations = msgspec.json.decode(raw)
        except BAD_JSON:
            return
        found = [annotation_of(c) for c in citations if isinstance(c, Mapping)]
        entries = [entry for entry in found if entry is not None]
        if entries:
            out.append(canon.Extra("annotations", Raw(msgspec.json.encode(entries))))


def _closing(meter: Meter, blocks: _Blocks, why: str | None) -> list[Event]:
    """What ends an answer that is complete."""
    events: list[Event] = [canon.Refusal(why)] if why else []
    reason = meter.finish or "stop"
    if reason == "tool_calls" and blocks.answered and blocks.calls < 0:
        reason = meter.finish = "stop"
    events.append(canon.Finish(reason, meter.native_finish))
    if meter.usage is not None:
        events.append(canon.Used(meter.usage))
    events.append(canon.Ended())
    return events


class StreamParser(Reading):
    """`feed` takes bytes cut anywhere and gives the events completed by them."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        super().__init__(quirks)
        self._blocks = _Blocks()
        self._events: list[Event] = []
        self._why: str | None = None
        self._closed_off = False

    def feed(self, data: bytes) -> list[Event]:
        self._read(data)
        return self._taken()

    def finish(self) -> list[Event]:
        self._read_rest()
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        if self._closed_off:
            return events
        if self.meter.fault is not None:
            self._closed_off = True
            events.append(canon.Failed(self.meter.fault))
        elif self.meter.ended:
            self._closed_off = True
            events += _closing(self.meter, self._blocks, self._why)
        return events

    def _take(self, event: Heard, payload: bytes) -> None:
        if event.type == "content_block_delta" and event.delta is not None:
            self._blocks.delta(event.delta, self._events)
        elif event.type == "content_block_start" and event.content_block is not None:
            self._blocks.start(event.content_block, self._events)
        elif event.type == "content_block_stop":
            self._blocks.stop(self._events)
        elif event.type == "message_delta" and event.delta is not None:
            self._why = explanation(event.delta.stop_details) or self._why


class BodyParser:
    """The same for a whole body: every event comes from `finish`."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        self._body = _KeptBody()
        self.meter = self._body.meter

    def feed(self, data: bytes) -> list[Event]:
        self._body.feed(data)
        return []

    def finish(self) -> list[Event]:
        whole = self._body.whole()
        if self.meter.fault is not None:
            return [canon.Failed(self.meter.fault)]
        message = decoded(message_decoder, whole)
        events: list[Event] = []
        blocks = _Blocks()
        for block in message.content or ():
            blocks.start(block, events)
            blocks.stop(events)
        why = explanation(message.stop_details) if is_given(message.stop_details) else None
        return events + _closing(self.meter, blocks, why)


class _KeptBody(BodyRelay):
    """Reads a whole body and gives its bytes."""

    def __init__(self) -> None:
        super().__init__(Head("", "", "", 0, False))

    def whole(self) -> bytes:
        body = bytes(self._data)
        self.read()
        return body
