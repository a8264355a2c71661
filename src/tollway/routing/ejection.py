"""Ejection: an endpoint that failed five times in a row stays behind for longer and longer.

Not here: the 30 s demotion after an outage (`health`), which comes first and is shorter-sighted.
As in Envoy's outlier detection: 30 s times the number of ejections, at most 300 s; a time without
ejection takes the number back. When the time is over the endpoint is half-open: one request may go
there first, all others still find it behind; how that one ends decides. Nothing is removed from a
plan, so the last endpoint of a model is never out of reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

EJECT_RUN: Final = 5
"""Sick calls in a row, Envoy's default."""
EJECT_S: Final = 30.0
EJECT_MAX_S: Final = 300.0
LEASE_S: Final = 5.0
"""Between the plan that puts a probe first and its call there is one hold to wait for. A plan that
never came to its call must not keep the next probe waiting for long."""
PROBE_MAX_S: Final = 900.0
"""Longer than any call: a probe whose end nobody told is forgotten."""
HALF_OPEN_MAX_S: Final = 600.0
"""Nobody probed for so long: what was known of it is no longer true."""

CLOSED, EJECTED, PROBED, HALF_OPEN = range(4)


class Ejection:
    """One endpoint's state. `changed_s` orders what several processes say of it."""

    __slots__ = ("began_s", "changed_s", "closed", "count", "leased_s", "running", "until_s")

    def __init__(self, until_s: float, count: int, changed_s: float, closed: bool) -> None:
        self.until_s = until_s
        self.count = count
        self.changed_s = changed_s
        self.closed = closed
        self.leased_s = 0.0
        """Until when a plan has the right to probe."""
        self.running = 0
        """Calls begun while half-open, not over yet."""
        self.began_s = 0.0
        """When the latest of them began."""


class Ejections:
    """By endpoint and credential."""

    __slots__ = ("_states",)

    def __init__(self) -> None:
        self._states: dict[str, Ejection] = {}
        """Few: an endpoint has one from its first ejection until it was well for as long."""

    def __bool__(self) -> bool:
        return bool(self._states)

    def standing(self, key: str, now_s: float) -> int:
        """CLOSED, EJECTED, PROBED (half-open, and somebody is looking) or HALF_OPEN."""
        state = self._states.get(key)
        if state is None or state.closed or now_s >= state.until_s + HALF_OPEN_MAX_S:
            return CLOSED
        if now_s < state.until_s:
            return EJECTED
        probed = state.leased_s > now_s or (state.running and now_s < state.began_s + PROBE_MAX_S)
        return PROBED if probed else HALF_OPEN

    def behind(self, now_s: float) -> set[str]:
        """Keys that are EJECTED or PROBED."""
        return {key for key in self._states if self.standing(key, now_s) in (EJECTED, PROBED)}

    def claim(self, key: str, now_s: float) -> None:
        """A plan put it first: while it is half-open that is the probe."""
        if self.standing(key, now_s) == HALF_OPEN:
            self._states[key].leased_s = now_s + LEASE_S

    def began(self, key: str, now_s: float) -> None:
        state = self._states.get(key)
        if state is not None and not state.closed and now_s >= state.until_s:
            if now_s >= state.began_s + PROBE_MAX_S:
                state.running = 0
            state.running += 1
            state.began_s = now_s
            state.leased_s = 0.0

    def left(self, key: str, began_s: float) -> None:
        """A call ended without saying anything about the endpoint's health."""
        state = self._states.get(key)
        if state is not None and not state.closed and began_s >= state.until_s:
            state.running = max(0, state.running - 1)

    def well(self, key: str, began_s: float, now_s: float) -> bool:
        """A call went well. True when it closed the ejection: one that was begun before the
        ejection was over proves nothing."""
        state = self._states.get(key)
        if state is None or state.closed or began_s < state.until_s:
            return False
        self._states[key] = Ejection(state.until_s, state.count, now_s, closed=True)
        return True

    def ill(self, key: str, run: int, began_s: float, now_s: float) -> bool:
        """A call was sick, the `run`th in a row. True when it ejects."""
        state = self._states.get(key)
        if state is None or state.closed:
            if run < EJECT_RUN:
                return False
            count = 0 if state is None else _decayed(state, now_s)
        elif began_s < state.until_s:
            return False
        else:
            count = state.count
        until_s = now_s + min(EJECT_S * (count + 1), EJECT_MAX_S)
        self._states[key] = Ejection(until_s, count + 1, now_s, closed=False)
        return True

    def forget(self, now_s: float) -> float:
        """Drop what is over; returns when the next ejection is, infinity when there is none."""
        for key, state in list(self._states.items()):
            over = _decayed(state, now_s) == 0 if state.closed else False
            if over or (not state.closed and now_s >= state.until_s + HALF_OPEN_MAX_S):
                del self._states[key]
        open_ = (s for s in self._states.values() if not s.closed)
        return min((s.until_s + HALF_OPEN_MAX_S for s in open_), default=inf)

    def told(self) -> Iterator[tuple[str, tuple[float, int, float, bool]]]:
        """What other processes should know: (until_s, count, changed_s, closed) by key."""
        for key, s in self._states.items():
            yield key, (s.until_s, s.count, s.changed_s, s.closed)

    def hear(self, key: str, until_s: float, count: int, changed_s: float, closed: bool) -> None:
        """The latest word counts, whoever said it. Each process makes its own probe."""
        state = self._states.get(key)
        if state is None or changed_s > state.changed_s:
            self._states[key] = Ejection(until_s, count, changed_s, closed)


def _decayed(state: Ejection, now_s: float) -> int:
    """Ejections still held against a closed one: every EJECT_S of health takes one back."""
    return max(0, state.count - int((now_s - state.changed_s) // EJECT_S))
