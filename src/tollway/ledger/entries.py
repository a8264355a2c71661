"""What is said to the ledger and what it answers. Frozen values, nano-USD, Unix milliseconds.

Every command but `Admit` carries the id that makes it idempotent: delivered twice, it has one
effect.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Reset = Literal["daily", "weekly", "monthly"]


Period = Literal["minute", "day"]


class Count(msgspec.Struct, frozen=True):
    """A limited number of requests, of which a hold is one: at most `limit` are admitted under
    `bucket` in a period. A workspace that was credited at least `credited_least_nano` by its
    operator (less what was taken back) has `limit_credited` instead, where there is one."""

    bucket: str
    period: Period
    limit: int
    scope: Literal["key", "free"]
    """Whose limit it is, for the caller's error."""
    limit_credited: int | None = None
    credited_least_nano: int = 0


class Hold(msgspec.Struct, frozen=True):
    """Reserve up to `wanted_nano`, at least `least_nano`, against the wallet and the key's limit,
    in one step. Granted is min(wanted, what both have free) when that is at least `least_nano`.
    Wallet and limit are found by `workspace` and `key_id`; the limit and its reset live in the
    ledger's own `budget` row, so that a changed limit and a hold can never pass each other."""

    id: str
    """The generation's id; at most one hold ever exists under it."""
    workspace: str
    key_id: str
    wanted_nano: int
    least_nano: int
    at_ms: int
    deadline_ms: int
    """After this a hold of a dead owner may be expired without further questions."""
    provider: str = ""
    """First provider of the plan: whom a crash may leave us owing."""
    counts: tuple[Count, ...] = ()
    """Limits in number that this request falls under; it is counted when it is admitted."""


class Admit(msgspec.Struct, frozen=True):
    """Count an open hold in further limits in number, or refuse to: its request goes on to what
    they are of. The one command without an id of its own: delivered twice, it counts twice."""

    hold_id: str
    counts: tuple[Count, ...]
    at_ms: int


class Held(msgspec.Struct, frozen=True):
    id: str
    granted_nano: int
    available_nano: int
    """What the wallet has left for others."""


class Exhausted(msgspec.Struct, frozen=True):
    """A limit in number that admits no more in its window."""

    scope: Literal["key", "free"]
    period: Period
    limit: int
    resets_ms: int
    """When the next window opens, Unix milliseconds."""


class Refused(msgspec.Struct, frozen=True):
    """Nothing was reserved. `in_flight`: the same request would pass once running ones end."""

    id: str
    by: Literal["credit", "key_limit", "rate"]
    available_nano: int
    in_flight: bool = False
    limit_nano: int | None = None
    spent_nano: int = 0
    reset: Reset | None = None
    rate: Exhausted | None = None
    """With `by="rate"`: which limit in number."""


class Generation(msgspec.Struct, frozen=True):
    """The record of one generation, written in the same transaction that ends its hold."""

    id: str
    at_ms: int
    workspace: str
    key_id: str
    model: str
    provider: str
    """Display name of who answered; empty when nobody did."""
    endpoint: str
    """Key of the endpoint that answered (`model@tag`)."""
    status: Literal["completed", "cancelled", "failed", "refused"]
    charge_nano: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    estimated: bool
    streamed: bool
    finish_reason: str | None
    latency_ms: int | None
    """To the first content event."""
    duration_ms: int
    price_version: str
    detail: bytes
    """JSON for the lookup: usage, attempts, drops, native finish, ids, headers of attribution."""


class PlatformCost(msgspec.Struct, frozen=True):
    """What we may owe a provider without a customer to pay it: a failed or abandoned attempt."""

    provider: str
    nano: int


class Settle(msgspec.Struct, frozen=True):
    """End a hold with a charge. `charge_nano` is the customer's, `cost_nano` the provider's price
    (booked to `provider_payable`). A charge above the hold takes the rest from what is available
    and books what is not to `platform_loss`."""

    hold_id: str
    charge_nano: int
    cost_nano: int
    provider: str
    at_ms: int
    generation: Generation | None
    platform_costs: tuple[PlatformCost, ...] = ()


class Void(msgspec.Struct, frozen=True):
    """End a hold without a charge."""

    hold_id: str
    reason: str
    at_ms: int
    generation: Generation | None
    platform_costs: tuple[PlatformCost, ...] = ()


class Record(msgspec.Struct, frozen=True):
    """A generation that no provider made and nobody pays: an answer out of the cache. It has no
    hold; its tokens and its charge are 0, and its detail names the generation that was paid."""

    generation: Generation


class Delivered(msgspec.Struct, frozen=True, array_like=True):
    """Who was delivering, and what: enough for the record of a generation that a crash ended."""

    model: str
    provider: str
    """Its id, as in Settle."""
    provider_name: str
    endpoint: str
    price_version: str
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    streamed: bool


class Progress(msgspec.Struct, frozen=True):
    """What has been delivered so far under a hold: what a crash would settle it at."""

    hold_id: str
    charge_nano: int
    cost_nano: int
    of: Delivered | None = None


class Transfer(msgspec.Struct, frozen=True):
    """Move money between two accounts of one workspace: grants, payments, corrections."""

    id: str
    workspace: str
    source: str
    target: str
    nano: int
    reason: str
    at_ms: int


class Ended(msgspec.Struct, frozen=True):
    """The outcome of settle and void. `applied` is False when the hold had already ended (the
    first end won); `charged_nano` is what the customer paid in the end that counted."""

    hold_id: str
    applied: bool
    charged_nano: int = 0
    lost_nano: int = 0
    """Part of the charge that nothing could pay: booked to `platform_loss`."""


Command = Hold | Admit | Settle | Void | Progress | Transfer | Record
Answer = Any
