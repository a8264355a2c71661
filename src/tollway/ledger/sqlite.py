"""The book on SQLite: loads what a batch touches, lets the rules decide, saves what changed.

Not here: decisions and arithmetic (`rules`), threads and commits (`store`).

Each command is a plain call that queues it and gives a future: made in a `finally`, it cannot be
cancelled half-way. Commands are applied in the order in which they were called. Settle and void
stay queued until the store takes them; hold, admit, transfer and progress fail at once with
errors.store_unavailable(). A hold whose future was cancelled before its answer came is voided by
the ledger itself, since nobody can know of it.
"""

from __future__ import annotations

import logging
from asyncio import Future
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeVar

import apsw
import msgspec
from msgspec.structs import astuple

from ..store.lock import HomeLock
from ..store.queries import load_queries
from ..store.sqlite import Store
from .entries import (
    Admit,
    Answer,
    Command,
    Ended,
    Exhausted,
    Generation,
    Held,
    Hold,
    Progress,
    Record,
    Refused,
    Settle,
    Transfer,
    Void,
)
from .rows import Account, Budget, HoldRow, TransferRow, Window
from .rules import Abandon, Desk, LedgerError

log = logging.getLogger(__name__)
SQL = load_queries(Path(__file__).with_name("queries.sql"))
K = TypeVar("K")
T = TypeVar("T")


class Recovered(msgspec.Struct, frozen=True):
    """What `start` and `expire` did with holds that nobody would end."""

    settled: int
    """Ended at the progress that had been journalled."""
    released: int
    """Ended without a charge; their amounts are booked as possibly owed to the provider."""


class Ledger:
    """The port every caller knows. `clock_ms` gives Unix milliseconds."""

    def __init__(self, store: Store, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._epoch = 0
        self._lock: HomeLock | None = None
        self._batch = self._apply
        self._orphaned = self._disown

    async def start(self) -> Recovered:
        """Begin a life: lock the home, take a new epoch, end what earlier lives left open.

        Only a server that holds does this; a tool that only transfers does not. Raises HomeInUse,
        errors.store_unavailable().
        """
        self._lock = HomeLock(self._store.path.with_name("lock"))
        self._epoch = await self._store.write(_next_epoch)
        dead = await self._store.read(_ids, "dead_holds", self._epoch)
        return await self._abandon(dead, "recovered", self._clock_ms())

    async def close(self) -> None:
        """Wait for what was queued and unlock the home. The store is closed by its owner."""
        if self._store.healthy:
            await self.barrier()
        if self._lock is not None:
            self._lock.release()

    def hold(self, command: Hold) -> Future[Held | Refused]:
        """Reserve. The same id again gives the same Held. Raises in the future: HoldEnded (same
        id, already over), BadCommand, errors.store_unavailable()."""
        if self._epoch == 0:
            raise RuntimeError("the ledger has not been started")
        return self._store.submit(self._batch, command, orphaned=self._orphaned)

    def admit(self, command: Admit) -> Future[Exhausted | None]:
        """Count a hold in further limits; what is full, if one is. Raises in the future:
        UnknownHold, HoldEnded, errors.store_unavailable()."""
        return self._store.submit(self._batch, command)

    def settle(self, command: Settle) -> Future[Ended]:
        """End a hold with a charge. Raises in the future: UnknownHold (send it again after the
        hold), BadCommand."""
        return self._store.submit(self._batch, command, durable=True, idle=True)

    def void(self, command: Void) -> Future[Ended]:
        """End a hold without a charge. Raises in the future: UnknownHold, BadCommand."""
        return self._store.submit(self._batch, command, durable=True, idle=True)

    def transfer(self, command: Transfer) -> Future[bool]:
        """Move money; True when this delivery did it, False when an earlier one had. Raises in
        the future: IdConflict, Overdrawn, BadCommand, errors.store_unavailable()."""
        return self._store.submit(self._batch, command)

    def record(self, command: Record) -> Future[bool]:
        """Write down an answer out of the cache; True when this delivery did it. It waits out a
        failing store as the ends of holds do. Raises in the future: BadCommand."""
        return self._store.submit(self._batch, command, durable=True, idle=True)

    def progress(self, delivered: Sequence[Progress]) -> None:
        """Journal what has been delivered. Best effort: nothing is reported, and what is lost
        costs at most the platform."""
        for command in delivered:
            self._store.submit(self._batch, command).add_done_callback(_seen)

    def barrier(self) -> Future[None]:
        """Done when every command called before is committed."""
        return self._store.submit(self._batch, None)

    async def expire(self, now_ms: int) -> Recovered:
        """End the holds whose deadline is over, as recovery would."""
        late = await self._store.read(_ids, "late_holds", now_ms)
        return await self._abandon(late, "expired", now_ms)

    async def _abandon(
        self, ids: Sequence[str], reason: Literal["recovered", "expired"], at_ms: int
    ) -> Recovered:
        ends = [
            self._store.submit(self._batch, Abandon(hold_id, reason, at_ms), durable=True)
            for hold_id in ids
        ]
        states = [await end for end in ends]
        settled = states.count("posted")
        return Recovered(settled, len(states) - settled - states.count(None))

    def _disown(self, command: Hold, answer: object) -> None:
        """The caller was cancelled before its hold was answered."""
        if isinstance(answer, Held):
            orphan = Void(command.id, "cancelled while holding", command.at_ms, None)
            self.void(orphan).add_done_callback(_seen)

    # ---- on the writer's thread, inside its transaction ------------------------------------------

    def _apply(
        self, connection: apsw.Connection, commands: Sequence[Command | Abandon | None]
    ) -> list[Answer]:
        """One answer a command: what the rules said, or the LedgerError they raised."""
        desk = load(connection, commands, self._epoch)
        answers: list[Answer] = []
        for command in commands:
            try:
                answers.append(None if command is None else desk.apply(command))
            except LedgerError as error:
                answers.append(error)
                if isinstance(command, Settle | Void):
                    log.warning("%s refused: %r", type(command).__name__.lower(), error)
        save(connection, desk)
        return answers


def load(
    connection: apsw.Connection, commands: Sequence[Command | Abandon | None], epoch: int
) -> Desk:
    """A desk with every row these commands touch: balances as they are now, since other processes
    write too."""
    holds: set[str] = set()
    workspaces: set[str] = set()
    keys: set[str] = set()
    transfers: set[str] = set()
    buckets: set[str] = set()
    records: set[str] = set()
    for command in commands:
        match command:
            case Hold():
                holds.add(command.id)
                workspaces.add(command.workspace)
                keys.add(command.key_id)
                for count in command.counts:
                    buckets.add(count.bucket)
            case Admit():
                holds.add(command.hold_id)
                for count in command.counts:
                    buckets.add(count.bucket)
            case Transfer():
                transfers.add(command.id)
                workspaces.add(command.workspace)
            case Record():
                records.add(command.generation.id)
            case None:
                pass
            case _:
                holds.add(command.hold_id)
    found = _rows(connection, "load_holds", holds, _HOLDS)
    for row in found:
        workspaces.add(row.workspace)
        keys.add(row.key_id)
    return Desk(
        epoch,
        holds=found,
        accounts=_rows(connection, "load_accounts", workspaces, _ACCOUNTS),
        budgets=_rows(connection, "load_budgets", keys, _BUDGETS),
        transfers=_rows(connection, "load_transfers", transfers, _TRANSFERS),
        windows=_rows(connection, "load_windows", buckets, _WINDOWS),
        recorded=_rows(connection, "load_recorded", records, _IDS),
    )


def _rows(
    connection: apsw.Connection,
    query: str,
    wanted: set[str],
    decoder: msgspec.json.Decoder[list[T]],
) -> list[T]:
    """The rows of some ids; of none, nothing is asked."""
    if not wanted:
        return []
    found: Any = connection.execute(SQL[query], (_json(wanted),)).get
    return decoder.decode(found)


def save(connection: apsw.Connection, desk: Desk) -> None:
    """Write what changed on a desk, a table at a time. Holds and transfers, which every request
    has of its own, go together as JSON: bound one by one, each would hand over the interpreter
    lock. Rows that requests share are few; a generation's detail would be JSON within JSON."""
    _write(connection, "add_holds", [*map(_NEW_HOLD, desk.new_holds)])
    _write(connection, "change_holds", [*map(_HOLD_CHANGE, desk.changed_holds.values())])
    _write(connection, "add_transfers", desk.new_transfers)
    new_accounts, old_accounts = _apart(desk.changed_accounts, desk.stored_accounts)
    _write_each(connection, "add_account", new_accounts)
    _write_each(connection, "change_account", old_accounts)
    new_budgets, old_budgets = _apart(desk.changed_budgets, desk.stored_budgets)
    _write_each(connection, "save_budget", new_budgets)
    _write_each(connection, "change_budget", old_budgets)
    _write_each(connection, "save_window", desk.changed_windows.values())
    _write_each(connection, "add_rollup", desk.rollups.values())
    if desk.new_generations:
        connection.executemany(
            SQL["add_generation"], [_generation_row(made) for made in desk.new_generations]
        )


def _apart(changed: Mapping[K, T], stored: Set[K]) -> tuple[list[T], list[T]]:
    """(new, old): rows that the table does not have yet, and rows that it has."""
    new = [row for key, row in changed.items() if key not in stored]
    return new, [row for key, row in changed.items() if key in stored]


def _write(connection: apsw.Connection, query: str, rows: Sequence[Any]) -> None:
    if rows:
        connection.execute(SQL[query], (_json(rows),))


def _write_each(connection: apsw.Connection, query: str, rows: Collection[Any]) -> None:
    if rows:
        connection.executemany(SQL[query], map(astuple, rows))


def _generation_row(made: Generation) -> tuple[Any, ...]:
    return (*astuple(made)[:-1], made.detail.decode())


def _json(value: Any) -> str:
    return _ENCODER.encode(value).decode()


def _next_epoch(connection: apsw.Connection) -> int:
    epoch: int = connection.execute(SQL["next_epoch"]).get
    return epoch


def _ids(connection: apsw.Connection, query: str, bound: int) -> list[str]:
    return [row[0] for row in connection.execute(SQL[query], (bound,))]


def _seen(done: Future[Any]) -> None:
    """Nobody waits for this answer: take its error so that it is not reported as forgotten."""
    if not done.cancelled():
        done.exception()


_NEW_HOLD = attrgetter(
    "id",
    "workspace",
    "key_id",
    "provider",
    "amount_nano",
    "at_ms",
    "day",
    "deadline_ms",
    "epoch",
)
_HOLD_CHANGE = attrgetter(
    "id",
    "state",
    "progress_charge_nano",
    "progress_cost_nano",
    "charged_nano",
    "lost_nano",
    "ended_ms",
    "reason",
    "progress_of",
)
"""In the order of `add_holds` and `change_holds`."""
_ENCODER = msgspec.json.Encoder()
_HOLDS = msgspec.json.Decoder(list[HoldRow])
_ACCOUNTS = msgspec.json.Decoder(list[Account])
_BUDGETS = msgspec.json.Decoder(list[Budget])
_WINDOWS = msgspec.json.Decoder(list[Window])
_TRANSFERS = msgspec.json.Decoder(list[TransferRow])
_IDS = msgspec.json.Decoder(list[str])
