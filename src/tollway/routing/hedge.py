"""Hedge: whether a second endpoint is asked when the first is silent, after how long, at what cost.

Pure. Off unless the caller asks (`provider.hedge`): it costs money. Not here: running two calls
(`tollway.hedging`), what the loser is charged (`receipt`).

Rules. At most one further endpoint, of the same model unless the caller put all models into one
order. What is given away in limited number is no spare for what is paid. Both must stop, and stop
billing, when they are hung up on: the cost of the one that loses is then its input, which is known
before it is sent, held, and bounded by `max_cost`.
"""

from __future__ import annotations

from typing import Any

from ..canon import HedgeWish
from ..money import charge_nano, usd_text_nano
from .entries import Attempt, Hedge, Policy
from .free import shared
from .health import Health

HEDGES_PERCENT = 5
"""Of the requests begun: what every caller does at once must not double the load of a provider."""
HEDGES_FLOOR = 10
"""…and this many in ten seconds whatever the traffic, so that a small server may hedge at all."""


def hedge(
    wish: HedgeWish,
    attempts: list[Attempt],
    health: Health,
    policy: Policy,
    now_s: float,
    *,
    any_model: bool,
) -> tuple[Hedge | None, dict[str, Any]]:
    """What is hedged, and the note that says so or why not."""
    chosen: Hedge | None = None
    why = _obstacle(attempts, any_model)
    if why is None:
        after_s = wish.after_s
        if after_s is None:
            after_s = health.p95_latency(attempts[0].endpoint.key, now_s)
        reserve_nano = max(charge_nano(each.fixed_pico, policy.margin_ppm) for each in attempts[:2])
        if after_s is None:
            why = "the first endpoint has not been measured often enough to have a 95th percentile"
        elif wish.max_cost_nano is not None and reserve_nano > wish.max_cost_nano:
            why = f"the one that loses may cost {usd_text_nano(reserve_nano)} USD, above max_cost"
        else:
            chosen = Hedge(after_s, reserve_nano)
    said = (
        f"not hedged: {why}"
        if chosen is None
        else f"a second endpoint is asked after {chosen.after_s:g} s of silence"
    )
    data: dict[str, Any] = {"hedged": chosen is not None}
    if chosen is not None:
        data["after_s"] = chosen.after_s
        data["reserve_usd"] = usd_text_nano(chosen.reserve_nano)
    return chosen, {"type": "plugin", "name": "hedge", "summary": said, "data": data}


def _obstacle(attempts: list[Attempt], any_model: bool) -> str | None:
    if len(attempts) < 2 or not (any_model or attempts[0].model.id == attempts[1].model.id):
        return "no second endpoint can serve the request"
    if shared(attempts[1]) and not shared(attempts[0]):
        return f"{attempts[1].provider.name} gives it away, and is asked when the first has failed"
    for each in attempts[:2]:
        if not each.provider.cancels:
            return f"{each.provider.name} bills an answer whole even when it is cancelled"
    return None
