"""Quality tiers: seeded series, the floors of data, the bar that the bad ones do not move."""

from random import Random

import pytest
from routing_builders import NOW, offered, planned, request, tags

from tollway.routing.health import Health, Outcome
from tollway.routing.quality import (
    CALLS_MIN,
    GOOD,
    POOR,
    TOOL_CALLS_MIN,
    UNKNOWN,
    Benchmark,
    Measured,
    fell,
    tiers,
)

SEED = 77
TOOLS = frozenset({"tools"})


def seen(
    provider: str,
    throughput: float = 100.0,
    valid: float = 0.98,
    calls: int = CALLS_MIN,
    answers: int = TOOL_CALLS_MIN,
    **facts,
) -> Measured:
    return Measured(provider, throughput, calls, valid, answers, **facts)


def test_alike_is_good() -> None:
    assert tiers([seen(p) for p in "abcd"]) == [GOOD] * 4


def test_three_providers_are_too_few_to_compare() -> None:
    assert tiers([seen("a"), seen("b"), seen("c", 1.0)]) is None
    assert tiers([seen("a"), seen("b"), seen("c"), seen("c", 1.0)]) is None


@pytest.mark.parametrize(("calls", "tier"), [(CALLS_MIN, POOR), (CALLS_MIN - 1, UNKNOWN)])
def test_slow_counts_from_a_hundred_calls_of_half_an_hour(calls, tier) -> None:
    rows = [*(seen(p) for p in "abcd"), seen("e", 20.0, calls=calls)]
    assert tiers(rows) == [GOOD] * 4 + [tier]


@pytest.mark.parametrize(
    ("answers", "tier"), [(TOOL_CALLS_MIN, POOR), (TOOL_CALLS_MIN - 1, UNKNOWN)]
)
def test_wrong_calls_count_from_two_hundred_answers_of_two_hours(answers, tier) -> None:
    rows = [*(seen(p) for p in "abcd"), seen("e", valid=0.5, answers=answers)]
    assert tiers(rows) == [GOOD] * 4 + [tier]


def test_the_bar_is_the_median_minus_so_many_sigmas_of_the_median_deviation() -> None:
    # median 100, deviations 0 10 10 20 20 → 10, sigma 14.826, bar 77.761
    speeds = [80.0, 90.0, 100.0, 110.0, 120.0]
    rows = [seen(p, s) for p, s in zip("abcde", speeds, strict=True)]
    assert tiers(rows) == [GOOD] * 5
    # 77 in the place of 80: deviations 0 10 10 20 23, the same bar
    assert tiers([seen("a", 77.0), *rows[1:]]) == [POOR, GOOD, GOOD, GOOD, GOOD]
    assert tiers([seen("a", 78.0), *rows[1:]]) == [GOOD] * 5


def test_a_hundredth_below_the_others_is_noise() -> None:
    # the spread is nothing, so the smallest sigma stands: 10 % of the median and one point
    rows = [seen(p) for p in "abcd"]
    assert tiers([*rows, seen("e", 86.0, 0.961)])[-1] == GOOD
    assert tiers([*rows, seen("e", 84.0)])[-1] == POOR
    assert tiers([*rows, seen("e", valid=0.959)])[-1] == POOR


def test_one_that_is_very_bad_does_not_excuse_one_that_is_bad() -> None:
    """By mean and standard deviation the 0 would hide the 40; by the median it does not."""
    rows = [seen(p, s) for p, s in zip("abcdefg", [100, 101, 99, 102, 98, 40, 0.1], strict=True)]
    assert tiers(rows) == [GOOD] * 5 + [POOR, POOR]


def test_in_seeded_series_the_planted_are_found_and_few_others() -> None:
    random, found, wrong, honest = Random(SEED), 0, 0, 0
    for _ in range(500):
        rows = [
            seen(
                f"p{n}",
                random.gauss(100, 8),
                sum(random.random() < 0.97 for _ in range(400)) / 400,
            )
            for n in range(9)
        ]
        rows.append(seen("slow", random.gauss(50, 5)))
        rows.append(seen("wrong", valid=sum(random.random() < 0.85 for _ in range(400)) / 400))
        made = tiers(rows)
        assert made is not None
        found += made[-2:] == [POOR, POOR]
        wrong += made[:9].count(POOR)
        honest += 9
    print(
        f"seed {SEED}: both planted found in {found} of 500; {wrong} of {honest} honest ones moved"
    )
    assert found >= 495
    assert wrong / honest < 0.16  # 1.5 sigmas one-sided are 7 %, two more 2 %; few peers add


def test_a_signal_that_nobody_has_data_for_is_silent() -> None:
    rows = [Measured(p, 100.0, CALLS_MIN) for p in "abcd"]
    assert tiers(rows) == [GOOD] * 4
    assert tiers([Measured(p) for p in "abcdef"]) is None
    assert tiers([*rows, Measured("e")]) == [GOOD] * 4 + [UNKNOWN]


def score(**facts) -> Benchmark:
    defaults = {
        "name": "gpqa_diamond",
        "score": 0.6,
        "baseline_median": 0.7,
        "baseline_sigma": 0.02,
        "questions": 50,
    }
    return Benchmark(**{**defaults, **facts})


@pytest.mark.parametrize(
    ("facts", "is_below"),
    [
        ({}, True),
        ({"score": 0.67}, False),
        ({"score": 0.65}, True),
        ({"questions": 49}, False),
        ({"name": "tau2_airline", "questions": 45}, True),
        ({"name": "tau2_airline", "questions": 44}, False),
        ({"name": "another", "questions": 49}, False),
    ],
)
def test_a_benchmark_counts_two_sigmas_below_its_first_days(facts, is_below) -> None:
    assert fell(score(**facts)) is is_below


def test_a_benchmark_counts_without_any_live_signal() -> None:
    rows = [Measured(p) for p in "abc"] + [Measured("d", benchmarks=(score(),))]
    assert tiers(rows) == [GOOD, GOOD, GOOD, POOR]


# ---- in a plan -----------------------------------------------------------------------------------

OFFERS = [offered(tag, dollars=d) for tag, d in zip("abcde", (1, 2, 3, 4, 5), strict=True)]


def measured_health(bad: str = "a") -> Health:
    health = Health()
    for offer in OFFERS:
        for n in range(TOOL_CALLS_MIN):
            at = NOW - 200 + n / 2
            health.note(offer.endpoint, Outcome.answered(0.1, 100, 1.0), at)
            health.note_tools(offer.endpoint, offer.endpoint.tag != bad or n % 2 == 0, at)
    return health


def last_of(asked, health: Health) -> set[str]:
    """Who comes last over many draws."""
    draws = [planned(asked, *OFFERS, health=health, seed=n) for n in range(40)]
    return {([a.endpoint.tag for a in d.attempts] + [x.tag for x in d.drops])[-1] for d in draws}


def test_requests_with_tools_find_who_calls_them_badly_behind() -> None:
    health = measured_health()
    assert last_of(request(params=TOOLS), health) == {"a"}
    assert "a" not in last_of(request(), health)  # the cheapest, where no tools are called
    assert last_of(request(sort="exacto"), health) == {"a"}


@pytest.mark.parametrize("wishes", [{"sort": "price"}, {"order": ("a",)}, {"sort": "latency"}])
def test_a_sort_or_an_order_beats_quality(wishes) -> None:
    made = planned(request(params=TOOLS, **wishes), *OFFERS, health=measured_health())
    assert tags(made)[0] == "a"


def test_within_a_tier_the_draw_is_weighted_by_price() -> None:
    health = measured_health()
    firsts = [
        tags(planned(request(params=TOOLS), *OFFERS, health=health, seed=n))[0]
        for n in range(2_000)
    ]
    weights = {tag: 1 / d**2 for tag, d in zip("bcde", (2, 3, 4, 5), strict=True)}
    for tag, weight in weights.items():
        expected = weight / sum(weights.values())
        assert firsts.count(tag) / 2_000 == pytest.approx(expected, abs=0.04)


def test_the_tiers_of_a_model_are_looked_at_once_a_second(monkeypatch) -> None:
    looked = []
    monkeypatch.setattr("tollway.routing.health.tiers", lambda rows: looked.append(len(rows)))
    health = measured_health()
    for n in range(10):
        planned(request(params=TOOLS), *OFFERS, health=health, now_s=NOW + n * 0.25)
    assert looked == [5, 5, 5]
