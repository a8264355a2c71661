"""Health between processes of one home, and over a restart: digests in a table.

Not here: what a digest says and how it is merged (`routing.digest`, `routing.health`). Rules. Each
process writes its own row, every few seconds while there is something new, and reads the others'. A row without
a sign of life for GONE_S is of a process that is no more: exactly one of the others takes it over,
and its word becomes that one's own. So a restart is not a case of its own: what the last process
said is heard at once, and taken over half a minute later. Nothing depends on any of it: a database
that does not answer leaves every process with what it measures itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import apsw

from ..routing.digest import Digest, packed, unpacked
from ..routing.health import Health
from .queries import load_queries
from .sqlite import Store

GONE_S: Final = 30.0
ALIVE_S: Final = 10.0
"""A process with nothing new to say gives a sign of life this often, a third of GONE_S."""

_SQL = load_queries(Path(__file__).with_name("health.sql"))


class HealthShare:
    """One process's part. `process` is its id, never used before."""

    def __init__(self, store: Store, health: Health, process: str) -> None:
        self._store = store
        self._health = health
        self._process = process
        self._told_revision = 0
        self._alive_s = -GONE_S
        self._heard: dict[str, tuple[bytes, Digest]] = {}

    async def exchange(self, now_s: float) -> None:
        """Tell what is new, hear the others, take over what was left behind. Raises
        errors.Unavailable when the database does not answer."""
        await self.tell(now_s)
        since_ms = int((now_s - GONE_S) * 1000)
        rows, gone = await self._store.read(_look, self._process, since_ms)
        if gone:
            for body in await self._store.write(_take, self._process, since_ms):
                if (left := unpacked(body)) is not None:
                    self._health.adopt(left, now_s)
        self._hear(rows, now_s)

    async def tell(self, now_s: float) -> None:
        """Write what was measured since the last time, or that there is nothing new."""
        revision = self._health.revision
        if revision != self._told_revision:
            body = packed(self._health.tell(now_s))
            await self._store.write(_tell, self._process, int(now_s * 1000), body)
            self._told_revision, self._alive_s = revision, now_s
        elif revision and now_s - self._alive_s >= ALIVE_S:
            await self._store.write(_alive, self._process, int(now_s * 1000))
            self._alive_s = now_s

    def _hear(self, rows: list[tuple[str, bytes]], now_s: float) -> None:
        """Give health what all others say, if anything of it is new; a body is unpacked once."""
        heard: dict[str, tuple[bytes, Digest]] = {}
        for process, body in rows:
            known = self._heard.get(process)
            if known is not None and known[0] == body:
                heard[process] = known
            elif (digest := unpacked(body)) is not None:
                heard[process] = body, digest
        if heard != self._heard:
            self._heard = heard
            self._health.hear([digest for _, digest in heard.values()], now_s)


def _tell(connection: apsw.Connection, process: str, at_ms: int, body: bytes) -> None:
    connection.execute(_SQL["told"], (process, at_ms, body))


def _alive(connection: apsw.Connection, process: str, at_ms: int) -> None:
    connection.execute(_SQL["alive"], {"process": process, "at_ms": at_ms})


def _look(
    connection: apsw.Connection, process: str, since_ms: int
) -> tuple[list[tuple[str, bytes]], bool]:
    bound = {"process": process, "since_ms": since_ms}
    rows = [(name, bytes(body)) for name, body in connection.execute(_SQL["others"], bound)]
    (gone,) = next(connection.execute(_SQL["left_behind"], bound))
    return rows, gone > 0


def _take(connection: apsw.Connection, process: str, since_ms: int) -> list[bytes]:
    bound = {"process": process, "since_ms": since_ms}
    return [bytes(body) for (body,) in connection.execute(_SQL["take"], bound)]
