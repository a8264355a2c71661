"""Where a provider of OpenAI's dialect differs: one function per difference, found by its name.

A provider's entry names its quirks (`name` or `name=value`); here is what each does to a request.
Names without a function are facts for people, or differences in answers that the stream reader
knows (`think_tags_in_content`, `completion_tokens_exclude_reasoning_in_chat`). Pure: a quirk
changes the draft of one outbound request and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import quote

import msgspec
from msgspec import Raw

from ..canon import Request
from ..routing.entries import Attempt
from .reasoning import Wanted


class Draft:
    """An outbound request while it is being written. Quirks set what differs; the renderer does
    the rest."""

    __slots__ = (
        "attempt",
        "content_as_string",
        "dropped",
        "fields",
        "headers",
        "limit_field",
        "output_tokens_max",
        "path",
        "replays",
        "request",
        "takes",
        "thinking",
        "tool_id_length",
        "wanted",
    )

    def __init__(
        self,
        request: Request,
        attempt: Attempt,
        output_tokens_max: int,
        fields: dict[str, object],
        wanted: Wanted,
    ) -> None:
        self.request = request
        self.attempt = attempt
        self.output_tokens_max = output_tokens_max
        self.fields = fields
        """Top-level fields as they will be sent; the renderer adds model, limit and messages."""
        self.wanted = wanted
        self.headers: list[tuple[str, str]] = []
        self.path: str | None = None
        """Below the base URL, where the dialect's own does not hold."""
        self.limit_field: str | None = None
        self.takes: set[str] = set()
        """Traits of messages (openai_chat_request.TRAITS) that this provider takes unchanged."""
        self.replays: str | None = None
        """Field in which earlier reasoning is sent back; None = it is left out."""
        self.thinking: Callable[[Draft], None] = _thinking_openai
        self.tool_id_length: int | None = None
        self.content_as_string = False
        self.dropped: dict[str, None] = {}
        """What of the request this provider cannot be sent, by name, in the order it was met."""

    def drop(self, name: str) -> None:
        self.dropped[name] = None

    def without(self, name: str) -> None:
        """Take a field out, and say so where there was one."""
        if self.fields.pop(name, None) is not None:
            self.drop(name)

    @property
    def streaming(self) -> bool:
        return self.request.stream

    @property
    def reasons(self) -> bool:
        """The model is known to think."""
        model = self.attempt.model
        return "reasoning" in model.capabilities or "reasoning" in (model.params or ())

    @property
    def bills_cache_writes(self) -> bool:
        """OpenAI bills them for exactly the models that take explicit breakpoints."""
        return self.attempt.endpoint.price.base.input_cache_write is not None

    def keep(self, name: str, value: object) -> None:
        """Set a field unless the caller's own is there."""
        self.fields.setdefault(name, value)


Quirk = Callable[[Draft, str], None]


def apply(draft: Draft, names: tuple[str, ...]) -> None:
    for quirk, value in _compiled(names):
        quirk(draft, value)


@lru_cache(maxsize=1024)
def _compiled(names: tuple[str, ...]) -> tuple[tuple[Quirk, str], ...]:
    parts = (name.partition("=") for name in names)
    return tuple((QUIRKS[name], value) for name, _, value in parts if name in QUIRKS)


# ---- limits and identity -------------------------------------------------------------------------


def _max_tokens_field(draft: Draft, value: str) -> None:
    draft.limit_field = value


def _session_affinity_header(draft: Draft, value: str) -> None:
    """Keeps a conversation on the machine that has its prompt cached."""
    if draft.request.session_id and draft.request.session_id.isascii():
        printable = "".join(c for c in draft.request.session_id if c.isprintable())
        draft.headers.append((value, printable))


def _no_store(draft: Draft, _: str) -> None:
    """`store` is never sent to anyone; `metadata` goes with it."""
    draft.without("metadata")


def _legacy_path(draft: Draft, value: str) -> None:
    """Azure's older URLs, with the deployment in the path; a provider that has the newer ones, too,
    is called by those."""
    if "v1_path_no_api_version" not in draft.attempt.provider.quirks:
        deployment = quote(draft.attempt.endpoint.id, safe="")
        draft.path = value.replace("{deployment}", deployment)


# ---- messages ------------------------------------------------------------------------------------


def _developer_role(draft: Draft, _: str) -> None:
    """OpenAI itself: newer message parts go as they are."""
    draft.takes |= {"developer", "original"}


def _no_developer_role(draft: Draft, _: str) -> None:
    draft.takes.discard("developer")


def _explicit_cache_breakpoints(draft: Draft, _: str) -> None:
    draft.takes.add("cache_breakpoint")


def _cache_control_supported(draft: Draft, _: str) -> None:
    draft.takes.add("cache_control")


def _reasoning_details(draft: Draft, _: str) -> None:
    draft.takes.add("reasoning")


def _router_like(draft: Draft, _: str) -> None:
    """A provider that is a router with this same contract."""
    draft.takes |= {"router_fields", "reasoning", "cache_control", "cache_breakpoint"}


def _replay_reasoning_content(draft: Draft, _: str) -> None:
    draft.replays = "reasoning_content"


def _tool_call_id_len(draft: Draft, value: str) -> None:
    draft.tool_id_length = int(value)


def _content_must_be_string(draft: Draft, _: str) -> None:
    draft.content_as_string = True


# ---- parameters ----------------------------------------------------------------------------------


def _without(*names: str) -> Quirk:
    def drop(draft: Draft, _: str) -> None:
        for name in names:
            draft.without(name)

    return drop


def _is(draft: Draft, name: str, literal: bytes) -> bool:
    value = draft.fields.get(name)
    return isinstance(value, Raw) and bytes(value) == literal


def _temperature_max(draft: Draft, value: str) -> None:
    raw = draft.fields.get("temperature")
    if isinstance(raw, Raw) and msgspec.json.decode(raw, type=float) > float(value):
        draft.fields["temperature"] = float(value)


def _seed_field(draft: Draft, value: str) -> None:
    if "seed" in draft.fields:
        draft.fields[value] = draft.fields.pop("seed")


def _tool_choice_required(draft: Draft, value: str) -> None:
    if _is(draft, "tool_choice", b'"required"'):
        draft.fields["tool_choice"] = value


def _tool_choice_required_unsupported(draft: Draft, _: str) -> None:
    if _is(draft, "tool_choice", b'"required"'):
        draft.fields["tool_choice"] = "auto"


def _tool_choice_auto_only(draft: Draft, _: str) -> None:
    """`none` becomes no tools at all, anything else the default."""
    if _is(draft, "tool_choice", b'"none"'):
        draft.fields.pop("tools", None)
    draft.fields.pop("tool_choice", None)


def _sampling_unless_reasoning(draft: Draft, _: str) -> None:
    if draft.reasons:
        for name in ("presence_penalty", "frequency_penalty", "stop"):
            draft.without(name)


def _reasoning_format(draft: Draft, _: str) -> None:
    """Groq writes <think> tags into the content unless told otherwise."""
    if draft.reasons and draft.wanted.on is not False:
        draft.keep("reasoning_format", "hidden" if draft.wanted.exclude else "parsed")


def _tool_stream_flag(draft: Draft, _: str) -> None:
    if draft.streaming and "tools" in draft.fields:
        draft.keep("tool_stream", True)


def _flag(name: str) -> Quirk:
    """A switch that asks for reasoning apart from the content."""

    def switch(draft: Draft, _: str) -> None:
        if draft.reasons:
            draft.keep(name, True)

    return switch


# ---- the reasoning switch ------------------------------------------------------------------------


def _thinking(draft: Draft, value: str) -> None:
    draft.thinking = THINKING.get(value, _thinking_openai)


def _thinking_openai(draft: Draft) -> None:
    effort = draft.wanted.effort_for(draft.attempt.model.efforts, draft.output_tokens_max)
    if effort is not None:
        draft.fields["reasoning_effort"] = effort


def _thinking_openrouter(draft: Draft) -> None:
    """The caller's own object, with what the other spellings say."""
    wanted = draft.wanted
    said: dict[str, object] = {}
    if raw := draft.request.fields.get("reasoning"):
        said.update(msgspec.json.decode(raw, type=dict[str, Raw]))
    if wanted.effort is not None or wanted.on is False:
        effort = wanted.effort_for(draft.attempt.model.efforts, draft.output_tokens_max)
        said["effort"] = effort
    if wanted.exclude:
        said["exclude"] = True
    if said:
        draft.fields["reasoning"] = said


def _thinking_deepseek(draft: Draft) -> None:
    """`thinking: {type}`; the effort beside it only where the model has several."""
    if draft.wanted.on is None:
        return
    draft.fields["thinking"] = {"type": "enabled" if draft.wanted.on else "disabled"}
    levels = [level for level in draft.attempt.model.efforts if level not in ("none", "off")]
    if draft.wanted.on and draft.wanted.effort is not None and len(levels) > 1:
        draft.fields["reasoning_effort"] = draft.wanted.effort_for(levels, draft.output_tokens_max)


def _thinking_qwen(draft: Draft) -> None:
    if draft.wanted.on is None:
        return
    draft.fields["enable_thinking"] = draft.wanted.on
    if draft.wanted.effort is not None or draft.wanted.budget is not None:
        budget = draft.wanted.budget_for(draft.output_tokens_max)
        if budget is not None:
            draft.fields["thinking_budget"] = budget


def _thinking_together(draft: Draft) -> None:
    if draft.wanted.on is None:
        return
    draft.fields["reasoning"] = {"enabled": draft.wanted.on}
    if draft.wanted.on and draft.wanted.effort is not None and draft.attempt.model.efforts:
        _thinking_openai(draft)


def _thinking_tmpl(draft: Draft) -> None:
    """Chat templates disagree on the name of the switch; both are ignored where unknown."""
    if draft.wanted.on is None:
        return
    given = draft.fields.get("chat_template_kwargs")
    own = msgspec.json.decode(given, type=dict[str, Raw]) if isinstance(given, Raw) else {}
    switch: dict[str, object] = {
        "enable_thinking": draft.wanted.on,
        "thinking": draft.wanted.on,
    }
    draft.fields["chat_template_kwargs"] = {**switch, **own}
    if draft.wanted.on and draft.attempt.model.efforts:
        _thinking_openai(draft)


def _thinking_anthropic(draft: Draft) -> None:
    if draft.wanted.on is None:
        return
    floor = draft.attempt.model.thinking_budget or {}
    budget = draft.wanted.budget_for(draft.output_tokens_max, floor.get("min", 1_024))
    if budget is None:
        draft.fields["thinking"] = {"type": "disabled"}
    else:
        draft.fields["thinking"] = {"type": "enabled", "budget_tokens": budget}


THINKING: Mapping[str, Callable[[Draft], None]] = {
    "openai": _thinking_openai,
    "openai_or_tmpl": _thinking_openai,
    "openai_or_reasoning_object": _thinking_openai,
    "openai_or_anthropic": _thinking_openai,
    "think_param": _thinking_openai,
    "openrouter": _thinking_openrouter,
    "deepseek": _thinking_deepseek,
    "zai": _thinking_deepseek,
    "qwen": _thinking_qwen,
    "together": _thinking_together,
    "tmpl": _thinking_tmpl,
    "anthropic": _thinking_anthropic,
}

QUIRKS: Mapping[str, Quirk] = {
    "legacy_path": _legacy_path,
    "max_tokens_field": _max_tokens_field,
    "session_affinity_header": _session_affinity_header,
    "no_store": _no_store,
    "developer_role": _developer_role,
    "no_developer_role": _no_developer_role,
    "explicit_cache_breakpoints_on_new_models": _explicit_cache_breakpoints,
    "explicit_cache_control_supported": _cache_control_supported,
    "cache_control_supported": _cache_control_supported,
    "reasoning_details": _reasoning_details,
    "usage_cost_field": _router_like,
    "replay_reasoning_content": _replay_reasoning_content,
    "tool_call_id_len": _tool_call_id_len,
    "content_must_be_string": _content_must_be_string,
    "temperature_max": _temperature_max,
    "seed_field": _seed_field,
    "tool_choice_required": _tool_choice_required,
    "tool_choice_required_unsupported": _tool_choice_required_unsupported,
    "tool_choice_auto_only": _tool_choice_auto_only,
    "no_tools": _without("tools", "tool_choice", "parallel_tool_calls"),
    "no_penalties": _without("frequency_penalty", "presence_penalty", "repetition_penalty"),
    "no_logprobs": _without("logprobs", "top_logprobs"),
    "no_logit_bias": _without("logit_bias"),
    "n": _without("n"),
    "no_penalties_or_stop_on_reasoning": _sampling_unless_reasoning,
    "reasoning_format": _reasoning_format,
    "tool_stream_flag": _tool_stream_flag,
    "separate_reasoning_flag": _flag("separate_reasoning"),
    "parse_reasoning_flag": _flag("parse_reasoning"),
    "reasoning_split_flag": _flag("reasoning_split"),
    "thinking": _thinking,
}
