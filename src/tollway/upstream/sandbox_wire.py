"""The sandbox's answers as `openai_chat` bytes: events of a stream, or one body.

Pure. Written as a provider writes it, with nothing of our own dialect code, so that the sandbox is
an honest counterpart. `created` is a constant: answers are reproducible.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from .sandbox_models import Piece, Said

CREATED = 1_767_225_600
"""2026-01-01T00:00:00Z."""

DONE = b"data: [DONE]\n\n"


class Event(msgspec.Struct, frozen=True):
    """One event of a stream with the tokens of answer it carries."""

    data: bytes
    tokens: int = 0


def event(value: Any, tokens: int = 0) -> Event:
    return Event(b"data: " + msgspec.json.encode(value) + b"\n\n", tokens)


def stream(said: Said, usage: dict[str, Any] | None, finish: str) -> Iterator[Event]:
    """Role, pieces and finish of each choice; then usage, unless None. Without [DONE]."""
    for choice in range(said.choices):
        yield event(_chunk(said, choice, {"role": "assistant", "content": ""}))
        spent = sent = 0
        for piece in said.pieces:
            sent += len(piece.text.encode())
            tokens = -(-sent // 4) - spent
            spent += tokens
            yield event(_chunk(said, choice, _delta(piece)), tokens)
        yield event(_chunk(said, choice, {}, finish))
    if usage is not None:
        yield event({**_frame(said, "chat.completion.chunk"), "choices": [], "usage": usage})


def body(said: Said, usage: dict[str, Any] | None, finish: str) -> Event:
    """The whole answer as one JSON body."""
    message = _message(said)
    choices = [
        {"index": n, "message": message, "logprobs": None, "finish_reason": finish}
        for n in range(said.choices)
    ]
    whole = {**_frame(said, "chat.completion"), "choices": choices}
    if usage is not None:
        whole["usage"] = usage
    return Event(msgspec.json.encode(whole), said.completion_tokens * said.choices)


def usage_of(said: Said) -> dict[str, Any]:
    completion = said.completion_tokens * said.choices
    return {
        "prompt_tokens": said.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": said.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": said.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": said.reasoning_tokens * said.choices},
    }


def error_of(status: int, code: str, message: str) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 429 else "sandbox_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _chunk(
    said: Said, choice: int, delta: dict[str, Any], finish: str | None = None
) -> dict[str, Any]:
    one = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**_frame(said, "chat.completion.chunk"), "choices": [one]}


def _frame(said: Said, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{said.id}",
        "object": kind,
        "created": CREATED,
        "model": said.model,
        "system_fingerprint": "sandbox",
    }


def _delta(piece: Piece) -> dict[str, Any]:
    match piece.kind:
        case "text":
            return {"content": piece.text}
        case "reasoning":
            return {"reasoning_content": piece.text}
        case "call":
            call: dict[str, Any] = {"index": piece.call, "function": {"arguments": piece.text}}
            if piece.name is not None:
                call.update(id=piece.id, type="function")
                call["function"] = {"name": piece.name, "arguments": piece.text}
            return {"tool_calls": [call]}


def _message(said: Said) -> dict[str, Any]:
    text = "".join(piece.text for piece in said.pieces if piece.kind == "text")
    reasoning = "".join(piece.text for piece in said.pieces if piece.kind == "reasoning")
    calls: list[dict[str, Any]] = []
    for piece in said.pieces:
        if piece.kind == "call" and piece.name is not None:
            function = {"name": piece.name, "arguments": ""}
            calls.append({"id": piece.id, "type": "function", "function": function})
        elif piece.kind == "call":
            calls[piece.call]["function"]["arguments"] += piece.text
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    return {**message, "refusal": None}
