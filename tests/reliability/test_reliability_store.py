"""The disk fails while the server runs: no new work, no lost ends, and nobody is told that a good
key is bad.

The failure is a file size limit of zero, set from outside on the running process: every write of
the database is refused by the kernel as on a full disk, reads go on.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reliability_support import (
    Books,
    Exchange,
    ask,
    eventually,
    provider,
    seeded,
    until_idle,
    whole,
    words,
)

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen, chat_events, chat_reply
from tollway.accounts.keyformat import key_text

STREAMS = 8
TEXT = words(6)
COST_NANO = 10 * 1_000 + 6 * 2_000


class Held:
    """A provider whose answers stop after the first word until they are released."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    def script(self, seen: Seen) -> Reply:
        if not seen.json.get("stream"):
            return chat_reply(TEXT)
        events = chat_events(TEXT)
        return Reply(steps=[*events[:2], self.release, *events[2:]])


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """Until left, the process cannot write to any file."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


async def begun(server: Server) -> list[Exchange]:
    async def one() -> Exchange:
        exchange = await Exchange.open(server, ask(stream=True))
        await exchange.begin()
        await exchange.until(b"w00000")
        return exchange

    return list(await asyncio.gather(*(one() for _ in range(STREAMS))))


async def ready(server: Server) -> int:
    status, _, _ = await asyncio.to_thread(server.ask, "GET", "/health/ready", key=None)
    return status


async def until_ready(server: Server, wanted: int, within_s: float) -> float:
    began = time.monotonic()
    while await ready(server) != wanted:
        assert time.monotonic() - began < within_s, f"readiness is not {wanted}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_a_full_disk_refuses_new_work_and_loses_no_end() -> None:
    held = Held()
    async with ScriptedProvider(held.script) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}) as server:
            books = Books(server.home)
            await whole(server, ask())
            await until_idle(server, books)
            streams = await begun(server)
            sent = len(upstream.seen)
            refused: Counter[int] = Counter()
            with full_disk(server.pid):
                for _ in range(20):
                    late = await asyncio.wait_for(whole(server, ask()), 5)
                    refused[late.status] += 1
                    assert late.headers.get("retry-after"), late.headers
                    assert late.json()["error"]["code"] == 503
                unready_s = await until_ready(server, 503, 2.0)
                held.release.set()
                await asyncio.gather(*(stream.rest() for stream in streams))
                assert all(s.done and s.text.strip() == TEXT for s in streams)
                assert len(upstream.seen) == sent, "something was sent without a hold"
                assert books.open_holds == STREAMS, "their ends wait for the disk"
                bad = await whole(server, ask(), key="tlw_nonsense")
                assert bad.status == 401, "a bad key is still a bad key"
            ready_s = await until_ready(server, 200, 5.0)
            settled_s = await until_idle(server, books)
            print(
                f"full disk: {dict(refused)}, not ready after {unready_s:.2f} s; mended: ready after "
                f"{ready_s:.2f} s, {STREAMS} streams settled after {settled_s:.2f} s more"
            )
            assert set(refused) == {503}
            for stream in streams:
                record = books.generation(stream.generation)
                assert (record["status"], record["charge_nano"]) == ("completed", COST_NANO)
            assert (await whole(server, ask())).status == 200
            await until_idle(server, books)
            assert books.charged_nano == (STREAMS + 2) * COST_NANO
            books.check(deep=True)
            books.close()


async def test_streams_that_fail_or_lose_their_client_on_a_full_disk_end_once() -> None:
    held = Held()
    async with ScriptedProvider(held.script) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}) as server:
            books = Books(server.home)
            streams = await begun(server)
            with full_disk(server.pid):
                await whole(server, ask())
                for stream in streams[: STREAMS // 2]:
                    stream.reset()
                await eventually(
                    lambda: sum(seen.closed_s is not None for seen in upstream.seen) == STREAMS // 2
                )
                for seen in [c for c in upstream.open if c.now is not None]:
                    seen.cut()
                await asyncio.gather(*(stream.rest() for stream in streams[STREAMS // 2 :]))
                assert all(len(s.errors) == 1 for s in streams[STREAMS // 2 :])
                assert books.open_holds == STREAMS
            await until_ready(server, 200, 5.0)
            await until_idle(server, books)
            ends = Counter(status for (status,) in books.rows("SELECT status FROM generation"))
            assert ends == {"cancelled": STREAMS // 2, "failed": STREAMS // 2}
            books.check(deep=True)
            books.close()


async def test_a_kill_on_a_full_disk_is_recovered_like_any_other() -> None:
    held = Held()
    async with ScriptedProvider(held.script) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}) as server:
            books = Books(server.home)
            streams = await begun(server)
            with full_disk(server.pid):
                await whole(server, ask())
                held.release.set()
                await asyncio.gather(*(stream.rest() for stream in streams))
                assert books.open_holds == STREAMS
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, 0))
            server.kill()
            await asyncio.to_thread(server.start)
            assert books.open_holds == 0
            paid = books.charged_nano
            assert 0 <= paid <= STREAMS * COST_NANO
            assert (await whole(server, ask())).status == 200
            await until_idle(server, books)
            books.check(deep=True)
            books.close()


@contextmanager
def locked_out(home: Path) -> Iterator[None]:
    """Until left, nobody else can read or write the database: all locks of its WAL are taken."""
    descriptor = os.open(home / "tollway.db-shm", os.O_RDWR)
    try:
        for _ in range(500):
            with suppress(OSError):
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 8, 120)
                break
            time.sleep(0.005)
        else:
            raise AssertionError("the locks cannot be had")
        yield
    finally:
        os.close(descriptor)


async def test_while_the_database_cannot_be_read_no_key_is_called_bad() -> None:
    unknown = key_text(seeded("store").randbytes(32))
    async with ScriptedProvider(Held().script) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}) as server:
            assert (await whole(server, ask())).status == 200
            with locked_out(server.home):
                began = time.monotonic()
                answers = await asyncio.gather(
                    *(whole(server, ask(), key=key) for key in (unknown, server.key) * 5)
                )
                took = time.monotonic() - began
                assert await ready(server) == 503
            statuses = Counter(answer.status for answer in answers)
            ready_s = await until_ready(server, 200, 5.0)
            print(
                f"locked out: {dict(statuses)} after {took:.1f} s; ready again after {ready_s:.2f} s"
            )
            assert set(statuses) == {503}
            assert "Traceback" not in server.log()
            assert took < 15, "twice the busy time, since one command waits behind another"
            assert (await whole(server, ask(), key=unknown)).status == 401
            assert (await whole(server, ask())).status == 200
            books = Books(server.home)
            await until_idle(server, books)
            books.check()
            books.close()
