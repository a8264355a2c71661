"""A chat completion request for one provider: `canon.Request` and an attempt to an HTTP body.

Not here: what a provider wants differently (quirks, openai_chat_messages), nor how a request of
another dialect is put into this one (openai_chat_written). Rules: the caller's own JSON is sent,
field by field, except what is listed here. The output limit is always sent, because
it is what makes the hold a ceiling; nothing the caller writes can lift it, change the model, or
buy a dearer tier than the one that was planned. Who the caller is never goes upstream as such.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from ..canon import Request
from ..routing.entries import Attempt
from . import Outbound, conversation
from .openai_chat_messages import messages, tools
from .openai_chat_request import ChatRequest
from .openai_chat_written import written
from .options import extra_options
from .quirks import Draft, apply
from .reasoning import NOTHING, wanted

PATH = "/chat/completions"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is the limit that is held for, per choice."""
    lost: tuple[str, ...] = ()
    if not isinstance(request, ChatRequest):
        request, lost = written(request, conversation(request))
    given = request.fields
    dropped = _dropped(attempt)
    kept: dict[str, object] = {
        name: raw for name, raw in given.items() if name not in OURS and name not in dropped
    }
    asked = wanted({} if "reasoning" in dropped else given)
    draft = Draft(request, attempt, output_tokens_max, kept, asked)
    if lost:
        draft.dropped.update(dict.fromkeys(lost))
    apply(draft, attempt.provider.quirks)
    fields = draft.fields
    if request.traits:
        fields["messages"] = messages(given["messages"], request.traits, draft)
        if "tools" in fields:
            fields["tools"] = tools(given["tools"], request.traits, draft)
    if "cache_control" in given:
        if "cache_control" in draft.takes:
            fields["cache_control"] = given["cache_control"]
        else:
            draft.drop("cache_control")
    if asked is not NOTHING:
        draft.thinking(draft)
    options = request.preferences.options
    if options:
        fields.update(extra_options(options, attempt, _OPTIONS_REFUSED))
    if attempt.endpoint.service_tier:
        fields["service_tier"] = attempt.endpoint.service_tier
    if request.stream:
        fields["stream_options"] = _WITH_USAGE
    fields[draft.limit_field or _limit_field(given)] = output_tokens_max
    body = msgspec.json.encode({"model": attempt.endpoint.id, **fields})
    return Outbound(draft.path or PATH, body, (_JSON, *draft.headers), tuple(draft.dropped))


_JSON = ("Content-Type", "application/json")


OURS = frozenset(
    {
        # set again below
        "model",
        "max_tokens",
        "max_completion_tokens",
        "stream_options",
        "reasoning",
        "reasoning_effort",
        "include_reasoning",
        "cache_control",
        "service_tier",
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
        "structured_outputs",
        "image_config",
        "x_search_filter",
        # who is asking
        "user",
        "safety_identifier",
        # nothing is stored in the operator's account on a caller's word
        "store",
        # other spellings of the output limit, number of answers, and tiers: they cost money
        "max_output_tokens",
        "max_new_tokens",
        "max_gen_len",
        "num_predict",
        "best_of",
        "speed",
    }
)
"""Top-level fields of the caller that do not go upstream as they are."""

_OPTIONS_REFUSED = OURS - {"reasoning", "reasoning_effort", "cache_control", "image_config"} | {
    "messages",
    "stream",
    "n",
}
"""What `provider.options` may not set."""

_WITH_USAGE = {"include_usage": True}
_NONE: frozenset[str] = frozenset()

_GOES_WITH = {
    "tools": ("tools", "tool_choice", "parallel_tool_calls"),
    "structured_outputs": ("response_format",),
    "logprobs": ("logprobs", "top_logprobs"),
}
"""Dropping a parameter drops what makes no sense without it."""

_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "top_a",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
)


def _dropped(attempt: Attempt) -> frozenset[str]:
    names = attempt.dropped_params
    sampling = _SAMPLING if attempt.model.no_sampling else ()
    if not names and not sampling:
        return _NONE
    return frozenset(
        field for name in (*names, *sampling) for field in _GOES_WITH.get(name, (name,))
    )


def _limit_field(given: Mapping[str, Raw]) -> str:
    """The caller's own spelling; `max_tokens`, which more providers know, if it is not clear."""
    if "max_completion_tokens" in given and "max_tokens" not in given:
        return "max_completion_tokens"
    return "max_tokens"
