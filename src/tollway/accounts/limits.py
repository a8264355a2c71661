"""A key's limit, as written into the ledger's `budget` row.

Not here: spending against it (ledger.rules). Runs inside the transaction that writes the key.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from ..ledger.entries import Reset
from ..ledger.rows import Budget
from ..ledger.rules import roll
from ..ledger.windows import day_of, window
from ..store.queries import load_queries

_SQL = load_queries(Path(__file__).with_name("queries.sql"))


def put_limit(
    connection: apsw.Connection,
    key_id: str,
    limit_nano: int | None,
    reset: Reset | None,
    now_ms: int,
) -> None:
    """Set the limit and its reset; None = no limit, None = never reset. What was spent stays.

    Another reset is another window, so what running requests hold in it is counted anew from the
    holds themselves.
    """
    today = day_of(now_ms)
    row = connection.execute(_SQL["budget_get"], {"key_id": key_id}).get
    if row is None:
        budget = Budget(key_id, limit_nano, reset, today)
    else:
        budget = Budget(key_id, *row)
        if today > budget.day:
            roll(budget, today)
        budget.limit_nano = limit_nano
        if budget.reset != reset:
            budget.reset = reset
            here = window(reset, budget.day)
            open_holds = connection.execute(_SQL["open_holds_of_key"], {"key_id": key_id})
            budget.held_nano = sum(nano for nano, day in open_holds if window(reset, day) == here)
    names = Budget.__struct_fields__
    connection.execute(_SQL["budget_put"], {name: getattr(budget, name) for name in names})
