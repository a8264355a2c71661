"""`:online`: telling a provider to search the web, in the words of each dialect.

Pure. Not here: who wants it (routing.slugs), what it may cost (routing.ceilings), what comes back
(each dialect reads its own citations). A provider that cannot search by itself is not told to; a
search engine of our own would be another thing.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from ..catalogue.entries import Endpoint, Model
from . import Outbound

SEARCHES_MAX = 10
"""What is held for (routing.ceilings), and told to those who can be told."""

_BY_OPTIONS = frozenset({"openai_chat", "azure_openai"})
"""Dialects with a parameter, `web_search_options`, for the models that list it."""

_TOOLS: dict[str, dict[str, Any]] = {
    "anthropic_messages": {
        "type": "web_search_20250305",
        "name": "web_search",
        "max_uses": SEARCHES_MAX,
    },
    "gemini": {"googleSearch": {}},
    "openai_responses": {"type": "web_search"},
}
_TOOLS["vertex_anthropic"] = _TOOLS["anthropic_messages"]
_TOOLS["vertex_gemini"] = _TOOLS["gemini"]
"""Dialects in which searching is a tool of the provider's own, for models that have it."""


def searches(model: Model, endpoint: Endpoint) -> bool:
    """Whether this endpoint can be told to search. Where searching is a tool its price must be
    known: nothing unpriced is sent."""
    if endpoint.dialect in _BY_OPTIONS:
        return "web_search_options" in (model.params or ())
    priced = endpoint.price.base.web_search is not None
    return endpoint.dialect in _TOOLS and priced and "web_search" in model.capabilities


def with_search(outbound: Outbound, dialect: str) -> Outbound:
    """The same call, told to search unless it says so already."""
    fields: dict[str, Any] = msgspec.json.decode(outbound.body, type=dict[str, Raw])
    if dialect in _BY_OPTIONS:
        fields.setdefault("web_search_options", {})
    else:
        tools = msgspec.json.decode(fields.get("tools", b"[]"), type=list[dict[str, Raw]])
        if any(map(_is_search, tools)):
            return outbound
        fields["tools"] = [*tools, _TOOLS[dialect]]
    return msgspec.structs.replace(outbound, body=msgspec.json.encode(fields))


def _is_search(tool: dict[str, Raw]) -> bool:
    """The caller's own wish for a search, or a tool that has taken its name (a name is had once)."""
    if "googleSearch" in tool or "google_search" in tool:
        return True
    kind, name = bytes(tool.get("type", b"")), bytes(tool.get("name", b""))
    return kind.startswith(b'"web_search') or name == b'"web_search"'
