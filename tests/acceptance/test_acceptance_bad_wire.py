"""What is wrong below the JSON: size, encodings, framing, HTTP itself, slowness. Spoken through
sockets, because no decent client would send most of it. Each is answered with a clear JSON error,
nothing is charged or held, the server stays healthy and small."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance_support import HI, MB, PATH, Quiet, connect, raw, refused, unharmed

from support.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        quiet = Quiet(running)
        yield running
        quiet.check()


@pytest.fixture(autouse=True)
def _nothing_is_charged_or_held(request: pytest.FixtureRequest) -> Iterator[None]:
    """For every test that uses the shared server."""
    if "server" not in request.fixturenames:
        yield
        return
    with unharmed(request.getfixturevalue("server")):
        yield


# ---- size ----------------------------------------------------------------------------------------


def peak_bytes(server: Server) -> int:
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def reset_peak(server: Server) -> int:
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    return peak_bytes(server)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_of_100_mb_is_413_and_costs_no_memory(server: Server, declared: bool) -> None:
    before = reset_peak(server)
    connection = connect(server)
    connection.putrequest("POST", PATH)
    connection.putheader("Authorization", f"Bearer {server.key}")
    connection.putheader("Content-Type", "application/json")
    piece = b"x" * MB
    if declared:
        connection.putheader("Content-Length", str(100 * MB))
    else:
        connection.putheader("Transfer-Encoding", "chunked")
        piece = b"%x\r\n%s\r\n" % (len(piece), piece)
    connection.endheaders()
    for _ in range(100):
        connection.send(piece)
    if not declared:
        connection.send(b"0\r\n\r\n")
    answer = connection.getresponse()
    body = json.loads(answer.read())
    assert (answer.status, body["error"]["error_type"]) == (413, "payload_too_large")
    assert body["error"]["metadata"]["limit_bytes"] == 32 * 1024 * 1024
    connection.close()
    grown = peak_bytes(server) - before
    print(f"100 MB body, {'declared' if declared else 'chunked'}: +{grown / MB:.1f} MB at the peak")
    assert grown < 64 * MB


def test_whoever_is_refused_before_their_body_was_read_gets_to_read_the_answer(
    server: Server,
) -> None:
    """A large body on its way must not turn the answer into a connection reset."""
    for path, key, status in (
        (PATH, None, 401),
        (PATH, "tlw_" + "0" * 49, 401),
        ("/api/v1/keys", server.key, 403),
        ("/api/v1/nothing", None, 404),
        ("/api/v1/models", None, 405),
    ):
        connection = connect(server)
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(30 * MB))
        if key:
            connection.putheader("Authorization", f"Bearer {key}")
        connection.endheaders()
        for _ in range(30):
            connection.send(b"x" * MB)
        answer = connection.getresponse()
        assert answer.status == status
        assert json.loads(answer.read())["error"]["code"] == status
        connection.close()


def test_a_client_that_asks_before_it_sends_is_refused_unsent(server: Server) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % (
        PATH.encode(),
        server.key.encode(),
    )
    ask = b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    started = time.perf_counter()
    status, body = raw(server, head + ask % (100 * MB))
    assert (status, json.loads(body)["error"]["error_type"]) == (413, "payload_too_large")
    assert time.perf_counter() - started < 2
    assert raw(server, head + ask % 100)[0] == 100


def test_a_gzip_bomb_is_413_and_costs_no_memory(server: Server) -> None:
    bomb = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    block = b" " * MB
    packed = b"".join(bomb.compress(block) for _ in range(500)) + bomb.flush()
    before = reset_peak(server)
    answer = server.ask("POST", PATH, packed, headers={"Content-Encoding": "gzip"})
    assert refused(answer, 413)["error_type"] == "payload_too_large"
    grown = peak_bytes(server) - before
    print(f"gzip bomb, {len(packed) / MB:.1f} MB for 500: +{grown / MB:.1f} MB at the peak")
    assert grown < 64 * MB + len(packed)


def test_an_honest_gzip_body_is_read_and_a_broken_one_refused(server: Server) -> None:
    body = {**HI, "model": "tollway/fault"}
    body["messages"] = [{"role": "user", "content": "é" * 9_000 + " [[fault status=400]]"}]
    packed = gzip.compress(json.dumps(body).encode())
    answer = server.ask("POST", PATH, packed, headers={"Content-Encoding": "gzip"})
    assert "x-generation-id" in answer[2], "it was read, planned and held"
    for broken in (packed[:-9], b"\x1f\x8b" + b"x" * 50, json.dumps(HI).encode(), b""):
        refused(server.ask("POST", PATH, broken, headers={"Content-Encoding": "gzip"}), 400)


@pytest.mark.parametrize("rest", [b"rubbish", gzip.compress(b" ")], ids=["rubbish", "member"])
def test_what_follows_a_gzip_body_is_not_overlooked(server: Server, rest: bytes) -> None:
    packed = gzip.compress(json.dumps({**HI, "temperature": "hot"}).encode()) + rest
    error = refused(server.ask("POST", PATH, packed, headers={"Content-Encoding": "gzip"}), 400)
    assert "gzip" in error["message"]


def test_other_encodings_are_415(server: Server) -> None:
    for encoding in ("br", "zstd", "deflate", "gzip, gzip", "rot13"):
        answer = server.ask("POST", PATH, HI, headers={"Content-Encoding": encoding})
        assert encoding in refused(answer, 415)["message"]


# ---- HTTP ----------------------------------------------------------------------------------------


def test_unknown_routes_and_wrong_methods_are_json(server: Server) -> None:
    for path in ("/api/v1/nothing", "/api/v1/chat/completions/", "/api/v2/models", "/v1", "/.env"):
        assert refused(server.ask("GET", path), 404)["error_type"] == "not_found"
    for method, path in (
        ("GET", PATH),
        ("PUT", PATH),
        ("DELETE", "/api/v1/models"),
        ("POST", "/api/v1/key"),
        ("TRACE", PATH),
    ):
        answer = server.ask(method, path)
        refused(answer, 405)
        assert answer[2]["allow"]


def test_headers_without_end_are_431(server: Server) -> None:
    for head in (
        b"GET /api/v1/models HTTP/1.1\r\nHost: x\r\n" + b"X-Filler: yyyyyyyyyyyyyyyy\r\n" * 20_000,
        b"GET /api/v1/models?q=" + b"z" * 300_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/v1/models HTTP/1.1\r\nX-Long: " + b"z" * 300_000 + b"\r\n\r\n",
    ):
        status, body = raw(server, head)
        assert status == 431, body
        assert json.loads(body)["error"]["code"] == 431


def test_a_length_and_chunks_together_are_refused(server: Server) -> None:
    """Two readers of such a request disagree on where it ends: the root of request smuggling."""
    text = json.dumps(HI).encode()
    base = b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % (
        PATH.encode(),
        server.key.encode(),
    )
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)
    inner = b"GET /api/v1/key HTTP/1.1\r\nHost: x\r\n\r\n"
    length = b"Content-Length: %d\r\n" % len(text)
    for head, body in (
        (length + b"Transfer-Encoding: chunked\r\n", chunked + inner),
        (b"Transfer-Encoding: chunked\r\n" + length, chunked + inner),
        (length + b"Content-Length: 5\r\n", text + inner),
        (b"Content-Length: -1\r\n", text),
        (b"Content-Length: 1e3\r\n", text),
        (b"Content-Length: 99999999999999999999999\r\n", text),
        (b"Transfer-Encoding: xchunked\r\n", chunked + inner),
        (b"Transfer-Encoding: chunked, identity\r\n", chunked + inner),
        (b"Transfer-Encoding : chunked\r\n", chunked + inner),
        (b"Transfer-Encoding: chunked\r\n", b"zz\r\n" + text),
    ):
        status, answer = raw(server, base + head + b"\r\n" + body, to_the_end=True)
        assert status in (400, 413), (head, status, answer)
        assert json.loads(answer)["error"]["code"] == status, "one answer, and the connection ends"


def test_garbage_is_400_json(server: Server) -> None:
    for junk in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A: b\x00c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        status, body = raw(server, junk)
        assert status == 400, (junk, body)
        assert json.loads(body)["error"]["code"] == 400


def test_a_client_that_offers_another_protocol_is_answered_in_this_one(server: Server) -> None:
    """Java's own client offers h2c with every request to a plain http URL, bodies included."""
    offer = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    )
    text = json.dumps({**HI, "temperature": "the Upgrade: was read"}).encode()
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s" % (
        PATH.encode(),
        server.key.encode(),
        offer,
    )
    for body in (
        b"Content-Length: %d\r\n\r\n%s" % (len(text), text),
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(text), text),
    ):
        status, answer = raw(server, head + body)
        assert (status, json.loads(answer)["error"]["metadata"]["field"]) == (400, "temperature")
    socket = offer.replace(b"h2c", b"websocket")
    status, answer = raw(server, b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + socket + b"\r\n")
    assert (status, json.loads(answer)["status"]) == (200, "ok")


def test_a_strange_host_changes_nothing(server: Server) -> None:
    for host in ("evil.example", "x" * 300, "localhost:99999", "[::1", "a b", ""):
        answer = server.ask("GET", "/health/ready", key=None, headers={"Host": host})
        assert answer[0] == 200
        assert "evil" not in str(answer[1])
    status, body, _ = server.ask("GET", "/models/count", headers={"Host": "evil.example"})
    assert (status, "evil" in str(body)) == (200, False)


def test_a_client_that_sends_half_a_request_and_leaves_harms_nobody(server: Server) -> None:
    for cut in (1, 20, 120, -5):
        text = json.dumps(HI).encode()
        whole = b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % (
            PATH.encode(),
            server.key.encode(),
        ) + b"Content-Length: %d\r\n\r\n%s" % (len(text), text)
        raw(server, whole[:cut], read=False)


# ---- slowness ------------------------------------------------------------------------------------


def test_a_client_that_dribbles_is_408_within_the_deadline() -> None:
    limits = {"TOLLWAY_HEAD_TIMEOUT_S": "0.6", "TOLLWAY_BODY_TIMEOUT_S": "0.8"}
    with Server(env=limits) as hasty:
        quiet = Quiet(hasty)
        text = json.dumps(HI).encode()
        head = b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" % (
            PATH.encode(),
            hasty.key.encode(),
        )
        whole = head + b"Content-Length: %d\r\n\r\n" % len(text)
        for first, drip, limit_s in (
            (b"", head, 0.6),
            (head, b"X-A: b\r\n" * 50, 0.6),
            (whole, text, 0.8),
            (whole + text[:20], text[20:], 0.8),
            (head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n" * 50, 0.8),
        ):
            started = time.perf_counter()
            status, body = raw(hasty, first, drip=drip, every_s=0.1)
            took = time.perf_counter() - started
            assert status == 408, body
            assert json.loads(body)["error"]["error_type"] == "timeout"
            assert limit_s - 0.1 <= took < limit_s + 2
        assert raw(hasty, b"", timeout_s=3) == (0, b""), "a silent connection is just closed"
        quiet.check()
