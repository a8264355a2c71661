"""What a transport must do, whatever it is built on, against a provider that misbehaves by script."""

import asyncio
import random
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from support.upstream import Break, Reply, ScriptedProvider, Seen
from tollway import __version__
from tollway.upstream import AttemptFailed
from tollway.upstream.http1 import Connection, HttpAnswer
from tollway.upstream.transport import HttpTransport, tls_context

LOOPBACK = Path(__file__).parent / "loopback.pem"
"""A self-signed certificate for localhost and 127.0.0.1, with its key."""

HEADERS = [("content-type", "application/json"), ("authorization", "Bearer s")]


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    built = HttpTransport()
    yield built
    await built.close()


async def ask(
    transport: HttpTransport,
    provider: ScriptedProvider,
    path: str = "/chat/completions",
    body: bytes = b'{"model":"m"}',
    total_s: float = 20,
    idle_s: float = 10,
) -> HttpAnswer:
    return await transport.open(
        "POST",
        provider.base_url + path,
        HEADERS,
        body,
        total_timeout_s=total_s,
        idle_timeout_s=idle_s,
    )


async def drain(answer: HttpAnswer) -> bytes:
    pieces = []
    while piece := await answer.read():
        pieces.append(piece)
    return b"".join(pieces)


Slow = Callable[[], Awaitable[object] | None]


async def pour(answer: HttpAnswer, slow: Slow, pieces: list[bytes]) -> None:
    """To the end of the body; `slow` is asked after each piece what to wait for."""

    def into(piece: bytes) -> Awaitable[object] | None:
        pieces.append(piece)
        return slow()

    async with asyncio.timeout(5):
        while (waits := await answer.pour(into)) is not None:
            await waits


async def fault_of(
    transport: HttpTransport, provider: ScriptedProvider, **more: float
) -> AttemptFailed:
    """The failure of a request, wherever in the answer it happens."""
    with pytest.raises(AttemptFailed) as failed:
        answer = await ask(transport, provider, **more)
        await drain(answer)
    return failed.value


# ---- the request and its answer ------------------------------------------------------------------


async def test_the_request_arrives_as_given_and_the_connection_headers_are_ours(
    transport: HttpTransport,
) -> None:
    async with ScriptedProvider(Reply(steps=[b"ok"], framing="length")) as provider:
        answer = await transport.open(
            "POST",
            provider.base_url + "/x y?q=a b",
            [*HEADERS, ("X-Title", "Grüße"), ("Content-Length", "999"), ("Host", "evil")],
            b"body",
            total_timeout_s=5,
            idle_timeout_s=5,
        )
        assert (answer.status, await drain(answer)) == (200, b"ok")
        assert answer.headers == {"content-type": "text/event-stream", "content-length": "2"}
        seen = provider.seen[0]
        assert (seen.method, seen.path, seen.body) == ("POST", "/v1/x%20y?q=a%20b", b"body")
        assert seen.headers == {
            "host": f"127.0.0.1:{provider.port}",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "authorization": "Bearer s",
            "x-title": "Grüße",
            "user-agent": f"tollway/{__version__}",
            "content-length": "4",
        }


async def test_a_body_of_several_megabytes_arrives_whole(transport: HttpTransport) -> None:
    body = random.Random(7).randbytes(5_000_000)
    async with ScriptedProvider(Reply(steps=[b"ok"], framing="length")) as provider:
        answer = await ask(transport, provider, body=body)
        await drain(answer)
        assert provider.seen[0].body == body


@pytest.mark.parametrize("framing", ["chunked", "length", "eof"])
async def test_every_framing_gives_the_same_bytes(transport: HttpTransport, framing: str) -> None:
    steps = [b"one", b"two", b"three"]
    async with ScriptedProvider(Reply(steps=steps, framing=framing)) as provider:
        answer = await ask(transport, provider)
        assert await drain(answer) == b"onetwothree"
        assert await answer.read() == b""


async def test_repeated_headers_are_joined_and_names_are_lower_case(
    transport: HttpTransport,
) -> None:
    reply = Reply(
        headers=(("X-Limit", "1"), ("x-limit", "2"), ("Retry-After", "7")),
        steps=[b""],
        framing="length",
        status=429,
    )
    async with ScriptedProvider(reply) as provider:
        answer = await ask(transport, provider)
        assert answer.status == 429
        assert answer.headers == {"x-limit": "1, 2", "retry-after": "7", "content-length": "0"}


async def test_redirects_and_compressed_bodies_are_handed_on_untouched(
    transport: HttpTransport,
) -> None:
    reply = Reply(
        status=302,
        headers=(("location", "http://127.0.0.1:1/"), ("content-encoding", "gzip")),
        steps=[b"\x1f\x8bnot really"],
        framing="length",
    )
    async with ScriptedProvider(reply) as provider:
        answer = await ask(transport, provider)
        assert (answer.status, await drain(answer)) == (302, b"\x1f\x8bnot really")
        assert len(provider.seen) == 1


async def test_an_informational_head_is_skipped(transport: HttpTransport) -> None:
    wire = (
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    )
    async with ScriptedProvider(Reply(steps=[wire], framing="raw")) as provider:
        answer = await ask(transport, provider)
        assert (answer.status, answer.headers) == (200, {"content-length": "2"})
        assert await drain(answer) == b"ok"


async def test_each_written_chunk_is_readable_before_the_next_is_written(
    transport: HttpTransport,
) -> None:
    gates = [asyncio.Event() for _ in range(5)]
    steps = [step for i, gate in enumerate(gates) for step in (b"chunk %d" % i, gate)]
    async with ScriptedProvider(Reply(steps=steps)) as provider:
        answer = await ask(transport, provider)
        for i, gate in enumerate(gates):
            assert await asyncio.wait_for(answer.read(), 1) == b"chunk %d" % i
            assert len(provider.seen[0].delivered) == i + 1
            gate.set()
        assert await answer.read() == b""


async def test_the_head_is_given_before_any_body_byte_exists(transport: HttpTransport) -> None:
    gate = asyncio.Event()
    async with ScriptedProvider(Reply(steps=[gate, b"late"])) as provider:
        answer = await asyncio.wait_for(ask(transport, provider), 1)
        assert provider.seen[0].delivered == []
        gate.set()
        assert await drain(answer) == b"late"


async def test_a_response_cut_at_every_byte_reads_the_same(transport: HttpTransport) -> None:
    wire = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-a: b\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    def one_cut(seen: Seen) -> Reply:
        cut = int(seen.path.rsplit("/", 1)[1])
        return Reply(steps=[wire[:cut], 0.0, wire[cut:]], framing="raw")

    async with ScriptedProvider(one_cut) as provider:
        for cut in range(1, len(wire)):
            answer = await ask(transport, provider, f"/{cut}")
            assert (answer.headers["x-a"], await drain(answer)) == ("b", b"abcde")
        assert provider.connections_total == 1


@pytest.mark.parametrize("slow", [lambda: None, lambda: asyncio.sleep(0.01)])
async def test_a_body_is_poured_to_its_end_however_its_packets_fall(
    transport: HttpTransport, slow: Slow
) -> None:
    """Also where the end comes with a piece that was waited for, or while one is written."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    body = [b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n"]

    def cut(seen: Seen) -> Reply:
        first, second = map(int, seen.path.split("/")[-2:])
        steps = [head, b"".join(body[:first]), b"".join(body[first:second])]
        steps.append(b"".join(body[second:]))
        return Reply(steps=[part for step in steps for part in (step, 0.005)], framing="raw")

    async with ScriptedProvider(cut) as provider:
        for first in range(len(body) + 1):
            for second in range(first, len(body) + 1):
                pieces: list[bytes] = []
                await pour(await ask(transport, provider, f"/{first}/{second}"), slow, pieces)
                assert b"".join(pieces) == b"abcde", (first, second)
        assert provider.connections_total == 1


async def test_a_piece_that_is_slow_to_go_out_holds_back_those_behind_it(
    transport: HttpTransport,
) -> None:
    body = [b"1\r\n%d\r\n" % n for n in range(5)]
    steps = [part for chunk in [*body, b"0\r\n\r\n"] for part in (chunk, 0.01)]
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with ScriptedProvider(Reply(steps=[head, 0.02, *steps], framing="raw")) as provider:
        answer = await ask(transport, provider)
        pieces: list[bytes] = []
        free = asyncio.Event()

        def into(piece: bytes) -> Awaitable[object] | None:
            pieces.append(piece)
            return free.wait() if piece == b"1" else None

        async with asyncio.timeout(5):
            waits = await answer.pour(into)
            assert waits is not None
            await asyncio.sleep(0.1)
            assert pieces == [b"0", b"1"], "poured on"
            free.set()
            await waits
            assert await answer.pour(into) is None
        assert b"".join(pieces) == b"01234"
        assert len(pieces) == 3, "what came meanwhile is one piece"


async def test_nothing_is_poured_once_the_pouring_is_cancelled(transport: HttpTransport) -> None:
    steps = [part for n in range(60) for part in (b"%d;" % n, 0.005)]
    async with ScriptedProvider(Reply(steps=steps)) as provider:
        answer = await ask(transport, provider)
        pieces: list[bytes] = []

        def into(piece: bytes) -> None:
            pieces.append(piece)
            if len(pieces) == 3:
                task.cancel()

        task = asyncio.create_task(answer.pour(into))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        await asyncio.sleep(0.05)
        assert len(pieces) == 3
        async with asyncio.timeout(5):
            rest = await answer.read()
        sent = b"".join(b"%d;" % n for n in range(60))
        assert rest
        assert sent.startswith(b"".join([*pieces, rest])), "what came meanwhile is lost"
        await answer.close()


# ---- TLS -----------------------------------------------------------------------------------------


@asynccontextmanager
async def tls_server(*protocols: str) -> AsyncIterator[int]:
    """Answers every request with the protocol that TLS agreed on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOOPBACK)
    context.set_alpn_protocols(list(protocols))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()
            body = str(agreed).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_trusted_certificate_is_spoken_to_and_the_connection_kept() -> None:
    trusting = HttpTransport(tls=tls_context(cafile=LOOPBACK))
    async with tls_server("h2", "http/1.1") as port:
        for host in ("127.0.0.1", "localhost", "127.0.0.1"):
            answer = await trusting.open(
                "POST", f"https://{host}:{port}/", [], b"", total_timeout_s=5, idle_timeout_s=5
            )
            assert await drain(answer) == b"http/1.1"
        assert trusting.connections == 2
        await trusting.close()


async def test_an_unknown_certificate_is_refused_before_anything_is_sent(
    transport: HttpTransport,
) -> None:
    async with tls_server("http/1.1") as port:
        url = f"https://127.0.0.1:{port}/"
        with pytest.raises(AttemptFailed, match="certificate was not accepted") as failed:
            await transport.open("POST", url, [], b"", total_timeout_s=5, idle_timeout_s=5)
    fault = failed.value.fault
    assert (fault.status, fault.error_type) == (502, "provider_unavailable")
    assert transport.connections == 0


async def test_a_host_that_does_not_speak_tls_is_a_502(transport: HttpTransport) -> None:
    reply = Reply(steps=[b"plain"], framing="raw")
    async with ScriptedProvider(reply) as provider:
        url = provider.base_url.replace("http:", "https:")
        with pytest.raises(AttemptFailed) as failed:
            await transport.open("POST", url, [], b"", total_timeout_s=1, idle_timeout_s=1)
    assert failed.value.fault.status in (502, 504) and not failed.value.fault.local


# ---- leaving -------------------------------------------------------------------------------------


async def test_cancelling_before_the_head_closes_the_socket_within_a_second(
    transport: HttpTransport,
) -> None:
    async with ScriptedProvider(Reply(before_head=[Break.STALL])) as provider:
        task = asyncio.ensure_future(ask(transport, provider))
        await provider.until(lambda: len(provider.seen) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await provider.until(lambda: provider.connections_open == 0) < 1
        assert provider.seen[0].closed_s is not None
        assert transport.connections == 0


async def test_cancelling_as_the_head_arrives_closes_the_socket_within_a_second(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is there, and whoever waits for it has not been told yet."""
    received = Connection.data_received

    def receive(connection: Connection, data: bytes) -> None:
        received(connection, data)
        task.cancel()

    monkeypatch.setattr(Connection, "data_received", receive)
    async with ScriptedProvider(Reply(steps=[b"one", Break.STALL])) as provider:
        task = asyncio.ensure_future(ask(transport, provider))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await provider.until(lambda: provider.connections_open == 0) < 1
        assert transport.connections == 0


async def test_cancelling_inside_the_body_closes_the_socket_within_a_second(
    transport: HttpTransport,
) -> None:
    async def read_on(provider: ScriptedProvider) -> None:
        answer = await ask(transport, provider)
        try:
            await drain(answer)
        finally:
            await answer.close()

    async with ScriptedProvider(Reply(steps=[b"one", Break.STALL])) as provider:
        task = asyncio.ensure_future(read_on(provider))
        await provider.until(lambda: bool(provider.seen and provider.seen[0].delivered))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await provider.until(lambda: provider.connections_open == 0) < 1


async def test_closing_inside_the_body_closes_the_socket_within_a_second(
    transport: HttpTransport,
) -> None:
    async with ScriptedProvider(Reply(steps=[b"one", Break.STALL])) as provider:
        answer = await ask(transport, provider)
        assert await answer.read() == b"one"
        await answer.close()
        await answer.close()
        assert await provider.until(lambda: provider.connections_open == 0) < 1


async def test_a_provider_that_goes_on_sending_after_the_close_is_cut_off(
    transport: HttpTransport,
) -> None:
    steps = [b"one", *([b"more", 0.002] * 1000)]
    async with ScriptedProvider(Reply(steps=steps)) as provider:
        answer = await ask(transport, provider)
        await answer.read()
        await answer.close()
        assert await provider.until(lambda: provider.connections_open == 0) < 0.5
        assert len(provider.seen[0].delivered) < 12


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["unread", "paused"])
@pytest.mark.parametrize("framing", ["chunked", "eof"])
async def test_closing_with_bytes_unread_closes_the_socket_at_once(
    transport: HttpTransport, framing: str, size: int
) -> None:
    steps = [b"x" * size] * 3
    async with ScriptedProvider(Reply(steps=[*steps, Break.STALL], framing=framing)) as provider:
        answer = await ask(transport, provider)
        await asyncio.sleep(0.02)
        await answer.close()
        assert transport.connections == 0
        assert await provider.until(lambda: provider.connections_open == 0) < 1


async def test_closing_before_an_end_that_is_the_connections_closes_at_once(
    transport: HttpTransport,
) -> None:
    async with ScriptedProvider(Reply(steps=[b"x", Break.STALL], framing="eof")) as provider:
        answer = await ask(transport, provider)
        assert await answer.read() == b"x"
        await answer.close()
        assert transport.connections == 0


async def test_cancelling_a_read_loses_nothing(transport: HttpTransport) -> None:
    gate = asyncio.Event()
    async with ScriptedProvider(Reply(steps=[gate, b"late"])) as provider:
        answer = await ask(transport, provider)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.read(), 0.01)
        gate.set()
        assert await drain(answer) == b"late"


async def test_cancelling_while_connecting_leaves_no_socket(transport: HttpTransport) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))  # bound, never listening for long: the queue is filled below
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        url = f"http://127.0.0.1:{port}/"
        opening = transport.open("POST", url, [], b"", total_timeout_s=20, idle_timeout_s=20)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(opening, 0.1)
        assert transport.connections == 0
        impatient = HttpTransport(connect_timeout_s=0.1)
        with pytest.raises(AttemptFailed) as failed:
            await impatient.open("POST", url, [], b"", total_timeout_s=20, idle_timeout_s=20)
        await impatient.close()
        for filler in fillers:
            filler.close()
    fault = failed.value.fault
    assert (fault.status, fault.error_type, fault.retry, fault.local) == (
        504,
        "timeout",
        "elsewhere",
        False,
    )


# ---- deadlines -----------------------------------------------------------------------------------


async def test_silence_before_the_head_ends_at_the_idle_deadline(transport: HttpTransport) -> None:
    async with ScriptedProvider(Reply(before_head=[Break.STALL])) as provider:
        began = time.monotonic()
        failed = await fault_of(transport, provider, idle_s=0.2)
        assert 0.18 < time.monotonic() - began < 0.6
        assert (failed.fault.status, failed.fault.error_type) == (504, "timeout")
        assert failed.fault.message == "The provider was silent for 0.2 seconds."
        assert not failed.fault.local
        await provider.until(lambda: provider.connections_open == 0, 1)


async def test_silence_inside_the_body_ends_at_the_idle_deadline(transport: HttpTransport) -> None:
    steps = [b"a", 0.12, b"b", 0.12, b"c", Break.STALL]
    async with ScriptedProvider(Reply(steps=steps)) as provider:
        answer = await ask(transport, provider, idle_s=0.2)
        assert [await answer.read() for _ in range(3)] == [b"a", b"b", b"c"]
        began = time.monotonic()
        with pytest.raises(AttemptFailed, match=r"silent for 0\.2 seconds"):
            await answer.read()
        assert time.monotonic() - began < 0.6
        await provider.until(lambda: provider.connections_open == 0, 1)


async def test_the_total_deadline_ends_an_answer_that_never_pauses(
    transport: HttpTransport,
) -> None:
    async with ScriptedProvider(Reply(steps=[b"x", 0.01] * 1000)) as provider:
        began = time.monotonic()
        failed = await fault_of(transport, provider, total_s=0.3)
        assert 0.28 < time.monotonic() - began < 0.8
        assert (failed.fault.status, failed.fault.local) == (504, True)
        assert failed.fault.message == "The provider did not finish within 0.3 seconds."


async def test_a_total_deadline_shorter_than_the_last_requests_is_kept_on_a_reused_connection(
    transport: HttpTransport,
) -> None:
    def script(seen: Seen) -> Reply:
        first = seen.body == b"first"
        return Reply(steps=[b"ok"]) if first else Reply(before_head=[Break.STALL])

    async with ScriptedProvider(script) as provider:
        await drain(await ask(transport, provider, body=b"first", total_s=600, idle_s=120))
        began = time.monotonic()
        with pytest.raises(AttemptFailed) as failed:
            await ask(transport, provider, total_s=0.2)
        assert time.monotonic() - began < 0.6
        assert (failed.value.fault.status, failed.value.fault.local) == (504, False)
        assert provider.connections_total == 1


async def test_a_slow_head_within_the_deadlines_is_waited_for(transport: HttpTransport) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    drip = [step for byte in head for step in (bytes([byte]), 0.003)]
    async with ScriptedProvider(Reply(steps=[*drip, b"ok"], framing="raw")) as provider:
        answer = await ask(transport, provider, idle_s=1)
        assert await drain(answer) == b"ok"


async def test_a_reader_that_pauses_is_not_taken_for_a_silent_provider(
    transport: HttpTransport,
) -> None:
    async with ScriptedProvider(Reply(steps=[b"x" * 65536] * 64, framing="length")) as provider:
        answer = await ask(transport, provider, idle_s=0.15)
        total = len(await answer.read())
        await asyncio.sleep(0.4)
        assert total + len(await drain(answer)) == 64 * 65536


# ---- providers that break ------------------------------------------------------------------------


@pytest.mark.parametrize("how", [Break.RESET, Break.CLOSE, Break.HALF_CLOSE])
async def test_a_connection_closed_before_the_head_is_a_502(
    transport: HttpTransport, how: Break
) -> None:
    async with ScriptedProvider(Reply(before_head=[how])) as provider:
        fault = (await fault_of(transport, provider)).fault
        assert (fault.status, fault.error_type, fault.retry, fault.local) == (
            502,
            "provider_unavailable",
            "elsewhere",
            False,
        )
        assert fault.message == "The provider closed the connection before it answered."
        assert len(provider.seen) == 1


@pytest.mark.parametrize("how", [Break.RESET, Break.CLOSE, Break.HALF_CLOSE])
@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_a_connection_closed_inside_the_body_is_a_502_after_what_had_come(
    transport: HttpTransport, how: Break, framing: str
) -> None:
    reply = Reply(steps=[b"part", 0.02, how], framing=framing, length=100)
    async with ScriptedProvider(reply) as provider:
        answer = await ask(transport, provider)
        assert await answer.read() == b"part"
        with pytest.raises(AttemptFailed) as failed:
            await answer.read()
        fault = failed.value.fault
        assert (fault.status, fault.error_type, fault.local) == (502, "provider_unavailable", False)
        assert fault.message == "The provider closed the connection in the middle of its answer."
        with pytest.raises(AttemptFailed):
            await answer.read()
        await answer.close()


@pytest.mark.parametrize("broken", [b"3\r\nabc\r\nzz\r\n", b"3\r\nabc\r\n"])
@pytest.mark.parametrize("slow", [lambda: None, lambda: asyncio.sleep(0.02)])
async def test_what_came_before_a_break_is_poured_and_then_the_break_is_told(
    transport: HttpTransport, broken: bytes, slow: Slow
) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    reply = Reply(steps=[head, 0.01, broken, Break.CLOSE], framing="raw")
    async with ScriptedProvider(reply) as provider:
        pieces: list[bytes] = []
        with pytest.raises(AttemptFailed):
            await pour(await ask(transport, provider), slow, pieces)
        assert pieces == [b"abc"]


async def test_a_reset_of_a_body_without_length_is_not_taken_for_its_end(
    transport: HttpTransport,
) -> None:
    async with ScriptedProvider(
        Reply(steps=[b"part", 0.02, Break.RESET], framing="eof")
    ) as provider:
        answer = await ask(transport, provider)
        assert await answer.read() == b"part"
        with pytest.raises(AttemptFailed):
            await answer.read()


@pytest.mark.parametrize(
    "wire",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"<html><body>busy</body></html>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"a" * 400_000,
    ],
)
async def test_what_is_not_http_is_a_502_and_closes(transport: HttpTransport, wire: bytes) -> None:
    async with ScriptedProvider(Reply(steps=[wire, Break.STALL], framing="raw")) as provider:
        fault = (await fault_of(transport, provider, total_s=2)).fault
        assert (fault.status, fault.error_type) == (502, "provider_unavailable")
        assert fault.message == "The provider's answer is not valid HTTP/1.1."
        await provider.until(lambda: provider.connections_open == 0, 1)


async def test_a_refused_connection_is_the_providers_fault(transport: HttpTransport) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(AttemptFailed) as failed:
            await transport.open("POST", url, [], b"", total_timeout_s=5, idle_timeout_s=5)
    fault = failed.value.fault
    assert (fault.status, fault.error_type, fault.retry, fault.local) == (
        502,
        "provider_unavailable",
        "elsewhere",
        False,
    )


async def test_an_unknown_name_is_a_local_fault(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody, raising=False)
    with pytest.raises(AttemptFailed) as failed:
        await transport.open(
            "POST", "https://nowhere.invalid/", [], b"", total_timeout_s=5, idle_timeout_s=5
        )
    assert (failed.value.fault.status, failed.value.fault.local) == (502, True)
    assert failed.value.fault.message == (
        "The provider cannot be reached: its name could not be resolved."
    )


@pytest.mark.parametrize(
    "url", ["ftp://a/", "http://", "nonsense", "http://a:99999/", "http://u:p@a/", "http://a b/"]
)
async def test_a_url_that_cannot_be_called_is_a_local_fault(
    transport: HttpTransport, url: str
) -> None:
    with pytest.raises(AttemptFailed) as failed:
        await transport.open("POST", url, [], b"", total_timeout_s=5, idle_timeout_s=5)
    assert failed.value.fault.local


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "a\rb", "a\0b"])
async def test_a_header_cannot_smuggle_another(transport: HttpTransport, value: str) -> None:
    with pytest.raises(AttemptFailed) as failed:
        await transport.open(
            "POST",
            "http://127.0.0.1:1/",
            [("x-title", value)],
            b"",
            total_timeout_s=5,
            idle_timeout_s=5,
        )
    assert failed.value.fault.local and value not in failed.value.fault.message


# ---- the pool ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "piece", [b"x", b"\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>"], ids=["drips", "hints"]
)
async def test_a_head_that_never_ends_is_silence(transport: HttpTransport, piece: bytes) -> None:
    start = b"HTTP/1.1 103 Early Hints\r\nx-slow: "
    drip = Reply(framing="raw", steps=[start, *[piece, 0.05] * 200])
    async with ScriptedProvider(drip) as provider:
        began_s = time.monotonic()
        failed = await fault_of(transport, provider, idle_s=0.3)
        assert (failed.fault.status, failed.fault.error_type) == (504, "timeout")
        assert 0.29 < time.monotonic() - began_s < 2


async def test_a_connection_is_reused_after_a_body_read_to_its_end(
    transport: HttpTransport,
) -> None:
    async with ScriptedProvider(Reply(steps=[b"a", b"b"])) as provider:
        for _ in range(20):
            answer = await ask(transport, provider)
            assert await drain(answer) == b"ab"
            await answer.close()
        assert (provider.connections_total, transport.connections) == (1, 1)


async def test_a_connection_lives_on_when_http_ends_a_packet_after_the_dialect(
    transport: HttpTransport,
) -> None:
    async with ScriptedProvider(Reply(steps=[b"data: [DONE]\n\n", 0.01])) as provider:
        for _ in range(5):
            answer = await ask(transport, provider)
            assert await answer.read() == b"data: [DONE]\n\n"
            await answer.close()
            await asyncio.sleep(0.03)
        assert provider.connections_total == 1


async def test_an_answer_that_closes_its_connection_is_not_pooled(transport: HttpTransport) -> None:
    reply = Reply(headers=(("connection", "close"),), steps=[b"ok"], framing="length")
    async with ScriptedProvider(reply) as provider:
        for _ in range(3):
            assert await drain(await ask(transport, provider)) == b"ok"
        assert (provider.connections_total, transport.connections) == (3, 0)


async def test_a_pooled_connection_the_provider_closed_is_replaced_without_a_word(
    transport: HttpTransport,
) -> None:
    """The close may cross the request on the wire; it is then sent again, once, on a new socket."""

    def script(seen: Seen) -> Reply:
        if seen.connection == 0 and len(provider.seen) == 2:
            return Reply(before_head=[Break.CLOSE])
        return Reply(steps=[b"ok"])

    async with ScriptedProvider(script) as provider:
        for _ in range(3):
            assert await drain(await ask(transport, provider)) == b"ok"
        assert [seen.connection for seen in provider.seen] == [0, 0, 1, 1]


async def test_a_provider_that_fails_on_new_connections_too_is_not_asked_twice(
    transport: HttpTransport,
) -> None:
    """It closes pooled and new ones alike: sending each request again would double a storm."""
    sick, asked = False, asyncio.Event()

    def script(seen: Seen) -> Reply:
        return Reply(before_head=[Break.CLOSE]) if sick else Reply(steps=[asked, b"ok"])

    async with ScriptedProvider(script) as provider:
        answers = [await ask(transport, provider) for _ in range(5)]
        asked.set()
        assert [await drain(answer) for answer in answers] == [b"ok"] * 5
        sick = True
        for sent in (2, 1, 1, 1, 1):  # one learns it, on a connection of its own
            before = len(provider.seen)
            await fault_of(transport, provider)
            assert len(provider.seen) - before == sent
        sick = False
        assert await drain(await ask(transport, provider)) == b"ok"


async def test_bytes_nobody_asked_for_spoil_the_connection(transport: HttpTransport) -> None:
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    second = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"
    async with ScriptedProvider(Reply(steps=[wire + second], framing="raw")) as provider:
        for _ in range(3):
            assert await drain(await ask(transport, provider)) == b"ok"
        assert provider.connections_total == 3


async def test_500_mixed_outcomes_leak_no_connection(transport: HttpTransport) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    endings: list[tuple[object, ...]] = [
        (),
        (Break.RESET,),
        (Break.CLOSE,),
        (Break.HALF_CLOSE,),
        (Break.STALL,),
    ]

    def script(seen: Seen) -> Reply:
        steps = [b"x" * dice.choice((1, 100, 70_000)) for _ in range(dice.randrange(5))]
        if dice.random() < 0.2:
            return Reply(before_head=dice.choice(endings[1:]))  # type: ignore[arg-type]
        framing = dice.choice(("chunked", "length", "eof"))
        return Reply(steps=[*steps, *dice.choice(endings)], framing=framing)  # type: ignore[list-item]

    outcomes = {"whole": 0, "failed": 0, "closed": 0, "cancelled": 0}

    async def one() -> None:
        try:
            answer = await ask(transport, provider, total_s=2, idle_s=0.1)
            try:
                if dice.random() < 0.3:
                    await answer.read()
                    outcomes["closed"] += 1
                else:
                    await drain(answer)
                    outcomes["whole"] += 1
            finally:
                await answer.close()
        except AttemptFailed:
            outcomes["failed"] += 1

    async with ScriptedProvider(script) as provider:
        for _ in range(10):
            tasks = [asyncio.ensure_future(one()) for _ in range(50)]
            await asyncio.sleep(dice.random() * 0.02)
            for task in tasks:
                if dice.random() < 0.1 and task.cancel():
                    outcomes["cancelled"] += 1
            await asyncio.gather(*tasks, return_exceptions=True)
        await provider.until(lambda: provider.connections_open == transport.connections)
        assert transport.connections == sum(map(len, transport._idle.values())), "one is not idle"
        assert sum(outcomes.values()) >= 500 and min(outcomes.values()) > 0, outcomes
        await transport.close()
        await provider.until(lambda: provider.connections_open == 0, 1)


async def test_a_body_of_100_megabytes_does_not_grow_memory(transport: HttpTransport) -> None:
    """The provider writes as fast as it can; the reader dawdles at first."""
    piece = b"x" * 1_000_000
    async with ScriptedProvider(Reply(steps=[piece] * 100)) as provider:
        answer = await ask(transport, provider)
        await asyncio.sleep(0.1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = 0
        while data := await answer.read():
            assert len(data) <= 1_500_000
            size += len(data)
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert (size, grown_kb < 20_000) == (100_000_000, True), grown_kb


async def test_closing_the_transport_ends_answers_that_are_open(transport: HttpTransport) -> None:
    async with ScriptedProvider(Reply(steps=[b"one", Break.STALL])) as provider:
        answer = await ask(transport, provider)
        assert await answer.read() == b"one"
        await transport.close()
        with pytest.raises(AttemptFailed):
            await answer.read()
        await provider.until(lambda: provider.connections_open == 0, 1)
        with pytest.raises(AttemptFailed, match="shutting down"):
            await ask(transport, provider)


def test_the_event_loop_may_be_replaced() -> None:
    transport = HttpTransport()

    async def once() -> bytes:
        async with ScriptedProvider(Reply(steps=[b"ok"])) as provider:
            await drain(await ask(transport, provider))
            return await drain(await ask(transport, provider))

    for run in (asyncio.run, uvloop.run, asyncio.run):
        assert run(once()) == b"ok"
    asyncio.run(transport.close())
