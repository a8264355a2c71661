from __future__ import annotations

import pytest
from ledger_support import DAY_MS, KEY, WS, Books, at, generation, hold, settle, void

from tollway.ledger import reads

NOON = at("2026-11-25T12:00:00")


@pytest.fixture
def books() -> Books:
    made = Books()
    made.grant(1000)
    return made


def spend(books: Books, id: str, charge: int, at_ms: int, **more: object) -> None:
    key = str(more.get("key_id", KEY))
    made = generation(id, charge, at_ms, **more)
    books.apply(
        hold(id, charge, at_ms=at_ms, key_id=key), settle(id, charge, at_ms=at_ms, made=made)
    )


def test_a_balance_shows_what_is_posted_and_what_is_held(books: Books) -> None:
    books.apply(hold("a", 300))
    found = reads.balance(books.connection, WS)
    assert (found.posted_nano, found.held_nano, found.available_nano) == (1000, 300, 700)
    assert reads.balance(books.connection, "unknown") == reads.Balance(0, 0)


def test_totals_are_what_was_granted_and_what_it_paid_for(books: Books) -> None:
    books.apply(hold("a", 300), settle("a", 1200, cost=900), hold("b", 0), void("b"))
    assert reads.totals(books.connection, WS) == reads.Totals(1000, 1000)
    books.grant(77)
    assert reads.totals(books.connection, WS) == reads.Totals(1077, 1000)
    assert reads.totals(books.connection, "unknown") == reads.Totals(0, 0)


def test_a_generation_comes_back_as_it_was_written_and_only_to_its_workspace(books: Books) -> None:
    made = generation("a", 30, NOON, detail='{"é":"\u2028"}'.encode(), finish_reason=None)
    books.apply(hold("a", 30, at_ms=NOON), settle("a", 30, made=made))
    assert reads.generation(books.connection, "a", WS) == made
    assert reads.generation(books.connection, "a", "other") is None
    assert reads.generation(books.connection, "b", WS) is None


def test_activity_sums_completed_days_by_model_and_endpoint(books: Books) -> None:
    yesterday = NOON - DAY_MS
    spend(books, "older", 2, NOON - 31 * DAY_MS)
    spend(books, "old", 3, NOON - 30 * DAY_MS)
    spend(books, "a", 10, yesterday)
    spend(books, "b", 15, yesterday, key_id="k2")
    spend(books, "c", 7, yesterday, model="m2", endpoint="m2@x", provider="X")
    spend(books, "today", 5, NOON)
    found = reads.activity(books.connection, NOON, workspace=WS)
    assert [(a.date, a.model, a.requests, a.charge_nano) for a in found] == [
        ("2026-11-24", "author/model", 2, 25),
        ("2026-11-24", "m2", 1, 7),
        ("2026-10-26", "author/model", 1, 3),
    ]
    assert found[0] == reads.Activity(
        "2026-11-24", "author/model", "author/model@mock", "Mock", 2, 20, 40, 6, 8, 25
    )
    own = reads.activity(books.connection, NOON, workspace=WS, key_id="k2")
    assert [a.charge_nano for a in own] == [15]
    old = reads.activity(books.connection, NOON, day=NOON // DAY_MS - 30)
    assert [a.charge_nano for a in old] == [3]
    assert reads.activity(books.connection, NOON, day=NOON // DAY_MS) == []
    assert reads.activity(books.connection, NOON, workspace="other") == []


def test_key_usage_counts_the_windows_of_the_moment_asked(books: Books) -> None:
    books.budget(100, "weekly", now_ms=NOON - 2 * DAY_MS)
    spend(books, "mon", 10, NOON - 2 * DAY_MS)
    spend(books, "wed", 5, NOON)
    books.apply(hold("open", 20, at_ms=NOON))
    used = reads.key_usage(books.connection, KEY, NOON)
    assert (used.usage_daily_nano, used.usage_weekly_nano, used.usage_nano) == (5, 15, 15)
    assert (used.spent_nano, used.held_nano, used.remaining_nano) == (15, 20, 85)
    later = reads.key_usage(books.connection, KEY, at("2026-11-30T00:00:00"))
    assert later == reads.KeyUsage(
        KEY, 100, "weekly", 0, 0, 15, 0, 0, 15, at("2026-12-07T00:00:00")
    )
    assert later.remaining_nano == 100
    december = reads.key_usage(books.connection, KEY, at("2026-12-01T00:00:00"))
    assert (december.usage_monthly_nano, december.usage_nano) == (0, 15)


def test_usage_of_a_key_that_nobody_used_is_zero(books: Books) -> None:
    used = reads.key_usage(books.connection, "new", NOON)
    assert (used.usage_nano, used.limit_nano, used.remaining_nano) == (0, None, None)
    assert "new" not in reads.all_key_usage(books.connection, NOON)


def test_all_keys_are_read_at_once(books: Books) -> None:
    books.budget(50, "daily", now_ms=NOON, key="k2")
    spend(books, "a", 10, NOON)
    spend(books, "b", 5, NOON, key_id="k2")
    used = reads.all_key_usage(books.connection, NOON)
    assert {key: (u.usage_nano, u.remaining_nano) for key, u in used.items()} == {
        KEY: (10, None),
        "k2": (5, 45),
    }


def test_open_holds_and_balances_over_all_workspaces_are_counted(books: Books) -> None:
    books.grant(5, "other")
    books.apply(hold("a", 1), hold("b", 1), void("b"))
    assert reads.open_holds(books.connection) == 1
    assert reads.posted_by_account(books.connection) == {"payments_clearing": -1005, "wallet": 1005}
    assert reads.posted_by_account(books.connection, "other")["wallet"] == 5
