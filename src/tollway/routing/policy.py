"""Policy: what a workspace imposes, met with what a request wishes.

Pure. The rules are OpenRouter's: lists of the allowed are intersected, lists of the ignored
united, privacy is the stricter of the two, and a request's own sort wins over the workspace's
unless the workspace says that it does not. The filters themselves are in `filters`.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from .. import errors
from ..canon import Request
from .entries import Policy
from .slugs import Sort


def with_default_model(request: Request, policy: Policy) -> Request:
    """A request that names no model, with the workspace's. Raises CallerError where there is none
    either."""
    if policy.default_model is None:
        raise errors.no_model()
    return msgspec.structs.replace(request, models=(policy.default_model,))


def listed(model_id: str, patterns: Collection[str]) -> bool:
    """A slug stands for itself, `author/*` for every model of an author."""
    return model_id in patterns or f"{model_id.partition('/')[0]}/*" in patterns


def sort_in_force(wished: Sort | None, policy: Policy) -> Sort | None:
    """`wished` is what the request says by `provider.sort`, a variant or a service tier."""
    if policy.sort is not None and (wished is None or policy.prevent_overrides):
        return policy.sort
    return wished


def order_stands(policy: Policy) -> bool:
    """Whether `provider.order` counts: it would undo a sort that is not to be overridden."""
    return policy.sort is None or not policy.prevent_overrides


def imposed(request: Request, policy: Policy) -> frozenset[str]:
    """The reasons for which this policy, and not the request, drops endpoints."""
    wishes = request.preferences
    found = {
        "allowed_models": bool(policy.allowed_models),
        "ignored_models": bool(policy.ignored_models),
        "data_region": bool(policy.data_regions),
        "allowed_providers": bool(policy.only and not wishes.only),
        "ignored_providers": bool(policy.ignore and not wishes.ignore),
        "data_policy:zdr": policy.zdr and not wishes.zdr,
        "data_policy:training": policy.data_collection == "deny"
        and wishes.data_collection != "deny",
    }
    return frozenset(reason for reason, alone in found.items() if alone)
