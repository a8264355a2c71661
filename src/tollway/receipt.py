"""What a generation costs and why: the table of cases in docs/billing.md, as code.

Pure. In: how far a call came and what its meter saw. Out: the bill the caller reads, and the
one command that ends its hold. Every way a call can end is an `Ending`; there is no other way.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .canon import Fault, Request, Usage
from .dialects import Bill, Meter
from .dialects.tiers import DEFAULT, served
from .ledger.entries import Delivered, Generation, PlatformCost, Settle, Void
from .ledger.entries import Progress as Entry
from .money import PICO_PER_NANO, Cost, charge_nano, cost
from .routing.entries import Attempt, Plan

Progress = Literal["none", "spoke", "whole", "broke"]
"""How far a call came: nothing from a provider · its first content · its complete answer · it
failed after its first content."""

Ending = Literal["completed", "left", "broken", "failed", "stopped"]
"""completed: the provider's answer came whole, whether or not the client stayed to read it ·
left: cut off because the client went away, or because we had to stop while delivering ·
broken: the provider failed after it had begun to speak · failed: no attempt spoke ·
stopped: nothing had been sent to a provider, or nothing had come back when we had to stop."""


PROMPT_SLACK_TOKENS = 16_384
"""What a provider may add to a prompt (its own system prompt, tool templates) and bill. Beyond a
token per byte of the caller's text and this, a reported figure is not believed."""

WINDOW_TOKENS = 2_000_000
"""Taken for the context window of a model whose window nobody knows: the largest on the market."""

OUTPUT_SLACK, OUTPUT_SLACK_TOKENS = 2, 1_024
"""Some providers do not count reasoning in the limit they were sent. Beyond twice the limit a
reported figure is not believed."""


class Charge(msgspec.Struct, frozen=True):
    """The money of one answer, in nano-USD."""

    usage: Usage
    cost: Cost
    charge_nano: int
    """To the customer, margin included."""
    cost_nano: int
    """To the provider, at its own price."""
    unbelieved_nano: int = 0
    """What the provider reported beyond any honest count, at its price: the customer does not pay
    it, the books show that we may have to."""
    service_tier: str | None = None
    """The tier that served and was paid."""


class Asked(msgspec.Struct, frozen=True):
    """An attempt whose request has left, and what has come back."""

    attempt: Attempt
    meter: Meter | None
    output_tokens_max: int
    dropped: tuple[str, ...]
    """What the attempt's dialect could not carry of the request, by name."""


class Facts(msgspec.Struct, frozen=True):
    """What is known when a call ends; nothing here is a decision."""

    id: str
    workspace: str
    key_id: str
    plan: Plan
    progress: Progress
    client_left: bool
    asked: Asked | None
    """The attempt that was being listened to; None when nothing was sent, or the last one failed."""
    charge: Charge | None
    """Of a whole answer, as it was told to the caller."""
    request: Request
    granted_nano: int
    started_ms: int
    first_ms: int | None
    ended_ms: int
    faults: tuple[tuple[Attempt, Fault], ...]
    margin_ppm: int
    notes: dict[str, Any]
    """Further fields for the record: attribution, user agent, session."""
    lost: Asked | None = None
    """The other attempt of a race, cut off because this one spoke first."""

    @property
    def ending(self) -> Ending:
        if self.progress == "whole":
            return "completed"
        if self.progress == "broke":
            return "broken"
        if self.progress == "spoke" or (self.client_left and self.asked is not None):
            return "left"
        return "failed" if self.faults else "stopped"


def charge(
    attempt: Attempt, usage: Usage, started_ms: int, margin_ppm: int, tier: str | None = None
) -> Charge:
    """Price a usage at the rates that were in force when the request came in. A priority endpoint
    that says it served at its ordinary `tier` is paid so: providers do not bill what they could
    not keep (OpenAI: priority processing)."""
    price = attempt.endpoint.price
    if tier == DEFAULT and attempt.ordinary is not None:
        price = attempt.ordinary
    exact = cost(price.rates(usage.prompt_tokens, started_ms / 1000), usage)
    total_pico = exact.total_pico
    return Charge(
        usage,
        exact,
        charge_nano(total_pico, margin_ppm),
        charge_nano(total_pico),
        service_tier=tier,
    )


def bill(paid: Charge, lost: Charge | None, extra: dict[str, Any]) -> Bill:
    """What the caller is told at the end of a completed answer. `lost`: of a race that the caller
    asked for; `extra`: further fields for the caller."""
    return Bill(
        usage=paid.usage,
        charge_nano=paid.charge_nano + (lost.charge_nano if lost else 0),
        prompt_nano=-(-paid.cost.prompt_pico // PICO_PER_NANO),
        completion_nano=-(-paid.cost.completion_pico // PICO_PER_NANO),
        service_tier=paid.service_tier,
        extra=extra,
    )


def broke_off(fault: Fault) -> Progress:
    """How far a call came whose answer ended with a fault after its first content. Our own
    deadline is no failure of the provider's: what was delivered was wanted and is paid for."""
    return "spoke" if fault.local else "broke"


def close(facts: Facts) -> Settle | Void:
    """The command that ends the hold of a call.

    | ending | customer | platform |
    |---|---|---|
    | completed | reported usage, or our count marked estimated | – |
    | left | input and what was delivered, marked estimated unless reported | – |
    | broken | nothing (zero-completion insurance) | what was seen, to provider_unreconciled |
    | failed, stopped | nothing | – |

    The one that lost a race which the caller asked for is charged beside a completed or left
    answer, within what was reserved for it; what its provider may bill is to provider_unreconciled
    in every case, since it was cut off and says nothing.
    """
    paid, lost, ending = facts.charge or seen(facts), hedged(facts), facts.ending
    lost_nano = lost.charge_nano if lost is not None else 0
    owed = _owed(facts.lost, lost.cost_nano) if lost is not None else ()
    match ending:
        case "completed" | "left" if paid is not None and facts.asked is not None:
            return Settle(
                hold_id=facts.id,
                charge_nano=paid.charge_nano + lost_nano,
                cost_nano=paid.cost_nano,
                provider=facts.asked.attempt.provider.id,
                at_ms=facts.ended_ms,
                generation=_generation(facts, ending, paid, lost),
                platform_costs=(*_owed(facts.asked, paid.unbelieved_nano), *owed),
            )
        case "broken" if paid is not None and facts.asked is not None:
            return Void(
                hold_id=facts.id,
                reason="provider_broke_off",
                at_ms=facts.ended_ms,
                generation=_generation(facts, ending, None, None),
                platform_costs=(
                    *_owed(facts.asked, paid.cost_nano + paid.unbelieved_nano),
                    *owed,
                ),
            )
        case _:
            return Void(
                hold_id=facts.id,
                reason=ending,
                at_ms=facts.ended_ms,
                generation=_generation(facts, ending, None, None),
                platform_costs=owed,
            )


def _owed(to: Asked | None, nano: int) -> tuple[PlatformCost, ...]:
    return (PlatformCost(to.attempt.provider.id, nano),) if nano and to is not None else ()


def progress(facts: Facts) -> Entry | None:
    """What a crash right now should settle this call at, and call it; None before the first
    content, and once the end is known."""
    paid = seen(facts) if facts.progress == "spoke" else None
    if facts.asked is None or paid is None:
        return None
    attempt, usage, lost = facts.asked.attempt, paid.usage, hedged(facts)
    of = Delivered(
        model=attempt.model.id,
        provider=attempt.provider.id,
        provider_name=attempt.provider.name,
        endpoint=attempt.endpoint.key,
        price_version=attempt.endpoint.price_version,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cached_tokens=usage.cached_tokens,
        streamed=facts.request.stream,
    )
    charge_nano = paid.charge_nano + (lost.charge_nano if lost else 0)
    return Entry(facts.id, charge_nano, paid.cost_nano, of)


def seen(facts: Facts) -> Charge | None:
    """What passed, priced. None when nothing was being listened to."""
    return None if facts.asked is None else _seen(facts, facts.asked)


def _seen(facts: Facts, asked: Asked) -> Charge:
    return priced(asked, facts.request, facts.started_ms, facts.margin_ppm)


def hedged(facts: Facts) -> Charge | None:
    """What the one that lost a race costs: its input, and what it said before it was cut off, at
    most what was reserved for it. None when nobody lost."""
    if facts.lost is None:
        return None
    paid = _seen(facts, facts.lost)
    return msgspec.structs.replace(
        paid, charge_nano=min(paid.charge_nano, facts.plan.reserved_nano)
    )


def priced(asked: Asked, request: Request, started_ms: int, margin_ppm: int) -> Charge:
    """What an attempt has brought so far, at the rates of when the request came in."""
    meter, attempt = asked.meter or Meter(), asked.attempt
    said = meter.usage_or_estimate(request.prompt_tokens_likely)
    if request.images:
        said = msgspec.structs.replace(said, images=request.images)
    believed = said.within(
        _prompt_most(attempt, request),
        OUTPUT_SLACK * asked.output_tokens_max * request.choices + OUTPUT_SLACK_TOKENS,
        request.search_units,
        attempt.searches_most,
    )
    tier = served(meter.service_tier, attempt.endpoint.service_tier)
    paid = charge(attempt, believed, started_ms, margin_ppm, tier)
    if believed is said:
        return paid
    whole = charge(attempt, said, started_ms, 0, tier)
    return msgspec.structs.replace(paid, unbelieved_nano=max(0, whole.cost_nano - paid.cost_nano))


def _prompt_most(attempt: Attempt, request: Request) -> int:
    """Media that is fetched by the provider can be of any length: the model's window bounds it."""
    counted = request.prompt_bytes + 2 * request.media_tokens + PROMPT_SLACK_TOKENS
    if not request.media_tokens:
        return counted
    window = attempt.endpoint.context_length or attempt.model.context_length or WINDOW_TOKENS
    return max(counted, window)


_STANDING = frozenset({"not_live", "disabled", "dialect", "model_type", "service_tier"})
"""Drops that say nothing about the request: true of the installation, so not worth a row each."""

_STATUS: dict[Ending, Literal["completed", "cancelled", "failed", "refused"]] = {
    "completed": "completed",
    "left": "cancelled",
    "broken": "failed",
    "failed": "failed",
    "stopped": "cancelled",
}


def _generation(
    facts: Facts, ending: Ending, paid: Charge | None, lost: Charge | None
) -> Generation:
    asked = facts.asked
    attempt, meter = (asked.attempt, asked.meter) if asked is not None else (None, None)
    usage = paid.usage if paid else Usage()
    return Generation(
        id=facts.id,
        at_ms=facts.started_ms,
        workspace=facts.workspace,
        key_id=facts.key_id,
        model=attempt.model.id if attempt else facts.plan.requested[0],
        provider=attempt.provider.name if attempt else "",
        endpoint=attempt.endpoint.key if attempt else "",
        status=_STATUS[ending],
        charge_nano=(paid.charge_nano if paid else 0) + (lost.charge_nano if lost else 0),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cached_tokens=usage.cached_tokens,
        estimated=usage.estimated,
        streamed=facts.request.stream,
        finish_reason=_finish(ending, meter),
        latency_ms=None if facts.first_ms is None else facts.first_ms - facts.started_ms,
        duration_ms=facts.ended_ms - facts.started_ms,
        price_version=attempt.endpoint.price_version if attempt else "",
        detail=msgspec.json.encode(_detail(facts, paid, lost)),
    )


def _finish(ending: Ending, meter: Meter | None) -> str | None:
    if ending in ("broken", "failed"):
        return "error"
    return meter.finish if meter else None


def _detail(facts: Facts, paid: Charge | None, lost: Charge | None) -> dict[str, Any]:
    """The part of a record that is only ever read whole. Amounts in nano-USD."""
    asked, plan = facts.asked, facts.plan
    hold = {
        "granted": facts.granted_nano,
        "output_tokens_max": None if asked is None else asked.output_tokens_max,
    }
    detail: dict[str, Any] = {
        "requested": plan.requested,
        "strategy": plan.strategy,
        "cancelled": facts.client_left,
        "hold": hold,
        "attempts": [
            {
                **_called(attempt, fault.status),
                "error_type": fault.error_type,
                "error": fault.message,
            }
            for attempt, fault in facts.faults
        ],
        "order": [attempt.endpoint.key for attempt in plan.attempts],
    }
    if facts.lost is not None:
        detail["attempts"].append(_called(facts.lost.attempt, _HUNG_UP))
        detail["hedge"] = {
            "endpoint_id": facts.lost.attempt.endpoint.key,
            "charge": lost.charge_nano if lost else 0,
            "usage": lost.usage if lost else None,
        }
    if asked is not None and facts.progress != "broke":
        unheard = facts.client_left and facts.progress == "none"
        detail["attempts"].append(_called(asked.attempt, _HUNG_UP if unheard else 200))
    if asked is not None and asked.attempt.dropped_params:
        detail["dropped_params"] = asked.attempt.dropped_params
    if asked is not None and asked.dropped:
        detail["dropped"] = asked.dropped
    if plan.sort is not None:
        detail["sort"] = plan.sort
    if plan.stuck is not None:
        detail["sticky"] = plan.stuck
    if plan.router is not None:
        detail["router"] = plan.router_of(asked.attempt.model.id) if asked else plan.router
    done = asked.meter.notes if asked is not None and asked.meter is not None else ()
    if plan.pipeline or done:
        detail["pipeline"] = (*plan.pipeline, *done)
    drops = [drop for drop in plan.drops if drop.reason not in _STANDING]
    if drops:
        detail["drops"] = drops
    if paid is not None:
        detail["usage"] = paid.usage
        detail["cost"] = {
            "provider": paid.cost_nano,
            "prompt_pico": paid.cost.prompt_pico,
            "completion_pico": paid.cost.completion_pico,
            "other_pico": paid.cost.other_pico,
            "cache_discount_pico": paid.cost.cache_discount_pico,
        }
    if asked is not None and asked.meter is not None:
        detail["native_finish_reason"] = asked.meter.native_finish
        detail["upstream_id"] = asked.meter.upstream_id
        detail["service_tier"] = asked.meter.service_tier
    if facts.request.session_id is not None:
        detail["session_id"] = facts.request.session_id
    if (used := facts.request.preset) is not None:
        detail["preset_id"] = used.id
        detail["preset"] = used
    detail.update(facts.notes)
    return detail


def _called(attempt: Attempt, status: int) -> dict[str, Any]:
    return {
        "provider_name": attempt.provider.name,
        "endpoint_id": attempt.endpoint.key,
        "model_permaslug": attempt.model.id,
        "status": status,
    }


_HUNG_UP = 499
"""By us, before its first content: the other endpoint of a race had spoken, or the client had left."""
