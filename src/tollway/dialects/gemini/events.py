"""A provider's generateContent answer, streamed or whole, as events of `canon`.

For callers of another dialect. Rules as in reading: finish reasons are held back to the end, usage
comes after them, then Ended; a fault is one Failed event and the last. A call without an id gets
one that follows from the answer and its place, so that the same bytes give the same events; a
signature stands before the call it belongs to, and carries the call's id.
"""

from __future__ import annotations

from collections.abc import Collection
from hashlib import blake2b

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event
from .answer import Blob, Called, Candidate, Part, is_given
from .grounding import citations, logprobs
from .reading import BodyReading, Reading, StreamReading
from .signatures import detail, thought


class StreamParser(StreamReading):
    """`feed` takes bytes cut anywhere and gives the events completed by them."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        super().__init__()
        self._said = _Said()
        self._told_end = False

    def feed(self, data: bytes) -> list[Event]:
        return self._events(self._payloads(data))

    def finish(self) -> list[Event]:
        events = self._events(self._last_payloads())
        if not self._told_end:
            self._close()
            self._told_end = True
            events += _closing(self)
        return events

    def _events(self, payloads: list[bytes]) -> list[Event]:
        events: list[Event] = []
        for payload in payloads:
            found = self._read(payload)
            if found is None:
                break
            for candidate in found[1]:
                self._said.take(candidate, self.meter.upstream_id, events)
        if self.meter.fault is not None and not self._told_end:
            self._told_end = True
            events += _closing(self)
        return events


class BodyParser(BodyReading):
    """The same for a whole body: every event comes from `finish`."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        super().__init__()

    def feed(self, data: bytes) -> list[Event]:
        self._collect(data)
        return []

    def finish(self) -> list[Event]:
        if self.meter.ended:
            return []
        events: list[Event] = []
        said = _Said()
        found = self._whole()
        for candidate in found[1] if found is not None else ():
            said.take(candidate, self.meter.upstream_id, events)
        self._close()
        if self.meter.fault is not None:
            events.clear()
        return events + _closing(self)


def _closing(reading: Reading) -> list[Event]:
    if reading.meter.fault is not None:
        return [canon.Failed(reading.meter.fault)]
    events: list[Event] = [
        canon.Finish(reason, native, index)
        for index, (reason, native) in sorted(reading.finishes.items())
    ]
    if reading.meter.usage is not None:
        events.append(canon.Used(reading.meter.usage))
    events.append(canon.Ended())
    return events


class _Said:
    """What has been said so far, per candidate: calls are counted, text is kept for the places of
    citations."""

    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = {}
        self._calls: dict[int, int] = {}

    def take(self, candidate: Candidate, answer_id: str | None, events: list[Event]) -> None:
        index = candidate.index
        content = candidate.content
        for part in (content.parts or ()) if content is not None else ():
            self._part(part, index, answer_id, events)
        sources, cited = candidate.grounding_metadata, candidate.citation_metadata
        if (sources and is_given(sources)) or (cited and is_given(cited)):
            found = citations(candidate, "".join(self._texts.get(index, ())))
            if found:
                events.append(canon.Extra("annotations", Raw(msgspec.json.encode(found)), index))
        if candidate.logprobs_result and is_given(candidate.logprobs_result):
            told = logprobs(candidate.logprobs_result)
            if told is not None:
                events.append(canon.Extra("logprobs", Raw(msgspec.json.encode(told)), index))

    def _part(self, part: Part, index: int, answer_id: str | None, events: list[Event]) -> None:
        signature = part.thought_signature
        if part.thought:
            text = part.text or ""
            entry = thought(text) if signature is None else detail(signature, text=text)
            if text or signature is not None:
                events.append(canon.Reasoning(text, (entry,), index))
            return
        if part.function_call is not None:
            events += self._call(part.function_call, signature, index, answer_id)
            return
        text = part.text or ""
        if part.executable_code is not None:
            code = part.executable_code
            text = f"\n```{code.language.lower()}\n{code.code}\n```\n"
        elif part.code_execution_result is not None:
            text = f"\n```\n{part.code_execution_result.output}\n```\n"
        if text:
            self._texts.setdefault(index, []).append(text)
            events.append(canon.Text(text, index))
        elif part.inline_data is not None:
            events.append(_media(part.inline_data, index))
        if signature is not None:
            events.append(canon.Reasoning("", (detail(signature),), index))

    def _call(
        self, call: Called, signature: str | None, index: int, answer_id: str | None
    ) -> list[Event]:
        position = self._calls.get(index, 0)
        self._calls[index] = position + 1
        given = is_given(call.args)
        arguments = msgspec.json.format(bytes(call.args), indent=-1).decode() if given else "{}"
        call_id = call.id or _minted(answer_id or "", index, position, call.name, arguments)
        events: list[Event] = [canon.ToolCall(position, call_id, call.name, arguments, index)]
        if signature is not None:
            entry = detail(signature, call_id)
            events.insert(0, canon.Reasoning("", (entry,), index))
        return events


def _minted(*places: str | int) -> str:
    """An id of 20 hex digits: the answer's own id keeps it unique over a conversation."""
    digest = blake2b(msgspec.json.encode(places), digest_size=10)
    return f"call_{digest.hexdigest()}"


def _media(blob: Blob, index: int) -> Event:
    if blob.mime_type.startswith("audio/"):
        return canon.Extra("audio", Raw(msgspec.json.encode({"data": blob.data})), index)
    url = f"data:{blob.mime_type};base64,{blob.data}"
    image = {"type": "image_url", "image_url": {"url": url}}
    return canon.Extra("images", Raw(msgspec.json.encode([image])), index)
