"""Requests for the same answer at the same moment, against a real server: one is asked and paid,
nobody is lost, nobody pays twice, whoever leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from reliability_support import Books, Exchange, ask, eventually, provider, until_idle, whole

from support.server import Server
from support.upstream import (
    Reply,
    ScriptedProvider,
    Seen,
    chat_events,
    chat_reply,
    error_reply,
)

ON = {"x_openrouter_cache": "true"}
CACHE = "x-openrouter-cache-status"
COALESCED = "x-tollway-cache-coalesced"


class Gate:
    """A provider that answers its n-th request when the n-th gate is opened, as the n-th of
    `replies` says; the last one of them from then on."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = replies
        self.count = 0
        self.gates = [asyncio.Event() for _ in range(64)]

    def __call__(self, seen: Seen) -> Reply:
        n, self.count = self.count, self.count + 1
        reply = self.replies[min(n, len(self.replies) - 1)]
        return Reply(reply.status, reply.headers, reply.steps, [self.gates[n]], reply.framing)


@asynccontextmanager
async def serving(gate: Gate, **env: str) -> AsyncIterator[tuple[Server, Books]]:
    async with ScriptedProvider(gate) as upstream:
        server = Server(providers={"one": provider("one", upstream.base_url)}, env=env)
        await asyncio.to_thread(server.start)
        books = Books(server.home)
        try:
            yield server, books
            await until_idle(server, books)
            books.check()
        finally:
            books.close()
            await asyncio.to_thread(server.stop)


async def many(server: Server, count: int, body: bytes, **more: str) -> list[asyncio.Task[Any]]:
    """`count` requests under way; the server has read the last one."""
    tasks = [asyncio.create_task(whole(server, body, **{**ON, **more})) for _ in range(count)]
    await running(server, count)
    return tasks


async def running(server: Server, count: int) -> None:
    line = f"tollway_running_requests {float(count)}"

    async def there() -> bool:
        _, page, _ = await asyncio.to_thread(server.ask, "GET", "/metrics", key=None)
        return line in page

    for _ in range(300):
        if await there():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never {count} running")


async def test_twenty_equal_requests_are_asked_once_and_paid_once() -> None:
    gate = Gate(chat_reply("one two three"))
    async with serving(gate) as (server, books):
        before = books.wallet_nano
        tasks = await many(server, 20, ask(max_tokens=9))
        await eventually(lambda: gate.count == 1)
        assert books.open_holds == 1
        gate.gates[0].set()
        answers = await asyncio.gather(*tasks)
        assert [answer.status for answer in answers] == [200] * 20
        assert {answer.text for answer in answers} == {"one two three"}
        assert len({answer.generation for answer in answers}) == 20
        leaders = [a for a in answers if a.headers[CACHE] == "MISS"]
        waiters = [a for a in answers if a.headers[CACHE] == "HIT"]
        assert (len(leaders), len(waiters), gate.count) == (1, 19, 1)
        assert {a.headers.get(COALESCED) for a in waiters} == {"true"}
        assert COALESCED not in leaders[0].headers
        source = leaders[0].generation
        assert {a.headers["x-openrouter-cache-source-id"] for a in waiters} == {source}
        await until_idle(server, books)
        await eventually(lambda: books.one("SELECT count(*) FROM generation") == 20)
        charge = books.generation(source)["charge_nano"]
        assert charge > 0
        assert before - books.wallet_nano == charge == books.charged_nano
        assert books.one("SELECT count(*) FROM hold") == 1
        later = await whole(server, ask(max_tokens=9), **ON)
        assert (later.headers[CACHE], COALESCED in later.headers) == ("HIT", False)


async def test_streams_wait_too_and_hear_comments_meanwhile() -> None:
    gate = Gate(Reply(steps=chat_events("one two three")))
    async with serving(gate, TOLLWAY_HEARTBEAT_S="0.5") as (server, _):
        tasks = await many(server, 5, ask(stream=True))
        await asyncio.sleep(2.5)  # the beat of a real server is a second
        gate.gates[0].set()
        answers = await asyncio.gather(*tasks)
        assert gate.count == 1
        named: list[str] = []
        for answer in answers:
            assert b": OPENROUTER PROCESSING" in answer.body
            assert (answer.status, answer.text, answer.done) == (200, "one two three ", True)
            (id,) = {chunk["id"] for chunk in answer.chunks}
            named += [answer.generation] if answer.generation else []
            assert answer.generation in ("", id)
        assert len(named) == 1, "who waits is not promised a record before it is certain"
        costs = sorted(answer.usage["cost"] for answer in answers if answer.usage)
        assert (costs[:4], costs[4] > 0) == ([0, 0, 0, 0], True)


async def test_when_the_leader_fails_the_next_one_asks() -> None:
    gate = Gate(error_reply(400), chat_reply("better"))
    async with serving(gate) as (server, _):
        tasks = await many(server, 6, ask())
        gate.gates[0].set()
        await eventually(lambda: gate.count == 2)
        gate.gates[1].set()
        answers = await asyncio.gather(*tasks)
        assert sorted(answer.status for answer in answers) == [200] * 5 + [400]
        assert gate.count == 2
        hits = [a for a in answers if a.headers.get(CACHE) == "HIT"]
        assert len(hits) == 4
        assert {a.text for a in answers if a.status == 200} == {"better"}


async def test_a_provider_that_is_down_does_not_make_a_queue_answer_one_by_one() -> None:
    gate = Gate(error_reply(400))
    for one in gate.gates[1:]:
        one.set()
    async with serving(gate) as (server, _):
        tasks = await many(server, 12, ask())
        gate.gates[0].set()
        answers = await asyncio.gather(*tasks)
        assert [answer.status for answer in answers] == [400] * 12
        assert gate.count == 12


async def test_when_the_leader_s_client_leaves_the_next_one_asks() -> None:
    gate = Gate(chat_reply("one"), chat_reply("two"))
    async with serving(gate) as (server, _):
        leader = await Exchange.open(server, ask(), **ON)
        await eventually(lambda: gate.count == 1)
        tasks = [asyncio.create_task(whole(server, ask(), **ON)) for _ in range(3)]
        await running(server, 4)
        leader.reset()
        await eventually(lambda: gate.count == 2)
        gate.gates[1].set()
        answers = await asyncio.gather(*tasks)
        assert [answer.text for answer in answers] == ["two"] * 3
        assert sorted(answer.headers[CACHE] for answer in answers) == ["HIT", "HIT", "MISS"]


async def test_waiters_that_leave_are_not_missed_and_cost_nothing() -> None:
    gate = Gate(chat_reply("one"))
    async with serving(gate) as (server, books):
        before = books.wallet_nano
        leader = asyncio.create_task(whole(server, ask(), **ON))
        await eventually(lambda: gate.count == 1)
        leaving = [await Exchange.open(server, ask(), **ON) for _ in range(4)]
        staying = asyncio.create_task(whole(server, ask(), **ON))
        await running(server, 6)
        for exchange in leaving:
            exchange.reset()
        await running(server, 2)
        gate.gates[0].set()
        answers = [await leader, await staying]
        assert [answer.headers[CACHE] for answer in answers] == ["MISS", "HIT"]
        await until_idle(server, books)
        charge = books.generation(answers[0].generation)["charge_nano"]
        assert before - books.wallet_nano == charge
        assert books.one("SELECT count(*) FROM hold") == 1


async def test_patience_ends_and_the_request_asks_for_itself() -> None:
    gate = Gate(chat_reply("slow"), chat_reply("own"))
    gate.gates[1].set()
    async with serving(gate, TOLLWAY_CACHE_WAIT_S="0.3") as (server, _):
        leader = asyncio.create_task(whole(server, ask(), **ON))
        await eventually(lambda: gate.count == 1)
        own = await whole(server, ask(), **ON)
        assert (own.text, own.headers[CACHE], leader.done()) == ("own", "MISS", False)
        gate.gates[0].set()
        assert (await leader).text == "slow"


async def test_a_stream_that_breaks_off_is_not_kept() -> None:
    broken = Reply(steps=chat_events("one two three")[:3], framing="eof")
    gate = Gate(broken, Reply(steps=chat_events("whole")))
    for one in gate.gates:
        one.set()
    async with serving(gate) as (server, _):
        first = await whole(server, ask(stream=True), **ON)
        assert (len(first.errors), first.done) == (1, False)
        second = await whole(server, ask(stream=True), **ON)
        third = await whole(server, ask(stream=True), **ON)
        assert (second.headers[CACHE], second.text) == ("MISS", "whole ")
        assert (third.headers[CACHE], third.text) == ("HIT", "whole ")


async def test_a_fresh_answer_waits_for_nobody_and_the_old_one_is_gone_at_once() -> None:
    gate = Gate(chat_reply("old"), error_reply(400), chat_reply("new"))
    for one in (gate.gates[0], gate.gates[2]):
        one.set()
    async with serving(gate) as (server, _):
        assert (await whole(server, ask(), **ON)).text == "old"
        fresh = asyncio.create_task(whole(server, ask(), x_openrouter_cache_clear="true", **ON))
        await eventually(lambda: gate.count == 2)
        meanwhile = asyncio.create_task(whole(server, ask(), **ON))
        await running(server, 2)
        gate.gates[1].set()
        assert (await fresh).status == 400
        answer = await meanwhile
        assert (answer.text, answer.headers[CACHE], gate.count) == ("new", "MISS", 3)


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind() -> None:
    events = chat_events("one two three")
    gate = Gate(Reply(steps=[*events[:2], 30.0, *events[2:]]), Reply(steps=events))
    for one in gate.gates:
        one.set()
    async with serving(gate) as (server, books):
        leaver = await Exchange.open(server, ask(stream=True), **ON)
        await leaver.begin()
        await leaver.until(b"one")
        leaver.reset()
        await until_idle(server, books)
        again = await whole(server, ask(stream=True), **ON)
        assert (again.headers[CACHE], again.text) == ("MISS", "one two three ")


async def test_a_server_that_stops_lets_those_who_wait_have_their_answer() -> None:
    gate = Gate(chat_reply("one"))
    async with serving(gate) as (server, books):
        tasks = await many(server, 4, ask())
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        await asyncio.sleep(0.3)
        gate.gates[0].set()
        answers = await asyncio.gather(*tasks)
        assert [answer.status for answer in answers] == [200] * 4
        await stopping
        await eventually(lambda: books.one("SELECT count(*) FROM generation") == 4)
