"""A conversation as Cohere's chat request (v2).

Rules: only what its API documents is sent; the limit always is. Temperature and penalties are
clamped to their ranges. JSON mode does not go with tools there: the tools stay and the format is
named as dropped. One named tool is said as that tool alone, required.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ... import conversation as said
from ...canon import Request
from ...conversation import Conversation
from ...routing.entries import Attempt
from .. import Outbound
from ..options import extra_options
from ..spoken import Pen, chosen, function_of, plain, spoken_for, wanted_of
from .answer import FORMAT, PLAN_FORMAT

PATH = "/chat"
STOPS_MAX = 5


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
    body: dict[str, Any] = {
        "model": attempt.endpoint.id,
        "messages": [message for turn in spoken.turns for message in pen.turn(turn)],
    }
    _sampling(spoken.sampling, body, pen)
    if spoken.tools:
        _tools(spoken, body)
    if spoken.format is not None and spoken.tools:
        pen.drop("response_format")
    elif spoken.format is not None:
        body["response_format"] = {"type": "json_object"}
        if spoken.format.schema is not None:
            body["response_format"]["json_schema"] = spoken.format.schema
    _thinking(spoken, attempt, output_tokens_max, body, pen)
    body.update({name: raw for name, raw in spoken.extras.items() if name in _EXTRAS})
    if request.choices > 1:
        pen.drop("n")
    if request.stream:
        body["stream"] = True
    body["max_tokens"] = output_tokens_max
    return body, pen.dropped


_EXTRAS = frozenset({"documents", "citation_options", "safety_mode"})
_KNOWN: dict[str, bool] = dict.fromkeys(
    (
        "temperature",
        "top_p",
        "top_k",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "stop",
        "strict",
        *_EXTRAS,
    ),
    True,
)
_REFUSED = frozenset({"model", "messages", "stream", "max_tokens", "priority"})
"""What `provider.options` may not set."""


def _sampling(sampling: said.Sampling, body: dict[str, Any], pen: Pen) -> None:
    if sampling.temperature is not None:
        body["temperature"] = min(sampling.temperature, 1.0)
    if sampling.top_p is not None:
        body["p"] = min(max(sampling.top_p, 0.01), 0.99)
    if sampling.top_k is not None:
        body["k"] = min(sampling.top_k, 500)
    for name in ("frequency_penalty", "presence_penalty"):
        value = getattr(sampling, name)
        if value is not None and value >= 0:
            body[name] = min(value, 1.0)
        elif value is not None:
            pen.drop(name)
    if sampling.seed is not None and sampling.seed >= 0:
        body["seed"] = sampling.seed
    elif sampling.seed is not None:
        pen.drop("seed")
    if sampling.stop:
        body["stop_sequences"] = sampling.stop[:STOPS_MAX]
        if len(sampling.stop) > STOPS_MAX:
            pen.drop(f"stop (beyond {STOPS_MAX})")


def _tools(spoken: Conversation, body: dict[str, Any]) -> None:
    choice = spoken.tool_choice
    tools = chosen(spoken) if choice is not None and choice.kind == "named" else spoken.tools
    body["tools"] = [function_of(tool) for tool in tools]
    if choice is not None and choice.kind != "auto":
        body["tool_choice"] = "NONE" if choice.kind == "none" else "REQUIRED"
    if tools and all(tool.strict for tool in tools):
        body["strict_tools"] = True


def _thinking(
    spoken: Conversation, attempt: Attempt, limit: int, body: dict[str, Any], pen: Pen
) -> None:
    wanted = wanted_of(spoken)
    if wanted.on is None:
        return
    model = attempt.model
    if not ("reasoning" in model.capabilities or "reasoning" in (model.params or ())):
        pen.drop("reasoning")
    elif not wanted.on:
        body["thinking"] = {"type": "disabled"}
    else:
        body["thinking"] = {"type": "enabled"}
        budget = wanted.budget_for(limit, least=1)
        if budget is not None and (wanted.budget is not None or wanted.effort is not None):
            body["thinking"]["token_budget"] = budget


class _Pen(Pen):
    """Writes turns."""

    def turn(self, turn: said.Turn) -> list[dict[str, Any]]:
        if turn.role == "assistant":
            return [self._assistant(turn)]
        results = [part for part in turn.parts if isinstance(part, said.Result)]
        rest: list[said.Part] = [p for p in turn.parts if not isinstance(p, said.Result)]
        messages = [self._result(result, rest) for result in results]
        if rest or not results:
            messages.append({"role": turn.role, "content": self._content(rest, turn.role)})
        return messages

    def _assistant(self, turn: said.Turn) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant"}
        thoughts = self.thoughts(turn, FORMAT, PLAN_FORMAT)
        plan = "".join(one.text or "" for one in thoughts if one.format == PLAN_FORMAT)
        chunks: list[dict[str, Any]] = [
            {"type": "thinking", "thinking": one.text} for one in thoughts if one.format == FORMAT
        ]
        for part in turn.parts:
            match part:
                case said.Text(text) | said.Refusal(text):
                    self.marked(part)
                    if isinstance(part, said.Text) and part.citations:
                        self.drop("citations")
                    chunks.append({"type": "text", "text": text})
                case said.Thought() | said.Call():
                    pass
                case _:
                    self.drop(f"{type(part).__name__.lower()} in an answer")
        calls = [part for part in turn.parts if isinstance(part, said.Call)]
        self.marked(*calls)
        if len(chunks) == 1 and chunks[0]["type"] == "text":
            message["content"] = chunks[0]["text"]
        elif chunks or not calls:
            message["content"] = chunks or ""
        if plan and calls:
            message["tool_plan"] = plan
        if calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments or "{}"},
                }
                for call in calls
            ]
        return message

    def _result(self, result: said.Result, rest: list[said.Part]) -> dict[str, Any]:
        """A tool message. It holds texts only, so media go to the user message after it."""
        if result.is_error:
            self.drop("is_error")
        self.marked(result)
        held = [plain(part) for part in result.parts]
        texts = [part.text for part in held if isinstance(part, said.Text)]
        media = [part for part in held if not isinstance(part, said.Text)]
        if media:
            rest += media
            self.drop("place of media in tool results")
        content: object = [{"type": "text", "text": text} for text in texts]
        return {
            "role": "tool",
            "tool_call_id": result.call_id,
            "content": "".join(texts) if len(texts) <= 1 else content,
        }

    def _content(self, parts: Iterable[said.Part], role: str) -> str | list[dict[str, Any]]:
        """A string where one text is all there is, else a list of parts."""
        held = [plain(part) for part in parts]
        self.marked(*held)
        written = [one for part in held if (one := self._part(part, role)) is not None]
        if not written:
            return ""
        if len(written) == 1 and "text" in written[0]:
            text: str = written[0]["text"]
            return text
        return written

    def _part(self, part: said.Part, role: str) -> dict[str, Any] | None:
        if isinstance(part, said.Text):
            return {"type": "text", "text": part.text}
        if isinstance(part, said.Image) and role == "user":
            url = said.data_url(part.source)
            if url is not None:
                known = part.detail if part.detail in ("auto", "low", "high") else None
                image = {"url": url} if known is None else {"url": url, "detail": known}
                return {"type": "image_url", "image_url": image}
        self.drop(type(part).__name__.lower())
        return None
