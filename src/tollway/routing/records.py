"""What is remembered of one endpoint: figures of the latest calls, counts by minute, a day's verdict.

Not here: what it means (`health`, `quality`), how it travels between processes (`digest`). Mutable,
in memory, the clock an argument. All of it is rings of fixed size; nothing grows with traffic.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Final

from .quality import Measured

WINDOW_S: Final = 300.0
"""Percentiles are over five minutes, as OpenRouter's cut-offs are."""
LISTED_WINDOW_S: Final = 1_800.0
"""…and over half an hour in the public list of endpoints, and for quality tiers."""
SAMPLES: Final = 128
"""Latest calls that percentiles are taken from, per endpoint: p99 is then about the slowest."""
RECENT: Final = 32
"""Latest calls an outage is judged by."""
OUTAGE_S: Final = 30.0
OUTAGE_RUN: Final = 3
"""Sick calls in a row that are an outage whatever went well before."""
FRESH_S: Final = 1.0
"""Percentiles are computed at most this often per endpoint."""
DAY_MINUTES: Final = 1_440
COUNTED_CALLS: Final = 10
"""A minute with fewer calls says nothing about uptime (OpenRouter's rule)."""
GOOD_SHARE: Final = 0.8
HEDGE_SAMPLES: Final = 20
"""Fewer calls have no 95th percentile worth acting on."""
UPTIME_SLOTS, UPTIME_SLOT_S = 30, 60
"""Half an hour by the minute."""
TOOL_SLOTS, TOOL_SLOT_S = 24, 300
"""Two hours by five minutes, OpenRouter's window for tool calls."""

Percentiles = Mapping[str, float]
"""`p50`, `p75`, `p90`, `p99`: what that share of calls did at least as well as. For latency p90 is
the slow end, for throughput it is the low one."""

_PARTS = (("p50", 50), ("p75", 75), ("p90", 90), ("p99", 99))


class Ring:
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

    def clear(self) -> None:
        del self.at[:], self.value[:]
        self.count = 0

    def since(self, since_s: float) -> list[float]:
        if self.at and self.at[self.count % len(self.at)] >= since_s:
            return self.value.tolist()  # the oldest is young enough, so all are
        return [v for at, v in zip(self.at, self.value, strict=True) if at >= since_s]

    def latest(self, since_s: float, most: int) -> list[tuple[float, float]]:
        """(time, figure) of at most `most` calls, oldest first."""
        pairs = sorted(p for p in zip(self.at, self.value, strict=True) if p[0] >= since_s)
        return pairs[-most:]


class Tally:
    """Calls and bad ones among them, over the latest `slots` slots of `slot_s` seconds; the sums
    are kept, so that reading them costs nothing."""

    __slots__ = ("_bad", "_calls", "_slots", "bad", "calls", "slot", "slot_s")

    def __init__(self, slots: int, slot_s: int) -> None:
        self._slots = slots
        self.slot_s = slot_s
        self._calls = array("I", [0]) * slots
        self._bad = array("I", [0]) * slots
        self.calls = self.bad = 0
        self.slot = -1

    def add(self, bad: bool, slot: int) -> None:
        if slot > self.slot:
            self.turn(slot)
        place = self.slot % self._slots
        self._calls[place] += 1
        self._bad[place] += bad
        self.calls += 1
        self.bad += bad

    def turn(self, slot: int) -> None:
        """Forget the slots that left the window. A clock that steps back stays where it was."""
        if slot <= self.slot:
            return
        for passed in range(max(self.slot + 1, slot - self._slots + 1), slot + 1):
            place = passed % self._slots
            self.calls -= self._calls[place]
            self.bad -= self._bad[place]
            self._calls[place] = self._bad[place] = 0
        self.slot = slot

    def sums(self, now_s: float) -> tuple[int, int]:
        """(calls, bad ones) of the window that ends now."""
        self.turn(int(now_s // self.slot_s))
        return self.calls, self.bad

    def running(self) -> tuple[int, int]:
        """(calls, bad ones) of the slot that is not over."""
        place = self.slot % self._slots
        return self._calls[place], self._bad[place]

    def filled(self) -> list[tuple[int, int, int]]:
        """(slot, calls, bad ones) of the slots that saw something."""
        first = self.slot - self._slots + 1
        return [
            (slot, self._calls[slot % self._slots], self._bad[slot % self._slots])
            for slot in range(max(first, 0), self.slot + 1)
            if self._calls[slot % self._slots]
        ]

    def absorb(self, filled: list[tuple[int, int, int]]) -> None:
        """Add what another tally of the same form counted."""
        for slot, calls, bad in sorted(filled):
            if slot > self.slot:
                self.turn(slot)
            if slot > self.slot - self._slots and slot >= 0:
                place = slot % self._slots
                self._calls[place] += calls
                self._bad[place] += bad
                self.calls += calls
                self.bad += bad


class Record:
    """One endpoint with one credential. Where a method takes `heard`, it is what other processes
    measured of the same endpoint."""

    __slots__ = (
        "_figures",
        "_figures_s",
        "_measured",
        "_measured_s",
        "_p95",
        "_p95_s",
        "day",
        "latency",
        "minutes",
        "recent",
        "recent_count",
        "run",
        "sick",
        "speed",
        "tools",
        "touched_s",
    )

    def __init__(self) -> None:
        self.latency = Ring()
        self.speed = Ring()
        self.recent = array("d", [-1e18]) * RECENT
        self.sick = bytearray(RECENT)
        self.recent_count = 0
        self.run = 0
        """Sick calls in a row."""
        self.minutes = Tally(UPTIME_SLOTS, UPTIME_SLOT_S)
        self.day = bytearray(DAY_MINUTES)
        """A minute's verdict at minute modulo a day: 0 too few calls, 1 down, 2 up."""
        self.tools: Tally | None = None
        """Answers that end in tool calls, and those with an invalid one; None while there is none."""
        self.touched_s = -1e18
        self._figures: tuple[Percentiles | None, Percentiles | None] = (None, None)
        self._figures_s = -1e18
        self._p95: float | None = None
        self._p95_s = -1e18
        self._measured: Measured | None = None
        self._measured_s = -1e18

    def well(
        self, latency_s: float | None, tokens: int, duration_s: float | None, now_s: float
    ) -> None:
        self.run = 0
        self._count(now_s, ill=False)
        if latency_s is not None:
            self.latency.add(latency_s, now_s)
        if duration_s and tokens > 0:
            self.speed.add(tokens / duration_s, now_s)

    def ill(self, now_s: float) -> bool:
        """Count a sick call; True when it makes an outage."""
        self.run += 1
        self._count(now_s, ill=True)
        if self.run >= OUTAGE_RUN:
            return True
        seen, ill = self.seen(now_s - OUTAGE_S)
        return 2 * ill >= seen

    def called_tools(self, valid: bool, now_s: float) -> None:
        self.touched_s = now_s
        if self.tools is None:
            self.tools = Tally(TOOL_SLOTS, TOOL_SLOT_S)
        self.tools.add(not valid, int(now_s // TOOL_SLOT_S))

    def success(self, now_s: float, heard: Record | None = None) -> float | None:
        seen, ill = self.seen(now_s - WINDOW_S)
        if heard is not None:
            more, more_ill = heard.seen(now_s - WINDOW_S)
            seen, ill = seen + more, ill + more_ill
        return None if seen == 0 else (seen - ill) / seen

    def figures(
        self, now_s: float, heard: Record | None = None
    ) -> tuple[Percentiles | None, Percentiles | None]:
        """(latency, throughput), at most FRESH_S old."""
        if not 0.0 <= now_s - self._figures_s < FRESH_S:
            since_s = now_s - WINDOW_S
            self._figures = self.latencies(since_s, heard), self.speeds(since_s, heard)
            self._figures_s = now_s
        return self._figures

    def latencies(
        self, since_s: float, heard: Record | None = None, scale: float = 1.0
    ) -> dict[str, float] | None:
        values = self.latency.since(since_s)
        if heard is not None:
            values += heard.latency.since(since_s)
        return _percentiles(sorted(values), scale)

    def speeds(self, since_s: float, heard: Record | None = None) -> dict[str, float] | None:
        values = self.speed.since(since_s)
        if heard is not None:
            values += heard.speed.since(since_s)
        return _percentiles(sorted(values, reverse=True), 1.0)

    def p95_latency(self, now_s: float, heard: Record | None = None) -> float | None:
        """Seconds to the first token that 95 of 100 calls of five minutes were not slower than;
        None below HEDGE_SAMPLES. At most FRESH_S old."""
        if self._p95 is None or not 0.0 <= now_s - self._p95_s < FRESH_S:
            values = self.latency.since(now_s - WINDOW_S)
            if heard is not None:
                values += heard.latency.since(now_s - WINDOW_S)
            values.sort()
            enough = len(values) >= HEDGE_SAMPLES
            self._p95 = values[-(-len(values) * 95 // 100) - 1] if enough else None
            self._p95_s = now_s
        return self._p95

    def measured(self, provider: str, now_s: float, heard: Record | None = None) -> Measured:
        """What quality tiers are made of, at most FRESH_S old."""
        if self._measured is None or not 0.0 <= now_s - self._measured_s < FRESH_S:
            speeds = self.speeds(now_s - LISTED_WINDOW_S, heard)
            calls = self.counts(now_s)[0]
            if heard is not None:
                calls += heard.counts(now_s)[0]
            answers, bad = self.tool_sums(now_s, heard)
            self._measured = Measured(
                provider,
                None if speeds is None else speeds["p50"],
                calls,
                (answers - bad) / answers if answers else None,
                answers,
            )
            self._measured_s = now_s
        return self._measured

    def counts(self, now_s: float) -> tuple[int, int]:
        """(calls, sick calls) of half an hour."""
        self.turn(int(now_s // UPTIME_SLOT_S))
        return self.minutes.calls, self.minutes.bad

    def tool_sums(self, now_s: float, heard: Record | None = None) -> tuple[int, int]:
        """(answers in tool calls, those with an invalid one) of two hours."""
        answers, bad = (0, 0) if self.tools is None else self.tools.sums(now_s)
        if heard is not None and heard.tools is not None:
            more, more_bad = heard.tools.sums(now_s)
            return answers + more, bad + more_bad
        return answers, bad

    def uptime(self, minute: int, minutes: int, heard: Record | None = None) -> float | None:
        """Percent of the last `minutes` minutes that were up, of those with enough calls."""
        up, down = self._verdicts(minute, minutes)
        if heard is not None:
            more_up, more_down = heard._verdicts(minute, minutes)
            up, down = up + more_up, down + more_down
        return None if up + down == 0 else 100.0 * up / (up + down)

    def seen(self, since_s: float) -> tuple[int, int]:
        """(calls, sick calls) not older than `since_s`, of the latest RECENT."""
        seen = ill = 0
        for at, was_sick in zip(self.recent, self.sick, strict=True):
            if at >= since_s:
                seen += 1
                ill += was_sick
        return seen, ill

    def remember(self, at_s: float, ill: bool) -> None:
        """One of the latest RECENT calls."""
        place = self.recent_count % RECENT
        self.recent[place] = at_s
        self.sick[place] = ill
        self.recent_count += 1

    def stale(self) -> None:
        """What was computed must be computed again."""
        self._figures_s = self._p95_s = self._measured_s = -1e18

    def turn(self, minute: int) -> None:
        """Close the running minute and clear the ones that nobody saw."""
        last = self.minutes.slot
        if minute <= last:
            return
        if last >= 0:
            self.day[last % DAY_MINUTES] = verdict_of(*self.minutes.running())
            for missed in range(max(last + 1, minute - DAY_MINUTES), minute + 1):
                self.day[missed % DAY_MINUTES] = 0
        self.minutes.turn(minute)

    def _count(self, now_s: float, *, ill: bool) -> None:
        self.touched_s = now_s
        self.remember(now_s, ill)
        minute = int(now_s // 60)
        if minute != self.minutes.slot:
            self.turn(minute)
        self.minutes.add(ill, minute)

    def _verdicts(self, minute: int, minutes: int) -> tuple[int, int]:
        self.turn(minute)
        ago = [(minute - n) % DAY_MINUTES for n in range(1, minutes)]
        past = self.day if minutes >= DAY_MINUTES else bytes(self.day[n] for n in ago)
        running = verdict_of(*self.minutes.running())
        return past.count(2) + (running == 2), past.count(1) + (running == 1)


def _percentiles(values: list[float], scale: float) -> dict[str, float] | None:
    """By nearest rank; `values` from the good end to the bad one."""
    count = len(values)
    if count == 0:
        return None
    return {name: values[-(-count * part // 100) - 1] * scale for name, part in _PARTS}


def verdict_of(calls: int, bad: int) -> int:
    if calls < COUNTED_CALLS:
        return 0
    return 2 if calls - bad >= GOOD_SHARE * calls else 1
