"""Uptime classes, the 95th percentile, and what both do in a plan."""

import pytest
from routing_builders import NOW, endpoint, offered, planned, request, tags

from tollway.canon import Fault
from tollway.routing.health import (
    DEGRADED,
    EJECTED,
    FALLBACK,
    NORMAL,
    STABLE,
    Health,
    Outcome,
)

ONE = endpoint("alpha")
WELL = Outcome.answered(0.5, 100, 2.0)
ILL = Outcome.failed(Fault(502, "provider_unavailable", "down"), 0.1)


def partly(ill: int, calls: int, of=ONE, health: Health | None = None, at: float = NOW) -> Health:
    """Failures spread evenly among calls that went well, so that no outage comes of them; the
    last call goes well."""
    health = health or Health()
    failed = {round((n + 0.5) * calls / ill) - 1 for n in range(ill)} if ill else set()
    for n in range(calls):
        health.note(of, ILL if n in failed else WELL, at)
    return health


@pytest.mark.parametrize(
    ("ill", "calls", "grade"),
    [
        (0, 100, NORMAL),
        (5, 100, NORMAL),
        (6, 100, DEGRADED),
        (20, 100, DEGRADED),
        (21, 100, FALLBACK),
        (90, 99, NORMAL),
        (50, 1_000, NORMAL),
        (51, 1_000, DEGRADED),
    ],
)
def test_a_class_is_of_a_hundred_calls_or_more(ill, calls, grade) -> None:
    assert partly(ill, calls).uptime_class(ONE.key, NOW) == grade


def test_a_class_is_of_half_an_hour() -> None:
    health = partly(30, 100)
    for s in (0, 60 * 29):
        assert health.uptime_class(ONE.key, NOW + s) == FALLBACK
    assert health.uptime_class(ONE.key, NOW + 60 * 31) == NORMAL


def test_calls_that_go_well_bring_the_class_back() -> None:
    health = partly(20, 100)
    grades = []
    for _ in range(301):
        health.note(ONE, WELL, NOW + 60)
        grades.append(health.uptime_class(ONE.key, NOW + 60))
    assert grades.index(NORMAL) == 299  # 20 of 400 are 5 %
    assert not health.troubled(NOW + 60)


def test_capacity_and_callers_faults_make_no_class() -> None:
    health = Health()
    for fault in (Fault(429, "x", "x", retry_after_s=0), Fault(400, "x", "x", "never")):
        for _ in range(200):
            health.note(ONE, Outcome.failed(fault), NOW)
    for _ in range(200):
        health.note(ONE, WELL, NOW)
    assert health.uptime_class(ONE.key, NOW) == NORMAL


def test_classes_order_a_plan_behind_trouble_of_now_and_before_price() -> None:
    tags_in = ("worst", "degraded", "well", "down")
    worst, degraded, well, down = (
        offered(tag, dollars=d) for tag, d in zip(tags_in, (1, 2, 30, 0.5), strict=True)
    )
    health = Health()
    partly(30, 100, worst.endpoint, health, NOW - 60)
    partly(10, 100, degraded.endpoint, health, NOW - 60)
    for _ in range(3):
        health.note(down.endpoint, ILL, NOW - 1)
    offers = (worst, degraded, well, down)
    made = planned(request(sort="price"), *offers, health=health)
    assert tags(made) == ["well", "degraded", "worst"]
    assert [drop.tag for drop in made.drops] == ["down"]
    by_order = planned(request(order=("worst", "down")), *offers, health=health)
    assert tags(by_order)[:2] == ["worst", "down"]


def test_alike_classes_are_ordered_by_the_sort() -> None:
    alpha, beta = offered("alpha", dollars=1), offered("beta", dollars=2)
    health = Health()
    for offer in (alpha, beta):
        partly(10, 100, offer.endpoint, health, NOW - 60)
    made = planned(request(sort="price"), beta, alpha, health=health)
    assert tags(made) == ["alpha", "beta"]


def test_the_95th_percentile_is_of_twenty_calls_or_more() -> None:
    health = Health()
    for n in range(1, 20):
        health.note(ONE, Outcome.answered(n / 10, 1, 3.0), NOW)
    assert health.p95_latency(ONE.key, NOW) is None
    health.note(ONE, Outcome.answered(9.9, 1, 3.0), NOW)
    assert health.p95_latency(ONE.key, NOW + 1) == 1.9  # the 19th of 20
    for n in range(80):
        health.note(ONE, Outcome.answered(20 + n / 10, 1, 3.0), NOW + 1)
    assert health.p95_latency(ONE.key, NOW + 1.5) == 1.9  # at most a second old
    assert health.p95_latency(ONE.key, NOW + 2.5) == 27.4
    assert health.p95_latency(ONE.key, NOW + 400) is None
    assert health.p95_latency("acme/none@alpha", NOW) is None
    assert set(health.latency(ONE.key, NOW + 3)) == {"p50", "p75", "p90", "p99"}


def test_the_share_of_valid_tool_calls_is_of_two_hours() -> None:
    health = Health()
    for n in range(10):
        health.note_tools(ONE, n > 0, NOW)
    shown = [
        health.snapshot_for(ONE.key, NOW + s)["tool_call_success_last_2h"]
        for s in (0, 6_900, 7_501)
    ]
    assert shown == [90.0, 90.0, None]


def test_the_loser_of_a_race_tells_how_long_it_was_silent_and_nothing_else() -> None:
    health = Health()
    for _ in range(4):
        health.note(ONE, ILL, NOW)
    health.note(ONE, Outcome.silent(3.0), NOW)
    health.note(ONE, ILL, NOW)  # the fifth in a row all the same
    assert health.rank(ONE.key, "alpha", NOW) == EJECTED
    assert health.latency(ONE.key, NOW) == {"p50": 3, "p75": 3, "p90": 3, "p99": 3}
    assert health.success(ONE.key, NOW) == 0.0
    health.began(ONE, NOW + 31, streamed=True)
    assert health.rank(ONE.key, "alpha", NOW + 34) == EJECTED
    health.note(ONE, Outcome.silent(3.0), NOW + 34)
    assert health.rank(ONE.key, "alpha", NOW + 34) == STABLE  # given back, not closed
    assert health.troubled(NOW + 34)
