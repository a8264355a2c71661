"""Limits on waiting calls, driven by a simulated clock."""

from random import Random

import pytest
from routing_builders import NOW, endpoint, offered, planned, request, tags

from tollway.routing.concurrency import (
    LIMIT_MIN,
    LIMIT_START,
    TOLERANCE_STREAMED,
    Concurrency,
    Limit,
)
from tollway.routing.health import RESTING, STABLE, Health

ONE = endpoint("alpha")
SEED = 20_261


def served(
    limit: Limit, ttft_s: float, seconds: float, now_s: float, *, rate: float = 100.0
) -> float:
    """First tokens that come after `ttft_s` while as many calls wait as the limit lets, at most
    what is offered."""
    step_s, owed = 0.1, 0.0
    for _ in range(int(seconds / step_s)):
        now_s += step_s
        while limit.waiting < min(int(limit.limit), int(rate * ttft_s) + 1):
            limit.began()
        owed += limit.waiting * step_s / ttft_s
        for _ in range(int(owed)):
            limit.spoke(ttft_s, now_s, 0.5)
            limit.over()
            limit.began()
        owed -= int(owed)
    return now_s


def test_an_unused_limit_stays_where_it_began() -> None:
    limit = Limit(TOLERANCE_STREAMED)
    served(limit, 0.5, 60, NOW, rate=4)
    assert limit.limit == LIMIT_START


def test_a_limit_that_is_used_grows_while_the_first_token_stays_quick() -> None:
    limit = Limit(TOLERANCE_STREAMED)
    served(limit, 0.5, 60, NOW, rate=400)
    assert 200 <= limit.limit <= 450


def test_a_limit_shrinks_when_the_first_token_becomes_slow() -> None:
    limit = Limit(TOLERANCE_STREAMED)
    now_s = served(limit, 0.5, 60, NOW, rate=400)
    served(limit, 10.0, 120, now_s, rate=400)
    assert LIMIT_MIN <= limit.limit <= 6


def test_twice_as_slow_is_no_load_yet() -> None:
    limit = Limit(TOLERANCE_STREAMED)
    now_s = served(limit, 0.5, 30, NOW, rate=100)
    before = limit.limit
    served(limit, 0.99, 30, now_s, rate=100)
    assert limit.limit >= before


def test_differences_below_a_tenth_of_a_second_are_noise() -> None:
    limit = Limit(TOLERANCE_STREAMED)
    now_s = served(limit, 0.002, 30, NOW, rate=100)
    served(limit, 0.09, 30, now_s, rate=100)
    assert limit.limit == LIMIT_START


def test_what_stays_slow_becomes_the_normal_after_twenty_minutes() -> None:
    limit = Limit(TOLERANCE_STREAMED)
    now_s = served(limit, 0.5, 30, NOW, rate=100)
    now_s = served(limit, 5.0, 120, now_s, rate=100)
    slow = limit.limit
    served(limit, 5.0, 1_500, now_s, rate=100)
    assert slow < 10 < 60 < limit.limit


def test_the_lowest_time_is_remembered_for_ten_minutes_whenever_it_became_slow() -> None:
    """The new measure begins ten minutes after the first: the old one still counts then."""
    limit = Limit(TOLERANCE_STREAMED)
    now_s = served(limit, 0.5, 580, NOW, rate=100)
    served(limit, 5.0, 400, now_s, rate=100)
    assert limit.limit < 10


def test_an_endpoint_at_its_limit_ranks_behind_until_one_has_spoken() -> None:
    health = Health()
    for _ in range(int(LIMIT_START)):
        health.began(ONE, NOW, streamed=True)
    assert health.rank(ONE.key, "alpha", NOW) == RESTING
    assert health.troubled(NOW)
    health.waited(ONE, 0.3, NOW, streamed=True, jitter=0.5)
    assert health.rank(ONE.key, "alpha", NOW) == STABLE
    assert not health.troubled(NOW)


def test_at_its_limit_it_is_behind_others_but_not_refused() -> None:
    alpha, beta = offered("alpha", dollars=1), offered("beta", dollars=5)
    health = Health()
    for _ in range(40):
        health.began(alpha.endpoint, NOW, streamed=True)
    asked = request(sort="price")
    assert tags(planned(asked, alpha, beta, health=health)) == ["beta", "alpha"]
    assert tags(planned(asked, alpha, health=health)) == ["alpha"]
    named = request(order=("alpha",))
    assert tags(planned(named, alpha, beta, health=health)) == ["alpha", "beta"]


def test_whole_answers_and_streams_have_limits_of_their_own() -> None:
    health = Health()
    for n in range(int(LIMIT_START)):
        health.began(ONE, NOW, streamed=bool(n % 2))
    assert health.rank(ONE.key, "alpha", NOW) == STABLE
    assert health.waiting(ONE.key) == LIMIT_START


def test_a_wait_without_a_first_token_is_over_but_no_sample() -> None:
    limits = Concurrency(10)
    for n in range(100):
        limits.began("k", True)
        limits.over("k", True, None, NOW + n, 0.5)
    assert (limits.waiting("k"), limits.full) == (0, set())


def test_an_endpoint_is_full_while_either_of_its_limits_is() -> None:
    random, limits, now_s = Random(SEED), Concurrency(10), NOW
    waits = {False: 0, True: 0}
    seen = set()
    for _ in range(20_000):
        now_s += random.random() / 20
        streamed = random.random() < 0.5
        if random.random() < 0.505 or not waits[streamed]:
            limits.began("k", streamed)
            waits[streamed] += 1
        else:
            spoke_s = random.choice((None, 0.2, 0.2, 3.0))
            limits.over("k", streamed, spoke_s, now_s, 0.5)
            waits[streamed] -= 1
        full = tuple(limit.full for limit in limits._limits["k"])
        assert ("k" in limits.full) == any(full)
        seen.add(full)
    assert len(seen) == 4, "one of the four was never seen"


def test_limits_are_bounded_by_dropping_idle_ones() -> None:
    limits = Concurrency(3)
    limits.began("busy", True)
    for n in range(20):
        limits.began(f"k{n}", True)
        limits.over(f"k{n}", True, 0.1, NOW, 0.5)
    assert len(limits._limits) == 3
    assert limits.waiting("busy") == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_a_provider_twenty_times_slower_does_not_collect_the_callers(streamed) -> None:
    """100 calls a second for two endpoints, the cheap one first; from minute one it is 20 times
    slower. Without a limit a thousand calls would wait there."""
    random = Random(SEED)
    alpha, beta = offered("alpha", dollars=1), offered("beta", dollars=2)
    health, asked = Health(), request(sort="price")
    running: list[tuple[float, float, str]] = []
    most = {"before": 0, "after": 0, "late": 0}
    slow_from = NOW + 60
    for tick in range(2_400):
        now_s = NOW + tick * 0.1
        for item in [r for r in running if r[0] <= now_s]:
            running.remove(item)
            chosen = alpha if item[2] == "alpha" else beta
            health.waited(
                chosen.endpoint, item[0] - item[1], now_s, streamed=streamed, jitter=random.random()
            )
        for _ in range(10):
            first = tags(planned(asked, alpha, beta, health=health, now_s=now_s))[0]
            chosen = alpha if first == "alpha" else beta
            ttft_s = (0.4 + 0.4 * random.random()) * (
                20 if first == "alpha" and now_s >= slow_from else 1
            )
            health.began(chosen.endpoint, now_s, streamed=streamed)
            running.append((now_s + ttft_s, now_s, first))
        when = "before" if now_s < slow_from else "after" if now_s < slow_from + 60 else "late"
        most[when] = max(most[when], health.waiting(alpha.endpoint.key))
    print(f"seed {SEED}: waiting at the slow one {most}")
    assert 40 <= most["before"] <= 140
    assert most["after"] <= 3 * most["before"]  # a limit is at most about twice what was used
    assert most["late"] <= 12
