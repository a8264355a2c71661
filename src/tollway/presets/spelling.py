"""What a preset keeps, said in the dialect of a caller: where each field belongs, and whether the
caller has spoken of it already.

Kept names are those of chat completions, one for each thing: `max_tokens` for every spelling of the
output limit, `reasoning` for every way to ask for thought. A place is a path of at most two names
(`generationConfig.topP`). Tools and the system prompt have rules of their own (tools, prompts).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..catalogue.entries import Model
from ..dialects.gemini.models import takes_level
from ..dialects.reasoning import BUDGET_LEAST, SHARES, Wanted
from .draft import Draft, Path
from .tools import CHATS


class Place(NamedTuple):
    """Where a kept field goes. `silenced` are further paths of the request that speak of the same
    thing; `write` turns the value (None: it has no form here)."""

    path: Path
    silenced: tuple[Path, ...] = ()
    write: Callable[[Any], Any] = lambda value: value


COMMON = (
    "provider",
    "plugins",
    "route",
    "transforms",
    "service_tier",
    "cache_control",
    "max_tool_calls",
    "stop_server_tools_when",
    "deferred_tools",
)
"""The router's own fields, the same in all dialects but Gemini's."""

SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "top_a",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "logit_bias",
)
_OF_CHATS = (
    *COMMON,
    *SAMPLING,
    "n",
    "response_format",
    "structured_outputs",
    "verbosity",
    "prompt_cache_key",
    "prompt_cache_options",
    "web_search_options",
    "x_search_filter",
)
_OF_CHAT_ALONE = (
    "logprobs",
    "tool_choice",
    "parallel_tool_calls",
    "modalities",
    "audio",
    "image_config",
    "prediction",
)

KNOWN = frozenset(
    {
        *_OF_CHATS,
        *_OF_CHAT_ALONE,
        "model",
        "models",
        "max_tokens",
        "reasoning",
        "top_logprobs",
        "tools",
        "cache_enabled",
        "cache_ttl_seconds",
    }
)
"""Every kept name that has a meaning beyond the dialect it was sent in."""


def _same(*names: str) -> dict[str, Place]:
    return {name: Place((name,)) for name in names}


_REASONING = Place(("reasoning",), (("reasoning_effort",), ("include_reasoning",)))


def _stops(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _text_format(wanted: dict[str, Any]) -> Any:
    """`response_format` as `text.format`: what a json_schema holds stands one level higher."""
    if wanted["type"] != "json_schema":
        return wanted if wanted["type"] in ("text", "json_object") else None
    own = wanted["json_schema"]
    return {"type": "json_schema", **own, "schema": own.get("schema") or {}}


def _output_format(wanted: dict[str, Any]) -> Any:
    if wanted["type"] != "json_schema":
        return None
    return {"type": "json_schema", "schema": wanted["json_schema"].get("schema") or {}}


def _named(choice: Any) -> str | None:
    """The function a choice names; None for a word."""
    return choice["function"]["name"] if isinstance(choice, dict) else None


def _response_choice(choice: Any) -> Any:
    name = _named(choice)
    return choice if name is None else {"type": "function", "name": name}


def _message_choice(choice: Any) -> Any:
    name = _named(choice)
    if name is not None:
        return {"type": "tool", "name": name}
    return {"type": {"auto": "auto", "none": "none", "required": "any"}[choice]}


def _calling(choice: Any) -> Any:
    name = _named(choice)
    if name is not None:
        return {"mode": "ANY", "allowedFunctionNames": [name]}
    return {"mode": {"auto": "AUTO", "none": "NONE", "required": "ANY"}[choice]}


def _config(*names: str) -> Path:
    return ("generationConfig", *names)


PLACES: Mapping[str, Mapping[str, Place]] = {
    "openai_chat": {
        **_same(*_OF_CHATS, *_OF_CHAT_ALONE),
        "max_tokens": Place(("max_tokens",), (("max_completion_tokens",),)),
        "reasoning": _REASONING,
        "top_logprobs": Place(("top_logprobs",), (("logprobs",),)),
    },
    "openai_completions": {
        **_same(*_OF_CHATS),
        "max_tokens": Place(("max_tokens",), (("max_completion_tokens",),)),
        "reasoning": _REASONING,
    },
    "openai_responses": {
        **_same(*COMMON, *SAMPLING, "parallel_tool_calls", "modalities", "image_config"),
        **_same("prompt_cache_key", "prompt_cache_options", "top_logprobs"),
        "max_tokens": Place(("max_output_tokens",), (("max_tokens",), ("max_completion_tokens",))),
        "reasoning": _REASONING,
        "response_format": Place(("text", "format"), write=_text_format),
        "verbosity": Place(("text", "verbosity")),
        "tool_choice": Place(("tool_choice",), write=_response_choice),
    },
    "anthropic_messages": {
        **_same(*COMMON, "temperature", "top_p", "top_k", "max_tokens"),
        "stop": Place(("stop_sequences",), write=_stops),
        "response_format": Place(("output_config", "format"), write=_output_format),
        "tool_choice": Place(("tool_choice",), write=_message_choice),
    },
    "gemini": {
        **_same("provider", "plugins"),
        "service_tier": Place(("serviceTier",)),
        "temperature": Place(_config("temperature")),
        "top_p": Place(_config("topP")),
        "top_k": Place(_config("topK")),
        "frequency_penalty": Place(_config("frequencyPenalty")),
        "presence_penalty": Place(_config("presencePenalty")),
        "seed": Place(_config("seed")),
        "stop": Place(_config("stopSequences"), write=_stops),
        "max_tokens": Place(_config("maxOutputTokens")),
        "n": Place(_config("candidateCount")),
        "logprobs": Place(_config("responseLogprobs")),
        "top_logprobs": Place(_config("logprobs"), (_config("responseLogprobs"),)),
        "modalities": Place(
            _config("responseModalities"), write=lambda kinds: [kind.upper() for kind in kinds]
        ),
        "tool_choice": Place(("toolConfig", "functionCallingConfig"), write=_calling),
    },
}
"""By the caller's dialect. What is in no row has no place there and is named as dropped."""


def complete(
    draft: Draft, dialect: str, config: Mapping[str, Any], model: Model | None
) -> list[str]:
    """Put every kept field that the request does not speak of where it belongs, and give the names
    of those that have no place there. Models, tools and the response cache are not looked at."""
    lost: list[str] = []
    free: list[tuple[str, Place]] = []
    """Decided before anything is written: a field of the preset does not silence another."""
    for name in config:
        place = PLACES[dialect].get(name)
        if name in _ELSEWHERE or name not in KNOWN or (dialect, name) in _SPECIAL:
            continue
        if place is None:
            lost.append(name)
        elif not any(draft.has(path) for path in (place.path, *place.silenced)):
            free.append((name, place))
    written: set[str] = set()
    for name, place in free:
        said = place.write(config[name])
        if said is None:
            lost.append(name)
        else:
            draft.put(place.path, said)
            written.add(name)
    if dialect == "anthropic_messages":
        lost += _messages(draft, config, written, model)
    elif dialect == "gemini":
        lost += _gemini(draft, config, written, model)
    return lost


_ELSEWHERE = frozenset({"model", "models", "tools", "cache_enabled", "cache_ttl_seconds"})
_SPECIAL = frozenset(
    {
        ("anthropic_messages", "reasoning"),
        ("anthropic_messages", "parallel_tool_calls"),
        ("gemini", "reasoning"),
        ("gemini", "response_format"),
    }
)
"""Fields whose form depends on others or on the model."""


# ---- Messages ------------------------------------------------------------------------------------


def _messages(
    draft: Draft, config: Mapping[str, Any], written: set[str], model: Model | None
) -> list[str]:
    lost = []
    reasoning = config.get("reasoning")
    spoken = draft.has(("thinking",)) or draft.has(("output_config", "effort"))
    if reasoning is not None and not spoken and not _think(draft, reasoning, model):
        lost.append("reasoning")
    parallel = config.get("parallel_tool_calls")
    path = ("tool_choice", "disable_parallel_tool_use")
    if parallel is False and draft.has(("tools",)) and not draft.has(path):
        own = draft.get(("tool_choice",)) or {"type": "auto"}
        if own.get("type") != "none":
            draft.fields["tool_choice"] = {**own, "disable_parallel_tool_use": True}
    lost += _sampling_beside_thinking(draft, written)
    return lost


def _think(draft: Draft, reasoning: Mapping[str, Any], model: Model | None) -> bool:
    """`thinking` (and an effort) for a kept `reasoning`; False where there is no room for it. The
    newest models are told an effort, the others, and those nobody knows, a budget."""
    asked = asked_of(reasoning)
    if asked.on is None:
        return True
    if not asked.on:
        draft.put(("thinking",), {"type": "disabled"})
        return True
    choice = draft.get(("tool_choice",))
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        return False  # the vendor refuses thought before a forced call
    shown = {"display": "omitted"} if asked.exclude else {}
    if model is not None and model.efforts and not model.thinking_budget:
        draft.put(("thinking",), {"type": "adaptive", **shown})
        effort = asked.effort_for(model.efforts, _limit(draft.get(("max_tokens",))))
        if effort is not None:
            draft.put(("output_config", "effort"), effort)
        return True
    budget = asked.budget_for(_limit(draft.get(("max_tokens",))))
    if budget is None:
        return False
    draft.put(("thinking",), {"type": "enabled", "budget_tokens": budget, **shown})
    return True


LIMIT_GUESS = 32_768
"""Output tokens a share of which an effort is, where neither side gives a limit."""


def _limit(given: Any) -> int:
    return given if isinstance(given, int) and given > 0 else LIMIT_GUESS


def _sampling_beside_thinking(draft: Draft, written: set[str]) -> list[str]:
    """The vendor takes temperatures up to 1, and none at all (nor `top_k`) while it thinks: the
    preset's are left out then. What the caller wrote is the caller's."""
    if "temperature" in written:
        draft.put(("temperature",), min(draft.get(("temperature",)), 1))
    thinking = draft.get(("thinking",))
    if not isinstance(thinking, dict) or thinking.get("type") not in ("enabled", "adaptive"):
        return []
    lost: list[str] = []
    for name in ("temperature", "top_k"):
        if name in written and draft.fields[name] != 1:
            del draft.fields[name]
            lost.append(name)
    return lost


def asked_of(reasoning: Mapping[str, Any]) -> Wanted:
    """A kept `reasoning` as the dialects read one."""
    effort, budget = reasoning.get("effort"), reasoning.get("max_tokens")
    on: bool | None = None
    if reasoning.get("enabled") is False or effort == "none":
        on = False
    elif reasoning.get("enabled") or effort is not None or budget is not None:
        on = True
    hidden = reasoning.get("exclude") is True
    return Wanted(on, None if effort == "none" else effort, budget, hidden)


# ---- Gemini --------------------------------------------------------------------------------------


def _gemini(
    draft: Draft, config: Mapping[str, Any], written: set[str], model: Model | None
) -> list[str]:
    lost = []
    reasoning = config.get("reasoning")
    if reasoning is not None and not draft.has(_config("thinkingConfig")):
        said = _thinking_config(reasoning, model, _limit(draft.get(_config("maxOutputTokens"))))
        if said:
            draft.put(_config("thinkingConfig"), said)
    wanted = config.get("response_format")
    formats = ("responseMimeType", "responseSchema", "responseJsonSchema")
    if wanted is not None and not any(draft.has(_config(name)) for name in formats):
        if wanted["type"] in ("json_object", "json_schema"):
            draft.put(_config("responseMimeType"), "application/json")
            if wanted["type"] == "json_schema":
                schema = wanted["json_schema"].get("schema") or {}
                draft.put(_config("responseJsonSchema"), schema)
        elif wanted["type"] != "text":
            lost.append("response_format")
    if "top_logprobs" in written and draft.get(_config("responseLogprobs")) is not True:
        draft.put(_config("responseLogprobs"), True)
    if "stop" in written:
        draft.put(_config("stopSequences"), draft.get(_config("stopSequences"))[:5])
    return lost


def _thinking_config(
    reasoning: Mapping[str, Any], model: Model | None, output_tokens_max: int
) -> dict[str, Any]:
    """Levels for the models that know them, a budget for all others. Thoughts are shown, as they
    are to callers of other dialects, unless the preset excludes them."""
    asked = asked_of(reasoning)
    shown: dict[str, Any] = {"includeThoughts": not asked.exclude}
    if asked.on is None:
        return shown
    if not asked.on:
        return {"thinkingBudget": 0}
    if asked.effort is not None and model is not None and takes_level(model, model.id):
        level = {"max": "xhigh"}.get(asked.effort, asked.effort)
        return {"thinkingLevel": level.upper(), **shown}
    if asked.budget is not None:
        return {"thinkingBudget": asked.budget, **shown}
    if asked.effort is None:
        return {"thinkingBudget": -1, **shown}
    share = int(min(output_tokens_max, LIMIT_GUESS) * SHARES[asked.effort])
    return {"thinkingBudget": max(BUDGET_LEAST, share), **shown}


def own_fields(dialect: str, made_in: str) -> bool:
    """Whether fields that only one dialect knows, kept from `made_in`, mean something here."""
    return dialect == made_in or (dialect in CHATS and made_in in CHATS)
