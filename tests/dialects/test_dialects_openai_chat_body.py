"""dialects/openai_chat_body.py"""

from __future__ import annotations

import json
import timeit
from typing import Any

import pytest
from dialect_support import BILL, WHOLE, run
from openai.types.chat import ChatCompletion
from openrouter.components import ChatResult

from tollway import errors
from tollway.canon import Usage
from tollway.dialects import Meter, openai_chat_body
from tollway.dialects.openai_chat import parse_request, relay, render_error

USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def body(message: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": message if message is not None else {"role": "assistant", "content": "hello"},
        "finish_reason": changes.pop("finish", "stop"),
        "logprobs": None,
    }
    top = {"id": "up-1", "object": "chat.completion", "created": 1, "model": "m"}
    return {**top, "choices": [choice], "usage": USAGE, **changes}


def answer(
    whole: dict[str, Any] | bytes, *quirks: str, hides: bool = False
) -> tuple[dict[str, Any], Meter]:
    request = parse_request(
        json.dumps(
            {
                "model": "a",
                "messages": [{"role": "user", "content": "x"}],
                "reasoning": {"exclude": hides},
            }
        ).encode()
    )
    way = relay(WHOLE, "openai_chat", quirks, request)
    data = whole if isinstance(whole, bytes) else json.dumps(whole).encode()
    assert run(way, [data[:10], data[10:]]) == b""
    assert way.meter.fault is None, way.meter.fault
    decoded: dict[str, Any] = json.loads(way.ending(BILL))
    ChatCompletion.model_validate(decoded)
    ChatResult.model_validate(decoded)
    return decoded, way.meter


def fault_of(data: bytes) -> Meter:
    way = relay(WHOLE, "openai_chat")
    assert run(way, [data]) == b""
    assert way.meter.fault is not None
    assert not way.meter.ended
    assert not way.meter.spoke or way.meter.finish is not None
    return way.meter


def test_a_body_passes_with_our_head_usage_and_finish_reason() -> None:
    decoded, meter = answer(body(system_fingerprint="fp", service_tier="default", secret=1))
    usage = decoded.pop("usage")
    assert decoded == {
        "id": "gen-1",
        "object": "chat.completion",
        "created": 1_700_000_001,
        "model": "acme/one",
        "provider": "Acme",
        "system_fingerprint": "fp",
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello"},
                "finish_reason": "stop",
                "native_finish_reason": "stop",
                "logprobs": None,
            }
        ],
    }
    assert usage["cost"] == 0.0000015
    assert (meter.usage, meter.text_bytes, meter.finish) == (Usage(5, 7), 5, "stop")
    assert (meter.spoke, meter.ended, meter.upstream_id) == (True, True, "up-1")
    assert meter.service_tier == "default"


def test_nothing_is_said_before_the_body_is_whole() -> None:
    way = relay(WHOLE, "openai_chat")
    way.feed(json.dumps(body()).encode())
    assert (way.meter.spoke, way.meter.ended) == (False, False)
    way.finish()
    assert (way.meter.spoke, way.meter.ended) == (True, True)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_has_the_contracts_names(field: str) -> None:
    message = {"role": "assistant", "content": "a", field: "hm"}
    decoded, meter = answer(body(message))
    assert decoded["choices"][0]["message"] == {
        "role": "assistant",
        "content": "a",
        "reasoning": "hm",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "format": "unknown", "index": 0}
        ],
    }
    assert meter.reasoning_bytes == 2
    hidden, meter = answer(body(message), hides=True)
    assert hidden["choices"][0]["message"] == {"role": "assistant", "content": "a"}
    assert meter.reasoning_bytes == 2


def test_think_tags_are_taken_apart_where_the_provider_leaves_them() -> None:
    message = {"role": "assistant", "content": "<think>\nhm\n</think>\n\na"}
    decoded, _ = answer(body(message), "think_tags_in_content")
    assert decoded["choices"][0]["message"]["content"] == "a"
    assert decoded["choices"][0]["message"]["reasoning"] == "hm\n"
    assert answer(body(message))[0]["choices"][0]["message"] == message


def test_tool_calls_pass_as_they_are_even_when_their_arguments_are_not_json() -> None:
    calls = [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}},
        {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    decoded, meter = answer(body(message, finish="tool_calls"))
    assert decoded["choices"][0]["message"] == message
    assert decoded["choices"][0]["finish_reason"] == "tool_calls"
    assert meter.text_bytes == len('f{"a": g{}')


def test_object_arguments_and_content_parts_are_mended() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]
    message = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}],
        "tool_calls": calls,
    }
    mended = answer(body(message))[0]["choices"][0]["message"]
    assert mended["content"] == "a"
    assert mended["reasoning"] == "hm"
    assert mended["tool_calls"][0]["function"]["arguments"] == '{"a":1}'


def test_several_choices_and_a_native_word() -> None:
    two = body()
    two["choices"].append({**two["choices"][0], "index": 1, "finish_reason": "max_tokens"})
    choices = answer(two)[0]["choices"]
    assert [(c["finish_reason"], c["native_finish_reason"]) for c in choices] == [
        ("stop", "stop"),
        ("length", "max_tokens"),
    ]


def test_a_missing_finish_reason_with_content_is_a_stop() -> None:
    decoded, _ = answer(body(finish=None))
    assert decoded["choices"][0]["finish_reason"] == "stop"


def test_usage_in_odd_places_or_none() -> None:
    assert answer(body(usage=None))[1].usage is None
    assert answer(body(usage={"prompt_tokens": -5, "completion_tokens": 1}))[1].usage is None
    assert answer(body(usage=None, x_groq={"usage": USAGE}))[1].usage == Usage(5, 7)


EMPTY = {"role": "assistant", "content": ""}
FAULTS: list[tuple[str, bytes, str, str]] = [
    ("nothing", b"", "provider_unavailable", "empty answer"),
    ("html", b"<html>x", "provider_unavailable", "not JSON"),
    ("cut", json.dumps(body()).encode()[:-5], "provider_unavailable", "not JSON"),
    ("a list", b"[]", "provider_unavailable", "not JSON"),
    ("no choices", b"{}", "provider_unavailable", "no choices"),
    ("empty choices", b'{"choices":[]}', "provider_unavailable", "no choices"),
    ("null choices", b'{"choices":null}', "provider_unavailable", ""),
    ("deep", b'{"a":' * 100_000, "provider_unavailable", "not JSON"),
    ("an error", b'{"error":{"message":"Overloaded","code":503}}', "provider_overloaded", ""),
    (
        "an error beside choices",
        json.dumps(body(error={"message": "Rate limit reached", "code": 429})).encode(),
        "rate_limit_exceeded",
        "",
    ),
    (
        "base_resp",
        b'{"choices":null,"base_resp":{"status_code":1002,"status_msg":"rate limit"}}',
        "rate_limit_exceeded",
        "",
    ),
    ("finish error", json.dumps(body(finish="error")).encode(), "provider_unavailable", ""),
    (
        "no tokens and a blank finish",
        json.dumps(
            body(EMPTY, finish=None, usage={"prompt_tokens": 5, "completion_tokens": 0})
        ).encode(),
        "provider_unavailable",
        "without having said anything",
    ),
]


@pytest.mark.parametrize("row", FAULTS, ids=[row[0] for row in FAULTS])
def test_an_answer_that_is_none_is_a_fault(row: tuple[str, bytes, str, str]) -> None:
    _, data, error_type, words = row
    fault = fault_of(data).fault
    assert fault is not None
    assert fault.error_type == error_type
    assert words in fault.message


def test_a_body_beyond_the_cap_is_a_fault_and_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_chat_body, "BODY_BYTES_MAX", 1_000)
    meter = fault_of(b" " * 1_001)
    assert meter.fault is not None
    assert "larger than 1,000 bytes" in meter.fault.message


def test_a_failure_is_an_error_body() -> None:
    error = errors.bad_field("n", "is wrong")
    way = relay(WHOLE, "openai_chat")
    assert way.failure(error) == render_error(error)
    assert json.loads(render_error(error))["error"]["code"] == 400


def test_a_small_body_costs_microseconds() -> None:
    data = json.dumps(body()).encode()

    def once() -> None:
        way = relay(WHOLE, "openai_chat")
        way.feed(data)
        way.finish()
        way.ending(BILL)

    best = min(timeit.repeat(once, number=500, repeat=5)) / 500
    print(f"whole body: {best * 1e6:.1f} us")
    assert best < 150e-6
