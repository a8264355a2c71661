"""Offers: what the catalogue's endpoints look like to routing, worked out once per catalogue.

Not here: choosing among them (`plan`). An `Index` belongs to one immutable catalogue and one set of
live credentials; when either changes a new one replaces it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from ..catalogue.entries import Catalogue, Endpoint, Model, Provider
from ..catalogue.regions import data_region
from ..dialects import OUTBOUND, carried, for_kind
from ..dialects.searching import searches
from ..errors import CallerError
from ..money import Price, Rates
from .entries import CEILING_AUDIO, CEILING_CACHE_1H, CEILING_IMAGE, Drop, DropReason, Offer
from .lookup import lookup
from .params import unsupported
from .slugs import join_slug

TYPICAL_PROMPT_TOKENS, TYPICAL_OUTPUT_TOKENS = 3_000, 1_000
"""Three to one, the blend by which model prices are usually compared. Per-request fees count
once, so a fee is weighed against tokens as a real request would."""

KINDS: dict[str, str] = {
    "chat": "chat",
    "completion": "chat",
    "embedding": "embedding",
    "rerank": "rerank",
}
"""Model types that can be asked for, each by the kind of request that may ask."""


SEARCHES_UNASKED = "searches_unasked"
"""The quirk of a provider whose models search the web for every request."""


class Index:
    """A catalogue as routing sees it. Offers of a model are made when it is first asked for."""

    __slots__ = ("_live", "_offers", "catalogue")

    def __init__(self, catalogue: Catalogue, live: Callable[[Provider], bool]) -> None:
        """`live`: a credential for this provider is present, or it needs none."""
        self.catalogue = catalogue
        self._live = {id: live(provider) for id, provider in catalogue.providers.items()}
        self._offers: dict[str, tuple[Offer, ...]] = {}

    def live(self, provider_id: str) -> bool:
        return self._live.get(provider_id, False)

    def of(self, model_id: str) -> tuple[Offer, ...]:
        """All offers of a model by its own id, servable or not; empty for an unknown id."""
        offers = self._offers.get(model_id)
        if offers is None:
            model = self.catalogue.models.get(model_id)
            if model is None:
                return ()
            offers = self._offers[model_id] = self._made(model)
        return offers

    def offers(self, slugs: Sequence[str]) -> dict[str, tuple[Offer, ...]]:
        """What `plan` takes: each requested slug, resolved, to its offers, in request order.

        Keys keep routing variants (`openai/gpt-4o:nitro`). Of several slugs an unknown one has no
        offers and becomes a drop; when none is known, the first one's CallerError is raised
        (model_not_found, model_deprecated, free_variant_ended).
        """
        found: dict[str, tuple[Offer, ...]] = {}
        first: CallerError | None = None
        for slug in slugs:
            try:
                model_id, variants = lookup(self.catalogue, slug)
            except CallerError as error:
                found[slug] = ()
                first = first or error
            else:
                key = join_slug(model_id, variants) if variants else model_id
                found[key] = self.of(model_id)
        if first is not None and not any(found.values()):
            raise first
        return found

    def _made(self, model: Model) -> tuple[Offer, ...]:
        providers, endpoints = self.catalogue.providers, self.catalogue.endpoints.get(model.id, ())
        return tuple(
            offer(
                model,
                endpoint,
                providers[endpoint.provider],
                self.live(endpoint.provider),
                _ordinary(endpoint, endpoints),
            )
            for endpoint in endpoints
        )


def _ordinary(endpoint: Endpoint, siblings: Sequence[Endpoint]) -> Price | None:
    """The price of the same door at its ordinary tier, of an endpoint that may fall back to it."""
    if endpoint.service_tier not in ("priority", "ultrafast"):
        return None
    for other in siblings:
        same = (other.provider, other.id, other.region) == (
            endpoint.provider,
            endpoint.id,
            endpoint.region,
        )
        if same and other.service_tier is None:
            return other.price
    return None


def offer(
    model: Model,
    endpoint: Endpoint,
    provider: Provider,
    live: bool,
    ordinary: Price | None = None,
) -> Offer:
    """The standing facts of one endpoint, which speaks the dialect of the model's kind."""
    kind = KINDS.get(model.type, model.type)
    endpoint = _of_kind(endpoint, kind)
    base, dearest = endpoint.price.base, endpoint.price.ceiling_rates()
    output_limits = [n for n in (endpoint.output_tokens_max, model.output_tokens_max) if n]
    return Offer(
        model=model,
        endpoint=endpoint,
        provider=provider,
        kind=kind,
        live=live,
        standing=_standing(model, endpoint, provider, live),
        tier=endpoint.service_tier,
        retires_s=_retires_s(endpoint.retires),
        context=endpoint.context_length or model.context_length,
        output_max=output_limits[0] if output_limits else None,
        unsupported=unsupported(model.params, model.no_sampling)
        | unsupported(endpoint.params, model.no_sampling),
        modalities=carried(endpoint.dialect, frozenset(model.input_modalities)),
        typical_pico=(base.prompt or 0) * TYPICAL_PROMPT_TOKENS
        + (base.completion or 0) * TYPICAL_OUTPUT_TOKENS
        + (base.request or 0),
        prompt_pico=tuple(_prompt_ceiling(dearest, kinds) for kinds in range(8)),
        output_pico=_output_ceiling(dearest, model),
        request_pico=dearest.request or 0,
        image_pico=dearest.image or 0,
        search_pico=dearest.web_search or 0,
        search_unit_pico=dearest.search_unit or 0,
        searches_unasked=SEARCHES_UNASKED in provider.quirks and bool(dearest.web_search),
        region=data_region(endpoint, provider),
        searches=searches(model, endpoint),
        ordinary=ordinary,
        surplus=Drop("attempts_limit", model.id, provider.id, endpoint.tag),
    )


def _of_kind(endpoint: Endpoint, kind: str) -> Endpoint:
    """The same with the dialect in which this kind is asked for, and with the price of the output
    there is none of: a provider that does not publish it hides nothing."""
    if kind not in ("embedding", "rerank"):
        return endpoint
    price = endpoint.price
    if price.base.completion is None:
        base = msgspec.structs.replace(price.base, completion=0)
        price = msgspec.structs.replace(price, base=base)
    dialect = for_kind(endpoint.dialect, kind, endpoint.id)
    return msgspec.structs.replace(endpoint, dialect=dialect, price=price)


def _standing(
    model: Model, endpoint: Endpoint, provider: Provider, live: bool
) -> DropReason | None:
    if model.type not in KINDS:
        return "model_type"
    if not provider.enabled:
        return "disabled"
    if endpoint.dialect not in OUTBOUND:
        return "dialect"
    if not live:
        return "not_live"
    if endpoint.service_tier == "batch":
        return "batch"
    if endpoint.price.base.prompt is None or endpoint.price.base.completion is None:
        return "unknown_price"
    return None


def _retires_s(day: str | None) -> float:
    """The end (UTC) of the day a provider names: some cut at midnight, some in the afternoon, and
    before the end of it a call that fails is only a failed attempt."""
    if day is None:
        return float("inf")
    end = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC) + timedelta(days=1)
    return end.timestamp()


def _prompt_ceiling(rates: Rates, kinds: int) -> int:
    """The dearest a prompt token can be. Cache reads and writes happen unasked at some providers,
    so they always count; the hour-long write, audio and image tokens only where possible."""
    possible = [
        rates.prompt,
        rates.input_cache_read,
        rates.input_cache_write,
        rates.input_cache_write_1h if kinds & CEILING_CACHE_1H else None,
        rates.audio if kinds & CEILING_AUDIO else None,
        rates.input_audio_cache if kinds & CEILING_AUDIO else None,
        rates.image_token if kinds & CEILING_IMAGE else None,
    ]
    return max((rate for rate in possible if rate is not None), default=0)


def _output_ceiling(rates: Rates, model: Model) -> int:
    possible = [
        rates.completion,
        rates.internal_reasoning,
        rates.audio_output if "audio" in model.output_modalities else None,
        rates.image_output_token if "image" in model.output_modalities else None,
    ]
    return max((rate for rate in possible if rate is not None), default=0)
