"""Troubles with an end: outages, rests, refused credentials. Until when each lasts, by name.

Not here: what makes one (`health`), ejections, which end by a probe (`ejection`).
"""

from __future__ import annotations

from math import inf

from .digest import Digest


class Troubles:
    """Outages and rests are of endpoints, a refused credential is of a provider."""

    __slots__ = ("cooling", "outage", "over_s", "resting")

    def __init__(self) -> None:
        self.outage: dict[str, float] = {}
        self.resting: dict[str, float] = {}
        self.cooling: dict[str, float] = {}
        self.over_s = inf
        """When the next of them is over; infinity while there is none."""

    def add(self, until: dict[str, float], key: str, end_s: float) -> None:
        """`until` is one of the three."""
        until[key] = end_s
        self.over_s = min(self.over_s, end_s)

    def forget(self, now_s: float) -> None:
        """Drop what is over, so that a day of trouble does not stay in memory."""
        kinds = (self.outage, self.resting, self.cooling)
        for until in kinds:
            for key in [key for key, end_s in until.items() if end_s <= now_s]:
                del until[key]
        self.over_s = min((end_s for until in kinds for end_s in until.values()), default=inf)

    def hear(self, told: Digest, now_s: float) -> None:
        """The later end of the same trouble counts, whoever said it."""
        for until, said in (
            (self.outage, told.outage),
            (self.resting, told.resting),
            (self.cooling, told.cooling),
        ):
            for key, end_s in said.items():
                if end_s > now_s and end_s > until.get(key, 0.0):
                    self.add(until, key, end_s)
