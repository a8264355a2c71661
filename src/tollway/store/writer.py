"""The writer thread: the only one that commits. Group commit without a timer.

It takes what is queued (at most 512 commands), runs one transaction, one fsync, and completes the
futures with one call into the event loop. Light load gives batches of one and the lowest latency;
heavy load makes the batches bigger by itself.

Not here: what commands mean. A *batcher* applies a run of commands inside an open transaction and
gives one answer each; an answer that is an exception is raised where the command was awaited.

Rules. A command that breaks the batch is run again alone: its neighbours never fail with it. When
the store itself fails (disk full, I/O error, locked too long), durable commands (the ends of
holds) stay queued and are tried again until they succeed; all others fail at once with 503.
"""

from __future__ import annotations

import logging
import threading
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter
from typing import Any

import apsw
import msgspec

from ..errors import store_unavailable
from .connect import FAILURES

BATCH_MAX = 512
RETRY_FIRST_S = 0.05
RETRY_MOST_S = 1.0
"""Back-off between attempts on a failing store: short, since people wait; capped, since a full
disk is emptied by hand."""
FSYNC_SAMPLES = 512
IDLE_S = 0.005
"""How long a command that nobody waits for may wait for company: with little to do, the end of one
request shares its commit with the hold of the next, which would have waited for it."""

Batcher = Callable[[apsw.Connection, Sequence[Any]], Sequence[Any]]
log = logging.getLogger(__name__)


class Item(msgspec.Struct, frozen=True):
    apply: Batcher
    command: Any
    future: Future[Any]
    durable: bool
    alone: bool
    """Runs in a transaction of its own."""
    orphaned: Callable[[Any, Any], None] | None
    """Told (command, answer) when the future was cancelled before the answer came."""


class CommitStats(msgspec.Struct, frozen=True):
    """What the writer has done since it started. Seconds are those of COMMIT, mostly fsync."""

    commits: int
    commands: int
    failures: int
    """Transactions that the store could not commit."""
    last_batch: int
    largest_batch: int
    total_s: float
    last_s: float
    p50_s: float
    p99_s: float
    """Percentiles over the last 512 commits."""
    waiting: int
    """Ends of holds that wait for the store to recover."""


class _StoreFailed(Exception):
    pass


class Writer:
    """Owns the writing connection from `start` to `stop`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._queue: SimpleQueue[list[Item] | None] = SimpleQueue()
        self._outbox: list[Item] = []
        """Submitted in this turn of the event loop: handed over at its end, all with one wake-up,
        since waking a thread costs the loop more than everything else in `submit`."""
        self._posting = False
        """The outbox is handed over at the end of this turn."""
        self._idle: TimerHandle | None = None
        """Hands it over later, when nothing in it is in a hurry."""
        self._refusing = False
        self._waiting: list[Item] = []
        self._loop: AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._retry_at = 0.0
        self._retry_s = RETRY_FIRST_S
        self._stopping = False
        self._samples = [0.0] * FSYNC_SAMPLES
        self._total_s = 0.0
        self.commits = self._commands = self._failures = self._last = self._largest = 0
        self.healthy = True
        self.must_checkpoint = False
        """Set by the checkpointer when the WAL outgrows what it can do beside our commits."""

    def start(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="tollway-writer", daemon=True)
        self._thread.start()

    def refuse(self) -> None:
        """Hand over what was submitted and take no more; from the event loop's thread, before
        `stop`."""
        self._refusing = True
        self._post()

    def stop(self) -> None:
        """Commit everything queued and end the thread. Blocks; what a failing store cannot take
        at the last attempt fails with 503 and is recovered at the next start."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def submit(
        self,
        apply: Batcher,
        command: Any,
        *,
        durable: bool = False,
        alone: bool = False,
        idle: bool = False,
        orphaned: Callable[[Any, Any], None] | None = None,
    ) -> Future[Any]:
        """Queue a command, from the event loop's thread; commands are applied in this order. For an
        `idle` one the thread is not woken at once."""
        if self._loop is None:
            raise RuntimeError("the store has not been started")
        future: Future[Any] = self._loop.create_future()
        if self._thread is None or self._refusing:
            future.set_exception(store_unavailable())
            return future
        if not idle:
            if not self._posting:
                self._posting = True
                self._loop.call_soon(self._post)
        elif self._idle is None:
            self._idle = self._loop.call_later(IDLE_S, self._post_idle)
        self._outbox.append(Item(apply, command, future, durable, alone, orphaned))
        return future

    def _post_idle(self) -> None:
        self._idle = None
        self._post()

    def _post(self) -> None:
        self._posting = False
        if self._outbox:
            self._queue.put(self._outbox)
            self._outbox = []

    def stats(self) -> CommitStats:
        samples = sorted(self._samples[: min(self.commits, FSYNC_SAMPLES)]) or [0.0]
        return CommitStats(
            commits=self.commits,
            commands=self._commands,
            failures=self._failures,
            last_batch=self._last,
            largest_batch=self._largest,
            total_s=self._total_s,
            last_s=self._samples[(self.commits - 1) % FSYNC_SAMPLES],
            p50_s=samples[len(samples) // 2],
            p99_s=samples[len(samples) * 99 // 100],
            waiting=len(self._waiting),
        )

    # ---- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not (self._stopping and self._queue.empty()):
            items = self._take()
            if not self.healthy and monotonic() < self._retry_at and not self._stopping:
                self._park(items)
                continue
            self._work([*self._waiting, *items])
            if self.must_checkpoint:
                self._checkpoint()
        if self._waiting:
            log.error("%d ends of holds are left to recovery", len(self._waiting))
            self._answer(self._waiting, [store_unavailable()] * len(self._waiting))

    def _take(self) -> list[Item]:
        timeout = None if self.healthy else max(0.0, self._retry_at - monotonic())
        items: list[Item] = []
        try:
            posted = self._queue.get(timeout=timeout)
        except Empty:
            return items
        while True:
            if posted is None:
                self._stopping = True
            else:
                items += posted
            if len(items) >= BATCH_MAX or self._queue.empty():
                return items
            posted = self._queue.get_nowait()

    def _work(self, items: list[Item]) -> None:
        self._waiting = []
        done = 0
        try:
            if not items and not self.healthy:
                self._probe()
                self._works()
            for batch in _batches(items):
                answers = self._commit(batch)
                done += len(batch)
                self._works()
                self._answer(batch, answers)
        except _StoreFailed as failure:
            self._failures += 1
            if self.healthy:
                log.error("the store failed: %s", failure.__cause__)
            self.healthy = False
            self._retry_at = monotonic() + self._retry_s
            self._retry_s = min(self._retry_s * 2, RETRY_MOST_S)
            self._park(items[done:])

    def _works(self) -> None:
        if not self.healthy:
            log.warning("the store works again")
            self.healthy = True
            self._retry_s = RETRY_FIRST_S

    def _park(self, items: Sequence[Item]) -> None:
        self._waiting += [item for item in items if item.durable]
        refused = [item for item in items if not item.durable]
        self._answer(refused, [store_unavailable() for _ in refused])

    def _commit(self, batch: Sequence[Item]) -> Sequence[Any]:
        """One transaction; when a command breaks it, each alone. Raises _StoreFailed."""
        try:
            return self._transaction(batch)
        except FAILURES as error:
            raise _StoreFailed from error
        except Exception as error:  # noqa: BLE001 - a command's task ends here: its future records it
            if len(batch) == 1:
                return [error]
        return [self._commit([item])[0] for item in batch]

    def _transaction(self, batch: Sequence[Item]) -> Sequence[Any]:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            answers = batch[0].apply(connection, [item.command for item in batch])
            began = perf_counter()
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                self._rollback()
        took_s = perf_counter() - began
        self._samples[self.commits % FSYNC_SAMPLES] = took_s
        self._total_s += took_s
        self.commits += 1
        self._commands += len(batch)
        self._last = len(batch)
        self._largest = max(self._largest, len(batch))
        return answers

    def _rollback(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except FAILURES as error:
            log.error("rolling back failed: %s", error)

    def _probe(self) -> None:
        """Ask a failing store for a durable write that changes nothing. Raises _StoreFailed."""
        try:
            self._connection.execute("UPDATE meta SET value = value WHERE name = 'epoch'")
        except FAILURES as error:
            raise _StoreFailed from error

    def _checkpoint(self) -> None:
        self.must_checkpoint = False
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except FAILURES as error:
            log.warning("checkpoint failed: %s", error)

    def _answer(self, items: Sequence[Item], answers: Sequence[Any]) -> None:
        if items and self._loop is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(_complete, items, answers)
            except RuntimeError:
                log.warning("the event loop closed before its store")


def _batches(items: Sequence[Item]) -> list[list[Item]]:
    """Runs of commands for the same batcher, in order, each at most BATCH_MAX long."""
    batches: list[list[Item]] = []
    batch: list[Item] = []
    apply: Batcher | None = None
    for item in items:
        if item.apply != apply or item.alone or len(batch) == BATCH_MAX:
            batch = []
            batches.append(batch)
            apply = None if item.alone else item.apply
        batch.append(item)
    return batches


def _complete(items: Sequence[Item], answers: Sequence[Any]) -> None:
    for item, answer in zip(items, answers, strict=True):
        future = item.future
        if future.done():
            if item.orphaned is not None:
                item.orphaned(item.command, answer)
        elif isinstance(answer, Exception):
            future.set_exception(answer)
            if item.durable:
                future.exception()  # the ends of holds are often not awaited; who refuses, logs
        else:
            future.set_result(answer)
