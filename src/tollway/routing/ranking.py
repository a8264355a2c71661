"""Ranking: in which order the endpoints that may serve are tried. One function per sort.

Not here: dropping (`filters`). A place is decided by, in this order: the caller's `order`, the
tier asked for, health, the caller's soft cut-offs, the quality of tool calls where it matters, and
then the sort, which by default is a draw weighted by 1/price². Explicit `order` beats health: who
names a provider first gets it first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, log1p
from random import Random

from .entries import Offer, Stuck
from .filters import TIERS, Ask
from .health import Health
from .quality import PROVIDERS_MIN

Strategy = Callable[[Sequence[Offer], Health, float, Random], Sequence[float]]
"""(offers, health, now_s, random) → a number for each; smaller is tried earlier."""


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
    places = _places(ask, kept, health, stuck)
    grades = _grades(ask, kept, sort, health)
    if grades is not None:
        places.append(grades)
    values = STRATEGIES[sort](kept, health, ask.now_s, random)
    prices = [offer.typical_pico for offer in kept]
    keyed = sorted(zip(*places, values, prices, range(len(kept)), kept, strict=True))
    return [key[-1] for key in keyed]


def by_weight(
    offers: Sequence[Offer], health: Health, now_s: float, random: Random
) -> Sequence[float]:
    """A draw without replacement with weights 1/price²: an exponential variate of rate 1/price².
    The smallest of several comes from each with a chance in proportion to its weight (Efraimidis
    and Spirakis 2006), and so on for the places behind it. Free endpoints come first, shuffled.
    """
    draw = random.random
    return [
        -log1p(-draw()) * price * price if (price := offer.typical_pico) else -draw()
        for offer in offers
    ]


def by_price(
    offers: Sequence[Offer], health: Health, now_s: float, random: Random
) -> Sequence[float]:
    return [offer.typical_pico for offer in offers]


def by_throughput(
    offers: Sequence[Offer], health: Health, now_s: float, random: Random
) -> Sequence[float]:
    """Median output tokens per second, the most first, unknown last."""
    figures = health.figures_at(now_s)
    medians = [figures(offer.endpoint.key)[1] for offer in offers]
    return [inf if median is None else -median["p50"] for median in medians]


def by_latency(
    offers: Sequence[Offer], health: Health, now_s: float, random: Random
) -> Sequence[float]:
    """Median seconds to the first token, unknown last."""
    figures = health.figures_at(now_s)
    medians = [figures(offer.endpoint.key)[0] for offer in offers]
    return [inf if median is None else median["p50"] for median in medians]


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


def _places(
    ask: Ask, kept: Sequence[Offer], health: Health, stuck: Stuck | None
) -> list[list[int]]:
    """What comes before the sort, the weightiest first: each a number for every offer. Left out is
    what is the same for all; for a plain request that is everything while everything is well.

    A warm cache is worth more than the sort and less than a promise (a cut-off) or a working
    endpoint; state that only one endpoint can read is worth more than a cut-off as well.
    """
    wishes, now_s, tiers = ask.request.preferences, ask.now_s, TIERS.get(ask.tier or "")
    places: list[list[int]] = []
    if ask.order:
        places.append(_positions(kept, ask.order))
    if tiers:
        places.append([tiers.index(o.tier) if o.tier in tiers else len(tiers) for o in kept])
    if health.troubled(now_s):
        standing = health.standings(now_s)
        places.append([standing(o.endpoint.key, o.endpoint.provider) for o in kept])
    if stuck is not None and stuck.pinned:
        places.append([offer.endpoint.key != stuck.endpoint for offer in kept])
    if wishes.preferred_min_throughput or wishes.preferred_max_latency:
        places.append(_missed(ask, kept, health))
    if stuck is not None and not stuck.pinned:
        places.append([offer.endpoint.key != stuck.endpoint for offer in kept])
    return places


def _positions(kept: Sequence[Offer], order: Sequence[str]) -> list[int]:
    """Where each is named first in `order`: by its provider or by its full tag."""
    last = len(order)
    first = {name: n for n, name in reversed(list(enumerate(order)))}
    return [
        min(first.get(offer.endpoint.tag, last), first.get(offer.provider.id, last))
        for offer in kept
    ]


def _missed(ask: Ask, kept: Sequence[Offer], health: Health) -> list[int]:
    """0: every cut-off is kept; 1: nothing is known; 2: at least one is missed."""
    wishes = ask.request.preferences
    least = tuple((wishes.preferred_min_throughput or {}).items())
    most = tuple((wishes.preferred_max_latency or {}).items())
    figures = health.figures_at(ask.now_s)

    def missed(offer: Offer) -> int:
        latency, throughput = figures(offer.endpoint.key)
        if throughput is not None:
            for name, cut in least:
                if throughput[name] < cut:
                    return 2
        if latency is not None:
            for name, cut in most:
                if latency[name] > cut:
                    return 2
        known = (throughput is not None or not least) and (latency is not None or not most)
        return 0 if known else 1

    return [missed(offer) for offer in kept]
