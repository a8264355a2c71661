"""Health with a clock of our own: outages, rests, percentiles, uptime, bounds."""

import pytest
from routing_builders import NOW, endpoint

from tollway.canon import Fault
from tollway.routing import health as module
from tollway.routing.health import COOLING, RESTING, STABLE, UNSTABLE, Health, Outcome, sick

ONE = endpoint("alpha")
OTHER = endpoint("alpha", "acme/two")
WELL = Outcome.answered(0.5, 100, 2.0)
ILL = Outcome.failed(Fault(502, "provider_unavailable", "down"))


def noted(*outcomes: Outcome, every_s: float = 0.1) -> tuple[Health, float]:
    health, now_s = Health(), NOW
    for outcome in outcomes:
        now_s += every_s
        health.note(ONE, outcome, now_s)
    return health, now_s


@pytest.mark.parametrize(
    ("fault", "counts"),
    [
        (Fault(500, "server", "x"), True),
        (Fault(502, "x", "x"), True),
        (Fault(503, "x", "x", retry_after_s=3), True),
        (Fault(529, "x", "x"), True),
        (Fault(504, "timeout", "x"), True),
        (Fault(408, "timeout", "x"), True),
        (Fault(404, "not_found", "x"), True),
        (Fault(401, "authentication", "x", "cool"), True),
        (Fault(402, "payment_required", "x", "cool"), True),
        (Fault(400, "invalid_request", "x", "never"), False),
        (Fault(400, "context_length_exceeded", "x", "larger"), False),
        (Fault(403, "permission_denied", "x"), False),
        (Fault(413, "payload_too_large", "x", "never"), False),
        (Fault(429, "rate_limit_exceeded", "x"), False),
        (Fault(502, "x", "x", local=True), False),
        (Fault(500, "x", "x", "never"), False),
    ],
)
def test_only_the_providers_own_failures_are_sickness(fault, counts) -> None:
    assert sick(fault) is counts
    health, now_s = noted(Outcome.failed(fault))
    assert health.unstable(ONE.key, now_s) is counts


@pytest.mark.parametrize(
    ("outcomes", "outage"),
    [
        ([ILL], True),
        ([WELL, ILL], True),
        ([WELL, WELL, ILL], False),
        ([WELL, WELL, ILL, ILL], True),
        ([WELL] * 20 + [ILL, ILL], False),
        ([WELL] * 20 + [ILL, ILL, ILL], True),
        ([WELL] * 20 + [ILL, ILL, WELL, ILL], False),
    ],
)
def test_an_outage_is_a_run_of_three_or_half_of_the_last_thirty_seconds(outcomes, outage) -> None:
    health, now_s = noted(*outcomes)
    assert health.unstable(ONE.key, now_s) is outage


def test_what_went_well_long_ago_does_not_excuse_a_failure_now() -> None:
    health, now_s = noted(*[WELL] * 20)
    health.note(ONE, ILL, now_s + 31)
    assert health.unstable(ONE.key, now_s + 31)


def test_an_outage_lasts_thirty_seconds_from_its_last_failure() -> None:
    health, now_s = noted(ILL)
    assert [health.unstable(ONE.key, now_s + s) for s in (0, 29.99, 30)] == [True, True, False]
    health.note(ONE, ILL, now_s + 20)
    assert [health.unstable(ONE.key, now_s + s) for s in (49.99, 50)] == [True, False]


def test_an_outage_is_of_one_endpoint_and_one_credential() -> None:
    health = Health()
    health.note(ONE, ILL, NOW, credential="theirs")
    assert health.unstable(ONE.key, NOW, "theirs")
    assert not health.unstable(ONE.key, NOW)
    assert not health.unstable(OTHER.key, NOW, "theirs")


def test_a_refusal_for_capacity_rests_as_long_as_it_says_within_reason() -> None:
    def rest_s(retry_after_s: float | None) -> float:
        health = Health()
        health.note(ONE, Outcome.failed(Fault(429, "x", "x", retry_after_s=retry_after_s)), NOW)
        assert health.rank(ONE.key, "alpha", NOW) in (RESTING, STABLE)
        lasts = [s for s in range(100_000) if health.resting(ONE.key, NOW + s)]
        return len(lasts)

    assert (rest_s(20), rest_s(None), rest_s(86_400), rest_s(-5)) == (20, 2, 3_600, 0)


def test_our_own_limits_rest_nobody() -> None:
    health, now_s = noted(Outcome.failed(Fault(429, "x", "x", retry_after_s=9, local=True)))
    assert not health.resting(ONE.key, now_s)


def test_a_refused_credential_cools_all_endpoints_of_its_provider_for_a_minute() -> None:
    health, now_s = noted(Outcome.failed(Fault(401, "authentication", "x", "cool")))
    assert health.rank(OTHER.key, "alpha", now_s) == COOLING
    assert health.rank(OTHER.key, "beta", now_s) == STABLE
    assert health.rank(OTHER.key, "alpha", now_s, "theirs") == STABLE
    assert health.rank(OTHER.key, "alpha", now_s + 60) == STABLE
    assert health.cooling("alpha", now_s + 59.9)


def test_trouble_is_forgotten_when_it_is_over() -> None:
    health, now_s = noted(ILL, Outcome.failed(Fault(429, "x", "x", retry_after_s=90)))
    assert health.rank(ONE.key, "alpha", now_s) == UNSTABLE
    assert [health.troubled(now_s + s) for s in (0, 31, 89, 91)] == [True, True, True, False]
    assert health.rank(ONE.key, "alpha", now_s + 91) == STABLE


def test_percentiles_are_of_the_last_five_minutes_and_read_from_the_good_end() -> None:
    health = Health()
    health.note(ONE, Outcome.answered(99.0, 1, 99.0), NOW - 301)
    for n in range(1, 101):
        health.note(ONE, Outcome.answered(n / 100, n, 1.0), NOW)
    assert health.latency(ONE.key, NOW) == {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99}
    assert health.throughput(ONE.key, NOW) == {"p50": 51, "p75": 26, "p90": 11, "p99": 2}
    assert health.latency(ONE.key, NOW + 301) is None
    assert health.latency("acme/none@alpha", NOW) is None


def test_percentiles_are_taken_again_after_a_second() -> None:
    health, now_s = noted(Outcome.answered(1.0, 10, 1.0))
    assert health.latency(ONE.key, now_s)["p50"] == 1.0
    for _ in range(3):
        health.note(ONE, Outcome.answered(5.0, 10, 1.0), now_s)
    assert health.latency(ONE.key, now_s + 0.5)["p50"] == 1.0
    assert health.latency(ONE.key, now_s + 1.0)["p50"] == 5.0


def test_an_answer_without_tokens_has_no_throughput() -> None:
    health, now_s = noted(Outcome.answered(0.5, 0, 2.0), Outcome.answered(None, 7, 0.0))
    assert health.throughput(ONE.key, now_s) is None
    assert health.latency(ONE.key, now_s)["p50"] == 0.5


def test_success_is_the_share_of_calls_that_were_not_sick() -> None:
    health, now_s = noted(WELL, WELL, WELL, ILL)
    assert health.success(ONE.key, now_s) == 0.75
    assert health.success(ONE.key, now_s + 301) is None
    assert health.success("acme/none@alpha", now_s) is None


def minutes(*plan: tuple[int, int]) -> tuple[Health, float]:
    """One (well, ill) pair a minute; the clock ends within the last of them."""
    health, start_s = Health(), NOW - NOW % 60
    for n, (well, ill) in enumerate(plan):
        for outcome in [WELL] * well + [ILL] * ill:
            health.note(ONE, outcome, start_s + 60 * n)
    return health, start_s + 60 * (len(plan) - 1) + 30


@pytest.mark.parametrize(
    ("plan", "five", "thirty"),
    [
        ([(10, 0)], 100.0, 100.0),
        ([(9, 0)], None, None),
        ([(8, 2)], 100.0, 100.0),
        ([(7, 3)], 0.0, 0.0),
        ([(10, 0), (0, 10), (10, 0), (5, 0)], 200 / 3, 200 / 3),
        ([(0, 10)] + [(0, 0)] * 4 + [(10, 0)], 100.0, 50.0),
        ([(0, 10)] + [(0, 0)] * 29 + [(10, 0)], 100.0, 100.0),
    ],
)
def test_uptime_is_the_share_of_busy_minutes_that_went_well(plan, five, thirty) -> None:
    health, now_s = minutes(*plan)
    seen = health.snapshot_for(ONE.key, now_s)
    assert (seen["uptime_last_5m"], seen["uptime_last_30m"]) == (
        pytest.approx(five) if five is not None else None,
        pytest.approx(thirty) if thirty is not None else None,
    )


def test_a_day_of_uptime_forgets_the_day_before() -> None:
    health, now_s = minutes((0, 10))
    assert health.snapshot_for(ONE.key, now_s + 86_400 - 120)["uptime_last_1d"] == 0.0
    assert health.snapshot_for(ONE.key, now_s + 86_400)["uptime_last_1d"] is None
    again, _ = minutes((0, 10))
    for _ in range(10):
        again.note(ONE, WELL, now_s + 3 * 86_400)
    assert again.snapshot_for(ONE.key, now_s + 3 * 86_400)["uptime_last_1d"] == 100.0


def test_the_public_snapshot_has_milliseconds_and_nulls() -> None:
    empty = Health().snapshot_for("acme/none@alpha", NOW)
    assert empty == {
        "status": 0,
        "uptime_last_5m": None,
        "uptime_last_30m": None,
        "uptime_last_1d": None,
        "latency_last_30m": None,
        "throughput_last_30m": None,
        "tool_call_success_last_2h": None,
    }
    health, now_s = noted(WELL, ILL)
    seen = health.snapshot_for(ONE.key, now_s + 1_000, "alpha")
    assert seen["latency_last_30m"] == {"p50": 500, "p75": 500, "p90": 500, "p99": 500}
    assert seen["throughput_last_30m"] == {"p50": 50, "p75": 50, "p90": 50, "p99": 50}
    assert (seen["status"], health.snapshot_for(ONE.key, now_s, "alpha")["status"]) == (0, -2)


def test_memory_is_bounded_by_samples_and_by_endpoints(monkeypatch) -> None:
    monkeypatch.setattr(module, "RECORDS_MAX", 3)
    health = Health()
    for n in range(10):
        health.note(endpoint(f"p{n}"), WELL, NOW)
    for _ in range(1_000):
        health.note(endpoint("p9"), WELL, NOW)
    known = [n for n in range(10) if health.latency(f"acme/one@p{n}", NOW)]
    assert known == [7, 8, 9]
    assert len(health._records["acme/one@p9"].latency.value) == module.SAMPLES


def test_the_ring_keeps_the_latest_samples() -> None:
    health = Health()
    for _ in range(module.SAMPLES):
        health.note(ONE, Outcome.answered(1.0, 1, 1.0), NOW)
    for n in range(module.SAMPLES):
        health.note(ONE, Outcome.answered(2.0, 1, 1.0), NOW + n / 1_000)
    assert health.latency(ONE.key, NOW + 1) == {"p50": 2, "p75": 2, "p90": 2, "p99": 2}
