"""Ranking: in which order the endpoints that may serve are tried. One function per sort.

Not here: dropping (`filters`). A place is decided by, in this order: the caller's `order`, the
tier asked for, health, the caller's soft cut-offs, the quality of tool calls where it matters, and
then the sort, which by default is a draw weighted by 1/price². Explicit `order` beats health: who
names a provider first gets it first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, log
from random import Random

from .entries import Offer, Stuck
from .filters import TIERS, Ask
from .health import STANDINGS, Health
from .quality import PROVIDERS_MIN

Strategy = Callable[[Offer, Health, float, Random], float]
"""(offer, health, now_s, random) → a number; smaller is tried earlier."""


def ranked(
    ask: Ask,
    kept: Sequence[Offer],
    sort: str | None,
    health: Health,
    random: Random,
    stuck: Stuck | None = None,
) -> list[Offer]:
    """All of `kept`, best first."""
    if len(kept) == 1:
        return list(kept)
    now_s, value = ask.now_s, STRATEGIES[sort]
    place = _placing(ask, health, stuck)
    grade = _grades(ask, kept, sort, health)
    if place is None and grade is None:
        plain = [
            (value(offer, health, now_s, random), offer.typical_pico, n)
            for n, offer in enumerate(kept)
        ]
        plain.sort()
        return [kept[key[2]] for key in plain]
    keyed = [
        (
            place(offer) if place else 0,
            grade[n] if grade else 0,
            value(offer, health, now_s, random),
            offer.typical_pico,
            n,
        )
        for n, offer in enumerate(kept)
    ]
    keyed.sort()
    return [kept[key[4]] for key in keyed]


def by_weight(offer: Offer, health: Health, now_s: float, random: Random) -> float:
    """A draw without replacement with weights 1/price²: an exponential variate of rate 1/price².
    The smallest of several comes from each with a chance in proportion to its weight (Efraimidis
    and Spirakis 2006), and so on for the places behind it. Free endpoints come first, shuffled.
    """
    price = offer.typical_pico
    if price == 0:
        return -random.random()
    return -log(1.0 - random.random()) * price * price


def by_price(offer: Offer, health: Health, now_s: float, random: Random) -> float:
    return offer.typical_pico


def by_throughput(offer: Offer, health: Health, now_s: float, random: Random) -> float:
    """Median output tokens per second, the most first, unknown last."""
    median = health.throughput(offer.endpoint.key, now_s)
    return inf if median is None else -median["p50"]


def by_latency(offer: Offer, health: Health, now_s: float, random: Random) -> float:
    """Median seconds to the first token, unknown last."""
    median = health.latency(offer.endpoint.key, now_s)
    return inf if median is None else median["p50"]


STRATEGIES: Mapping[str | None, Strategy] = {
    None: by_weight,
    "price": by_price,
    "throughput": by_throughput,
    "latency": by_latency,
    "exacto": by_weight,  # within tiers of quality
}


def _grades(ask: Ask, kept: Sequence[Offer], sort: str | None, health: Health) -> list[int] | None:
    """Auto Exacto: a tier of quality for each, where tools are called and nothing else was asked
    for, or where it was asked for itself; None when there is nothing to tell apart."""
    if sort != "exacto" and (sort is not None or "tools" not in ask.request.params):
        return None
    if len(kept) < PROVIDERS_MIN:
        return None
    return health.tiers([offer.endpoint for offer in kept], ask.now_s)


def _placing(ask: Ask, health: Health, stuck: Stuck | None) -> Callable[[Offer], int] | None:
    """The part of a place that comes before the sort, as one number; None when it is the same for
    all, as it is for a plain request while everything is well.

    A warm cache is worth more than the sort and less than a promise (a cut-off) or a working
    endpoint; state that only one endpoint can read is worth more than a cut-off as well.
    """
    wishes, now_s = ask.request.preferences, ask.now_s
    order, tiers = ask.order, TIERS.get(ask.tier or "", ())
    cutoffs = bool(wishes.preferred_min_throughput or wishes.preferred_max_latency)
    standing = health.standings(now_s) if health.troubled(now_s) else None
    if not (order or tiers or cutoffs or standing or stuck):
        return None
    if standing is not None and not (order or tiers or cutoffs or stuck):
        return lambda offer: standing(offer.endpoint.key, offer.endpoint.provider)
    pin = stuck.endpoint if stuck is not None and stuck.pinned else None
    warm = stuck.endpoint if stuck is not None else None
    if not (order or tiers or cutoffs or standing):
        return lambda offer: offer.endpoint.key != warm  # alone, a pin is a warm cache

    def place(offer: Offer) -> int:
        listed = _position(offer, order) if order else 0
        tier = tiers.index(offer.tier) if offer.tier in tiers else len(tiers)
        sick = standing(offer.endpoint.key, offer.endpoint.provider) if standing else 0
        elsewhere = pin is not None and offer.endpoint.key != pin
        missed = _missed(offer, ask, health) if cutoffs else 0
        cold = warm is not None and offer.endpoint.key != warm
        return ((((listed * 8 + tier) * STANDINGS + sick) * 2 + elsewhere) * 8 + missed) * 2 + cold

    return place


def _position(offer: Offer, order: tuple[str, ...]) -> int:
    for n, name in enumerate(order):
        if name in (offer.endpoint.tag, offer.provider.id):
            return n
    return len(order)


def _missed(offer: Offer, ask: Ask, health: Health) -> int:
    """0: every cut-off is kept; 1: nothing is known; 2: at least one is missed."""
    wishes = ask.request.preferences
    least, most = wishes.preferred_min_throughput, wishes.preferred_max_latency
    latency, throughput = health.figures(offer.endpoint.key, ask.now_s)
    known = (throughput is not None or not least) and (latency is not None or not most)
    if least and throughput is not None:
        for name, cut in least.items():
            if throughput.get(name, cut) < cut:
                return 2
    if most and latency is not None:
        for name, cut in most.items():
            if latency.get(name, cut) > cut:
                return 2
    return 0 if known else 1
