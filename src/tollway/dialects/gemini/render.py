"""A generateContent request for one provider: `canon.Request` and an attempt to an HTTP body.

Rules: a Gemini caller's own JSON is sent, field by field, except what is listed here; any other
caller's is written from its Conversation. The output limit is always sent, because it is what makes
the hold a ceiling. The model stands in the path.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw

from ...canon import Request
from ...routing.entries import Attempt
from .. import Outbound, conversation
from ..options import extra_options
from . import config, schema
from .models import wants_signatures
from .request import SEARCH_TOOLS, searches
from .signatures import ENVELOPE_START, UNSIGNED, opened
from .writing import Pen

_JSON = ("Content-Type", "application/json")


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is the limit that is held for, per candidate; it includes thoughts."""
    return rendered(request, attempt, output_tokens_max, path(attempt.endpoint.id, request.stream))


def path(model: str, stream: bool) -> str:
    """Below AI Studio's base URL."""
    name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    return f"/{quote(name, safe='/@')}:{method(stream)}"


def method(stream: bool) -> str:
    return "streamGenerateContent?alt=sse" if stream else "generateContent"


def rendered(request: Request, attempt: Attempt, output_tokens_max: int, path: str) -> Outbound:
    """The same body under any path."""
    pen = Pen(wants_signatures=wants_signatures(attempt.endpoint.id))
    removed = frozenset(attempt.dropped_params)
    if request.dialect == "gemini":
        fields = _own(request.fields, attempt, pen)
        settings = config.own(request.fields, config.without(attempt), output_tokens_max)
    else:
        spoken = conversation(request)
        fields = pen.fields(spoken)
        settings = config.written(spoken, attempt, output_tokens_max, request.choices, pen)
    if "tools" in removed:
        fields.pop("tools", None)
        fields.pop("toolConfig", None)
    if "tool_choice" in removed:
        fields.pop("toolConfig", None)
    fields["generationConfig"] = settings
    if attempt.endpoint.service_tier:
        fields["serviceTier"] = attempt.endpoint.service_tier
    options = request.preferences.options
    if options:
        fields.update(extra_options(options, attempt, _OPTIONS_REFUSED))
    return Outbound(path, msgspec.json.encode(fields), (_JSON,), tuple(pen.dropped))


# ---- the caller's own body -----------------------------------------------------------------------

_PASSED = (
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "cachedContent",
    "labels",
)
"""Top-level fields of the API; it refuses any other. `store` is not among them: nothing is kept in
the operator's account on a caller's word."""


def _own(given: Mapping[str, Raw], attempt: Attempt, pen: Pen) -> dict[str, object]:
    fields: dict[str, object] = {name: given[name] for name in _PASSED if name in given}
    if ENVELOPE_START.encode() in bytes(given["contents"]):
        fields["contents"] = _without_envelopes(given["contents"], attempt, pen)
    if "web_search_options" in attempt.dropped_params and "tools" in given:
        fields["tools"] = _without_searches(given["tools"], pen)
        if not fields["tools"]:
            del fields["tools"]
    return fields


def _without_envelopes(contents: Raw, attempt: Attempt, pen: Pen) -> list[dict[str, Any]]:
    """The contents without the state of providers that are not Google."""
    written: list[dict[str, Any]] = msgspec.json.decode(contents)
    unsigned = UNSIGNED if wants_signatures(attempt.endpoint.id) else None
    for content in written:
        kept: list[dict[str, Any]] = []
        for part in content.get("parts") or ():
            details = opened(part.get("thoughtSignature") or "")
            if details is not None:
                _name_formats(details, pen)
                del part["thoughtSignature"]
                if unsigned and "functionCall" in part:
                    part["thoughtSignature"] = unsigned
            if part and part != {"text": ""}:
                kept.append(part)
        content["parts"] = kept
    return [content for content in written if content["parts"]]


def _name_formats(details: Collection[Raw], pen: Pen) -> None:
    for raw in details:
        entry = msgspec.json.decode(raw)
        form = entry.get("format") if isinstance(entry, dict) else None
        pen.drop(f"reasoning signature ({form or 'unknown'})")


def _without_searches(tools: Raw, pen: Pen) -> object:
    if not searches(tools):
        return tools
    pen.drop("web_search_options")
    kept = [
        {name: raw for name, raw in tool.items() if name not in SEARCH_TOOLS}
        for tool in schema.tools_decoder.decode(tools)
    ]
    return [tool for tool in kept if tool]


_OPTIONS_REFUSED = frozenset(
    {"contents", "generationConfig", "model", "serviceTier", "cachedContent", "store"}
)
"""What `provider.options` may not set: the hold and the plan rest on it."""
