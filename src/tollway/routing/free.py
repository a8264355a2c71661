"""Free models: which requests fall under the limits of what is free. Pure.

Limits in number are for what costs nothing and is not ours: a provider's free endpoints are shared
by everybody behind this installation's credential, and one workspace must not use them up for the
others. Where the operator owns the capacity there is nothing to share out: the sandbox, engines on
the operator's own network, and endpoints of the operator's own files, who set their price himself.

A request counts once, when it is about to be sent to such a one for the first time: with its hold
where the plan begins there, else when the endpoints before it have failed. So one that a paid
endpoint serves does not count, and one behind an endpoint that always fails does. When the limit is
used up it goes to the paid endpoints of its plan, if there are any. OpenRouter has the same figures:
20 a minute, 50 a day, 1,000 for who has bought 10 USD of credit.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..ledger.entries import Count, Exhausted
from ..ledger.rates import free_bucket
from .entries import Attempt, Drop, Plan


class FreeLimits(msgspec.Struct, frozen=True):
    """Requests a workspace may make to free models."""

    per_minute: int = 20
    per_day: int = 50
    per_day_credited: int = 1_000
    credited_least_nano: int = 10_000_000_000


def free_counts(
    attempt: Attempt, called: Iterable[Attempt], workspace: str, limits: FreeLimits | None
) -> tuple[Count, ...]:
    """What a request counts in as one to a free model when `attempt` follows those that were
    `called`; nearly always empty. Without limits nothing counts."""
    if attempt.output_pico or limits is None or not shared(attempt):  # most cost something
        return ()
    return () if any(map(shared, called)) else day_and_minute(workspace, limits)


def paid_only(plan: Plan, full: Exhausted | None) -> Plan | None:
    """What is left of a plan when its workspace has used up what is free; None when it was another
    limit, or nothing is left."""
    if full is None or full.scope != "free":
        return None
    kept = tuple(attempt for attempt in plan.attempts if not shared(attempt))
    if not kept:
        return None
    dropped = tuple(
        Drop("free_limit", a.model.id, a.provider.id, a.endpoint.tag)
        for a in plan.attempts
        if shared(a)
    )
    # A race was planned for two others, and costs nothing only where nothing costs anything.
    return msgspec.structs.replace(plan, attempts=kept, drops=plan.drops + dropped, hedge=None)


def day_and_minute(workspace: str, limits: FreeLimits) -> tuple[Count, Count]:
    bucket = free_bucket(workspace)
    return (
        Count(bucket, "minute", limits.per_minute, "free"),
        Count(
            bucket,
            "day",
            limits.per_day,
            "free",
            limit_credited=limits.per_day_credited,
            credited_least_nano=limits.credited_least_nano,
        ),
    )


def shared(attempt: Attempt) -> bool:
    """Whether the capacity is somebody else's, given away."""
    if attempt.output_pico or attempt.fixed_pico:
        return False
    provider = attempt.provider
    own = attempt.endpoint.own or provider.private_network
    return not own and not (provider.base_url or "").startswith("sandbox:")
