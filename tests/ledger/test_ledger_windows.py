from __future__ import annotations

from datetime import date, timedelta

import pytest
from ledger_support import DAY_MS, at

from tollway.ledger.windows import date_of, day_from, day_of, resets_at_ms, window


def test_a_day_begins_at_utc_midnight() -> None:
    midnight = at("2026-11-23T00:00:00")
    assert day_of(midnight) == 20780
    assert day_of(midnight - 1) == 20779
    assert date_of(20780) == date(2026, 11, 23)
    assert day_from(date(2026, 11, 23)) == 20780


@pytest.mark.parametrize("reset", ["daily", "weekly", "monthly"])
def test_windows_change_exactly_where_the_calendar_does(reset: str) -> None:
    one = date(2023, 12, 1)
    for n in range(1200):
        today, yesterday = one + timedelta(n), one + timedelta(n - 1)
        changes = {
            "daily": True,
            "weekly": today.weekday() == 0,
            "monthly": today.day == 1,
        }[reset]
        differs = window(reset, day_from(today)) != window(reset, day_from(yesterday))
        assert differs == changes, today
        if changes:
            midnight = day_from(today) * DAY_MS
            assert resets_at_ms(reset, midnight - 1) == midnight
            assert resets_at_ms(reset, midnight) > midnight


def test_without_a_reset_there_is_one_window_for_ever() -> None:
    assert window(None, 0) == window(None, 99_999)
    assert resets_at_ms(None, 5) is None


def test_limits_reset_at_the_next_midnight_monday_and_first() -> None:
    sunday = at("2026-11-29T23:59:59")
    assert resets_at_ms("daily", sunday) == at("2026-11-30T00:00:00")
    assert resets_at_ms("weekly", sunday) == at("2026-11-30T00:00:00")
    assert resets_at_ms("weekly", at("2026-11-30T00:00:00")) == at("2026-12-07T00:00:00")
    assert resets_at_ms("monthly", sunday) == at("2026-12-01T00:00:00")
    assert resets_at_ms("monthly", at("2026-12-31T12:00:00")) == at("2027-01-01T00:00:00")
