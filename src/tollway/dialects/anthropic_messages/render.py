"""A Messages request for one provider: `canon.Request` and an attempt to an HTTP body.

Not here: how a conversation is written (compose). Rules: a caller of this dialect has its own JSON
sent, field by field, except what is listed here; the output limit is always sent; nothing the
caller writes can lift it, change the model, or buy a dearer tier. A model that thinks takes no
sampling beside it, newest models none at all. `anthropic-version` is 2023-06-01 unless the caller
speaks the newer one and sets nothing that it refuses.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from ...canon import Request
from ...conversation import Conversation, Thinking
from ...routing.entries import Attempt
from .. import Outbound
from .. import conversation as conversation_of
from ..options import extra_options
from ..reasoning import BUDGET_LEAST, Wanted
from . import schema
from .compose import Composer, object_schema
from .opaque import is_native
from .request import EFFORTS, VERSION, VERSION_NEWEST, MessagesRequest

PATH = "/messages"
NAME = "anthropic_messages"
ANSWER_TOOL = "tollway_structured_answer"
"""Where a model has no structured output of its own, it is made to call this tool, and the parser
gives the call's arguments back as the text of the answer."""

JSON_WANTED = "Answer with one JSON object and nothing else: no prose, no code fence."


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is the limit that is held for."""
    draft = compile_body(request, attempt, output_tokens_max)
    body = msgspec.json.encode({"model": attempt.endpoint.id, **draft.fields})
    headers = [("Content-Type", "application/json")]
    pinned = {name.lower() for name in attempt.provider.headers}
    if "anthropic-version" not in pinned:
        headers.append(("anthropic-version", draft.version))
    if draft.betas:
        headers.append(("anthropic-beta", ",".join(draft.betas)))
    return Outbound(PATH, body, tuple(headers), tuple(draft.composer.dropped))


class Draft:
    """A body while it is being written; `fields` lacks the model, which some hosts want in the
    path."""

    def __init__(self, request: Request, attempt: Attempt, output_tokens_max: int) -> None:
        self.request = request
        self.attempt = attempt
        self.output_tokens_max = output_tokens_max
        self.fields: dict[str, Any] = {}
        self.composer = Composer()
        self.betas: tuple[str, ...] = ()
        self.version = VERSION

    @property
    def drop(self) -> Any:
        return self.composer.drop

    def lacks(self, *params: str) -> bool:
        """The endpoint does not support one of these."""
        return any(name in self.attempt.dropped_params for name in params)


def compile_body(request: Request, attempt: Attempt, output_tokens_max: int) -> Draft:
    """For hosts of this dialect under another path or framing, too."""
    draft = Draft(request, attempt, output_tokens_max)
    own = isinstance(request, MessagesRequest)
    if isinstance(request, MessagesRequest):
        draft.betas = request.betas
    if own and not _needs_other_format(draft):
        _passthrough(draft)
    else:
        _translated(draft, conversation_of(request))
    newest = isinstance(request, MessagesRequest) and request.version == VERSION_NEWEST
    if newest and not any(name in draft.fields for name in _SAMPLING):
        draft.version = VERSION_NEWEST
    draft.fields.update(extra_options(request.preferences.options, attempt, _OPTIONS_REFUSED))
    _tier(draft, attempt.endpoint.service_tier)
    draft.fields["max_tokens"] = output_tokens_max
    if request.stream:
        draft.fields["stream"] = True
    return draft


def _tier(draft: Draft, tier: str | None) -> None:
    """The tier that was planned and priced."""
    if tier == "fast":
        draft.fields["speed"] = "fast"
        draft.betas = tuple(dict.fromkeys((*draft.betas, FAST_BETA)))
    elif tier is not None:
        draft.fields["service_tier"] = tier


FAST_BETA = "fast-mode-2026-02-01"
_SAMPLING = ("temperature", "top_p", "top_k")

_OURS = frozenset(
    {
        # set again below
        "model",
        "max_tokens",
        "stream",
        # the router's own
        "models",
        "fallbacks",
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
        # who is asking
        "user",
        "metadata",
        "user_profile_id",
        "workspace_id",
        # tiers and places: they cost money; machines of the vendor
        "service_tier",
        "speed",
        "inference_geo",
        "container",
        # speaks of message ids that the caller does not have
        "diagnostics",
    }
)
"""Top-level fields of the caller that do not go upstream as they are."""

_OPTIONS_REFUSED = _OURS | {"messages", "system", "thinking", "output_config", "mcp_servers"}
"""What `provider.options` may not set."""


# ---- a caller of this dialect --------------------------------------------------------------------


def _needs_other_format(draft: Draft) -> bool:
    request = draft.request
    return isinstance(request, MessagesRequest) and request.formatted and not _formats(draft)


def _formats(draft: Draft) -> bool:
    """The model has structured output of its own. Where a list of its parameters says nothing, the
    generation that has efforts does."""
    model = draft.attempt.model
    if draft.lacks("structured_outputs", "response_format"):
        return False
    if model.params is not None:
        return "structured_outputs" in model.params
    return bool(model.efforts) and "structured_outputs" in model.capabilities


def _passthrough(draft: Draft) -> None:
    request = draft.request
    assert isinstance(request, MessagesRequest)
    fields: dict[str, Any] = {n: raw for n, raw in request.fields.items() if n not in _OURS}
    draft.fields = fields
    for name in ("container", "inference_geo", "speed"):
        if name in request.fields and bytes(request.fields[name]) not in (b'"standard"', b'"auto"'):
            draft.drop(name)
    if request.foreign_thinking:
        fields["messages"] = _own_thinking(request.fields["messages"], draft)
    for param, name in _FIELD_OF.items():
        if draft.lacks(param) and name in fields:
            del fields[name]
    if draft.lacks("tools"):
        fields.pop("tool_choice", None)
    if draft.attempt.model.no_sampling:
        for name in _SAMPLING:
            fields.pop(name, None)
    if "tools" in fields:
        _priced_tools(draft)
    _fit_thinking(draft)


_FIELD_OF = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop": "stop_sequences",
    "tools": "tools",
    "tool_choice": "tool_choice",
}


def _own_thinking(raw: Raw, draft: Draft) -> object:
    """The messages without thinking that this dialect's providers did not sign."""
    messages = msgspec.json.decode(raw, type=list[dict[str, Raw]])
    kept: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content", Raw(b'""'))
        if bytes(content)[:1] == b"[":
            raws = schema.listed_decoder.decode(content)
            blocks = msgspec.json.decode(content, type=list[schema.Block])
            mine = [own for own, block in zip(raws, blocks, strict=True) if _is_own(block)]
            if len(mine) < len(raws):
                draft.drop("reasoning of another provider")
                if not mine:
                    continue
                message["content"] = Raw(msgspec.json.encode(mine))
        kept.append(message)
    return kept


def _is_own(block: schema.Block) -> bool:
    match block.type:
        case "thinking":
            return is_native(block.signature)
        case "redacted_thinking":
            return is_native(block.data)
    return True


def _priced_tools(draft: Draft) -> None:
    """Searches go only where their price is known."""
    if draft.attempt.endpoint.price.base.web_search is not None:
        return
    raws = schema.listed_decoder.decode(draft.fields["tools"])
    kept = []
    for raw in raws:
        kind = msgspec.json.decode(raw, type=schema.Tool).type or ""
        if kind.startswith("web_search"):
            draft.drop(f"tools.{kind[:64]}")
        else:
            kept.append(raw)
    if len(kept) == len(raws):
        return
    if kept:
        draft.fields["tools"] = kept
    else:
        for name in ("tools", "tool_choice"):
            draft.fields.pop(name, None)


def _fit_thinking(draft: Draft) -> None:
    """A budget stays below the output limit that is sent; a model that does not think is not asked
    to."""
    fields = draft.fields
    if draft.lacks("reasoning"):
        fields.pop("thinking", None)
        _without_effort(fields)
        _nothing_to_clear(draft)
    if "thinking" not in fields:
        return
    said = msgspec.json.decode(fields["thinking"], type=schema.Thinking)
    most = draft.output_tokens_max - 1
    if said.type != "enabled" or said.budget_tokens is None or said.budget_tokens <= most:
        return
    if draft.request.output_tokens_max == draft.output_tokens_max:
        return  # as the caller wrote it: with interleaved thinking the budget may be larger
    if most >= BUDGET_LEAST:
        own = schema.fields_decoder.decode(fields["thinking"])
        fields["thinking"] = {**own, "budget_tokens": most}
    else:
        draft.drop("thinking (no room below max_tokens)")
        fields["thinking"] = {"type": "disabled"}
        _nothing_to_clear(draft)


def _nothing_to_clear(draft: Draft) -> None:
    """Editing thoughts out of the context is refused where nothing is thought."""
    if b"clear_thinking" in bytes(draft.fields.get("context_management", b"")):
        del draft.fields["context_management"]
        draft.drop("context_management")


def _without_effort(fields: dict[str, Any]) -> None:
    if "output_config" not in fields:
        return
    config = schema.fields_decoder.decode(fields["output_config"])
    config.pop("effort", None)
    if config:
        fields["output_config"] = config
    else:
        del fields["output_config"]


# ---- a caller of another dialect -----------------------------------------------------------------


def _translated(draft: Draft, said: Conversation) -> None:
    if draft.lacks("tools"):
        said = msgspec.structs.replace(said, tools=(), tool_choice=None)
    fields = draft.composer.fields(said)
    draft.fields = fields
    if said.tool_choice is not None and not draft.lacks("tool_choice"):
        _choice(draft, said)
    elif said.tools and said.parallel_calls is False:
        fields["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
    _format(draft, said)
    _thinking(draft, said.thinking)
    _sampling(draft, said)
    if said.verbosity is not None:
        _verbosity(draft, said.verbosity)
    _report(draft, said)


_CHOICES = {"auto": "auto", "required": "any", "none": "none", "named": "tool"}


def _choice(draft: Draft, said: Conversation) -> None:
    choice = said.tool_choice
    if choice is None or not said.tools:
        return
    body: dict[str, Any] = {"type": _CHOICES[choice.kind]}
    if choice.kind == "named":
        body["name"] = choice.name
    if said.parallel_calls is False:
        if choice.kind == "none":
            draft.drop("parallel_tool_calls")
        else:
            body["disable_parallel_tool_use"] = True
    draft.fields["tool_choice"] = body


def _format(draft: Draft, said: Conversation) -> None:
    wanted = said.format
    if wanted is None:
        return
    if wanted.kind == "schema" and wanted.schema is not None:
        if _formats(draft):
            shape = {"type": "json_schema", "schema": wanted.schema}
            draft.fields["output_config"] = {"format": shape}
            return
        if draft.lacks("structured_outputs", "response_format"):
            draft.drop("response_format")
            return
        root = msgspec.json.decode(wanted.schema, type=dict[str, Any]).get("type", "object")
        if root == "object":
            _answer_tool(draft, wanted.schema, wanted.description)
            return
    elif draft.lacks("response_format"):
        draft.drop("response_format")
        return
    draft.drop("response_format (as an instruction)")
    system = draft.fields.get("system", [])
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
    draft.fields["system"] = [*blocks, {"type": "text", "text": JSON_WANTED}]


def _answer_tool(draft: Draft, shape: Raw, description: str | None) -> None:
    """The model must call a tool: one of the caller's, or this one with its answer."""
    fields = draft.fields
    tool = {
        "name": ANSWER_TOOL,
        "description": description or "Gives the answer. Call it with the whole answer, once.",
        "input_schema": object_schema(shape),
    }
    before = fields.get("tool_choice", {}).get("type", "auto")
    fields["tools"] = [*fields.get("tools", []), tool]
    if before == "tool":
        return  # the caller's own choice comes first; the answer follows in a later turn
    if before == "none" or len(fields["tools"]) == 1:
        fields["tool_choice"] = {"type": "tool", "name": ANSWER_TOOL}
    else:
        fields["tool_choice"] = {**fields.get("tool_choice", {}), "type": "any"}


def _thinking(draft: Draft, said: Thinking) -> None:
    model, fields = draft.attempt.model, draft.fields
    if said.on is None or draft.lacks("reasoning"):
        return
    thinks = bool(model.efforts or model.thinking_budget or "reasoning" in model.capabilities)
    if not said.on:
        if thinks:
            fields["thinking"] = {"type": "disabled"}
        return
    if fields.get("tool_choice", {}).get("type") in ("any", "tool"):
        draft.drop("reasoning (with a forced tool)")
        return
    wanted = Wanted(True, said.effort, said.budget, said.exclude)
    if model.efforts and not model.thinking_budget:
        levels = [level for level in model.efforts if level in EFFORTS] or list(EFFORTS)
        display = "omitted" if said.exclude else "summarized"
        fields["thinking"] = {"type": "adaptive", "display": display}
        effort = wanted.effort_for(levels, draft.output_tokens_max)
        fields["output_config"] = {"effort": effort, **fields.get("output_config", {})}
        return
    least = (model.thinking_budget or {}).get("min", BUDGET_LEAST)
    budget = wanted.budget_for(draft.output_tokens_max, least)
    if budget is None:
        draft.drop("reasoning (no room below max_tokens)")
    elif _continues_unsigned(fields["messages"]):
        draft.drop("reasoning (the turn began without a signed thought)")
    else:
        fields["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _continues_unsigned(messages: list[dict[str, Any]]) -> bool:
    """The results of tools are being answered, and the turn that called them has no thought: with
    thinking switched on the wire refuses that."""
    if len(messages) < 2 or messages[-1]["role"] != "user":
        return False
    results, called = messages[-1]["content"], messages[-2]["content"]
    if isinstance(results, str) or results[0]["type"] != "tool_result":
        return False
    return isinstance(called, str) or not str(called[0]["type"]).endswith("thinking")


def _verbosity(draft: Draft, level: str) -> None:
    """The wire has one word for how much is thought and said: an effort that was asked for as such
    comes first."""
    efforts = [name for name in draft.attempt.model.efforts if name in EFFORTS]
    config = draft.fields.get("output_config", {})
    if not efforts or draft.lacks("verbosity") or "effort" in config:
        draft.drop("verbosity")
        return
    effort = Wanted(True, level).effort_for(efforts, draft.output_tokens_max)
    draft.fields["output_config"] = {"effort": effort, **config}


def _sampling(draft: Draft, said: Conversation) -> None:
    sampling, model, fields = said.sampling, draft.attempt.model, draft.fields
    thinks = fields.get("thinking", {}).get("type") in ("enabled", "adaptive")
    for name in _SAMPLING:
        value = getattr(sampling, name)
        if value is None or draft.lacks(name):
            continue
        if model.no_sampling or (thinks and not _beside_thinking(name, value)):
            draft.drop(name)
        else:
            fields[name] = min(value, 1) if name == "temperature" else value
    if "temperature" in fields and "top_p" in fields and (model.efforts or model.thinking_budget):
        del fields["top_p"]  # these models take one of the two
        draft.drop("top_p")
    stops = [stop for stop in sampling.stop if stop.strip()]
    if len(stops) < len(sampling.stop):
        draft.drop("stop (white space)")
    if stops and not draft.lacks("stop"):
        fields["stop_sequences"] = stops


def _beside_thinking(name: str, value: float) -> bool:
    return (name == "temperature" and value == 1) or (name == "top_p" and value >= 0.95)


_UNKNOWN_SAMPLING = (
    "min_p",
    "top_a",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "logprobs",
    "top_logprobs",
    "logit_bias",
)


def _report(draft: Draft, said: Conversation) -> None:
    """What this wire has no word for."""
    for name in _UNKNOWN_SAMPLING:
        if getattr(said.sampling, name) is not None and not draft.lacks(name):
            draft.drop(name)
    if any(name != "text" for name in said.output_modalities):
        draft.drop("modalities")
    if said.cache_key is not None:
        draft.drop("prompt_cache_key")
    if draft.request.choices > 1:
        draft.drop("n")
    for name, raw in said.extras.items():
        if name == "context_management" and draft.request.dialect == NAME:
            draft.fields[name] = raw
        else:
            draft.drop(name)
