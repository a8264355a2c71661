"""What the smaller chat dialects share in writing a `Conversation`: what is left out, and why.

Not here: any wire. Rules: what an endpoint does not support is taken out before it is written (the
plan has reported it already); what a dialect has no place for is named once in `Pen.dropped`.
Earlier reasoning goes back only to who wrote it: the format of its details says who that was.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from .. import conversation as said
from ..canon import Request
from ..conversation import Conversation
from ..routing.entries import Attempt
from . import conversation as conversation_of
from .reasoning import Wanted
from .surrogates import anything, decoded


class Detail(msgspec.Struct, omit_defaults=True):
    """Of a `reasoning_details` entry, what the small dialects know."""

    type: str = ""
    text: str | None = None
    signature: str | None = None
    format: str | None = None


class Pen:
    """Remembers what there was no place for, each name once, in order."""

    def __init__(self) -> None:
        self._dropped: dict[str, None] = {}

    def drop(self, name: str) -> None:
        self._dropped[name] = None

    @property
    def dropped(self) -> tuple[str, ...]:
        return tuple(self._dropped)

    def marked(self, *parts: said.Part | said.Tool | said.Call) -> None:
        """Cache markers have no place in these dialects."""
        for part in parts:
            if getattr(part, "cache", None) is not None:
                self.drop("cache_control")

    def thoughts(self, turn: said.Turn, *forms: str) -> list[Detail]:
        """The reasoning of a turn that was written in one of `forms`, in order; the rest is
        dropped."""
        own: list[Detail] = []
        for part in turn.parts:
            if not isinstance(part, said.Thought):
                continue
            if not part.details:
                self.drop("reasoning")
            for raw in part.details:
                detail = _detail(raw)
                if detail is not None and detail.format in forms and detail.text:
                    own.append(detail)
                else:
                    written = detail.format if detail is not None else None
                    opaque = detail is None or not detail.text or detail.signature
                    self.drop(f"reasoning signature ({written})" if opaque else "reasoning")
        return own

    def without(self, spoken: Conversation, **known: bool) -> None:
        """Name what the whole request says that the dialect cannot: `known` are those it can."""
        sampling = msgspec.to_builtins(spoken.sampling)
        for name in sampling:
            if not known.get(name):
                self.drop(name)
        if spoken.verbosity is not None and not known.get("verbosity"):
            self.drop("verbosity")
        if spoken.parallel_calls is not None and not known.get("parallel_tool_calls"):
            self.drop("parallel_tool_calls")
        if any(kind != "text" for kind in spoken.output_modalities):
            self.drop("modalities")
        if spoken.cache is not None:
            self.drop("cache_control")
        if spoken.cache_key is not None and not known.get("prompt_cache_key"):
            self.drop("prompt_cache_key")
        for name in spoken.extras:
            if not known.get(name):
                self.drop(name)
        if any(tool.strict for tool in spoken.tools) and not known.get("strict"):
            self.drop("tools.strict")
        if any(turn.name is not None for turn in spoken.turns):
            self.drop("messages.name")
        self.marked(*spoken.tools)


def spoken_for(request: Request, attempt: Attempt) -> Conversation:
    """What is said, less the parameters that this endpoint does not support."""
    whole = conversation_of(request)
    names = set(attempt.dropped_params) | (_SAMPLING if attempt.model.no_sampling else set())
    if "logprobs" in names:
        names.add("top_logprobs")
    sampling = whole.sampling
    if names:
        gone: dict[str, Any] = {
            name: () if name == "stop" else None
            for name in sampling.__struct_fields__
            if name in names
        }
        sampling = msgspec.structs.replace(sampling, **gone)
    keeps_tools = "tools" not in names
    return msgspec.structs.replace(
        whole,
        sampling=sampling,
        tools=whole.tools if keeps_tools else (),
        tool_choice=whole.tool_choice if keeps_tools and "tool_choice" not in names else None,
        parallel_calls=(
            whole.parallel_calls if keeps_tools and "parallel_tool_calls" not in names else None
        ),
        format=None if names & {"response_format", "structured_outputs"} else whole.format,
        thinking=said.Thinking() if names & {"reasoning", "reasoning_effort"} else whole.thinking,
        verbosity=None if "verbosity" in names else whole.verbosity,
    )


def wanted_of(spoken: Conversation) -> Wanted:
    thinking = spoken.thinking
    return Wanted(thinking.on, thinking.effort, thinking.budget, thinking.exclude)


def plain(part: said.Part) -> said.Part:
    """A plain-text document as text, which every model reads; anything else as it is."""
    if not isinstance(part, said.File) or part.source.data is None:
        return part
    if (part.source.media_type or "").split(";")[0] != "text/plain":
        return part
    try:
        text = base64.b64decode(part.source.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return part
    return said.Text(text, part.cache)


def arguments_of(call: said.Call) -> dict[str, Any]:
    """The arguments as the object some providers want. What the model wrote that is none goes
    under a key of its own: it is what the tool's answer speaks of."""
    try:
        found = decoded(anything, (call.arguments or "{}").encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError):
        return {"raw": call.arguments}
    return found if isinstance(found, dict) else {"raw": found}


def function_of(tool: said.Tool, strict: bool = False) -> dict[str, Any]:
    """A tool as all three dialects write it. Parameters are required there."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.parameters if tool.parameters is not None else _NO_PARAMETERS
    if strict and tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def chosen(spoken: Conversation) -> Sequence[said.Tool]:
    """The tools that may be called: none, or the named one alone, where a dialect can say neither
    in another way."""
    choice = spoken.tool_choice
    if choice is None or choice.kind in ("auto", "required"):
        return spoken.tools
    if choice.kind == "none":
        return ()
    return [tool for tool in spoken.tools if tool.name == choice.name]


_NO_PARAMETERS = {"type": "object", "properties": {}}
_SAMPLING = {
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "top_a",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
}


def _detail(raw: Raw) -> Detail | None:
    try:
        return msgspec.json.decode(raw, type=Detail)
    except msgspec.DecodeError:
        return None
