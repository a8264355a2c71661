"""The store: one SQLite database, one writer thread, a few readers.

Not here: what is stored. Rooms bring their own `.sql`; the ledger brings a batcher.

Rules. Only the writer thread writes. Reads run on read-only connections in a small pool of
threads and see everything that was acknowledged. Foreign errors are translated here: what the
store cannot do now is `errors.store_unavailable()`, everything else is the caller's own bug.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import apsw

from ..errors import store_unavailable
from .connect import FAILURES, open_reader, open_writer
from .migrate import migrate
from .writer import Batcher, CommitStats, Writer

READERS = 4
CHECKPOINT_EVERY_S = 0.5
WAL_PAGES_MAX = 16_384
"""64 MiB of WAL: above it the writer itself pauses for a checkpoint, since one beside a busy
writer never reaches the end and the file would grow for ever."""

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)


class Store:
    """`Store.open(path)`, `start(loop)`, then `read`, `write` and the ledger's `submit`."""

    def __init__(self, path: Path, connection: apsw.Connection, vfs: str | None) -> None:
        self.path = path
        self._vfs = vfs
        self._connection = connection
        self._writer = Writer(connection)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="tollway-read")
        self._local = threading.local()
        self._opened: list[apsw.Connection] = []
        self._stop = threading.Event()
        self._checkpointer: threading.Thread | None = None
        self._closed = False

    @classmethod
    def open(cls, path: Path, *, vfs: str | None = None) -> Store:
        """Open or create the database and bring its schema up to date.

        Raises StoreTooNew (written by a newer Tollway), StoreTooOld (SQLite library), and
        errors.store_unavailable() when the file cannot be opened or is no database.
        """
        try:
            connection = open_writer(path, vfs=vfs)
            migrate(connection)
        except FAILURES as error:
            unavailable = store_unavailable()
            unavailable.add_note(f"{path} cannot be opened: {error}")  # for the operator
            raise unavailable from error
        return cls(path, connection, vfs)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the writer; answers are delivered in `loop`."""
        self._writer.start(loop)
        self._checkpointer = threading.Thread(
            target=self._checkpoint, name="tollway-checkpoint", daemon=True
        )
        self._checkpointer.start()

    async def close(self) -> None:
        """Commit what is queued, deliver the answers, close every connection. Twice is once."""
        if self._closed:
            return
        self._closed = True
        self._writer.refuse()
        self._stop.set()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._close)
        await asyncio.sleep(0)  # answers were put into this loop before the thread ended

    @property
    def healthy(self) -> bool:
        """False from a failed commit until one succeeds again."""
        return self._writer.healthy and not self._closed

    def stats(self) -> CommitStats:
        return self._writer.stats()

    def submit(
        self,
        apply: Batcher,
        command: Any,
        *,
        durable: bool = False,
        idle: bool = False,
        orphaned: Callable[[Any, Any], None] | None = None,
    ) -> asyncio.Future[Any]:
        """Queue a command for group commit, in order; an `idle` one within milliseconds. Cancelling
        the future does not stop it; `orphaned(command, answer)` is then told in the loop. A
        `durable` command waits out a failing store, others fail with errors.store_unavailable()."""
        return self._writer.submit(apply, command, durable=durable, idle=idle, orphaned=orphaned)

    async def write(
        self, fn: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn(connection, …)` as a transaction of its own, after everything queued before.
        It commits when `fn` returns and rolls back with whatever `fn` raises. Raises
        errors.store_unavailable() when it could not be committed."""

        def alone(connection: apsw.Connection, _: object) -> list[T]:
            return [fn(connection, *args, **kwargs)]

        result: T = await self._writer.submit(alone, None, alone=True)
        return result

    async def read(
        self, fn: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn(connection, …)` in a reader's thread, in one snapshot that has everything
        acknowledged before. Raises errors.store_unavailable()."""
        if self._closed:
            raise store_unavailable()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._readers, lambda: self._snapshot(lambda c: fn(c, *args, **kwargs))
        )

    # ---- other threads ---------------------------------------------------------------------------

    def _snapshot(self, fn: Callable[[apsw.Connection], T]) -> T:
        try:
            connection: apsw.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = open_reader(self.path, vfs=self._vfs)
                self._opened.append(connection)
            connection.execute("BEGIN")
            try:
                return fn(connection)
            finally:
                connection.execute("ROLLBACK")
        except FAILURES as error:
            raise store_unavailable() from error

    def _checkpoint(self) -> None:
        """Move the WAL into the database beside the writer, never on a committing connection:
        that is what made one commit in a hundred take 70 ms instead of 25."""
        seen = 0
        connection: apsw.Connection | None = None
        while not self._stop.wait(CHECKPOINT_EVERY_S):
            commits = self._writer.commits
            if commits == seen:
                continue
            try:
                if connection is None:
                    connection = open_writer(self.path, vfs=self._vfs)
                pages, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                self._writer.must_checkpoint = pages > WAL_PAGES_MAX
                seen = commits
            except FAILURES as error:
                log.warning("checkpoint failed: %s", error)
        if connection is not None:
            connection.close()

    def _close(self) -> None:
        self._writer.stop()
        if self._checkpointer is not None:
            self._checkpointer.join()
        self._readers.shutdown(wait=True)
        for connection in (*self._opened, self._connection):
            try:
                connection.close()
            except FAILURES as error:
                log.warning("closing a connection failed: %s", error)
