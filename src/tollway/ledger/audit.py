"""The auditor: asks the books whether every invariant holds. Changes nothing, decides nothing.

Not here: the invariants, which are the named queries of `audit.sql`, each with its explanation.
One read transaction sees one moment, so it can run beside a working server. It reads everything:
minutes on a large database, never on the event loop (`await store.read(audit)`).
"""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec

from ..store.queries import load_queries

SQL = load_queries(Path(__file__).with_name("audit.sql"))
PLACES_MAX = 20
"""Places named per invariant: a broken one is often broken everywhere."""


class Violation(msgspec.Struct, frozen=True):
    invariant: str
    detail: str
    """Where it is broken, with both figures."""
    explanation: str
    """What must be true."""


def audit(connection: apsw.Connection) -> list[Violation]:
    """Every violated invariant, empty when the books are in order. Raises apsw.Error."""
    found: list[Violation] = []
    for name, query in SQL.items():
        cursor = connection.execute(query)
        for n, (detail,) in enumerate(cursor):
            if n == PLACES_MAX:
                cursor.close(True)
                found.append(Violation(name, "… and more", SQL.about[name]))
                break
            found.append(Violation(name, str(detail), SQL.about[name]))
    return found
