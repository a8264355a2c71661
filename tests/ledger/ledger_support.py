"""Books in memory for tests: the real SQL and the real rules, without threads, disk or fsync.

The modules are arguments so that the same checks can be run against mutated ones.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import apsw

from tollway.ledger import budgets, rules, sqlite
from tollway.ledger.audit import audit
from tollway.ledger.entries import Generation, Hold, Settle, Transfer, Void
from tollway.store.migrate import migrate

WS = "ws"
KEY = "key"
DAY_MS = 86_400_000


def at(iso: str) -> int:
    """`2026-11-23T00:00:00` (UTC) in Unix milliseconds."""
    return int(datetime.fromisoformat(iso).replace(tzinfo=UTC).timestamp() * 1000)


_EMPTY: list[bytes] = []


def empty_database() -> apsw.Connection:
    """A migrated database in memory."""
    connection = apsw.Connection(":memory:")
    if not _EMPTY:
        migrate(connection)
        _EMPTY.append(connection.serialize("main"))
        return connection
    connection.deserialize("main", _EMPTY[0])
    return connection


class Books:
    def __init__(self, rules_: ModuleType = rules, sqlite_: ModuleType = sqlite) -> None:
        self.rules, self.sqlite = rules_, sqlite_
        self.connection = empty_database()
        self.epoch = 1

    def apply(self, *commands: Any) -> list[Any]:
        """One batch; a refused command answers with its error."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            desk = self.sqlite.load(self.connection, commands, self.epoch)
            answers = []
            for command in commands:
                try:
                    answers.append(desk.apply(command))
                except self.rules.LedgerError as error:
                    answers.append(error)
            self.sqlite.save(self.connection, desk)
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        return answers

    def one(self, command: Any) -> Any:
        return self.apply(command)[0]

    def grant(self, nano: int, workspace: str = WS) -> None:
        assert self.one(grant(f"grant-{self.count('transfer')}", nano, workspace)) is True

    def budget(
        self, limit_nano: int | None, reset: Any = None, now_ms: int = 0, key: str = KEY
    ) -> None:
        with self.connection:
            budgets.set_budget(
                self.connection, key, limit_nano=limit_nano, reset=reset, now_ms=now_ms
            )

    def count(self, table: str) -> int:
        queries = {
            "transfer": "SELECT count(*) FROM transfer",
            "hold": "SELECT count(*) FROM hold",
            "generation": "SELECT count(*) FROM generation",
        }
        found: int = self.connection.execute(queries[table]).get
        return found

    def posted(self, workspace: str = WS) -> dict[str, int]:
        query = "SELECT kind, posted FROM account WHERE workspace = ?"
        return {kind: nano for kind, nano in self.connection.execute(query, (workspace,)) if nano}

    def held(self, workspace: str = WS) -> int:
        query = "SELECT held FROM account WHERE workspace = ? AND kind = 'wallet'"
        return self.connection.execute(query, (workspace,)).get or 0

    def violations(self) -> list[str]:
        return [f"{v.invariant}: {v.detail}" for v in audit(self.connection)]


def grant(id: str, nano: int, workspace: str = WS) -> Transfer:
    return Transfer(id, workspace, "payments_clearing", "wallet", nano, "grant", 1)


def hold(id: str, wanted: int, least: int | None = None, at_ms: int = 0, **more: Any) -> Hold:
    fields = {"workspace": WS, "key_id": KEY, "provider": "mock", **more}
    deadline = fields.pop("deadline_ms", at_ms + 600_000)
    return Hold(
        id,
        wanted_nano=wanted,
        least_nano=wanted if least is None else least,
        at_ms=at_ms,
        deadline_ms=deadline,
        **fields,
    )


def settle(
    id: str, charge: int, cost: int = 0, at_ms: int = 0, made: Any = None, owed: Any = ()
) -> Settle:
    return Settle(id, charge, cost, "mock", at_ms, made, tuple(owed))


def void(id: str, at_ms: int = 0, made: Any = None, owed: Any = ()) -> Void:
    return Void(id, "failed", at_ms, made, tuple(owed))


def generation(id: str, charge: int, at_ms: int = 0, **more: Any) -> Generation:
    fields: dict[str, Any] = {
        "id": id,
        "at_ms": at_ms,
        "workspace": WS,
        "key_id": KEY,
        "model": "author/model",
        "provider": "Mock",
        "endpoint": "author/model@mock",
        "status": "completed",
        "charge_nano": charge,
        "prompt_tokens": 10,
        "completion_tokens": 20,
        "reasoning_tokens": 3,
        "cached_tokens": 4,
        "estimated": False,
        "streamed": True,
        "finish_reason": "stop",
        "latency_ms": 5,
        "duration_ms": 9,
        "price_version": "1",
        "detail": b'{"attempts":[]}',
        **more,
    }
    return Generation(**fields)


def told_again(id: str, source: str, at_ms: int = 0, **more: Any) -> Generation:
    """An answer out of the cache."""
    nothing = {f"{kind}_tokens": 0 for kind in ("prompt", "completion", "reasoning", "cached")}
    detail = f'{{"response_cache_source_id":"{source}"}}'.encode()
    return generation(id, 0, at_ms, detail=detail, **{**nothing, **more})
