"""Explain: a plan in words that a caller can read, before and after it was carried out.

Pure. `metadata` is OpenRouter's `openrouter_metadata` (with our own part beside it for those who
ask for that), `explained` is the answer of the route that plans without sending.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..canon import Fault
from ..money import usd_from_nano, usd_text
from .entries import Attempt, Drop, Plan
from .refusal import EXCLUDED_BY

Told = Literal["openrouter", "tollway"]
"""How much is told: OpenRouter's object, or ours inside it as well."""


PRICE_WEIGHTED = "price_weighted"
"""The sort of a plan that has none: a draw weighted by price."""


def metadata(
    told: Told,
    plan: Plan,
    faults: Sequence[tuple[Attempt, Fault]],
    chosen: Attempt | None,
    took_ms: int,
    dropped: Sequence[str] = (),
    done: Sequence[dict[str, Any]] = (),
    *,
    broke: bool = False,
) -> dict[str, Any]:
    """`{"openrouter_metadata": …}` of a request that was tried. `chosen`: the attempt that answers,
    None when none did. `took_ms`: from the request's start until now. `dropped`: what the chosen
    one's dialect could not carry of the request; `done`: what was done to its answer; `broke`: that
    broke off after it had begun, so it stands among the faults and did not answer."""
    tried = [
        {"provider": a.provider.name, "model": a.model.id, "status": f.status} for a, f in faults
    ]
    if chosen is not None and not broke:
        tried.append({"provider": chosen.provider.name, "model": chosen.model.id, "status": 200})
    found: dict[str, Any] = {
        "requested": plan.requested[0],
        "strategy": plan.strategy,
        "region": None if chosen is None else chosen.endpoint.region,
        "summary": _summary(plan, chosen, len(tried)),
        "attempt": len(tried),
        "is_byok": False,
        "endpoints": {
            "total": len(plan.attempts) + sum(drop.tag is not None for drop in plan.drops),
            "available": [
                {"provider": a.provider.name, "model": a.model.id, "selected": a is chosen}
                for a in plan.attempts
            ],
        },
        "attempts": tried,
        "params": {},
        "generation_time": took_ms,
        "pipeline": [*plan.pipeline, *done],
    }
    if told == "tollway":
        found["tollway"] = {**decided(plan), "dropped": list(dropped)}
    return {"openrouter_metadata": found}


def decided(plan: Plan) -> dict[str, Any]:
    """What was decided and why: order, ceilings, drops."""
    return {
        "order": [_attempt(each) for each in plan.attempts],
        "sort": plan.sort or PRICE_WEIGHTED,
        "sticky": None
        if plan.stuck is None
        else {"endpoint": plan.stuck.endpoint, "pinned": plan.stuck.pinned},
        "hedge": None
        if plan.hedge is None
        else {
            "after_s": plan.hedge.after_s,
            "reserve_usd": usd_from_nano(plan.hedge.reserve_nano),
        },
        "drops": [drop_view(drop) for drop in plan.drops],
        "price_ceiling_usd": usd_from_nano(plan.wanted_nano),
        "price_least_usd": usd_from_nano(plan.least_nano),
    }


def explained(plan: Plan) -> dict[str, Any]:
    """The plan of a request that was not sent."""
    return {
        "requested": list(plan.requested),
        "strategy": plan.strategy,
        "pipeline": list(plan.pipeline),
        **decided(plan),
    }


def _attempt(each: Attempt) -> dict[str, Any]:
    base = each.endpoint.price.base
    return {
        "model": each.model.id,
        "provider": each.provider.name,
        "endpoint": each.endpoint.key,
        "tag": each.endpoint.tag,
        "dialect": each.endpoint.dialect,
        "region": each.endpoint.region,
        "quantization": each.endpoint.quantization,
        "service_tier": each.endpoint.service_tier,
        "pricing": {
            name: usd_text(rate)
            for name, rate in (("prompt", base.prompt), ("completion", base.completion))
            if rate is not None
        },
        "output_tokens_max": each.output_tokens_wanted,
        "dropped_params": list(each.dropped_params),
    }


def drop_view(drop: Drop) -> dict[str, Any]:
    """What was left out, with OpenRouter's name of the reason where it has one."""
    said = {"reason": drop.reason, "model": drop.model, "provider": drop.provider, "tag": drop.tag}
    if drop.detail is not None:
        said["detail"] = drop.detail
    if drop.reason in EXCLUDED_BY:
        said["excluded_by"] = EXCLUDED_BY[drop.reason]
    return said


def _summary(plan: Plan, chosen: Attempt | None, tried: int) -> str:
    """One line: `available=3, dropped=2, attempt=1, selected=Groq`."""
    selected = "none" if chosen is None else chosen.provider.name
    return (
        f"available={len(plan.attempts)}, dropped={len(plan.drops)}, attempt={tried}, "
        f"selected={selected}"
    )
