"""Sticky: a conversation goes where its cache is warm, and stays where its state can be read."""

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from routing_builders import NOW, endpoint, model, offered, request, tags

from tollway.canon import Fault
from tollway.routing.entries import Bonds, Policy, Stuck
from tollway.routing.health import Health, Outcome
from tollway.routing.plan import plan
from tollway.routing.sticky import IDLE_S, Sticky, pins, sticks

KEY = ("default", "acme/one", "session:1")
BETA = Stuck("acme/one@beta", "beta")
PINNED = Stuck("acme/one@beta", "beta", pinned=True)


def test_after_nine_minutes_fifty_nine_it_stays_and_after_ten_minutes_one_it_may_move() -> None:
    table = Sticky()
    table.keep(KEY, BETA, NOW)
    assert table.find(KEY, NOW + 9 * 60 + 59) == BETA
    assert table.find(KEY, NOW + 10 * 60 + 1) is None
    assert len(table) == 0


def test_each_success_renews_it_and_looking_does_not() -> None:
    table = Sticky()
    table.keep(KEY, BETA, NOW)
    table.find(KEY, NOW + 500)
    assert table.find(KEY, NOW + IDLE_S) is None
    table.keep(KEY, BETA, NOW)
    table.keep(KEY, BETA, NOW + 500)
    assert table.find(KEY, NOW + 500 + IDLE_S - 1) == BETA


def test_it_lasts_as_long_as_the_cache_that_was_asked_for() -> None:
    table = Sticky()
    table.keep(KEY, BETA, NOW, 3_600)
    assert table.find(KEY, NOW + 3_599) == BETA
    assert table.find(KEY, NOW + 3_600) is None


def test_a_later_turn_that_asks_for_less_does_not_cut_the_longer_lifetime_short() -> None:
    table = Sticky()
    table.keep(KEY, BETA, NOW, 3_600)
    table.keep(KEY, BETA, NOW + 60)
    assert table.find(KEY, NOW + 3_599) == BETA
    moved = Stuck("acme/one@alpha")
    table.keep(KEY, moved, NOW + 120)
    assert table.find(KEY, NOW + 120 + IDLE_S) is None, "the new endpoint never had that cache"


def test_the_conversation_silent_longest_is_forgotten_first() -> None:
    table = Sticky(most=2)
    for n in range(3):
        table.keep(("w", "m", str(n)), BETA, NOW + n)
        table.keep(("w", "m", "0"), BETA, NOW + n)
    assert table.find(("w", "m", "0"), NOW + 3) == BETA
    assert table.find(("w", "m", "1"), NOW + 3) is None


@dataclass(frozen=True)
class Case:
    named: bool = False
    hit: bool = False
    cheaper: bool = True
    before: Stuck | None = None
    leaves: Stuck | None = None


CASES = (
    Case(),
    Case(hit=True, leaves=BETA),
    Case(named=True, leaves=BETA),
    Case(hit=True, named=True, cheaper=False),
    Case(before=BETA, leaves=BETA),
    Case(before=Stuck("acme/one@alpha", "alpha")),
    Case(before=Stuck("acme/one@alpha", "alpha"), hit=True, leaves=BETA),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_success_leaves_behind_of_its_cache(case: Case) -> None:
    left = sticks(
        case.before, endpoint("beta"), named=case.named, hit=case.hit, cheaper=case.cheaper
    )
    assert left == case.leaves


ELSEWHERE = Stuck("acme/one@alpha", "alpha", pinned=True)


def test_state_stays_with_who_made_it_until_another_makes_some() -> None:
    assert pins(None, endpoint("beta"), opaque=False) is None
    assert pins(None, endpoint("beta"), opaque=True) == PINNED
    assert pins(PINNED, endpoint("beta"), opaque=False) == PINNED
    assert pins(ELSEWHERE, endpoint("beta"), opaque=False) is None, "not renewed, not moved"
    assert pins(ELSEWHERE, endpoint("beta"), opaque=True) == PINNED


def test_a_conversation_is_parted_from_its_state_at_any_other_provider() -> None:
    assert Bonds(pin=PINNED).parts("alpha")
    assert not Bonds(pin=PINNED).parts("beta")
    assert not Bonds({"acme/one": BETA}).parts("alpha"), "a cache is no state"


def test_each_model_of_a_list_has_its_own_warm_endpoint_and_a_pin_counts_first() -> None:
    other = offered("gamma", of=model("acme/two"))
    warm = {"acme/two": Stuck("acme/two@gamma", "gamma")}
    assert Bonds(warm).of([CHEAP, DEAR]) is None
    assert Bonds(warm).of([other]) == warm["acme/two"]
    assert Bonds(warm, PINNED).of([other]) == warm["acme/two"], "the pin is not among them"
    assert Bonds({"acme/one": ELSEWHERE}, PINNED).of([CHEAP, DEAR]) == PINNED


# ---- in a plan -----------------------------------------------------------------------------------

CHEAP, DEAR = offered("alpha", dollars=1.0), offered("beta", dollars=30.0)
DOWN = Fault(503, "provider_unavailable", "down")


def first(stuck: Stuck | None, health: Health | None = None, **wishes: Any) -> list[str]:
    asked = request(**wishes)
    bonds = Bonds()
    if stuck is not None:
        bonds = Bonds(pin=stuck) if stuck.pinned else Bonds({"acme/one": stuck})
    made = plan(
        asked,
        {"acme/one": [CHEAP, DEAR]},
        health or Health(),
        Policy(),
        now_s=NOW,
        random=Random(1),
        bonds=bonds,
    )
    assert made.bonds == bonds
    return tags(made)


def test_a_warm_cache_goes_before_price_and_before_a_sort() -> None:
    assert all(first(BETA) == ["beta", "alpha"] for _ in range(20))
    assert first(BETA, sort="price") == ["beta", "alpha"]
    assert first(None, sort="price") == ["alpha", "beta"]


def test_an_order_of_the_caller_goes_before_a_warm_cache() -> None:
    assert first(BETA, order=("alpha", "beta")) == ["alpha", "beta"]


def test_an_endpoint_in_trouble_is_left_and_the_others_answer() -> None:
    health = Health()
    health.note(endpoint("beta"), Outcome.failed(DOWN), NOW)
    assert first(BETA, health) == ["alpha", "beta"]
    assert first(PINNED, health) == ["alpha", "beta"]


def test_a_cut_off_goes_before_a_warm_cache_and_behind_state_that_one_endpoint_can_read() -> None:
    health = Health()
    for tag, latency_s in (("alpha", 0.1), ("beta", 9.0)):
        health.note(endpoint(tag), Outcome.answered(latency_s, 10, latency_s), NOW)
    quick = {"p50": 1.0}
    assert first(BETA, health, preferred_max_latency=quick) == ["alpha", "beta"]
    assert first(PINNED, health, preferred_max_latency=quick) == ["beta", "alpha"]


def test_a_conversation_whose_endpoint_is_not_offered_any_more_is_routed_as_any_other() -> None:
    assert first(Stuck("acme/one@gone"), sort="price") == ["alpha", "beta"]
    assert first(Stuck("acme/one@gone", pinned=True), sort="price") == ["alpha", "beta"]
