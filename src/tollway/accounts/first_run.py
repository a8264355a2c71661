"""The first start of an installation: a workspace, some credit, one key.

Each step can be repeated without effect, and the mark that it is done is written with the key, so a
crash in between is mended by the next start and no second key or grant ever appears.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from ..ledger.entries import Transfer
from ..ledger.rows import CLEARING, WALLET
from ..ledger.sqlite import Ledger
from ..store.queries import load_queries
from ..store.sqlite import Store
from . import workspaces
from .keyformat import key_text
from .keys import DEFAULT_WORKSPACE, NewKey, insert
from .workspaces import Workspace

GRANT_ID = "grant-first-run"
_DONE = "first_run_ms"
_SQL = load_queries(Path(__file__).with_name("queries.sql"))


async def ensure_default(
    store: Store,
    ledger: Ledger,
    pepper: bytes,
    *,
    grant_nano: int,
    now_ms: int,
    entropy: bytes,
) -> str | None:
    """On the first start: the workspace `default`, an operator's grant of `grant_nano` to its
    wallet, and one key, whose text is returned; it is shown nowhere else. Later, or when somebody
    has already made a key: None.

    `entropy` is 32 random bytes. Raises Unavailable.
    """
    if await store.read(_setting, _DONE) is not None:
        return None
    await ensure_workspace(store, ledger, grant_nano=grant_nano, now_ms=now_ms)
    text = key_text(entropy)
    made = await store.write(_make_first_key, pepper, text, now_ms)
    return text if made else None


async def ensure_workspace(store: Store, ledger: Ledger, *, grant_nano: int, now_ms: int) -> None:
    """The workspace `default` and its first credit, once in the life of a database."""
    if await store.read(_setting, _DONE) is not None:
        return
    await store.write(_make_workspace, now_ms)
    if grant_nano:
        grant = Transfer(
            id=GRANT_ID,
            workspace=DEFAULT_WORKSPACE,
            source=CLEARING,
            target=WALLET,
            nano=grant_nano,
            reason="operator grant of the first start",
            at_ms=now_ms,
        )
        await ledger.transfer(grant)


def _make_workspace(connection: apsw.Connection, now_ms: int) -> None:
    workspaces.make(connection, Workspace(DEFAULT_WORKSPACE, "Default", now_ms))


def _make_first_key(connection: apsw.Connection, pepper: bytes, text: str, now_ms: int) -> bool:
    """False when another process was faster, or a key was made by hand before the first start."""
    if _setting(connection, _DONE) is not None:
        return False
    wanted = not connection.execute(_SQL["keys_all"]).fetchall()
    if wanted:
        insert(connection, pepper, NewKey(name="default"), text, now_ms)
    connection.execute(_SQL["setting_put"], {"name": _DONE, "value": str(now_ms)})
    return wanted


def _setting(connection: apsw.Connection, name: str) -> str | None:
    value = connection.execute(_SQL["setting_get"], {"name": name}).get
    return None if value is None else str(value)
