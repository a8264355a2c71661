"""Stopping: SIGTERM lets running answers finish, a second one cuts them off; nothing stays open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

from reliability_support import (
    Books,
    Exchange,
    ask,
    eventually,
    head,
    provider,
    until_idle,
    whole,
    words,
)

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen, Step, chat_events

STREAMS = 50
TEXT = words(20)


def paced(seconds: float, text: str = TEXT) -> Reply:
    """The answer, its words spread over the time."""
    events = chat_events(text)
    steps: list[Step] = []
    for piece in events:
        steps += [piece, seconds / len(events)]
    return Reply(steps=steps)


async def started(server: Server, count: int) -> list[Exchange]:
    """Streams of which each has delivered its first word."""

    async def one() -> Exchange:
        exchange = await Exchange.open(server, ask(stream=True))
        await exchange.begin()
        await exchange.until(b"w00000")
        return exchange

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def refused_or_closed(server: Server) -> str:
    try:
        late = await Exchange.open(server, ask("late"))
        status = await late.begin()
        late.close()
    except (OSError, asyncio.IncompleteReadError):
        return "closed"
    return str(status)


async def test_a_signal_lets_running_streams_finish() -> None:
    async with ScriptedProvider(lambda seen: paced(1.5)) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}) as server:
            books = Books(server.home)
            idle = await Exchange.connect(server.port)  # a connection that has nothing to say
            kept = await Exchange.connect(server.port)
            body = ask("late")
            streams = await started(server, STREAMS)
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            await asyncio.sleep(0.02)
            ready = await asyncio.gather(*(refused_or_closed(server) for _ in range(20)))
            kept.writer.write(head(server, len(body)) + body)
            await asyncio.gather(*(stream.rest() for stream in streams))
            code = await asyncio.to_thread(server.stop)
            took = time.monotonic() - began
            broken = [s for s in streams if not s.done or s.text.strip() != TEXT or s.errors]
            print(
                f"{STREAMS} streams, SIGTERM: {len(broken)} broken, gone after {took:.2f} s; "
                f"meanwhile {sorted(set(ready))}; exit {code}"
            )
            assert not broken
            assert set(ready) <= {"503", "closed"}
            assert len(upstream.seen) == STREAMS, "nothing new was begun"
            assert took < 5
            assert books.open_holds == 0
            assert (
                books.one("SELECT count(*) FROM generation WHERE status = 'completed'") == STREAMS
            )
            books.check(deep=True)
            books.close()
            for exchange in (idle, kept):
                exchange.close()


async def test_a_second_signal_cuts_streams_off_with_an_error_and_settles_what_was_delivered() -> (
    None
):
    async with ScriptedProvider(lambda seen: paced(60.0)) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}) as server:
            books = Books(server.home)
            streams = await started(server, STREAMS)
            whole_one = asyncio.ensure_future(whole(server, ask("not streamed")))
            await eventually(lambda: len(upstream.seen) == STREAMS + 1)
            os.kill(server.pid, signal.SIGTERM)
            await asyncio.sleep(0.3)
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            await asyncio.gather(*(stream.rest() for stream in streams))
            cut = await whole_one
            await asyncio.to_thread(server.stop)
            took = time.monotonic() - began
            print(
                f"second SIGTERM: {STREAMS} streams ended and the process gone after {took:.2f} s"
            )
            assert took < 3
            for stream in streams:
                assert len(stream.errors) == 1, stream.events
                assert stream.errors[0]["code"] == 503
                assert not stream.done
                record = books.generation(stream.generation)
                delivered = -(-len(stream.text.encode()) // 4)
                assert record["status"] == "cancelled"
                assert record["estimated"] == 1
                assert record["completion_tokens"] >= delivered > 0
            assert cut.status == 503
            assert books.open_holds == 0
            books.check(deep=True)
            books.close()


async def test_streams_longer_than_the_drain_time_are_cut_by_themselves() -> None:
    env = {"TOLLWAY_SHUTDOWN_S": "1"}
    async with ScriptedProvider(lambda seen: paced(60.0)) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}, env=env) as server:
            books = Books(server.home)
            streams = await started(server, 10)
            began = time.monotonic()
            os.kill(server.pid, signal.SIGTERM)
            await asyncio.gather(*(stream.rest() for stream in streams))
            await asyncio.to_thread(server.stop)
            took = time.monotonic() - began
            print(f"drain time of 1 s: gone after {took:.2f} s")
            assert 0.9 < took < 5
            assert all(len(s.errors) == 1 and not s.done for s in streams)
            assert books.open_holds == 0
            assert books.charged_nano > 0
            books.check()
            books.close()


async def test_readiness_ends_with_the_signal_and_the_next_life_is_clean() -> None:
    def script(seen: Seen) -> Reply:
        return paced(0.8)

    async with ScriptedProvider(script) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}) as server:
            kept = await Exchange.connect(server.port)
            (stream,) = await started(server, 1)
            os.kill(server.pid, signal.SIGTERM)
            kept.writer.write(b"GET /health/ready HTTP/1.1\r\nhost: x\r\n\r\n")
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # closed unasked
                assert await kept.begin() == 503
            await stream.rest()
            assert stream.done
            await asyncio.to_thread(server.stop)
            server.start()
            books = Books(server.home)
            await until_idle(server, books)
            assert (await whole(server, ask(stream=True))).done
            books.close()
            kept.close()
