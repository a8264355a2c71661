"""What the tests of the Messages dialect share: the vendor SDK's request types made strict, and
streams as the vendor writes them."""

from __future__ import annotations

import collections.abc
import json
import os
import types
import typing
from functools import cache
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

from anthropic._types import SequenceNotStr
from anthropic.types import MessageCreateParams
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict, get_type_hints, is_typeddict

ANSWERED = {"input_tokens": 10, "output_tokens": 1}


@cache
def oracle() -> TypeAdapter[Any]:
    """Validates a whole request: nested lists are read at once, fields nobody knows are wrong."""
    return TypeAdapter(_strict(MessageCreateParams, {}))


def _strict(kind: Any, known: dict[Any, Any]) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Required, NotRequired):
        return origin[_strict(args[0], known)]
    if origin is Annotated:
        return _strict(args[0], known)
    if origin in (Union, types.UnionType):
        plain = [one for one in args if get_origin(one) not in (typing.IO, os.PathLike)]
        return Union[tuple(_strict(one, known) for one in plain)]  # noqa: UP007
    if origin in (collections.abc.Iterable, SequenceNotStr, list):
        return list[_strict(args[0], known)]  # type: ignore[misc]
    if is_typeddict(kind):
        if kind not in known:
            hints = get_type_hints(kind, include_extras=True)
            fields = {name: _strict(hint, known) for name, hint in hints.items()}
            made: Any = TypedDict(kind.__name__, fields, total=False)  # type: ignore[operator]
            extra = getattr(kind, "__pydantic_config__", {}).get("extra", "forbid")
            made.__pydantic_config__ = ConfigDict(extra=extra)
            known[kind] = made
        return known[kind]
    return kind


def check(body: bytes) -> dict[str, Any]:
    """The decoded body, valid for the vendor's own SDK, but for fields that its newest types leave
    to the older API version or to betas."""
    fields: dict[str, Any] = json.loads(body)
    oracle().validate_python({name: v for name, v in fields.items() if name not in ELSEWHERE})
    return fields


ELSEWHERE = {"temperature", "top_p", "top_k", "context_management"}


def named(*events: dict[str, Any]) -> bytes:
    """Events as the vendor writes them."""
    return b"".join(
        b"event: " + e["type"].encode() + b"\ndata: " + json.dumps(e).encode() + b"\n\n"
        for e in events
    )


def begun(**usage: Any) -> dict[str, Any]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**ANSWERED, **usage},
    }
    return {"type": "message_start", "message": message}


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": d} for d in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ended(reason: str = "end_turn", **usage: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    counts = {"output_tokens": 20, **usage}
    return [
        {"type": "message_delta", "delta": delta, "usage": counts},
        {"type": "message_stop"},
    ]


def text_block(index: int, *pieces: str) -> list[dict[str, Any]]:
    deltas = ({"type": "text_delta", "text": piece} for piece in pieces)
    return block(index, {"type": "text", "text": ""}, *deltas)


def read_named(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Events of a stream for callers, by name; each is one `event:` and one `data:` line."""
    found = []
    for part in data.decode().split("\n\n")[:-1]:
        name, payload = part.split("\n")
        found.append((name.removeprefix("event: "), json.loads(payload.removeprefix("data: "))))
    return found


RICH_BLOCKS = [
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "sig"},
    ),
    *text_block(1, "s", "o"),
    *block(
        2,
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a":'},
        {"type": "input_json_delta", "partial_json": " 1}"},
    ),
]
