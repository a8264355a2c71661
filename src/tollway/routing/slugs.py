"""Slugs: `author/name:variant:variant` taken apart and put together again.

Two kinds of suffix look alike. `:free` and its like are models of their own and stay part of the
id; `:nitro` and `:floor` only change how the model is routed. Which is which is said here, whether
an id exists is the catalogue's business (`lookup`).
"""

from __future__ import annotations

from ..canon import Preferences

SORTS: dict[str, str] = {"nitro": "throughput", "floor": "price"}
"""Routing variants, and the sort each stands for; the last one of a slug wins."""

ADMITS: dict[str, str] = {"nitro": "priority", "floor": "flex"}
"""Routing variants, and the service tier whose endpoints each lets in."""

CATALOGUE_VARIANTS: frozenset[str] = frozenset({"free", "thinking", "extended", "batch"})
"""Suffixes that make another model. A missing one is an error, never the base model instead."""


def parse_slug(text: str) -> tuple[str, tuple[str, ...]]:
    """(id, routing variants). The id keeps every suffix that is not a routing variant, so an
    unknown one leads to a model that does not exist. Case is folded.

    >>> parse_slug("openai/gpt-4o:free:nitro")
    ('openai/gpt-4o:free', ('nitro',))
    """
    if ":" not in text:
        return text.lower(), ()
    base, *suffixes = text.lower().split(":")
    routing = tuple(s for s in suffixes if s in SORTS)
    return ":".join([base, *(s for s in suffixes if s not in SORTS)]), routing


def join_slug(base: str, variants: tuple[str, ...]) -> str:
    """The opposite of `parse_slug`."""
    return ":".join((base, *variants))


def sort_of(preferences: Preferences, variants: tuple[str, ...]) -> str | None:
    """The explicit sort in force: the request's own, else the last variant's, else None."""
    if preferences.sort is not None:
        return preferences.sort
    return SORTS[variants[-1]] if variants else None
