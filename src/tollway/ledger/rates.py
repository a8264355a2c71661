"""How many requests are admitted in a minute or a day. Pure.

Not here: loading and saving (`sqlite.py`), who is limited (`accounts`, `routing.free`). A hold says
in which buckets it counts; they are counted in the same step that reserves its money, so that no
number of workers admits one request too many.

Rules. Minutes and days are those of the clock, in UTC: a full window says to the millisecond when
the next one opens. What was admitted counts, whatever became of it; what was refused does not. A
clock that is set back opens no old window.
"""

from __future__ import annotations

from collections.abc import Mapping

from .entries import Count, Exhausted, Period
from .rows import Window

LENGTH_MS: Mapping[Period, int] = {"minute": 60_000, "day": 86_400_000}


def free_bucket(workspace: str) -> str:
    """What a workspace's requests to free models count in."""
    return f"free:{workspace}"


def key_bucket(key_id: str) -> str:
    return f"key:{key_id}"


def key_counts(
    key_id: str, requests_per_minute: int | None, requests_per_day: int | None
) -> tuple[Count, ...]:
    """What a key's own limits count; the shared empty tuple when it has none."""
    if requests_per_minute is None and requests_per_day is None:
        return ()
    limits: tuple[tuple[Period, int | None], ...] = (
        ("minute", requests_per_minute),
        ("day", requests_per_day),
    )
    bucket = key_bucket(key_id)
    return tuple(Count(bucket, p, most, "key") for p, most in limits if most is not None)


def number(period: Period, at_ms: int) -> int:
    """The window that a moment (Unix milliseconds) lies in."""
    return at_ms // LENGTH_MS[period]


def current(row: Window | None, period: Period, at_ms: int) -> tuple[int, int]:
    """The window in force at a moment, and how many it has admitted."""
    now = number(period, at_ms)
    if row is None or row.number < now:
        return now, 0
    return row.number, row.used


def limit_of(count: Count, credited_nano: int) -> int:
    """The limit in force for a workspace that was credited this much."""
    if count.limit_credited is None or credited_nano < count.credited_least_nano:
        return count.limit
    return count.limit_credited


def exhausted(
    counts: tuple[Count, ...],
    windows: Mapping[tuple[str, str], Window],
    at_ms: int,
    credited_nano: int,
) -> Exhausted | None:
    """The full window that opens last, None when one more is admitted in all of them."""
    full: Exhausted | None = None
    for count in counts:
        window, used = current(windows.get((count.bucket, count.period)), count.period, at_ms)
        limit = limit_of(count, credited_nano)
        if used < limit:
            continue
        resets_ms = (window + 1) * LENGTH_MS[count.period]
        if full is None or resets_ms > full.resets_ms:
            full = Exhausted(count.scope, count.period, limit, resets_ms)
    return full


def admitted(
    counts: tuple[Count, ...], windows: Mapping[tuple[str, str], Window], at_ms: int
) -> list[Window]:
    """The windows with one more request in each."""
    grown = []
    for count in counts:
        known = windows.get((count.bucket, count.period))
        window, used = current(known, count.period, at_ms)
        grown.append(Window(count.bucket, count.period, window, used + 1))
    return grown
