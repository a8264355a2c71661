from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tollway.errors import Unavailable
from tollway.store import connect, sqlite
from tollway.store.migrate import StoreTooNew
from tollway.store.sqlite import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store.open(tmp_path / "home" / "tollway.db")
    made.start(asyncio.get_running_loop())
    await made.write(lambda c: c.execute("CREATE TABLE note (n INTEGER UNIQUE) STRICT"))
    yield made
    await made.close()


def add(connection: apsw.Connection, *numbers: int) -> int:
    for n in numbers:
        connection.execute("INSERT INTO note VALUES (?)", (n,))
    return len(numbers)


def notes(connection: apsw.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM note ORDER BY n")]


def add_each(connection: apsw.Connection, numbers: Any) -> list[int]:
    """A batcher; a negative number breaks its transaction."""
    for n in numbers:
        if n < 0:
            raise ZeroDivisionError
        add(connection, n)
    return [n * 2 for n in numbers]


async def test_home_and_file_belong_to_their_owner_alone(store: Store) -> None:
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    for name in ("tollway.db", "tollway.db-wal", "tollway.db-shm"):
        assert store.path.with_name(name).stat().st_mode & 0o777 == 0o600


async def test_the_writer_is_durable_and_never_checkpoints_by_itself(store: Store) -> None:
    def pragmas(c: apsw.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys", "mmap_size", "wal_autocheckpoint")
        return [c.pragma(name) for name in names]

    assert await store.write(pragmas) == ["wal", 2, 1, 0, 0]


async def test_what_was_acknowledged_is_read(store: Store) -> None:
    for n in range(20):
        await store.write(add, n)
        assert await store.read(notes) == list(range(n + 1))


async def test_a_write_that_raises_leaves_nothing(store: Store) -> None:
    def half(connection: apsw.Connection) -> None:
        add(connection, 1)
        raise LookupError("no such key")

    with pytest.raises(LookupError, match="no such key"):
        await store.write(half)
    with pytest.raises(apsw.ConstraintError):
        await store.write(add, 5, 5)
    assert await store.read(notes) == []
    assert store.healthy


async def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(Unavailable) as refused:
        await store.read(add, 1)
    assert isinstance(refused.value.__cause__, apsw.ReadOnlyError)


async def test_a_read_sees_one_moment(store: Store) -> None:
    await store.write(add, 1)
    between = threading.Event()

    def twice(connection: apsw.Connection) -> tuple[list[int], list[int]]:
        first = notes(connection)
        between.wait(5)
        return first, notes(connection)

    reading = asyncio.ensure_future(store.read(twice))
    await asyncio.sleep(0)
    while not await store.read(lambda c: True):
        pass
    await store.write(add, 2)
    between.set()
    first, second = await reading
    assert first == second


async def test_queued_commands_share_a_commit(store: Store) -> None:
    before = store.stats()
    futures = [store.submit(add_each, n) for n in range(1000)]
    assert [await f for f in futures] == [n * 2 for n in range(1000)]
    after = store.stats()
    assert after.commands - before.commands == 1000
    assert after.commits - before.commits <= 4
    assert after.largest_batch == 512
    assert 0 < after.p50_s <= after.p99_s


async def test_an_idle_command_shares_the_commit_of_the_next_one(store: Store) -> None:
    store.submit(add_each, 0)
    before = (await asyncio.gather(store.submit(add_each, 1)), store.stats().commits)[1]
    ends = [store.submit(add_each, n, durable=True, idle=True) for n in (2, 3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(end.done() for end in ends), "the thread was woken for nobody"
    assert await store.submit(add_each, 4) == 8
    assert [end.result() for end in ends] == [4, 6]
    assert store.stats().commits == before + 1


async def test_an_idle_command_is_committed_soon_and_before_what_closes_the_store(
    tmp_path: Path,
) -> None:
    store = Store.open(tmp_path / "home" / "tollway.db")
    store.start(asyncio.get_running_loop())
    await store.write(lambda c: c.execute("CREATE TABLE note (n INTEGER UNIQUE) STRICT"))
    async with asyncio.timeout(5):
        for n in (1, 2):  # the timer is set anew
            assert await store.submit(add_each, n, idle=True) == 2 * n
    last = store.submit(add_each, 3, durable=True, idle=True)
    await store.close()
    assert last.result() == 6


async def test_a_command_that_breaks_the_batch_fails_alone(store: Store) -> None:
    await store.write(add, 3)
    futures = [store.submit(add_each, n) for n in (1, 2, 3, -4, 5)]
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(a) for a in answers] == [int, int, apsw.ConstraintError, ZeroDivisionError, int]
    assert await store.read(notes) == [1, 2, 3, 5]
    assert store.healthy


async def test_order_is_kept_between_batches_and_writes(store: Store) -> None:
    first = store.submit(add_each, 1)
    writing = asyncio.ensure_future(store.write(notes))
    await asyncio.sleep(0)
    second = store.submit(add_each, 2)
    assert await writing == [1]
    await asyncio.gather(first, second)


async def test_a_write_shares_its_commit_with_nobody(store: Store) -> None:
    before = store.stats()
    queued = [store.submit(add_each, 1), store.submit(add_each, 2)]
    writes = [asyncio.ensure_future(store.write(notes)) for _ in range(2)]
    await asyncio.sleep(0)
    queued += [store.submit(add_each, 3), store.submit(add_each, 4)]
    assert await asyncio.gather(*writes) == [[1, 2], [1, 2]]
    await asyncio.gather(*queued)
    after = store.stats()
    assert (after.commits - before.commits, after.commands - before.commands) == (4, 6)


async def test_closing_commits_what_was_queued_and_answers_it(store: Store) -> None:
    futures = [store.submit(add_each, n) for n in range(700)]
    await store.close()
    assert [f.result() for f in futures] == [n * 2 for n in range(700)]
    again = Store.open(store.path)
    again.start(asyncio.get_running_loop())
    assert len(await again.read(notes)) == 700
    await again.close()


async def test_a_closed_store_refuses_and_is_not_healthy(store: Store) -> None:
    await store.close()
    await store.close()
    assert not store.healthy
    with pytest.raises(Unavailable):
        await store.read(notes)
    with pytest.raises(Unavailable):
        await store.submit(add_each, 1)


async def test_the_wal_is_moved_into_the_database_beside_the_writer(store: Store) -> None:
    database = store.path.stat().st_size
    await store.write(add, *range(20_000))
    for _ in range(500):
        if store.path.stat().st_size > database:
            break
        await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 0.01)
    assert store.path.stat().st_size > database


async def test_a_busy_writer_pauses_for_a_checkpoint_before_the_wal_grows_for_ever(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAL_PAGES_MAX", 50)
    n = 0
    sizes: list[int] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + 1.6
    while loop.time() < until:
        n += 200
        await store.write(add, *range(n - 200, n))
        sizes.append(store.path.with_name("tollway.db-wal").stat().st_size)
    assert len(set(sizes[len(sizes) * 3 // 4 :])) < len(sizes) // 8  # no longer growing
    assert len(await store.read(notes)) == n


# ---- a disk that fails ---------------------------------------------------------------------------


class FailingDisk(apsw.VFS):
    """The usual file layer, whose fsync of the WAL fails while `broken` is set."""

    broken = False

    def __init__(self) -> None:
        super().__init__("failing", "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        disk = self

        class File(apsw.VFSFile):
            def __init__(self) -> None:
                super().__init__("", name, flags)

            def xSync(self, flags: int) -> None:
                if disk.broken:
                    raise apsw.IOError("fsync failed")
                super().xSync(flags)

        return File()


async def test_a_failed_fsync_fails_plain_commands_and_keeps_durable_ones(tmp_path: Path) -> None:
    disk = FailingDisk()
    store = Store.open(tmp_path / "home" / "tollway.db", vfs="failing")
    store.start(asyncio.get_running_loop())
    await store.write(lambda c: c.execute("CREATE TABLE note (n INTEGER UNIQUE) STRICT"))
    disk.broken = True
    plain, durable = store.submit(add_each, 1), store.submit(add_each, 2, durable=True)
    with pytest.raises(Unavailable):
        await plain
    with pytest.raises(Unavailable):
        await store.write(add, 3)
    assert not store.healthy
    assert not durable.done()
    assert store.stats().waiting == 1
    disk.broken = False
    assert await durable == 4
    assert store.healthy
    assert store.stats().failures >= 1
    found = await store.read(notes)
    assert 2 in found and 3 not in found
    await store.close()
    disk.unregister()


# ---- opening -------------------------------------------------------------------------------------


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "t.db")
    store._connection.execute("INSERT INTO migration (number, name) VALUES (9999, 'future')")
    store._connection.close()
    with pytest.raises(StoreTooNew, match="9999"):
        Store.open(tmp_path / "t.db")


def test_a_file_that_is_no_database_is_an_unavailable_store(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_bytes(b"not a database at all, " * 100)
    with pytest.raises(Unavailable):
        Store.open(tmp_path / "t.db")


def test_a_library_with_the_wal_reset_bug_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(connect.StoreTooOld, match=r"3\.51\.3"):
        Store.open(tmp_path / "t.db")
