"""Filters: why an endpoint cannot, or may not, serve a request. One small function per reason.

Not here: preferring one endpoint to another (`ranking`). A filter is hard: what it drops stays
dropped through every fallback. An unknown fact counts as the worst case (OpenRouter: provider selection).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..canon import MaxPrice, Request
from ..dialects import ONE_ANSWER
from ..money import PPM
from .entries import DropReason, Offer, Policy
from .policy import listed, order_stands
from .slugs import ADMITS, ONLINE

Resolve = Callable[[str], str]
"""Provider id from id, alias or display name; unknown names unchanged."""

TIERS: dict[str, tuple[str, ...]] = {
    "priority": ("priority",),
    "fast": ("priority",),
    "flex": ("flex",),
    "ultrafast": ("ultrafast", "priority"),
}
"""`service_tier` of a request to the tiers it lets in, best first. Other values (auto, default,
standard, scale) let none in."""


_NO_POLICY = Policy()


class Ask(msgspec.Struct, frozen=True):
    """A request's wishes merged with its caller's policy, names resolved: what filters read."""

    request: Request
    now_s: float
    margin_ppm: int
    prompt_tokens_likely: int
    prompt_tokens_max: int
    window_tokens_likely: int
    """What has to fit a context window at once."""
    order: tuple[str, ...]
    only: frozenset[str]
    only_policy: frozenset[str]
    ignore: frozenset[str]
    quantizations: frozenset[str]
    zdr: bool
    deny_collection: bool
    max_price: MaxPrice | None
    tier: str | None
    """The `service_tier` asked for, when it is one of TIERS or explicitly none (`default`)."""
    policy: Policy = _NO_POLICY


def ask_of(request: Request, policy: Policy, now_s: float, resolve: Resolve) -> Ask:
    wishes = request.preferences
    order = wishes.order if wishes.order and order_stands(policy) else ()
    window, likely = request.window_bytes, request.prompt_tokens_likely
    return Ask(
        request,
        now_s,
        policy.margin_ppm,
        likely,
        request.prompt_tokens_max,
        likely if window is None else window // 4 + 1,
        tuple(resolved(name, resolve) for name in order) if order else (),
        _names(wishes.only, resolve),
        _names(policy.only, resolve),
        _names(wishes.ignore + policy.ignore, resolve),
        frozenset(wishes.quantizations) if wishes.quantizations else _NONE,
        wishes.zdr or policy.zdr,
        wishes.data_collection == "deny" or policy.data_collection == "deny",
        wishes.max_price,
        _tier(request),
        policy,
    )


def active(ask: Ask, variants: tuple[str, ...]) -> tuple[Callable[[Offer], DropReason | None], ...]:
    """The filters this request sets in motion, in their fixed order, cheap ones first. What cannot
    drop anything is left out, so that a plain request pays for two."""
    wishes, policy = ask.request.preferences, ask.policy
    asked: list[Callable[[Offer], DropReason | None]] = [
        _retired(ask),
        _service_tier(ask, variants),
    ]
    if policy.allowed_models or policy.ignored_models:
        asked.append(_model(policy))
    if ONLINE in variants:
        asked.append(_online)
    if ask.only or ask.only_policy:
        asked.append(_allowed(ask))
    if ask.ignore:
        asked.append(_ignored(ask))
    if policy.data_regions and "global" not in policy.data_regions:
        asked.append(_data_region(policy))
    if ask.zdr:
        asked.append(_retaining)
    if ask.deny_collection:
        asked.append(_collecting)
    if wishes.enforce_distillable_text:
        asked.append(_indistillable)
    if ask.quantizations:
        asked.append(_quantization(ask))
    if ask.request.modalities != _TEXT:
        asked.append(_modality(ask))
    if ask.request.choices > 1:
        asked.append(_one_answer)
    asked.append(_context_length(ask))
    if ask.request.output_tokens_max is not None:
        asked.append(_max_output(ask.request.output_tokens_max))
    if wishes.require_parameters and ask.request.params:
        asked.append(_require_parameters(ask.request.params))
    if ask.max_price is not None:
        asked.append(_max_price(ask, ask.max_price))
    return tuple(asked)


def named(offer: Offer, names: frozenset[str] | tuple[str, ...]) -> bool:
    """A provider's id names all its endpoints, a full tag names one."""
    return offer.provider.id in names or offer.endpoint.tag in names


def resolved(name: str, resolve: Resolve) -> str:
    """`Google Vertex/us-east5` → `google-vertex/us-east5`: the part before the first slash is
    looked up unless the whole is a name by itself."""
    whole = resolve(name)
    if whole != name or "/" not in name:
        return whole.lower()
    base, _, rest = name.partition("/")
    return f"{resolve(base)}/{rest}".lower()


# ---- one function per reason, in the order in which they are asked -------------------------------

_NONE: frozenset[str] = frozenset()
_TEXT = frozenset({"text"})


def _retired(ask: Ask) -> Callable[[Offer], DropReason | None]:
    now_s = ask.now_s

    def retired(offer: Offer) -> DropReason | None:
        return "retired" if offer.retires_s <= now_s else None

    return retired


def _service_tier(ask: Ask, variants: tuple[str, ...]) -> Callable[[Offer], DropReason | None]:
    """Endpoints of a tier cost more, or wait longer, than the model's name promises: they serve
    only who asked, by `service_tier`, by full tag, or by a variant that `order` does not void."""
    admitted = TIERS.get(ask.tier or "", ())
    if variants and ask.tier is None and not ask.order:
        admitted = tuple(ADMITS[v] for v in variants if v in ADMITS)
    tags = ask.only.union(ask.order) if ask.order else ask.only
    if not admitted and not tags:
        return _tiered

    def service_tier(offer: Offer) -> DropReason | None:
        if offer.tier is None or offer.tier in admitted or offer.endpoint.tag in tags:
            return None
        return "service_tier"

    return service_tier


def _tiered(offer: Offer) -> DropReason | None:
    """`_service_tier` where none is let in."""
    return None if offer.tier is None else "service_tier"


def _model(policy: Policy) -> Callable[[Offer], DropReason | None]:
    allowed, ignored = frozenset(policy.allowed_models), frozenset(policy.ignored_models)

    def model(offer: Offer) -> DropReason | None:
        if allowed and not listed(offer.model.id, allowed):
            return "allowed_models"
        return "ignored_models" if ignored and listed(offer.model.id, ignored) else None

    return model


def _online(offer: Offer) -> DropReason | None:
    return None if offer.searches else "online"


def _allowed(ask: Ask) -> Callable[[Offer], DropReason | None]:
    """The caller's list and the policy's both bind: what is served lies in their intersection."""
    lists = [names for names in (ask.only, ask.only_policy) if names]

    def allowed(offer: Offer) -> DropReason | None:
        for names in lists:
            if not named(offer, names):
                return "allowed_providers"
        return None

    return allowed


def _ignored(ask: Ask) -> Callable[[Offer], DropReason | None]:
    return lambda offer: "ignored_providers" if named(offer, ask.ignore) else None


def _data_region(policy: Policy) -> Callable[[Offer], DropReason | None]:
    """An endpoint that is not known to stay in one region counts as being anywhere."""
    return lambda offer: None if offer.region in policy.data_regions else "data_region"


def _retaining(offer: Offer) -> DropReason | None:
    return "data_policy:zdr" if offer.provider.data_policy.retains else None


def _collecting(offer: Offer) -> DropReason | None:
    """`data_collection: deny` excludes who stores prompts as well as who trains on them."""
    policy = offer.provider.data_policy
    return "data_policy:training" if policy.trains or policy.retains else None


def _indistillable(offer: Offer) -> DropReason | None:
    """Only a model whose facts say that its author allows distillation."""
    return None if "distillable" in offer.model.capabilities else "distillable"


def _quantization(ask: Ask) -> Callable[[Offer], DropReason | None]:
    return lambda o: None if o.endpoint.quantization in ask.quantizations else "quantization"


def _modality(ask: Ask) -> Callable[[Offer], DropReason | None]:
    brought = ask.request.modalities
    return lambda offer: None if brought <= offer.modalities else "modality"


def _one_answer(offer: Offer) -> DropReason | None:
    return "choices" if offer.endpoint.dialect in ONE_ANSWER else None


def _context_length(ask: Ask) -> Callable[[Offer], DropReason | None]:
    """By the likely length, not the one held for: twice the likely one would drop endpoints that
    can serve. Who is wrongly kept refuses, and the next larger window is tried."""
    likely = ask.window_tokens_likely

    def context_length(offer: Offer) -> DropReason | None:
        context = offer.context
        return "context_length" if context is not None and likely >= context else None

    return context_length


def _max_output(asked: int) -> Callable[[Offer], DropReason | None]:
    def max_output(offer: Offer) -> DropReason | None:
        most = offer.output_max
        return "max_output" if most is not None and asked > most else None

    return max_output


def _require_parameters(sent: frozenset[str]) -> Callable[[Offer], DropReason | None]:
    return lambda offer: None if sent.isdisjoint(offer.unsupported) else "require_parameters"


def _max_price(ask: Ask, most: MaxPrice) -> Callable[[Offer], DropReason | None]:
    """Compared with what the caller would pay: rates in force now for a prompt of this size at
    its longest, with the margin."""
    factor_ppm, size = PPM + ask.margin_ppm, ask.prompt_tokens_max
    caps = [(unit, cap * PPM) for unit in _PRICED if (cap := getattr(most, unit)) is not None]

    def max_price(offer: Offer) -> DropReason | None:
        rates = offer.endpoint.price.rates(size, ask.now_s)
        for unit, cap_ppm in caps:
            rate = getattr(rates, unit)
            if rate is not None and rate * factor_ppm > cap_ppm:
                return "max_price"
        return None

    return max_price


_PRICED = MaxPrice.__struct_fields__
"""What may be capped; `Rates` has the same names."""


# ---- reading the wishes --------------------------------------------------------------------------


def _names(names: tuple[str, ...], resolve: Resolve) -> frozenset[str]:
    return frozenset(resolved(name, resolve) for name in names) if names else _NONE


def _tier(request: Request) -> str | None:
    """A value that is no string was refused by the caller's dialect; here it is no tier."""
    raw = request.fields.get("service_tier")
    if raw is None:
        return "fast" if request.fields.get("speed") == _FAST else None
    try:
        asked = msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        return None
    return asked if asked in TIERS or asked == "default" else None


_FAST = msgspec.Raw(b'"fast"')
"""Anthropic's spelling of the wish: `speed: "fast"`."""


def tier_only(ask: Ask) -> str | None:
    """The tier that excludes all others where a model has it: flex never falls back upwards."""
    return "flex" if ask.tier == "flex" else None


def explicit(offer: Offer, ask: Ask) -> bool:
    """The caller named this provider or endpoint."""
    return named(offer, ask.order) or named(offer, ask.only)
