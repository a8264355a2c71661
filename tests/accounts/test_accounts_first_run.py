import asyncio
import os
from pathlib import Path

import apsw
import pytest

from support.control import NOW_S, house
from tollway import errors
from tollway.accounts import keys, workspaces
from tollway.accounts.first_run import ensure_default
from tollway.accounts.keyformat import key_digest, looks_like_key
from tollway.ledger import reads
from tollway.ledger.audit import audit

NOW_MS = int(NOW_S * 1000)
GRANT = 5_000_000_000


def forget_the_first_run(connection: apsw.Connection) -> None:
    """As a database is before its first start, but for the grant."""
    connection.execute("DELETE FROM setting WHERE name = 'first_run_ms'")
    connection.execute("DELETE FROM key")


async def test_a_key_made_by_hand_before_the_first_start_is_enough(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await home.store.write(
            lambda c: c.execute("DELETE FROM setting WHERE name = 'first_run_ms'")
        )
        start = {"grant_nano": GRANT, "now_ms": NOW_MS, "entropy": os.urandom(32)}
        assert await ensure_default(home.store, home.gateway.ledger, home.pepper, **start) is None


async def test_the_first_start_makes_a_workspace_credit_and_one_key(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        assert looks_like_key(home.first_key)
        found = await home.store.read(keys.by_digest, key_digest(home.pepper, home.first_key))
        assert found is not None
        assert (found.workspace_id, found.name, found.management) == ("default", "default", False)
        assert [w.id for w in await home.store.read(workspaces.every)] == ["default"]
        assert (await home.store.read(reads.balance, "default")).available_nano == GRANT
        assert await home.store.read(audit) == []


async def test_later_starts_make_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = home.first_key
    async with house(tmp_path) as home:
        assert first and home.first_key == ""
        assert len(await keys.list_keys(home.store, now_ms=NOW_MS)) == 1
        assert (await home.store.read(reads.balance, "default")).available_nano == GRANT


async def test_deleting_the_first_key_does_not_bring_it_back(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        (only,) = await keys.list_keys(home.store, now_ms=NOW_MS)
        await keys.delete_key(home.store, only.hash)
    async with house(tmp_path) as home:
        assert home.first_key == ""
        assert await keys.list_keys(home.store, now_ms=NOW_MS) == []


async def test_a_crash_in_between_is_mended_without_a_second_grant(tmp_path: Path) -> None:
    async with house(tmp_path) as home:

        class KeylessStore:
            """Dies before the key is written."""

            def __getattr__(self, name: str) -> object:
                return getattr(home.store, name)

            async def write(self, fn: object, *args: object) -> object:
                if getattr(fn, "__name__", "") == "_make_first_key":
                    raise errors.store_unavailable()
                return await home.store.write(fn, *args)  # type: ignore[arg-type]

        await home.store.write(forget_the_first_run)

        async def start(store: object) -> str | None:
            return await ensure_default(
                store,  # type: ignore[arg-type]
                home.gateway.ledger,
                home.pepper,
                grant_nano=GRANT,
                now_ms=NOW_MS,
                entropy=os.urandom(32),
            )

        with pytest.raises(errors.Unavailable):
            await start(KeylessStore())
        assert looks_like_key(await start(home.store) or "")
        assert await start(home.store) is None
        assert (await home.store.read(reads.balance, "default")).available_nano == GRANT


async def test_two_first_starts_at_once_make_one_key(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await home.store.write(forget_the_first_run)
        starts = [
            ensure_default(
                home.store,
                home.gateway.ledger,
                home.pepper,
                grant_nano=GRANT,
                now_ms=NOW_MS,
                entropy=os.urandom(32),
            )
            for _ in range(8)
        ]
        made = [key for key in await asyncio.gather(*starts) if key]
        assert len(made) == 1
        assert len(await keys.list_keys(home.store, now_ms=NOW_MS)) == 1


async def test_without_a_grant_the_wallet_is_empty(tmp_path: Path) -> None:
    async with house(tmp_path, grant_nano=0) as home:
        assert home.first_key
        assert (await home.store.read(reads.balance, "default")).available_nano == 0
