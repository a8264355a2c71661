"""What a server on the open internet is sent. Every bad request gets a clear JSON error of the right
code over a connection that is answered; nothing is charged, nothing is held, the server stays
healthy. Spoken through sockets, because no decent client would send most of it."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from acceptance_support import Quiet, connect, nano, open_holds, raw, settled_balance
from support.server import Server

MB = 1_000_000
PATH = "/api/v1/chat/completions"
HI: dict[str, Any] = {"model": "tollway/echo", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        quiet = Quiet(running)
        yield running
        quiet.check()
        log = running.log()
        assert [x for x in log.splitlines() if " ERROR " in x or "Traceback" in x] == []


@pytest.fixture(autouse=True)
def _nothing_is_charged_or_held(request: pytest.FixtureRequest) -> Iterator[None]:
    """For every test that uses the shared server."""
    if "server" not in request.fixturenames:
        yield
        return
    server: Server = request.getfixturevalue("server")
    before = used_nano(server)
    yield
    assert server.ask("GET", "/health/ready", key=None)[0] == 200
    assert open_holds(server) == 0
    assert used_nano(server) == before


@pytest.fixture(scope="module")
def boss(server: Server) -> str:
    return server.tollway("keys", "create", "--name", "boss", "--management", "--plain")


def used_nano(server: Server) -> int:
    return nano(server.ask("GET", "/credits")[1]["data"]["total_usage"])


def refused(answer: tuple[int, Any, dict[str, str]], status: int) -> dict[str, Any]:
    """The `error` of an answer that must have this status and the shape every error has."""
    got, body, headers = answer
    assert got == status, body
    assert headers["content-type"] == "application/json"
    error: dict[str, Any] = body["error"]
    assert error["code"] == status
    assert error["message"] and error["error_type"] == error["metadata"]["error_type"]
    return error


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [fields]}


def user(*parts: Any) -> dict[str, Any]:
    return message(role="user", content=list(parts))


# ---- fields --------------------------------------------------------------------------------------

NONE = object()
"""The field is left out."""

FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"messages": NONE}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "Hello"}, "messages"),
    ({"messages": [7]}, "messages[0]"),
    (message(content="Hi"), "messages[0].role"),
    (message(role="robot", content="Hi"), "messages[0].role"),
    (message(role="user"), "messages[0].content"),
    (message(role="user", content=None), "messages[0].content"),
    (message(role="user", content=7), "messages[0].content"),
    (message(role="user", content={"text": "Hi"}), "messages[0].content"),
    (user({"type": "smell"}), "messages[0].content[0].type"),
    (user({"text": "Hi"}), "messages[0].content[0].type"),
    (user({"type": "text"}), "messages[0].content[0].text"),
    (user({"type": "text", "text": 1}), "messages[0].content[0].text"),
    (user({"type": "image_url", "image_url": "http://x"}), "messages[0].content[0].image_url"),
    (message(role="tool", content="42"), "messages[0].tool_call_id"),
    (message(role="assistant", tool_calls=[{"type": "function"}]), "messages[0].tool_calls[0].id"),
    ({"model": NONE}, "model"),
    ({"model": ""}, "model"),
    ({"model": 5}, "model"),
    ({"model": None, "models": []}, "model"),
    ({"models": "tollway/echo"}, "models"),
    ({"models": ["tollway/echo", 1]}, "models[1]"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": True}, "stream_options"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"top_k": 0.5}, "top_k"),
    ({"frequency_penalty": 9}, "frequency_penalty"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -5}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": "ten"}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_completion_tokens": False}, "max_completion_tokens"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"seed": "x"}, "seed"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": [1]}, "stop[0]"),
    ({"logit_bias": {"5": 101}}, "logit_bias[...]"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    (
        {"tools": [{"type": "function", "function": {"name": "two words"}}]},
        "tools[0].function.name",
    ),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "poem"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"reasoning": "hard"}, "reasoning"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ({"reasoning": {"effort": "low", "max_tokens": 5}}, "reasoning"),
    ({"metadata": {"a": 1}}, "metadata[...]"),
    ({"user": 5}, "user"),
    ({"provider": []}, "provider"),
    ({"provider": {"price": 1}}, "provider.price"),
    ({"provider": {"order": "tollway"}}, "provider.order"),
    ({"provider": {"sort": "beauty"}}, "provider.sort"),
    ({"provider": {"max_price": {"promt": 1}}}, "provider.max_price.promt"),
    ({"provider": {"max_price": {"prompt": "cheap"}}}, "provider.max_price.prompt"),
    ({"provider": {"max_price": {"prompt": -1}}}, "provider.max_price.prompt"),
    ({"provider": {"quantizations": ["fp3"]}}, "provider.quantizations[0]"),
]


@pytest.mark.parametrize(("change", "field"), FIELDS, ids=[str(c)[:60] for c, _ in FIELDS])
def test_a_wrong_field_is_refused_by_its_path(
    server: Server, change: dict[str, Any], field: str
) -> None:
    body = {name: value for name, value in {**HI, **change}.items() if value is not NONE}
    error = refused(server.ask("POST", PATH, body), 400)
    assert error["error_type"] == "invalid_request"
    assert error["message"].startswith(f"{field}: ")
    assert error["metadata"]["field"] == field


def test_a_prompt_of_the_wrong_type_is_refused_on_the_older_route(server: Server) -> None:
    for prompt in (None, 7, [], ["a", "b"], {"text": "Hi"}):
        body = {"model": "tollway/echo", "prompt": prompt}
        error = refused(server.ask("POST", "/completions", body), 400)
        assert error["metadata"]["field"].startswith("prompt")


def test_unknown_top_level_fields_are_ignored_and_null_means_absent(server: Server) -> None:
    body = {**HI, "model": "tollway/fault", "colour": "red", "temperature": None, "tools": None}
    body["messages"] = [{"role": "user", "content": "Hi [[fault status=418]]"}]
    assert server.ask("POST", PATH, body)[0] != 400


# ---- JSON ----------------------------------------------------------------------------------------

TEXT = b'{"model":"tollway/echo","messages":[{"role":"user","content":"%s"}]%s}'
DEEP = 200_000

BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n ",
    "not JSON": b"model=tollway/echo",
    "half": json.dumps(HI).encode()[:40],
    "two values": json.dumps(HI).encode() * 2,
    "an array": b"[]",
    "a string": b'"Hi"',
    "null": b"null",
    "bad UTF-8": TEXT % (b"\xff\xfe", b""),
    "overlong UTF-8": TEXT % (b"\xc0\xaf", b""),
    "half a surrogate pair": TEXT % (rb"\ud800", b""),
    "a raw NUL in a string": TEXT % (b"\x00", b""),
    "a NUL at the end": TEXT % (b"Hi", b"") + b"\x00",
    "a raw newline in a string": TEXT % (b"a\nb", b""),
    "UTF-16": json.dumps(HI).encode("utf-16"),
    "NaN": TEXT % (b"Hi", b',"temperature":NaN'),
    "Infinity": TEXT % (b"Hi", b',"temperature":-Infinity'),
    "an unknown field that is NaN": TEXT % (b"Hi", b',"colour":NaN'),
    "a trailing comma": TEXT % (b"Hi", b","),
    "deep arrays": b"[" * DEEP,
    "deep arrays, closed": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "a deep unknown field": TEXT % (b"Hi", b',"colour":' + b"[" * DEEP + b"]" * DEEP),
    "a deep schema": TEXT
    % (
        b"Hi",
        b',"tools":[{"type":"function","function":{"name":"f","parameters":'
        + b'{"a":' * DEEP
        + b"1"
        + b"}" * DEEP
        + b"}}]",
    ),
    "deep content": TEXT % (b'","a":' + b"[" * DEEP + b"]" * DEEP + b',"b":"', b""),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_is_no_json_is_refused(server: Server, body: bytes) -> None:
    started = time.perf_counter()
    error = refused(server.ask("POST", PATH, body), 400)
    assert error["error_type"] == "invalid_request"
    assert "JSON" in error["message"]
    assert time.perf_counter() - started < 5


def test_a_number_beyond_every_double_is_refused(server: Server) -> None:
    refused(server.ask("POST", PATH, TEXT % (b"Hi", b',"temperature":1e999')), 400)


def test_control_routes_refuse_bad_bodies_too(server: Server, boss: str) -> None:
    for body in (b"", b"[]", b"{", b"\xff", b'{"name":"x","limit":NaN}', b"[" * 60_000):
        refused(server.ask("POST", "/keys", body, key=boss), 400)
    for fields in ({}, {"name": ""}, {"name": "x", "limit": -1}, {"name": "x", "limit": "much"}):
        refused(server.ask("POST", "/keys", fields, key=boss), 400)
    refused(server.ask("POST", "/keys", b"x" * 40 * MB, key=boss), 413)


# ---- models and endpoints ------------------------------------------------------------------------


def test_an_unknown_model_is_400_with_close_ones(server: Server) -> None:
    error = refused(server.chat("tollway/ecco"), 400)
    found = error["availability"]
    assert (found["code"], found["retryable"]) == ("model_not_found", False)
    assert found["requested_models"] == ["tollway/ecco"]
    assert "tollway/echo" in found["fallback_models"]
    for slug in ("nothing", "a/" + "b" * 254, "../../etc/passwd", "tollway/echo\x00", "💥/💥"):
        code = refused(server.chat(slug), 400)["availability"]["code"]
        assert code == "model_not_found"


def test_a_retired_model_is_404_with_its_successors(server: Server) -> None:
    error = refused(server.chat(RETIRED), 404)
    found = error["availability"]
    assert found["code"] == "model_deprecated"
    assert SUCCESSOR in found["fallback_models"] and SUCCESSOR in error["message"]


RETIRED, SUCCESSOR = "01-ai/yi-large", "qwen/qwen3-235b-a22b-2507"


def test_an_embedding_model_does_not_chat(server: Server) -> None:
    error = refused(server.chat("openai/text-embedding-3-small"), 400)
    assert error["availability"]["code"] == "wrong_endpoint"


def test_every_endpoint_down_is_503_with_availability_and_retry_after(server: Server) -> None:
    answer = server.chat("tollway/fault", "[[fault status=503 retry_after=3]]")
    error = refused(answer, 503)
    assert error["availability"]["code"] == "temporarily_unavailable"
    assert error["availability"]["retryable"] is True
    assert len(error["metadata"]["previous_errors"]) >= 1
    assert answer[2]["retry-after"] == "3"
    plain = server.chat("tollway/fault", "again [[fault status=503]]")
    refused(plain, 503)
    assert "retry-after" not in plain[2]
    crowded = server.chat("tollway/fault", "[[fault status=429 retry_after=2]]")
    assert refused(crowded, 429)["availability"]["code"] == "capacity_exhausted"
    assert crowded[2]["retry-after"] == "2"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("status=500", 502),
        ("status=401", 502),
        ("status=402", 502),
        ("status=403", 502),
        ("status=400", 400),
        ("status=413", 413),
        ("status=529", 503),
        ("html", 502),
        ("empty", 502),
        ("die=before", 502),
        ("die=0", 502),
        ("die=1", 502),
        ("bad_json=1", 502),
        ("error_after=0", 503),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_breaks_before_it_speaks_is_a_json_error(
    server: Server, words: str, status: int, stream: bool
) -> None:
    answer = server.chat("tollway/fault", f"Hi [[fault {words}]]", stream=stream)
    error = refused(answer, status)
    assert error["metadata"]["provider_name"].startswith("Tollway Sandbox")
    assert answer[2]["x-generation-id"].startswith("gen-")


def test_preferences_that_leave_nothing_are_404_with_what_excluded(server: Server) -> None:
    error = refused(server.chat("tollway/echo", provider={"max_price": {"prompt": 0.01}}), 404)
    found = error["availability"]
    assert (found["code"], found["excluded_by"]) == ("constraint_filtered", ["max_price"])
    only = refused(server.chat("tollway/echo", provider={"only": ["openai"]}), 404)
    assert only["availability"]["excluded_by"] == ["allowed_providers"]
    long = refused(server.chat("tollway/echo", "word " * 120_000), 404)
    assert long["availability"]["excluded_by"] == ["context_length"]
    nobody = refused(server.chat("openai/gpt-4o-mini"), 404)
    assert nobody["availability"]["code"] == "no_endpoints"


# ---- keys ----------------------------------------------------------------------------------------


def test_no_key_malformed_key_and_unknown_key_are_401(server: Server) -> None:
    wrong_digit = server.key[:-1] + ("a" if server.key[-1] != "a" else "b")
    for header in (
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"Authorization": server.key},
        {"Authorization": f"Bearer {wrong_digit}"},
        {"Authorization": "Bearer sk-or-v1-0123456789"},
        {"Authorization": "Bearer " + "x" * 10_000},
        {"Authorization": "Bearer t\xfcr\xe9"},
        {"x-api-key": "sk-ant-0123456789"},
        {"x-api-key": "tlw_" + "0" * 49},
    ):
        for path, body in ((PATH, HI), ("/key", None), ("/credits", None)):
            method = "POST" if body else "GET"
            answer = server.ask(method, path, body, key=None, headers=header)
            assert refused(answer, 401)["error_type"] == "authentication"
            assert answer[2]["www-authenticate"] == "Bearer"


def test_an_unknown_but_well_formed_key_is_401(server: Server) -> None:
    with Server() as other:
        answer = server.ask("POST", PATH, HI, key=other.key)
        assert "not known" in refused(answer, 401)["message"]


def test_disabled_and_deleted_keys_are_401_at_once(server: Server, boss: str) -> None:
    _, made, _ = server.ask("POST", "/keys", {"name": "brief"}, key=boss)
    key, hash = made["key"], made["data"]["hash"]
    assert server.ask("GET", "/key", key=key)[0] == 200
    assert server.ask("PATCH", f"/keys/{hash}", {"disabled": True}, key=boss)[0] == 200
    assert "disabled" in refused(server.ask("POST", PATH, HI, key=key), 401)["message"]
    assert server.ask("DELETE", f"/keys/{hash}", key=boss)[0] == 200
    refused(server.ask("POST", PATH, HI, key=key), 401)


def test_an_expired_key_is_401(server: Server, boss: str) -> None:
    at = (datetime.now(UTC) + timedelta(milliseconds=400)).isoformat()
    _, made, _ = server.ask("POST", "/keys", {"name": "brief", "expires_at": at}, key=boss)
    until = time.monotonic() + 5
    while server.ask("GET", "/key", key=made["key"])[0] == 200 and time.monotonic() < until:
        time.sleep(0.02)
    assert "expired" in refused(server.ask("POST", PATH, HI, key=made["key"]), 401)["message"]
    past = {"name": "late", "expires_at": "2020-01-01T00:00:00Z"}
    refused(server.ask("POST", "/keys", past, key=boss), 400)


def test_keys_of_the_wrong_kind_are_403(server: Server, boss: str) -> None:
    assert refused(server.ask("POST", PATH, HI, key=boss), 403)["error_type"] == "permission_denied"
    refused(server.ask("GET", "/keys"), 403)
    refused(server.ask("POST", "/keys", {"name": "more"}), 403)
    refused(server.ask("GET", "/activity"), 403)


# ---- money ---------------------------------------------------------------------------------------


def test_no_credit_is_402_then_a_clamped_answer_then_402_again() -> None:
    with Server(env={"TOLLWAY_FIRST_CREDIT_USD": "0"}) as poor:
        error = refused(poor.chat("tollway/lorem", "[[tokens=500]]"), 402)
        assert error["error_type"] == "payment_required"
        assert error["metadata"]["affordable_tokens"] == 0
        for stream in (False, True):
            poor.tollway("credits", "grant", "default", "0.00015")
            before = poor.balance_nano()
            status, body, headers = poor.chat(
                "tollway/lorem",
                "[[tokens=500]]",
                provider={"only": ["tollway"]},
                stream=stream,
            )
            assert status == 200
            limit = int(headers["x-tollway-output-limit"])
            assert 1 <= limit < 75
            if stream:
                assert '"finish_reason":"length"' in body
            else:
                assert body["choices"][0]["finish_reason"] == "length"
                assert body["usage"]["completion_tokens"] == limit
            left = settled_balance(poor, headers["x-generation-id"])
            made = poor.ask("GET", f"/generation?id={headers['x-generation-id']}")[1]["data"]
            assert made["tokens_completion"] == limit
            assert before - left == nano(made["total_cost"])
            assert 0 <= left < before
        asked = poor.chat("tollway/lorem", "[[tokens=500]]", max_tokens=20_000)
        error = refused(asked, 402)
        assert error["metadata"]["limit_source"] == "openrouter_credits"
        poor.assert_books()


def test_an_exhausted_key_limit_is_403_with_its_figures() -> None:
    with Server() as server:
        limit = 300_000
        key = server.tollway(
            *("keys", "create", "--name", "small", "--limit", "0.0003", "--reset", "daily"),
            "--plain",
        )
        spent, answers = 0, 0
        while True:
            status, body, headers = server.ask(
                "POST", PATH, {**HI, "max_tokens": 20, "provider": {"only": ["tollway"]}}, key=key
            )
            if status != 200:
                break
            answers += 1
            spent += nano(body["usage"]["cost"])
            assert spent <= limit
        error = refused((status, body, headers), 403)
        assert answers > 3
        assert error["metadata"]["scope"] == "key_limit"
        assert error["metadata"]["limit_reset"] == "daily"
        assert nano(error["metadata"]["limit_usd"]) == limit
        assert nano(error["metadata"]["spend_usd"]) == spent
        assert server.chat("tollway/echo")[0] == 200, "another key of the same wallet goes on"
        server.assert_books()


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
