"""The caller's `provider` object to `canon.Preferences`. Shapes are checked before; here are the
units, the defaults and the spelling. No routing."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from .. import errors
from ..canon import NO_PREFERENCES, HedgeWish, MaxPrice, Preferences
from ..money import PICO_PER_NANO
from . import openai_chat_schema as schema


def preferences(provider: schema.Provider | None) -> Preferences:
    """Raises CallerError for a price that is none."""
    if provider is None:
        return NO_PREFERENCES
    wanted = provider.sort
    if not isinstance(wanted, schema.SortBy):
        wanted = schema.SortBy(wanted)
    return Preferences(
        order=_slugs(provider.order),
        only=_slugs(provider.only),
        ignore=_slugs(provider.ignore),
        allow_fallbacks=provider.allow_fallbacks is not False,
        require_parameters=provider.require_parameters is True,
        data_collection=provider.data_collection or "allow",
        zdr=provider.zdr is True,
        enforce_distillable_text=provider.enforce_distillable_text is True,
        quantizations=tuple(provider.quantizations or ()),
        sort=wanted.by,
        partition=wanted.partition or "model",
        max_price=_max_price(provider.max_price),
        preferred_min_throughput=_cuts(provider.preferred_min_throughput),
        preferred_max_latency=_cuts(provider.preferred_max_latency),
        options=(
            {slug.lower(): dict(extra) for slug, extra in provider.options.items()}
            if provider.options
            else None
        ),
        hedge=_hedge(provider.hedge),
    )


def _hedge(wish: schema.Hedge | None) -> HedgeWish | None:
    """`max_cost` is in USD, `after` in seconds."""
    if wish is None:
        return None
    if isinstance(wish.after, str) and wish.after != "p95":
        raise errors.bad_field("provider.hedge.after", 'expected "p95" or a number of seconds')
    cap_pico = _pico(wish.max_cost, "hedge.max_cost", 12)
    return HedgeWish(
        after_s=None if isinstance(wish.after, str) else wish.after,
        max_cost_nano=None if cap_pico is None else cap_pico // PICO_PER_NANO,
    )


def _slugs(names: list[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.lower() for name in names)) if names else ()


def _cuts(cuts: schema.Cuts | float | None) -> dict[str, float] | None:
    """A bare number is the median."""
    if cuts is None:
        return None
    if not isinstance(cuts, schema.Cuts):
        return {"p50": cuts}
    named = {"p50": cuts.p50, "p75": cuts.p75, "p90": cuts.p90, "p99": cuts.p99}
    return {name: cut for name, cut in named.items() if cut is not None} or None


def _max_price(caps: schema.PriceCaps | None) -> MaxPrice | None:
    """Tokens are capped in USD per million, requests and images in USD apiece."""
    if caps is None:
        return None
    return MaxPrice(
        prompt=_pico(caps.prompt, "max_price.prompt", 6),
        completion=_pico(caps.completion, "max_price.completion", 6),
        audio=_pico(caps.audio, "max_price.audio", 6),
        request=_pico(caps.request, "max_price.request", 12),
        image=_pico(caps.image, "max_price.image", 12),
    )


def _pico(usd: str | float | None, name: str, exponent: int) -> int | None:
    """USD per unit (or million units) to pico-USD per unit, rounded down: a cap is not stretched.
    JSON numbers are taken by their shortest decimal spelling, which is what the caller typed."""
    if usd is None:
        return None
    path = f"provider.{name}"
    try:
        value = Decimal(str(usd).strip())
    except InvalidOperation:
        raise errors.bad_field(path, f"expected an amount of USD, got {str(usd)[:40]!r}") from None
    if not value.is_finite() or value < 0:
        raise errors.bad_field(path, "expected an amount of USD of zero or more")
    # Above any price there is, a cap caps nothing; the bound keeps the exponent from exploding.
    return int(min(value, Decimal(10_000_000)).scaleb(exponent)) if value else 0
