"""Cohere's answers as events: typed events over SSE, or one whole message.

Rules: a tool plan is reasoning too, told apart from thinking by its format so that each goes back
where it came from. What is billed is what is counted (`usage.billed_units`); the tokens the model
saw are more, and free.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event, FinishReason, Usage
from .. import faults
from ..answering import Answering
from ..openai_chat_answer import size
from ..sse import Framer
from ..translated import Parser
from ..whole import WholeParser

FORMAT, PLAN_FORMAT = "cohere-thinking-v2", "cohere-tool-plan-v2"

FINISH: Mapping[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
    "ERROR_LIMIT": "length",
    "ERROR": "error",
    "TIMEOUT": "error",
}


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    """A provider's answer, streamed or whole, to events."""
    return _Stream() if stream else _Body()


class _Stream(Answering):
    def __init__(self) -> None:
        super().__init__()
        self._framer = Framer()

    def _payloads(self, data: bytes) -> Iterable[bytes]:
        return self._framer.feed(data)

    def _last_payloads(self) -> Iterable[bytes]:
        return self._framer.finish()

    def _take(self, payload: bytes) -> list[Event]:
        if payload.strip() == b"[DONE]":
            return []
        event = _event_decoder.decode(payload)
        if event.type is None or event.type == "error":
            self.meter.fault = faults.fault_in_answer(msgspec.json.decode(payload))
        elif event.type == "message-start":
            self.meter.upstream_id = (event.id or "")[:200] or None
        elif event.type == "message-end":
            self._end(msgspec.json.decode(event.delta, type=_End))
        elif event.type in _SAYING:
            message = msgspec.json.decode(event.delta, type=_Delta).message
            return self._message(message, event.index or 0)
        return []

    def _message(self, message: _Piece, index: int) -> list[Event]:
        events: list[Event] = []
        if message.content is not None:
            events += self._thought(message.content.thinking, FORMAT)
            events += self._text(message.content.text or "")
        events += self._thought(message.tool_plan, PLAN_FORMAT)
        call = message.tool_calls
        if call is not None:
            events += self._called(index, call.id, call.function.name, call.function.arguments)
        return events + cited([message.citations] if message.citations is not None else [])

    def _thought(self, text: str | None, form: str) -> list[Event]:
        if not text:
            return []
        self.meter.spoke = True
        self.meter.reasoning_bytes += size(text)
        return [thought(text, form)]

    def _end(self, delta: _End) -> None:
        native = delta.finish_reason or "COMPLETE"
        self.meter.usage = read_usage(delta.usage)
        if delta.error:
            self.meter.fault = faults.fault_in_answer({"message": delta.error})
            return
        self._finished(FINISH.get(native, "stop"), native)
        self.meter.ended = self.meter.fault is None


_SAYING = frozenset(
    {"content-start", "content-delta", "tool-plan-delta", "tool-call-start", "tool-call-delta"}
    | {"citation-start"}
)
"""Events that say something; of the others nothing is read, whatever they are called."""


class _Body(WholeParser):
    def take(self, fields: dict[str, Raw]) -> list[Event]:
        said = msgspec.json.decode(fields["message"], type=_Message)
        native = msgspec.json.decode(fields["finish_reason"], type=str)
        meter = self.meter
        meter.finish, meter.native_finish = FINISH.get(native, "stop"), native
        meter.usage = read_usage(msgspec.json.decode(fields.get("usage", Raw(b"null"))))
        meter.upstream_id = msgspec.json.decode(fields.get("id", Raw(b'""')), type=str)[:200]
        if meter.finish == "error":
            meter.fault = faults.broken("The provider broke its answer off.")
        events: list[Event] = []
        if said.tool_plan:
            events.append(thought(said.tool_plan, PLAN_FORMAT))
        for part in said.content or ():
            if part.thinking:
                events.append(thought(part.thinking, FORMAT))
            if part.text:
                events.append(canon.Text(part.text))
        for n, call in enumerate(said.tool_calls or ()):
            function = call.function
            events.append(canon.ToolCall(n, call.id, function.name, function.arguments))
        events += cited(said.citations or [])
        for one in events:
            if isinstance(one, canon.Text):
                meter.text_bytes += size(one.text)
            elif isinstance(one, canon.Reasoning):
                meter.reasoning_bytes += size(one.text)
            elif isinstance(one, canon.ToolCall):
                meter.text_bytes += size(one.arguments) + size(one.name or "")
        return [*events, canon.Finish(meter.finish, native)]


class _Part(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str = ""


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Piece(msgspec.Struct):
    """Of a stream: one thing at a time where a whole message has lists."""

    content: _Part | None = None
    tool_calls: _Call | None = None
    tool_plan: str | None = None
    citations: dict[str, Any] | None = None


class _Delta(msgspec.Struct):
    message: _Piece


class _End(msgspec.Struct):
    finish_reason: str | None = None
    usage: Any = None
    error: str | None = None


class _Event(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    index: int | None = None
    delta: Raw = Raw(b"{}")


class _Message(msgspec.Struct):
    content: list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    tool_plan: str | None = None
    citations: list[dict[str, Any]] | None = None


_event_decoder = msgspec.json.Decoder(_Event)


def thought(text: str, form: str) -> canon.Reasoning:
    detail = {"type": "reasoning.text", "text": text, "format": form, "index": 0}
    return canon.Reasoning(text, (Raw(msgspec.json.encode(detail)),))


def read_usage(report: object) -> Usage | None:
    """`billed_units`, or `tokens` where nothing is said of billing; None for what is no count."""
    if not isinstance(report, Mapping):
        return None
    for name in ("billed_units", "tokens"):
        table = report.get(name)
        if isinstance(table, Mapping) and "output_tokens" in table:
            prompt = _count(table.get("input_tokens", 0))
            completion = _count(table.get("output_tokens"))
            if prompt is None or completion is None:
                return None
            cached = min(_count(report.get("cached_tokens")) or 0, prompt)
            return Usage(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached)
    return None


def cited(citations: Iterable[Mapping[str, Any]]) -> list[Event]:
    """Citations of documents that have an address, in the contract's words; the others speak of
    what the caller sent, by ids of Cohere's."""
    found: list[dict[str, Any]] = []
    for one in citations:
        for source in one.get("sources") or ():
            document = source.get("document") if isinstance(source, Mapping) else None
            if not isinstance(document, Mapping) or not isinstance(document.get("url"), str):
                continue
            known = {
                "url": document["url"],
                "title": document.get("title"),
                "content": document.get("snippet") or document.get("text"),
                "start_index": one.get("start"),
                "end_index": one.get("end"),
            }
            kept = {name: value for name, value in known.items() if value is not None}
            found.append({"type": "url_citation", "url_citation": kept})
    return [canon.Extra("annotations", Raw(msgspec.json.encode(found)))] if found else []


def _count(value: object) -> int | None:
    """Cohere writes counts as floats."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= canon.TOKENS_MAX and value == int(value) else None
