"""The rules of money: every decision and all arithmetic of the ledger. Pure.

Not here: loading and saving rows (`sqlite.py`), what a usage costs (`money`). A `Desk` takes the
rows a batch touches and applies its commands in order; what changed is read off it afterwards.

Rules. A command is checked whole before it changes anything, so one that raises has no effect.
Whoever ends a hold first wins; every later end answers `applied=False`. Money moves only through
`_move`, from one account to another of the same workspace. A wallet never goes below its holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from ..money import AMOUNT_MAX_NANO
from . import rates
from .entries import (
    Admit,
    Answer,
    Command,
    Count,
    Delivered,
    Ended,
    Exhausted,
    Generation,
    Held,
    Hold,
    PlatformCost,
    Progress,
    Record,
    Refused,
    Settle,
    Transfer,
    Void,
)
from .rows import (
    ACCOUNTS,
    CLEARING,
    LOSS,
    PAYABLE,
    REVENUE,
    UNRECONCILED,
    WALLET,
    Account,
    Budget,
    HoldRow,
    Rollup,
    State,
    TransferRow,
    Window,
)
from .windows import day_of, window


class LedgerError(Exception):
    """A command that the books refuse; it had no effect."""


class UnknownHold(LedgerError, KeyError):
    """No hold exists under this id (yet): deliver the command again later, or never sent."""


class HoldEnded(LedgerError):
    """A hold was asked for again after it had ended: its request is over."""


class BadCommand(LedgerError, ValueError):
    """The command contradicts itself or its hold: a bug of the sender."""


class IdConflict(LedgerError):
    """The id of a transfer was used before for a different one."""


class Overdrawn(LedgerError):
    """A transfer out of a wallet for more than it has available."""


class Abandon(msgspec.Struct, frozen=True):
    """End a hold that nobody will end: its owner died or its deadline passed. What was journalled
    as delivered is charged; otherwise its amount is what we may owe the provider."""

    hold_id: str
    reason: Literal["recovered", "expired"]
    at_ms: int


class Desk:
    """The rows of one batch. Construct it with everything its commands touch: the holds under
    all their ids, the accounts of the workspaces and the budgets of the keys of commands and
    holds, the transfers under the ids of transfer commands, the windows of the buckets holds count
    in, the ids among those of records that exist. Rows that do not exist are made."""

    def __init__(
        self,
        epoch: int,
        holds: Iterable[HoldRow] = (),
        accounts: Iterable[Account] = (),
        budgets: Iterable[Budget] = (),
        transfers: Iterable[TransferRow] = (),
        windows: Iterable[Window] = (),
        recorded: Iterable[str] = (),
    ) -> None:
        self.epoch = epoch
        self.holds = {row.id: row for row in holds}
        self.accounts = {(row.workspace, row.kind): row for row in accounts}
        self.budgets = {row.key_id: row for row in budgets}
        self.transfers = {row.id: row for row in transfers if row.id is not None}
        self.windows = {(row.bucket, row.period): row for row in windows}
        self.recorded = set(recorded)
        self.stored_accounts = frozenset(self.accounts)
        self.stored_budgets = frozenset(self.budgets)
        """What the tables have: these rows are updated, others are added."""
        self.changed_windows: dict[tuple[str, str], Window] = {}
        self.new_holds: list[HoldRow] = []
        """Admitted here; when more became of them, also among the changed."""
        self.changed_holds: dict[str, HoldRow] = {}
        self.changed_accounts: dict[tuple[str, str], Account] = {}
        self.changed_budgets: dict[str, Budget] = {}
        self.new_transfers: list[TransferRow] = []
        self.new_generations: list[Generation] = []
        self.rollups: dict[tuple[str, int, str, str, str, str], Rollup] = {}

    def apply(self, command: Command | Abandon) -> Answer:
        """Held or Refused, Exhausted or None, Ended, applied or not, None, by the command. Raises
        LedgerError."""
        return _RULES[type(command)](self, command)

    def account(self, workspace: str, kind: str) -> Account:
        row = self.accounts.get((workspace, kind))
        if row is None:
            row = self.accounts[workspace, kind] = Account(workspace, kind)
        return row

    def budget(self, key_id: str, day: int) -> Budget:
        """A key's budget in the window of `day`, or of the last day seen if that is later. A day
        once seen stays seen, also by a hold that is refused: a clock set back opens no old window.
        """
        row = self.budgets.get(key_id)
        if row is None:
            row = self.budgets[key_id] = self.changed_budgets[key_id] = Budget(
                key_id, None, None, day
            )
        if day > row.day:
            roll(row, day)
            self.changed_budgets[key_id] = row
        return row


def roll(budget: Budget, day: int) -> None:
    """Let a budget see a later day: what belongs to windows that are over starts at zero."""
    seen = budget.day
    budget.usage_day_nano = 0
    if window("weekly", day) != window("weekly", seen):
        budget.usage_week_nano = 0
    if window("monthly", day) != window("monthly", seen):
        budget.usage_month_nano = 0
    if window(budget.reset, day) != window(budget.reset, seen):
        budget.held_nano = 0
    budget.day = day


# ---- hold ----------------------------------------------------------------------------------------


def _hold(desk: Desk, command: Hold) -> Held | Refused:
    wallet = desk.account(command.workspace, WALLET)
    known = desk.holds.get(command.id)
    if known is not None:
        if known.state != "open":
            raise HoldEnded(f"hold {command.id} is {known.state}")
        return Held(command.id, known.amount_nano, wallet.available)
    _amounts(command.wanted_nano, command.least_nano)
    if command.least_nano > command.wanted_nano:
        raise BadCommand(f"hold {command.id} wants less than its least")
    budget = desk.budget(command.key_id, day_of(command.at_ms))
    free = wallet.available
    if budget.limit_nano is not None:
        free = min(free, max(0, budget.limit_nano - budget.spent_nano - budget.held_nano))
    granted = min(command.wanted_nano, free)
    if granted < command.least_nano:
        return _refuse(command, wallet, budget, free)
    if command.counts:
        full = _counted(desk, command.workspace, command.counts, command.at_ms)
        if full is not None:
            return Refused(command.id, "rate", free, rate=full)
    wallet.held += granted
    budget.held_nano += granted
    row = HoldRow(
        id=command.id,
        workspace=command.workspace,
        key_id=command.key_id,
        provider=command.provider,
        amount_nano=granted,
        at_ms=command.at_ms,
        day=budget.day,
        deadline_ms=command.deadline_ms,
        epoch=desk.epoch,
    )
    desk.holds[row.id] = row
    desk.new_holds.append(row)
    desk.changed_accounts[wallet.workspace, WALLET] = wallet
    desk.changed_budgets[budget.key_id] = budget
    return Held(row.id, granted, wallet.available)


def _refuse(command: Hold, wallet: Account, budget: Budget, free: int) -> Refused:
    """Name what refuses: what waiting cannot mend before what it can, credit before the limit."""
    least = command.least_nano
    refusals: list[Refused] = []
    if wallet.available < least:
        waits = wallet.posted >= least
        refusals.append(Refused(command.id, "credit", free, in_flight=waits))
    if budget.limit_nano is not None:
        spent = budget.spent_nano
        if budget.limit_nano - spent - budget.held_nano < least:
            refusals.append(
                Refused(
                    command.id,
                    "key_limit",
                    free,
                    in_flight=budget.limit_nano - spent >= least,
                    limit_nano=budget.limit_nano,
                    spent_nano=spent,
                    reset=budget.reset,
                )
            )
    return min(refusals, key=lambda refusal: refusal.in_flight)


def _admit(desk: Desk, command: Admit) -> Exhausted | None:
    """None when it was counted, else what is full."""
    hold = _found(desk, command.hold_id)
    if hold.state != "open":
        raise HoldEnded(f"hold {hold.id} is {hold.state}")
    return _counted(desk, hold.workspace, command.counts, command.at_ms)


def _counted(desk: Desk, workspace: str, counts: tuple[Count, ...], at_ms: int) -> Exhausted | None:
    credited = -desk.account(workspace, CLEARING).posted
    full = rates.exhausted(counts, desk.windows, at_ms, credited)
    if full is None:
        for window in rates.admitted(counts, desk.windows, at_ms):
            at = (window.bucket, window.period)
            desk.windows[at] = desk.changed_windows[at] = window
    return full


# ---- settle, void, abandon -----------------------------------------------------------------------


def _settle(desk: Desk, command: Settle) -> Ended:
    hold = _found(desk, command.hold_id)
    if hold.state != "open":
        return _already(hold)
    return _end(
        desk,
        hold,
        state="posted",
        reason="settled",
        charge=command.charge_nano,
        cost=command.cost_nano,
        provider=command.provider,
        at_ms=command.at_ms,
        platform_costs=command.platform_costs,
        generation=command.generation,
    )


def _void(desk: Desk, command: Void) -> Ended:
    hold = _found(desk, command.hold_id)
    if hold.state != "open":
        return _already(hold)
    return _end(
        desk,
        hold,
        state="voided",
        reason=command.reason,
        charge=0,
        cost=0,
        provider=hold.provider,
        at_ms=command.at_ms,
        platform_costs=command.platform_costs,
        generation=command.generation,
    )


def _abandon(desk: Desk, command: Abandon) -> State | None:
    """The state the hold was brought into, None when it had already ended."""
    hold = _found(desk, command.hold_id)
    if hold.state != "open":
        return None
    delivered = hold.progress_charge_nano is not None
    charge, cost = hold.progress_charge_nano or 0, hold.progress_cost_nano or 0
    gone: State = "expired" if command.reason == "expired" else "voided"
    possible = () if delivered else (PlatformCost(hold.provider, hold.amount_nano),)
    _end(
        desk,
        hold,
        state="posted" if delivered else gone,
        reason=command.reason,
        charge=charge,
        cost=cost,
        provider=hold.progress_of.provider if hold.progress_of else hold.provider,
        at_ms=command.at_ms,
        platform_costs=possible,
        generation=_bare(hold, "cancelled", charge, command.at_ms) if delivered else None,
    )
    return hold.state


def _end(
    desk: Desk,
    hold: HoldRow,
    *,
    state: State,
    reason: str,
    charge: int,
    cost: int,
    provider: str,
    at_ms: int,
    platform_costs: tuple[PlatformCost, ...],
    generation: Generation | None,
) -> Ended:
    _amounts(charge, cost)
    for owed in platform_costs:
        _amounts(owed.nano)
    if generation is None and state == "posted":
        generation = _bare(hold, "completed", charge, at_ms)
    if generation is not None:
        _matches(generation, hold, charge)

    wallet = desk.account(hold.workspace, WALLET)
    budget = desk.budget(hold.key_id, hold.day)
    paid = min(charge, wallet.available + hold.amount_nano, _room(budget, hold))
    lost = charge - paid
    wallet.held -= hold.amount_nano
    desk.changed_accounts[hold.workspace, WALLET] = wallet
    _move(desk, hold, WALLET, REVENUE, paid, "charge", provider, at_ms)
    _move(desk, hold, LOSS, REVENUE, lost, "overrun", provider, at_ms)
    _move(desk, hold, REVENUE, PAYABLE, cost, "cost", provider, at_ms)
    for owed in platform_costs:
        _move(desk, hold, LOSS, UNRECONCILED, owed.nano, "possible cost", owed.provider, at_ms)

    _count_against_key(desk, budget, hold, charge)
    hold.state, hold.reason, hold.ended_ms = state, reason, at_ms
    hold.charged_nano, hold.lost_nano = paid, lost
    desk.changed_holds[hold.id] = hold
    if generation is not None:
        _record(desk, hold.day, generation)
    return Ended(hold.id, True, paid, lost)


def _room(budget: Budget, hold: HoldRow) -> int:
    """What the key's limit leaves for the end of this hold: what it reserved, and what nobody else
    has of the rest. A window that is over has no rest."""
    if budget.limit_nano is None:
        return AMOUNT_MAX_NANO
    if window(budget.reset, hold.day) != window(budget.reset, budget.day):
        return hold.amount_nano
    others = budget.held_nano - hold.amount_nano
    return max(hold.amount_nano, budget.limit_nano - budget.spent_nano - others)


def _count_against_key(desk: Desk, budget: Budget, hold: HoldRow, charge: int) -> None:
    """The whole charge counts, on the day of the hold: a window that is over keeps its own."""
    today = hold.day == budget.day
    if today or window(budget.reset, hold.day) == window(budget.reset, budget.day):
        budget.held_nano -= hold.amount_nano
    budget.usage_nano += charge
    if today:
        budget.usage_day_nano += charge
    if today or window("weekly", hold.day) == window("weekly", budget.day):
        budget.usage_week_nano += charge
    if today or window("monthly", hold.day) == window("monthly", budget.day):
        budget.usage_month_nano += charge
    desk.changed_budgets[budget.key_id] = budget


def _record(desk: Desk, day: int, made: Generation) -> None:
    desk.new_generations.append(made)
    at = (made.workspace, day, made.key_id, made.model, made.endpoint, made.provider)
    row = desk.rollups.get(at)
    if row is None:
        row = desk.rollups[at] = Rollup(*at)
    row.requests += 1
    row.prompt_tokens += made.prompt_tokens
    row.completion_tokens += made.completion_tokens
    row.reasoning_tokens += made.reasoning_tokens
    row.cached_tokens += made.cached_tokens
    row.charge_nano += made.charge_nano


# ---- record --------------------------------------------------------------------------------------


def _told_again(desk: Desk, command: Record) -> bool:
    """True when this delivery recorded it, False when an earlier one had."""
    made = command.generation
    used = made.prompt_tokens + made.completion_tokens + made.reasoning_tokens + made.cached_tokens
    if made.charge_nano or used or made.status != "completed":
        raise BadCommand(f"generation {made.id} has no hold and is not free")
    if made.id in desk.recorded or made.id in desk.holds:
        return False
    desk.recorded.add(made.id)
    _record(desk, day_of(made.at_ms), made)
    return True


# ---- transfer, progress --------------------------------------------------------------------------


def _transfer(desk: Desk, command: Transfer) -> bool:
    wanted = TransferRow(
        command.id,
        command.workspace,
        command.source,
        command.target,
        command.nano,
        command.reason,
        "",
        None,
        command.at_ms,
    )
    known = desk.transfers.get(command.id)
    if known is not None:
        if (known.workspace, known.source, known.target, known.nano) != (
            wanted.workspace,
            wanted.source,
            wanted.target,
            wanted.nano,
        ):
            raise IdConflict(f"transfer {command.id} exists with another content")
        return False
    _amounts(command.nano)
    if command.nano == 0 or command.source == command.target:
        raise BadCommand(f"transfer {command.id} moves nothing")
    if not {command.source, command.target} <= ACCOUNTS:
        raise BadCommand(f"transfer {command.id}: no such account")
    source = desk.account(command.workspace, command.source)
    target = desk.account(command.workspace, command.target)
    if source.kind == WALLET and source.available < command.nano:
        raise Overdrawn(f"the wallet has {source.available} nano-USD available")
    if source.posted - command.nano < -AMOUNT_MAX_NANO or (
        target.posted + command.nano > AMOUNT_MAX_NANO
    ):
        raise BadCommand(f"transfer {command.id} is more than the books can hold")
    desk.transfers[command.id] = wanted
    _book(desk, wanted)
    return True


def _progress(desk: Desk, command: Progress) -> None:
    hold = desk.holds.get(command.hold_id)
    if hold is None or hold.state != "open":
        return
    _amounts(command.charge_nano, command.cost_nano)
    hold.progress_charge_nano = max(hold.progress_charge_nano or 0, command.charge_nano)
    hold.progress_cost_nano = max(hold.progress_cost_nano or 0, command.cost_nano)
    hold.progress_of = command.of or hold.progress_of
    desk.changed_holds[hold.id] = hold


# ---- helpers -------------------------------------------------------------------------------------


def _found(desk: Desk, hold_id: str) -> HoldRow:
    hold = desk.holds.get(hold_id)
    if hold is None:
        raise UnknownHold(hold_id)
    return hold


def _already(hold: HoldRow) -> Ended:
    return Ended(hold.id, False, hold.charged_nano, hold.lost_nano)


def _amounts(*amounts: object) -> None:
    for amount in amounts:
        if type(amount) is not int or not 0 <= amount <= AMOUNT_MAX_NANO:
            raise BadCommand(f"{amount!r} is not an amount in nano-USD")


def _matches(made: Generation, hold: HoldRow, charge: int) -> None:
    said = (made.id, made.workspace, made.key_id, made.charge_nano)
    if said != (hold.id, hold.workspace, hold.key_id, charge):
        raise BadCommand(f"generation {made.id} is not what hold {hold.id} was ended with")


def _bare(
    hold: HoldRow, status: Literal["completed", "cancelled"], charge: int, at_ms: int
) -> Generation:
    """The record of a generation that nobody described, from what was journalled about it: every
    posted hold has one."""
    of = hold.progress_of or Delivered("", "", hold.provider, "", "", 0, 0, 0, 0, False)
    return Generation(
        id=hold.id,
        at_ms=hold.at_ms,
        workspace=hold.workspace,
        key_id=hold.key_id,
        model=of.model,
        provider=of.provider_name,
        endpoint=of.endpoint,
        status=status,
        charge_nano=charge,
        prompt_tokens=of.prompt_tokens,
        completion_tokens=of.completion_tokens,
        reasoning_tokens=of.reasoning_tokens,
        cached_tokens=of.cached_tokens,
        estimated=True,
        streamed=of.streamed,
        finish_reason=None,
        latency_ms=None,
        duration_ms=max(0, at_ms - hold.at_ms),
        price_version=of.price_version,
        detail=b"{}",
    )


def _move(
    desk: Desk,
    hold: HoldRow,
    source: str,
    target: str,
    nano: int,
    reason: str,
    provider: str,
    at_ms: int,
) -> None:
    if nano:
        moved = TransferRow(
            None, hold.workspace, source, target, nano, reason, provider, hold.id, at_ms
        )
        _book(desk, moved)


def _book(desk: Desk, row: TransferRow) -> None:
    """The only place where `posted` changes: both sides and the transfer, together."""
    source = desk.account(row.workspace, row.source)
    target = desk.account(row.workspace, row.target)
    source.posted -= row.nano
    target.posted += row.nano
    desk.changed_accounts[row.workspace, row.source] = source
    desk.changed_accounts[row.workspace, row.target] = target
    desk.new_transfers.append(row)


_RULES: dict[type, Callable[[Desk, Any], Answer]] = {
    Hold: _hold,
    Admit: _admit,
    Settle: _settle,
    Void: _void,
    Progress: _progress,
    Transfer: _transfer,
    Record: _told_again,
    Abandon: _abandon,
}
