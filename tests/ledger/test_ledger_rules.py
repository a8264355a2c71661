from __future__ import annotations

import pytest
from ledger_support import KEY, WS, Books, at, generation, grant, hold, settle, void

from tollway.ledger import rules
from tollway.ledger.budgets import read_budget
from tollway.ledger.entries import Delivered, Ended, Held, PlatformCost, Progress, Refused, Transfer
from tollway.ledger.rules import Abandon

INT64_MAX = 2**63 - 1


@pytest.fixture
def books() -> Books:
    made = Books()
    made.grant(1000)
    return made


def test_a_hold_grants_what_is_wanted_or_what_is_free(books: Books) -> None:
    assert books.one(hold("a", 600)) == Held("a", 600, 400)
    assert books.one(hold("b", 600, least=100)) == Held("b", 400, 0)
    assert books.held() == 1000


def test_a_hold_below_its_least_is_refused_and_reserves_nothing(books: Books) -> None:
    assert books.one(hold("a", 2000, least=1001)) == Refused("a", "credit", 1000)
    assert books.held() == 0
    assert books.count("hold") == 0


def test_a_refusal_says_when_waiting_for_running_requests_would_help(books: Books) -> None:
    books.apply(hold("a", 900))
    assert books.one(hold("b", 500)) == Refused("b", "credit", 100, in_flight=True)
    assert books.one(hold("c", 1001)) == Refused("c", "credit", 100, in_flight=False)


def test_a_hold_of_nothing_passes_with_an_empty_wallet() -> None:
    assert Books().one(hold("free", 0)) == Held("free", 0, 0)


def test_a_key_limit_refuses_and_explains_itself(books: Books) -> None:
    books.budget(300)
    assert books.one(hold("a", 250)) == Held("a", 250, 750)
    assert books.one(hold("b", 100)) == Refused(
        "b", "key_limit", 50, in_flight=True, limit_nano=300, spent_nano=0
    )
    books.apply(settle("a", 240))
    assert books.one(hold("c", 100)) == Refused(
        "c", "key_limit", 60, in_flight=False, limit_nano=300, spent_nano=240
    )
    assert books.one(hold("d", 100, least=60)) == Held("d", 60, 700)


def test_what_waiting_cannot_mend_is_named_first(books: Books) -> None:
    books.budget(100)
    books.apply(hold("a", 950, key_id="other"))
    refused = books.one(hold("b", 200))
    assert (refused.by, refused.in_flight) == ("key_limit", False)


def test_a_key_that_is_over_its_limit_may_still_ask_for_what_is_free(books: Books) -> None:
    books.budget(100)
    books.apply(hold("a", 100), settle("a", 150))
    assert books.one(hold("b", 0)) == Held("b", 0, 900)
    assert books.one(hold("c", 1)).by == "key_limit"


def test_a_settled_hold_moves_charge_and_cost_and_frees_the_rest(books: Books) -> None:
    books.apply(hold("a", 600))
    assert books.one(settle("a", 250, cost=200)) == Ended("a", True, 250, 0)
    assert books.held() == 0
    assert books.posted() == {
        "payments_clearing": -1000,
        "wallet": 750,
        "revenue": 50,
        "provider_payable": 200,
    }
    assert books.violations() == []


def test_a_charge_above_the_hold_takes_what_is_available(books: Books) -> None:
    books.apply(hold("a", 100))
    assert books.one(settle("a", 700)) == Ended("a", True, 700, 0)
    assert books.posted()["wallet"] == 300


def test_a_charge_above_the_hold_takes_no_more_than_the_keys_limit_leaves(books: Books) -> None:
    books.budget(300)
    books.apply(hold("a", 100), hold("b", 50))
    assert books.one(settle("a", 700)) == Ended("a", True, 250, 450)
    assert books.one(settle("b", 700)) == Ended("b", True, 50, 650), "what it reserved is its own"
    assert books.posted()["wallet"] == 700


def test_what_nobody_can_pay_is_the_platforms_loss(books: Books) -> None:
    books.apply(hold("a", 100), hold("b", 800))
    assert books.one(settle("a", 500, cost=400)) == Ended("a", True, 200, 300)
    assert books.held() == 800
    assert books.posted() == {
        "payments_clearing": -1000,
        "wallet": 800,
        "revenue": 100,
        "provider_payable": 400,
        "platform_loss": -300,
    }
    assert read_budget(books.connection, KEY).usage_nano == 500
    assert books.violations() == []


def test_a_void_frees_everything_and_books_what_the_platform_may_owe(books: Books) -> None:
    books.apply(hold("a", 600))
    assert books.one(void("a", owed=[PlatformCost("p", 40), PlatformCost("q", 2)])) == Ended(
        "a", True
    )
    assert books.held() == 0
    assert books.posted() == {
        "payments_clearing": -1000,
        "wallet": 1000,
        "platform_loss": -42,
        "provider_unreconciled": 42,
    }
    assert books.violations() == []


@pytest.mark.parametrize("later", [settle("a", 9), void("a"), settle("a", 250)])
def test_the_first_end_wins(books: Books, later: object) -> None:
    books.apply(hold("a", 600), settle("a", 250))
    before = books.posted()
    assert books.one(later) == Ended("a", False, 250, 0)
    assert books.posted() == before


def test_a_settle_after_a_void_charges_nothing(books: Books) -> None:
    books.apply(hold("a", 600), void("a"))
    assert books.one(settle("a", 250)) == Ended("a", False, 0, 0)


def test_a_hold_that_ends_in_its_own_batch_is_kept_as_it_ended(books: Books) -> None:
    answers = books.apply(
        hold("a", 600, at_ms=3), Progress("a", 100, 80), settle("a", 250, 200, at_ms=5), void("a")
    )
    assert answers[1:] == [None, Ended("a", True, 250), Ended("a", False, 250)]
    kept = books.connection.execute(
        "SELECT state, amount_nano, at_ms, charged_nano, lost_nano, ended_ms, reason FROM hold"
    ).fetchall()
    assert kept == [("posted", 600, 3, 250, 0, 5, "settled")]
    assert (books.posted()["wallet"], books.held()) == (750, 0)
    assert books.violations() == []


def test_the_same_hold_twice_is_one_hold(books: Books) -> None:
    assert books.apply(hold("a", 600), hold("a", 600)) == [
        Held("a", 600, 400),
        Held("a", 600, 400),
    ]
    assert books.one(hold("a", 600)) == Held("a", 600, 400)
    assert books.held() == 600


def test_a_hold_that_has_ended_cannot_be_taken_again(books: Books) -> None:
    books.apply(hold("a", 600), settle("a", 1))
    assert isinstance(books.one(hold("a", 600)), rules.HoldEnded)


def test_the_end_of_an_unknown_hold_is_an_error_of_its_own(books: Books) -> None:
    answers = books.apply(settle("x", 1), void("y"))
    assert [type(a) for a in answers] == [rules.UnknownHold, rules.UnknownHold]
    assert isinstance(answers[0], KeyError)


def test_a_refused_command_leaves_its_neighbours_alone(books: Books) -> None:
    answers = books.apply(hold("a", 100), settle("x", 1), hold("b", -1), settle("a", 50))
    assert [type(a).__name__ for a in answers] == ["Held", "UnknownHold", "BadCommand", "Ended"]
    assert books.posted()["wallet"] == 950


@pytest.mark.parametrize("amount", [-1, True, 1.5, "7", b"7", INT64_MAX + 1, float("nan")])
def test_what_is_not_an_amount_is_refused(books: Books, amount: object) -> None:
    books.apply(hold("a", 100))
    refused = books.apply(
        hold("b", amount, least=0),
        hold("c", 5, least=amount),
        settle("a", amount),
        settle("a", 1, cost=amount),
        void("a", owed=[PlatformCost("p", amount)]),
        Progress("a", amount, 0),
        Transfer("t", WS, "payments_clearing", "wallet", amount, "x", 1),
    )
    assert {type(a) for a in refused} == {rules.BadCommand}
    assert (books.held(), books.posted()["wallet"]) == (100, 1000)


def test_a_generation_must_tell_what_its_hold_was_ended_with(books: Books) -> None:
    books.apply(hold("a", 100))
    wrong = [
        settle("a", 5, made=generation("a", 6)),
        settle("a", 5, made=generation("b", 5)),
        settle("a", 5, made=generation("a", 5, workspace="other")),
        settle("a", 5, made=generation("a", 5, key_id="other")),
        void("a", made=generation("a", 5)),
    ]
    assert {type(a) for a in books.apply(*wrong)} == {rules.BadCommand}
    assert books.one(settle("a", 5, made=generation("a", 5))) == Ended("a", True, 5, 0)


def test_a_posted_hold_always_has_a_generation(books: Books) -> None:
    books.apply(hold("a", 100), settle("a", 5), hold("b", 100), void("b"))
    assert books.count("generation") == 1
    assert books.violations() == []


def test_a_transfer_has_one_effect(books: Books) -> None:
    assert books.apply(grant("g", 5), grant("g", 5)) == [True, False]
    assert books.one(grant("g", 5)) is False
    assert isinstance(books.one(grant("g", 6)), rules.IdConflict)
    assert books.posted()["wallet"] == 1005


@pytest.mark.parametrize(
    ("source", "target", "nano", "error"),
    [
        ("wallet", "wallet", 5, rules.BadCommand),
        ("wallet", "pocket", 5, rules.BadCommand),
        ("payments_clearing", "wallet", 0, rules.BadCommand),
        ("payments_clearing", "wallet", INT64_MAX, rules.BadCommand),
        ("wallet", "payments_clearing", 401, rules.Overdrawn),
    ],
)
def test_transfers_that_the_books_refuse(
    books: Books, source: str, target: str, nano: int, error: type
) -> None:
    books.apply(hold("a", 600))
    assert type(books.one(Transfer("t", WS, source, target, nano, "x", 1))) is error
    assert books.count("transfer") == 1


def test_workspaces_do_not_pay_for_one_another(books: Books) -> None:
    books.grant(50, "poor")
    assert books.one(hold("a", 60, workspace="poor")) == Refused("a", "credit", 50)
    assert books.apply(hold("b", 50, workspace="poor"), settle("b", 70))[1] == Ended(
        "b", True, 50, 20
    )
    assert books.posted()["wallet"] == 1000
    assert books.violations() == []


# ---- windows of limits ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reset", "last", "first"),
    [
        ("daily", "2026-11-25T23:59:59", "2026-11-26T00:00:00"),
        ("weekly", "2026-11-29T23:59:59", "2026-11-30T00:00:00"),
        ("monthly", "2026-11-30T23:59:59", "2026-12-01T00:00:00"),
    ],
)
def test_a_limit_is_whole_again_when_its_window_begins(
    books: Books, reset: str, last: str, first: str
) -> None:
    before, after = at(last), at(first)
    books.budget(100, reset, now_ms=before - 60_000)
    books.apply(hold("a", 100, at_ms=before - 50_000), settle("a", 100, at_ms=before))
    refused = books.one(hold("b", 1, at_ms=before))
    assert (refused.by, refused.reset, refused.spent_nano) == ("key_limit", reset, 100)
    assert books.one(hold("c", 100, at_ms=after)) == Held("c", 100, 800)
    assert books.violations() == []


def test_a_limit_without_reset_is_never_whole_again(books: Books) -> None:
    books.budget(100)
    books.apply(hold("a", 100), settle("a", 100))
    assert books.one(hold("b", 1, at_ms=at("2099-01-01T00:00:00"))).by == "key_limit"


def test_a_hold_from_before_midnight_counts_on_its_own_day(books: Books) -> None:
    before, after = at("2026-11-25T23:59:50"), at("2026-11-26T00:00:10")
    books.budget(100, "daily", now_ms=before)
    books.apply(hold("late", 80, at_ms=before))
    assert books.one(hold("new", 100, at_ms=after)) == Held("new", 100, 820)
    books.apply(settle("late", 80, at_ms=after))
    budget = read_budget(books.connection, KEY)
    assert (budget.held_nano, budget.usage_day_nano, budget.usage_nano) == (100, 0, 80)
    books.apply(settle("new", 90, at_ms=after))
    budget = read_budget(books.connection, KEY)
    assert (budget.held_nano, budget.usage_day_nano, budget.usage_nano) == (0, 90, 170)
    assert budget.usage_week_nano == budget.usage_month_nano == 170
    assert books.violations() == []


def test_a_clock_set_back_opens_no_old_window(books: Books) -> None:
    day = at("2026-11-26T12:00:00")
    books.budget(100, "daily", now_ms=day)
    books.apply(hold("a", 100, at_ms=day), settle("a", 100, at_ms=day))
    assert books.one(hold("b", 1, at_ms=day - 86_400_000)).by == "key_limit"


def test_a_changed_reset_counts_what_was_used_in_its_window(books: Books) -> None:
    monday, tuesday = at("2026-11-23T12:00:00"), at("2026-11-24T12:00:00")
    books.budget(500, None, now_ms=monday)
    books.apply(hold("a", 60, at_ms=monday), settle("a", 60, at_ms=monday))
    books.apply(hold("b", 30, at_ms=tuesday), settle("b", 30, at_ms=tuesday))
    books.apply(hold("c", 5, at_ms=tuesday))
    for reset, spent in (("daily", 30), ("weekly", 90), ("monthly", 90), (None, 90)):
        books.budget(100, reset, now_ms=tuesday)
        budget = read_budget(books.connection, KEY)
        assert (budget.spent_nano, budget.held_nano) == (spent, 5), reset
    assert books.violations() == []


# ---- abandoned holds -----------------------------------------------------------------------------


def test_an_abandoned_hold_is_settled_at_what_was_delivered(books: Books) -> None:
    books.apply(hold("a", 600), Progress("a", 100, 80), Progress("a", 90, 70))
    assert books.one(Abandon("a", "recovered", 5)) == "posted"
    assert books.posted() == {
        "payments_clearing": -1000,
        "wallet": 900,
        "revenue": 20,
        "provider_payable": 80,
    }
    assert books.held() == 0
    assert books.violations() == []


@pytest.mark.parametrize(("reason", "state"), [("recovered", "voided"), ("expired", "expired")])
def test_an_abandoned_hold_without_progress_is_what_we_may_owe(
    books: Books, reason: str, state: str
) -> None:
    books.apply(hold("a", 600))
    assert books.one(Abandon("a", reason, 5)) == state
    assert books.posted() == {
        "payments_clearing": -1000,
        "wallet": 1000,
        "platform_loss": -600,
        "provider_unreconciled": 600,
    }
    assert books.one(Abandon("a", reason, 6)) is None
    assert books.one(settle("a", 10)) == Ended("a", False, 0, 0)
    assert books.violations() == []


def test_progress_of_a_hold_that_is_over_or_unknown_is_ignored(books: Books) -> None:
    books.apply(hold("a", 600), settle("a", 1))
    assert books.apply(Progress("a", 5, 5), Progress("x", 5, 5)) == [None, None]
    assert books.violations() == []


def test_a_recovered_generation_says_who_delivered_what(books: Books) -> None:
    of = Delivered("a/b", "acme", "Acme", "a/b@acme", "v1", 40, 7, 2, 10, True)
    books.apply(hold("a", 600), Progress("a", 100, 80, of), Progress("a", 110, 90))
    assert books.one(Abandon("a", "recovered", 5)) == "posted"
    columns = "model, provider, endpoint, price_version, prompt_tokens, completion_tokens"
    row = books.connection.execute(
        f"SELECT {columns}, reasoning_tokens, cached_tokens, streamed, charge_nano FROM generation"  # noqa: S608
    ).get
    assert tuple(row) == ("a/b", "Acme", "a/b@acme", "v1", 40, 7, 2, 10, 1, 110)
