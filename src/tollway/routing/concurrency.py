"""Adaptive concurrency: how many calls may wait at an endpoint before others are asked first.

Not here: refusing anything; an endpoint at its limit is only ranked behind. The limit follows the
time to the first token, as Netflix's gradient limits and Envoy's adaptive concurrency follow the
round trip: it grows by its square root while it is used and the time stays near the lowest one
seen, and shrinks in proportion when the time grows. Without it a provider that becomes slow
collects every caller it has.

Answers that come whole show their first token only at their end, which measures their length too:
they have a limit of their own that tolerates more.
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Final

LIMIT_START: Final = 32.0
"""Netflix begins at 20; a burst of a small team's calls should not be scattered at the start."""
LIMIT_MIN: Final = 3.0
LIMIT_MAX: Final = 4_096.0
WINDOW_S: Final = 1.0
"""The limit moves at most this often. Envoy's 100 ms are for round trips a hundred times shorter."""
WINDOW_SAMPLES: Final = 8
"""Fewer first tokens are no window: it goes on until they have come."""
BASE_S: Final = 600.0
"""The lowest time is that of the last 10 to 20 minutes: after that the new one is the normal."""
JITTER: Final = 0.15
"""Envoy's: endpoints do not forget their lowest times at the same moment."""
NOISE_S: Final = 0.1
"""Below this a difference is no sign of load."""
TOLERANCE_STREAMED: Final = 2.0
"""Prompts differ in length, so first tokens do in time; the median must double to mean load."""
TOLERANCE_WHOLE: Final = 4.0
SHRINK_MOST: Final = 0.5
SAMPLES_MAX: Final = 256


class Limit:
    """Of one endpoint, for one kind of answer."""

    __slots__ = (
        "_base_before_s",
        "_base_now_s",
        "_base_until_s",
        "_peak",
        "_samples",
        "_since_s",
        "_tolerance",
        "limit",
        "waiting",
    )

    def __init__(self, tolerance: float) -> None:
        self.limit = LIMIT_START
        self.waiting = 0
        """Calls sent that have not shown a first token."""
        self._tolerance = tolerance
        self._peak = 0
        self._samples: list[float] = []
        self._since_s = -inf
        self._base_before_s = self._base_now_s = inf
        self._base_until_s = -inf

    @property
    def full(self) -> bool:
        return self.waiting >= int(self.limit)

    def began(self) -> None:
        self.waiting += 1
        if self.waiting > self._peak:
            self._peak = self.waiting

    def over(self) -> None:
        self.waiting -= 1

    def spoke(self, waited_s: float, now_s: float, jitter: float) -> None:
        """A first token came. `jitter`: a random number in 0…1."""
        samples = self._samples
        if len(samples) < SAMPLES_MAX:
            samples.append(waited_s)
        if now_s - self._since_s < WINDOW_S or len(samples) < WINDOW_SAMPLES:
            if self._since_s == -inf:
                self._since_s = now_s
            return
        samples.sort()
        self._move(samples[len(samples) // 2], now_s, jitter)
        samples.clear()
        self._since_s = now_s
        self._peak = self.waiting

    def _move(self, median_s: float, now_s: float, jitter: float) -> None:
        if now_s >= self._base_until_s:
            self._base_before_s, self._base_now_s = self._base_now_s, median_s
            self._base_until_s = now_s + BASE_S * (1.0 + JITTER * jitter)
        self._base_now_s = min(self._base_now_s, median_s)
        base_s = max(min(self._base_before_s, self._base_now_s), NOISE_S)
        gradient = max(SHRINK_MOST, min(1.0, self._tolerance * base_s / max(median_s, NOISE_S)))
        if gradient == 1.0 and 2 * self._peak < self.limit:
            return  # nobody needs more, and an unused limit must not grow for ever
        moved = self.limit * gradient + sqrt(self.limit)
        self.limit = min(max(moved, LIMIT_MIN), LIMIT_MAX)


class Concurrency:
    """All endpoints' limits."""

    __slots__ = ("_limits", "_most", "full")

    def __init__(self, most: int) -> None:
        self._limits: dict[str, tuple[Limit, Limit]] = {}
        self._most = most
        self.full: set[str] = set()
        """Keys of endpoints at a limit."""

    def began(self, key: str, streamed: bool) -> None:
        limit = self._limit(key, streamed)
        limit.began()
        if limit.full:
            self.full.add(key)

    def over(
        self, key: str, streamed: bool, spoke_s: float | None, now_s: float, jitter: float
    ) -> None:
        """The wait has an end: after `spoke_s` seconds, or without a first token (None)."""
        pair = self._limits.get(key)
        if pair is None:
            return
        limit = pair[streamed]
        if spoke_s is not None:
            limit.spoke(spoke_s, now_s, jitter)
        limit.over()
        if limit.full:
            self.full.add(key)
        elif key in self.full and not pair[not streamed].full:
            self.full.discard(key)

    def waiting(self, key: str) -> int:
        pair = self._limits.get(key)
        return 0 if pair is None else pair[0].waiting + pair[1].waiting

    def _limit(self, key: str, streamed: bool) -> Limit:
        pair = self._limits.get(key)
        if pair is None:
            if len(self._limits) >= self._most:
                self._drop_one_idle()
            pair = self._limits[key] = Limit(TOLERANCE_WHOLE), Limit(TOLERANCE_STREAMED)
        return pair[streamed]

    def _drop_one_idle(self) -> None:
        for key, (whole, streamed) in self._limits.items():
            if whole.waiting == 0 and streamed.waiting == 0:
                del self._limits[key]
                return
