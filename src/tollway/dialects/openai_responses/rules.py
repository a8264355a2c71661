"""What every Responses request of ours obeys, whoever it comes from: fields, tools, reasoning.

Tables and small decisions shared by `render` (callers of this dialect) and `written` (all others).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Raw

from ...routing.entries import Attempt
from ..reasoning import Wanted
from . import schema
from .request import ENCRYPTED
from .thoughts import FORMAT

OURS = frozenset(
    {
        # set again
        "model",
        "max_output_tokens",
        "max_tokens",
        "max_completion_tokens",
        "reasoning",
        "reasoning_effort",
        "include_reasoning",
        "service_tier",
        "store",
        "n",
        # the router's own
        "models",
        "route",
        "provider",
        "plugins",
        "preset",
        "transforms",
        "session_id",
        "trace",
        "usage",
        "debug",
        "deferred_tools",
        "stop_server_tools_when",
        "max_tool_calls",
        "image_config",
        "cache_control",
        # there is nothing to refer to
        "background",
        "background_options",
        "previous_response_id",
        "conversation",
        "prompt",
        # who is asking
        "user",
        "safety_identifier",
        "access_programs",
        # other spellings of the output limit
        "max_new_tokens",
        "max_gen_len",
        "num_predict",
    }
)
"""Top-level fields of the caller that do not go upstream as they are."""

NOT_HERE = (
    "top_k",
    "min_p",
    "top_a",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "logit_bias",
    "modalities",
)
"""Parameters of other dialects that callers may send to ours, and this API refuses."""

SAMPLING = ("temperature", "top_p")

ACCOUNT_TOOLS = frozenset({"file_search", "code_interpreter", "image_generation"})
"""Tools that the provider runs in the operator's account, at prices that nobody held for."""


VERBOSITIES = ("low", "medium", "high")

# ---- reasoning -----------------------------------------------------------------------------------


def state_format(attempt: Attempt) -> str:
    """The format of this provider's encrypted reasoning, as `reasoning_details` name it."""
    return format_of(attempt.provider.quirks)


def format_of(quirks: Collection[str]) -> str:
    """OpenAI's, unless a quirk `responses_reasoning_format=…` names another."""
    for quirk in quirks:
        name, _, value = quirk.partition("=")
        if name == "responses_reasoning_format" and value:
            return value
    return FORMAT


def own_reasoning(given: Mapping[str, Raw]) -> dict[str, Any]:
    """What only this dialect says about reasoning: it goes up as it came."""
    raw = given.get("reasoning")
    if raw is None:
        return {}
    said = schema.fields_decoder.decode(raw)
    return {name: said[name] for name in _OWN if name in said and said[name] != _NULL}


_OWN = ("summary", "generate_summary", "mode", "context")
_NULL = Raw(b"null")


def reasoning(
    asked: Wanted, own: Mapping[str, Any], attempt: Attempt, output_tokens_max: int
) -> dict[str, Any]:
    """The `reasoning` object; empty when there is nothing to say."""
    told = dict(own)
    effort = asked.effort_for(attempt.model.efforts, output_tokens_max)
    if effort is not None:
        told["effort"] = effort
    return told


def reasons(attempt: Attempt) -> bool:
    """The model is known to think."""
    model = attempt.model
    return "reasoning" in model.capabilities or "reasoning" in (model.params or ())


def with_state(
    fields: dict[str, object], include: Sequence[str], attempt: Attempt, asked: Wanted
) -> None:
    """Set `include`: state in encrypted form from every model that has some. A model that does not
    think refuses to be asked for it."""
    names = list(dict.fromkeys(include))
    if ENCRYPTED not in names and asked.on is not False and (reasons(attempt) or asked.on):
        names.append(ENCRYPTED)
    if names:
        fields["include"] = names
    else:
        fields.pop("include", None)
