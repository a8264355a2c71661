"""A Converse request for one endpoint: `canon.Request` and an attempt to an HTTP body.

Not here: messages and tools (compose). Rules: no caller speaks this dialect, so everything goes
over the pivot; the output limit is always sent; what a vendor's model takes beyond Converse goes
into `additionalModelRequestFields` by the vendor's own names. Vendors differ, so the author of the
model decides: Claude thinks by budget or adaptively, Nova by effort, gpt-oss by effort.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from ...canon import Request
from ...conversation import Conversation, Format, Thinking
from ...routing.entries import Attempt
from .. import Outbound
from .. import conversation as conversation_of
from ..anthropic_messages.compose import object_schema
from ..anthropic_messages.render import ANSWER_TOOL, JSON_WANTED
from ..options import extra_options
from ..reasoning import BUDGET_LEAST, Wanted
from .compose import Composer, replays_thought

CLAUDE, NOVA, OPENAI = "anthropic", "amazon", "openai"
CACHING = frozenset({CLAUDE, NOVA})
"""Authors whose models take cache points."""

_TOP_K: dict[str, tuple[str, ...]] = {
    CLAUDE: ("top_k",),
    NOVA: ("inferenceConfig", "topK"),
    "cohere": ("k",),
    "mistralai": ("top_k",),
}
"""Where each author's models have it."""

_OPTIONS = frozenset({"guardrailConfig", "requestMetadata"})
"""What `provider.options` may set: everything else moves the price or the limit."""


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is the limit that is held for."""
    said = conversation_of(request)
    draft = Draft(request, attempt, output_tokens_max)
    draft.write(said)
    model = quote(attempt.endpoint.id, safe="")
    path = f"/model/{model}/{'converse-stream' if request.stream else 'converse'}"
    accept = "application/vnd.amazon.eventstream" if request.stream else "application/json"
    headers = (("Content-Type", "application/json"), ("Accept", accept))
    body = msgspec.json.encode(draft.fields)
    return Outbound(path, body, headers, tuple(draft.composer.dropped))


class Draft:
    """A body while it is being written."""

    def __init__(self, request: Request, attempt: Attempt, output_tokens_max: int) -> None:
        author = attempt.model.author
        self.request = request
        self.attempt = attempt
        self.author = author
        self.output_tokens_max = output_tokens_max
        self.composer = Composer(signs=author == CLAUDE, caches=author in CACHING)
        self.fields: dict[str, Any] = {}
        self.more: dict[str, Any] = {}
        """`additionalModelRequestFields`."""

    def lacks(self, *params: str) -> bool:
        """The endpoint does not support one of these."""
        return any(name in self.attempt.dropped_params for name in params)

    def drop(self, name: str) -> None:
        self.composer.drop(name)

    def write(self, said: Conversation) -> None:
        if self.lacks("tools"):
            said = msgspec.structs.replace(said, tools=(), tool_choice=None)
        self.fields = self.composer.fields(said)
        self._choice(said)
        self._format(said.format)
        self._thinking(said.thinking)
        self._sampling(said)
        self._report(said)
        attempt = self.attempt
        options = extra_options(self.request.preferences.options, attempt, ())
        self.fields.update({name: options[name] for name in options.keys() & _OPTIONS})
        if attempt.endpoint.service_tier:
            self.fields["serviceTier"] = {"type": attempt.endpoint.service_tier}
        if self.more:
            self.fields["additionalModelRequestFields"] = self.more

    # ---- tools and form --------------------------------------------------------------------------

    def _choice(self, said: Conversation) -> None:
        choice, config = said.tool_choice, self.fields.get("toolConfig")
        if config is None:
            return
        if not said.tools:
            return  # declared for the history alone
        kind = choice.kind if choice is not None and not self.lacks("tool_choice") else "auto"
        if kind == "none":
            # There is no such word: without tools none is called, but a history of calls needs them.
            calls = any("toolUse" in b for m in self.fields["messages"] for b in m["content"])
            if calls:
                self.drop("tool_choice")
            else:
                del self.fields["toolConfig"]
            return
        if choice is not None and kind == "named":
            config["toolChoice"] = {"tool": {"name": choice.name}}
        elif kind == "required":
            config["toolChoice"] = {"any": {}}
        if said.parallel_calls is False and not self.lacks("parallel_tool_calls"):
            self._one_call(config)

    def _one_call(self, config: dict[str, Any]) -> None:
        """Claude's own word for it, which then holds the choice, too."""
        if self.author != CLAUDE:
            self.drop("parallel_tool_calls")
            return
        choice = config.pop("toolChoice", {})
        own: dict[str, Any] = {"type": "any" if "any" in choice else "auto"}
        if "tool" in choice:
            own = {"type": "tool", "name": choice["tool"]["name"]}
        self.more["tool_choice"] = {**own, "disable_parallel_tool_use": True}

    def _format(self, wanted: Format | None) -> None:
        if wanted is None:
            return
        if self.lacks("response_format", "structured_outputs") and wanted.kind == "schema":
            self.drop("response_format")
        elif wanted.kind == "schema" and wanted.schema is not None and self._formats():
            shape: dict[str, Any] = {"schema": bytes(wanted.schema).decode(), "name": wanted.name}
            if wanted.description:
                shape["description"] = wanted.description
            form = {"type": "json_schema", "structure": {"jsonSchema": shape}}
            self.fields["outputConfig"] = {"textFormat": form}
        elif wanted.kind == "schema" and wanted.schema is not None and self._calls(wanted):
            self._answer_tool(wanted)
        elif self.lacks("response_format"):
            self.drop("response_format")
        else:
            self.drop("response_format (as an instruction)")
            self.fields["system"] = [*self.fields.get("system", []), {"text": JSON_WANTED}]

    def _formats(self) -> bool:
        """The model has structured output of its own: Nova has not, whatever else it can."""
        model = self.attempt.model
        if self.author == NOVA:
            return False
        if model.params is not None:
            return "structured_outputs" in model.params
        return bool(model.efforts) and "structured_outputs" in model.capabilities

    def _calls(self, wanted: Format) -> bool:
        """The model can be made to call a tool that takes the answer."""
        model = self.attempt.model
        assert wanted.schema is not None
        root = msgspec.json.decode(wanted.schema, type=dict[str, Any]).get("type", "object")
        return root == "object" and (
            "tools" in model.capabilities or "tools" in (model.params or ())
        )

    def _answer_tool(self, wanted: Format) -> None:
        """The model must call a tool: one of the caller's, or this one with its answer."""
        config = self.fields.setdefault("toolConfig", {"tools": []})
        own = "toolChoice" in config and "tool" in config["toolChoice"]
        spec = {
            "name": ANSWER_TOOL,
            "description": wanted.description
            or "Gives the answer. Call it with the whole answer, once.",
            "inputSchema": {"json": object_schema(wanted.schema)},
        }
        config["tools"].append({"toolSpec": spec})
        if own:
            return  # the caller's own choice comes first; the answer follows in a later turn
        alone = len(config["tools"]) == 1
        config["toolChoice"] = {"tool": {"name": ANSWER_TOOL}} if alone else {"any": {}}
        if "tool_choice" in self.more:
            self.more["tool_choice"]["type"] = "any"
            del config["toolChoice"]

    # ---- reasoning -------------------------------------------------------------------------------

    def _thinking(self, said: Thinking) -> None:
        model = self.attempt.model
        if said.on is None or self.lacks("reasoning"):
            return
        thinks = bool(model.efforts or model.thinking_budget or "reasoning" in model.capabilities)
        wanted = Wanted(said.on, said.effort, said.budget, said.exclude)
        if not thinks:
            if said.on:
                self.drop("reasoning")
        elif self.author == CLAUDE:
            self._claude(wanted)
        elif self.author == NOVA:
            self._nova(wanted)
        elif self.author == OPENAI:
            levels = model.efforts or ("low", "medium", "high")
            effort = wanted.effort_for(levels, self.output_tokens_max)
            self.more["reasoning_effort"] = effort
        else:
            self.drop("reasoning")

    def _claude(self, wanted: Wanted) -> None:
        model = self.attempt.model
        if not wanted.on:
            self.more["thinking"] = {"type": "disabled"}
            return
        if self._forced():
            self.drop("reasoning (with a forced tool)")
            return
        if model.efforts and not model.thinking_budget:
            levels = [level for level in model.efforts if level != "none"]
            effort = wanted.effort_for(levels, self.output_tokens_max)
            display = "omitted" if wanted.exclude else "summarized"
            self.more["thinking"] = {"type": "adaptive", "display": display}
            self.fields.setdefault("outputConfig", {})["effort"] = effort
            return
        least = (model.thinking_budget or {}).get("min", BUDGET_LEAST)
        budget = wanted.budget_for(self.output_tokens_max, least)
        if budget is None:
            self.drop("reasoning (no room below max_tokens)")
        elif self._continues_unsigned():
            self.drop("reasoning (the turn began without a signed thought)")
        else:
            self.more["thinking"] = {"type": "enabled", "budget_tokens": budget}

    def _nova(self, wanted: Wanted) -> None:
        if not wanted.on:
            self.more["reasoningConfig"] = {"type": "disabled"}
            return
        effort = wanted.effort_for(("low", "medium", "high"), self.output_tokens_max)
        self.more["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": effort}

    def _forced(self) -> bool:
        own = self.more.get("tool_choice", {}).get("type") in ("any", "tool")
        return own or "toolChoice" in self.fields.get("toolConfig", {})

    def _continues_unsigned(self) -> bool:
        """The results of tools are being answered, and the turn that called them has no thought:
        with a budget to think Claude refuses that."""
        messages = self.fields["messages"]
        if len(messages) < 2 or "toolResult" not in messages[-1]["content"][0]:
            return False
        return not replays_thought(messages[-2])

    # ---- sampling --------------------------------------------------------------------------------

    def _sampling(self, said: Conversation) -> None:
        sampling = said.sampling
        inference: dict[str, Any] = {"maxTokens": self.output_tokens_max}
        for name, wire in (("temperature", "temperature"), ("top_p", "topP")):
            value = getattr(sampling, name)
            if value is None or self.lacks(name):
                continue
            if self._refuses(name, value):
                self.drop(name)
            else:
                inference[wire] = min(value, 1)
        model = self.attempt.model
        one_only = self.author == CLAUDE and (model.efforts or model.thinking_budget)
        if one_only and "temperature" in inference and "topP" in inference:
            del inference["topP"]  # these models take one of the two
            self.drop("top_p")
        if sampling.top_k is not None and not self.lacks("top_k"):
            self._top_k(sampling.top_k)
        stops = [stop for stop in sampling.stop if stop.strip()]
        if len(stops) < len(sampling.stop):
            self.drop("stop (white space)")
        if stops and not self.lacks("stop"):
            inference["stopSequences"] = stops
        self.fields["inferenceConfig"] = inference

    def _refuses(self, name: str, value: float) -> bool:
        """No sampling at all on the newest, hardly any beside Claude's thinking."""
        if self.attempt.model.no_sampling:
            return True
        if self.more.get("thinking", {}).get("type") not in ("enabled", "adaptive"):
            return False
        return not (name == "temperature" and value == 1) and not (
            name == "top_p" and value >= 0.95
        )

    def _top_k(self, value: int) -> None:
        place = _TOP_K.get(self.author)
        if place is None or self._refuses("top_k", value):
            self.drop("top_k")
            return
        fields = self.more
        for name in place[:-1]:
            fields = fields.setdefault(name, {})
        fields[place[-1]] = value

    def _report(self, said: Conversation) -> None:
        """What this wire has no word for."""
        for name in _UNKNOWN_SAMPLING:
            if getattr(said.sampling, name) is not None and not self.lacks(name):
                self.drop(name)
        if said.verbosity is not None:
            self.drop("verbosity")
        if any(name != "text" for name in said.output_modalities):
            self.drop("modalities")
        if said.cache_key is not None:
            self.drop("prompt_cache_key")
        if self.request.choices > 1:
            self.drop("n")
        for name in said.extras:
            self.drop(name)


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
