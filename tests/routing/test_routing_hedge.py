"""Hedge: a second endpoint only on demand, in time, within its cost, and where losing is cheap."""

from typing import Any

import msgspec
import pytest
from routing_builders import NOW, endpoint, model, offered, planned, provider, request

from tollway.canon import HedgeWish
from tollway.money import charge_nano
from tollway.routing.entries import Plan, Policy
from tollway.routing.health import Health, Outcome

AFTER_2_S = HedgeWish(after_s=2.0)


def hedged(wish: HedgeWish | None = AFTER_2_S, **more: Any) -> Plan:
    asked = request(hedge=wish, sort="price", prompt_bytes=1_000, output_tokens_max=10)
    return planned(asked, offered("alpha"), offered("beta", dollars=2.0), **more)


def said(plan: Plan) -> str:
    (note,) = plan.pipeline
    assert (note["name"], note["data"]["hedged"]) == ("hedge", plan.hedge is not None)
    summary: str = note["summary"]
    return summary


def test_nobody_is_hedged_unasked() -> None:
    plan = hedged(None)
    assert (plan.hedge, plan.pipeline, plan.reserved_nano) == (None, (), 0)


def test_what_the_loser_may_cost_is_held_beside_the_dearest_attempt() -> None:
    plan, without = hedged(), hedged(None)
    dearest_input = charge_nano(plan.attempts[1].fixed_pico)
    assert plan.hedge is not None
    assert (plan.hedge.after_s, plan.hedge.reserve_nano) == (2.0, dearest_input)
    assert plan.wanted_nano == without.wanted_nano + dearest_input
    assert plan.least_nano == without.least_nano, "a race is a wish, not a condition"
    enough = plan.least_nano + dearest_input
    assert plan.granted(enough) is plan
    assert plan.granted(enough - 1) == msgspec.structs.replace(plan, hedge=None)
    assert said(plan) == "a second endpoint is asked after 2 s of silence"


def test_the_margin_is_part_of_what_is_held() -> None:
    policy = Policy(margin_ppm=100_000)
    plan = hedged(policy=policy)
    assert plan.hedge is not None
    assert plan.hedge.reserve_nano == charge_nano(plan.attempts[1].fixed_pico, 100_000)


@pytest.mark.parametrize(("cap", "allowed"), [(0, False), (1, True)])
def test_max_cost_bounds_it(cap: int, allowed: bool) -> None:
    plan = hedged()
    assert plan.hedge is not None
    most = plan.hedge.reserve_nano - 1 + cap
    again = hedged(HedgeWish(2.0, max_cost_nano=most))
    assert (again.hedge is not None) is allowed
    if not allowed:
        assert "above max_cost" in said(again)


def test_the_95th_percentile_of_the_first_endpoint_decides_when_nothing_else_is_said() -> None:
    health, wish = Health(), HedgeWish(None)
    for n in range(19):
        health.note(endpoint("alpha"), Outcome.answered(0.1 * (n + 1), 1, 5.0), NOW)
    assert "not been measured" in said(hedged(wish, health=health))
    health.note(endpoint("alpha"), Outcome.answered(2.0, 1, 5.0), NOW)
    plan = hedged(wish, health=health)
    assert plan.hedge is not None
    assert plan.hedge.after_s == pytest.approx(1.9)
    assert "not been measured" in said(hedged(wish, health=health, now_s=NOW + 301))


def test_one_endpoint_has_nobody_beside_it() -> None:
    plan = planned(request(hedge=AFTER_2_S), offered("alpha"))
    assert plan.hedge is None
    assert "no second endpoint" in said(plan)


def test_another_model_is_asked_only_where_all_models_are_one_order() -> None:
    other = model("acme/two")
    asked = request("acme/one", "acme/two", hedge=AFTER_2_S)
    assert planned(asked, offered("alpha"), offered("beta", of=other)).hedge is None
    mixed = request("acme/one", "acme/two", hedge=AFTER_2_S, sort="price", partition="none")
    assert planned(mixed, offered("alpha"), offered("beta", of=other)).hedge is not None


@pytest.mark.parametrize(("prices", "raced"), [((1, 0), False), ((0, 1), True), ((0, 0), True)])
def test_what_is_given_away_is_no_spare_for_what_is_paid(
    prices: tuple[int, int], raced: bool
) -> None:
    offers = [
        offered(tag, by=provider(tag, base_url=f"https://{tag}.example"), dollars=price)
        for tag, price in zip(("alpha", "beta"), prices, strict=True)
    ]
    plan = planned(request(hedge=AFTER_2_S, order=("alpha", "beta")), *offers)
    assert (plan.hedge is not None) is raced
    if not raced:
        assert said(plan).startswith("not hedged: Beta gives it away")


@pytest.mark.parametrize("tag", ["alpha", "beta"])
def test_a_provider_that_bills_what_is_cancelled_takes_no_part(tag: str) -> None:
    makes = {t: provider(t, cancels=t != tag) for t in ("alpha", "beta")}
    asked = request(hedge=AFTER_2_S, sort="price")
    plan = planned(asked, offered("alpha", by=makes["alpha"]), offered("beta", by=makes["beta"]))
    assert plan.hedge is None
    assert said(plan).startswith(f"not hedged: {tag.title()} bills an answer whole")
