"""A `Conversation` as the fields of a Responses request: for callers of another dialect.

Opposite of conversation. Rules: every part keeps its place, since items are a flat list; reasoning
goes before the call it led to, as it did in the answer, and only to the provider that made it; what
this API has no place for is named in `lost`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ... import conversation as said
from ...conversation import Conversation, data_url
from ...routing.entries import Attempt
from ..reasoning import Wanted, nearest
from .request import LOGPROBS
from .rules import NOT_HERE, VERBOSITIES, reasoning, state_format, with_state
from .thoughts import items_of


def written(
    spoken: Conversation, attempt: Attempt, output_tokens_max: int, lost: dict[str, None]
) -> dict[str, object]:
    """Fields but for those that every request has (`render`)."""
    without = set(attempt.dropped_params)
    pen = _Pen(state_format(attempt), _takes_breakpoints(attempt), lost)
    fields: dict[str, object] = {
        "input": [item for turn in spoken.turns for item in pen.turn(turn)]
    }
    if spoken.tools and "tools" not in without:
        _tools(fields, spoken, pen, without)
    text = _text(spoken, without)
    if text:
        fields["text"] = text
    thinking = spoken.thinking
    asked = Wanted(thinking.on, thinking.effort, thinking.budget, thinking.exclude)
    if "reasoning" in without:
        asked = Wanted()
    own = {"summary": thinking.summary} if thinking.summary and asked.on is not False else {}
    told = reasoning(asked, {} if "reasoning" in without else own, attempt, output_tokens_max)
    if told:
        fields["reasoning"] = told
    include = _sampling(fields, spoken, attempt, without, lost)
    with_state(fields, include, attempt, asked)
    if spoken.cache_key is not None:
        fields["prompt_cache_key"] = spoken.cache_key
    if spoken.cache is not None:
        lost["cache_control"] = None
    if any(modality != "text" for modality in spoken.output_modalities):
        lost["modalities"] = None
    for name, raw in spoken.extras.items():
        if name in _KNOWN:
            fields[name] = raw
        else:
            lost[name] = None
    return fields


_KNOWN = frozenset({"metadata", "prompt_cache_options"})
"""Extras that mean the same in chat completions and here."""


def _takes_breakpoints(attempt: Attempt) -> bool:
    return "explicit_cache_breakpoints_on_new_models" in attempt.provider.quirks


def _tools(fields: dict[str, object], spoken: Conversation, pen: _Pen, without: set[str]) -> None:
    fields["tools"] = [pen.tool(tool) for tool in spoken.tools]
    choice = spoken.tool_choice
    if choice is not None and "tool_choice" not in without:
        named = choice.kind == "named" and choice.name is not None
        fields["tool_choice"] = {"type": "function", "name": choice.name} if named else choice.kind
    if spoken.parallel_calls is not None and "parallel_tool_calls" not in without:
        fields["parallel_tool_calls"] = spoken.parallel_calls


def _text(spoken: Conversation, without: set[str]) -> dict[str, Any]:
    text: dict[str, Any] = {}
    given = spoken.format
    if given is not None and without.isdisjoint(("response_format", "structured_outputs")):
        if given.kind == "json":
            text["format"] = {"type": "json_object"}
        else:
            schema: dict[str, Any] = {"type": "json_schema", "name": given.name}
            schema["schema"] = given.schema if given.schema is not None else {}
            for name in ("strict", "description"):
                if getattr(given, name) is not None:
                    schema[name] = getattr(given, name)
            text["format"] = schema
    if spoken.verbosity is not None and "verbosity" not in without:
        text["verbosity"] = nearest(spoken.verbosity, VERBOSITIES)
    return text


def _sampling(
    fields: dict[str, object],
    spoken: Conversation,
    attempt: Attempt,
    without: set[str],
    lost: dict[str, None],
) -> list[str]:
    """Sets what there is of it; returns what it adds to `include`."""
    sampling = spoken.sampling
    for name in ("temperature", "top_p"):
        value = getattr(sampling, name)
        if value is not None and name not in without and not attempt.model.no_sampling:
            fields[name] = value
    for name in NOT_HERE:
        if getattr(sampling, name, None) not in (None, ()) and name not in without:
            lost[name] = None
    if "logprobs" in without or not (sampling.logprobs or sampling.top_logprobs):
        return []
    if sampling.top_logprobs is not None and "top_logprobs" not in without:
        fields["top_logprobs"] = sampling.top_logprobs
    return [LOGPROBS]


class _Pen:
    """Writes turns as items."""

    def __init__(self, own_format: str, breakpoints: bool, lost: dict[str, None]) -> None:
        self._format = own_format
        self._breakpoints = breakpoints
        self._lost = lost
        self._messages = 0

    def turn(self, turn: said.Turn) -> list[dict[str, Any]]:
        if turn.role == "assistant":
            return self._assistant(turn.parts)
        if turn.name is not None:
            self._lost["name"] = None
        items: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        for part in turn.parts:
            if isinstance(part, said.Result):
                _flush(items, turn.role, content)
                content = []
                items.append(self._result(part))
            else:
                content += self._part(part)
        _flush(items, turn.role, content)
        return items

    def tool(self, tool: said.Tool) -> dict[str, Any]:
        """`strict` is always said: this API takes a function without it for strict."""
        if tool.cache is not None:
            self._lost["cache_control on a tool"] = None
        function: dict[str, Any] = {"type": "function", "name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = _NO_PARAMETERS if tool.parameters is None else tool.parameters
        function["strict"] = tool.strict is True
        return function

    # ---- the assistant's items -------------------------------------------------------------------

    def _assistant(self, parts: Sequence[said.Part]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        for part in parts:
            match part:
                case said.Text():
                    if part.cache is not None:
                        self._lost["cache_control"] = None
                    content.append(_output_text(part))
                    continue
                case said.Refusal(text):
                    content.append({"type": "refusal", "refusal": text})
                    continue
            self._message(items, content)
            content = []
            match part:
                case said.Thought():
                    items += self._thought(part)
                case said.Call(call_id, name, arguments):
                    call = {"call_id": call_id, "name": name, "arguments": arguments}
                    items.append({"type": "function_call", **call, "status": "completed"})
                case _:
                    self._lost[f"{type(part).__name__.lower()} in an answer"] = None
        self._message(items, content)
        return items

    def _message(self, items: list[dict[str, Any]], content: list[dict[str, Any]]) -> None:
        """One plain text is written in the short form, which every host of this API takes."""
        if not content:
            return
        self._messages += 1
        only = content[0]
        if len(content) == 1 and only["type"] == "output_text" and not only["annotations"]:
            items.append({"type": "message", "role": "assistant", "content": only["text"]})
            return
        item: dict[str, Any] = {"type": "message", "id": f"msg_{self._messages}"}
        items.append({**item, "role": "assistant", "content": content, "status": "completed"})

    def _thought(self, thought: said.Thought) -> list[dict[str, Any]]:
        items, lost = items_of(thought.details, self._format)
        if not thought.details and thought.text:
            lost = ["reasoning text"]
        for name in lost:
            self._lost[name] = None
        for item in items:
            self._messages += 1
            item.setdefault("id", f"rs_{self._messages}")
        return items

    def _result(self, result: said.Result) -> dict[str, Any]:
        if result.is_error:
            self._lost["is_error"] = None
        parts = [piece for part in result.parts for piece in self._part(part)]
        if result.cache is not None:
            self._mark(parts, result.cache)
        output: object = parts
        if not parts or (len(parts) == 1 and set(parts[0]) == {"type", "text"}):
            output = parts[0]["text"] if parts else ""
        return {"type": "function_call_output", "call_id": result.call_id, "output": output}

    # ---- parts -----------------------------------------------------------------------------------

    def _part(self, part: said.Part) -> list[dict[str, Any]]:
        match part:
            case said.Text(text):
                written: dict[str, Any] = {"type": "input_text", "text": text}
            case said.Image(source, detail):
                written = {"type": "input_image", "detail": detail or "auto"}
                if source.file_id is not None:
                    written["file_id"] = source.file_id
                else:
                    written["image_url"] = data_url(source)
            case said.File():
                written = _file(part)
            case _:
                kind = {said.Audio: "input_audio", said.Video: "input_video"}.get(type(part))
                self._lost[kind or type(part).__name__.lower()] = None
                return []
        if part.cache is not None:
            self._mark([written], part.cache)
        return [written]

    def _mark(self, parts: list[dict[str, Any]], cache: said.Cache) -> None:
        """Lifetimes are not translated: the two kinds of marker have none in common."""
        if not self._breakpoints or not parts:
            self._lost["cache_control"] = None
            return
        marker = {"mode": "explicit"}
        if cache.ttl in ("30m", "12h"):
            marker["ttl"] = cache.ttl
        parts[-1]["prompt_cache_breakpoint"] = marker


def _flush(items: list[dict[str, Any]], role: str, content: list[dict[str, Any]]) -> None:
    if content:
        items.append({"type": "message", "role": role, "content": content})


_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')


def _file(part: said.File) -> dict[str, Any]:
    source = part.source
    written: dict[str, Any] = {"type": "input_file"}
    if source.file_id is not None:
        written["file_id"] = source.file_id
        return written
    if source.url is not None:
        written["file_url"] = source.url
        return written
    typed = msgspec.structs.replace(source, media_type=source.media_type or "application/pdf")
    written["file_data"] = data_url(typed)
    written["filename"] = part.filename or "document.pdf"
    return written


def _output_text(part: said.Text) -> dict[str, Any]:
    notes = [note for raw in part.citations if (note := flat(raw)) is not None]
    return {"type": "output_text", "text": part.text, "annotations": notes}


def flat(raw: Raw) -> dict[str, Any] | None:
    """An annotation of the pivot as this API writes it; None for a broken one."""
    try:
        note = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    facts = note.get("url_citation")
    if note.get("type") != "url_citation" or not isinstance(facts, dict):
        return note
    return {
        "type": "url_citation",
        "start_index": 0,
        "end_index": 0,
        "title": "",
        **{name: value for name, value in facts.items() if value is not None},
    }
