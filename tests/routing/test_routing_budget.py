"""The retry budget and the backoff."""

import os
from random import Random

from tollway.routing.budget import RetryBudget, backoff_s

SEED = int(os.environ.get("ROUTING_SEED", "20261122"))
T = 1_800_000_000.0


def test_a_quiet_server_may_always_fail_over_a_little() -> None:
    budget = RetryBudget(floor=3)
    budget.began("alpha", T)
    assert [budget.allow("beta", T) for _ in range(4)] == [True, True, True, False]


def test_a_busy_server_may_repeat_a_fifth_of_its_requests() -> None:
    budget = RetryBudget(floor=3)
    for _ in range(100):
        budget.began("alpha", T)
    assert sum(budget.allow("alpha", T + 1) for _ in range(100)) == 20


def test_one_providers_share_does_not_serve_another() -> None:
    budget = RetryBudget(floor=3)
    for n in range(100):
        budget.began("alpha" if n else "beta", T)
    assert sum(budget.allow("beta", T) for _ in range(100)) == 3
    assert sum(budget.allow("alpha", T) for _ in range(100)) == 17


def test_the_window_moves_on_after_ten_seconds() -> None:
    budget = RetryBudget(floor=3)
    assert [budget.allow("alpha", T) for _ in range(4)] == [True] * 3 + [False]
    assert not budget.allow("alpha", T + 9.9)
    assert budget.allow("alpha", T + 10)
    assert budget.allow("alpha", T + 1_000)


def test_a_clock_that_steps_back_neither_fails_nor_opens_the_gate() -> None:
    budget = RetryBudget(floor=1)
    assert budget.allow("alpha", T)
    assert not budget.allow("alpha", T - 100)


def test_in_a_storm_where_all_fails_attempts_stay_within_a_fifth_more() -> None:
    budget, attempts, offered = RetryBudget(), 0, 0
    for tick in range(60 * 200):
        now_s = T + tick / 200
        offered += 1
        attempts += 1
        budget.began("alpha", now_s)
        for provider in ("beta", "alpha"):
            if not budget.allow(provider, now_s):
                break
            attempts += 1
    assert offered < attempts <= 1.2 * offered


def test_a_healthy_endpoint_may_always_be_tried_and_a_storm_pays_for_it() -> None:
    budget = RetryBudget(floor=3)
    for _ in range(100):
        budget.began("alpha", T)
    assert all(budget.allow("beta", T + 1, healthy=True) for _ in range(50))
    assert not budget.allow("alpha", T + 2), "the process as a whole has had its share"
    assert budget.allow("alpha", T + 11)


def test_what_answered_is_given_back() -> None:
    budget = RetryBudget(floor=3)
    for tick in range(100 * 60):
        now_s = T + tick / 100
        budget.began("alpha", now_s)
        assert budget.allow("beta", now_s, healthy=True)
        if tick >= 400:  # sent after a pause, four seconds to the first token
            budget.answered("beta", now_s - 3.8, now_s)
    assert not budget.allow("alpha", now_s), "400 are on their way, 200 would be a fifth"
    for tick in range(400):
        budget.answered("beta", now_s - 3.8 + tick / 100, now_s + tick / 100)
    assert sum(budget.allow("alpha", now_s + 4) for _ in range(300)) == 120, "six seconds of it"


def test_an_answer_from_before_the_window_gives_nobody_elses_attempt_back() -> None:
    budget = RetryBudget(floor=3)
    assert budget.allow("beta", T)
    assert [budget.allow("beta", T + 20) for _ in range(4)] == [True, True, True, False]
    budget.answered("beta", T, T + 20)
    assert not budget.allow("beta", T + 20)
    budget.answered("beta", T + 20, T + 20)
    assert [budget.allow("beta", T + 20) for _ in range(2)] == [True, False]


def test_backoff_is_jittered_under_a_doubling_bound() -> None:
    random = Random(SEED)
    for number, bound_s in ((1, 0.05), (2, 0.1), (3, 0.2), (4, 0.4), (5, 0.5), (500, 0.5)):
        waits = [backoff_s(number, random) for _ in range(300)]
        assert 0 <= min(waits) < 0.1 * bound_s, SEED
        assert 0.9 * bound_s < max(waits) <= bound_s, SEED


def test_backoff_waits_as_long_as_the_provider_asked() -> None:
    assert backoff_s(1, Random(SEED), retry_after_s=3.0) == 3.0
    assert backoff_s(5, Random(SEED), retry_after_s=0.0) <= 0.5
