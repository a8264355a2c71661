"""What can be asked of the books, each as one typed function for `Store.read`.

Amounts are nano-USD. Nothing here changes anything; questions that every request asks are not
here but in the ledger's commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw
import msgspec

from ..store.queries import load_queries
from . import rates
from .budgets import read_budget
from .entries import Count, Generation, Reset
from .rows import CLEARING, WALLET, Budget, Window
from .rules import roll
from .windows import date_of, day_of, resets_at_ms

SQL = load_queries(Path(__file__).with_name("queries.sql"))
ACTIVITY_DAYS = 30


class Balance(msgspec.Struct, frozen=True):
    posted_nano: int
    held_nano: int

    @property
    def available_nano(self) -> int:
        return self.posted_nano - self.held_nano


class Totals(msgspec.Struct, frozen=True):
    """`granted_nano` is everything ever put into the wallet less what was taken out again;
    `used_nano` what it paid for. Their difference is the balance."""

    granted_nano: int
    used_nano: int


class KeyUsage(msgspec.Struct, frozen=True):
    """Usage and limit of one key at a moment; counters are those of the current windows."""

    key_id: str
    limit_nano: int | None
    reset: Reset | None
    spent_nano: int
    """Against the limit, in its window."""
    held_nano: int
    usage_nano: int
    usage_daily_nano: int
    usage_weekly_nano: int
    usage_monthly_nano: int
    resets_at_ms: int | None

    @property
    def remaining_nano(self) -> int | None:
        """What the limit leaves; holds of running requests are not yet spent."""
        return None if self.limit_nano is None else max(0, self.limit_nano - self.spent_nano)


class Activity(msgspec.Struct, frozen=True):
    """One row of the activity: a completed UTC day, a model at an endpoint."""

    date: str
    """YYYY-MM-DD."""
    model: str
    endpoint: str
    provider: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    charge_nano: int


def balance(connection: apsw.Connection, workspace: str) -> Balance:
    """Of a workspace's wallet; zeros for one that never had money."""
    for posted, held in connection.execute(SQL["balance"], (workspace,)):
        return Balance(posted, held)
    return Balance(0, 0)


def totals(connection: apsw.Connection, workspace: str) -> Totals:
    posted = posted_by_account(connection, workspace)
    earned = sum(
        posted.get(kind, 0)
        for kind in ("revenue", "provider_payable", "platform_loss", "provider_unreconciled")
    )
    return Totals(posted.get(WALLET, 0) + earned, earned)


def posted_by_account(connection: apsw.Connection, workspace: str | None = None) -> dict[str, int]:
    """Balance of each kind of account, of one workspace or summed over all."""
    if workspace is None:
        return dict(connection.execute(SQL["posted_everywhere"]))
    return dict(connection.execute(SQL["posted"], (workspace,)))


def generation(
    connection: apsw.Connection, generation_id: str, workspace: str
) -> Generation | None:
    """The record of one generation; None when it does not exist or is another workspace's."""
    for row in connection.execute(SQL["generation"], (generation_id, workspace)):
        fields: dict[str, Any] = dict(zip(Generation.__struct_fields__, row, strict=True))
        fields["estimated"] = bool(fields["estimated"])
        fields["streamed"] = bool(fields["streamed"])
        fields["detail"] = fields["detail"].encode()
        return Generation(**fields)
    return None


def activity(
    connection: apsw.Connection,
    now_ms: int,
    *,
    workspace: str | None = None,
    key_id: str | None = None,
    day: int | None = None,
) -> list[Activity]:
    """The last 30 completed UTC days, newest first; `day` (days since 1970) asks for one of them.
    A generation counts on the day its request was admitted."""
    last = day_of(now_ms) - 1
    first = last - ACTIVITY_DAYS + 1
    if day is not None:
        first, last = max(first, day), min(last, day)
    asked = {"first": first, "last": last, "workspace": workspace, "key_id": key_id}
    return [
        Activity(date_of(row[0]).isoformat(), *row[1:])
        for row in connection.execute(SQL["activity"], asked)
    ]


def key_usage(connection: apsw.Connection, key_id: str, now_ms: int) -> KeyUsage:
    """Of one key; zeros for one that was never used nor limited."""
    budget = read_budget(connection, key_id) or Budget(key_id, None, None, day_of(now_ms))
    return _usage(budget, now_ms)


def all_key_usage(connection: apsw.Connection, now_ms: int) -> dict[str, KeyUsage]:
    """Of every key that was ever used or limited, by key id."""
    rows: Iterable[Any] = connection.execute(SQL["budgets"])
    return {row[0]: _usage(msgspec.convert(row, Budget), now_ms) for row in rows}


def admitted(
    connection: apsw.Connection, count: Count, workspace: str, now_ms: int
) -> tuple[int, int]:
    """How many requests a limit in number has admitted in its window, and how many it allows."""
    rows = connection.execute(SQL["window"], (count.bucket, count.period)).fetchall()
    known = msgspec.convert(rows[0], Window) if rows else None
    _, used = rates.current(known, count.period, now_ms)
    credited = -posted_by_account(connection, workspace).get(CLEARING, 0)
    return used, rates.limit_of(count, credited)


def open_holds(connection: apsw.Connection) -> int:
    """How many requests are running, as far as money knows."""
    found: int = connection.execute(SQL["open_holds"]).get
    return found


def _usage(budget: Budget, now_ms: int) -> KeyUsage:
    day = day_of(now_ms)
    if day > budget.day:
        roll(budget, day)
    return KeyUsage(
        key_id=budget.key_id,
        limit_nano=budget.limit_nano,
        reset=budget.reset,
        spent_nano=budget.spent_nano,
        held_nano=budget.held_nano,
        usage_nano=budget.usage_nano,
        usage_daily_nano=budget.usage_day_nano,
        usage_weekly_nano=budget.usage_week_nano,
        usage_monthly_nano=budget.usage_month_nano,
        resets_at_ms=resets_at_ms(budget.reset, now_ms),
    )
