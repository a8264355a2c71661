"""Days, weeks and months of key limits. Pure; all in UTC, weeks from Monday.

A day is the number of whole UTC days since 1970-01-01 (a Thursday). A window is a number that is
equal for two days exactly when a limit with that reset counts them together.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache

from .entries import Reset

DAY_MS = 86_400_000
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


def day_of(at_ms: int) -> int:
    """The UTC day of a moment in Unix milliseconds."""
    return at_ms // DAY_MS


def date_of(day: int) -> date:
    return date.fromordinal(day + _EPOCH_ORDINAL)


def day_from(value: date) -> int:
    return value.toordinal() - _EPOCH_ORDINAL


@lru_cache(maxsize=1024)
def window(reset: Reset | None, day: int) -> int:
    """The window a day belongs to; without a reset there is one window for ever."""
    match reset:
        case None:
            return 0
        case "daily":
            return day
        case "weekly":
            return (day + 3) // 7
        case "monthly":
            at = date_of(day)
            return at.year * 12 + at.month - 1


def resets_at_ms(reset: Reset | None, at_ms: int) -> int | None:
    """When the window of a moment ends: the next midnight, Monday or first of a month."""
    day = day_of(at_ms)
    match reset:
        case None:
            return None
        case "daily":
            return (day + 1) * DAY_MS
        case "weekly":
            return ((day + 3) // 7 * 7 + 4) * DAY_MS
        case "monthly":
            month = window("monthly", day) + 1
            return day_from(date(month // 12, month % 12 + 1, 1)) * DAY_MS
