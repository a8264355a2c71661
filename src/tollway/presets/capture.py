"""What a preset keeps of an inference body.

The body is checked as the dialect checks a request, and then said in the one vocabulary that
presets have, the fields of a chat completion. What belongs to one request only (what was said, how
it is delivered, who asks) is not kept. Opposite: merge.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from .. import errors
from ..canon import Request
from ..dialects import conversation, dialect
from ..dialects.openai_chat_written import written
from ..dialects.problems import bad_request
from ..dialects.reasoning import wanted
from . import prompts, tools
from .entries import CONFIG_BYTES_MAX, TTL_MOST_S
from .naming import MARK
from .spelling import COMMON, KNOWN

ONE_REQUEST = frozenset(
    {
        "messages",
        "input",
        "prompt",
        "stream",
        "stream_options",
        "session_id",
        "user",
        "safety_identifier",
        "metadata",
        "trace",
        "debug",
        "usage",
        "store",
        "background",
        "previous_response_id",
        "conversation",
    }
)
"""Fields of a single request: not kept."""

_SPOKEN = {
    "openai_chat": frozenset(
        {"max_tokens", "max_completion_tokens", "reasoning", "reasoning_effort"}
        | {"include_reasoning", "tools"}
    ),
    "openai_responses": frozenset(
        {"max_output_tokens", "max_tokens", "max_completion_tokens", "reasoning", "tools", "text"}
        | {"reasoning_effort", "include_reasoning", "tool_choice", "instructions"}
    ),
    "anthropic_messages": frozenset(
        {"max_tokens", "tools", "tool_choice", "system", "thinking", "output_config"}
        | {"stop_sequences", "fallbacks"}
    ),
}
"""Fields that are kept under another name or in another form."""

MAKES = frozenset(_SPOKEN)
"""Dialects a preset can be made in."""


class Captured(NamedTuple):
    config: dict[str, Any]
    system_prompt: str | None


def capture(name: str, body: bytes) -> Captured:
    """Raises CallerError (400, with the path of the field) for what a request in the dialect `name`
    could not say either, for nothing to keep, for too much."""
    fields = _fields_of(body)
    switches = {n: _switch(n, fields.pop(n)) for n in _SWITCHES if n in fields}
    request = dialect(name).parse_request(_as_request(name, fields))
    config: dict[str, Any] = {}
    for field in ("model", "models"):
        if field in fields:
            config[field] = msgspec.json.decode(fields[field])
    for field, raw in fields.items():
        if field not in ONE_REQUEST and field not in _SPOKEN[name] and field not in config:
            config[field] = msgspec.json.decode(raw)
    if name == "openai_chat":
        config.update(_of_chat(request))
    else:
        config.update(_of_others(request))
    if "fallbacks" in fields:
        config["models"] = [entry["model"] for entry in msgspec.json.decode(fields["fallbacks"])]
    if request.output_tokens_max is not None:
        config["max_tokens"] = request.output_tokens_max
    if "tools" in fields:
        given = msgspec.json.decode(fields["tools"], type=list[dict[str, Any]])
        config["tools"] = [tools.captured(name, tool) for tool in given]
    config.update(switches)
    found = Captured(config, _prompt(name, fields))
    _check(found)
    return found


def _fields_of(body: bytes) -> dict[str, Raw]:
    try:
        body.decode()
        given = msgspec.json.decode(body, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None
    fields = {name: raw for name, raw in given.items() if raw != _NULL}
    named = [text for text in map(_text, (fields.get("model"),)) if text]
    named += _texts(fields.get("models"))
    if "preset" in fields or any(MARK in model for model in named):
        field = "preset" if "preset" in fields else "model"
        raise errors.bad_field(field, "a preset cannot be made of a preset; name a model")
    return fields


_NULL = Raw(b"null")
_SAID = {
    "openai_chat": ("messages", [{"role": "user", "content": "-"}]),
    "openai_responses": ("input", "-"),
    "anthropic_messages": ("messages", [{"role": "user", "content": "-"}]),
}
"""Put in the place of what the body says, which is not kept and so need not be there, nor right."""


def _as_request(name: str, fields: dict[str, Raw]) -> bytes:
    """The settings of the body as a request that the dialect can check."""
    place, said = _SAID[name]
    kept: dict[str, Any] = {n: raw for n, raw in fields.items() if n not in ONE_REQUEST}
    kept[place] = said
    if not any(n in kept for n in ("model", "models", "fallbacks")):
        kept["model"] = "-"
    return msgspec.json.encode(kept)


# ---- fields --------------------------------------------------------------------------------------


def _of_chat(request: Request) -> dict[str, Any]:
    """`reasoning` for the three ways to ask for it."""
    asked = wanted(request.fields)
    given = request.fields.get("reasoning")
    reasoning: dict[str, Any] = {} if given is None else msgspec.json.decode(given)
    budgeted = "enabled" in reasoning or "max_tokens" in reasoning
    if not budgeted and (asked.effort is not None or asked.on is False):
        reasoning.setdefault("effort", asked.effort or "none")
    if asked.exclude:
        reasoning["exclude"] = True
    return {"reasoning": reasoning} if reasoning else {}


def _of_others(request: Request) -> dict[str, Any]:
    """What the pivot of requests has a place for, as a chat completion writes it; tools are taken
    from the body itself, since the pivot knows functions alone."""
    said = conversation(request)
    chat, _ = written(request, said)
    if "tool_choice" in request.fields and said.tool_choice is None:
        raise errors.bad_field(
            "tool_choice", "a preset can hold auto, none, required (any) or one function"
        )
    return {n: msgspec.json.decode(raw) for n, raw in chat.fields.items() if n in _OF_THE_PIVOT}


_OF_THE_PIVOT = KNOWN - {"tools", *COMMON} | {"cache_control"}


def _prompt(name: str, fields: dict[str, Raw]) -> str | None:
    """The system prompt, from where the dialect has it. Raises CallerError where it is no text."""
    place = {"openai_responses": "instructions", "anthropic_messages": "system"}.get(name)
    try:
        if place is not None:
            raw = fields.get(place)
            return (prompts.text_of(msgspec.json.decode(raw)) if raw is not None else "") or None
        given = fields.get("messages")
        turns = [] if given is None else msgspec.json.decode(given, type=list[dict[str, Any]])
    except msgspec.DecodeError:
        raise errors.bad_field("messages", "expected an array of objects") from None
    return prompts.leading(turns)


_SWITCHES = ("cache_enabled", "cache_ttl_seconds")


def _switch(name: str, raw: Raw) -> bool | int:
    """A switch of the response cache, which no dialect knows as a field of a request."""
    value = msgspec.json.decode(raw)
    if name == "cache_enabled":
        if not isinstance(value, bool):
            raise errors.bad_field(name, "expected true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= TTL_MOST_S:
        raise errors.bad_field(name, f"expected a whole number of 1 to {TTL_MOST_S:,}")
    return value


def _check(found: Captured) -> None:
    if not found.config and found.system_prompt is None:
        raise errors.bad_field("", "there is nothing to keep; give a model, a prompt or a setting")
    size = len(msgspec.json.encode(found.config)) + len((found.system_prompt or "").encode())
    if size > CONFIG_BYTES_MAX:
        raise errors.bad_field(
            "", f"a preset holds at most {CONFIG_BYTES_MAX:,} bytes of settings, this has {size:,}"
        )


def _text(raw: Raw | None) -> str:
    value = None if raw is None else msgspec.json.decode(raw)
    return value if isinstance(value, str) else ""


def _texts(raw: Raw | None) -> list[str]:
    value = None if raw is None else msgspec.json.decode(raw)
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
