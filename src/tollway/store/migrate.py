"""Migrations: numbered `.sql` files, applied once each, in order, forward only.

Each runs in its own transaction together with the row that records it, so that two processes
starting at once apply it once. A database that knows a number we do not is refused.
"""

from __future__ import annotations

from pathlib import Path

import apsw

FOLDER = Path(__file__).parent / "migrations"

_LEDGER_OF_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS migration (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  applied_s INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT
"""


class StoreTooNew(RuntimeError):
    """The database was written by a newer Tollway than this one."""


def migrate(connection: apsw.Connection, folder: Path = FOLDER) -> list[int]:
    """Bring the database to this code's schema; the numbers applied. Raises StoreTooNew,
    apsw.Error, ValueError for a badly named file."""
    known = _files(folder)
    applied: list[int] = []
    if _missing(connection, known):
        for number, path in sorted(known.items()):
            if _apply(connection, number, path):
                applied.append(number)
    return applied


def _missing(connection: apsw.Connection, known: dict[int, Path]) -> set[int]:
    if connection.table_exists(None, "migration"):
        recorded = {n for (n,) in connection.execute("SELECT number FROM migration")}
    else:
        recorded = set()
    if newer := recorded - set(known):
        raise StoreTooNew(
            f"the database has migration {max(newer)}, this Tollway knows up to "
            f"{max(known, default=0)}: start it with the newer version that wrote it"
        )
    return set(known) - recorded


def _apply(connection: apsw.Connection, number: int, path: Path) -> bool:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_LEDGER_OF_MIGRATIONS)
        found = connection.execute("SELECT 1 FROM migration WHERE number = ?", (number,)).get
        if found is None:
            connection.execute(path.read_text("utf-8"))
            connection.execute(
                "INSERT INTO migration VALUES (?, ?, unixepoch())", (number, path.name)
            )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return found is None


def _files(folder: Path) -> dict[int, Path]:
    numbered: dict[int, Path] = {}
    for path in sorted(folder.glob("*.sql")):
        digits = path.name.partition("_")[0]
        if not digits.isdigit() or int(digits) in numbered:
            raise ValueError(f"{path.name}: migrations are named NNNN_what.sql, each number once")
        numbered[int(digits)] = path
    return numbered
