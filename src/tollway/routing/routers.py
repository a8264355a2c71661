"""Routers: `tollway/auto` and `tollway/free` turned into models, to be planned like any others.

Pure: request, pool, health, policy, time and randomness come in, offers go out. A router picks
an ordered few models; which endpoints serve them, what is reserved and what happens after a fault
is the ordinary plan's business (`plan`). Rules: a pick satisfies every hard need of the request,
the caller's `provider` wishes and the policy at the moment it is made; the same request in the same
circumstances has the same picks (`tollway/free` but for its draw); every pick can be explained
(`Plan.pipeline`). docs/routers.md says what can be expected of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from .. import errors
from ..canon import Request
from ..catalogue.routers import BY_SLUG, Router, router_of
from ..errors import CallerError
from .candidates import Candidate, Pool, able_now, in_band
from .classify import Needs, last_model, needs_of, work_of
from .entries import Drop, Offer, Plan, Policy
from .filters import Ask, Resolve, active, ask_of
from .health import STABLE, UNSTABLE, Health
from .patterns import TooCostly
from .plan import refusal
from .router_options import NO_OPTIONS, Options, auto_router_options
from .slugs import join_slug, parse_slug

PICKS = 3
"""The one that is meant, and two to fall back on."""

SHORTLIST = 8
"""Measured latency is compared among so many: the best of a band, in a healthy order."""
SLOW_S = 10.0
"""A model whose quickest endpoint takes longer than this to its first token (the median of five
minutes) stands behind the others of the shortlist."""

_BEGINNINGS = frozenset(slug[:8] for slug in BY_SLUG)


def routed(request: Request) -> Router | None:
    """The first router among the models of a request; None for an ordinary one, which pays for
    nothing but this look."""
    for slug in request.models:
        if slug[:8].lower() in _BEGINNINGS and (router := router_of(slug)) is not None:
            return router
    return None


class Route(msgspec.Struct, frozen=True):
    """What routers made of a request's models."""

    offers: dict[str, tuple[Offer, ...]]
    """By slug, in the order to try, as `plan` takes them."""
    router: Router
    picked: tuple[str, ...]
    notes: tuple[dict[str, Any], ...]
    alone: bool
    """The request named the router and nothing else."""

    def told(self, made: Plan) -> Plan:
        """A plan over `offers` that says where its models come from."""
        return msgspec.structs.replace(
            made,
            strategy=self.router.kind if self.alone else "fallback",
            router=self.router.id,
            picked=self.picked,
            pipeline=(*made.pipeline, *self.notes),
        )


def route(
    request: Request,
    pool: Pool,
    health: Health,
    policy: Policy,
    *,
    now_s: float,
    random: Random,
    resolve_provider: Resolve = str.lower,
    remembered: str | None = None,
) -> Route:
    """The models of a request that names a router (`routed`). `remembered`: the model that answered
    earlier in this conversation; it goes first while it is a candidate and not in trouble.

    Raises CallerError: what an option has wrong (400), a request a router cannot take (400), no
    model that could serve (404, or 400 where the prompt is longer than every window), and what
    `Index.offers` says of the other models when nothing at all can be tried.
    """
    asked = _Asked(request, pool, health, policy, now_s, random, resolve_provider)
    offers: dict[str, tuple[Offer, ...]] = {}
    notes: list[dict[str, Any]] = []
    picked: list[str] = []
    first: CallerError | None = None
    named: Router | None = None
    for slug in request.models:
        router = router_of(slug)
        if router is not None:
            named = named or router
            options = _checked(request, slug, router)
        try:
            if router is None:
                _merge(offers, pool.index.offers((slug,)))
                continue
            picks = asked.picks(slug, router, options, remembered)
        except CallerError as error:  # another model of the list may do
            first = first or error
            offers.setdefault(slug, ())
            continue
        notes.append(picks.note)
        picked += [id for id in picks.models if id not in picked]
        _merge(offers, picks.offers)
    if first is not None and not any(offers.values()):
        raise first
    assert named is not None, "only requests that name a router come here"
    return Route(offers, named, tuple(picked), tuple(notes), len(request.models) == 1)


def session_of(request: Request, router: Router) -> str:
    """Under which name the router's choice for a session is remembered: another price band is
    another choice. Raises CallerError."""
    if router.kind != "auto":
        return router.id
    return f"{router.id}@{options_of(request, router).band}"


def options_of(request: Request, router: Router) -> Options:
    """What `plugins` says to this router. A slug reads its own plugin only. Raises CallerError."""
    given = request.plugins.options.get(router.plugin)
    return NO_OPTIONS if given is None else auto_router_options(given.raw, given.path)


# ---- picking -------------------------------------------------------------------------------------


class _Picks(msgspec.Struct, frozen=True):
    models: tuple[str, ...]
    offers: dict[str, tuple[Offer, ...]]
    """By slug, as `plan` takes them."""
    note: dict[str, Any]


class _Asked:
    """One request before the routers it names. What is worked out is worked out once."""

    def __init__(
        self,
        request: Request,
        pool: Pool,
        health: Health,
        policy: Policy,
        now_s: float,
        random: Random,
        resolve: Resolve,
    ) -> None:
        self.request, self.pool, self.health = request, pool, health
        self.now_s, self.random = now_s, random
        self.ask: Ask = ask_of(request, policy, now_s, resolve)

    def picks(self, slug: str, router: Router, options: Options, remembered: str | None) -> _Picks:
        """Raises CallerError when nobody can take the request."""
        variants = parse_slug(slug)[1] if ":" in slug else ()
        if router.kind == "free":
            return self._free(slug, router, variants, remembered)
        return self._auto(slug, router, options, variants, remembered)

    def _auto(
        self,
        slug: str,
        router: Router,
        options: Options,
        variants: tuple[str, ...],
        remembered: str | None,
    ) -> _Picks:
        needs = needs_of(self.request)
        work = work_of(self.request, needs)
        able = self._able(slug, needs, options, variants, free=False)
        held = in_band(able, options.band)
        place = self.pool.place(work.task)
        held.sort(key=lambda c: place[c.model.id])
        best = self._healthy(held)
        kept = last_model(self.request) if options.pin else None
        kept = self._resolved(kept) or remembered
        best, stuck = self._kept_first(best, able, kept)
        best = _apart(best)
        data = {
            "task_type": work.task,
            "signals": work.points,
            "script": work.script,
            "turns": work.turns,
            "needs": _spelt(needs),
            "cost_tier": options.band,
            "candidates": len(able),
            "in_cost_tier": len(held),
            "benchmarks": bool(self.pool.index.catalogue.benchmarks),
            "kept": stuck,
        }
        return self._made(router, best, variants, data, f"{work.task} at {options.band}")

    def _free(
        self, slug: str, router: Router, variants: tuple[str, ...], remembered: str | None
    ) -> _Picks:
        needs = needs_of(self.request)
        able = self._able(slug, needs, NO_OPTIONS, variants, free=True)
        drawn = self.random.sample(able, len(able))
        best, stuck = self._kept_first(self._healthy(drawn), able, remembered)
        best = _apart(best)
        data = {"needs": _spelt(needs), "candidates": len(able), "kept": stuck}
        return self._made(router, best, variants, data, "free")

    def _able(
        self,
        slug: str,
        needs: Needs,
        options: Options,
        variants: tuple[str, ...],
        *,
        free: bool,
    ) -> list[Candidate]:
        """Who can serve this request now, the cheapest first. A window that holds the prompt at its
        longest and the answer that was asked for is preferred to one that probably does. Raises
        CallerError when nobody can."""
        try:
            cut = self.pool.cut(needs, options, free=free)
        except TooCostly:
            raise errors.patterns_too_costly() from None
        filters = active(self.ask, variants)
        roomy = (*filters, _roomy(self.ask))
        for candidates in (self._served(cut.general), self._served(cut.others)):
            for asked in (roomy, filters):
                if able := able_now(candidates, asked, free=free):
                    return able
        every = (*cut.general, *cut.others)
        if not every:
            raise errors.no_endpoints([slug], "no_endpoints", (), self._lacking(options, free))
        raise refusal(_refused(slug, every, filters), self.pool.index)

    def _served(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """Without those that no allowed provider serves: `only` shuts out most of a catalogue, and
        this is cheaper than asking every endpoint."""
        for names in (self.ask.only, self.ask.only_policy):
            if names:
                allowed = {name.partition("/")[0] for name in names}
                candidates = [c for c in candidates if not allowed.isdisjoint(c.providers)]
        return candidates

    def _lacking(self, options: Options, free: bool) -> str:
        if not any(c.free if free else not c.aside for c in self.pool.all):
            kind = "free model" if free else "model it could pick"
            return f"no provider of a {kind} has a credential here"
        if options.allowed or options.excluded:
            return "allowed_models and excluded_models leave no model that can do what it needs"
        kind = "free model" if free else "model that can be called here"
        return f"no {kind} can do what it needs ({', '.join(_spelt(needs_of(self.request)))})"

    def _healthy(self, ordered: list[Candidate]) -> list[Candidate]:
        """The same with models in trouble behind, and slow ones behind the others of the first."""
        if self.health.troubled(self.now_s):
            ordered = sorted(ordered, key=self._trouble)
        short = sorted(ordered[:SHORTLIST], key=lambda c: (self._trouble(c), self._slow(c)))
        return short + ordered[SHORTLIST:]

    def _trouble(self, candidate: Candidate) -> int:
        """The state of its best endpoint."""
        if not self.health.troubled(self.now_s):
            return STABLE
        return min(
            self.health.rank(o.endpoint.key, o.provider.id, self.now_s) for o in candidate.offers
        )

    def _slow(self, candidate: Candidate) -> bool:
        measured = (self.health.latency(o.endpoint.key, self.now_s) for o in candidate.offers)
        quickest = min((m["p50"] for m in measured if m is not None), default=0.0)
        return quickest > SLOW_S

    def _resolved(self, name: str | None) -> str | None:
        return self.pool.index.catalogue.resolve(name) if name else None

    def _kept_first(
        self, best: list[Candidate], able: list[Candidate], kept: str | None
    ) -> tuple[list[Candidate], bool]:
        """The model of earlier turns before all others, whatever band it is in by now: what changed
        is the price of others. One that is in trouble waits behind the first."""
        model = next((c for c in able if c.model.id == kept), None) if kept else None
        if model is None:
            return best, False
        others = [c for c in best if c is not model]
        if self._trouble(model) >= UNSTABLE and others:
            return [others[0], model, *others[1:]], False
        return [model, *others], True

    def _made(
        self,
        router: Router,
        chosen: Sequence[Candidate],
        variants: tuple[str, ...],
        data: dict[str, Any],
        summary: str,
    ) -> _Picks:
        models = tuple(c.model.id for c in chosen)
        offers = {
            join_slug(c.model.id, variants): c.free
            if router.kind == "free"
            else self.pool.index.of(c.model.id)
            for c in chosen
        }
        note = {
            "type": "plugin",
            "name": router.plugin,
            "summary": f"{summary}: {models[0]}",
            "data": {"router": router.id, **data, "chosen": list(models)},
        }
        return _Picks(models, offers, note)


# ---- small change --------------------------------------------------------------------------------


def _apart(best: Sequence[Candidate]) -> list[Candidate]:
    """The first PICKS, of authors of their own as far as there are so many: who falls back does
    not want the twin of what failed."""
    chosen: list[Candidate] = []
    authors: set[str] = set()
    for candidate in best:
        if candidate.model.author not in authors:
            authors.add(candidate.model.author)
            chosen.append(candidate)
            if len(chosen) == PICKS:
                return chosen
    others = [candidate for candidate in best if candidate not in chosen]
    return chosen + others[: PICKS - len(chosen)]


def _checked(request: Request, slug: str, router: Router) -> Options:
    """What the caller says to the router. Raises CallerError (400) for what no other model of its
    list would make right."""
    if request.kind != "chat":
        raise errors.wrong_endpoint(slug, "chat")
    if router.kind == "free":
        return NO_OPTIONS
    if request.dialect == "openai_completions":
        raise errors.router_takes_messages(slug)
    return options_of(request, router)


def _roomy(ask: Ask) -> Callable[[Offer], str | None]:
    """The prompt at its longest and the answer asked for fit the window together."""
    tokens = ask.prompt_tokens_max + (ask.request.output_tokens_max or 0)

    def context_length(offer: Offer) -> str | None:
        return "context_length" if offer.context is not None and tokens > offer.context else None

    return context_length


def _refused(
    slug: str, candidates: Sequence[Candidate], filters: Sequence[Callable[[Offer], Any]]
) -> Plan:
    """A plan without attempts, with the reason of every candidate's endpoints."""
    drops = [
        Drop(reason, offer.model.id, offer.provider.id, offer.endpoint.tag)
        for candidate in candidates
        for offer in candidate.offers
        if (reason := next((r for f in filters if (r := f(offer)) is not None), None))
    ]
    return Plan((slug,), (), tuple(drops), 0, 0)


def _merge(offers: dict[str, tuple[Offer, ...]], more: dict[str, tuple[Offer, ...]]) -> None:
    """Each model once: what a router picked may be named in the list as well, with further
    endpoints."""
    for slug, found in more.items():
        known = offers.get(slug, ())
        offers[slug] = known + tuple(o for o in found if o not in known) if known else found


def _spelt(needs: Needs) -> list[str]:
    """`text`, `image input`, `tools`, …"""
    inputs = [f"{kind} input" for kind in sorted(needs.inputs - {"text"})]
    outputs = [f"{kind} output" for kind in sorted(needs.outputs - {"text"})]
    return ["text", *inputs, *outputs, *sorted(needs.features)]
