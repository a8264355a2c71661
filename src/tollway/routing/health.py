"""Health: what recent calls say about each endpoint. Mutable, in memory, the clock an argument.

Not here: deciding anything with it (`ranking`), limiting retries (`budget`).

Rules. Health is per endpoint and credential. A refusal for capacity (429) rests an endpoint and is
no sickness; our own faults and the caller's count for nobody; a fault of the credential rests the
whole provider. Nothing here ever removes an endpoint: it only moves behind. Memory is bounded:
rings of fixed size, for at most RECORDS_MAX endpoints.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from math import inf
from typing import Any, Final

import msgspec

from ..canon import Fault
from ..catalogue.entries import Endpoint

OUTAGE_S: Final = 30.0
"""How long an endpoint stays behind after an outage, as in OpenRouter's default balancing."""
OUTAGE_RUN: Final = 3
"""Sick calls in a row that are an outage whatever went well before."""
COOL_S: Final = 60.0
"""How long a provider stays behind whose credential was refused."""
CAPACITY_REST_S: Final = 2.0
"""Rest after a 429 that does not say how long."""
CAPACITY_REST_MAX_S: Final = 3_600.0
"""A daily quota may name a day; an hour later one call may look again."""
WINDOW_S: Final = 300.0
"""Percentiles are over five minutes, as OpenRouter's cut-offs are."""
LISTED_WINDOW_S: Final = 1_800.0
"""…and over half an hour in the public list of endpoints."""
SAMPLES: Final = 128
"""Latest calls that percentiles are taken from, per endpoint: p99 is then about the slowest."""
P95_SAMPLES: Final = 20
"""Fewer calls have no 95th percentile worth acting on."""
RECENT: Final = 32
"""Latest calls an outage is judged by."""
FRESH_S: Final = 1.0
"""Percentiles are computed at most this often per endpoint."""
DAY_MINUTES: Final = 1_440
COUNTED_CALLS: Final = 10
"""A minute with fewer calls says nothing about uptime (OpenRouter's rule)."""
GOOD_SHARE: Final = 0.8
RECORDS_MAX: Final = 4_096
"""More endpoints than the shipped catalogue has; beyond it the oldest record is forgotten."""

STABLE, RESTING, UNSTABLE, COOLING = 0, 1, 2, 3

Percentiles = Mapping[str, float]
"""`p50`, `p75`, `p90`, `p99`: what that share of calls did at least as well as. For latency p90 is
the slow end, for throughput it is the low one."""


class Outcome(msgspec.Struct, frozen=True):
    """How one attempt ended. Seconds are from sending the attempt."""

    latency_s: float | None = None
    """To the first content event."""
    tokens: int = 0
    """Output tokens."""
    duration_s: float | None = None
    fault: Fault | None = None

    @staticmethod
    def answered(latency_s: float | None, tokens: int, duration_s: float) -> Outcome:
        return Outcome(latency_s, tokens, duration_s)

    @staticmethod
    def failed(fault: Fault) -> Outcome:
        return Outcome(fault=fault)


class Health:
    """All endpoints' recent past. One instance per process, used from one thread."""

    __slots__ = ("_cooling", "_outage", "_over_s", "_records", "_resting")

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._outage: dict[str, float] = {}
        self._resting: dict[str, float] = {}
        self._cooling: dict[str, float] = {}
        self._over_s = inf
        """When the next of these troubles is over; infinity while there is none."""

    def note(
        self, endpoint: Endpoint, outcome: Outcome, now_s: float, credential: str = ""
    ) -> None:
        """Remember how an attempt ended. `credential` tells keys of the same endpoint apart; the
        empty one is the operator's own."""
        fault, key = outcome.fault, _key(endpoint.key, credential)
        if fault is None:
            self._record(key).well(outcome, now_s)
        elif fault.local:
            return
        elif fault.status == 429:
            rest_s = CAPACITY_REST_S if fault.retry_after_s is None else fault.retry_after_s
            rest_s = min(max(rest_s, 0.0), CAPACITY_REST_MAX_S)
            self._trouble(self._resting, key, now_s + rest_s)
        elif sick(fault):
            if fault.retry == "cool":
                provider = _key(endpoint.provider, credential)
                self._trouble(self._cooling, provider, now_s + COOL_S)
            if self._record(key).ill(now_s):
                self._trouble(self._outage, key, now_s + OUTAGE_S)

    def troubled(self, now_s: float) -> bool:
        """False = every endpoint is STABLE, so nobody needs to ask for each."""
        if now_s >= self._over_s:
            self._forget(now_s)
        return self._over_s != inf

    def rank(self, endpoint_key: str, provider: str, now_s: float, credential: str = "") -> int:
        """STABLE, RESTING, UNSTABLE or COOLING: the higher, the further behind."""
        if self.cooling(provider, now_s, credential):
            return COOLING
        if self.unstable(endpoint_key, now_s, credential):
            return UNSTABLE
        return RESTING if self.resting(endpoint_key, now_s, credential) else STABLE

    def unstable(self, endpoint_key: str, now_s: float, credential: str = "") -> bool:
        """It had an outage in the last 30 s: three sick calls in a row, or a sick call while at
        least half of the calls of the last 30 s were."""
        return self._outage.get(_key(endpoint_key, credential), 0.0) > now_s

    def resting(self, endpoint_key: str, now_s: float, credential: str = "") -> bool:
        """It is short of capacity until the moment it named itself."""
        return self._resting.get(_key(endpoint_key, credential), 0.0) > now_s

    def cooling(self, provider: str, now_s: float, credential: str = "") -> bool:
        """It refused our credential less than a minute ago."""
        return self._cooling.get(_key(provider, credential), 0.0) > now_s

    def latency(self, endpoint_key: str, now_s: float, credential: str = "") -> Percentiles | None:
        """Seconds to the first token over five minutes; None when nothing was measured."""
        record = self._records.get(_key(endpoint_key, credential))
        return None if record is None else record.figures(now_s)[0]

    def throughput(
        self, endpoint_key: str, now_s: float, credential: str = ""
    ) -> Percentiles | None:
        """Output tokens per second of whole calls over five minutes."""
        record = self._records.get(_key(endpoint_key, credential))
        return None if record is None else record.figures(now_s)[1]

    def p95_latency(self, endpoint_key: str, now_s: float, credential: str = "") -> float | None:
        """Seconds to the first token that 95 % of the calls of five minutes kept; None below
        P95_SAMPLES calls."""
        record = self._records.get(_key(endpoint_key, credential))
        if record is None:
            return None
        values = record.latency.since(now_s - WINDOW_S)
        return (
            sorted(values)[-(-len(values) * 95 // 100) - 1] if len(values) >= P95_SAMPLES else None
        )

    def success(self, endpoint_key: str, now_s: float, credential: str = "") -> float | None:
        """Share (0…1) of the latest calls of five minutes that were not sick."""
        record = self._records.get(_key(endpoint_key, credential))
        return None if record is None else record.success(now_s)

    def snapshot_for(self, endpoint_key: str, now_s: float, provider: str = "") -> dict[str, Any]:
        """The live fields of the public endpoint object: `status`, `uptime_last_*` in percent or
        None, `latency_last_30m` in milliseconds and `throughput_last_30m` in tokens/s or None.

        `status`: 0 well, -1 resting, -2 unstable, -3 credential refused.
        """
        record = self._records.get(endpoint_key)
        minute = int(now_s // 60)
        latency = record.latency.percentiles(now_s - LISTED_WINDOW_S, 1e3) if record else None
        speed = (
            record.speed.percentiles(now_s - LISTED_WINDOW_S, best_high=True) if record else None
        )
        return {
            "status": -self.rank(endpoint_key, provider, now_s),
            "uptime_last_5m": record.uptime(minute, 5) if record else None,
            "uptime_last_30m": record.uptime(minute, 30) if record else None,
            "uptime_last_1d": record.uptime(minute, DAY_MINUTES) if record else None,
            "latency_last_30m": latency,
            "throughput_last_30m": speed,
        }

    def _record(self, key: str) -> _Record:
        record = self._records.get(key)
        if record is None:
            if len(self._records) >= RECORDS_MAX:
                self._records.pop(next(iter(self._records)))
            record = self._records[key] = _Record()
        return record

    def _trouble(self, until: dict[str, float], key: str, end_s: float) -> None:
        until[key] = end_s
        self._over_s = min(self._over_s, end_s)

    def _forget(self, now_s: float) -> None:
        """Drop what is over, so that a day of trouble does not stay in memory."""
        kinds = (self._outage, self._resting, self._cooling)
        for until in kinds:
            for key in [key for key, end_s in until.items() if end_s <= now_s]:
                del until[key]
        self._over_s = min((end_s for until in kinds for end_s in until.values()), default=inf)


def sick(fault: Fault) -> bool:
    """The provider's own failure, by the statuses OpenRouter counts against uptime: 401, 402, 404,
    timeouts and 5xx, before or within an answer. Not 400, 403, 413, 429, and nothing that is
    wrong with the request itself."""
    if fault.local or fault.retry in ("never", "larger"):
        return False
    return fault.status >= 500 or fault.status in (401, 402, 404, 408)


class _Ring:
    """The latest SAMPLES figures with their times, oldest overwritten."""

    __slots__ = ("at", "count", "value")

    def __init__(self) -> None:
        self.at = array("d")
        self.value = array("d")
        self.count = 0

    def add(self, value: float, now_s: float) -> None:
        if len(self.at) < SAMPLES:
            self.at.append(now_s)
            self.value.append(value)
        else:
            place = self.count % SAMPLES
            self.at[place] = now_s
            self.value[place] = value
        self.count += 1

    def since(self, since_s: float) -> list[float]:
        return [v for at, v in zip(self.at, self.value, strict=True) if at >= since_s]

    def percentiles(
        self, since_s: float, scale: float = 1.0, *, best_high: bool = False
    ) -> dict[str, float] | None:
        """By nearest rank, over samples not older than `since_s`."""
        values = self.since(since_s)
        if not values:
            return None
        values.sort(reverse=best_high)
        count = len(values)
        return {name: values[-(-count * part // 100) - 1] * scale for name, part in _PARTS}


_PARTS = (("p50", 50), ("p75", 75), ("p90", 90), ("p99", 99))


class _Record:
    """One endpoint with one credential."""

    __slots__ = (
        "_day",
        "_figures",
        "_figures_s",
        "_good",
        "_minute",
        "_total",
        "latency",
        "recent",
        "recent_count",
        "run",
        "sick",
        "speed",
    )

    def __init__(self) -> None:
        self.latency = _Ring()
        self.speed = _Ring()
        self.recent = array("d", [-1e18]) * RECENT
        self.sick = bytearray(RECENT)
        self.recent_count = 0
        self.run = 0
        """Sick calls in a row."""
        self._figures: tuple[Percentiles | None, Percentiles | None] = (None, None)
        self._figures_s = -1e18
        self._day = bytearray(DAY_MINUTES)
        """A minute's verdict at minute modulo a day: 0 too few calls, 1 down, 2 up."""
        self._minute = -1
        self._good = self._total = 0

    def well(self, outcome: Outcome, now_s: float) -> None:
        self.run = 0
        self._count(now_s, ill=False)
        if outcome.latency_s is not None:
            self.latency.add(outcome.latency_s, now_s)
        if outcome.duration_s and outcome.tokens > 0:
            self.speed.add(outcome.tokens / outcome.duration_s, now_s)

    def ill(self, now_s: float) -> bool:
        """Count a sick call; True when it makes an outage."""
        self.run += 1
        self._count(now_s, ill=True)
        if self.run >= OUTAGE_RUN:
            return True
        seen, ill = self._seen(now_s - OUTAGE_S)
        return 2 * ill >= seen

    def success(self, now_s: float) -> float | None:
        seen, ill = self._seen(now_s - WINDOW_S)
        return None if seen == 0 else (seen - ill) / seen

    def figures(self, now_s: float) -> tuple[Percentiles | None, Percentiles | None]:
        """(latency, throughput), at most FRESH_S old."""
        if not 0.0 <= now_s - self._figures_s < FRESH_S:
            since_s = now_s - WINDOW_S
            self._figures = (
                self.latency.percentiles(since_s),
                self.speed.percentiles(since_s, best_high=True),
            )
            self._figures_s = now_s
        return self._figures

    def uptime(self, minute: int, minutes: int) -> float | None:
        """Percent of the last `minutes` minutes that were up, of those with enough calls."""
        self._turn(minute)
        ago = [(minute - n) % DAY_MINUTES for n in range(1, minutes)]
        past = self._day if minutes >= DAY_MINUTES else bytes(self._day[n] for n in ago)
        up, down = past.count(2), past.count(1)
        running = _verdict(self._good, self._total)
        up += running == 2
        down += running == 1
        return None if up + down == 0 else 100.0 * up / (up + down)

    def _seen(self, since_s: float) -> tuple[int, int]:
        """(calls, sick calls) not older than `since_s`, of the latest RECENT."""
        seen = ill = 0
        for at, was_sick in zip(self.recent, self.sick, strict=True):
            if at >= since_s:
                seen += 1
                ill += was_sick
        return seen, ill

    def _count(self, now_s: float, *, ill: bool) -> None:
        place = self.recent_count % RECENT
        self.recent[place] = now_s
        self.sick[place] = ill
        self.recent_count += 1
        minute = int(now_s // 60)
        if minute != self._minute:
            self._turn(minute)
        self._total += 1
        self._good += not ill

    def _turn(self, minute: int) -> None:
        """Close the running minute and clear the ones that nobody saw."""
        if minute <= self._minute:
            return
        if self._minute >= 0:
            self._day[self._minute % DAY_MINUTES] = _verdict(self._good, self._total)
            for missed in range(max(self._minute + 1, minute - DAY_MINUTES), minute + 1):
                self._day[missed % DAY_MINUTES] = 0
        self._minute = minute
        self._good = self._total = 0


def _verdict(good: int, total: int) -> int:
    if total < COUNTED_CALLS:
        return 0
    return 2 if good >= GOOD_SHARE * total else 1


def _key(name: str, credential: str) -> str:
    return f"{name}#{credential}" if credential else name
