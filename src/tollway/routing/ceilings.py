"""Ceilings: the most one attempt can cost, so that a hold can cover it before it is made.

Pure arithmetic in pico-USD on facts that `offers` worked out. Rounding and margin are `money`'s.
"""

from __future__ import annotations

from ..dialects.searching import SEARCHES_MAX
from .entries import CEILING_AUDIO, CEILING_CACHE_1H, CEILING_IMAGE, Attempt, Offer, Policy
from .filters import TIERS, Ask

OUTPUT_TOKENS_LEAST = 16
"""When the caller named no limit, an answer may be cut down to this by a small balance. Some
providers accept no smaller limit."""

WEB_SEARCHES_HELD = SEARCHES_MAX
"""Searches a model may make by itself when it is told that it may, or when it always searches;
providers publish no bound."""

WEB_SEARCHES_MOST = 50
"""…and as many are believed when the caller asked for searching: what is above the hold is taken
from what is available at settlement. Unasked, no more than the hold is charged."""

_SEARCH = "web_search_options"


def attempt(ask: Ask, offer: Offer, policy: Policy) -> Attempt:
    request = ask.request
    kinds = CEILING_CACHE_1H if request.cache_marked else 0
    fixed_pico = offer.request_pico
    if "audio" in request.modalities:
        kinds += CEILING_AUDIO
    if request.images or "image" in request.modalities:
        kinds += CEILING_IMAGE
        fixed_pico += request.images * offer.image_pico
    searches_most, asked = 0, offer.online or _SEARCH in request.params
    if asked or offer.searches_unasked:
        searches_most = WEB_SEARCHES_MOST if asked else WEB_SEARCHES_HELD
        fixed_pico += WEB_SEARCHES_HELD * offer.search_pico
    fixed_pico += ask.prompt_tokens_max * offer.prompt_pico[kinds]
    wanted = least = request.output_tokens_max
    if request.kind != "chat":  # a vector or a ranking has no tokens of output
        fixed_pico += request.search_units * offer.search_unit_pico
        wanted = least = 0
    elif wanted is None:
        wanted = _default_output(ask, offer, policy)
        least = min(wanted, OUTPUT_TOKENS_LEAST)
    assert least is not None
    return Attempt(
        offer.model,
        offer.endpoint,
        offer.provider,
        wanted,
        least,
        fixed_pico,
        offer.output_pico * request.choices,
        _dropped(ask, offer),
        searches_most,
        offer.online,
        offer.ordinary,
    )


def _default_output(ask: Ask, offer: Offer, policy: Policy) -> int:
    """As much as the endpoint gives, within the policy and what the window leaves."""
    wanted = policy.output_tokens_default
    if offer.output_max is not None and offer.output_max < wanted:
        wanted = offer.output_max
    if offer.context is not None:
        wanted = min(wanted, offer.context - ask.prompt_tokens_likely)
    return max(1, wanted)


def _dropped(ask: Ask, offer: Offer) -> tuple[str, ...]:
    """What is removed before this endpoint is called. A tier's name goes to that tier only: an
    ordinary endpoint would serve it, at a price that nobody held."""
    sent = ask.request.params
    dropped: tuple[str, ...] = ()
    if offer.unsupported and not sent.isdisjoint(offer.unsupported):
        dropped = tuple(sorted(sent & offer.unsupported))
    if ask.tier in TIERS and offer.tier is None:
        dropped += ("service_tier",)
    return dropped
