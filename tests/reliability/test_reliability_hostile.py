"""Clients that mean harm, beside clients that do not: the good ones must hardly notice.

Slow senders, huge and packed bodies, deep JSON, endless heads and trailers, clients that read
nothing. Good traffic runs all the time; memory and sockets come back to where they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from reliability_support import (
    LONG,
    Exchange,
    ask,
    at_rate,
    eventually,
    head,
    memory_mib,
    percentile,
    provider,
    sockets,
    whole,
    words,
)

from support.server import Server
from support.upstream import (
    Reply,
    ScriptedProvider,
    Seen,
    Step,
    chat_chunk,
    chat_events,
    chat_reply,
)

pytestmark = pytest.mark.alone

SLOW = 2_000 if LONG else 500
GOOD_RATE = 60
ATTACK_S = 20 if LONG else 9
MIB = 2**20
GROWTH_MAX_MIB = 256
LIMITS = {
    "TOLLWAY_HEAD_TIMEOUT_S": "3",
    "TOLLWAY_BODY_TIMEOUT_S": "6",
    "TOLLWAY_STALLED_CLIENT_S": "2",
    "TOLLWAY_FIRST_CREDIT_USD": "1000",
}
BAD_KEY = "tlw_" + "0" * 49


def script(seen: Seen) -> Reply:
    if seen.json["messages"][0]["content"] == "flood":
        flood: list[Step] = [chat_chunk({"content": "x" * 60_000})] * 400
        return Reply(steps=[*flood, *chat_events("end")])
    if seen.json.get("stream"):
        return Reply(steps=chat_events(words(10)))
    return chat_reply(words(10))


class Attack:
    """Everything a hostile client does until `over`. What it was answered is counted."""

    def __init__(self, server: Any) -> None:
        self.server = server
        """Anything with a `port` and a `key`."""
        self.over = asyncio.Event()
        self.answers: Counter[str] = Counter()

    async def pause(self, seconds: float) -> bool:
        """False when it is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)
        return not self.over.is_set()

    async def again(self, name: str, work: Callable[[Exchange], Awaitable[None]]) -> None:
        """The same thing on new connections, as long as the attack lasts."""
        while not self.over.is_set():
            exchange = await Exchange.connect(self.server.port)
            try:
                await work(exchange)
                if not exchange.status:
                    await asyncio.wait_for(exchange.begin(), 15)
                self.answers[f"{name}: {exchange.status}"] += 1
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                self.answers[f"{name}: closed"] += 1
            finally:
                exchange.reset()
            await self.pause(0.2)

    async def slow_sender(self, n: int) -> None:
        """A byte now and then, of the head or of the body."""
        body = ask("slow")
        text = head(self.server, len(body)) + body
        at = 0 if n % 2 else len(text) - len(body)

        async def drip(exchange: Exchange) -> None:
            exchange.writer.write(text[:at])
            refused = asyncio.ensure_future(exchange.begin())
            for byte in text[at:]:
                exchange.writer.write(bytes([byte]))
                if not await self.pause(0.5) or refused.done():
                    break
            exchange.status = await refused

        await self.again("slow sender", drip)

    async def big(self, exchange: Exchange, key: str | None, chunked: bool) -> None:
        """100 MB, said beforehand or not."""
        piece = b" " * MIB
        if chunked:
            opening = head(self.server, None, key=key, transfer_encoding="chunked")
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        else:
            opening = head(self.server, 100 * MIB, key=key)
        exchange.writer.write(opening)
        for _ in range(100):
            exchange.writer.write(piece)
            await exchange.writer.drain()
            if self.over.is_set():
                return

    async def send(self, exchange: Exchange, *pieces: bytes) -> None:
        for piece in pieces:
            exchange.writer.write(piece)
            await exchange.writer.drain()

    async def endless(self, exchange: Exchange, opening: bytes, piece: bytes) -> None:
        exchange.writer.write(opening)
        for _ in range(2_000):
            exchange.writer.write(piece)
            await exchange.writer.drain()
            if self.over.is_set():
                return

    async def never_reads(self, request: bytes) -> None:
        exchange = await Exchange.connect(self.server.port, receive_buffer=4_096)
        exchange.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            for _ in range(20):
                exchange.writer.write(request)
            await self.over.wait()
        exchange.reset()

    async def run(self, seconds: float) -> list[BaseException]:
        """Everything at once; what failed on our own side."""
        running = self.everything()
        await self.pause(seconds)
        self.over.set()
        done = await asyncio.gather(*running, return_exceptions=True)
        return [failed for failed in done if failed is not None]

    def everything(self) -> list[asyncio.Task[None]]:
        server = self.server
        flood = ask("flood", stream=True)
        deep = b'{"model": "acme/one", "messages": ' + b"[" * 200_000
        deep += b"]" * 200_000 + b"}"
        bomb = gzip.compress(b" " * (100 * MIB), 9)
        names = b"".join(b"x-%d: y\r\n" % n for n in range(20_000))
        trailers = head(server, None, transfer_encoding="chunked") + b"2\r\n{}\r\n0\r\n"
        filler = b"f" * 65_536

        attacks: list[Awaitable[None]] = [self.slow_sender(n) for n in range(SLOW)]
        for n in range(20):
            key = BAD_KEY if n % 4 == 3 else None
            attacks.append(
                self.again("100 MB", lambda e, key=key, n=n: self.big(e, key, n % 2 == 0))  # type: ignore[misc]
            )
        repeated: list[tuple[int, str, Callable[[Exchange], Awaitable[None]]]] = [
            (6, "bomb", lambda e: self.send(
                e, head(server, len(bomb), content_encoding="gzip"), bomb)),
            (4, "deep JSON", lambda e: self.send(e, head(server, len(deep)) + deep)),
            (4, "many headers", lambda e: self.send(e, b"GET / HTTP/1.1\r\n" + names + b"\r\n")),
            (2, "endless header", lambda e: self.endless(e, b"GET / HTTP/1.1\r\nx: ", filler)),
            (2, "endless path", lambda e: self.endless(e, b"GET /", filler)),
            (2, "endless trailer", lambda e: self.endless(e, trailers + b"x: ", filler)),
            (2, "endless trailers", lambda e: self.endless(e, trailers, b"x: y\r\n" * 9_000)),
            (2, "endless extension", lambda e: self.endless(
                e, head(server, None, transfer_encoding="chunked") + b"2;", filler)),
            (4, "garbage", lambda e: self.send(e, b"\x00\xff" * 500 + b"\r\n\r\n")),
            (2, "two lengths", lambda e: self.send(
                e, head(server, 2, content_length="50") + b"{}")),
            (2, "length and chunks", lambda e: self.send(
                e, head(server, 2, transfer_encoding="chunked") + b"0\r\n\r\nGET / HTTP/1.1\r\n")),
        ]  # fmt: skip
        for count, name, work in repeated:
            attacks += [self.again(name, work) for _ in range(count)]
        pages = b"GET /api/v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
        attacks += [self.never_reads(pages) for _ in range(10)]
        attacks += [self.never_reads(head(server, len(flood)) + flood) for _ in range(10)]
        return [asyncio.ensure_future(attack) for attack in attacks]


def attack(port: int, key: str, results: Any) -> None:
    """A process of its own: what it costs to attack must not be measured as what it costs to
    be attacked. The good clients go first where there are few cores."""
    os.nice(5)
    logging.disable(logging.WARNING)
    made = Attack(SimpleNamespace(port=port, key=key))
    failed = asyncio.run(made.run(ATTACK_S))
    results.put((dict(made.answers), [repr(error) for error in failed]))


async def good_traffic(server: Server, seconds: float) -> list[float]:
    """Latencies of requests at a steady rate; every one must be answered well."""
    took: list[float] = []

    async def one(n: int) -> None:
        began = time.monotonic()
        done = await asyncio.wait_for(whole(server, ask("good", stream=n % 2 == 0)), 30)
        assert done.status == 200, done.body
        assert done.text.strip() == words(10)
        took.append(time.monotonic() - began)

    raised = await at_rate(GOOD_RATE, int(GOOD_RATE * seconds), one)
    assert not raised, raised[:3]
    return took


async def test_good_clients_hardly_notice_the_bad_ones() -> None:
    async with ScriptedProvider(script) as upstream:
        files = {"one": provider("one", upstream.base_url)}
        with Server(providers=files, env=LIMITS) as server:
            baseline = await good_traffic(server, 2)
            idle = sockets(server.pid) - upstream.connections_open
            before = peak = memory_mib(server.pid)
            spawn = multiprocessing.get_context("spawn")
            results = spawn.Queue()
            attacker = spawn.Process(target=attack, args=(server.port, server.key, results))
            attacker.start()

            async def watch() -> None:
                nonlocal peak
                while attacker.is_alive():
                    peak = max(peak, memory_mib(server.pid))
                    await asyncio.sleep(0.05)

            watching = asyncio.ensure_future(watch())
            await asyncio.sleep(1)
            under = await good_traffic(server, ATTACK_S - 1)
            answers, failed = await asyncio.to_thread(results.get, True, 30)
            await watching
            attacker.join()
            answers = Counter(answers)
            closed_s = await eventually(
                lambda: sockets(server.pid) - upstream.connections_open <= idle, 8.0, "sockets"
            )
            after = await good_traffic(server, 1)
            print(
                f"R19: good p99 {percentile(baseline, 0.99) * 1e3:.1f} ms alone, "
                f"{percentile(under, 0.99) * 1e3:.1f} ms under attack (p50 "
                f"{percentile(baseline, 0.5) * 1e3:.1f} → {percentile(under, 0.5) * 1e3:.1f}), "
                f"{percentile(after, 0.99) * 1e3:.1f} ms after; {len(under)} of {len(under)} good; RSS "
                f"{before:.0f} MiB + {peak - before:.0f}; sockets back after {closed_s:.1f} s\n"
                f"R19 answers: {json.dumps(dict(sorted(answers.items())))}"
            )
            assert not failed, failed[:3]
            assert peak - before < GROWTH_MAX_MIB
            for name in {answer.split(":")[0] for answer in answers}:
                assert answers[f"{name}: 500"] == 0, name
            assert answers["deep JSON: 400"] > 0
            assert answers["bomb: 413"] > 0
            assert answers["100 MB: 413"] > 0
            assert "Traceback" not in server.log(), server.log()[-3_000:]
            assert percentile(after, 0.5) < 10 * percentile(baseline, 0.5)
