"""R4: planted bugs. Each must be caught by the check that is named for it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import apsw
import pytest
from ledger_machine import Machine
from ledger_mutation import with_mutant
from ledger_support import Books, at, generation, grant, hold, settle, void

from tollway.ledger import rules, sqlite
from tollway.ledger.entries import Ended, Held, PlatformCost, Progress, Refused

Check = Callable[[ModuleType, ModuleType], None]


def random_lives(rules_: ModuleType, sqlite_: ModuleType) -> None:
    for seed in range(12):
        Machine(seed, rules_, sqlite_).run(50)


def no_overspend(rules_: ModuleType, sqlite_: ModuleType) -> None:
    books = Books(rules_, sqlite_)
    books.grant(50)
    answers = books.apply(*(hold(f"h{n}", 1) for n in range(100)))
    assert sum(isinstance(a, Held) for a in answers) == 50
    books.apply(*(settle(f"h{n}", 1) for n in range(50)))
    assert isinstance(books.one(hold("more", 1)), Refused)
    assert books.violations() == []


def key_limit(rules_: ModuleType, sqlite_: ModuleType) -> None:
    books = Books(rules_, sqlite_)
    books.grant(1000)
    books.budget(50)
    answers = books.apply(*(hold(f"h{n}", 1) for n in range(100)))
    assert sum(isinstance(a, Held) for a in answers) == 50
    books.apply(*(settle(f"h{n}", 1) for n in range(50)))
    assert isinstance(books.one(hold("more", 1)), Refused)


def one_effect(rules_: ModuleType, sqlite_: ModuleType) -> None:
    books = Books(rules_, sqlite_)
    books.grant(1000)
    assert books.apply(grant("g", 7), grant("g", 7)) == [True, False]
    assert books.one(grant("g", 7)) is False
    assert books.posted()["wallet"] == 1007
    books.apply(hold("a", 10), hold("a", 10))
    assert books.held() == 10
    books.apply(settle("a", 5), settle("a", 5))
    books.apply(settle("a", 5), void("a"))
    assert (books.posted()["wallet"], books.held()) == (1002, 0)
    assert books.one(settle("a", 9)) == Ended("a", False, 5, 0)


def overrun(rules_: ModuleType, sqlite_: ModuleType) -> None:
    books = Books(rules_, sqlite_)
    books.grant(100)
    books.apply(hold("a", 10), hold("b", 60))
    assert books.one(settle("a", 70, cost=5)) == Ended("a", True, 40, 30)
    assert books.posted()["platform_loss"] == -30
    assert books.violations() == []


def overrun_of_a_limit(rules_: ModuleType, sqlite_: ModuleType) -> None:
    books = Books(rules_, sqlite_)
    books.grant(1000)
    today, tomorrow = at("2026-11-25T12:00:00"), at("2026-11-26T12:00:00")
    books.budget(100, "daily", now_ms=today)
    books.apply(hold("a", 10, at_ms=today), hold("b", 60, at_ms=today))
    assert books.one(settle("a", 70, at_ms=today)) == Ended("a", True, 40, 30), "60 are b's"
    books.apply(hold("c", 10, at_ms=tomorrow))
    assert books.one(settle("b", 70, at_ms=tomorrow)) == Ended("b", True, 60, 10), "its day is over"
    assert books.violations() == []


def midnight(rules_: ModuleType, sqlite_: ModuleType) -> None:
    books = Books(rules_, sqlite_)
    books.grant(1000)
    for reset, before, after in (
        ("daily", "2026-11-25T23:59:59", "2026-11-26T00:00:00"),
        ("weekly", "2026-11-29T23:59:59", "2026-11-30T00:00:00"),
        ("monthly", "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
        ("monthly", "2027-01-31T23:59:59", "2028-01-01T00:00:00"),
    ):
        last, first = at(before), at(after)
        books.budget(10, reset, now_ms=last, key=before)
        books.apply(hold(before, 10, at_ms=last, key_id=before))
        assert isinstance(books.one(hold("x", 1, at_ms=last, key_id=before)), Refused)
        assert isinstance(books.one(hold(after, 10, at_ms=first, key_id=before)), Held)
        books.apply(settle(before, 10, at_ms=first))
        assert books.violations() == []


def abandoned(rules_: ModuleType, sqlite_: ModuleType) -> None:
    books = Books(rules_, sqlite_)
    books.grant(100)
    books.apply(hold("a", 10), hold("b", 10), Progress("a", 6, 4))
    books.apply(Progress("a", 3, 2))
    books.apply(rules_.Abandon("a", "recovered", 1), rules_.Abandon("b", "recovered", 1))
    assert books.posted() == {
        "payments_clearing": -100,
        "wallet": 94,
        "revenue": 2,
        "provider_payable": 4,
        "platform_loss": -10,
        "provider_unreconciled": 10,
    }
    assert books.violations() == []


def bad_amounts(rules_: ModuleType, sqlite_: ModuleType) -> None:
    books = Books(rules_, sqlite_)
    books.grant(100)
    books.apply(hold("a", 10))
    for command in (settle("a", -50), hold("b", -5, least=-5), settle("a", True)):
        assert type(books.one(command)).__name__ == "BadCommand", command
    assert books.posted()["wallet"] == 100


def records(rules_: ModuleType, sqlite_: ModuleType) -> None:
    books = Books(rules_, sqlite_)
    books.grant(100)
    books.apply(hold("a", 10), hold("b", 10), hold("c", 10))
    books.apply(settle("a", 5, made=generation("a", 5)), settle("b", 5))
    books.apply(void("c", made=generation("c", 0, status="failed"), owed=[PlatformCost("p", 2)]))
    assert books.count("generation") == 3
    assert books.violations() == []


MUTANTS: list[tuple[str, str, str, Check]] = [
    ("rules", "    wallet.held += granted\n", "", no_overspend),
    ("rules", "granted = min(command.wanted_nano, free)", "granted = command.wanted_nano", no_overspend),
    ("rules", "free = wallet.available", "free = wallet.posted", no_overspend),
    ("rules", "    budget.held_nano += granted\n", "", key_limit),
    ("rules", "- budget.spent_nano - budget.held_nano))", "- budget.held_nano))", key_limit),
    ("rules", "    budget.usage_nano += charge\n", "", key_limit),
    ("rules", "    if known is not None:\n        if known.state", "    if False:\n        if known.state", one_effect),
    ("rules", 'def _settle(desk: Desk, command: Settle) -> Ended:\n    hold = _found(desk, command.hold_id)\n    if hold.state != "open":', 'def _settle(desk: Desk, command: Settle) -> Ended:\n    hold = _found(desk, command.hold_id)\n    if False:', one_effect),
    ("rules", "    wallet.held -= hold.amount_nano\n", "", one_effect),
    ("rules", "paid = min(charge, wallet.available + hold.amount_nano, ", "paid = min(charge, hold.amount_nano, ", overrun),
    ("rules", "paid = min(charge, wallet.available + hold.amount_nano, _room(budget, hold))", "paid = charge", overrun),
    ("rules", "hold.amount_nano, _room(budget, hold))", "hold.amount_nano)", overrun_of_a_limit),
    ("rules", "budget.limit_nano - budget.spent_nano - others)", "budget.limit_nano - budget.spent_nano)", overrun_of_a_limit),
    ("rules", "        return hold.amount_nano\n    others", "        return AMOUNT_MAX_NANO\n    others", overrun_of_a_limit),
    ("rules", '    _move(desk, hold, LOSS, REVENUE, lost, "overrun", provider, at_ms)\n', "", overrun),
    ("rules", "    target.posted += row.nano\n", "    target.posted += row.nano + 1\n", overrun),
    ("rules", "        budget.held_nano -= hold.amount_nano\n", "        pass\n", random_lives),
    ("rules", "        budget.held_nano = 0\n", "        pass\n", midnight),
    ("rules", "    budget.usage_day_nano = 0\n", "", random_lives),
    ("rules", "        if day > row.day:", "        if day != row.day:", random_lives),
    ("rules", "    if today:\n", "    if True:\n", random_lives),
    ("rules", "max(hold.progress_charge_nano or 0, command.charge_nano)", "command.charge_nano", abandoned),
    ("rules", "    possible = () if delivered else ", "    possible = () if True else ", abandoned),
    ("rules", "type(amount) is not int or not 0 <= amount", "type(amount) is not int or not -100 <= amount", bad_amounts),
    ("rules", "type(amount) is not int", "not isinstance(amount, int)", bad_amounts),
    ("rules", "    row.prompt_tokens += made.prompt_tokens\n", "", records),
    ("rules", '    if generation is None and state == "posted":', "    if False:", records),
    ("rules", "    desk.transfers[command.id] = wanted\n", "", one_effect),
    ("rules", "source.kind == WALLET and source.available < command.nano", "source.kind == WALLET and source.posted < command.nano", random_lives),
    ("windows", "(day + 3) // 7\n", "day // 7\n", midnight),
    ("windows", "at.year * 12 + at.month - 1", "at.month", midnight),
    ("sqlite", '    _write_each(connection, "change_budget", old_budgets)\n', "", key_limit),
    ("sqlite", '    _write_each(connection, "add_rollup", desk.rollups.values())\n', "", records),
    ("sqlite", '_rows(connection, "load_transfers", transfers, _TRANSFERS)', "()", one_effect),
    ("sqlite", '_rows(connection, "load_holds", holds, _HOLDS)', "[]", one_effect),
]  # fmt: skip

CHECKS = (
    random_lives,
    no_overspend,
    key_limit,
    one_effect,
    overrun,
    midnight,
    abandoned,
    bad_amounts,
    records,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_checks_pass_without_a_bug(check: Check) -> None:
    check(rules, sqlite)
    check(*with_mutant("none", "", ""))


def test_every_planted_bug_is_caught_by_its_check() -> None:
    missed = []
    for room, old, new, check in MUTANTS:
        modules = with_mutant(room, old, new)
        try:
            check(*modules)
        except (AssertionError, KeyError, apsw.ConstraintError):
            continue
        missed.append((room, old, check.__name__))
    print(f"R4: {len(MUTANTS) - len(missed)}/{len(MUTANTS)} planted ledger bugs caught")
    assert not missed, "\n".join(map(str, missed))
