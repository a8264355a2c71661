"""Sticky: which endpoint a conversation was answered by, so that its cache is met warm.

Mutable, in memory, bounded, the clock an argument. Not here: what a conversation is (dialects make
its key), what stickiness is worth against other wishes (`ranking`).

Rules (OpenRouter's, and two of our own). A conversation sticks from its first reported cache hit
on, or at once when the caller named it; only where reading from the cache is cheaper than reading
anew; for ten minutes after its last success, or for as long as the cache lifetime that a request
itself asked for, if that is longer. An error neither renews nor ends it. An answer with reasoning
that only its endpoint can read pins the conversation there, whatever the cache costs.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ..catalogue.entries import Endpoint
from .entries import Stuck

IDLE_S: Final = 600.0
TTL_S_MAX: Final = 86_400.0
"""Longer than any provider keeps a cache that is not paid for by the hour."""
ENTRIES_MAX: Final = 100_000
"""About 40 MB; beyond it the conversation that was silent longest is forgotten."""

Key = tuple[str, str, str]
"""Workspace, model, conversation. State has no model: it stays in a conversation that changes its
model, so its key has an empty one."""


class Sticky:
    """All conversations of a process. Used from one thread."""

    __slots__ = ("_entries", "_most")

    def __init__(self, most: int = ENTRIES_MAX) -> None:
        self._entries: OrderedDict[Key, tuple[Stuck, float]] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Key, now_s: float) -> Stuck | None:
        """Where this conversation was answered; None when that is too long ago."""
        found = self._entries.get(key)
        if found is None:
            return None
        stuck, until_s = found
        if now_s >= until_s:
            del self._entries[key]
            return None
        return stuck

    def keep(self, key: Key, stuck: Stuck, now_s: float, ttl_s: float | None = None) -> None:
        """It was answered there now. `ttl_s`: the cache lifetime the request asked for."""
        before = self._entries.pop(key, None)
        until_s = now_s + max(IDLE_S, min(ttl_s or 0.0, TTL_S_MAX))
        if before is not None and before[0].endpoint == stuck.endpoint:
            # A shorter lifetime asked for later does not end the longer one that was paid for.
            until_s = max(until_s, before[1])
        self._entries[key] = (stuck, until_s)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)


def sticks(
    before: Stuck | None, endpoint: Endpoint, *, named: bool, hit: bool, cheaper: bool
) -> Stuck | None:
    """What a success at `endpoint` leaves behind of its cache; None = nothing.

    `before`: where this model's cache was warm. `named`: the caller gave the conversation a name.
    `hit`: cached tokens were reported. `cheaper`: the endpoint's cache-read price is below its
    prompt price.
    """
    again = before is not None and before.endpoint == endpoint.key
    return Stuck(endpoint.key, endpoint.provider) if cheaper and (named or hit or again) else None


def pins(before: Stuck | None, endpoint: Endpoint, *, opaque: bool) -> Stuck | None:
    """…and of its state. `opaque`: the answer carried state that only this endpoint can read."""
    if opaque:
        return Stuck(endpoint.key, endpoint.provider, pinned=True)
    return before if before is not None and before.endpoint == endpoint.key else None
