"""Key limits, changed by the control plane inside its own transaction (`Store.write`).

The row is the one the rules read in the same transaction as a hold, so a changed limit and a hold
can never pass each other.
"""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec

from ..store.queries import load_queries
from .entries import Reset
from .rows import Budget
from .rules import roll
from .windows import day_of, window

SQL = load_queries(Path(__file__).with_name("queries.sql"))


def set_budget(
    connection: apsw.Connection,
    key_id: str,
    *,
    limit_nano: int | None,
    reset: Reset | None,
    now_ms: int,
) -> Budget:
    """Create or change a key's limit. What the key has used is kept: against a new `reset`, what
    it used in that window counts at once. Call it inside a transaction. Raises apsw.Error."""
    budget = read_budget(connection, key_id) or Budget(key_id, None, None, day_of(now_ms))
    if day_of(now_ms) > budget.day:
        roll(budget, day_of(now_ms))
    budget.limit_nano, budget.reset = limit_nano, reset
    current = window(reset, budget.day)
    held = connection.execute(SQL["held_by_day"], (key_id,))
    budget.held_nano = sum(nano for day, nano in held if window(reset, day) == current)
    connection.execute(SQL["save_budget"], msgspec.structs.astuple(budget))
    return budget


def read_budget(connection: apsw.Connection, key_id: str) -> Budget | None:
    """The row as it was last written: its windows may be over, see `reads.key_usage`."""
    rows = connection.execute(SQL["budget"], (key_id,)).fetchall()
    return msgspec.convert(rows[0], Budget) if rows else None
