"""Opening SQLite: the one place that knows its pragmas and which of its errors mean what.

Not here: transactions (writer), queries (the rooms that own the tables).

Rules. WAL and `synchronous=FULL`: an acknowledged commit survives loss of power. No automatic
checkpoint on a connection that commits, no memory map (an operator's corruption report combined
it with the WAL-reset bug). SQLite before 3.51.3 has that bug and is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

SQLITE_LEAST = (3, 51, 3)
BUSY_TIMEOUT_MS = 5_000
"""How long a writer waits for another process (the CLI) to finish its transaction."""

FAILURES: tuple[type[apsw.Error], ...] = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.InterruptError,
    apsw.IOError,
    apsw.LockedError,
    apsw.NoLFSError,
    apsw.NoMemError,
    apsw.NotADBError,
    apsw.PermissionsError,
    apsw.ProtocolError,
    apsw.ReadOnlyError,
)
"""The store failed, not the command: the same command may succeed later."""


class StoreTooOld(RuntimeError):
    """The SQLite library has the WAL-reset bug and must not be trusted with money."""


def open_writer(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """A connection that may write. Creates the folder (0700) and the file (0600) if missing.
    `vfs` names another SQLite file layer. Raises apsw.Error, OSError, StoreTooOld."""
    _refuse_old_library()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = apsw.Connection(str(path), vfs=vfs)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", 2)
    connection.pragma("foreign_keys", 1)
    connection.pragma("mmap_size", 0)
    connection.wal_autocheckpoint(0)
    return connection


def open_reader(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """A connection that can only read; the database must exist. Raises apsw.Error."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("mmap_size", 0)
    return connection


def _refuse_old_library() -> None:
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < SQLITE_LEAST:
        least = ".".join(map(str, SQLITE_LEAST))
        raise StoreTooOld(f"SQLite {version} can corrupt a WAL database; {least} is the oldest fit")
