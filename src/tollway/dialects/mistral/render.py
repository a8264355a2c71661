"""A conversation as Mistral's chat request.

Rules: only what its API documents is sent; the limit always is. Temperatures are clamped to its
range. An assistant turn at the end is a prefix to be continued.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from ... import conversation as said
from ...canon import Request
from ...conversation import Conversation
from ...routing.entries import Attempt
from .. import Outbound
from ..options import extra_options
from ..spoken import Pen, function_of, plain, spoken_for, wanted_of
from .answer import FORMAT

PATH = "/chat/completions"
TEMPERATURE_MAX = 1.5


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is the limit that is held for, per choice."""
    spoken = spoken_for(request, attempt)
    body, dropped = body_of(request, spoken, attempt, output_tokens_max)
    body.update(extra_options(request.preferences.options, attempt, _REFUSED))
    headers = (("Content-Type", "application/json"),)
    return Outbound(PATH, msgspec.json.encode(body), headers, dropped)


def body_of(
    request: Request, spoken: Conversation, attempt: Attempt, output_tokens_max: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body, and what it cannot carry."""
    pen = _Pen()
    pen.without(spoken, **_KNOWN)
    body: dict[str, Any] = {"model": attempt.endpoint.id, "messages": pen.messages(spoken.turns)}
    body.update(_sampling(spoken.sampling))
    if spoken.tools:
        body["tools"] = [function_of(tool, strict=True) for tool in spoken.tools]
        if spoken.tool_choice is not None:
            body["tool_choice"] = _choice(spoken.tool_choice)
        if spoken.parallel_calls is not None:
            body["parallel_tool_calls"] = spoken.parallel_calls
    if spoken.format is not None:
        body["response_format"] = _format(spoken.format)
    _thinking(spoken, attempt, output_tokens_max, body, pen)
    if spoken.cache_key is not None:
        body["prompt_cache_key"] = spoken.cache_key
    body.update({name: raw for name, raw in spoken.extras.items() if name in _EXTRAS})
    if request.choices > 1:
        body["n"] = request.choices
    if request.stream:
        body["stream"] = True
    if attempt.endpoint.service_tier:
        body["service_tier"] = attempt.endpoint.service_tier
    body["max_tokens"] = output_tokens_max
    return body, pen.dropped


_EXTRAS = frozenset({"prediction", "safe_prompt", "guardrails", "min_tokens"})
_KNOWN: dict[str, bool] = dict.fromkeys(
    (
        "temperature",
        "top_p",
        "top_k",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "stop",
        "logprobs",
        "top_logprobs",
        "parallel_tool_calls",
        "prompt_cache_key",
        "strict",
        *_EXTRAS,
    ),
    True,
)
_REFUSED = frozenset(
    {"model", "messages", "stream", "max_tokens", "n", "service_tier", "metadata", "agent_id"}
)
"""What `provider.options` may not set."""


def _sampling(sampling: said.Sampling) -> dict[str, Any]:
    fields = {n: v for n, v in msgspec.to_builtins(sampling).items() if n in _KNOWN}
    if "seed" in fields:
        fields["random_seed"] = fields.pop("seed")
    if "temperature" in fields:
        fields["temperature"] = min(fields["temperature"], TEMPERATURE_MAX)
    return fields


def _choice(choice: said.ToolChoice) -> object:
    if choice.kind == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return "any" if choice.kind == "required" else choice.kind


def _format(wanted: said.Format) -> dict[str, Any]:
    if wanted.kind == "json" or wanted.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


def _thinking(
    spoken: Conversation, attempt: Attempt, limit: int, body: dict[str, Any], pen: Pen
) -> None:
    """Newer models take an effort; the Magistral family a mode that its system prompt follows."""
    wanted = wanted_of(spoken)
    if wanted.on is None:
        return
    model = attempt.model
    if "magistral" in attempt.endpoint.id and not model.efforts:
        if wanted.on:
            body["prompt_mode"] = "reasoning"
        else:
            pen.drop("reasoning")
    elif model.efforts or "reasoning" in model.capabilities:
        body["reasoning_effort"] = wanted.effort_for(model.efforts or ("none", "high"), limit)
    else:
        pen.drop("reasoning")


class _Pen(Pen):
    """Writes turns."""

    def messages(self, turns: Iterable[said.Turn]) -> list[dict[str, Any]]:
        messages = [message for turn in turns for message in self._turn(turn)]
        if messages and messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]:
            messages[-1]["prefix"] = True
        return messages

    def _turn(self, turn: said.Turn) -> list[dict[str, Any]]:
        if turn.role == "assistant":
            return [self._assistant(turn)]
        results = [part for part in turn.parts if isinstance(part, said.Result)]
        rest = [part for part in turn.parts if not isinstance(part, said.Result)]
        messages = [self._result(result) for result in results]
        if rest or not results:
            messages.append({"role": turn.role, "content": self._content(rest)})
        return messages

    def _assistant(self, turn: said.Turn) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant"}
        chunks: list[dict[str, Any]] = []
        for thought in self.thoughts(turn, FORMAT):
            chunk: dict[str, Any] = {
                "type": "thinking",
                "thinking": [{"type": "text", "text": thought.text}],
            }
            if thought.signature is not None:
                chunk["signature"] = thought.signature
            chunks.append(chunk)
        spoken = [
            said.Text(part.text) if isinstance(part, said.Refusal) else part
            for part in turn.parts
            if not isinstance(part, said.Thought | said.Call)
        ]
        content = self._content(spoken)
        if chunks:
            texts = content if isinstance(content, list) else [{"type": "text", "text": content}]
            message["content"] = chunks + (texts if content else [])
        else:
            message["content"] = content
        calls = [part for part in turn.parts if isinstance(part, said.Call)]
        self.marked(*calls)
        if calls:
            message["tool_calls"] = [
                {
                    "id": short_id(call.id),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments or "{}"},
                }
                for call in calls
            ]
        return message

    def _result(self, result: said.Result) -> dict[str, Any]:
        if result.is_error:
            self.drop("is_error")
        self.marked(result)
        message = {"role": "tool", "tool_call_id": short_id(result.call_id)}
        if result.name is not None:
            message["name"] = result.name
        return {**message, "content": self._content(result.parts)}

    def _content(self, parts: Iterable[said.Part]) -> str | list[dict[str, Any]]:
        """A string where texts are all there is, else a list of chunks."""
        held = [plain(part) for part in parts]
        self.marked(*held)
        if all(isinstance(part, said.Text) for part in held):
            texts = [part.text for part in held if isinstance(part, said.Text)]
            if len(texts) <= 1:
                return "".join(texts)
        return [chunk for part in held if (chunk := self._chunk(part)) is not None]

    def _chunk(self, part: said.Part) -> dict[str, Any] | None:
        match part:
            case said.Text(text):
                return {"type": "text", "text": text}
            case said.Image(source, detail) if (url := said.data_url(source)) is not None:
                image = {"url": url} if detail is None else {"url": url, "detail": detail}
                return {"type": "image_url", "image_url": image}
            case said.File(source, filename) if (url := said.data_url(source)) is not None:
                named = {"document_name": filename} if filename is not None else {}
                return {"type": "document_url", "document_url": url, **named}
            case said.Audio(source):
                held = source.data or source.url
                return {"type": "input_audio", "input_audio": held} if held else None
        self.drop(type(part).__name__.lower())
        return None


def short_id(call_id: str) -> str:
    """A tool call's id in Mistral's nine characters; the same for a call and its result."""
    if len(call_id) == 9 and call_id.isascii() and call_id.isalnum():
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]
