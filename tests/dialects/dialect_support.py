"""What the tests of the dialects share: heads and bills, an independent SSE reader, attempts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tollway.canon import Usage
from tollway.catalogue.entries import Endpoint, Model, Provider
from tollway.dialects import Bill, Head, Relay
from tollway.money import Price, Rates
from tollway.routing.entries import Attempt

HEAD = Head("gen-1", "acme/one", "Acme", 1_700_000_001, True)
WHOLE = Head("gen-1", "acme/one", "Acme", 1_700_000_001, False)
BILL = Bill(Usage(prompt_tokens=5, completion_tokens=7), 1_500, 500, 1_000)


def chunk(delta: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A provider's chunk with one choice; `finish`, `index` go into it, the rest on top."""
    choice = {
        "index": changes.pop("index", 0),
        "delta": delta if delta is not None else {},
        "finish_reason": changes.pop("finish", None),
    }
    top = {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**top, "choices": [choice], **changes}


def wire(*events: dict[str, Any] | bytes, done: bool = True) -> bytes:
    """Events as a plain stream."""
    out = b""
    for event in events:
        data = event if isinstance(event, bytes) else json.dumps(event).encode()
        out += b"data: " + data + b"\n\n"
    return out + (b"data: [DONE]\n\n" if done else b"")


def run(relay: Relay, parts: Iterable[bytes]) -> bytes:
    """Everything the relay gives the caller before its ending."""
    out = b"".join(relay.feed(part) for part in parts)
    if not relay.meter.ended:
        out += relay.finish()
    return out


def read_sse(data: bytes) -> list[bytes]:
    """Payloads of a stream: the format's rules, written for reading and not for speed."""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    payloads: list[bytes] = []
    lines: list[bytes] = []
    for line in [*re.split(rb"\r\n|\r|\n", data), b""]:
        if not line:
            if payload := b"\n".join(lines):
                payloads.append(payload)
            lines = []
        elif line == b"data" or line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value[:1] == b" " else value)
    return payloads


def read_chunks(data: bytes) -> list[dict[str, Any]]:
    """The JSON chunks of a stream for callers, without [DONE]."""
    return [json.loads(payload) for payload in read_sse(data) if payload != b"[DONE]"]


def said(chunks: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """What chunks add up to, per choice: content, reasoning, calls, finish reasons."""
    total: dict[int, dict[str, Any]] = {}
    for one in chunks:
        for choice in one["choices"]:
            known = total.setdefault(
                choice["index"], {"content": "", "reasoning": "", "calls": {}, "finish": []}
            )
            delta = choice["delta"]
            known["content"] += delta.get("content") or ""
            known["reasoning"] += delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                name, arguments = known["calls"].get(call["index"], ("", ""))
                function = call.get("function") or {}
                known["calls"][call["index"]] = (
                    name + (function.get("name") or ""),
                    arguments + (function.get("arguments") or ""),
                )
            if choice["finish_reason"]:
                known["finish"].append(choice["finish_reason"])
    return total


def attempt(
    quirks: Sequence[str] = (),
    *,
    dropped: Sequence[str] = (),
    service_tier: str | None = None,
    **model: Any,
) -> Attempt:
    """An attempt at a made-up endpoint; keywords are facts of the model."""
    return Attempt(
        model=Model(id="acme/one", name="One", author="acme", **model),
        endpoint=Endpoint(
            key="acme/one@acme",
            model="acme/one",
            provider="acme",
            tag="acme/fast",
            id="one-v1",
            price=Price(Rates(prompt=1, completion=1)),
            price_version="p1",
            service_tier=service_tier,
        ),
        provider=Provider(id="acme", name="Acme", quirks=tuple(quirks)),
        output_tokens_wanted=1_000,
        output_tokens_least=1,
        fixed_pico=0,
        output_pico=1,
        dropped_params=tuple(dropped),
    )
