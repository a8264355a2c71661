"""A conversation as Ollama's chat request.

Rules: `stream` is always said, because its default is true; the limit always is. There is no tool
choice: `none` is said by sending no tools, a named one by sending it alone, and `required` is
named as dropped. Images must be inline; one by reference is named as dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

from ... import conversation as said
from ...canon import Request
from ...conversation import Conversation
from ...routing.entries import Attempt
from .. import Outbound
from ..options import extra_options
from ..reasoning import nearest
from ..spoken import Pen, arguments_of, chosen, function_of, plain, spoken_for, wanted_of
from .answer import FORMAT

PATH = "/api/chat"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is the limit that is held for, per choice."""
    spoken = spoken_for(request, attempt)
    body, dropped = body_of(request, spoken, attempt, output_tokens_max)
    more = extra_options(request.preferences.options, attempt, _REFUSED)
    options = more.pop("options", None)
    if isinstance(options, Raw):
        options = msgspec.json.decode(options)
    if isinstance(options, dict):
        body["options"] = {**options, **body["options"]}
    body.update(more)
    headers = (("Content-Type", "application/json"),)
    return Outbound(PATH, msgspec.json.encode(body), headers, dropped)


def body_of(
    request: Request, spoken: Conversation, attempt: Attempt, output_tokens_max: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, and what it cannot carry."""
    pen = _Pen()
    pen.without(spoken, **_KNOWN)
    sampling = msgspec.to_builtins(spoken.sampling)
    options = {_OPTIONS[name]: value for name, value in sampling.items() if name in _OPTIONS}
    body: dict[str, Any] = {
        "model": attempt.endpoint.id,
        "messages": [message for turn in spoken.turns for message in pen.turn(turn)],
        "stream": request.stream,
        "options": {**options, "num_predict": output_tokens_max},
    }
    for name in ("logprobs", "top_logprobs"):
        if name in sampling:
            pen.drop(name)
    tools = chosen(spoken)
    if tools:
        body["tools"] = [function_of(tool) for tool in tools]
        if spoken.tool_choice is not None and spoken.tool_choice.kind in ("required", "named"):
            pen.drop("tool_choice")
    if spoken.format is not None:
        schema = spoken.format.schema
        body["format"] = "json" if spoken.format.kind == "json" or schema is None else schema
    _thinking(spoken, attempt, output_tokens_max, body, pen)
    if request.choices > 1:
        pen.drop("n")
    return body, pen.dropped


_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "repetition_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_KNOWN: dict[str, bool] = dict.fromkeys((*_OPTIONS, "logprobs", "top_logprobs"), True)
_REFUSED = frozenset({"model", "messages", "stream"})
"""What `provider.options` may not set; its `options` cannot lift the limit."""
_LEVELS = ("low", "medium", "high")


def _thinking(
    spoken: Conversation, attempt: Attempt, limit: int, body: dict[str, Any], pen: Pen
) -> None:
    wanted = wanted_of(spoken)
    if wanted.on is None:
        return
    model = attempt.model
    effort = wanted.effort_for(model.efforts or _LEVELS, limit)
    if not wanted.on:
        body["think"] = False
    elif model.efforts and effort is not None:
        body["think"] = nearest(effort, _LEVELS)
    else:
        body["think"] = True
    if wanted.budget is not None:
        pen.drop("reasoning.max_tokens")


class _Pen(Pen):
    """Writes turns."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, str] = {}
        """Of the tool calls so far: a result is told by the name of its tool."""

    def turn(self, turn: said.Turn) -> list[dict[str, Any]]:
        if turn.role == "assistant":
            return [self._assistant(turn)]
        results = [part for part in turn.parts if isinstance(part, said.Result)]
        rest: list[said.Part] = [p for p in turn.parts if not isinstance(p, said.Result)]
        messages = []
        for result in results:
            if result.is_error:
                self.drop("is_error")
            self.marked(result)
            message = self._content(result.parts, "tool")
            name = result.name or self._names.get(result.call_id)
            if name is not None:
                message["tool_name"] = name
            messages.append(message)
        if rest or not results:
            messages.append(self._content(rest, turn.role))
        return messages

    def _assistant(self, turn: said.Turn) -> dict[str, Any]:
        spoken = [p for p in turn.parts if not isinstance(p, said.Thought | said.Call)]
        message = self._content(spoken, "assistant")
        thoughts = self.thoughts(turn, FORMAT)
        if thoughts:
            message["thinking"] = "".join(one.text or "" for one in thoughts)
        calls = [part for part in turn.parts if isinstance(part, said.Call)]
        self.marked(*calls)
        if calls:
            self._names.update({call.id: call.name for call in calls})
            message["tool_calls"] = [
                {"function": {"name": call.name, "arguments": arguments_of(call)}} for call in calls
            ]
        return message

    def _content(self, parts: Iterable[said.Part], role: str) -> dict[str, Any]:
        texts: list[str] = []
        images: list[str] = []
        for part in map(plain, parts):
            self.marked(part)
            match part:
                case said.Text(text) | said.Refusal(text):
                    texts.append(text)
                case said.Image(source) if source.data is not None:
                    images.append(source.data)
                case said.Image():
                    self.drop("image by reference")
                case _:
                    self.drop(type(part).__name__.lower())
        message: dict[str, Any] = {"role": role, "content": "\n".join(texts)}
        if images:
            message["images"] = images
        return message
