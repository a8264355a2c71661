"""What was decided about one generation and why: the part of its record beside OpenRouter's fields.

Not here: who writes the record (receipt), OpenRouter's own fields (book_pages, shapes). Amounts are
nano-USD in the record and USD as JSON numbers in the view.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..canon import Usage, UsedPreset
from ..ledger.entries import Generation
from ..money import usd_from_nano
from ..routing.entries import Drop, Stuck
from ..routing.explain import PRICE_WEIGHTED, drop_view


class TriedView(msgspec.Struct):
    provider_name: str = ""
    endpoint_id: str = ""
    model_permaslug: str = ""
    status: int | None = None
    """499: cut off by us, before its first content."""
    error_type: str | None = None
    error: str | None = None


class StickyView(msgspec.Struct):
    endpoint: str
    pinned: bool


class HedgeView(msgspec.Struct):
    """The endpoint that lost a race."""

    endpoint_id: str
    charge_usd: float
    """Part of `total_cost`."""


class HoldView(msgspec.Struct):
    granted_usd: float
    output_tokens_max: int | None
    """As sent upstream; null when nothing was sent."""


class TollwayView(msgspec.Struct, kw_only=True):
    requested: list[str]
    strategy: str | None
    sort: str | None
    order: list[str]
    """Endpoints, as planned."""
    drops: list[dict[str, Any]]
    pipeline: list[dict[str, Any]]
    sticky: StickyView | None
    hedge: HedgeView | None
    preset: UsedPreset | None
    attempts: list[TriedView]
    dropped: list[str]
    """What the dialect of the endpoint that answered could not carry."""
    dropped_params: list[str]
    """What its model does not support."""
    hold: HoldView | None
    estimated: bool
    doubts: list[str]
    """Figures of the provider's usage that had to be corrected."""
    price_version: str | None


class _Hold(msgspec.Struct, frozen=True):
    granted: int = 0
    output_tokens_max: int | None = None


class _Hedge(msgspec.Struct, frozen=True):
    endpoint_id: str = ""
    charge: int = 0


class _Kept(msgspec.Struct, frozen=True):
    """As `receipt` writes it. All optional: answers out of the cache and rows of a recovery lack
    most of it."""

    requested: list[str] = []
    strategy: str | None = None
    sort: str | None = None
    order: list[str] = []
    drops: list[Drop] = []
    pipeline: list[dict[str, Any]] = []
    sticky: Stuck | None = None
    hedge: _Hedge | None = None
    preset: UsedPreset | None = None
    attempts: list[TriedView] = []
    dropped: list[str] = []
    dropped_params: list[str] = []
    hold: _Hold | None = None
    usage: Usage = Usage()


_decode = msgspec.json.Decoder(_Kept).decode


def decided(made: Generation) -> TollwayView:
    try:
        kept = _decode(made.detail)
    except msgspec.DecodeError:
        kept = _Kept()  # a lookup must not fail over an old row
    hold, hedge, stuck = kept.hold, kept.hedge, kept.sticky
    return TollwayView(
        requested=kept.requested,
        strategy=kept.strategy,
        sort=kept.sort or (PRICE_WEIGHTED if kept.order else None),
        order=kept.order,
        drops=[drop_view(drop) for drop in kept.drops],
        pipeline=kept.pipeline,
        sticky=StickyView(stuck.endpoint, stuck.pinned) if stuck else None,
        hedge=HedgeView(hedge.endpoint_id, usd_from_nano(hedge.charge)) if hedge else None,
        preset=kept.preset,
        attempts=kept.attempts,
        dropped=kept.dropped,
        dropped_params=kept.dropped_params,
        hold=HoldView(usd_from_nano(hold.granted), hold.output_tokens_max) if hold else None,
        estimated=made.estimated,
        doubts=list(kept.usage.doubts),
        price_version=made.price_version or None,
    )
