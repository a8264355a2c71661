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
    "data_region": "data_region",
    "require_parameters": "require_parameters",
    "max_price": "max_price",
}
"""Drop reason to OpenRouter's spelling in `availability.excluded_by`; others have none there."""

PRIVACY = frozenset({"data_policy:training", "data_policy:zdr"})

WISHES: dict[str, tuple[str, str]] = {
    "service_tier": ("service_tier", "it is only offered in a service tier that was not asked for"),
    "allowed_models": ("workspace.routing.allowed_models", "the workspace does not allow it"),
    "ignored_models": ("workspace.routing.ignored_models", "the workspace excludes it"),
    "online": ("model", "no endpoint of it searches the web by itself; ask without :online"),
    "allowed_providers": ("provider.only", "no allowed provider serves it"),
    "ignored_providers": ("provider.ignore", "every provider that serves it is ignored"),
    "data_region": (
        "workspace.routing.allowed_data_regions",
        "no endpoint is known to keep data in the regions that the workspace allows",
    ),
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

IMPOSED: dict[str, tuple[str, str]] = {
    "allowed_providers": (
        "workspace.routing.allowed_providers",
        "no provider that the workspace allows serves it",
    ),
    "ignored_providers": (
        "workspace.routing.ignored_providers",
        "the workspace excludes every provider that serves it",
    ),
    "data_policy:zdr": (
        "workspace.routing.zdr",
        "the workspace demands zero data retention, and no provider of it is known to retain "
        "nothing",
    ),
    "data_policy:training": (
        "workspace.routing.data_collection",
        "the workspace denies data collection, and no provider of it is known neither to store "
        "nor to train on prompts",
    ),
}
"""The same where the workspace imposed it and the request did not: another person can change it."""

SUPPLY = frozenset({"modality", "choices", "service_tier"})
"""Of these, what the catalogue lacks rather than what the caller excluded."""


def refusal(plan: Plan, index: Index) -> CallerError:
    """The error for a plan without attempts.

    Codes: wrong_endpoint, model_deprecated, model_unavailable_upstream, no_endpoints,
    privacy_restricted, region_restricted, constraint_filtered.
    """
    drops = plan.drops
    wishes = [drop for drop in drops if drop.reason in WISHES]
    if wishes:
        return _excluded(plan, wishes, index)
    reasons = {drop.reason for drop in drops}
    not_live = [drop for drop in drops if drop.reason == "not_live"]
    if not_live:
        detail = _not_live(not_live, index)
        affected = _names(not_live, index)
        return errors.no_endpoints(
            plan.requested, "no_endpoints", (), detail, affected_providers=affected
        )
    if "unknown_price" in reasons:
        detail = "its price is not known, and nothing is sent without one"
        return errors.no_endpoints(plan.requested, "no_endpoints", (), detail)
    wrong = next((drop for drop in drops if drop.reason == "model_type"), None)
    if wrong is not None and reasons <= {"model_type", "model_not_found"}:
        return errors.wrong_endpoint(wrong.model, index.catalogue.models[wrong.model].type)
    if "retired" in reasons and reasons <= {"retired", "model_not_found"}:
        gone = next(drop.model for drop in drops if drop.reason == "retired")
        return errors.model_deprecated(gone, index.catalogue.retired.get(gone, ()))
    if "batch" in reasons and reasons <= {"batch", "model_not_found"}:
        return errors.batch_only(plan.requested[0], plan.requested[0], sold=True)
    detail = (
        "no provider in the catalogue offers it"
        if not reasons - {"model_not_found"}
        else "its providers cannot be called from here yet"
    )
    return errors.no_endpoints(plan.requested, "model_unavailable_upstream", (), detail)


def _excluded(plan: Plan, wishes: list[Drop], index: Index) -> CallerError:
    """The request, or the policy behind it, shut out every endpoint that could have answered."""
    reasons = {drop.reason for drop in wishes}
    nearest = next(reason for reason in reversed(WISHES) if reason in reasons)
    field, why = (
        IMPOSED.get(nearest, WISHES[nearest]) if nearest in plan.imposed else WISHES[nearest]
    )
    if reasons == {"choices"}:
        return errors.bad_field("n", why)
    if reasons == {"context_length"}:
        return errors.context_too_long(plan.requested, f"{why}; {_SHORTEN}")
    code = "constraint_filtered"
    if reasons == {"data_region"}:
        code = "region_restricted"
    elif reasons <= PRIVACY | {"data_region"}:
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
        affected_providers=_names(wishes, index),
    )


def _names(drops: list[Drop], index: Index) -> list[str]:
    """The providers of these drops, as people know them, in the order of the plan."""
    known = index.catalogue.providers
    ids = dict.fromkeys(drop.provider for drop in drops if drop.provider is not None)
    return [known[id].name if id in known else id for id in ids]


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


_SHORTEN = "shorten it, or send the plugin context-compression"

_ENV_MAX = 4
"""A sentence with twenty variables helps nobody."""
