"""HTTP's corners on our own connections: real sockets, applications of a few lines.

Deadlines and attacks from many sides are in tests/reliability/test_reliability_hostile.py.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn.server

from tollway.http.protocol import WAITING_MAX, Connection, Deadlines

App = Callable[[Any, Any, Any], Awaitable[None]]
PATIENT = Deadlines(head=10.0, body=10.0, keep_alive=10.0, stalled=10.0)


class Site:
    """An application that is listened to."""

    def __init__(self) -> None:
        self.state = uvicorn.server.ServerState()
        self.connections: list[weakref.ref[Connection]] = []
        self.port = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, sent: bytes) -> bytes:
        """All that is answered until the connection closes."""
        reader, writer = await self.connect()
        writer.write(sent)
        heard = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return heard


@asynccontextmanager
async def site(app: App, deadlines: Deadlines = PATIENT) -> AsyncIterator[Site]:
    made, config = Site(), SimpleNamespace(loaded_app=app)

    def connection() -> Connection:
        one = Connection(deadlines, config, made.state, {}, asyncio.get_running_loop())  # type: ignore[arg-type]
        made.connections.append(weakref.ref(one))
        return one

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for one in list(made.state.connections):
            one.transport.abort()  # type: ignore[union-attr]


def answering(*pieces: bytes, status: int = 200, headers: Any = ()) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Method, path, query and body, as JSON of known length."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        body += message["body"]
        more = message["more_body"]
    told = [scope["method"], scope["path"], scope["query_string"].decode(), body.decode()]
    text = json.dumps(told).encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def told(heard: bytes) -> list[Any]:
    return [json.loads(body) for body in re.findall(rb"\r\n\r\n(\[.*?\])", heard)]


async def until(seen: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 5
    while not seen():
        assert time.monotonic() < until_s, "it does not come"
        await asyncio.sleep(0.005)


LAST = b"GET /last HTTP/1.1\r\nconnection: close\r\n\r\n"


async def test_a_stream_is_chunked_for_who_reads_chunks_and_ends_by_closing_for_others() -> None:
    async with site(answering(b"one ", b"", b"two")) as here:
        modern = await here.say(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        old = await here.say(b"GET / HTTP/1.0\r\n\r\n")
    head, _, body = modern.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n"
    head, _, body = old.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b"one two"


async def test_nothing_follows_the_head_where_only_it_is_asked_for_or_allowed() -> None:
    async with site(answering(b"page", headers=[(b"content-length", b"4")])) as here:
        heard = await here.say(b"HEAD / HTTP/1.1\r\n\r\n" + LAST)
    first, second = heard.split(b"\r\n\r\n", 1)
    assert b"content-length: 4" in first
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.endswith(b"\r\n\r\npage")
    async with site(answering(b"said by mistake", status=204)) as here:
        heard = await here.say(LAST)
    assert heard.startswith(b"HTTP/1.1 204 ")
    assert heard.endswith(b"\r\n\r\n")


async def test_a_body_that_waits_to_be_asked_for_is_asked_for_once() -> None:
    async with site(echo) as here:
        reader, writer = await here.connect()
        writer.write(b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"yes" + LAST)
        heard = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert b"100 Continue" not in heard
    assert told(heard) == [["POST", "/", "", "yes"], ["GET", "/last", "", ""]]
    old = b"POST / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
    async with site(echo) as here:
        reader, writer = await here.connect()
        writer.write(old)
        await asyncio.sleep(0.02)
        writer.write(b"yes")
        heard = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert heard.startswith(b"HTTP/1.1 200 "), "an older client does not know 100"


async def test_a_refused_body_that_was_not_sent_ends_the_connection() -> None:
    """Whether the body follows cannot be known then: the next request could be taken for it."""
    expecting = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    for headers in ((), [(b"connection", b"close")]):
        async with site(answering(status=401, headers=headers)) as here:
            refused = await here.say(expecting % 3)
        assert refused.startswith(b"HTTP/1.1 401 ")
        assert refused.count(b"connection: close") == 1
    async with site(answering(status=401)) as here:
        heard = await here.say(expecting % 3 + b"yes" + LAST)
    assert heard.count(b"HTTP/1.1 401 ") == 2


@pytest.mark.parametrize("last", [b"", b"connection: close\r\n"])
async def test_a_client_that_is_refused_while_it_sends_gets_to_read_the_answer(last: bytes) -> None:
    """Closing on unread bytes resets the connection, and the answer is lost with it."""
    refused = answering(b"no", status=401, headers=[(b"content-length", b"2")])
    body = b"x" * 4_000_000
    async with site(refused) as here:
        reader, writer = await here.connect()
        writer.write(b"POST / HTTP/1.1\r\n" + last + b"content-length: %d\r\n\r\n" % len(body))
        await asyncio.sleep(0.05)
        writer.write(body)
        await asyncio.wait_for(writer.drain(), 5)
        if not last:
            writer.write(LAST)
        heard = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert heard.count(b"HTTP/1.1 401 ") == (1 if last else 2)


async def test_nothing_is_begun_behind_an_answer_that_closes() -> None:
    paths: list[str] = []

    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        headers = [(b"content-length", b"2"), (b"connection", b"close")]
        await answering(b"no", status=401, headers=headers)(scope, receive, send)

    async with site(refuses) as here:
        reader, writer = await here.connect()
        writer.write(b"POST /1 HTTP/1.1\r\ncontent-length: 3\r\n\r\nx")
        await asyncio.sleep(0.05)
        writer.write(b"xx" + LAST)
        heard = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert (heard.count(b"HTTP/1.1"), paths) == (1, ["/1"])


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a?b=c", "/a", "b=c"),
        (b"/a?b=c?d", "/a", "b=c?d"),
        (b"/a%2Fb%20c", "/a/b c", ""),
        (b"http://gate.example/a?b", "/a", "b"),
        (b"http://gate.example", "/", ""),
        (b"//a", "//a", ""),
    ],
)
async def test_targets(target: bytes, path: str, query: str) -> None:
    async with site(echo) as here:
        heard = await here.say(b"GET " + target + b" HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert told(heard) == [["GET", path, query, ""]]


async def test_bodies_cut_anywhere_are_the_same_bodies() -> None:
    requests = b"POST /1 HTTP/1.1\r\ncontent-length: 5\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    requests += b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nUpgrade: h2c\r\n\r\nhello"
    requests += b"POST /2 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    requests += b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nx-trailer: no header\r\n\r\n" + LAST
    async with site(echo) as here:
        for at in range(1, len(requests), 2):
            reader, writer = await here.connect()
            writer.write(requests[:at])
            await asyncio.sleep(0.002)
            writer.write(requests[at:])
            heard = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            assert [each[3] for each in told(heard)] == ["hello", "hello", ""], at


@pytest.mark.parametrize("size", [10, 70_000, 1_000_000])
async def test_a_client_is_seen_to_leave_however_its_body_came(size: int) -> None:
    """A large last piece stops the reading, and nothing more is asked of the body."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def works(scope: Any, receive: Any, send: Any) -> None:
        wire = scope["tollway.wire"]
        wire.on_left = left.set
        while wire.body_here() is None and (await receive())["more_body"]:
            pass
        asked.set()
        await left.wait()

    async with site(works) as here:
        for first in (1, size):
            asked.clear()
            left.clear()
            _, writer = await here.connect()
            writer.write(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size + b"x" * first)
            await asyncio.sleep(0.02)
            writer.write(b"x" * (size - first))
            await asyncio.wait_for(asked.wait(), 5)
            writer.transport.abort()
            await asyncio.wait_for(left.wait(), 2)


async def test_a_body_is_never_taken_for_a_head() -> None:
    """Neither by our own look at heads, which may be cut in two, nor because of an upgrade that
    the parser believes in."""
    length = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n"
    text = b"a\r\nupgrade: x\r\n\r\nb"
    big = b"x" * 100_000
    pieces = [
        ([length % len(text) + b"\r", b"\n" + text + LAST], text),
        ([length % len(big), b"\r", b"\n" + big + LAST], big),
    ]
    async with site(echo) as here:
        for cut, body in pieces:
            reader, writer = await here.connect()
            for piece in cut:
                writer.write(piece)
                await asyncio.sleep(0.02)
            heard = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            assert [each[3].encode() for each in told(heard)] == [body, b""]
        smuggled = b"GET /smuggled HTTP/1.1\r\n\r\n"
        reader, writer = await here.connect()
        hidden = length % len(smuggled) + b"connection: upgrade\r\nupgrade: x\r\n\r\n"
        for at in range(0, len(hidden), 3):
            writer.write(hidden[at : at + 3])
            await asyncio.sleep(0.001)
        writer.write(smuggled)
        heard = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert heard.count(b"HTTP/1.1") == 1


async def test_a_piped_client_that_does_not_read_gets_one_answer_and_not_many() -> None:
    begun = 0

    async def page(scope: Any, receive: Any, send: Any) -> None:
        nonlocal begun
        begun += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 8_000_000})  # nothing is awaited

    async with site(page) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port, limit=1_024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * (3 * WAITING_MAX) + LAST)
        await until(lambda: begun > 0)
        await asyncio.sleep(0.1)
        assert begun == 1
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        size = 0
        while data := await asyncio.wait_for(reader.read(1_000_000), 5):
            size += len(data)
        writer.close()
    assert begun == 3 * WAITING_MAX + 1
    assert size > begun * 8_000_000


async def test_an_application_that_fails_before_or_after_the_head() -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a bug")

    async def late(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"9")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"cut", "more_body": True})
        raise ValueError("a bug")

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    split: App = answering(headers=[(b"x-name", b"a\r\nset-cookie: b")])
    for app in (never, silent, split):
        async with site(app) as here:
            heard = await here.say(b"GET / HTTP/1.1\r\n\r\n")
        assert heard.startswith(b"HTTP/1.1 500 "), app
        assert b'"code":500' in heard
        assert b"set-cookie" not in heard
    async with site(late) as here:
        assert (await here.say(b"GET / HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\ncut")


@pytest.mark.parametrize("length", [b"2", b"9"])
async def test_a_body_that_is_not_as_long_as_its_head_says_does_not_pass(length: bytes) -> None:
    async with site(answering(b"page", headers=[(b"content-length", length)])) as here:
        heard = await here.say(b"GET / HTTP/1.1\r\n\r\n" * 2)
    assert heard.count(b"HTTP/1.1") <= 1, "what follows would be read as the body's rest"


async def test_an_idle_connection_is_closed_in_time_whatever_blank_lines_it_sends() -> None:
    quick = Deadlines(head=10.0, body=10.0, keep_alive=0.1, stalled=10.0)
    async with site(echo, quick) as here:
        began_s = asyncio.get_running_loop().time()
        heard = await here.say(b"GET / HTTP/1.1\r\n\r\n\r\n\r\n")
        assert 0.09 < asyncio.get_running_loop().time() - began_s < 3
    assert len(told(heard)) == 1
    assert b"408" not in heard


async def test_a_body_that_waits_for_its_turn_has_time() -> None:
    """It is we who do not read it while the answer before it lasts."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(0.8)
        await echo(scope, receive, send)

    quick = Deadlines(head=0.3, body=0.3, keep_alive=10.0, stalled=10.0)
    body = b"x" * 300_000
    sent = b"GET /slow HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with site(slow, quick) as here:
        heard = await here.say(sent + body + LAST)
    assert [each[3] for each in told(heard)] == ["", body.decode(), ""]


@pytest.mark.parametrize("half", [False, True])
async def test_a_client_that_does_not_read_the_end_of_its_last_answer_is_dropped(
    half: bool,
) -> None:
    """Too little waits for it to be a slow client, and closing would wait for it for ever."""

    async def fills(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": ()})
        transport = scope["tollway.wire"]._connection.transport
        piece = {"type": "http.response.body", "body": b"x" * 16_384, "more_body": True}
        while not transport.get_write_buffer_size():
            await send(piece)
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})

    quick = Deadlines(head=10.0, body=10.0, keep_alive=10.0, stalled=0.2)
    async with site(fills, quick) as here:
        _, writer = await asyncio.open_connection("127.0.0.1", here.port, limit=1_024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET / HTTP/1.1\r\n\r\n" if half else LAST)
        await asyncio.sleep(0.1)
        if half:
            writer.write_eof()
        assert len(here.state.connections) == 1
        await asyncio.sleep(0.6)
        assert not here.state.connections
        writer.transport.abort()


async def test_a_stop_closes_idle_connections_and_lets_running_ones_finish() -> None:
    go = asyncio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await echo(scope, receive, send)

    async with site(waits) as here:
        idle, idle_writer = await here.connect()
        busy, busy_writer = await here.connect()
        busy_writer.write(b"GET /busy HTTP/1.1\r\n\r\n")
        await until(lambda: len(here.state.tasks) == 1 and len(here.state.connections) == 2)
        for connection in list(here.state.connections):
            connection.shutdown()
        assert await asyncio.wait_for(idle.read(), 5) == b""
        go.set()
        heard = await asyncio.wait_for(busy.read(), 5)
        for writer in (idle_writer, busy_writer):
            writer.close()
    assert told(heard) == [["GET", "/busy", "", ""]]
    assert b"connection: close" in heard


async def test_a_connection_that_is_over_is_forgotten_without_the_collector() -> None:
    async def leaves(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    gc.disable()
    try:
        for app, sent in ((echo, LAST), (echo, b"nonsense\r\n\r\n"), (leaves, b"")):
            async with site(app) as here:
                if sent:
                    await here.say(sent)
                else:
                    _, writer = await here.connect()
                    writer.write(b"GET / HTTP/1.1\r\n\r\n" * 3)
                    await until(lambda: bool(here.state.tasks))
                    writer.transport.abort()
                await until(lambda: [each() for each in here.connections] == [None])
                assert not here.state.connections
                assert not here.state.tasks
    finally:
        gc.enable()
