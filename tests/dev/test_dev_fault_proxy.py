"""The fault proxy on real sockets, with a clock of its own: framing, streaming, back-pressure, ends."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.upstream import Break, Reply, ScriptedProvider, chat_events
from tollway.dev.fault_control import answer as control
from tollway.dev.fault_plan import Faults
from tollway.dev.fault_proxy import FaultProxy, Upstream, upstream

LOOPBACK = Path(__file__).parents[1] / "upstream" / "loopback.pem"
PLAIN = (("content-type", "text/plain"),)


class Rig:
    """A proxy in front of a provider, what it said, and how long it meant to sleep."""

    def __init__(self, proxy: FaultProxy, port: int, provider: ScriptedProvider) -> None:
        self.proxy, self.port, self.provider = proxy, port, provider
        self.said: list[dict[str, Any]] = []
        self.slept: list[float] = []

    async def send(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        return reader, writer

    async def whole(self, body: bytes = b"{}", *, path: str = "/v1/x", more: str = "") -> bytes:
        """Everything that comes back until the end of the connection."""
        reader, writer = await self.send(post(body, path=path, more=more + "connection: close\r\n"))
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()


def post(body: bytes = b"{}", *, path: str = "/v1/x", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: here\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def rig(
    script: Any, *faults: str, sleep: Callable[[float], Awaitable[None]] | None = None
) -> AsyncIterator[Rig]:
    async with ScriptedProvider(script) as provider:
        said: list[dict[str, Any]] = []
        slept: list[float] = []

        async def no_sleep(seconds: float) -> None:
            slept.append(seconds)

        to = upstream(f"http://127.0.0.1:{provider.port}/base")
        proxy = FaultProxy(Faults(faults, 1), to, say=said.append, sleep=sleep or no_sleep)
        built = Rig(proxy, await proxy.start("127.0.0.1", 0), provider)
        built.said, built.slept = said, slept
        try:
            yield built
        finally:
            await proxy.close()


def test_the_upstream_is_a_url_and_nothing_else() -> None:
    assert upstream("https://api.example.com/v1/") == Upstream(
        "https", "api.example.com", 443, "/v1"
    )
    assert upstream("http://[::1]:9100").name == "[::1]:9100"
    for wrong in (
        "",
        "api.example.com",
        "ftp://x",
        "http://",
        "http://u@x",
        "http://x/?q",
        "http://x:p",
    ):
        with pytest.raises(ValueError):
            upstream(wrong)


async def test_without_faults_everything_passes_as_it_is() -> None:
    reply = Reply(201, (*PLAIN, ("x-a", "1"), ("x-a", "2")), [b"hello ", b"there"])
    async with rig(reply) as here:
        answer = await here.whole(
            b'{"a":1}', path="/v1/chat?q=1", more="authorization: Bearer s\r\n"
        )
        (seen,) = here.provider.seen
        assert (seen.method, seen.path, seen.body) == ("POST", "/base/v1/chat?q=1", b'{"a":1}')
        assert seen.headers["host"] == f"127.0.0.1:{here.provider.port}"
        assert seen.headers["authorization"] == "Bearer s"
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split(b"\r\n")[0] == b"HTTP/1.1 201 Scripted"
        assert head.count(b"x-a: ") == 2
        assert body == b"6\r\nhello \r\n5\r\nthere\r\n0\r\n\r\n"
        assert here.said == []


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_connection_serves_many_requests(framing: str) -> None:
    async with rig(Reply(200, PLAIN, [b"one", b"two"], framing=framing)) as here:
        reader, writer = await here.send(post() * 2 + post(more="connection: close\r\n"))
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.count(b"HTTP/1.1 200") == 3
        assert answer.count(b"connection: close") == 1
        writer.close()


async def test_an_answer_without_framing_ends_with_its_connection() -> None:
    async with rig(Reply(200, PLAIN, [b"one", b"two", Break.CLOSE], framing="eof")) as here:
        reader, writer = await here.send(post() * 2)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.endswith(b"connection: close\r\n\r\nonetwo")
        assert len(here.provider.seen) == 1
        writer.close()


async def test_a_chunked_request_and_one_that_waits_for_leave_arrive_whole() -> None:
    async with rig(Reply(200, PLAIN, [b"ok"], framing="length")) as here:
        head = b"POST /v1/x HTTP/1.1\r\nhost: h\r\nconnection: close\r\nexpect: 100-continue\r\n"
        reader, writer = await here.send(head + b"transfer-encoding: chunked\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\r\n\r\nok")
        assert here.provider.seen[0].body == b"abcdefg"
        writer.close()


async def test_a_piece_is_passed_on_before_the_next_one_is_there() -> None:
    more = asyncio.Event()
    async with rig(Reply(200, PLAIN, [b"first", more, b"second"])) as here:
        reader, writer = await here.send(post())
        await asyncio.wait_for(reader.readuntil(b"first"), 5)
        more.set()
        await asyncio.wait_for(reader.readuntil(b"second"), 5)
        writer.close()


async def test_a_client_that_does_not_read_stops_the_upstream() -> None:
    async with rig(Reply(200, PLAIN, [b"x" * 65_536] * 1_000)) as here:
        reader, writer = await here.send(post())
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        seen = here.provider.seen
        await here.provider.until(lambda: bool(seen) and len(seen[0].delivered) > 3)
        count = -1
        while count != len(seen[0].delivered):
            count = len(seen[0].delivered)
            await asyncio.sleep(0.2)
        assert count < 500, "64 MB were read ahead"
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        got = 0
        while got < 65_536 * 1_000:
            got += len(await asyncio.wait_for(reader.read(2**20), 5))
        writer.close()


@pytest.mark.parametrize(
    "faults", [(), ("stall@request",), ("stall@bytes=3",), ("halfclose@bytes=3",)]
)
async def test_a_client_that_leaves_ends_the_exchange_on_both_sides(
    faults: tuple[str, ...],
) -> None:
    async with rig(Reply(200, PLAIN, [b"abcdef", Break.STALL]), *faults) as here:
        _, writer = await here.send(post())
        if "request" not in "".join(faults):
            await here.provider.until(lambda: bool(here.provider.seen))
        await asyncio.sleep(0.05)
        writer.close()
        await here.provider.until(lambda: not here.provider.open and not here.proxy._tasks)


async def test_an_upstream_that_breaks_off_breaks_off_here_too() -> None:
    for steps in ([b"abc", Break.CLOSE], [b"abc", Break.RESET]):
        async with rig(Reply(200, PLAIN, steps)) as here:
            answer = await here.whole()
            assert not answer.endswith(b"0\r\n\r\n")
            assert [event["event"] for event in here.said] == ["upstream"]
    async with rig(Reply(framing="raw", steps=[b"nonsense\r\n\r\n"])) as here:
        assert await here.whole() == b""
    async with rig(Reply()) as here:
        here.proxy.to = upstream("http://127.0.0.1:1")
        assert (await here.whole()).startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert "cannot be reached" in here.said[0]["problem"]


async def test_what_is_no_request_is_told() -> None:
    async with rig(Reply()) as here:
        for raw in (
            b"nonsense\r\n\r\n",
            b"GET http://x/ HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
        ):
            reader, writer = await here.send(raw)
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 400 ")
            writer.close()
        assert here.provider.seen == []


@pytest.mark.parametrize(
    ("fault", "asked", "ends"),
    [
        ("drop", 0, b""),
        ("halfclose", 0, b""),
        ("drop@head", 1, b""),
        ("drop@head=9", 1, b"HTTP/1.1 "),
        ("drop@bytes=4", 1, b"\r\n\r\n4\r\nabcd\r\n"),
        ("truncate@bytes=4", 1, b"\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
        ("corrupt=text:XY@bytes=1", 1, b"6\r\naXYdef\r\n0\r\n\r\n"),
        ("throttle=40", 1, b"4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"),
    ],
)
async def test_a_fault_is_seen_on_the_wire_and_told_once(
    fault: str, asked: int, ends: bytes
) -> None:
    async with rig(Reply(200, PLAIN, [b"abcdef"]), f"{fault} first=1") as here:
        answer = await here.whole()
        assert answer.endswith(ends)
        assert bool(answer) is bool(ends)
        assert len(here.provider.seen) == asked
        assert [(e["event"], e["request"], e["path"], e["rule"]) for e in here.said] == [
            ("fault", 1, "/v1/x", 1)
        ]
        assert (await here.whole()).endswith(b"6\r\nabcdef\r\n0\r\n\r\n"), "the next is healthy"
        assert (here.proxy.faults.seen, here.proxy.faults.injected) == ([2], [1])


async def test_a_reset_is_a_reset() -> None:
    for fault in ("reset", "reset@connect", "reset@head", "reset@bytes=3"):
        async with rig(Reply(200, PLAIN, [b"abcdef"]), fault) as here:
            with pytest.raises(ConnectionResetError):
                await here.whole()


async def test_a_status_keeps_the_connection_and_asks_nobody() -> None:
    async with rig(
        Reply(200, PLAIN, [b"ok"], framing="length"), "status=429 retry_after=7 first=1"
    ) as here:
        reader, writer = await here.send(post(b"x" * 200_000))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert b"\r\nretry-after: 7\r\n" in head
        assert json.loads(await reader.readline())["error"]["type"] == "injected_fault"
        assert here.provider.seen == []
        writer.write(post())
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_delays_are_slept_for_as_long_as_they_say() -> None:
    events = chat_events("one two")
    async with rig(
        Reply(steps=[x for e in events for x in (e, 0.01)]),
        "delay=2s",
        "delay=500ms@event=2",
        "stall=9s@request",
    ) as here:
        answer = await here.whole()
        assert b"[DONE]" in answer
        assert here.slept == [9.0, 2.0, 0.5]
        assert [(e["fault"], e["seconds"]) for e in here.said] == [
            ("stall", 9.0),
            ("delay", 2.0),
            ("delay", 0.5),
        ]


async def test_rules_are_read_and_changed_while_it_runs() -> None:
    async with rig(Reply(200, PLAIN, [b"ok"], framing="length"), "drop") as here:

        async def ask(method: str, body: bytes, host: str = "127.0.0.1:9200") -> tuple[int, Any]:
            head = f"{method} /__faults HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n"
            reader, writer = await here.send(head.encode() + body)
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return int(answer.split()[1]), json.loads(answer.partition(b"\r\n\r\n")[2])

        assert await here.whole() == b""
        assert await ask("GET", b"") == (
            200,
            {"seed": 1, "faults": [{"fault": "drop", "seen": 1, "injected": 1}]},
        )
        status, told = await ask("PUT", b'{"faults": ["drop", "delay=2q"]}')
        assert (status, told["error"]["fault"], told["error"]["column"]) == (400, 1, 7)
        for wrong in (b"", b"[]", b'{"faults": 1}', b'{"fault": []}', b"\xff"):
            assert (await ask("PUT", wrong))[0] == 400
        assert (await ask("PUT", b" " * 70_000))[0] == 413
        assert (await ask("DELETE", b""))[0] == 405
        assert (await ask("PUT", b'{"faults": []}', host="evil.example"))[0] == 403
        assert await here.whole() == b"", "nothing has changed"
        assert await ask("PUT", b'{"faults": [], "seed": 5}', host="localhost") == (
            200,
            {"seed": 5, "faults": []},
        )
        assert (await here.whole()).endswith(b"ok")


@pytest.mark.parametrize(
    ("peer", "host", "status"),
    [
        ("127.0.0.1", ["127.0.0.1"], 200),
        ("::1", ["[::1]:9200"], 200),
        ("::ffff:127.0.0.1", ["localhost:1"], 200),
        ("10.0.0.8", ["127.0.0.1"], 403),
        ("127.0.0.1", ["rebound.example:9200"], 403),
        ("", [], 403),
    ],
)
def test_only_this_machine_may_change_rules(peer: str, host: list[str], status: int) -> None:
    assert control(Faults(), "GET", b"", peer=peer, host=host)[0] == status


async def test_an_https_upstream_is_verified() -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(LOOPBACK)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=served)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cafile=str(LOOPBACK))
    try:
        for tls, start in ((trusting, b"HTTP/1.1 200 OK"), (None, b"HTTP/1.1 502 ")):
            said: list[dict[str, Any]] = []
            to = upstream(f"https://127.0.0.1:{port}")
            proxy = FaultProxy(Faults(), to, say=said.append, tls=tls)
            bound = await proxy.start("127.0.0.1", 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", bound)
            writer.write(post(more="connection: close\r\n"))
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(start)
            writer.close()
            await proxy.close()
    finally:
        server.close()
