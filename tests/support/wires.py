"""Events as the streams of providers whose dialect no client speaks, written from their references.

For the matrix of dialects: what it compares is what their parsers make of it. Only what each wire
has a place for is written; `tokens` says of usage, too, only what it can.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from tollway import canon
from tollway.canon import Event

Said = dict[str, Any]


def used(events: Sequence[Event]) -> canon.Usage:
    return next(event.usage for event in events if isinstance(event, canon.Used))


def finish(events: Sequence[Event]) -> str:
    return next(event.reason for event in events if isinstance(event, canon.Finish))


# ---- Bedrock Converse ----------------------------------------------------------------------------


def bedrock(events: Sequence[Event]) -> bytes:
    """application/vnd.amazon.eventstream: a frame an event, its name in the headers."""
    return b"".join(frame(name, payload) for name, payload in _converse(events))


def frame(name: str, payload: Said) -> bytes:
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in (
            (":event-type", name),
            (":content-type", "application/json"),
            (":message-type", "event"),
        )
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    message = prelude + headers + body
    return message + struct.pack(">I", zlib.crc32(message))


def _converse(events: Sequence[Event]) -> Iterator[tuple[str, Said]]:
    yield "messageStart", {"role": "assistant"}
    block, kind = -1, ""
    for event in events:
        spoken = _block_of(event)
        if spoken is None:
            continue
        wanted, start, deltas = spoken
        if wanted != kind:
            if block >= 0:
                yield "contentBlockStop", {"contentBlockIndex": block}
            block, kind = block + 1, wanted
            if start is not None:
                yield "contentBlockStart", {"contentBlockIndex": block, "start": start}
        for delta in deltas:
            yield "contentBlockDelta", {"contentBlockIndex": block, "delta": delta}
    if block >= 0:
        yield "contentBlockStop", {"contentBlockIndex": block}
    words = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
    yield "messageStop", {"stopReason": words[finish(events)]}
    usage = used(events)
    new = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    report = {
        "inputTokens": new,
        "outputTokens": usage.completion_tokens,
        "totalTokens": usage.prompt_tokens + usage.completion_tokens,
        "cacheReadInputTokens": usage.cached_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
    yield "metadata", {"usage": report, "metrics": {"latencyMs": 5}}


def _block_of(event: Event) -> tuple[str, Said | None, list[Said]] | None:
    match event:
        case canon.Reasoning(text, details):
            deltas = [{"reasoningContent": {"text": text}}] if text else []
            for raw in details:
                signature = msgspec.json.decode(raw).get("signature")
                if signature:
                    deltas.append({"reasoningContent": {"signature": signature}})
            return "reasoning", None, deltas
        case canon.Text(text):
            return "text", None, [{"text": text}]
        case canon.ToolCall(index, name, called, arguments):
            start = {"toolUse": {"toolUseId": name, "name": called}}
            return f"call {index}", start, [{"toolUse": {"input": arguments}}]
    return None


# ---- Cohere v2 -----------------------------------------------------------------------------------


def cohere(events: Sequence[Event]) -> bytes:
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (told["type"].encode(), json.dumps(told).encode())
        for told in _cohere(events)
    )


def _cohere(events: Sequence[Event]) -> Iterator[Said]:
    empty = {"role": "assistant", "content": [], "tool_calls": [], "citations": []}
    yield {"id": "m1", "type": "message-start", "delta": {"message": empty}}
    index, opened = -1, ""
    for event in events:
        kind = "thinking" if isinstance(event, canon.Reasoning) else "text"
        if isinstance(event, canon.Reasoning | canon.Text):
            if kind != opened:
                if opened:
                    yield {"type": "content-end", "index": index}
                index, opened = index + 1, kind
                yield _content("content-start", index, {"type": kind, kind: ""})
            if event.text:
                yield _content("content-delta", index, {kind: event.text})
        elif isinstance(event, canon.ToolCall):
            if opened:
                yield {"type": "content-end", "index": index}
                opened = ""
            if event.id:
                function = {"name": event.name, "arguments": event.arguments}
                called = {"id": event.id, "type": "function", "function": function}
                yield _called("tool-call-start", event.index, called)
            else:
                piece = {"function": {"arguments": event.arguments}}
                yield _called("tool-call-delta", event.index, piece)
    if opened:
        yield {"type": "content-end", "index": index}
    for number in sorted({e.index for e in events if isinstance(e, canon.ToolCall)}):
        yield {"type": "tool-call-end", "index": number}
    words = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}
    usage = used(events)
    counts = {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
    report = {"billed_units": counts, "tokens": counts, "cached_tokens": usage.cached_tokens}
    reason = words[finish(events)]
    yield {"type": "message-end", "delta": {"finish_reason": reason, "usage": report}}


def _content(kind: str, index: int, content: Said) -> Said:
    return {"type": kind, "index": index, "delta": {"message": {"content": content}}}


def _called(kind: str, index: int, called: Said) -> Said:
    return {"type": kind, "index": index, "delta": {"message": {"tool_calls": called}}}


# ---- Ollama --------------------------------------------------------------------------------------


def ollama(events: Sequence[Event]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in _ollama(events))


def _ollama(events: Sequence[Event]) -> Iterator[Said]:
    """Calls come whole, without ids."""
    common = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    calls: dict[int, tuple[str, str]] = {}
    for event in events:
        message: Said = {"role": "assistant", "content": ""}
        match event:
            case canon.Text(text):
                yield {**common, "message": {**message, "content": text}, "done": False}
            case canon.Reasoning(text) if text:
                yield {**common, "message": {**message, "thinking": text}, "done": False}
            case canon.ToolCall(index, _, name, arguments):
                known = calls.get(index, ("", ""))
                calls[index] = (name or known[0], known[1] + arguments)
    for name, arguments in calls.values():
        function = {"name": name, "arguments": json.loads(arguments)}
        message = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
        yield {**common, "message": message, "done": False}
    usage = used(events)
    counts = {"prompt_eval_count": usage.prompt_tokens, "eval_count": usage.completion_tokens}
    reason = "length" if finish(events) == "length" else "stop"
    last = {"role": "assistant", "content": ""}
    yield {**common, "message": last, "done": True, "done_reason": reason, **counts}


WIRES: dict[str, Callable[[Sequence[Event]], bytes]] = {
    "bedrock_converse": bedrock,
    "cohere_v2": cohere,
    "ollama": ollama,
}
"""Dialect to the writer of its stream."""
