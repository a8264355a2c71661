"""Plan: which endpoints are tried for a request, in which order, and what that can cost.

Pure: offers, health, time and randomness come in, a `Plan` goes out. Not here: looking slugs up
(`lookup`, `offers`), calling (`flow`). Every endpoint offered ends up exactly once, as an attempt
or as a drop with its reason. docs/routing.md tells the same story.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from ..canon import Fault, Request
from ..money import charge_nano
from .budget import backoff_s
from .ceilings import attempt
from .entries import NO_BONDS, Attempt, Bonds, Drop, DropReason, Offer, Plan, Policy
from .filters import Ask, Resolve, active, ask_of, explicit, named, tier_only
from .health import Health
from .hedge import hedge
from .params import SOFT
from .policy import imposed, sort_in_force
from .ranking import ranked
from .refusal import refusal
from .slugs import ONLINE, Sort, parse_slug, sort_of

__all__ = ["after", "following", "plan", "refusal"]


def plan(
    request: Request,
    offers: Mapping[str, Sequence[Offer]],
    health: Health,
    policy: Policy,
    *,
    now_s: float,
    random: Random,
    resolve_provider: Resolve = str.lower,
    bonds: Bonds = NO_BONDS,
) -> Plan:
    """Decide the attempts. `offers` maps each requested slug, routing variants included, to its
    offers in the order to try (`Index.offers`); an empty sequence is a model nobody knows.

    `bonds`: where the conversation was answered before. Never raises: a plan without attempts is
    turned into the caller's error by `refusal`.
    """
    ask = ask_of(request, policy, now_s, resolve_provider)
    wishes = request.preferences
    drops: list[Drop] = []
    groups: list[tuple[Sort | None, list[Offer]]] = []
    for slug, candidates in offers.items():
        if not candidates:
            drops.append(Drop("model_not_found", slug))
            continue
        variants = parse_slug(slug)[1] if ":" in slug else ()
        kept = _sifted(ask, candidates, variants, drops)
        if ONLINE in variants:
            kept = [msgspec.structs.replace(offer, online=True) for offer in kept]
        if kept:
            groups.append((_sort(ask, variants), kept))
    if wishes.partition == "none" and len(groups) > 1:
        groups = [(groups[0][0], [offer for _, kept in groups for offer in kept])]
    attempts: list[Attempt] = []
    for sort, kept in groups:
        order = ranked(ask, kept, sort, health, random, bonds.of(kept))
        _take(ask, order, policy, attempts, drops)
    hedged, pipeline = None, _NOTHING_DONE
    if wishes.hedge is not None:
        any_model = wishes.partition == "none"
        hedged, note = hedge(wishes.hedge, attempts, health, policy, now_s, any_model=any_model)
        pipeline = (note,)
    reserve_nano = 0 if hedged is None else hedged.reserve_nano
    wanted_nano, least_nano = _ceilings(attempts, policy)
    return Plan(
        requested=request.models,
        attempts=tuple(attempts),
        drops=tuple(drops),
        wanted_nano=wanted_nano + reserve_nano,
        least_nano=least_nano,
        strategy=_strategy(request.models, len(offers)),
        sort=groups[0][0] if groups else None,
        bonds=bonds,
        stuck=bonds.of(groups[0][1]) if groups else None,
        hedge=hedged,
        pipeline=pipeline,
        imposed=_NOTHING if attempts else imposed(request, policy),
    )


_NOTHING_DONE: tuple[dict[str, Any], ...] = ()
_NOTHING: frozenset[str] = frozenset()


def _strategy(requested: Sequence[str], models: int) -> str:
    if models > 1:
        return "fallback"
    return "latest" if requested[0].startswith("~") else "direct"


def after(plan: Plan, index: int, fault: Fault) -> int | None:
    """The attempt that follows attempt `index`, which failed with `fault`; None = give up.

    A fault of the request itself is not shown to further endpoints of the same model, but another
    model may take the request: with a list of models any error moves on.
    """
    failed = plan.attempts[index]
    for n in range(index + 1, len(plan.attempts)):
        candidate = plan.attempts[n]
        if fault.retry in ("elsewhere", "cool") or candidate.model.id != failed.model.id:
            return n
        if fault.retry == "larger" and _window(candidate) > _window(failed):
            return n
    return None


def following(
    plan: Plan, index: int, fault: Fault, *, tried: int, most: int, random: Random
) -> tuple[int, float] | None:
    """What to do after attempt `index` failed: the next attempt and the seconds to wait before it;
    None = give up. Where something else is left it is tried at once. Where nothing is, the same
    endpoint is called again after a pause, up to `most` calls of a model (`tried` were made); a
    provider that asks for more patience than PATIENCE_S has its wish told to the caller instead.
    """
    onward = after(plan, index, fault)
    if onward is not None:
        return onward, 0.0
    if fault.retry != "elsewhere" or tried >= most:
        return None
    wait_s = backoff_s(tried, random, fault.retry_after_s)
    return (index, wait_s) if wait_s <= PATIENCE_S else None


PATIENCE_S = 3.0
"""A caller can wait better than we can: it knows what the answer is for."""


# ---- what may serve ------------------------------------------------------------------------------


def _sifted(
    ask: Ask, candidates: Sequence[Offer], variants: tuple[str, ...], drops: list[Drop]
) -> list[Offer]:
    """The candidates no filter drops; what is dropped is added to `drops`."""
    filters = active(ask, variants)
    kind = ask.request.kind
    kept: list[Offer] = []
    for offer in candidates:
        # A chat model does not embed, and an embedding model does not chat, whoever offers it.
        reason = offer.standing if offer.kind == kind else "model_type"
        if reason is None:
            for dropped_by in filters:
                reason = dropped_by(offer)
                if reason is not None:
                    break
            else:
                kept.append(offer)
                continue
        drops.append(_drop(reason, offer))
    if not kept:
        return kept
    only = tier_only(ask)
    if only and any(offer.tier == only and offer.standing is None for offer in candidates):
        kept = _keep_if(kept, lambda o: o.tier == only, "service_tier", drops)
    if [offer for offer in kept if offer.endpoint.free_trial]:
        kept = _trials_last(ask, kept, drops)
    for group in SOFT if ask.request.params else ():
        sent = ask.request.params & group
        if sent:
            kept = _supporting(kept, sent, drops)
    return kept


def _trials_last(ask: Ask, kept: list[Offer], drops: list[Drop]) -> list[Offer]:
    """A trial costs nothing and promises nothing: it serves only who named it or has no other."""

    def wanted(offer: Offer) -> bool:
        return not offer.endpoint.free_trial or explicit(offer, ask)

    return _keep_if(kept, wanted, "free_trial", drops) if any(map(wanted, kept)) else kept


def _supporting(kept: list[Offer], sent: frozenset[str], drops: list[Drop]) -> list[Offer]:
    """Those that support what was sent, if any does; else all, and the parameter is dropped."""
    supporting = [offer for offer in kept if sent.isdisjoint(offer.unsupported)]
    if not supporting or len(supporting) == len(kept):
        return kept
    return _keep_if(kept, lambda o: sent.isdisjoint(o.unsupported), "require_parameters", drops)


def _keep_if(
    kept: list[Offer], wanted: Callable[[Offer], bool], reason: DropReason, drops: list[Drop]
) -> list[Offer]:
    drops.extend(_drop(reason, offer) for offer in kept if not wanted(offer))
    return [offer for offer in kept if wanted(offer)]


# ---- how many are tried --------------------------------------------------------------------------


def _take(
    ask: Ask, order: list[Offer], policy: Policy, attempts: list[Attempt], drops: list[Drop]
) -> None:
    """Move offers, best first, into attempts until their model has had its share."""
    fallbacks, most = ask.request.preferences.allow_fallbacks, policy.attempts_per_model
    taken: dict[str, int] = {}
    for n, offer in enumerate(order):
        model = offer.model.id
        if not fallbacks and not (named(offer, ask.order) if ask.order else n == 0):
            drops.append(_drop("fallbacks_off", offer))
        elif (had := taken.get(model, 0)) >= most:
            drops.append(offer.surplus or _drop("attempts_limit", offer))
        else:
            taken[model] = had + 1
            attempts.append(attempt(ask, offer, policy))


def _ceilings(attempts: list[Attempt], policy: Policy) -> tuple[int, int]:
    """The dearest attempt with the wanted and with the least output, in nano-USD with margin; 0
    when there is none."""
    wanted_pico = least_pico = 0
    for a in attempts:
        pico = a.fixed_pico + a.output_tokens_wanted * a.output_pico
        if pico > wanted_pico:
            wanted_pico = pico
        pico = a.fixed_pico + a.output_tokens_least * a.output_pico
        if pico > least_pico:
            least_pico = pico
    return charge_nano(wanted_pico, policy.margin_ppm), charge_nano(least_pico, policy.margin_ppm)


def _sort(ask: Ask, variants: tuple[str, ...]) -> Sort | None:
    """Flex is asked for to save money and priority to save time, so they bring their own sort."""
    sort = sort_of(ask.request.preferences, variants)
    if sort is None and ask.tier is not None:
        sort = _TIER_SORTS.get(ask.tier)
    return sort_in_force(sort, ask.policy)


_TIER_SORTS: dict[str, Sort] = {
    "flex": "price",
    "priority": "throughput",
    "fast": "throughput",
    "ultrafast": "throughput",
}


def _drop(reason: DropReason, offer: Offer) -> Drop:
    return Drop(reason, offer.model.id, offer.provider.id, offer.endpoint.tag)


def _window(attempt: Attempt) -> int:
    return attempt.endpoint.context_length or attempt.model.context_length or 0
