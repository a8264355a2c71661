"""Silence on either side: keep-alive comments to a waiting client, and clients that stop reading.

One client must never cost another its heartbeat, a stopped reader must not keep a provider busy,
and nothing that waits may wait for ever.
"""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from reliability_support import (
    Books,
    Exchange,
    ask,
    eventually,
    head,
    provider,
    sockets,
    until_idle,
    whole,
)

from support.server import Server
from support.upstream import (
    Break,
    Reply,
    ScriptedProvider,
    Seen,
    Step,
    chat_chunk,
    chat_events,
    chat_reply,
    error_reply,
)
from tollway.http.inference import COMMENT, Inference
from tollway.http.inference import Reply as Reply_
from tollway.http.wire import AsgiWire

FLOOD, BURST = "flood", "burst, then silence"
STOPS, BILLS = "acme/one", "acme/bills"
FAST = {"TOLLWAY_HEARTBEAT_S": "1", "TOLLWAY_STALLED_CLIENT_S": "2"}
BIG = "x" * 60_000
"""One event of this size fills a slow reader's window in no time."""


def script(seen: Seen) -> Reply:
    match seen.json["messages"][0]["content"]:
        case "slow start":
            if not seen.json.get("stream"):
                answer = chat_reply("here at last")
                return Reply(200, answer.headers, answer.steps, [2.6], "length")
            return Reply(before_head=[2.6], steps=chat_events("here at last"))
        case "slow middle":
            events = chat_events("one two")
            return Reply(steps=[*events[:2], 2.6, *events[2:]])
        case "slow failure":
            return Reply(503, before_head=[2.6], steps=[b"{}"], framing="length")
        case "flood":
            # Twice what all buffers between provider and client can hold.
            flood: list[Step] = [chat_chunk({"content": BIG})] * 600
            return Reply(steps=[*flood, *chat_events("end")])
        case "burst, then silence":
            burst: list[Step] = [chat_chunk({"content": BIG}) * 300, Break.STALL]
            return Reply(steps=burst)
        case _:
            return Reply(steps=chat_events("fine"))


def files(upstream: ScriptedProvider) -> dict[str, str]:
    return {
        "one": provider("one", upstream.base_url, model="acme/one"),
        "bills": provider("bills", upstream.base_url, model="acme/bills", cancels=False),
    }


async def stopped_reader(server: Server, text: str, model: str = STOPS) -> Exchange:
    """A client that reads the head and the first bytes, and then nothing more."""
    exchange = await Exchange.connect(server.port, receive_buffer=4_096)
    body = ask(text, model=model, stream=True)
    exchange.writer.write(head(server, len(body), user_agent=f"{text} at {model}") + body)
    exchange.writer.transport.pause_reading()  # type: ignore[attr-defined]
    return exchange


async def test_a_silent_stream_is_kept_alive_with_comments() -> None:
    async with ScriptedProvider(script) as upstream:
        with Server(providers=files(upstream), env=FAST) as server:
            before, middle, none = await asyncio.gather(
                whole(server, ask("slow start", stream=True)),
                whole(server, ask("slow middle", stream=True)),
                whole(server, ask("slow start", stream=False)),
            )
            assert before.body.startswith(COMMENT), "the head went out with a comment"
            assert 1 <= before.body.count(COMMENT) <= 2, before.body
            assert before.generation.startswith("gen-")
            assert (before.text.strip(), before.done) == ("here at last", True)
            assert 1 <= middle.body.count(COMMENT) <= 2, middle.body
            assert (middle.text.strip(), middle.done) == ("one two", True)
            assert none.status == 200
            assert COMMENT not in none.body, "a whole body has no room for comments"
            books = Books(server.home)
            await until_idle(server, books)
            books.check()
            books.close()


async def test_a_failure_after_a_heartbeat_is_an_event_and_before_it_a_status() -> None:
    async with ScriptedProvider(script) as upstream:
        with Server(providers=files(upstream), env=FAST) as server:
            late, plain = await asyncio.gather(
                whole(server, ask("slow failure", stream=True)),
                whole(server, ask("slow failure", stream=False)),
            )
            assert plain.status == 503
            assert late.status == 200, "the head had been sent"
            assert late.body.startswith(COMMENT)
            assert [e["code"] for e in late.errors] == [503]
            assert not late.done
            books = Books(server.home)
            await until_idle(server, books)
            for exchange in (late, plain):
                record = books.generation(exchange.generation)
                assert (record["status"], record["charge_nano"]) == ("failed", 0)
            books.check()
            books.close()


@pytest.mark.alone
async def test_a_client_that_stops_reading_is_dropped() -> None:
    """In the middle of a flood, or at the end of one with a silent provider behind it: provider
    closed, hold ended, socket closed, even if the client never reads what is on its way. A
    provider that bills everything is read on without the client, within bounds."""
    env = {**FAST, "TOLLWAY_DRAIN_S": "1", "TOLLWAY_FIRST_CREDIT_USD": "100"}
    async with ScriptedProvider(script) as upstream:
        with Server(providers=files(upstream), env=env) as server:
            books = Books(server.home)
            await whole(server, ask("warm", stream=True))
            await until_idle(server, books)
            upstream.seen.clear()
            idle = sockets(server.pid) - upstream.connections_open
            cases = [(text, model) for text in (FLOOD, BURST) for model in (STOPS, BILLS)]
            clients = [await stopped_reader(server, *case) for case in cases]
            await eventually(lambda: books.open_holds == len(cases))
            began = time.monotonic()
            await eventually(lambda: books.open_holds == 0, 9.0, "the holds ended")
            settled_s = time.monotonic() - began
            await eventually(
                lambda: all(seen.closed_s or seen.whole for seen in upstream.seen), 2.0, "cut off"
            )
            await eventually(
                lambda: sockets(server.pid) - upstream.connections_open <= idle,
                3.0,
                "the clients' sockets are closed on our side",
            )
            ends = {
                case: books.rows(
                    "SELECT status, charge_nano FROM generation WHERE detail LIKE ?",
                    f'%"{" at ".join(case)}"%',
                )
                for case in cases
            }
            print(f"stopped readers settled after {settled_s:.1f} s: {ends}")
            for case, rows in ends.items():
                ((status, charge),) = rows
                read_on = case == (FLOOD, BILLS)
                assert status == ("completed" if read_on else "cancelled"), case
                assert charge > 0, case
            books.check()
            books.close()
            for client in clients:
                client.reset()


async def test_stopped_readers_do_not_cost_others_their_heartbeats() -> None:
    async with ScriptedProvider(script) as upstream:
        env = {**FAST, "TOLLWAY_STALLED_CLIENT_S": "30"}
        with Server(providers=files(upstream), env=env) as server:
            stopped: list[Any] = [await stopped_reader(server, BURST) for _ in range(5)]
            await eventually(lambda: len(upstream.seen) == 5)
            await asyncio.sleep(2.2)  # every one of them has had a comment that it did not read
            fine = await asyncio.wait_for(whole(server, ask("slow start", stream=True)), 10)
            assert fine.body.startswith(COMMENT), "no heartbeat while others do not read"
            assert fine.done
            for exchange in stopped:
                exchange.reset()
            books = Books(server.home)
            await until_idle(server, books)
            books.check()
            books.close()


async def test_a_comment_that_cannot_be_written_keeps_nobody_waiting() -> None:
    """In-process, because the operating system's buffers hide it: a comment is the first thing
    that does not fit."""
    sent: list[bytes] = []

    async def never(message: Any) -> None:
        await asyncio.Event().wait()

    async def record(message: Any) -> None:
        sent.append(message.get("body", b""))

    settings = SimpleNamespace(heartbeat_s=0.1, body_limit_bytes=1)
    gateway: Any = SimpleNamespace(settings=settings, clock=time.monotonic)
    inference = Inference(gateway)
    for send in (never, record, never):
        reply = Reply_(AsgiWire(send))
        call: Any = SimpleNamespace(gateway=gateway, client_left=False, id="gen-1", clamped=False)
        reply.call, reply.streamed, reply.silent_since = call, True, time.monotonic()
        inference.replies.add(reply)
    beating = asyncio.create_task(inference.heartbeats())
    await eventually(lambda: sent.count(COMMENT) == 2, 4.0, "two comments")
    beating.cancel()


async def test_a_heartbeat_never_follows_the_end() -> None:
    """The provider's body stays open after its last event: the answer is over, and silence on it
    is nobody's business."""

    def lingering(seen: Seen) -> Reply:
        return Reply(steps=[*chat_events("fine"), 0.4])

    async with ScriptedProvider(lingering) as upstream:
        env = {"TOLLWAY_HEARTBEAT_S": "0.05"}
        with Server(providers=files(upstream), env=env) as server:
            for _ in range(3):
                answers = [whole(server, ask(str(n), stream=True)) for n in range(20)]
                for done in await asyncio.gather(*answers):
                    assert done.body.endswith(b"data: [DONE]\n\n")
                await asyncio.sleep(0.3)
            upstream.script = script
            slow = await whole(server, ask("slow start", stream=True))
            assert slow.body.startswith(COMMENT), "the heart has stopped"
            assert "Traceback" not in server.log(), server.log()


async def test_a_failing_request_of_another_kind_does_not_stop_the_heart() -> None:
    async with ScriptedProvider(lambda seen: error_reply(400)) as upstream:
        with Server(providers=files(upstream), env=FAST) as server:
            refused = await whole(server, ask(stream=True))
            assert refused.status == 400
            upstream.script = script
            slow = await whole(server, ask("slow start", stream=True))
            assert slow.body.startswith(COMMENT)
