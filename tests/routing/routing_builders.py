"""Small catalogues for routing tests: say what matters, the rest is ordinary."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from tollway.canon import Preferences, Request
from tollway.catalogue.entries import (
    Auth,
    Catalogue,
    DataPolicy,
    Endpoint,
    Model,
    Provider,
    provider_names_of,
)
from tollway.money import PICO_PER_USD, Price, Rates
from tollway.routing.entries import Offer, Plan, Policy
from tollway.routing.health import Health
from tollway.routing.offers import Index, offer
from tollway.routing.plan import plan

NOW = 1_800_000_000.0
MODEL = "acme/one"


def usd(per_million: float) -> int:
    """USD per million tokens to pico-USD per token."""
    return int(per_million * PICO_PER_USD / 1_000_000)


def provider(id: str, **facts: Any) -> Provider:
    facts.setdefault("name", id.title())
    facts.setdefault("auth", Auth(env=(f"{id.upper()}_API_KEY",)))
    facts.setdefault("data_policy", DataPolicy(trains_on_data=False, retains_days=0))
    return Provider(id=id, **facts)


def model(id: str = MODEL, **facts: Any) -> Model:
    facts.setdefault("name", id)
    return Model(id=id, author=id.partition("/")[0], **facts)


def endpoint(tag: str, model: str = MODEL, dollars: float = 1.0, **facts: Any) -> Endpoint:
    """`dollars` per million tokens, in and out."""
    facts.setdefault("price", Price(Rates(prompt=usd(dollars), completion=usd(dollars))))
    return Endpoint(
        key=f"{model}@{tag}",
        model=model,
        provider=tag.partition("/")[0],
        tag=tag,
        id=model.rpartition("/")[2],
        price_version="v1",
        **facts,
    )


def offered(
    tag: str = "alpha",
    *,
    live: bool = True,
    of: Model | None = None,
    by: Provider | None = None,
    **facts: Any,
) -> Offer:
    sold = of or model()
    sells = by or provider(tag.partition("/")[0])
    return offer(sold, endpoint(tag, sold.id, **facts), sells, live)


def request(*slugs: str, **facts: Any) -> Request:
    """Preferences may be given by name: `only=("alpha",)`."""
    wishes = {k: facts.pop(k) for k in Preferences.__struct_fields__ if k in facts}
    return Request(
        dialect="openai_chat",
        models=slugs or (MODEL,),
        stream=False,
        fields={k: msgspec.Raw(v) for k, v in facts.pop("fields", {}).items()},
        preferences=Preferences(**wishes),
        **facts,
    )


def planned(
    asked: Request,
    *offers: Offer,
    health: Health | None = None,
    policy: Policy | None = None,
    now_s: float = NOW,
    seed: int = 1,
    resolve: Any = str.lower,
) -> Plan:
    """A plan over offers grouped by their model, under the slugs of the request."""
    by_model: dict[str, list[Offer]] = {slug: [] for slug in asked.models}
    for one in offers:
        slug = next(
            s
            for s in asked.models
            if s.removesuffix(":nitro").removesuffix(":floor") == one.model.id
        )
        by_model[slug].append(one)
    return plan(
        asked,
        by_model,
        health or Health(),
        policy or Policy(),
        now_s=now_s,
        random=Random(seed),
        resolve_provider=resolve,
    )


def tags(made: Plan) -> list[str]:
    return [attempt.endpoint.tag for attempt in made.attempts]


def reasons(made: Plan) -> dict[str | None, str]:
    return {drop.tag: drop.reason for drop in made.drops}


def catalogue(*offers: Offer, **facts: Any) -> Catalogue:
    endpoints: dict[str, tuple[Endpoint, ...]] = {}
    for one in offers:
        endpoints[one.model.id] = (*endpoints.get(one.model.id, ()), one.endpoint)
    providers = {one.provider.id: one.provider for one in offers}
    facts.setdefault("aliases", {})
    facts.setdefault("retired", {})
    return Catalogue(
        providers=providers,
        models={one.model.id: one.model for one in offers},
        endpoints=endpoints,
        provider_names=provider_names_of(providers.values()),
        **facts,
    )


def index(*offers: Offer, **facts: Any) -> Index:
    live = {one.provider.id: one.live for one in offers}
    return Index(catalogue(*offers, **facts), lambda p: live[p.id])
