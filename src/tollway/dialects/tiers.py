"""Service tiers in the words of the wires: which one really served.

Pure. Which tiers a request lets in is routing's. Providers name their ordinary tier as they like;
callers see `default` (in Anthropic's dialect, `standard`).
"""

from __future__ import annotations

DEFAULT = "default"
_ORDINARY = frozenset({"default", "standard", "on_demand", "auto", "standard_only"})
"""OpenAI and Bedrock, Anthropic, Groq; what was asked for and came back untranslated."""


def normal(label: str) -> str:
    """A provider's word as callers see it."""
    return DEFAULT if label.lower() in _ORDINARY else label


def served(reported: str | None, planned: str | None) -> str | None:
    """The tier that served: what the provider says, which may be less than was asked of it, else
    the endpoint's own. None = an ordinary endpoint that says nothing."""
    return planned if reported is None else normal(reported)
