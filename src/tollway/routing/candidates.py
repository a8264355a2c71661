"""Candidates: which models the automatic routers choose from, and in which order.

Pure. A `Pool` is worked out once per catalogue and set of credentials: what each model that can be
called here costs, can do, and where it stands for each kind of work. A request then costs some set
comparisons. Facts decide, never names: price, modalities, supported parameters, windows, release
dates, how many endpoints serve it, and benchmarks where the catalogue holds some.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import date

import msgspec

from ..catalogue.entries import Benchmark, Model, Task
from .classify import FEATURES, Needs
from .entries import Offer
from .offers import Index
from .params import unsupported
from .patterns import Ids
from .router_options import BANDS, Band, Options

SANDBOX = "tollway/"
"""Authors of models that answer without thinking: no router takes them unless they are named."""

THINKS: frozenset[Task] = frozenset({"agent", "code", "math", "reasoning"})
"""Work for which a model that can reason goes before one that cannot."""
READS: frozenset[Task] = frozenset({"document", "summary"})
"""Work for which a window of at least READ_TOKENS goes before a smaller one."""
READ_TOKENS = 128_000
FRESH_DAYS = 182
"""Release dates are compared by the half-year: a week's lead says nothing."""
SERVED_MOST = 4
"""More endpoints than this make an answer no more certain."""
CUTS_KEPT = 256
"""Answers to `Pool.cut` that are kept: applications ask for the same again and again."""


class Candidate(msgspec.Struct, frozen=True):
    """A model with an ordinary endpoint that can be called here, at a known price."""

    model: Model
    offers: tuple[Offer, ...]
    """All that could be called, tiers and trials included."""
    price_pico: int
    """Of a typical request at its cheapest ordinary endpoint."""
    free: tuple[Offer, ...]
    """Those of `offers` that cannot cost anything."""
    providers: frozenset[str]
    inputs: frozenset[str]
    outputs: frozenset[str]
    features: frozenset[str]
    context: int
    """The largest window, 0 when nobody says."""
    general: bool
    """It takes tools, and its release date and window are known. What does not is mostly no
    assistant: guards, predictors, models for one task that are listed as chat models."""
    aside: bool
    """Taken only when a pattern names it: free variants, which are rationed, and the sandbox."""


class Cut(msgspec.Struct, frozen=True):
    """Who satisfies some needs and patterns, by price, the cheapest first."""

    general: tuple[Candidate, ...]
    others: tuple[Candidate, ...]
    """Fall-back where no general one is left; empty when patterns chose the models."""


class Pool:
    """All candidates of one `Index`."""

    __slots__ = ("_cuts", "_ids", "_places", "all", "index")

    def __init__(self, index: Index) -> None:
        self.index = index
        catalogue = index.catalogue
        found = (
            _candidate(model, index.of(model.id))
            for model in catalogue.models.values()
            if model.type == "chat"
            and any(index.live(e.provider) for e in catalogue.endpoints.get(model.id, ()))
        )
        self.all = tuple(sorted((c for c in found if c is not None), key=_by_price))
        self._ids = Ids(c.model.id for c in self.all)
        self._cuts: dict[tuple[object, ...], Cut] = {}
        self._places: dict[Task, dict[str, int]] = {}

    def cut(self, needs: Needs, options: Options, *, free: bool = False) -> Cut:
        """The candidates that can do what is needed and that the caller's patterns leave. `free`:
        those that need not cost anything, variants named `:free` among them. Raises TooCostly."""
        key = (needs.inputs, needs.outputs, needs.features, options.allowed, options.excluded, free)
        cut = self._cuts.get(key)
        if cut is None:
            if len(self._cuts) >= CUTS_KEPT:
                del self._cuts[next(iter(self._cuts))]
            cut = self._cuts[key] = self._cut(needs, options, free)
        return cut

    def place(self, task: Task) -> dict[str, int]:
        """Model id to its place for this kind of work: 0 is the best."""
        places = self._places.get(task)
        if places is None:
            scored = _scores(self.index.catalogue.benchmarks, task)
            best = sorted(self.all, key=lambda c: _merit(c, task, scored))
            places = self._places[task] = {c.model.id: n for n, c in enumerate(best)}
        return places

    def _cut(self, needs: Needs, options: Options, free: bool) -> Cut:
        able = [c for c in self.all if _able(c, needs) and (c.free if free else not c.aside)]
        if free:
            able = [c for c in able if not c.model.id.startswith(SANDBOX)]
        if options.allowed:
            named = self._ids.matching(options.allowed)
            able = [c for c in self.all if _able(c, needs) and c.model.id in named]
            able = [c for c in able if not c.aside or _names_aside(c, options.allowed)]
        if options.excluded:
            shunned = self._ids.matching(options.excluded)
            able = [c for c in able if c.model.id not in shunned]
        if options.allowed:
            return Cut(tuple(able), ())
        return Cut(tuple(c for c in able if c.general), tuple(c for c in able if not c.general))


def in_band(by_price: Sequence[Candidate], band: Band) -> list[Candidate]:
    """Those whose price is in the band. A candidate's percentile is the share of the others that
    are cheaper, so the cheapest is at 0 and the dearest at 100; bands are a fifth each, and the
    last holds its end. A band that holds nobody gives who stands nearest to its middle, the cheaper
    side first. `by_price` is sorted, the cheapest first."""
    number, last = BANDS.index(band), max(1, len(by_price) - 1)
    prices = [candidate.price_pico for candidate in by_price]

    def first(fifths: int) -> int:
        """The first position at or above that many fifths; equal prices share the lowest one."""
        n = -(-last * fifths // 5)
        if not 0 < n < len(prices) or prices[n] != prices[n - 1]:
            return min(n, len(prices))
        return bisect_right(prices, prices[n])

    low = first(number)
    high = len(prices) if number == len(BANDS) - 1 else first(number + 1)
    if low < high:
        return list(by_price[low:high])
    middle, places = last * (2 * number + 1) / 10, [bisect_left(prices, price) for price in prices]
    nearest = min(places, key=lambda n: (abs(n - middle), n), default=0)
    return [c for c, n in zip(by_price, places, strict=True) if n == nearest]


def able_now(
    candidates: Iterable[Candidate],
    filters: Sequence[Callable[[Offer], str | None]],
    *,
    free: bool = False,
) -> list[Candidate]:
    """Those with an endpoint that no filter of the request drops, in the same order."""
    kept = []
    for candidate in candidates:
        for offer in candidate.free if free else candidate.offers:
            for dropped_by in filters:
                if dropped_by(offer) is not None:
                    break
            else:
                kept.append(candidate)
                break
    return kept


# ---- facts of one model --------------------------------------------------------------------------


def _candidate(model: Model, offers: Sequence[Offer]) -> Candidate | None:
    callable_ = tuple(o for o in offers if o.standing is None and o.kind == "chat")
    if not callable_:
        return None
    ordinary = [o for o in callable_ if o.tier is None and not o.endpoint.free_trial]
    features, context = _features(model), max(o.context or 0 for o in callable_)
    return Candidate(
        model=model,
        offers=callable_,
        price_pico=min(o.typical_pico for o in ordinary or callable_),
        free=tuple(o for o in callable_ if costs_nothing(o)),
        providers=frozenset(o.provider.id for o in callable_),
        inputs=frozenset[str]().union(*(o.modalities for o in callable_)),
        outputs=frozenset(model.output_modalities),
        features=features,
        context=context,
        general="tools" in features and model.created is not None and context > 0,
        aside=model.id.startswith(SANDBOX) or model.id.endswith(":free") or not ordinary,
    )


def costs_nothing(offer: Offer) -> bool:
    """No kind of token, and nothing else, has a price there."""
    return not (
        max(offer.prompt_pico)
        or offer.output_pico
        or offer.request_pico
        or offer.image_pico
        or offer.search_pico
    )


def _features(model: Model) -> frozenset[str]:
    """What it is known to take. Its list of parameters says so, or its capabilities; a model of
    which neither does is not trusted with it."""
    known = set(model.capabilities)
    if model.params is not None:
        lacks = unsupported(model.params, model.no_sampling)
        known |= {name for name in FEATURES if name not in lacks}
    if "structured_outputs" in known:
        known.add("response_format")
    return frozenset(known.intersection(FEATURES))


def _able(candidate: Candidate, needs: Needs) -> bool:
    return (
        needs.inputs <= candidate.inputs
        and needs.outputs == candidate.outputs
        and needs.features <= candidate.features
    )


def _names_aside(candidate: Candidate, patterns: Iterable[str]) -> bool:
    """A pattern that says `:free`, or `tollway/`, means the models that are set aside; one that
    only happens to fit them does not."""
    id = candidate.model.id
    if id.startswith(SANDBOX):
        return any(pattern.startswith(SANDBOX) for pattern in patterns)
    if id.endswith(":free"):
        return any(pattern.endswith(":free") for pattern in patterns)
    return id in patterns  # only trials serve it


# ---- order ---------------------------------------------------------------------------------------


def _by_price(candidate: Candidate) -> tuple[int, str]:
    return candidate.price_pico, candidate.model.id


def _merit(candidate: Candidate, task: Task, scored: dict[str, float]) -> tuple[object, ...]:
    """Smaller is better: able to think (or read much) where the work wants it, the benchmarks, the
    half-year of release, how many endpoints serve it, the day of release, the window, the price."""
    model = candidate.model
    wants_thought = task in THINKS and "reasoning" not in candidate.features
    wants_room = task in READS and candidate.context < READ_TOKENS
    day = date.fromisoformat(model.created).toordinal() if model.created else 0
    score = scored.get(model.id)
    return (
        wants_thought or wants_room,
        0.0 if score is None else -1.0 - score,
        -(day // FRESH_DAYS),
        -min(len(candidate.offers), SERVED_MOST),
        -day,
        -candidate.context,
        candidate.price_pico,
        model.id,
    )


def _scores(benchmarks: Iterable[Benchmark], task: Task) -> dict[str, float]:
    """Model id to the mean of its percentiles (0…1) over the benchmarks that speak for this kind of
    work, or, where none does, over those that speak for all. Percentiles, since scales differ."""
    every = tuple(benchmarks)
    chosen = [b for b in every if task in b.tasks] or [b for b in every if not b.tasks]
    shares: dict[str, list[float]] = {}
    for benchmark in chosen:
        values = sorted(benchmark.scores.values())
        last = max(1, len(values) - 1)
        for slug, score in benchmark.scores.items():
            shares.setdefault(slug, []).append(values.index(score) / last)
    return {slug: sum(parts) / len(parts) for slug, parts in shares.items()}
