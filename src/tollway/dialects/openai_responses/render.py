"""A Responses request for one provider: `canon.Request` and an attempt to an HTTP body.

Not here: how a conversation of another dialect becomes input items (written). Rules: a caller of
this dialect has its own JSON sent, field by field, except what is listed here. Nothing is stored at
the provider, so reasoning state is asked for in encrypted form, and earlier items without it are
left out: the provider would look for them in vain. The output limit is always sent, because it is
what makes the hold a ceiling. Tools that the provider runs at its own price, or on files of the
operator's account, are left out and named.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Raw

from ...canon import Request
from ...routing.entries import Attempt
from .. import Outbound
from .. import conversation as conversation_of
from ..options import extra_options
from ..reasoning import NOTHING, nearest, wanted
from . import schema
from .request import LOGPROBS, ResponsesRequest, decoded, hosted_search, items_of
from .rules import (
    ACCOUNT_TOOLS,
    NOT_HERE,
    OURS,
    SAMPLING,
    VERBOSITIES,
    own_reasoning,
    reasoning,
    state_format,
    with_state,
)
from .thoughts import is_foreign
from .written import written

PATH = "/responses"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is the limit that is held for. Reasoning tokens are inside it."""
    lost: dict[str, None] = {}
    if isinstance(request, ResponsesRequest):
        fields = _passed_on(request, attempt, output_tokens_max, lost)
    else:
        fields = written(conversation_of(request), attempt, output_tokens_max, lost)
        if request.choices > 1:
            lost["n"] = None
    fields.update(extra_options(request.preferences.options, attempt, _OPTIONS_REFUSED))
    if attempt.endpoint.service_tier:
        fields["service_tier"] = attempt.endpoint.service_tier
    if request.stream:
        fields["stream"] = True
    fields["store"] = False
    fields["max_output_tokens"] = output_tokens_max
    body = msgspec.json.encode({"model": attempt.endpoint.id, **fields})
    return Outbound(PATH, body, (_JSON,), tuple(lost))


_JSON = ("Content-Type", "application/json")

_OPTIONS_REFUSED = OURS - {"reasoning", "image_config"} | {"input", "stream", "tools"}
"""What `provider.options` may not set."""


def _passed_on(
    request: ResponsesRequest, attempt: Attempt, output_tokens_max: int, lost: dict[str, None]
) -> dict[str, object]:
    given = request.fields
    without = set(attempt.dropped_params)
    if attempt.model.no_sampling:
        without.update(SAMPLING)
    fields: dict[str, object] = {}
    for name, raw in given.items():
        if name in OURS or name in without:
            continue
        if name in NOT_HERE:
            lost[name] = None
        else:
            fields[name] = raw
    if "cache_control" in given:
        lost["cache_control"] = None
    if "reasoning" in request.traits:
        fields["input"] = _input(given["input"], attempt, lost)
    if "tools" in fields:
        _keep_tools(fields, given["tools"], without, lost)
    if "text" in fields:
        _text(fields, without)
    asked = NOTHING if "reasoning" in without else wanted(given)
    own = {} if "reasoning" in without else own_reasoning(given)
    told = reasoning(asked, own, attempt, output_tokens_max)
    if told:
        fields["reasoning"] = told
    named: list[str] = decoded(given, "include", list[str]) or []
    include = [name for name in named if name != LOGPROBS or "logprobs" not in without]
    with_state(fields, include, attempt, asked)
    return fields


def _input(raw: Raw, attempt: Attempt, lost: dict[str, None]) -> object:
    """The items without the reasoning that this provider cannot read."""
    own = state_format(attempt)
    kept: list[object] = []
    for item_raw, item in items_of(schema.items_decoder.decode(raw)):
        if not isinstance(item, schema.Reasoning):
            kept.append(item_raw)
            continue
        foreign = is_foreign(item, own)
        if foreign is not None:
            lost[foreign] = None
            continue
        if item.format is None and item.signature is None:
            kept.append(item_raw)
        else:
            said = schema.fields_decoder.decode(item_raw)
            kept.append({n: v for n, v in said.items() if n not in ("format", "signature")})
    return kept


def _keep_tools(
    fields: dict[str, object], raw: Raw, without: Collection[str], lost: dict[str, None]
) -> None:
    kept: list[Raw] = []
    for tool_raw in schema.items_decoder.decode(raw):
        tool = msgspec.json.decode(tool_raw, type=schema.Tool)
        hosted = tool.type in ACCOUNT_TOOLS or tool.type.startswith("openrouter:")
        contained = str((tool.environment or {}).get("type", "")).startswith("container")
        unpriced = hosted_search(tool.type) and "web_search_options" in without
        if hosted or contained or unpriced:
            lost[f"tools.{tool.type}"] = None
        else:
            kept.append(tool_raw)
    if kept:
        fields["tools"] = kept
    else:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            fields.pop(name, None)
    choice = fields.get("tool_choice")
    if isinstance(choice, Raw) and bytes(memoryview(choice)[:1]) == b"{":
        named = msgspec.json.decode(choice, type=schema.NamedChoice)
        if f"tools.{named.type}" in lost:
            del fields["tool_choice"]
            lost["tool_choice"] = None


def _text(fields: dict[str, object], without: Collection[str]) -> None:
    raw = fields.pop("text")
    assert isinstance(raw, Raw)
    text = schema.fields_decoder.decode(raw)
    if "verbosity" in without:
        text.pop("verbosity", None)
    elif text.get("verbosity") in _LOUDER:
        text["verbosity"] = msgspec.Raw(msgspec.json.encode(nearest("max", VERBOSITIES)))
    if "response_format" in without or "structured_outputs" in without:
        text.pop("format", None)
    if text:
        fields["text"] = text


_LOUDER = (Raw(b'"xhigh"'), Raw(b'"max"'))
"""Levels of other vendors."""
