"""Ollama's answers as events: one JSON object a line, or one whole.

Rules: the line with `done` is the end; an `error` line is a fault. Tool calls come whole and, from
older versions, without ids: theirs are made from the time of the line, so that they differ between
turns. A prompt that was cached is counted short or not at all there; without a count ours is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import TOKENS_MAX, Event, FinishReason, Usage
from .. import faults
from ..answering import Answering
from ..openai_chat_answer import size
from ..sse import EVENT_BYTES_MAX, LF, EventTooLarge
from ..translated import Parser

FORMAT = "ollama-v1"

FINISH: Mapping[str, FinishReason] = {"stop": "stop", "length": "length"}


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    """A provider's answer to events; one that is not streamed is a single line."""
    return _Lines()


class _Function(msgspec.Struct):
    name: str
    arguments: Raw = Raw(b"{}")


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct):
    message: _Message | None = None
    created_at: str = ""
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Raw = Raw(b"")


_line_decoder = msgspec.json.Decoder(_Line)


class _Lines(Answering):
    def __init__(self) -> None:
        super().__init__()
        self._pending = bytearray()
        self._calls = 0

    def _payloads(self, data: bytes) -> Iterable[bytes]:
        if LF not in data:
            self._pending += data
            if len(self._pending) > EVENT_BYTES_MAX:
                raise EventTooLarge(f"a line is larger than {EVENT_BYTES_MAX} bytes")
            return []
        head, _, rest = data.rpartition(b"\n")
        whole = bytes(self._pending) + head
        self._pending = bytearray(rest)
        return [line for line in whole.split(b"\n") if line.strip()]

    def _last_payloads(self) -> Iterable[bytes]:
        last, self._pending = bytes(self._pending), bytearray()
        return [last] if last.strip() else []

    def _take(self, payload: bytes) -> list[Event]:
        line = _line_decoder.decode(payload)
        if len(line.error):
            self.meter.fault = faults.fault_in_answer({"error": msgspec.json.decode(line.error)})
            return []
        events: list[Event] = []
        message = line.message
        if message is not None:
            if message.thinking:
                events.append(self._thought(message.thinking))
            events += self._text(message.content or "")
            for call in message.tool_calls or ():
                events += self._call(call, line.created_at)
        if line.done:
            self._done(line)
        return events

    def _thought(self, text: str) -> Event:
        self.meter.spoke = True
        self.meter.reasoning_bytes += size(text)
        detail = {"type": "reasoning.text", "text": text, "format": FORMAT, "index": 0}
        return canon.Reasoning(text, (Raw(msgspec.json.encode(detail)),))

    def _call(self, call: _Call, created_at: str) -> list[Event]:
        index, self._calls = self._calls, self._calls + 1
        raw = bytes(call.function.arguments)
        arguments = msgspec.json.decode(raw, type=str) if raw[:1] == b'"' else raw.decode()
        made = f"{created_at} {index} {call.function.name} {arguments}"
        digest = hashlib.sha256(made.encode(errors="replace")).hexdigest()
        return self._called(index, call.id or f"call_{digest[:24]}", call.function.name, arguments)

    def _done(self, line: _Line) -> None:
        native = line.done_reason or "stop"
        if native in ("load", "unload"):  # the model was moved, nobody was asked
            self.meter.fault = faults.broken("The provider loaded the model and said nothing.")
            return
        prompt, completion = line.prompt_eval_count, line.eval_count
        counts = (-1 if prompt is None else prompt, -1 if completion is None else completion)
        if all(0 <= count <= TOKENS_MAX for count in counts):
            self.meter.usage = Usage(*counts)
        reason = FINISH.get(native, "stop")
        self._finished("tool_calls" if self._calls and reason == "stop" else reason, native)
        self.meter.ended = True
