"""Health: what recent calls say about each endpoint. Mutable, in memory, the clock an argument.

Not here: deciding anything with it (`ranking`), limiting retries (`budget`), the figures of one
endpoint (`records`), ejection (`ejection`), limits on waiting calls (`concurrency`), how processes
tell one another (`digest`).

Rules. Health is per endpoint and credential. A refusal for capacity (429) rests an endpoint and is
no sickness; our own faults and the caller's count for nobody; a fault of the credential rests the
whole provider. Nothing here ever removes an endpoint: it only moves behind. Memory is bounded:
rings of fixed size, for at most RECORDS_MAX endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any, Final

from ..catalogue.entries import Endpoint
from . import digest, ejection
from .concurrency import Concurrency
from .digest import Digest
from .ejection import Ejections
from .outcomes import Outcome, sick
from .quality import Measured, tiers
from .records import (
    DAY_MINUTES,
    FRESH_S,
    LISTED_WINDOW_S,
    OUTAGE_S,
    SAMPLES,
    Percentiles,
    Record,
)
from .troubles import Troubles

__all__ = ["SAMPLES", "Health", "Outcome", "Percentiles", "sick"]

COOL_S: Final = 60.0
"""How long a provider stays behind whose credential was refused."""
CAPACITY_REST_S: Final = 2.0
"""Rest after a 429 that does not say how long."""
CAPACITY_REST_MAX_S: Final = 3_600.0
"""A daily quota may name a day; an hour later one call may look again."""
RECORDS_MAX: Final = 4_096
"""More endpoints than the shipped catalogue has; beyond it the oldest record is forgotten."""

TIERS_MAX: Final = 512
"""Sets of endpoints whose tiers are remembered for a second."""

STABLE, RESTING, UNSTABLE, COOLING, EJECTED = 0, 1, 2, 3, 5
"""The public `status` is the same with a minus; OpenRouter's has a -5 and no -4."""

NORMAL, DEGRADED, FALLBACK = 0, 1, 2
"""Uptime classes of OpenRouter."""
CLASS_CALLS: Final = 100
"""Fewer calls in half an hour make no class."""
NORMAL_SHARE, DEGRADED_SHARE = 0.95, 0.80


class Health:
    """All endpoints' recent past. One instance per process, used from one thread."""

    __slots__ = (
        "_concurrency",
        "_ejections",
        "_heard",
        "_over_s",
        "_poor",
        "_records",
        "_tiers",
        "_troubles",
        "revision",
    )

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._heard: dict[str, Record] = {}
        """What other processes of this home measured; replaced whole."""
        self._troubles = Troubles()
        self._poor: dict[str, tuple[int, float]] = {}
        """Endpoints whose uptime class is not NORMAL, and when that was looked at."""
        self._over_s = inf
        """When the next trouble or ejection is over; infinity while there is none."""
        self._ejections = Ejections()
        self._concurrency = Concurrency(RECORDS_MAX)
        self._tiers: dict[tuple[str, ...], tuple[float, list[int] | None]] = {}
        self.revision = 0
        """Moves with everything that a digest tells."""

    # ---- what happens ----------------------------------------------------------------------------

    def began(
        self, endpoint: Endpoint, now_s: float, *, streamed: bool, credential: str = ""
    ) -> None:
        """A call leaves for the endpoint. `waited` must follow, and then `note` or `left`."""
        key = _key(endpoint.key, credential)
        self._concurrency.began(key, streamed)
        if self._ejections:
            self._ejections.began(key, now_s)

    def waited(
        self,
        endpoint: Endpoint,
        spoke_s: float | None,
        now_s: float,
        *,
        streamed: bool,
        jitter: float,
        credential: str = "",
    ) -> None:
        """The wait for the first token is over: after `spoke_s` seconds, or without one (None).
        `jitter` is a random number in 0…1."""
        key = _key(endpoint.key, credential)
        self._concurrency.over(key, streamed, spoke_s, now_s, jitter)

    def left(self, endpoint: Endpoint, began_s: float, credential: str = "") -> None:
        """A call begun at `began_s` was given up by us or by the caller: it says nothing."""
        if self._ejections:
            self._ejections.left(_key(endpoint.key, credential), began_s)

    def note(
        self, endpoint: Endpoint, outcome: Outcome, now_s: float, credential: str = ""
    ) -> None:
        """Remember how an attempt ended. `credential` tells keys of the same endpoint apart; the
        empty one is the operator's own."""
        fault, key = outcome.fault, _key(endpoint.key, credential)
        self.revision += 1
        began_s = now_s if outcome.duration_s is None else now_s - outcome.duration_s
        if outcome.given_up:
            waited_s = outcome.latency_s or 0.0
            self._record(key).latency.add(waited_s, now_s)
            self._ejections.left(key, now_s - waited_s)
        elif fault is None:
            self._well(key, outcome, began_s, now_s)
        elif sick(fault):
            if fault.retry == "cool":
                provider = _key(endpoint.provider, credential)
                self._trouble(self._troubles.cooling, provider, now_s + COOL_S)
            self._ill(key, began_s, now_s)
        else:
            if fault.status == 429 and not fault.local:
                rest_s = CAPACITY_REST_S if fault.retry_after_s is None else fault.retry_after_s
                rest_s = min(max(rest_s, 0.0), CAPACITY_REST_MAX_S)
                self._trouble(self._troubles.resting, key, now_s + rest_s)
            if self._ejections:
                self._ejections.left(key, began_s)

    def note_tools(
        self, endpoint: Endpoint, valid: bool, now_s: float, credential: str = ""
    ) -> None:
        """An answer ended in tool calls, all of them valid or not."""
        self.revision += 1
        self._record(_key(endpoint.key, credential)).called_tools(valid, now_s)

    def claim(self, endpoint_key: str, now_s: float, credential: str = "") -> None:
        """A plan puts this endpoint first: if it is half-open, that is its one probe."""
        if self._ejections:
            self._ejections.claim(_key(endpoint_key, credential), now_s)

    # ---- what it means for a plan ----------------------------------------------------------------

    def troubled(self, now_s: float) -> bool:
        """False = every endpoint is STABLE and NORMAL, so nobody needs to ask for each."""
        if now_s >= self._over_s:
            self._forget(now_s)
        return self._over_s != inf or bool(self._poor) or bool(self._concurrency.full)

    def rank(self, endpoint_key: str, provider: str, now_s: float, credential: str = "") -> int:
        """STABLE, RESTING, UNSTABLE, COOLING or EJECTED: the higher, the further behind. One at
        its limit counts as resting."""
        ill = self.trouble(endpoint_key, provider, now_s, credential)
        full = _key(endpoint_key, credential) in self._concurrency.full
        return RESTING if full and ill == STABLE else ill

    def trouble(self, endpoint_key: str, provider: str, now_s: float, credential: str = "") -> int:
        """`rank` without regard to how many calls wait there: being busy is no trouble."""
        key = _key(endpoint_key, credential)
        if self._ejections:
            standing = self._ejections.standing(key, now_s)
            if standing in (ejection.EJECTED, ejection.PROBED):
                return EJECTED
        if self.cooling(provider, now_s, credential):
            return COOLING
        if self._troubles.outage.get(key, 0.0) > now_s:
            return UNSTABLE
        return RESTING if self._troubles.resting.get(key, 0.0) > now_s else STABLE

    def standings(self, now_s: float) -> Callable[[str, str], int]:
        """(endpoint key, provider) → rank first, uptime class within it, as one number. For a plan
        that asks of twenty: what is nobody's trouble is looked at once."""
        ejections, poor, full = self._ejections, self._poor, self._concurrency.full
        troubles = self._troubles
        outage, resting, cooling = troubles.outage, troubles.resting, troubles.cooling
        behind = ejections.behind(now_s) if ejections else ()

        def standing(key: str, provider: str) -> int:
            if key in behind:
                rank = EJECTED
            elif cooling and cooling.get(provider, 0.0) > now_s:
                rank = COOLING
            elif outage and outage.get(key, 0.0) > now_s:
                rank = UNSTABLE
            elif key in full or (resting and resting.get(key, 0.0) > now_s):
                rank = RESTING
            else:
                rank = STABLE
            if key not in poor:
                return rank * 4
            grade, judged_s = poor[key]
            stale = not 0.0 <= now_s - judged_s < FRESH_S
            return rank * 4 + (self._judge(key, now_s) if stale else grade)

        return standing

    def tiers(self, endpoints: Sequence[Endpoint], now_s: float) -> list[int] | None:
        """Tiers of quality of a model's endpoints, see `quality.tiers`; at most a second old."""
        names = tuple([endpoint.key for endpoint in endpoints])
        kept = self._tiers.get(names)
        if kept is not None and 0.0 <= now_s - kept[0] < FRESH_S:
            return kept[1]
        found = tiers([self.measured(e.key, e.provider, now_s) for e in endpoints])
        if len(self._tiers) >= TIERS_MAX:
            self._tiers.clear()
        self._tiers[names] = now_s, found
        return found

    def uptime_class(self, endpoint_key: str, now_s: float, credential: str = "") -> int:
        """NORMAL, DEGRADED (below 95 % of at least a hundred calls of half an hour were not sick)
        or FALLBACK (below 80 %)."""
        key = _key(endpoint_key, credential)
        return self._judge(key, now_s) if key in self._poor else NORMAL

    def unstable(self, endpoint_key: str, now_s: float, credential: str = "") -> bool:
        """It had an outage in the last 30 s: three sick calls in a row, or a sick call while at
        least half of the calls of the last 30 s were."""
        return self._troubles.outage.get(_key(endpoint_key, credential), 0.0) > now_s

    def resting(self, endpoint_key: str, now_s: float, credential: str = "") -> bool:
        """It is short of capacity until the moment it named itself."""
        return self._troubles.resting.get(_key(endpoint_key, credential), 0.0) > now_s

    def cooling(self, provider: str, now_s: float, credential: str = "") -> bool:
        """It refused our credential less than a minute ago."""
        return self._troubles.cooling.get(_key(provider, credential), 0.0) > now_s

    def waiting(self, endpoint_key: str, credential: str = "") -> int:
        """Calls that wait there for their first token."""
        return self._concurrency.waiting(_key(endpoint_key, credential))

    # ---- what was measured -----------------------------------------------------------------------

    def figures(
        self, endpoint_key: str, now_s: float, credential: str = ""
    ) -> tuple[Percentiles | None, Percentiles | None]:
        """(seconds to the first token, output tokens per second of whole calls) over five minutes,
        at most a second old; None where nothing was measured."""
        record, heard = self._both(_key(endpoint_key, credential))
        return (None, None) if record is None else record.figures(now_s, heard)

    def figures_at(
        self, now_s: float
    ) -> Callable[[str], tuple[Percentiles | None, Percentiles | None]]:
        """endpoint key → its `figures`. For a plan that asks of twenty."""
        records, heard = self._records, self._heard

        def figures(key: str) -> tuple[Percentiles | None, Percentiles | None]:
            record = records.get(key)
            if record is None or heard:
                return self.figures(key, now_s)
            return record.figures(now_s)

        return figures

    def latency(self, endpoint_key: str, now_s: float, credential: str = "") -> Percentiles | None:
        """The first of `figures`."""
        return self.figures(endpoint_key, now_s, credential)[0]

    def throughput(
        self, endpoint_key: str, now_s: float, credential: str = ""
    ) -> Percentiles | None:
        """The second of `figures`."""
        return self.figures(endpoint_key, now_s, credential)[1]

    def p95_latency(self, endpoint_key: str, now_s: float, credential: str = "") -> float | None:
        """Seconds to the first token that 95 % of the calls of five minutes were not slower than;
        None below 20 of them."""
        record, heard = self._both(_key(endpoint_key, credential))
        return None if record is None else record.p95_latency(now_s, heard)

    def success(self, endpoint_key: str, now_s: float, credential: str = "") -> float | None:
        """Share (0…1) of the latest calls of five minutes that were not sick."""
        record, heard = self._both(_key(endpoint_key, credential))
        return None if record is None else record.success(now_s, heard)

    def measured(
        self, endpoint_key: str, provider: str, now_s: float, credential: str = ""
    ) -> Measured:
        """What quality tiers are made of; computed at most once a second for an endpoint."""
        record, heard = self._both(_key(endpoint_key, credential))
        return Measured(provider) if record is None else record.measured(provider, now_s, heard)

    def snapshot_for(self, endpoint_key: str, now_s: float, provider: str = "") -> dict[str, Any]:
        """The live fields of the public endpoint object: `status`, `uptime_last_*` in percent or
        None, `latency_last_30m` in milliseconds and `throughput_last_30m` in tokens/s or None,
        and ours: `tool_call_success_last_2h` in percent or None.

        `status`: 0 well, -1 resting or at its limit, -2 unstable, -3 credential refused, -5
        ejected.
        """
        record, heard = self._both(endpoint_key)
        minute, since_s = int(now_s // 60), now_s - LISTED_WINDOW_S
        seen: dict[str, Any] = {"status": -self.rank(endpoint_key, provider, now_s)}
        for name, minutes in (("5m", 5), ("30m", 30), ("1d", DAY_MINUTES)):
            uptime = record.uptime(minute, minutes, heard) if record else None
            seen[f"uptime_last_{name}"] = uptime
        seen["latency_last_30m"] = record.latencies(since_s, heard, 1e3) if record else None
        seen["throughput_last_30m"] = record.speeds(since_s, heard) if record else None
        answers, bad = record.tool_sums(now_s, heard) if record else (0, 0)
        share = 100.0 * (answers - bad) / answers if answers else None
        seen["tool_call_success_last_2h"] = share
        return seen

    # ---- between processes -----------------------------------------------------------------------

    def tell(self, now_s: float) -> Digest:
        """What this process measured, and every trouble it knows of."""
        self._forget(now_s)
        for key in list(self._poor):
            self._judge(key, now_s)
        return Digest(
            format=digest.FORMAT,
            at_s=now_s,
            records=digest.pieces(self._records.items(), now_s),
            outage=dict(self._troubles.outage),
            resting=dict(self._troubles.resting),
            cooling=dict(self._troubles.cooling),
            ejections=dict(self._ejections.told()),
        )

    def hear(self, told: Iterable[Digest], now_s: float) -> None:
        """What the other processes of this home measured, all of it: it takes the place of what
        they said before. A piece that makes no sense is left out."""
        heard: dict[str, Record] = {}
        for one in told:
            self._hear_troubles(one, now_s)
            _absorb(heard, one, now_s)
        changed = heard.keys() | self._heard.keys()
        self._heard = heard
        self._tiers.clear()
        for key in changed:
            self._stale(key, now_s)

    def adopt(self, left_behind: Digest, now_s: float) -> None:
        """Take over what a process measured that is no more: from now on it is our own."""
        self._hear_troubles(left_behind, now_s)
        _absorb(self._records, left_behind, now_s)
        for key in left_behind.records:
            self._stale(key, now_s)
        while len(self._records) > RECORDS_MAX:
            self._drop_oldest()
        self.revision += 1

    # ---- inside ----------------------------------------------------------------------------------

    def _well(self, key: str, outcome: Outcome, began_s: float, now_s: float) -> None:
        record = self._record(key)
        record.well(outcome.latency_s, outcome.tokens, outcome.duration_s, now_s)
        if record.minutes.bad or key in self._poor:
            self._judge(key, now_s)
        if self._ejections and self._ejections.well(key, began_s, now_s):
            self._forget(now_s)

    def _ill(self, key: str, began_s: float, now_s: float) -> None:
        record = self._record(key)
        if record.ill(now_s):
            self._trouble(self._troubles.outage, key, now_s + OUTAGE_S)
        self._judge(key, now_s)
        if self._ejections.ill(key, record.run, began_s, now_s):
            self._over_s = min(self._over_s, self._ejections.forget(now_s))

    def _judge(self, key: str, now_s: float) -> int:
        """An endpoint's uptime class, from now on remembered where it is not NORMAL."""
        record, heard = self._both(key)
        calls, bad = record.counts(now_s) if record is not None else (0, 0)
        if heard is not None:
            more, more_bad = heard.counts(now_s)
            calls, bad = calls + more, bad + more_bad
        good = calls - bad
        if calls < CLASS_CALLS or good >= NORMAL_SHARE * calls:
            self._poor.pop(key, None)
            return NORMAL
        found = DEGRADED if good >= DEGRADED_SHARE * calls else FALLBACK
        self._poor[key] = found, now_s
        return found

    def _both(self, key: str) -> tuple[Record | None, Record | None]:
        """Our own record first; what was heard stands in for one that is missing."""
        record = self._records.get(key)
        if not self._heard:
            return record, None
        heard = self._heard.get(key)
        return (heard, None) if record is None else (record, heard)

    def _record(self, key: str) -> Record:
        record = self._records.get(key)
        if record is None:
            if len(self._records) >= RECORDS_MAX:
                self._drop_oldest()
            record = self._records[key] = Record()
        return record

    def _drop_oldest(self) -> None:
        key = next(iter(self._records))
        del self._records[key]
        self._poor.pop(key, None)

    def _stale(self, key: str, now_s: float) -> None:
        record, _ = self._both(key)
        if record is not None:
            record.stale()
        self._judge(key, now_s)

    def _hear_troubles(self, told: Digest, now_s: float) -> None:
        self._troubles.hear(told, now_s)
        for key, state in told.ejections.items():
            self._ejections.hear(key, *state)
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        self._troubles.forget(now_s)
        self._over_s = min(self._troubles.over_s, self._ejections.forget(now_s))

    def _trouble(self, until: dict[str, float], key: str, end_s: float) -> None:
        self._troubles.add(until, key, end_s)
        self._over_s = min(self._over_s, end_s)


def _absorb(records: dict[str, Record], told: Digest, now_s: float) -> None:
    for key, piece in told.records.items():
        record = records.get(key)
        fresh = record is None
        record = record or Record()
        try:
            digest.absorb(record, piece, told.at_s, now_s)
        except (ValueError, OverflowError):
            continue
        if fresh:
            records[key] = record


def _key(name: str, credential: str) -> str:
    return f"{name}#{credential}" if credential else name
