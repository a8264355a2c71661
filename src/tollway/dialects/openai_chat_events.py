"""A provider's chat completion, streamed or whole, as events of `canon`.

For callers of another dialect. Rules as in openai_chat_reading: finish reasons are held back to
the end (some providers send two), usage comes after them, then Ended; a fault is one Failed event
and the last. The meter counts what was read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from .. import canon
from ..canon import Event
from . import Head
from .openai_chat_answer import (
    BAD_JSON,
    Choice,
    Delta,
    choices_decoder,
    is_given,
    note,
    only_text,
    reasoning_detail,
    size,
)
from .openai_chat_body import BodyRelay
from .openai_chat_reading import Reading, StreamReading
from .think_tags import ThinkTags


def events_of(choice: Choice, tags: ThinkTags | None = None) -> list[Event]:
    """What one choice of a chunk, or of a whole body, says."""
    delta = choice.delta or choice.message
    if delta is None:
        return []
    events: list[Event] = []
    index = choice.index
    thought = delta.reasoning or delta.reasoning_content
    if thought or delta.reasoning_details:
        details = tuple(raw.copy() for raw in delta.reasoning_details or ())
        if thought and not details:
            details = (Raw(msgspec.json.encode(reasoning_detail(thought))),)
        events.append(canon.Reasoning(thought or "", details, index))
    if delta.content:
        if tags is None:
            events.append(canon.Text(delta.content, index))
        else:
            events += _split(tags.feed(delta.content), index)
    if delta.refusal:
        events.append(canon.Refusal(delta.refusal, index))
    events += _calls(delta, index)
    for name in ("audio", "images", "annotations"):
        part = getattr(delta, name)
        if part:
            events.append(canon.Extra(name, Raw(msgspec.json.encode(part)), index))
    if is_given(choice.logprobs):
        events.append(canon.Extra("logprobs", choice.logprobs.copy(), index))
    return events


class StreamParser(StreamReading):
    """`feed` takes bytes cut anywhere and gives the events completed by them."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        super().__init__(quirks)
        self._tags: dict[int, ThinkTags] | None = {} if "think_tags_in_content" in quirks else None
        self._closed_off = False

    def feed(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for payload in self._payloads(data):
            self._read(payload, events)
            if self.meter.fault is not None or self.meter.ended:
                break
        return self._with_end(events)

    def finish(self) -> list[Event]:
        events: list[Event] = []
        for payload in self._last_payloads():
            self._read(payload, events)
        self._closed()
        return self._with_end(events)

    def _read(self, payload: bytes, events: list[Event]) -> None:
        raw = self._usual(payload)
        if raw is not None:
            try:
                choices = choices_decoder.decode(raw)
            except BAD_JSON:
                pass
            else:
                self._take(choices, events)
                return
        fields = self._envelope(payload)
        if fields is None or "choices" not in fields:
            return
        found = self._choices(fields["choices"])
        if found is not None:
            self._remember(payload, fields, fields["choices"])
            self._take(found[0], events)

    def _take(self, choices: list[Choice], events: list[Event]) -> None:
        meter = self.meter
        for choice in choices:
            text = only_text(choice)
            if text is not None and self._tags is None and not is_given(choice.logprobs):
                meter.text_bytes += len(text) if text.isascii() else size(text)
                meter.spoke = True
                events.append(canon.Text(text, choice.index))
                continue
            if not self._note_choice(choice):
                return
            delta = choice.delta or choice.message
            if delta is None:
                continue
            note(meter, delta)
            tags = None
            if self._tags is not None:
                tags = self._tags.setdefault(choice.index, ThinkTags())
            events += events_of(choice, tags)

    def _with_end(self, events: list[Event]) -> list[Event]:
        """The events, and once the reading is over what closes them."""
        if self._closed_off:
            return events
        if self.meter.fault is not None:
            self._closed_off = True
            events.append(canon.Failed(self.meter.fault))
        elif self.meter.ended:
            self._closed_off = True
            for index, tags in (self._tags or {}).items():
                events += _split(tags.finish(), index)
            events += _closing(self)
        return events


class BodyParser:
    """The same for a whole body: every event comes from `finish`."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        self._body = _BodyReader(_NOBODY, quirks)
        self.meter = self._body.meter

    def feed(self, data: bytes) -> list[Event]:
        self._body.feed(data)
        return []

    def finish(self) -> list[Event]:
        self._body.finish()
        if self.meter.fault is not None:
            return [canon.Failed(self.meter.fault)]
        return self._body.events + _closing(self._body)


class _BodyReader(BodyRelay):
    """Reads the choices into events instead of rewriting them."""

    def __init__(self, head: Head, quirks: Collection[str]) -> None:
        super().__init__(head, quirks)
        self.events: list[Event] = []

    def _read(self, choices: list[Choice], raw: Raw) -> list[dict[str, Any]]:
        tagged = "think_tags_in_content" in self.quirks
        for choice in choices:
            if not self._note_choice(choice):
                return []
            delta = choice.message or choice.delta
            if delta is not None:
                note(self.meter, delta)
            tags = ThinkTags() if tagged else None
            self.events += events_of(choice, tags)
            if tags is not None:
                self.events += _split(tags.finish(), choice.index)
        return []


_NOBODY = Head("", "", "", 0, False)


def _closing(reading: Reading) -> list[Event]:
    events: list[Event] = [
        canon.Finish(reason, native, index)
        for index, (reason, native) in sorted(reading.finishes.items())
    ]
    if reading.meter.usage is not None:
        events.append(canon.Used(reading.meter.usage))
    events.append(canon.Ended())
    return events


def _split(pieces: list[tuple[bool, str]], index: int) -> list[Event]:
    return [
        canon.Reasoning(text, (Raw(msgspec.json.encode(reasoning_detail(text))),), index)
        if is_reasoning
        else canon.Text(text, index)
        for is_reasoning, text in pieces
    ]


def _calls(delta: Delta, index: int) -> list[Event]:
    events: list[Event] = []
    for position, call in enumerate(delta.tool_calls or ()):
        function = call.function
        events.append(
            canon.ToolCall(
                position if call.index is None else call.index,
                call.id,
                function.name if function else None,
                (function.arguments if function else None) or "",
                index,
            )
        )
    legacy = delta.function_call
    if legacy is not None:
        events.append(canon.ToolCall(0, None, legacy.name, legacy.arguments or "", index))
    return events
