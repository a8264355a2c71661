from __future__ import annotations

import apsw
import pytest
from ledger_support import Books, generation, hold, settle, told_again, void

from tollway.ledger.audit import SQL, audit
from tollway.ledger.entries import Count, PlatformCost, Record

TAMPER = {
    "every_workspace_sums_to_zero": "UPDATE account SET posted = posted + 1 WHERE kind = 'revenue'",
    "posted_is_the_sum_of_transfers": "UPDATE account SET posted = posted + 5 WHERE kind = 'wallet'",
    "held_is_the_sum_of_open_holds": "UPDATE account SET held = held + 1 WHERE kind = 'wallet'",
    "no_wallet_was_ever_overdrawn": "UPDATE transfer SET nano = nano + 900 WHERE reason = 'charge'",
    "transfers_are_sound": "UPDATE transfer SET target = 'pocket' WHERE reason = 'cost'",
    "what_ends_a_hold_belongs_to_it": "UPDATE transfer SET reason = 'charge' WHERE reason = 'cost'",
    "every_hold_ends_once": "UPDATE hold SET reason = NULL WHERE id = 'v'",
    "every_charge_is_booked_once": (
        "INSERT INTO transfer (workspace, source, target, nano, reason, provider, hold_id, at_ms)"
        " SELECT workspace, source, target, nano, reason, provider, hold_id, at_ms"
        " FROM transfer WHERE reason = 'charge'"
    ),
    "losses_only_when_the_wallet_was_empty": "UPDATE hold SET lost_nano = 3, charged_nano = 5 WHERE id = 'a'",
    "every_posted_hold_has_its_generation": "DELETE FROM generation WHERE id = 'a'",
    "budgets_equal_their_holds": "UPDATE budget SET usage_week_nano = usage_week_nano + 1",
    "activity_equals_generations": "UPDATE rollup SET prompt_tokens = prompt_tokens + 1",
    "cached_answers_are_free_and_name_their_source": (
        "UPDATE generation SET charge_nano = 1 WHERE id = 'again'"
    ),
    "no_window_counts_more_than_was_admitted": "UPDATE rate_window SET used = used + 9",
    "history_is_protected": "DROP TRIGGER transfer_is_never_deleted",
}


@pytest.fixture
def books() -> Books:
    made = Books()
    made.grant(1000)
    made.apply(hold("a", 600), settle("a", 250, cost=200, made=generation("a", 250)))
    made.apply(Record(told_again("again", "a")))
    made.apply(hold("c", 1, counts=(Count("key:key", "day", 5, "key"),)), void("c"))
    made.apply(hold("v", 100), void("v", owed=[PlatformCost("p", 4)]), hold("open", 70))
    return made


def test_books_in_order_have_no_violation(books: Books) -> None:
    assert audit(books.connection) == []
    assert audit(Books().connection) == []


@pytest.mark.parametrize("invariant", TAMPER)
def test_each_invariant_is_seen_when_it_is_broken(books: Books, invariant: str) -> None:
    protected = "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
    if invariant != "history_is_protected":
        for (name,) in books.connection.execute(protected).fetchall():
            books.connection.execute("DROP TRIGGER " + name)
    books.connection.execute(TAMPER[invariant])
    found = {violation.invariant: violation for violation in audit(books.connection)}
    assert invariant in found
    assert found[invariant].detail and found[invariant].explanation


def test_every_invariant_has_an_explanation_and_a_test() -> None:
    assert set(TAMPER) == set(SQL) - {"the_file_is_whole"}
    assert all(SQL.about[name] for name in SQL)


def test_a_damaged_file_is_seen(books: Books) -> None:
    books.connection.execute("PRAGMA writable_schema = ON")
    books.connection.execute("DELETE FROM sqlite_schema WHERE name = 'hold_open'")
    copy = apsw.Connection(":memory:")
    copy.deserialize("main", books.connection.serialize("main"))
    assert "the_file_is_whole" in {violation.invariant for violation in audit(copy)}


def test_many_broken_places_are_cut_short(books: Books) -> None:
    books.connection.execute("DROP TRIGGER hold_ends_once")
    for n in range(30):
        books.apply(hold(f"x{n}", 1), settle(f"x{n}", 1))
    books.connection.execute("UPDATE hold SET reason = NULL")
    details = [v.detail for v in audit(books.connection) if v.invariant == "every_hold_ends_once"]
    assert len(details) == 21
    assert details[-1] == "… and more"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE transfer SET nano = 1",
        "DELETE FROM transfer",
        "UPDATE hold SET charged_nano = 1 WHERE id = 'a'",
        "DELETE FROM hold",
        "DELETE FROM budget",
        "UPDATE account SET posted = 5 WHERE kind = 'wallet'",
        "UPDATE account SET held = -1 WHERE kind = 'wallet'",
        "UPDATE account SET held = 1 WHERE kind = 'revenue'",
        "INSERT INTO account VALUES ('ws', 'pocket', 0, 0)",
        "INSERT INTO transfer (id, workspace, source, target, nano, reason, provider, at_ms)"
        " VALUES ('t', 'ws', 'wallet', 'revenue', 0, 'x', '', 1)",
        "INSERT INTO transfer (id, workspace, source, target, nano, reason, provider, at_ms)"
        " VALUES ('t', 'ws', 'wallet', 'revenue', 1.5, 'x', '', 1)",
        "UPDATE budget SET held_nano = -1",
    ],
)
def test_sql_itself_forbids_what_it_can(books: Books, change: str) -> None:
    with pytest.raises(apsw.ConstraintError):
        books.connection.execute(change)
    assert audit(books.connection) == []
