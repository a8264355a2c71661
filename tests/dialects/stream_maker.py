"""Random provider streams with a known meaning, for the torture tests. Everything follows from a
`random.Random`; the oracle is built beside the bytes, not read from them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

TEXTS = ("a", " the", "é", "\u2028", "\u2029x", "\u0085", "日本", "🙂", "\\", '"', "\n", "\x00", "data: ", ": [DONE]", "", "</think>")  # fmt: skip


@dataclass
class Made:
    """A stream and what it means. `complete` is False where the stream ends as a fault."""

    data: bytes
    complete: bool = True
    content: dict[int, str] = field(default_factory=dict)
    reasoning: dict[int, str] = field(default_factory=dict)
    calls: dict[int, dict[int, tuple[str, str]]] = field(default_factory=dict)
    finish: dict[int, str] = field(default_factory=dict)
    usage: tuple[int, int] | None = None


def make(random: Random) -> Made:
    made = Made(b"")
    chunks = _chunks(random, made)
    style = _Style(random)
    blocks = [style.block(one) for one in chunks]
    if random.random() < 0.25:
        _spoil(random, made, blocks, style)
    elif made.finish and random.random() < 0.2:
        pass  # complete without [DONE]
    else:
        blocks.append(style.event(b"[DONE]"))
    made.data = style.start + b"".join(blocks)
    if made.complete and random.random() < 0.1:
        made.data = made.data.rstrip(b"\r\n")
    return made


def _chunks(random: Random, made: Made) -> list[dict[str, Any]]:
    """The JSON of a sound stream, its meaning noted in `made`."""
    chunks: list[dict[str, Any]] = []
    choices = random.choice((1, 1, 1, 2))
    top: dict[str, Any] = {"id": "up", "object": "chat.completion.chunk", "model": "m"}
    if random.random() < 0.3:
        top = dict(reversed(top.items()))
    first = random.random() < 0.3
    pads = random.random() < 0.3

    def put(index: int, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        around = {**top, "obfuscation": "x" * random.randrange(5)} if pads else top
        body = {"choices": [choice]}
        chunks.append({**body, **around} if first else {**around, **body})

    for index in range(choices):
        made.content[index] = made.reasoning[index] = ""
        made.calls[index] = {}
        if random.random() < 0.7:
            put(index, {"role": "assistant", "content": ""})
    for _ in range(random.randrange(1, 12)):
        index = random.randrange(choices)
        text = random.choice(TEXTS)
        match random.randrange(5):
            case 0 | 1 | 2:
                put(index, {"content": text})
                made.content[index] += text
            case 3:
                put(index, {random.choice(("reasoning", "reasoning_content")): text})
                made.reasoning[index] += text
            case _:
                _call(random, made, index, put)
    for index in range(choices):
        reasons = random.choice((["stop"], ["length"], ["stop", "tool_calls"]))
        for reason in reasons:
            put(index, {}, reason)
        made.finish[index] = reasons[-1]
    if random.random() < 0.7:
        made.usage = random.randrange(1000), random.randrange(1000)
        usage = {"prompt_tokens": made.usage[0], "completion_tokens": made.usage[1]}
        chunks.append({**top, "choices": [], "usage": usage})
    return chunks


def _call(random: Random, made: Made, index: int, put: Any) -> None:
    number = random.randrange(2)
    name, arguments = made.calls[index].get(number, ("", ""))
    fragment: dict[str, Any] = {"index": number, "function": {"arguments": '{"a'}}
    if not name:
        fragment |= {"id": f"c{number}", "type": "function"}
        fragment["function"]["name"] = name = f"f{number}"
    put(index, {"tool_calls": [fragment]})
    made.calls[index][number] = name, arguments + '{"a'


class _Style:
    """How one provider writes its events."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.end = random.choice((b"\n", b"\n", b"\r\n", b"\r"))
        self.space = random.choice((b" ", b" ", b""))
        self.start = random.choice((b"", b"", b"\xef\xbb\xbf"))
        self.ascii = random.random() < 0.5
        self.noise = random.random() < 0.3

    def block(self, one: dict[str, Any]) -> bytes:
        indent = self.random.choice((None, None, None, 1))
        text = json.dumps(one, ensure_ascii=self.ascii, indent=indent)
        return self.event(text.encode())

    def event(self, payload: bytes) -> bytes:
        lines = [b"data:" + self.space + line for line in payload.split(b"\n")]
        if self.noise:
            extra = self.random.choice(
                (b": keep-alive", b"id: 5", b"event: message", b"foo: bar", b":")
            )
            lines.insert(self.random.randrange(len(lines) + 1), extra)
        gap = self.end * (2 if self.random.random() < 0.9 else 3)
        block = self.end.join(lines) + gap
        if self.noise and self.random.random() < 0.3:
            block += b": OPENROUTER PROCESSING" + self.end * 2
        return block


def _spoil(random: Random, made: Made, blocks: list[bytes], style: _Style) -> None:
    """End the stream as a fault, after some of its events."""
    keep = random.randrange(len(blocks))
    del blocks[keep:]
    bad = (
        style.event(b'{"choices":[{"index":0,"delta":{"content":"a'),
        style.event(b'{"choices":[{"index":0,"delta":{"content":"\xff\xfe"}}]}'),
        style.event(b'{"error":{"message":"boom","code":500}}'),
        style.event(b"<html>busy</html>"),
        style.event(b'{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}'),
    )
    blocks.append(random.choice(bad))
    made.complete = False
