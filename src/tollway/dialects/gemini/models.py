"""What differs between the generations of Gemini models, read from the catalogue's facts and, for
models it does not know, from their names."""

from __future__ import annotations

import re

from ...catalogue.entries import Model

LEVELS = ("minimal", "low", "medium", "high")
"""Of models that take a `thinkingLevel` and whose own levels nobody published."""


def generation(name: str) -> int | None:
    """3 of `gemini-3.1-pro-preview`; None for models of another family."""
    found = _GENERATION.search(name)
    return int(found[1]) if found else None


_GENERATION = re.compile(r"gemini-(\d{1,2})(?![\d])")


def takes_level(model: Model, name: str) -> bool:
    """Thinking is asked for by level (Gemini 3 and later), not by budget."""
    if model.efforts:
        return True
    return model.thinking_budget is None and (generation(name) or 0) >= 3


def takes_budget(model: Model, name: str) -> bool:
    return model.thinking_budget is not None or "gemini-2.5" in name


def wants_signatures(name: str) -> bool:
    """A function call in the history without a signature is refused."""
    return (generation(name) or 0) >= 3
