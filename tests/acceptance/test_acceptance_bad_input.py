"""What a server on the open internet is sent. Every bad request gets a clear JSON error of the right
code; nothing is charged, nothing is held, the server stays healthy. What is wrong below the JSON is
in test_acceptance_bad_wire."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from acceptance_support import HI, MB, PATH, Quiet, nano, refused, settled_balance, unharmed

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


@pytest.fixture(scope="module")
def boss(server: Server) -> str:
    return server.tollway("keys", "create", "--name", "boss", "--management", "--plain")


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


@pytest.mark.parametrize(
    ("change", "field"), FIELDS, ids=[f"{n} {f}" for n, (_, f) in enumerate(FIELDS)]
)
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
    long = refused(server.chat("tollway/echo", "word " * 120_000), 400)
    assert long["error_type"] == "context_length_exceeded"
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
        assert error["metadata"]["resets_at"].endswith("T00:00:00Z")
        assert nano(error["metadata"]["limit_usd"]) == limit
        assert nano(error["metadata"]["spend_usd"]) == spent
        assert server.chat("tollway/echo")[0] == 200, "another key of the same wallet goes on"
        server.assert_books()
