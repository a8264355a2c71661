"""A `Conversation` as the fields of a chat completion request: for callers of another dialect.

Opposite of openai_chat_conversation. What one provider wants differently is not here: the result
goes the way of a chat caller's request, quirks and all. Rules: an assistant turn is one message
(thoughts, text, calls); results are messages of their own, before what else their turn says; what
a chat completion has no place for is named in the second value.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from .. import conversation as said
from ..canon import Request
from ..conversation import Conversation
from .openai_chat_request import ChatRequest

STOPS_MAX = 4
"""Chat completions take no more stop sequences."""


def written(request: Request, spoken: Conversation) -> tuple[ChatRequest, tuple[str, ...]]:
    """`request` with the fields of a chat completion that says `spoken`, and the names of what
    could not be said in it."""
    pen = _Pen()
    fields: dict[str, object] = {"messages": [m for turn in spoken.turns for m in pen.turn(turn)]}
    if spoken.tools:
        fields["tools"] = [pen.tool(tool) for tool in spoken.tools]
    if spoken.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(spoken.tool_choice)
    if spoken.parallel_calls is not None:
        fields["parallel_tool_calls"] = spoken.parallel_calls
    if spoken.format is not None:
        fields["response_format"] = _format(spoken.format)
    thinking = _thinking(spoken.thinking, pen)
    if thinking:
        fields["reasoning"] = thinking
    if spoken.verbosity is not None:
        fields["verbosity"] = spoken.verbosity
    fields.update(msgspec.to_builtins(spoken.sampling))
    if len(spoken.sampling.stop) > STOPS_MAX:
        fields["stop"] = spoken.sampling.stop[:STOPS_MAX]
        pen.drop(f"stop (beyond {STOPS_MAX})")
    if spoken.output_modalities:
        fields["modalities"] = spoken.output_modalities
    if spoken.cache is not None:
        fields["cache_control"] = _marker(spoken.cache)
    if spoken.cache_key is not None:
        fields["prompt_cache_key"] = spoken.cache_key
    if request.choices > 1:
        fields["n"] = request.choices
    if request.stream:
        fields["stream"] = True
    for name, raw in spoken.extras.items():
        if name in _KNOWN_EXTRAS.get(request.dialect, _NONE):
            fields[name] = raw
        else:
            pen.drop(name)
    return _chat_request(request, fields, frozenset(pen.traits)), tuple(pen.dropped)


_NONE: frozenset[str] = frozenset()
_KNOWN_EXTRAS = {
    "openai_chat": frozenset(
        {"prediction", "web_search_options", "prompt_cache_options", "audio", "metadata"}
    ),
    "openai_responses": frozenset({"prompt_cache_options", "metadata"}),
}
"""Top-level fields that mean the same here as in the dialect they come from."""


def _chat_request(
    request: Request, fields: dict[str, object], traits: frozenset[str]
) -> ChatRequest:
    given: dict[str, Any] = {
        name: getattr(request, name) for name in Request.__struct_fields__ if name != "fields"
    }
    raws = {name: Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    return ChatRequest(fields=raws, traits=traits, **given)


class _Pen:
    """Writes turns, and remembers what it met: traits that a provider may want changed, and what
    there is no place for."""

    def __init__(self) -> None:
        self.traits: set[str] = set()
        self.dropped: dict[str, None] = {}

    def drop(self, name: str) -> None:
        self.dropped[name] = None

    def turn(self, turn: said.Turn) -> list[dict[str, Any]]:
        if turn.role == "assistant":
            messages = [self._assistant(turn.parts)]
        elif turn.role == "system":
            messages = [{"role": "system", "content": self._content(turn.parts, "system")}]
        else:
            messages = self._user(turn.parts)
        if turn.name is not None:
            for message in messages:
                if message["role"] != "tool":
                    message["name"] = turn.name
        return messages

    def tool(self, tool: said.Tool) -> dict[str, Any]:
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.parameters is not None:
            function["parameters"] = tool.parameters
        if tool.strict is not None:
            function["strict"] = tool.strict
        return self._marked({"type": "function", "function": function}, tool.cache)

    # ---- turns -----------------------------------------------------------------------------------

    def _user(self, parts: Sequence[said.Part]) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        rest: list[said.Part] = []
        spoke = False
        for part in parts:
            if isinstance(part, said.Result):
                if spoke:
                    self.drop("place of what is said before a tool result")
                messages.append(self._result(part, rest))
            else:
                rest.append(part)
                spoke = True
        if rest or not messages:
            messages.append({"role": "user", "content": self._content(rest, "user")})
        return messages

    def _result(self, result: said.Result, rest: list[said.Part]) -> dict[str, Any]:
        """A tool message. Such messages hold text only, so media go to the user message after
        them: `rest`."""
        self.traits.add("calls")
        texts = [part for part in map(_as_text, result.parts) if isinstance(part, said.Text)]
        media = [part for part in result.parts if not isinstance(_as_text(part), said.Text)]
        if media:
            rest += media
            self.drop("place of media in tool results")
        if result.is_error:
            self.drop("is_error")
        if result.cache is not None and texts:
            texts[-1] = msgspec.structs.replace(texts[-1], cache=result.cache)
        elif result.cache is not None:
            self.drop("cache_control")
        content = self._content(texts, "tool")
        return {"role": "tool", "tool_call_id": result.call_id, "content": content}

    def _assistant(self, parts: Sequence[said.Part]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant"}
        spoken = [part for part in parts if isinstance(part, said.Text)]
        shown = [part for part in parts if isinstance(part, said.Image)]
        thoughts = [part for part in parts if isinstance(part, said.Thought)]
        calls = [part for part in parts if isinstance(part, said.Call)]
        refusals = [part.text for part in parts if isinstance(part, said.Refusal)]
        self._note_order(parts)
        message["content"] = self._content(spoken, "assistant") if spoken else None
        if thoughts:
            self._thoughts(thoughts, message)
        if refusals:
            message["refusal"] = "".join(refusals)
        if shown:
            self.traits.add("router_fields")
            message["images"] = [self._part(part) for part in shown]
        if citations := [raw for part in spoken for raw in part.citations]:
            self.traits.add("router_fields")
            message["annotations"] = citations
        if calls:
            self.traits.add("calls")
            message["tool_calls"] = [self._call(call) for call in calls]
        elif not spoken and not refusals:
            message["content"] = ""
        return message

    def _note_order(self, parts: Sequence[said.Part]) -> None:
        """The one order a message has: thoughts, text, images, calls."""
        kinds: Sequence[type] = (said.Thought, said.Text, said.Refusal, said.Image, said.Call)
        ranks = [kinds.index(type(part)) for part in parts if type(part) in kinds]
        if ranks != sorted(ranks):
            self.drop("order of parts in an answer")
        for part in parts:
            if type(part) not in kinds:
                self.drop(f"{type(part).__name__.lower()} in an answer")

    def _thoughts(self, thoughts: Sequence[said.Thought], message: dict[str, Any]) -> None:
        self.traits.add("reasoning")
        text = "".join(thought.text for thought in thoughts)
        if text:
            message["reasoning"] = text
        if details := [raw for thought in thoughts for raw in thought.details]:
            message["reasoning_details"] = details

    def _call(self, call: said.Call) -> dict[str, Any]:
        if call.cache is not None:
            self.drop("cache_control on a tool call")
        function = {"name": call.name, "arguments": call.arguments}
        return {"id": call.id, "type": "function", "function": function}

    # ---- parts -----------------------------------------------------------------------------------

    def _content(self, parts: Iterable[said.Part], role: str) -> object:
        """A string where one unmarked text is all there is, else a list of parts."""
        plain = [_as_text(part) for part in parts]
        kinds = (said.Text,) if role in _TEXT_ONLY else _PARTS
        held = [part for part in plain if isinstance(part, kinds)]
        for part in plain:
            if not isinstance(part, kinds):
                self.drop(f"{type(part).__name__.lower()} in a {role} message")
        if not held:
            return ""
        only = held[0]
        if len(held) == 1 and isinstance(only, said.Text) and only.cache is None:
            return only.text
        written_parts = [w for part in held if (w := self._part(part)) is not None]
        self.traits.add("parts")
        return written_parts or ""

    def _part(self, part: said.Part) -> dict[str, Any] | None:
        match part:
            case said.Text(text, cache):
                return self._marked({"type": "text", "text": text}, cache)
            case said.Image(source, detail, cache):
                return self._image(source, detail, cache)
            case said.File(source, filename, cache):
                return self._file(source, filename, cache)
            case said.Audio(source, form, cache):
                if source.data is None:
                    self.drop("audio by reference")
                    return None
                audio = {"data": source.data, "format": form}
                return self._marked({"type": "input_audio", "input_audio": audio}, cache)
            case said.Video(source, cache):
                url = said.data_url(source)
                if url is None:
                    self.drop("video by file id")
                    return None
                return self._marked({"type": "video_url", "video_url": {"url": url}}, cache)
        return None

    def _image(
        self, source: said.Source, detail: str | None, cache: said.Cache | None
    ) -> dict[str, Any] | None:
        url = said.data_url(source)
        if url is None:
            self.drop("image by file id")
            return None
        image = {"url": url}
        if detail is not None:
            image["detail"] = detail
        if detail == "original":
            self.traits.add("original")
        return self._marked({"type": "image_url", "image_url": image}, cache)

    def _file(
        self, source: said.Source, filename: str | None, cache: said.Cache | None
    ) -> dict[str, Any]:
        """A document by address goes in `file_data`: routers fetch it, others say they cannot,
        which is better than an answer about a document nobody read."""
        file: dict[str, str] = {}
        if filename is not None:
            file["filename"] = filename
        if source.file_id is not None:
            file["file_id"] = source.file_id
        elif source.data is not None and source.media_type is None:
            file["file_data"] = source.data
        else:
            file["file_data"] = said.data_url(source) or ""
        return self._marked({"type": "file", "file": file}, cache)

    def _marked(self, written_part: dict[str, Any], cache: said.Cache | None) -> dict[str, Any]:
        if cache is not None:
            self.traits.add("cache_control")
            written_part["cache_control"] = _marker(cache)
        return written_part


_PARTS = (said.Text, said.Image, said.File, said.Audio, said.Video)
_TEXT_ONLY = ("system", "tool", "assistant")


def _as_text(part: said.Part) -> said.Part:
    """A plain-text document as text, which every model reads; anything else as it is."""
    if not isinstance(part, said.File) or part.source.media_type != "text/plain":
        return part
    if part.source.data is None:
        return part
    try:
        text = base64.b64decode(part.source.data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return part
    return said.Text(text, part.cache)


def _marker(cache: said.Cache) -> dict[str, str]:
    return {"type": "ephemeral"} if cache.ttl is None else {"type": "ephemeral", "ttl": cache.ttl}


def _tool_choice(choice: said.ToolChoice) -> object:
    if choice.kind == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.kind


def _format(wanted: said.Format) -> dict[str, Any]:
    if wanted.kind == "json":
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name}
    for name in ("description", "schema", "strict"):
        value = getattr(wanted, name)
        if value is not None:
            schema[name] = value
    return {"type": "json_schema", "json_schema": schema}


def _thinking(wanted: said.Thinking, pen: _Pen) -> dict[str, Any]:
    """The `reasoning` object; each provider's own switch is made of it later. An effort and a
    budget exclude each other there."""
    asked: dict[str, Any] = {}
    if wanted.on is False:
        asked["enabled"] = False
    elif wanted.effort is not None:
        asked["effort"] = wanted.effort
        if wanted.budget is not None:
            pen.drop("thinking budget beside an effort")
    elif wanted.budget is not None:
        asked["max_tokens"] = wanted.budget
    elif wanted.on:
        asked["enabled"] = True
    if wanted.exclude:
        asked["exclude"] = True
    if wanted.summary is not None:
        asked["summary"] = wanted.summary
    return asked
