"""Clients that leave at the corners of the road: while we fail over, while we connect, with a
second request already in the pipe.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

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
from support.upstream import (
    Reply,
    ScriptedProvider,
    Seen,
    chat_chunk,
    chat_events,
    chat_reply,
    error_reply,
)

CREDIT = {"TOLLWAY_FIRST_CREDIT_USD": "100"}


async def test_nobody_is_failed_over_for_a_client_that_has_left() -> None:
    """The first provider would bill its whole answer, so it is read on; when it fails, the answer
    is not bought a second time for nobody."""
    hold = asyncio.Event()

    def failing(seen: Seen) -> Reply:
        refused = error_reply(503)
        return Reply(503, refused.headers, refused.steps, [hold], "length")

    async with (
        ScriptedProvider(failing) as first,
        ScriptedProvider(Reply(steps=chat_events("too late"))) as second,
    ):
        files = {
            "first": provider("first", first.base_url, cancels=False),
            "second": provider("second", second.base_url),
        }
        with Server(providers=files, env=CREDIT) as server:
            books = Books(server.home)
            for stream in (True, False):
                hold.clear()
                known = len(first.seen)
                order = {"order": ["first", "second"]}
                client = await Exchange.open(server, ask(stream=stream, provider=order))
                await eventually(lambda known=known: len(first.seen) > known)
                client.close()
                await asyncio.sleep(0.05)
                hold.set()
                await until_idle(server, books)
            assert not second.seen, "a second answer was bought for nobody"
            assert books.charged_nano == 0
            assert books.rows("SELECT DISTINCT state FROM hold") == [("voided",)]
            books.check()
            books.close()


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose connections are never accepted: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        filling = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            filling.append(filler)
        try:
            yield port
        finally:
            for filler in filling:
                filler.close()


async def test_a_client_that_leaves_while_we_connect_pays_nothing() -> None:
    with black_hole() as port:
        hole = provider("hole", f"http://127.0.0.1:{port}/v1")
        with Server(providers={"hole": hole}, env=CREDIT) as server:
            books = Books(server.home)
            for stream in (True, False):
                client = await Exchange.open(server, ask("x" * 4_000, stream=stream))
                await eventually(lambda: books.open_holds == 1)
                await asyncio.sleep(0.1)
                client.close()
                await until_idle(server, books, 2.0)
            assert books.charged_nano == 0, "nothing was sent"
            assert books.one("SELECT count(*) FROM generation WHERE status = 'cancelled'") == 2
            books.check()
            books.close()


async def test_the_record_says_whether_the_provider_had_spoken_when_the_client_left() -> None:
    silent = asyncio.Event()

    def script(seen: Seen) -> Reply:
        events = chat_events(words(3))
        if seen.json["messages"][0]["content"] == "silent":
            return Reply(before_head=[silent], steps=events)
        return Reply(steps=[*events[:3], silent])

    async with ScriptedProvider(script) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}, env=CREDIT) as server:
            books = Books(server.home)
            for text, status in (("silent", 499), ("speaks", 200)):
                known = len(upstream.seen)
                client = await Exchange.open(server, ask(text, stream=True))
                await eventually(lambda known=known: len(upstream.seen) > known)
                if status == 200:
                    await client.begin()
                    await client.until(b"w00001")
                client.close()
                await until_idle(server, books, 2.0)
                id = books.one("SELECT id FROM generation ORDER BY seq DESC LIMIT 1")
                got = await asyncio.to_thread(server.ask, "GET", f"/generation?id={id}")
                (tried,) = got[1]["data"]["provider_responses"]
                assert (tried["status"], got[1]["data"]["cancelled"]) == (status, True), text
            books.check()
            books.close()


async def test_a_client_that_leaves_while_its_body_is_inflated_is_not_answered() -> None:
    """Bodies are inflated one after the other beside the loop: behind a large one there is time to
    leave before anybody has looked at the request."""

    def packed(text: str) -> bytes:
        return gzip.compress(ask(text) + b" " * (24 << 20), 1)

    async def send(server: Server, body: bytes) -> Exchange:
        return await Exchange.open(server, body, content_encoding="gzip")

    async with ScriptedProvider(chat_reply("read on for nobody")) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}, env=CREDIT) as server:
            books = Books(server.home)
            stay, leave = packed("stays"), packed("leaves")
            staying = [await send(server, stay) for _ in range(2)]
            for leaving in [await send(server, leave) for _ in range(4)]:
                leaving.close()
            for client in staying:
                assert (await client.rest()).status == 200
            last = await send(server, stay)  # behind all those that have left
            assert (await last.rest()).status == 200
            asked = [seen.json["messages"][0]["content"] for seen in upstream.seen]
            assert asked == ["stays"] * 3
            await until_idle(server, books, 2.0)
            assert books.one("SELECT count(*) FROM hold") == 3, "nothing was held for the others"
            assert books.one("SELECT count(*) FROM generation") == 3
            _, metrics, _ = await asyncio.to_thread(server.ask, "GET", "/metrics", key=None)
            assert "tollway_running_requests 0" in metrics
            books.check()
            books.close()


async def test_a_request_in_the_pipe_does_not_hide_that_the_client_has_left() -> None:
    """Two requests in one write: the connection's end belongs to both."""

    def script(seen: Seen) -> Reply:
        return Reply(
            steps=[*chat_events(words(2))[:3], *[chat_chunk({"content": "on "}), 0.1] * 99]
        )

    async with ScriptedProvider(script) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}, env=CREDIT) as server:
            books = Books(server.home)
            client = await Exchange.connect(server.port)
            body = ask(stream=True)
            client.writer.write((head(server, len(body)) + body) * 2)
            await client.begin()
            await client.until(b"w00001")
            client.reset()
            left_s = time.monotonic()
            await eventually(lambda: upstream.seen[0].closed_s is not None, 1.5, "cut off")
            assert upstream.seen[0].closed_s is not None
            assert upstream.seen[0].closed_s - left_s <= 1.0
            await until_idle(server, books, 2.0)
            assert len(upstream.seen) == 1, "the second was never begun"
            assert books.rows("SELECT status FROM generation") == [("cancelled",)]
            books.check()
            books.close()


async def test_two_requests_in_the_pipe_are_both_answered_in_order() -> None:
    async with ScriptedProvider(
        lambda seen: Reply(steps=chat_events(seen.json["messages"][0]["content"]))
    ) as upstream:
        with Server(providers={"one": provider("one", upstream.base_url)}, env=CREDIT) as server:
            client = await Exchange.connect(server.port)
            for text in ("first", "second"):
                body = ask(text, stream=True)
                client.writer.write(head(server, len(body)) + body)
            texts = []
            for _ in range(2):
                answer = Exchange(client.reader, client.writer)
                await answer.begin()
                while await answer.read():
                    pass
                texts.append(answer.text.strip())
            client.close()
            assert texts == ["first", "second"]
            later = await whole(server, ask("third", stream=True))
            assert later.done
