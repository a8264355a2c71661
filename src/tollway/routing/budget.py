"""Retry budget and backoff: how often, and how soon, a failed attempt may be repeated elsewhere.

Pure but for counters; the clock and randomness are arguments. Without a budget every outage is
multiplied by the number of attempts just when capacity is short.
"""

from __future__ import annotations

from random import Random
from typing import Final

WINDOW_S: Final = 10
RATIO_PERCENT: Final = 20
"""Further attempts per hundred requests, Envoy's default."""
FLOOR: Final = 30
"""Further attempts per window that are always allowed: three a second. Envoy's floor of three is
of retries at one time; a window needs a number per time, and a small server that fails over for
its only user must not be told to wait."""

BACKOFF_BASE_S: Final = 0.05
BACKOFF_MAX_S: Final = 0.5


class RetryBudget:
    """In any WINDOW_S seconds further attempts that do not help are at most RATIO_PERCENT of the
    requests begun in them, or FLOOR if that is more; for the whole process and for each provider
    they go to. One that answered is given back: failing over to who can serve costs nothing, while
    a storm in which nobody can is paid for from the first call on."""

    __slots__ = ("_all", "_by_provider", "_floor", "_percent")

    def __init__(self, percent: int = RATIO_PERCENT, floor: int = FLOOR) -> None:
        self._percent = percent
        self._floor = floor
        self._all = _Window()
        self._by_provider: dict[str, _Window] = {}

    def began(self, provider: str, now_s: float) -> None:
        """A request's first attempt goes to this provider."""
        second = int(now_s)
        self._all.began(second)
        self._window(provider).began(second)

    def allow(
        self,
        provider: str,
        now_s: float,
        percent: int | None = None,
        floor: int | None = None,
        *,
        healthy: bool = False,
    ) -> bool:
        """May a further attempt go to this provider? If so it is counted. `percent` and `floor`
        set a tighter bound for attempts of a kind that can wait, on the same counters. One to a
        healthy endpoint always may: it is counted as well, so that what fails slowly, and is
        believed to be healthy until then, uses up what retries would."""
        second = int(now_s)
        window = self._window(provider)
        percent = self._percent if percent is None else percent
        floor = self._floor if floor is None else floor
        for counted in () if healthy else (self._all, window):
            began, retried = counted.sums(second)
            if retried >= max(floor, began * percent // 100):
                return False
        self.repeated(provider, now_s)
        return True

    def repeated(self, provider: str, now_s: float) -> None:
        """A further call was made to this provider: count it, allowed or not."""
        self._all.retried(int(now_s))
        self._window(provider).retried(int(now_s))

    def answered(self, provider: str, called_s: float, now_s: float) -> None:
        """The further attempt that was sent at `called_s` has spoken."""
        self._all.give_back(int(called_s), int(now_s))
        self._window(provider).give_back(int(called_s), int(now_s))

    def _window(self, provider: str) -> _Window:
        window = self._by_provider.get(provider)
        if window is None:
            window = self._by_provider[provider] = _Window()
        return window


def backoff_s(attempt_number: int, random: Random, retry_after_s: float | None = None) -> float:
    """Seconds to wait before the same provider is called again: full jitter below a doubling
    bound, never less than the provider asked for. `attempt_number` is 1 for the first repeat.
    Another provider is called at once."""
    doubled = BACKOFF_BASE_S * (1 << min(attempt_number - 1, 10))
    wait_s = random.random() * min(BACKOFF_MAX_S, doubled)
    return wait_s if retry_after_s is None else max(wait_s, retry_after_s)


class _Window:
    """Counts of the last WINDOW_S whole seconds, the running one included."""

    __slots__ = ("_began", "_began_sum", "_retried", "_retried_sum", "_second")

    def __init__(self) -> None:
        self._began = [0] * WINDOW_S
        self._retried = [0] * WINDOW_S
        self._began_sum = self._retried_sum = 0
        self._second = -1

    def began(self, second: int) -> None:
        if second > self._second:
            self._turn(second)
        self._began[self._second % WINDOW_S] += 1
        self._began_sum += 1

    def retried(self, second: int) -> None:
        self._turn(second)
        self._retried[self._second % WINDOW_S] += 1
        self._retried_sum += 1

    def sums(self, second: int) -> tuple[int, int]:
        self._turn(second)
        return self._began_sum, self._retried_sum

    def give_back(self, second: int, now: int) -> None:
        """Take back one that was retried in `second` or, a pause earlier, in the nearest before it.
        What has left the window is gone already."""
        self._turn(now)
        for passed in range(min(second, self._second), self._second - WINDOW_S, -1):
            if self._retried[passed % WINDOW_S]:
                self._retried[passed % WINDOW_S] -= 1
                self._retried_sum -= 1
                return

    def _turn(self, second: int) -> None:
        """Forget the seconds that left the window. A clock that steps back stays where it was."""
        if second <= self._second:
            return
        for passed in range(max(self._second + 1, second - WINDOW_S + 1), second + 1):
            place = passed % WINDOW_S
            self._began_sum -= self._began[place]
            self._retried_sum -= self._retried[place]
            self._began[place] = self._retried[place] = 0
        self._second = second
