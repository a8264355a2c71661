"""Ejection: five in a row, longer each time, and one probe when the time is over."""

from itertools import permutations

import pytest
from routing_builders import NOW, endpoint, offered, planned, request, tags

from tollway.canon import Fault
from tollway.routing import ejection
from tollway.routing.ejection import CLOSED, EJECTED, HALF_OPEN, PROBED, Ejections
from tollway.routing.health import EJECTED as LAST
from tollway.routing.health import STABLE, UNSTABLE, Health, Outcome

ONE = endpoint("alpha")
WELL = Outcome.answered(0.1, 10, 0.2)
ILL = Outcome.failed(Fault(502, "provider_unavailable", "down"), 0.2)


def failing(times: int, health: Health | None = None, now_s: float = NOW) -> Health:
    health = health or Health()
    for _ in range(times):
        health.note(ONE, ILL, now_s)
    return health


def rank(health: Health, now_s: float) -> int:
    return health.rank(ONE.key, "alpha", now_s)


@pytest.mark.parametrize(("times", "rank_then"), [(4, UNSTABLE), (5, LAST)])
def test_five_sick_calls_in_a_row_eject(times, rank_then) -> None:
    assert rank(failing(times), NOW) == rank_then


def test_a_call_that_went_well_begins_the_count_anew() -> None:
    health = failing(4)
    health.note(ONE, WELL, NOW)
    assert rank(failing(4, health), NOW) == UNSTABLE


def test_capacity_and_our_own_faults_are_not_counted() -> None:
    health = Health()
    for fault in (Fault(429, "x", "x"), Fault(502, "x", "x", local=True), Fault(400, "x", "x")):
        for _ in range(9):
            health.note(ONE, Outcome.failed(fault), NOW)
    assert rank(health, NOW + 5) == STABLE


def test_the_thirty_seconds_of_an_outage_are_what_they_were() -> None:
    health = failing(5)
    assert [health.unstable(ONE.key, NOW + s) for s in (0, 29.99, 30)] == [True, True, False]


def test_each_ejection_is_longer_up_to_five_minutes() -> None:
    health, now_s, lasted = failing(5), NOW, []
    for _ in range(12):
        end_s = next(s / 10 for s in range(4_000) if rank(health, now_s + s / 10) != LAST)
        lasted.append(end_s)
        now_s += end_s + 31  # and no outage any more
        health.note(ONE, Outcome.failed(Fault(502, "x", "x"), 0.1), now_s)
    assert lasted == [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]


def test_failures_while_ejected_do_not_make_it_longer() -> None:
    health = failing(5)
    failing(50, health, NOW + 20)
    assert rank(health, NOW + 29.9) == LAST
    assert rank(health, NOW + 51) == STABLE


def test_a_probe_that_goes_well_closes_and_the_number_goes_back_with_time() -> None:
    health = failing(5)
    health.claim(ONE.key, NOW + 31)
    health.began(ONE, NOW + 31, streamed=False)
    health.note(ONE, WELL, NOW + 32)
    assert rank(health, NOW + 32) == STABLE
    assert not health.troubled(NOW + 32)
    again = failing(5, health, NOW + 40)  # 8 s later: one ejection is still held against it
    assert [rank(again, NOW + 40 + s) for s in (59, 61)] == [LAST, STABLE]


def test_an_ejection_of_long_ago_is_forgotten() -> None:
    health = failing(5)
    health.note(ONE, WELL, NOW + 32)
    again = failing(5, health, NOW + 32 + 31)
    assert [rank(again, NOW + 63 + s) for s in (29, 31)] == [LAST, STABLE]


def test_a_probe_that_fails_ejects_longer_at_once() -> None:
    health = failing(5)
    health.claim(ONE.key, NOW + 31)
    health.began(ONE, NOW + 31, streamed=False)
    health.note(ONE, ILL, NOW + 32)
    assert [rank(health, NOW + 32 + s) for s in (0, 59, 61)] == [LAST, LAST, STABLE]


def test_calls_begun_before_the_end_of_an_ejection_prove_nothing() -> None:
    health = failing(5)
    health.note(ONE, Outcome.answered(1.0, 10, 40.0), NOW + 31)  # begun at NOW - 9
    health.note(ONE, Outcome.failed(Fault(502, "x", "x"), 35.0), NOW + 31)
    health.claim(ONE.key, NOW + 61.5)
    assert rank(health, NOW + 61.5) == LAST  # still half-open, and claimed


# ---- one probe -----------------------------------------------------------------------------------


def test_a_plan_that_is_walked_and_puts_it_first_is_the_one_probe() -> None:
    alpha, beta = offered("alpha", dollars=1), offered("beta", dollars=9)
    health, later_s = failing(5), NOW + 31
    firsts = []
    for n in range(20):
        now_s = later_s + n / 10
        made = planned(request(sort="price"), alpha, beta, health=health, now_s=now_s)
        health.claim(made.attempts[0].endpoint.key, now_s)
        firsts.append(tags(made))
    assert firsts == [["alpha", "beta"]] + [["beta", "alpha"]] * 19


def test_a_plan_that_is_only_looked_at_takes_nobodys_probe() -> None:
    alpha, beta = offered("alpha", dollars=1), offered("beta", dollars=9)
    health = failing(5)
    for _ in range(3):
        made = planned(request(sort="price"), alpha, beta, health=health, now_s=NOW + 31)
        assert tags(made) == ["alpha", "beta"]


def test_a_claim_that_never_came_to_its_call_is_given_to_the_next() -> None:
    health = failing(5)
    health.claim(ONE.key, NOW + 31)
    lasts = ejection.LEASE_S
    assert [rank(health, NOW + 31 + s) for s in (0, lasts - 0.1, lasts)] == [LAST, LAST, STABLE]


def test_a_probe_that_runs_keeps_its_place_however_long_it_takes() -> None:
    health = failing(5)
    health.claim(ONE.key, NOW + 31)
    health.began(ONE, NOW + 32, streamed=True)
    health.waited(ONE, 1.0, NOW + 33, streamed=True, jitter=0.5)
    assert rank(health, NOW + 300) == LAST
    health.note(ONE, Outcome.answered(1.0, 9, 270.0), NOW + 302)
    assert rank(health, NOW + 302) == STABLE


@pytest.mark.parametrize("how", ["left", "crowded", "wrong"])
def test_a_probe_that_says_nothing_gives_its_place_back(how) -> None:
    health = failing(5)
    health.claim(ONE.key, NOW + 31)
    health.began(ONE, NOW + 31, streamed=False)
    match how:
        case "left":
            health.left(ONE, NOW + 31)
        case "crowded":
            health.note(ONE, Outcome.failed(Fault(429, "x", "x", retry_after_s=0), 1.0), NOW + 32)
        case "wrong":
            health.note(ONE, Outcome.failed(Fault(400, "x", "x", "never"), 1.0), NOW + 32)
    assert rank(health, NOW + 33) == STABLE
    health.claim(ONE.key, NOW + 33)
    assert rank(health, NOW + 33) == LAST


@pytest.mark.parametrize("order", sorted(set(permutations("pppbe"))))
def test_half_open_admits_exactly_one_however_plans_and_calls_interleave(order) -> None:
    """p: a plan looks, and claims when it may; b: a claimed call begins; e: it ends well."""
    found = Ejections()
    found.ill("k", 5, NOW, NOW)
    now_s, first, claimed, begun, done = NOW + 31, 0, 0, 0, False
    for step in order:
        now_s += 0.1
        if step == "p":
            if found.standing("k", now_s) == HALF_OPEN:
                first += 1
                claimed += 1
                found.claim("k", now_s)
        elif step == "b" and claimed > begun:
            begun += 1
            found.began("k", now_s)
        elif step == "e" and begun:
            done = found.well("k", now_s - 0.05, now_s)
    assert first == (1 if "p" in order else 0)
    assert found.standing("k", now_s) == (CLOSED if done else PROBED)


def test_an_ejection_nobody_looks_after_is_over_after_ten_minutes() -> None:
    health = failing(5)
    assert health.troubled(NOW + 629)
    assert not health.troubled(NOW + 631)
    assert rank(health, NOW + 631) == STABLE


def test_the_only_endpoint_of_a_model_is_tried_however_ejected() -> None:
    alpha = offered("alpha")
    assert tags(planned(request(), alpha, health=failing(9))) == ["alpha"]


def test_it_is_behind_every_other_and_ahead_of_nobody_but_by_order() -> None:
    alpha, beta, gamma = (offered(tag) for tag in ("alpha", "beta", "gamma"))
    health = failing(5)
    for _ in range(3):
        health.note(beta.endpoint, ILL, NOW)
    health.note(gamma.endpoint, Outcome.failed(Fault(401, "x", "x", "cool")), NOW)
    assert tags(planned(request(), alpha, beta, gamma, health=health)) == ["beta", "gamma", "alpha"]
    asked = request(order=("alpha",))
    assert tags(planned(asked, alpha, beta, gamma, health=health))[0] == "alpha"


def test_ejection_is_of_one_credential() -> None:
    health = Health()
    for _ in range(5):
        health.note(ONE, ILL, NOW, "theirs")
    assert health.rank(ONE.key, "alpha", NOW, "theirs") == LAST
    assert rank(health, NOW) == STABLE


def test_the_states_are_told_apart() -> None:
    found = Ejections()
    assert found.standing("k", NOW) == CLOSED
    found.ill("k", 5, NOW, NOW)
    assert [found.standing("k", NOW + s) for s in (0, 30)] == [EJECTED, HALF_OPEN]
    found.claim("k", NOW + 30)
    assert found.standing("k", NOW + 30) == PROBED
    assert not found.well("k", NOW + 29, NOW + 31)
    assert found.well("k", NOW + 30, NOW + 31)
    assert found.standing("k", NOW + 31) == CLOSED
