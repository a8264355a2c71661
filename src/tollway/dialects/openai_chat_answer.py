"""The parts of a chat completion answer that matter to us, typed; shared by all its readers.

Not here: framing, rewriting. Rules: strict types first, because they are fast; what breaks them is
read once more leniently (hosts send content as lists, arguments as objects, indexes as strings),
and only what makes no sense even then is a broken answer. The types are made by the thousand and
hold no rings, so the garbage collector need not know them (`gc=False`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from ..canon import FinishReason
from . import Bill, Head, Meter
from .tiers import normal
from .toolcalls import ToolCalls

NOTHING = Raw(b"")


class CalledFunction(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class CallFragment(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: CalledFunction | None = None


class Delta(Struct, gc=False):
    """A piece of a message, or a whole message: both carry the same fields."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Raw] | None = None
    refusal: str | None = None
    tool_calls: list[CallFragment] | None = None
    function_call: CalledFunction | None = None
    audio: dict[str, Raw] | None = None
    images: list[Raw] | None = None
    annotations: list[Raw] | None = None


class Choice(Struct, gc=False):
    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    """Of a provider that is a router itself."""
    logprobs: Raw = NOTHING
    usage: Raw = NOTHING
    error: Raw = NOTHING


choices_decoder = msgspec.json.Decoder(list[Choice])
fields_decoder = msgspec.json.Decoder(dict[str, Raw])
listed_decoder = msgspec.json.Decoder(list[dict[str, Raw]])

BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Everything that decoding foreign bytes can raise."""

FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "sensitive": "content_filter",
    "refusal": "content_filter",
    "error": "error",
    "failed": "error",
    "abort": "error",
    "aborted": "error",
    "network_error": "error",
    "insufficient_system_resource": "error",
    "malformed_function_call": "error",
    "malformed_response": "error",
    "timeout": "error",
}
"""Providers' words, lower case, to the five of the contract."""


def finish_of(native: str) -> FinishReason:
    """A word nobody knows ends an answer like any other: `stop`, with the word kept beside it."""
    return FINISH.get(native.lower(), "stop")


def is_given(raw: Raw | None) -> bool:
    """The field is there and not null."""
    if raw is None or not raw:
        return False
    return len(raw) > 4 or bytes(raw) != b"null"


def only_text(choice: Choice) -> str | None:
    """The text of a choice that says nothing else: the kind that streams are made of."""
    delta = choice.delta
    if delta is None or choice.finish_reason is not None or choice.error or choice.usage:
        return None
    if delta.reasoning is not None or delta.reasoning_content is not None or delta.tool_calls:
        return None
    if delta.reasoning_details is not None or delta.refusal or delta.function_call is not None:
        return None
    return None if delta.audio or delta.images or delta.annotations else delta.content or None


def note(meter: Meter, delta: Delta) -> None:
    """Count what a piece delivers, and whether anything was said."""
    said = False
    if delta.content:
        meter.text_bytes += size(delta.content)
        said = True
    reasoning = delta.reasoning or delta.reasoning_content
    if reasoning:
        meter.reasoning_bytes += size(reasoning)
        said = True
    if delta.refusal:
        meter.text_bytes += size(delta.refusal)
        said = True
    for call in delta.tool_calls or ():
        said = True
        if call.function is not None:
            meter.text_bytes += size(call.function.arguments or "") + size(call.function.name or "")
    if delta.function_call is not None:
        meter.text_bytes += size(delta.function_call.arguments or "")
        said = True
    if delta.reasoning_details:
        meter.opaque = meter.opaque or any(
            b'"signature"' in d or b'"data"' in d for d in map(bytes, delta.reasoning_details)
        )
    if delta.audio or delta.images or delta.reasoning_details:
        said = True
    if said:
        meter.spoke = True


def collect(calls: ToolCalls, delta: Delta, choice: int) -> None:
    """Keep what a piece says of tool calls."""
    for call in delta.tool_calls or ():
        if call.function is not None:
            calls.add(call.index, call.function.name, call.function.arguments or "", choice)
    if delta.function_call is not None:
        calls.add(0, delta.function_call.name, delta.function_call.arguments or "", choice)


def size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def reasoning_detail(text: str) -> dict[str, Any]:
    """A `reasoning_details` entry for reasoning that came as plain text."""
    return {"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}


def opening(head: Head, kind: str, extra: Mapping[str, Raw]) -> bytes:
    """A chunk or body up to the value of `choices`; `extra` are the provider's own fields that
    are passed on."""
    fields = {
        "id": head.id,
        "object": kind,
        "created": head.created,
        "model": head.model,
        "provider": head.provider,
        **extra,
    }
    return msgspec.json.encode(fields)[:-1] + b',"choices":'


CHUNK = "chat.completion.chunk"


def finish_choice(index: int, reason: FinishReason, native: str | None) -> dict[str, Any]:
    """The choice of a chunk that says why an answer ended."""
    return {
        "index": index,
        "delta": {},
        "finish_reason": reason,
        "native_finish_reason": native or reason,
    }


def failure_choice() -> dict[str, Any]:
    """The choice of the chunk that carries an error."""
    return {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "finish_reason": "error",
        "native_finish_reason": "error",
    }


KEPT = ("system_fingerprint", "service_tier")
KEPT_AT_END = ("citations", "search_results")
"""The provider's own top-level fields that callers are shown: of every chunk, and of the last
chunk or body. All others speak of the provider's inside."""


def kept(fields: Mapping[str, Raw]) -> dict[str, Raw]:
    found = {n: fields[n] for n in KEPT if n in fields and bytes(fields[n])[:1] == b'"'}
    if (tier := found.get("service_tier")) is not None and bytes(tier) != _DEFAULT:
        found["service_tier"] = Raw(msgspec.json.encode(normal(msgspec.json.decode(tier))))
    return found


_DEFAULT = b'"default"'


def tier_field(bill: Bill) -> dict[str, str]:
    return {} if bill.service_tier is None else {"service_tier": bill.service_tier}


# ---- the lenient second look ---------------------------------------------------------------------


def mended(raw: Raw) -> list[dict[str, Any]]:
    """`choices` that break the strict types, in the shape they should have. Raises ValueError (or
    one of BAD_JSON) where no sense can be made of them."""
    choices = msgspec.json.decode(raw)
    if not isinstance(choices, list):
        raise ValueError("choices is not an array")
    return [_mended_choice(choice, n) for n, choice in enumerate(choices)]


def _mended_choice(choice: object, position: int) -> dict[str, Any]:
    if not isinstance(choice, dict):
        raise ValueError("a choice is not an object")
    fixed = dict(choice)
    fixed["index"] = _whole(choice.get("index"), position)
    for name in ("delta", "message"):
        part = choice.get(name)
        if part is None:
            fixed.pop(name, None)
        elif isinstance(part, dict):
            fixed[name] = _mended_delta(part)
        else:
            raise ValueError(f"{name} is not an object")
    reason = choice.get("finish_reason")
    fixed["finish_reason"] = reason if isinstance(reason, str) else None
    fixed.pop("native_finish_reason", None)
    return fixed


def _mended_delta(delta: dict[str, Any]) -> dict[str, Any]:
    fixed = dict(delta)
    thoughts: list[str] = []
    content = delta.get("content")
    if isinstance(content, list):
        fixed["content"] = _joined(content, thoughts)
    elif content is not None and not isinstance(content, str):
        raise ValueError("content is neither text nor a list of parts")
    for name in ("reasoning", "reasoning_content"):
        value = fixed.pop(name, None)
        if isinstance(value, str):
            thoughts.append(value)
        elif isinstance(value, list):
            thoughts.append(_joined(value, thoughts))
    if thoughts:
        fixed["reasoning"] = "".join(thoughts[:1] if len(set(thoughts)) == 1 else thoughts)
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        fixed["tool_calls"] = [_mended_call(call, n) for n, call in enumerate(calls)]
    else:
        fixed.pop("tool_calls", None)
    for name, kind in _KINDS.items():
        if not isinstance(fixed.get(name), kind):
            fixed.pop(name, None)
    return fixed


_KINDS: Mapping[str, type] = {
    "refusal": str,
    "function_call": dict,
    "audio": dict,
    "images": list,
    "annotations": list,
    "reasoning_details": list,
}


def _mended_call(call: object, position: int) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise ValueError("a tool call is not an object")
    fixed = dict(call)
    fixed["index"] = _whole(call.get("index"), position)
    name = call.get("id")
    if name is not None:
        fixed["id"] = str(name)
    function = call.get("function")
    if isinstance(function, dict):
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            arguments = msgspec.json.encode(arguments).decode()
        called = function.get("name")
        fixed["function"] = {
            "name": called if isinstance(called, str) else None,
            "arguments": arguments,
        }
        if fixed["function"]["name"] is None:
            del fixed["function"]["name"]
        if arguments is None:
            del fixed["function"]["arguments"]
    else:
        fixed.pop("function", None)
    return fixed


def _joined(parts: Sequence[object], thoughts: list[str]) -> str:
    """Text of a list of content parts; parts of type `thinking` go to `thoughts`."""
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            inner = part.get("thinking")
            if isinstance(inner, list):
                thoughts.append(_joined(inner, thoughts))
            elif isinstance(inner, str):
                thoughts.append(inner)
            elif isinstance(part.get("text"), str):
                texts.append(part["text"])
    return "".join(texts)


def _whole(value: object, otherwise: int) -> int:
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    return otherwise
