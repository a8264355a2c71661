"""Free: when what is free is used up, the rest of the plan is what it is without it."""

from routing_builders import offered, planned, provider, request

from tollway.canon import HedgeWish
from tollway.ledger.entries import Exhausted
from tollway.money import Price, Rates
from tollway.routing.free import FreeLimits, day_and_minute, free_counts, paid_only

NOTHING = Price(Rates(prompt=0, completion=0))
USED_UP = Exhausted("free", "minute", 20, 0)


def test_a_race_that_was_planned_between_others_is_not_run() -> None:
    shared = {t: provider(t, base_url=f"https://{t}.example") for t in ("free", "spare", "paid")}
    shared["dear"] = provider("dear", cancels=False)
    offers = [
        offered("free", by=shared["free"], price=NOTHING),
        offered("spare", by=shared["spare"], price=NOTHING),
        offered("paid", by=shared["paid"], dollars=1.0),
        offered("dear", by=shared["dear"], dollars=2.0),
    ]
    plan = planned(request(hedge=HedgeWish(0.5), sort="price", output_tokens_max=9), *offers)
    assert plan.hedge is not None
    left = paid_only(plan, USED_UP)
    assert left is not None
    assert [a.endpoint.tag for a in left.attempts] == ["paid"]
    assert (left.hedge, left.reserved_nano) == (None, 0)
    assert {d.tag for d in left.drops if d.reason == "free_limit"} == {"free", "spare"}
    assert paid_only(plan, None) is None


def test_a_request_counts_once_when_it_first_comes_to_a_free_endpoint() -> None:
    makes = {t: provider(t, base_url=f"https://{t}.example") for t in ("paid", "free", "spare")}
    asked = request(order=("paid", "free", "spare"))
    offers = [
        offered("paid", by=makes["paid"]),
        offered("free", by=makes["free"], price=NOTHING),
        offered("spare", by=makes["spare"], price=NOTHING),
    ]
    paid, free, spare = planned(asked, *offers).attempts
    limits = FreeLimits()
    once = day_and_minute("ws", limits)
    assert free_counts(paid, (), "ws", limits) == ()
    assert free_counts(free, (), "ws", limits) == once
    assert free_counts(free, (paid, paid), "ws", limits) == once
    assert free_counts(spare, (paid, free), "ws", limits) == ()
    assert free_counts(free, (paid, free), "ws", limits) == ()
    assert free_counts(paid, (free,), "ws", limits) == ()
    assert free_counts(free, (paid,), "ws", None) == ()
