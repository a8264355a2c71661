"""Refusal: what a caller is told when a plan has no attempt left.

Reads the drops and nothing else decides: the reason that came last in the order of filters is the
nearest to success, so it is what the caller can mend. The words of the error itself are in
`errors`; the code is one of OpenRouter's availability codes.
"""

from __future__ import annotations

from .. import errors
from ..errors import CallerError
from .entries import Drop, Plan
from .offers import Index

EXCLUDED_BY: dict[str, str] = {
    "allowed_providers": "allowed_providers",
    "ignored_providers": "allowed_providers",
    "fallbacks_off": "allowed_providers",
    "data_policy:training": "data_policy:training",
    "data_policy:zdr": "data_policy:zdr",
    "quantization": "quantization",
    "context_length": "context_length",
    "max_output": "context_length",
    "require_parameters": "require_parameters",
    "max_price": "max_price",
}
"""Drop reason to OpenRouter's spelling in `availability.excluded_by`; others have none there."""

PRIVACY = frozenset({"data_policy:training", "data_policy:zdr"})

WISHES: dict[str, tuple[str, str]] = {
    "service_tier": ("service_tier", "it is only offered in a service tier that was not asked for"),
    "allowed_providers": ("provider.only", "no allowed provider serves it"),
    "ignored_providers": ("provider.ignore", "every provider that serves it is ignored"),
    "data_policy:zdr": ("provider.zdr", "no provider of it is known to retain nothing"),
    "data_policy:training": (
        "provider.data_collection",
        "no provider of it is known neither to store nor to train on prompts",
    ),
    "distillable": (
        "provider.enforce_distillable_text",
        "its author is not known to allow distillation",
    ),
    "quantization": ("provider.quantizations", "no provider offers it so quantised"),
    "modality": ("messages", "it does not read every kind of input in this request"),
    "choices": ("n", "its providers give one answer to a request; send n requests"),
    "context_length": ("messages", "the prompt is longer than its context window"),
    "max_output": ("max_tokens", "max_tokens is above what its endpoints give"),
    "require_parameters": (
        "provider.require_parameters",
        "no endpoint supports all parameters of this request",
    ),
    "max_price": ("provider.max_price", "every endpoint is dearer than max_price"),
    "fallbacks_off": (
        "provider.allow_fallbacks",
        "none of provider.order serves it, and fallbacks are off",
    ),
}
"""Drop reason to the field a caller would change, and why nothing is left. Reasons that are not
here (retired, not live, …) no change of the request would help. In the order of the filters."""

SUPPLY = frozenset({"modality", "choices", "service_tier"})
"""Of these, what the catalogue lacks rather than what the caller excluded."""


def refusal(plan: Plan, index: Index) -> CallerError:
    """The error for a plan without attempts.

    Codes: wrong_endpoint, model_deprecated, model_unavailable_upstream, no_endpoints,
    privacy_restricted, constraint_filtered.
    """
    drops = plan.drops
    wishes = [drop for drop in drops if drop.reason in WISHES]
    if wishes:
        return _excluded(plan, wishes)
    reasons = {drop.reason for drop in drops}
    not_live = [drop for drop in drops if drop.reason == "not_live"]
    if not_live:
        detail = _not_live(not_live, index)
        return errors.no_endpoints(plan.requested, "no_endpoints", (), detail)
    if "unknown_price" in reasons:
        detail = "its price is not known, and nothing is sent without one"
        return errors.no_endpoints(plan.requested, "no_endpoints", (), detail)
    wrong = next((drop for drop in drops if drop.reason == "model_type"), None)
    if wrong is not None and reasons <= {"model_type", "model_not_found"}:
        return errors.wrong_endpoint(wrong.model, index.catalogue.models[wrong.model].type)
    if "retired" in reasons and reasons <= {"retired", "model_not_found"}:
        gone = next(drop.model for drop in drops if drop.reason == "retired")
        return errors.model_deprecated(gone, index.catalogue.retired.get(gone, ()))
    detail = (
        "no provider in the catalogue offers it"
        if not reasons - {"model_not_found"}
        else "its providers cannot be called from here yet"
    )
    return errors.no_endpoints(plan.requested, "model_unavailable_upstream", (), detail)


def _excluded(plan: Plan, wishes: list[Drop]) -> CallerError:
    """The request, or the policy behind it, shut out every endpoint that could have answered."""
    reasons = {drop.reason for drop in wishes}
    nearest = next(reason for reason in reversed(WISHES) if reason in reasons)
    field, why = WISHES[nearest]
    if reasons == {"choices"}:
        return errors.bad_field("n", why)
    if reasons == {"context_length"}:
        return errors.context_too_long(plan.requested, why)
    code = "constraint_filtered"
    if reasons <= PRIVACY:
        code = "privacy_restricted"
    elif reasons <= SUPPLY:
        code = "no_endpoints"
    excluded_by = [EXCLUDED_BY[reason] for reason in WISHES if reason in reasons & set(EXCLUDED_BY)]
    return errors.no_endpoints(
        plan.requested,
        code,
        list(dict.fromkeys(excluded_by)),
        why,
        {"field": field, "detail": why},
    )


def _not_live(drops: list[Drop], index: Index) -> str:
    """Which credential would help, in the order of the catalogue."""
    providers = index.catalogue.providers
    env = list(
        dict.fromkeys(
            providers[drop.provider].auth.env[0]
            for drop in drops
            if drop.provider in providers and providers[drop.provider].auth.env
        )
    )
    models = ", ".join(dict.fromkeys(drop.model for drop in drops))
    if not env:
        return f"no provider of {models} has a credential here"
    named = " or ".join(env[:_ENV_MAX])
    return f"no provider of {models} has a credential here; set {named}"


_ENV_MAX = 4
"""A sentence with twenty variables helps nobody."""
