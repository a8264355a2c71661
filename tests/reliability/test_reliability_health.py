"""Health through a real server: what is measured, published, and still known after a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import apsw
import pytest
from reliability_support import Exchange, ask, provider

from support.server import Server
from support.upstream import (
    Reply,
    ScriptedProvider,
    Seen,
    chat_events,
    chat_reply,
    error_reply,
)

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOL = {"type": "function", "function": {"name": "count", "parameters": SCHEMA}}


def calling(name: str, arguments: str) -> Reply:
    """A whole answer that ends in one tool call."""
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "tool_calls": [call]},
        "finish_reason": "tool_calls",
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m"}
    return Reply(
        headers=(("content-type", "application/json"),),
        steps=[json.dumps({**body, "choices": [choice], "usage": usage}).encode()],
        framing="length",
    )


async def of(server: Server, tag: str, *, key: str | None = "") -> dict[str, Any]:
    """The published endpoint of a provider."""
    page = await asyncio.to_thread(server.ask, "GET", "/models/acme/one/endpoints", key=key)
    assert page[0] == 200, page
    found: dict[str, Any] = next(e for e in page[1]["data"]["endpoints"] if e["tag"] == tag)
    return found


async def test_tool_calls_are_judged_published_and_remembered_over_a_restart() -> None:
    answers = iter(
        [("count", '{"n":1}')] * 7 + [("count", '{"n":"1"}'), ("sum", "{}"), ("count", "{")]
    )

    def script(seen: Seen) -> Reply:
        return calling(*next(answers)) if "tools" in seen.json else chat_reply("a b c")

    async with ScriptedProvider(script) as upstream:
        files = {"alpha": provider("alpha", upstream.base_url)}
        with Server(providers=files) as server:
            for _ in range(10):
                asked = await asyncio.to_thread(server.chat, "acme/one", tools=[TOOL])
                assert asked[0] == 200, asked
            asked = await asyncio.to_thread(server.chat, "acme/one")
            assert asked[0] == 200
            before = await of(server, "alpha")
            assert before["tool_call_success_last_2h"] == 70.0
            assert before["uptime_last_5m"] == 100.0
            assert before["throughput_last_30m"]["p50"] > 0
            public = await of(server, "alpha", key=None)
            assert public["throughput_last_30m"] is None
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            after = await of(server, "alpha")
            assert after["throughput_last_30m"] == pytest.approx(
                before["throughput_last_30m"], rel=1e-3
            )
            assert after["tool_call_success_last_2h"] == 70.0
            assert (after["uptime_last_5m"], after["status"]) == (100.0, 0)


async def told(server: Server, within_s: float = 8.0) -> None:
    """Until the server has written down what it measured; it does every five seconds."""
    connection = apsw.Connection(str(server.home / "tollway.db"), flags=apsw.SQLITE_OPEN_READONLY)
    for _ in range(int(within_s / 0.05)):
        if connection.execute("SELECT count(*) FROM health_digest").get:
            break
        await asyncio.sleep(0.05)
    connection.close()


def counted(reply: Callable[[], Reply]) -> tuple[list[int], Callable[[Seen], Reply]]:
    calls = [0]

    def script(seen: Seen) -> Reply:
        calls[0] += 1
        return reply()

    return calls, script


async def test_an_endpoint_that_failed_five_times_is_ejected_here_and_after_a_kill() -> None:
    sick, sick_script = counted(lambda: error_reply(502))
    well, well_script = counted(lambda: chat_reply("a b c"))
    async with ScriptedProvider(sick_script) as one, ScriptedProvider(well_script) as two:
        files = {
            "cheap": provider("cheap", one.base_url),
            "dear": provider("dear", two.base_url, prompt="0.00001", completion="0.00002"),
        }
        first = {"provider": {"order": ["cheap"]}}
        with Server(providers=files) as server:
            for _ in range(5):
                assert (await asyncio.to_thread(server.chat, "acme/one", **first))[0] == 200
            assert (await of(server, "cheap"))["status"] == -5
            assert (await of(server, "dear"))["status"] == 0
            for _ in range(10):
                sort = {"provider": {"sort": "price"}}
                assert (await asyncio.to_thread(server.chat, "acme/one", **sort))[0] == 200
            assert (sick[0], well[0]) == (5, 15)
            await told(server)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            assert (await of(server, "cheap"))["status"] == -5


async def test_callers_who_wait_are_spread_once_an_endpoint_is_at_its_limit() -> None:
    """Forty streams, the cheap provider first and silent: those beyond its limit go to the other;
    when it has spoken it is first again."""
    gate = asyncio.Event()

    def silent(seen: Seen) -> Reply:
        return Reply(before_head=[gate.wait], steps=chat_events("a b c"))

    def quick(seen: Seen) -> Reply:
        return Reply(steps=chat_events("a b c"))

    async with ScriptedProvider(silent) as one, ScriptedProvider(quick) as two:
        files = {
            "cheap": provider("cheap", one.base_url),
            "dear": provider("dear", two.base_url, prompt="0.00001", completion="0.00002"),
        }
        with Server(providers=files) as server:
            body = ask(stream=True, provider={"sort": "price"})
            held = []
            for n in range(40):
                held.append(await Exchange.open(server, body))
                await one.until(lambda n=n: len(one.seen) + len(two.seen) > n)
            assert (len(one.seen), len(two.seen)) == (32, 8)
            assert (await of(server, "cheap"))["status"] == -1
            gate.set()
            for exchange in held:
                assert await exchange.begin() == 200
                while await exchange.read():
                    pass
                exchange.writer.close()
            assert (await of(server, "cheap"))["status"] == 0
            last = await Exchange.open(server, body)
            assert await last.begin() == 200
            last.writer.close()
            assert (len(one.seen), len(two.seen)) == (33, 8)


async def test_a_caller_who_leaves_while_waiting_is_no_longer_counted() -> None:
    gate = asyncio.Event()
    waiting = Reply(before_head=[gate.wait], steps=chat_events("a b c"))
    async with ScriptedProvider(lambda seen: waiting) as one:
        with Server(providers={"cheap": provider("cheap", one.base_url)}) as server:
            left = []
            for n in range(32):
                left.append(await Exchange.open(server, ask(stream=True)))
                await one.until(lambda n=n: len(one.seen) > n)
            assert (await of(server, "cheap"))["status"] == -1
            for exchange in left:
                exchange.writer.close()
            await one.until(lambda: one.connections_open == 0)
            assert (await of(server, "cheap"))["status"] == 0
