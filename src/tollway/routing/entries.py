"""What routing takes and gives: offers in, a plan out. Frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ..catalogue.entries import Endpoint, Model, Provider
from ..catalogue.regions import Region
from ..money import PICO_PER_NANO, Price, charge_nano
from .slugs import Sort

DropReason = Literal[
    "model_not_found",
    "not_live",
    "disabled",
    "dialect",
    "model_type",
    "modality",
    "choices",
    "online",
    "retired",
    "batch",
    "service_tier",
    "allowed_models",
    "ignored_models",
    "allowed_providers",
    "ignored_providers",
    "data_region",
    "fallbacks_off",
    "data_policy:training",
    "data_policy:zdr",
    "distillable",
    "quantization",
    "max_price",
    "unknown_price",
    "context_length",
    "max_output",
    "require_parameters",
    "free_trial",
    "attempts_limit",
]
"""Why an endpoint is not in the plan. Those of OpenRouter's `excluded_by` keep their spelling."""


class Drop(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was left out of a plan, and why: an endpoint, or one parameter of an attempt."""

    reason: str
    model: str
    provider: str | None = None
    tag: str | None = None
    detail: str | None = None


class Offer(msgspec.Struct, frozen=True):
    """An endpoint that could serve, and the facts about it that no request changes. Made by
    `routing.offers.offer`, once per catalogue: a plan only reads them."""

    model: Model
    endpoint: Endpoint
    provider: Provider
    kind: str
    """Of `Request.kind`: what it can be asked for."""
    live: bool
    """A credential is present (or none is needed)."""
    standing: DropReason | None
    """Why no request at all can be served by it, or None."""
    tier: str | None
    retires_s: float
    """Unix seconds from which it is not called any more; infinity when nobody said."""
    context: int | None
    output_max: int | None
    unsupported: frozenset[str]
    """Parameters that are taken out of a request before it goes there."""
    modalities: frozenset[str]
    typical_pico: int
    """Price of a typical request, by which endpoints are compared: 3,000 tokens in, 1,000 out."""
    prompt_pico: tuple[int, ...]
    """Ceiling per prompt token, by the kinds of token the request may bring: `CEILING_*` added."""
    output_pico: int
    """Ceiling per output token of one answer."""
    request_pico: int
    image_pico: int
    search_pico: int
    search_unit_pico: int = 0
    """Per unit of a rerank; `search_pico` is per web search."""
    searches_unasked: bool = False
    """It searches the web whether or not it is asked to."""
    region: Region = "global"
    """Where it is known to handle what it is sent."""
    searches: bool = False
    """It can search the web by itself, and be told to."""
    online: bool = False
    """It is asked to (`:online`)."""
    ordinary: Price | None = None
    """See `Attempt.ordinary`."""
    surplus: Drop | None = None
    """What is said when its model has had its share of attempts: the drop made most often, once."""


CEILING_CACHE_1H, CEILING_AUDIO, CEILING_IMAGE = 1, 2, 4
"""Index into `Offer.prompt_pico`: which dearer kinds of prompt token are possible."""


class Policy(msgspec.Struct, frozen=True):
    """What the operator or workspace imposes on every request of a caller. Of providers and models
    an empty list of the allowed allows all."""

    margin_ppm: int = 0
    output_tokens_default: int = 32_768
    """The output limit that is held and sent upstream when the caller gives none."""
    attempts_per_model: int = 3
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    zdr: bool = False
    data_collection: Literal["allow", "deny"] = "allow"
    allowed_models: tuple[str, ...] = ()
    """Slugs, or `author/*`."""
    ignored_models: tuple[str, ...] = ()
    data_regions: frozenset[Region] = frozenset()
    """Where data may be handled; empty, or with `global` among them, anywhere."""
    sort: Sort | None = None
    """In force where a request does not say how to sort."""
    prevent_overrides: bool = False
    """`sort` is in force whatever a request says."""
    default_model: str | None = None
    """Used by a request that names no model."""


class Attempt(msgspec.Struct, frozen=True):
    """One endpoint to try, with the most it can cost."""

    model: Model
    endpoint: Endpoint
    provider: Provider
    output_tokens_wanted: int
    """Output limit to hold for: the caller's, or the default clamped to the endpoint."""
    output_tokens_least: int
    """The smallest limit the caller may be given: equal to wanted when the caller named one."""
    fixed_pico: int
    """Ceiling of everything but output: prompt, images, request fee."""
    output_pico: int
    """Ceiling per output token, over all choices (`n` is multiplied in)."""
    dropped_params: tuple[str, ...] = ()
    """Sent parameters this endpoint does not support: removed from what goes upstream."""
    searches_most: int = 0
    """Web searches that a report of its usage is believed to hold."""
    online: bool = False
    """The endpoint is told to search the web."""
    ordinary: Price | None = None
    """Of a priority endpoint: what the same door costs at its ordinary tier, if it falls back."""

    def ceiling_nano(self, output_tokens: int, margin_ppm: int) -> int:
        return charge_nano(self.fixed_pico + output_tokens * self.output_pico, margin_ppm)

    def output_tokens_for(self, granted_nano: int, margin_ppm: int) -> int:
        """The output limit that `granted_nano` pays for, at most what was wanted."""
        if self.output_pico == 0:
            return self.output_tokens_wanted
        usable_pico = granted_nano * PICO_PER_NANO * 1_000_000 // (1_000_000 + margin_ppm)
        affordable = (usable_pico - self.fixed_pico) // self.output_pico
        return max(0, min(self.output_tokens_wanted, affordable))


class Hedge(msgspec.Struct, frozen=True):
    """The second attempt is started beside the first when that has not spoken in `after_s`."""

    after_s: float
    reserve_nano: int
    """The most the caller pays for the one that loses; held beside the dearest attempt."""


class Stuck(msgspec.Struct, frozen=True):
    """Where the conversation was answered before."""

    endpoint: str
    """Its key, `model@tag`."""
    provider: str = ""
    """Id of the provider that runs it."""
    pinned: bool = False
    """Its answer carried state that only it can read (signed or encrypted reasoning)."""


class Bonds(msgspec.Struct, frozen=True):
    """What ties a conversation to endpoints."""

    warm: dict[str, Stuck] = {}
    """By model: where its prompt may still be cached."""
    pin: Stuck | None = None
    """Who made the state that the request carries, whatever the model."""

    def of(self, kept: Sequence[Offer]) -> Stuck | None:
        """Which of these endpoints goes first, if one does. The pin counts before a warm cache."""
        pin = self.pin
        if pin is not None and any(offer.endpoint.key == pin.endpoint for offer in kept):
            return pin
        if not self.warm:
            return None
        found = (self.warm.get(offer.model.id) for offer in kept)
        return next((stuck for stuck in found if stuck is not None), None)

    def parts(self, provider: str) -> bool:
        """Whether `provider` would be shown state that it did not make."""
        return self.pin is not None and self.pin.provider != provider


NO_BONDS = Bonds()


class Plan(msgspec.Struct, frozen=True):
    """The ordered attempts, what a hold must cover, and everything left out.

    `wanted_nano`/`least_nano` are the dearest attempt's ceilings with the wanted and the smallest
    output limit; the wanted one with what a hedge reserves. An empty `attempts` means nothing can serve;
    `refusal()` in `routing.plan` turns the drops into the caller's error.
    """

    requested: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    drops: tuple[Drop, ...]
    wanted_nano: int
    least_nano: int
    strategy: str = "direct"
    """`direct`; `latest` for a `~author/family-latest` slug; `fallback` when several models were asked
    for; or the kind of the router that was asked for alone: `auto`, `free`."""
    imposed: frozenset[str] = frozenset()
    """Of a plan without attempts: the reasons that the policy alone set in motion."""
    sort: str | None = None
    """What ordered the first model's endpoints; None = a draw weighted by price."""
    bonds: Bonds = NO_BONDS
    stuck: Stuck | None = None
    """Of the first model: the endpoint that the conversation sticks to, whether or not it could be
    put first."""
    hedge: Hedge | None = None
    pipeline: tuple[dict[str, Any], ...] = ()
    """What was done to the request or decided about it before endpoints were chosen, as entries of
    OpenRouter's `openrouter_metadata.pipeline`."""
    router: str | None = None
    """The router that was asked for, …"""
    picked: tuple[str, ...] = ()
    """… and the models that are in the plan because it picked them."""

    def router_of(self, model: str) -> str | None:
        """The router that picked this model; None when the caller named it."""
        return self.router if model in self.picked else None

    def granted(self, nano: int) -> Plan:
        """This plan where so much was granted: what does not pay for a race as well as for an
        answer is left to the answer."""
        if self.hedge is None or nano >= self.least_nano + self.hedge.reserve_nano:
            return self
        return msgspec.structs.replace(self, hedge=None)

    @property
    def reserved_nano(self) -> int:
        """Part of a hold that no single attempt may use."""
        return 0 if self.hedge is None else self.hedge.reserve_nano
