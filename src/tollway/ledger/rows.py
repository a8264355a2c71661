"""The rows of the books as the rules work on them. Order of fields = order in `queries.sql`.

Mutable on purpose: they lie on the desk of one batch, are changed by its commands in order, and
are written back once. They are read as JSON arrays, one per table, so that a batch is loaded with a
handful of statements: each step of one hands over the interpreter lock, which under a busy event
loop is what a batch waits for.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .entries import Delivered, Reset

WALLET = "wallet"
PROMO = "promo"
REVENUE = "revenue"
PAYABLE = "provider_payable"
LOSS = "platform_loss"
UNRECONCILED = "provider_unreconciled"
CLEARING = "payments_clearing"

ACCOUNTS = frozenset({WALLET, PROMO, REVENUE, PAYABLE, LOSS, UNRECONCILED, CLEARING})

State = Literal["open", "posted", "voided", "expired"]


class Account(msgspec.Struct, array_like=True):
    workspace: str
    kind: str
    posted: int = 0
    held: int = 0

    @property
    def available(self) -> int:
        return self.posted - self.held


class Budget(msgspec.Struct, array_like=True):
    """`day` is the last one seen; the counters are those of that day, its week and its month.
    `held_nano` counts the open holds whose day lies in the current window of `reset`."""

    key_id: str
    limit_nano: int | None
    reset: Reset | None
    day: int
    held_nano: int = 0
    usage_nano: int = 0
    usage_day_nano: int = 0
    usage_week_nano: int = 0
    usage_month_nano: int = 0

    @property
    def spent_nano(self) -> int:
        """Against the limit, in its current window."""
        match self.reset:
            case None:
                return self.usage_nano
            case "daily":
                return self.usage_day_nano
            case "weekly":
                return self.usage_week_nano
            case "monthly":
                return self.usage_month_nano


class HoldRow(msgspec.Struct, array_like=True):
    """`day`: the UTC day on which the charge counts, the one of admission; a request that was
    admitted before midnight and ends after it belongs to yesterday's window."""

    id: str
    workspace: str
    key_id: str
    provider: str
    amount_nano: int
    at_ms: int
    day: int
    deadline_ms: int
    epoch: int
    state: State = "open"
    progress_charge_nano: int | None = None
    progress_cost_nano: int | None = None
    charged_nano: int = 0
    lost_nano: int = 0
    ended_ms: int | None = None
    reason: str | None = None
    progress_of: Delivered | None = None


class Window(msgspec.Struct, array_like=True):
    """Requests admitted in the minute or day `number` (since 1970-01-01, UTC) under a bucket."""

    bucket: str
    period: str
    number: int
    used: int


class TransferRow(msgspec.Struct, array_like=True):
    """Either a command's own, under its id, or one of those that end a hold, under the hold's."""

    id: str | None
    workspace: str
    source: str
    target: str
    nano: int
    reason: str
    provider: str
    hold_id: str | None
    at_ms: int


class Rollup(msgspec.Struct, array_like=True):
    """What generations add to one row of the activity."""

    workspace: str
    day: int
    key_id: str
    model: str
    endpoint: str
    provider: str
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    charge_nano: int = 0
