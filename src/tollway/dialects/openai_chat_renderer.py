"""Events to a chat completion, streamed or whole: answers of providers of another dialect.

Opposite of openai_chat_events. Rules: a piece of text costs a few joins of bytes; finish reasons
are held back to the ending, where usage follows them; the role is said once a choice. Reasoning is
written under both of the contract's names, `reasoning` and `reasoning_details`; in a whole body
the fragments of one block are one entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from .. import canon
from ..canon import Event
from ..errors import TollwayError
from . import Bill, Head
from .openai_chat_answer import (
    CHUNK,
    failure_choice,
    finish_choice,
    opening,
    reasoning_detail,
    tier_field,
)
from .openai_usage import render_usage
from .reasoning import joined_details
from .sse import DONE, escape_separators

_LISTS = ("images", "annotations")


class StreamRenderer:
    """Events to chunks. See `translated.Renderer`."""

    def __init__(self, head: Head, hides: bool = False) -> None:
        self._before = b"data: " + opening(head, CHUNK, {})
        self._hides = hides
        self._finishes: dict[int, canon.Finish] = {}
        self._starts: dict[int, bytes] = {}
        """Of every chunk of a choice but its first, up to what its delta says."""

    def render(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for said in events:
            match said:
                case canon.Text():
                    text = msgspec.json.encode(said.text)
                    self._write(out, said.choice, b'"content":' + text)
                case canon.Reasoning():
                    if not self._hides:
                        self._write(out, said.choice, _reasoning(said))
                case canon.ToolCall():
                    self._write(out, said.choice, b'"tool_calls":[' + _call(said) + b"]")
                case canon.Refusal():
                    text = msgspec.json.encode(said.text)
                    self._write(out, said.choice, b'"refusal":' + text)
                case canon.Extra():
                    self._extra(out, said)
                case canon.Finish():
                    self._finishes[said.choice] = said
        return escape_separators(b"".join(out)) if out else b""

    def ending(self, bill: Bill) -> bytes:
        out: list[bytes] = []
        for _, said in sorted(self._finishes.items()):
            choice = finish_choice(said.choice, said.reason, said.native)
            out += (self._before, msgspec.json.encode([choice]), b"}\n\n")
        ending = {**tier_field(bill), "usage": render_usage(bill), **bill.extra}
        last = msgspec.json.encode(ending)
        out += (self._before, b"[],", last[1:], b"\n\n")
        return escape_separators(b"".join(out)) + DONE

    def failure(self, error: TollwayError) -> bytes:
        told = msgspec.json.encode({"error": error.body()["error"]})
        choices = msgspec.json.encode([failure_choice()])
        return b"".join((self._before, choices, b",", told[1:], b"\n\n"))

    def _extra(self, out: list[bytes], said: canon.Extra) -> None:
        if said.name == "logprobs":
            after = b'},"logprobs":' + bytes(said.value)
            self._write(out, said.choice, b'"content":""', after)
        elif said.name in _LISTS:
            self._write(out, said.choice, _quoted(said.name) + _listed(said.value))
        elif said.name == "audio":
            self._write(out, said.choice, _quoted(said.name) + bytes(said.value))

    def _write(self, out: list[bytes], choice: int, delta: bytes, after: bytes = b"}") -> None:
        start = self._starts.get(choice)
        if start is None:
            self._starts[choice] = b'%b[{"index":%d,"delta":{' % (self._before, choice)
            start = self._starts[choice] + b'"role":"assistant",'
        out += (start, delta, after, b',"finish_reason":null}]}\n\n')


class BodyRenderer:
    """Events to one body. See `translated.Renderer`."""

    def __init__(self, head: Head, hides: bool = False) -> None:
        self._head = head
        self._hides = hides
        self._choices: dict[int, _Choice] = {}

    def render(self, events: Sequence[Event]) -> bytes:
        for said in events:
            match said:
                case canon.Text():
                    self._choice(said.choice).text.append(said.text)
                case canon.Reasoning():
                    if not self._hides:
                        self._choice(said.choice).think(said)
                case canon.ToolCall():
                    self._choice(said.choice).call(said)
                case canon.Refusal():
                    self._choice(said.choice).refusal.append(said.text)
                case canon.Extra():
                    self._choice(said.choice).add(said)
                case canon.Finish():
                    self._choice(said.choice).finish = said
        return b""

    def ending(self, bill: Bill) -> bytes:
        head = self._head
        body = {
            "id": head.id,
            "object": "chat.completion",
            "created": head.created,
            "model": head.model,
            "provider": head.provider,
            "system_fingerprint": None,
            "choices": [self._choices[index].written(index) for index in sorted(self._choices)],
            **tier_field(bill),
            "usage": render_usage(bill),
            **bill.extra,
        }
        return escape_separators(msgspec.json.encode(body))

    def failure(self, error: TollwayError) -> bytes:
        return msgspec.json.encode(error.body())

    def _choice(self, index: int) -> _Choice:
        if index not in self._choices:
            self._choices[index] = _Choice()
        return self._choices[index]


class _Choice:
    """One message while it is being collected."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.finish: canon.Finish | None = None
        self._thoughts: list[str] = []
        self._details: list[Raw] = []
        self._calls: dict[int, _Called] = {}
        self._lists: dict[str, list[Raw]] = {}
        self._audio: dict[str, Any] = {}
        self._logprobs: dict[str, list[Raw]] = {}

    def think(self, said: canon.Reasoning) -> None:
        self._thoughts.append(said.text)
        if said.details:
            self._details += said.details
        elif said.text:
            self._details.append(Raw(msgspec.json.encode(reasoning_detail(said.text))))

    def call(self, said: canon.ToolCall) -> None:
        known = self._calls.setdefault(said.index, _Called())
        known.id = said.id or known.id
        known.name = said.name or known.name
        known.arguments.append(said.arguments)

    def add(self, said: canon.Extra) -> None:
        if said.name in _LISTS:
            self._lists.setdefault(said.name, []).extend(_list_decoder.decode(_listed(said.value)))
        elif said.name == "logprobs":
            for name, raw in _object_decoder.decode(said.value).items():
                if bytes(memoryview(raw)[:1]) == b"[":
                    self._logprobs.setdefault(name, []).extend(_list_decoder.decode(raw))
        elif said.name == "audio":
            self._hear(msgspec.json.decode(said.value))

    def written(self, index: int) -> dict[str, Any]:
        text = "".join(self.text)
        says_nothing = not text and bool(self._calls or self.refusal)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if says_nothing else text,
            "refusal": "".join(self.refusal) or None,
        }
        if any(self._thoughts):
            message["reasoning"] = "".join(self._thoughts)
        if self._details:
            message["reasoning_details"] = joined_details(self._details)
        if self._calls:
            message["tool_calls"] = [
                {
                    "id": called.id,
                    "type": "function",
                    "function": {"name": called.name, "arguments": "".join(called.arguments)},
                }
                for _, called in sorted(self._calls.items())
            ]
        message.update(self._lists)
        if self._audio:
            message["audio"] = self._audio
        finish = self.finish or canon.Finish("stop")
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs or None,
            "finish_reason": finish.reason,
            "native_finish_reason": finish.native or finish.reason,
        }

    def _hear(self, piece: Any) -> None:
        """Pieces of audio: data and transcript are continued, the rest is said once."""
        for name, value in piece.items() if isinstance(piece, dict) else ():
            if name in ("data", "transcript") and isinstance(value, str):
                value = self._audio.get(name, "") + value
            self._audio[name] = value


class _Called:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = self.name = ""
        self.arguments: list[str] = []


def _reasoning(said: canon.Reasoning) -> bytes:
    """The inside of a delta."""
    parts: list[bytes] = []
    if said.text:
        parts.append(b'"reasoning":' + msgspec.json.encode(said.text))
    if said.details:
        parts.append(b'"reasoning_details":[' + b",".join(map(bytes, said.details)) + b"]")
    elif said.text:
        parts.append(b'"reasoning_details":' + msgspec.json.encode([reasoning_detail(said.text)]))
    return b'"content":"",' + b",".join(parts) if parts else b'"content":""'


def _call(said: canon.ToolCall) -> bytes:
    function: dict[str, str] = {"arguments": said.arguments}
    fragment: dict[str, Any] = {"index": said.index}
    if said.id is not None:
        fragment["id"] = said.id
    if said.name is not None:
        fragment["type"] = "function"
        function = {"name": said.name, **function}
    return msgspec.json.encode({**fragment, "function": function})


def _quoted(name: str) -> bytes:
    return msgspec.json.encode(name) + b":"


def _listed(value: Raw) -> bytes:
    """A list as it is, one entry as a list."""
    plain = bytes(value)
    return plain if plain[:1] == b"[" else b"[" + plain + b"]"


_list_decoder = msgspec.json.Decoder(list[Raw])
_object_decoder = msgspec.json.Decoder(dict[str, Raw])
