"""Slugs: `author/name:variant:variant` taken apart and put together again.

Two kinds of suffix look alike. `:free` and its like are models of their own and stay part of the
id; `:nitro`, `:floor`, `:exacto` and `:online` only change how the model is routed. They come in
any number and order. Which is which is said here, whether an id exists is the catalogue's business
(`lookup`).
"""

from __future__ import annotations

from typing import Literal

from ..canon import Preferences

Sort = Literal["price", "throughput", "latency", "exacto"]

SORTS: dict[str, Sort] = {"nitro": "throughput", "floor": "price", "exacto": "exacto"}
"""Routing variants that sort, and what by; the last one of a slug wins."""

ONLINE = "online"
"""The routing variant that wants the web searched: only endpoints that do so themselves serve."""

ROUTING_VARIANTS: frozenset[str] = frozenset(SORTS) | {ONLINE}

ADMITS: dict[str, str] = {"nitro": "priority", "floor": "flex"}
"""Routing variants, and the service tier whose endpoints each lets in."""

CATALOGUE_VARIANTS: frozenset[str] = frozenset({"free", "thinking", "extended", "batch"})
"""Suffixes that make another model, of which a slug has one at most. A missing one is an error,
never the base model instead."""


def parse_slug(text: str) -> tuple[str, tuple[str, ...]]:
    """(id, routing variants). The id keeps every suffix that is not a routing variant, so an
    unknown one leads to a model that does not exist. Case is folded.

    >>> parse_slug("openai/gpt-4o:nitro:free:online")
    ('openai/gpt-4o:free', ('nitro', 'online'))
    """
    if ":" not in text:
        return text.lower(), ()
    base, *suffixes = text.lower().split(":")
    routing = tuple(s for s in suffixes if s in ROUTING_VARIANTS)
    return ":".join([base, *(s for s in suffixes if s not in ROUTING_VARIANTS)]), routing


def join_slug(base: str, variants: tuple[str, ...]) -> str:
    """The opposite of `parse_slug`."""
    return ":".join((base, *variants))


def sort_of(preferences: Preferences, variants: tuple[str, ...]) -> Sort | None:
    """The explicit sort in force: the request's own, else the last sorting variant's, else None."""
    if preferences.sort is not None or not variants:
        return preferences.sort
    return next((SORTS[v] for v in reversed(variants) if v in SORTS), None)
