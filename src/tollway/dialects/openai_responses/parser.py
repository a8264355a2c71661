"""A provider's Responses answer, streamed or whole, as events of `canon`.

For callers of another dialect. Rules: text comes from the deltas, and from the finished item where
a host sends none; encrypted reasoning state is taken from the finished item only, since what the
opening one holds is not final. Then finish, usage, Ended; a fault is one Failed event and the last.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event
from .. import Meter
from ..openai_chat_answer import fields_decoder, size
from ..translated import Parser
from ..whole import WholeParser
from .conversation import citations
from .reading import (
    ADDED,
    ARGUMENTS,
    DELTAS,
    DONE_ITEM,
    FUNCTION_DELTA,
    REFUSAL,
    SUMMARY,
    TERMINAL,
    TEXT,
    THOUGHT,
    Content,
    Delta,
    Item,
    ResponsesReading,
    item_of,
    output_of,
)
from .rules import format_of


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    """A provider's answer, streamed or whole, to events."""
    return StreamParser(quirks) if stream else BodyParser(quirks)


class _Translator:
    """Items and their deltas to events; remembers what of each item has been given already."""

    def __init__(self, quirks: Collection[str]) -> None:
        self.events: list[Event] = []
        self._format = format_of(quirks)
        self._calls: dict[int, int] = {}
        """Output index to index of the call."""
        self._given: set[tuple[int, int]] = set()
        """Output index and kind of delta that has been seen."""
        self._tails: dict[tuple[str, int, int], bytes] = {}

    def delta(self, kind: int, at: Delta) -> None:
        index, text = at.output_index, at.delta
        if not text:
            return
        self._given.add((index, kind))
        if kind == TEXT:
            self.events.append(canon.Text(text))
        elif kind == ARGUMENTS:
            self.events.append(canon.ToolCall(self._call(index), None, None, text))
        elif kind == REFUSAL:
            self.events.append(canon.Refusal(text))
        else:
            part = at.summary_index if kind == SUMMARY else at.content_index
            self._reason(kind, at.item_id, part, text)

    def added(self, index: int, item: Item) -> None:
        if item.type == "function_call" and index not in self._calls:
            self.events.append(canon.ToolCall(self._call(index), item.call_id, item.name))

    def done(self, index: int, item: Item) -> None:
        match item.type:
            case "message":
                self._message(index, item)
            case "reasoning":
                self._reasoning(index, item)
            case "function_call":
                self.added(index, item)
                if item.arguments and (index, ARGUMENTS) not in self._given:
                    call = canon.ToolCall(self._call(index), None, None, item.arguments)
                    self.events.append(call)
            case "image_generation_call" if item.result:
                form = item.output_format or "png"
                url = f"data:image/{form};base64,{item.result}"
                image = [{"type": "image_url", "image_url": {"url": url}}]
                self.events.append(canon.Extra("images", Raw(msgspec.json.encode(image))))

    def _message(self, index: int, item: Item) -> None:
        given = {kind for kind in (TEXT, REFUSAL) if (index, kind) in self._given}
        for part in item.content or ():
            if part.text and TEXT not in given:
                self.events.append(canon.Text(part.text))
            if part.refusal and REFUSAL not in given:
                self.events.append(canon.Refusal(part.refusal))
            if part.annotations:
                notes = msgspec.json.encode(citations(part.annotations))
                self.events.append(canon.Extra("annotations", Raw(notes)))
            if len(part.logprobs) > 4:
                value = b'{"content":' + bytes(part.logprobs) + b',"refusal":null}'
                self.events.append(canon.Extra("logprobs", Raw(value)))

    def _reasoning(self, index: int, item: Item) -> None:
        parts: tuple[tuple[int, list[Content] | None], ...] = (
            (SUMMARY, item.summary),
            (THOUGHT, item.content),
        )
        for kind, texts in parts:
            if (index, kind) not in self._given:
                for n, part in enumerate(texts or ()):
                    if part.text:
                        self._reason(kind, item.id or "", n, part.text)
        if item.encrypted_content:
            key = (item.id or "", -1, 0)
            data = msgspec.json.encode(item.encrypted_content)
            detail = b'{"type":"reasoning.encrypted","data":' + data + self._tail(key)
            self.events.append(canon.Reasoning("", (Raw(detail),)))

    def _reason(self, kind: int, item_id: str, part: int, text: str) -> None:
        head = _SUMMARY if kind == SUMMARY else _THOUGHT
        detail = head + msgspec.json.encode(text) + self._tail((item_id, kind, part))
        self.events.append(canon.Reasoning(text, (Raw(detail),)))

    def _tail(self, key: tuple[str, int, int]) -> bytes:
        """The rest of a detail after its text. Each part of each item has an index of its own, by
        which the pieces of a stream are joined."""
        tail = self._tails.get(key)
        if tail is None:
            rest = {"format": self._format, "index": len(self._tails)}
            if key[0]:
                rest = {"id": key[0], **rest}
            tail = self._tails[key] = b"," + msgspec.json.encode(rest)[1:]
        return tail

    def _call(self, index: int) -> int:
        return self._calls.setdefault(index, len(self._calls))


_SUMMARY = b'{"type":"reasoning.summary","summary":'
_THOUGHT = b'{"type":"reasoning.text","text":'


class StreamParser(ResponsesReading):
    """`feed` takes bytes cut anywhere and gives the events completed by them."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        super().__init__(quirks)
        self._translator = _Translator(quirks)
        self._items = 0
        self._closed_off = False

    def feed(self, data: bytes) -> list[Event]:
        for payload in self._payloads(data):
            self._take(payload)
            if self.meter.fault is not None or self.meter.ended:
                break
        return self._with_end()

    def finish(self) -> list[Event]:
        for payload in self._last_payloads():
            self._take(payload)
        self._closed()
        return self._with_end()

    def on_delta(self, kind: bytes, delta: Delta, payload: bytes) -> None:
        """Of the calls only functions can be wanted by a caller of another dialect."""
        what = DELTAS[kind]
        if what != ARGUMENTS or kind == FUNCTION_DELTA:
            self._translator.delta(what, delta)

    def on_event(self, kind: bytes, fields: dict[str, Raw], payload: bytes) -> None:
        if kind in (ADDED, DONE_ITEM) and "item" in fields:
            index = msgspec.json.decode(fields.get("output_index", b"0"), type=int)
            item = item_of(fields["item"])
            self._items += 1
            if kind == ADDED:
                self._translator.added(index, item)
            else:
                self._whole(index, item)
        elif kind in TERMINAL and not self._items and not self.meter.spoke:
            response = fields_decoder.decode(fields.get("response", b"{}"))
            for index, raw in enumerate(output_of(response)):
                self._note_item(raw, True)
                self._whole(index, item_of(raw))

    def _whole(self, index: int, item: Item) -> None:
        before = len(self._translator.events)
        self._translator.done(index, item)
        for event in self._translator.events[before:]:
            _note(self.meter, event)

    def _with_end(self) -> list[Event]:
        """The events, and once the reading is over what closes them."""
        events, self._translator.events = self._translator.events, []
        if self._closed_off:
            return []
        if self.meter.fault is not None:
            self._closed_off = True
            events.append(canon.Failed(self.meter.fault))
        elif self.meter.ended:
            self._closed_off = True
            events += _closing(self)
        return events


class BodyParser(WholeParser):
    """The same for a whole body: every event comes from `finish`."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        super().__init__()
        self._quirks = quirks

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        reading = _WholeReading(self._quirks)
        reading.meter = self.meter
        reading.read(fields)
        if self.meter.fault is not None:
            return []
        translator = _Translator(self._quirks)
        for index, raw in enumerate(output_of(fields)):
            translator.done(index, item_of(raw))
        for event in translator.events:
            _note(self.meter, event)
        reason, native = reading.finishes[0]
        return [*translator.events, canon.Finish(reason, native)]


class _WholeReading(ResponsesReading):
    """Reads what a terminal event would hold."""

    def read(self, response: dict[str, Raw]) -> None:
        """Raises ValueError for what is no response."""
        if "output" not in response and "status" not in response:
            raise ValueError("neither output nor status")
        self._look_at(response)
        for raw in output_of(response):
            self._note_item(raw, True)
        self._finished(response)


def _note(meter: Meter, event: Event) -> None:
    match event:
        case canon.Text(text) | canon.Refusal(text):
            meter.text_bytes += size(text)
        case canon.Reasoning(text):
            meter.reasoning_bytes += size(text)
        case canon.ToolCall(_, _, name, arguments):
            meter.text_bytes += size(name or "") + size(arguments)


def _closing(reading: ResponsesReading) -> list[Event]:
    reason, native = reading.finishes.get(0, ("stop", None))
    events: list[Event] = [canon.Finish(reason, native)]
    if reading.meter.usage is not None:
        events.append(canon.Used(reading.meter.usage))
    events.append(canon.Ended())
    return events
