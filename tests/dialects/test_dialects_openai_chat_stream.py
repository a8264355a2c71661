"""dialects/openai_chat_stream.py and openai_chat_reading.py"""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialect_support import BILL, HEAD, chunk, read_chunks, run, said, wire
from openai.types.chat import ChatCompletionChunk
from openrouter.components import ChatStreamChunk

from tollway import errors
from tollway.canon import Usage
from tollway.dialects import Bill, Meter
from tollway.dialects.openai_chat import parse_request, relay

USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
END = (chunk(finish="stop"), {"choices": [], "usage": USAGE})


def answer(data: bytes, *quirks: str, hides: bool = False) -> tuple[list[dict[str, Any]], Meter]:
    """The caller's chunks, ending included, checked against both official SDKs; and the meter."""
    body = {"model": "a", "messages": [{"role": "user", "content": "x"}]}
    request = parse_request(
        json.dumps({**body, "reasoning": {"exclude": True}} if hides else body).encode()
    )
    way = relay(HEAD, "openai_chat", quirks, request)
    out = run(way, [data])
    assert way.meter.fault is None, way.meter.fault
    assert way.meter.ended
    out += way.ending(BILL)
    assert out.endswith(b"\n\ndata: [DONE]\n\n")
    chunks = read_chunks(out)
    for one in chunks:
        ChatCompletionChunk.model_validate(one)
        ChatStreamChunk.model_validate(one)
    return chunks, way.meter


def fault_of(data: bytes, *quirks: str) -> tuple[Meter, bytes]:
    way = relay(HEAD, "openai_chat", quirks)
    out = run(way, [data])
    assert way.meter.fault is not None
    assert way.feed(wire(chunk({"content": "more"}))) == b""
    return way.meter, out


def test_a_stream_passes_with_our_head_and_one_ending() -> None:
    first = {"role": "assistant", "content": ""}
    chunks, meter = answer(
        wire(chunk(first), chunk({"content": "a"}), chunk({"content": "é"}), *END)
    )
    for one in chunks:
        assert (one["id"], one["model"], one["provider"]) == ("gen-1", "acme/one", "Acme")
        assert (one["object"], one["created"]) == ("chat.completion.chunk", 1_700_000_001)
    assert [one["choices"] for one in chunks] == [
        [{"index": 0, "delta": first, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "é"}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "stop"}],
        [],
    ]
    assert ["usage" in one for one in chunks] == [False] * 4 + [True]
    assert chunks[-1]["usage"]["cost"] == 0.0000015
    assert meter.usage == Usage(5, 7)
    assert (meter.text_bytes, meter.reasoning_bytes) == (3, 0)
    assert (meter.finish, meter.native_finish, meter.upstream_id) == ("stop", "stop", "up-1")


def test_several_events_of_one_read_are_one_write_and_done_is_not_forwarded() -> None:
    way = relay(HEAD, "openai_chat")
    out = way.feed(wire(chunk({"content": "a"}), chunk({"content": "b"}), *END))
    assert out.count(b"data: ") == 2
    assert b"[DONE]" not in out
    assert way.meter.ended
    assert way.finish() == b""


def test_the_role_alone_does_not_commit_and_the_first_content_does() -> None:
    said_something: list[dict[str, Any]] = [
        {"content": "a"},
        {"reasoning": "a"},
        {"reasoning_content": "a"},
        {"refusal": "a"},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"audio": {"id": "a"}},
        {"images": [{"type": "image_url"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {"function_call": {"name": "f", "arguments": ""}},
    ]
    for delta in said_something:
        way = relay(HEAD, "openai_chat")
        way.feed(wire(chunk({"role": "assistant", "content": ""}), done=False))
        assert not way.meter.spoke
        way.feed(b": keep-alive\n\n")
        assert not way.meter.spoke
        way.feed(wire(chunk(delta), done=False))
        assert way.meter.spoke, delta


def test_of_two_finish_reasons_the_last_is_forwarded_once() -> None:
    chunks, meter = answer(
        wire(chunk({"content": "a"}), chunk(finish="stop"), chunk(finish="tool_calls"), *END[1:])
    )
    assert said(chunks)[0]["finish"] == ["tool_calls"]
    assert meter.finish == "tool_calls"


def test_content_beside_a_finish_reason_is_not_lost() -> None:
    chunks, _ = answer(wire(chunk({"content": "a"}), chunk({"content": "b"}, finish="length")))
    assert said(chunks)[0] == {"content": "ab", "reasoning": "", "calls": {}, "finish": ["length"]}


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("sensitive", "content_filter"),
        ("SAFETY", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_finish_reasons_are_normalised_and_the_native_one_kept(native: str, reason: str) -> None:
    chunks, meter = answer(wire(chunk({"content": "a"}), chunk(finish=native)))
    choice = chunks[-2]["choices"][0]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == (reason, native)
    assert (meter.finish, meter.native_finish) == (reason, native)


@pytest.mark.parametrize("native", ["error", "network_error", "insufficient_system_resource"])
def test_a_finish_reason_of_error_is_a_fault(native: str) -> None:
    meter, out = fault_of(wire(chunk({"content": "a"}), chunk(finish=native)))
    assert meter.fault is not None
    assert (meter.fault.error_type, meter.fault.provider_code) == ("provider_unavailable", native)
    assert said(read_chunks(out))[0]["finish"] == []


def test_an_empty_finish_reason_is_none() -> None:
    chunks, _ = answer(wire(chunk({"content": "a"}, finish=""), chunk(finish="stop")))
    assert said(chunks)[0]["finish"] == ["stop"]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_has_the_contracts_names(field: str) -> None:
    deltas = [{"role": "assistant", "content": None, field: "h\u00e9"}, {"content": "", field: "m"}]
    chunks, meter = answer(wire(*map(chunk, deltas), chunk({"content": "a", field: None}), *END))
    assert said(chunks)[0] == {"content": "a", "reasoning": "hém", "calls": {}, "finish": ["stop"]}
    first = chunks[0]["choices"][0]["delta"]
    assert "reasoning_content" not in first
    assert first["reasoning_details"] == [
        {"type": "reasoning.text", "text": "hé", "format": "unknown", "index": 0}
    ]
    assert (meter.text_bytes, meter.reasoning_bytes) == (1, 4)


@pytest.mark.parametrize(
    "said_too",
    [
        {"content": "b"},
        {"content": "b", "tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    ],
)
def test_state_beside_content_in_a_usual_chunk_is_noticed(said_too: dict[str, Any]) -> None:
    details = [{"type": "reasoning.encrypted", "data": "x", "format": "unknown", "index": 0}]
    chunks, meter = answer(
        wire(chunk({"content": "a"}), chunk({**said_too, "reasoning_details": details}), *END)
    )
    assert meter.opaque
    assert chunks[1]["choices"][0]["delta"]["reasoning_details"] == details
    plain, meter = answer(wire(chunk({"content": "a"}), chunk(said_too), *END))
    assert not meter.opaque
    assert plain[1]["choices"][0]["delta"] == said_too


def test_reasoning_details_of_the_provider_pass_unchanged() -> None:
    details = [{"type": "reasoning.encrypted", "data": "x", "format": "f", "index": 0}]
    delta = {"reasoning": "h", "reasoning_details": details}
    chunks, _ = answer(wire(chunk({"content": "z"}), chunk(delta), *END))
    assert chunks[1]["choices"][0]["delta"] == delta


def test_reasoning_that_was_not_wanted_is_counted_but_not_shown() -> None:
    deltas = [{"reasoning_content": "hm"}, {"reasoning": "hm", "content": "a"}, {"content": "b"}]
    chunks, meter = answer(wire(*map(chunk, deltas), *END), hides=True)
    assert said(chunks)[0]["reasoning"] == ""
    assert said(chunks)[0]["content"] == "ab"
    assert "reasoning" not in json.dumps([one["choices"] for one in chunks])
    assert meter.reasoning_bytes == 4


def test_think_tags_are_taken_apart_only_where_the_provider_leaves_them() -> None:
    pieces = [
        chunk({"role": "assistant", "content": t}) for t in ("<th", "ink>h", "m</think>", "a")
    ]
    chunks, _ = answer(wire(*pieces, *END), "think_tags_in_content")
    assert said(chunks)[0] == {"content": "a", "reasoning": "hm", "calls": {}, "finish": ["stop"]}
    chunks, _ = answer(wire(*pieces, *END))
    assert said(chunks)[0]["content"] == "<think>hm</think>a"
    cut = [chunk({"content": "<think>a</thi"}), chunk(finish="length")]
    chunks, _ = answer(wire(*cut), "think_tags_in_content")
    assert said(chunks)[0]["reasoning"] == "a</thi"


def call(index: int | None, arguments: object, name: str | None = None) -> dict[str, Any]:
    fragment: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        fragment["index"] = index
    if name:
        fragment |= {"id": f"c{index}", "type": "function"}
        fragment["function"]["name"] = name
    return fragment


def test_parallel_tool_calls_pass_fragment_by_fragment() -> None:
    deltas = [
        {"role": "assistant", "content": None, "tool_calls": [call(0, "", "f")]},
        {"tool_calls": [call(0, '{"a"')]},
        {"tool_calls": [call(1, "", "g")]},
        {"tool_calls": [call(1, "not json"), call(0, ":1}")]},
    ]
    chunks, meter = answer(wire(*map(chunk, deltas), chunk(finish="tool_calls"), END[1]))
    assert said(chunks)[0]["calls"] == {0: ("f", '{"a":1}'), 1: ("g", "not json")}
    assert meter.text_bytes == len('f{"a":1}gnot json')


def test_tool_calls_without_index_or_with_object_arguments_are_mended() -> None:
    chunks, _ = answer(
        wire(
            chunk({"tool_calls": [call(None, "{}", "f"), call(None, "{}", "g")]}),
            chunk({"tool_calls": [call(None, {"a": [1]})]}),
            chunk(finish="tool_calls"),
        )
    )
    assert said(chunks)[0]["calls"] == {0: ("f", '{}{"a":[1]}'), 1: ("g", "{}")}


def test_content_in_parts_and_an_index_in_quotes_are_mended() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    chunks, _ = answer(
        wire(
            chunk({"content": parts}, index="0"),
            chunk({"content": [{"type": "text", "text": "a"}, "b"]}),
            *END,
        )
    )
    assert said(chunks)[0] == {"content": "ab", "reasoning": "hm", "calls": {}, "finish": ["stop"]}


def test_several_choices_keep_their_indexes_and_finish_each_once() -> None:
    both = chunk()
    both["choices"] = [
        {"index": n, "delta": {"content": f"x{n}"}, "finish_reason": None} for n in (0, 1)
    ]
    chunks, _ = answer(
        wire(
            chunk({"content": "a"}, index=1),
            both,
            chunk(finish="stop", index=1),
            chunk({"content": "b"}),
            chunk(finish="length"),
        )
    )
    total = said(chunks)
    assert (total[0]["content"], total[0]["finish"]) == ("x0b", ["length"])
    assert (total[1]["content"], total[1]["finish"]) == ("ax1", ["stop"])


def test_azure_begins_without_choices() -> None:
    first = {"choices": [], "id": "", "prompt_filter_results": [{"prompt_index": 0}]}
    chunks, _ = answer(wire(first, chunk({"content": "a"}), *END))
    assert [one["choices"][0]["delta"] for one in chunks[:-2]] == [{"content": "a"}]


USAGES: list[tuple[str, list[dict[str, Any]]]] = [
    (
        "last chunk",
        [chunk({"content": "a"}), chunk(finish="stop"), {"choices": [], "usage": USAGE}],
    ),
    ("beside the finish", [chunk({"content": "a"}), chunk(finish="stop", usage=USAGE)]),
    (
        "cumulative in every chunk",
        [
            chunk({"content": "a"}, usage={"prompt_tokens": 5, "completion_tokens": 1}),
            chunk({"content": "b"}, usage={"prompt_tokens": 5, "completion_tokens": 3}),
            chunk(finish="stop", usage=USAGE),
        ],
    ),
    (
        "x_groq",
        [chunk({"content": "a"}), chunk(finish="stop", x_groq={"id": "r", "usage": USAGE})],
    ),
    ("null before", [chunk({"content": "a"}, usage=None), chunk(finish="stop"), END[1]]),
    (
        "nonsense after it",
        [chunk({"content": "a"}), chunk(finish="stop"), END[1], {"choices": [], "usage": [1]}],
    ),
]


@pytest.mark.parametrize("row", USAGES, ids=[row[0] for row in USAGES])
def test_usage_is_taken_out_wherever_it_stands(row: tuple[str, list[dict[str, Any]]]) -> None:
    chunks, meter = answer(wire(*row[1]))
    assert meter.usage == Usage(5, 7)
    assert ["usage" in one for one in chunks] == [False] * (len(chunks) - 1) + [True]


def test_usage_inside_the_last_choice_is_read() -> None:
    last = chunk(finish="stop")
    last["choices"][0]["usage"] = {**USAGE, "cached_tokens": 3}
    chunks, meter = answer(wire(chunk({"content": "a"}), last))
    assert meter.usage == Usage(5, 7, cached_tokens=3)
    assert "cached_tokens" not in json.dumps(chunks[:-1])


def test_usage_that_makes_no_sense_is_not_reported() -> None:
    bad = {"prompt_tokens": -1, "completion_tokens": 10**15}
    _, meter = answer(wire(chunk({"content": "abcdefgh"}), chunk(finish="stop", usage=bad)))
    assert meter.usage is None
    assert meter.usage_or_estimate(3) == Usage(3, 2, estimated=True)


def test_fields_that_callers_know_are_kept_and_the_rest_is_not() -> None:
    top = {"system_fingerprint": "fp", "service_tier": "default", "x_secret": 1, "provider": "up"}
    cited = chunk({"content": "b"}, citations=["https://x"], **top)
    chunks, meter = answer(wire(chunk({"content": "a"}, **top), cited, *END))
    assert chunks[0]["system_fingerprint"] == "fp"
    assert chunks[1]["service_tier"] == "default"
    assert chunks[1]["provider"] == "Acme"
    assert "x_secret" not in json.dumps(chunks)
    assert ["citations" in one for one in chunks] == [False, False, False, True]
    assert meter.service_tier == "default"


@pytest.mark.parametrize("order", ["choices first", "choices last", "padded", "new id each"])
def test_the_order_of_fields_and_padding_around_choices_do_not_matter(order: str) -> None:
    events = []
    for n in range(50):
        one = chunk({"content": f"{n} "}, obfuscation="x" * (n % 7)) if order == "padded" else (
            chunk({"content": f"{n} "})
        )  # fmt: skip
        if order == "choices first":
            one = dict(reversed(one.items()))
        if order == "new id each":
            one["id"] = f"up-{n}"
        events.append(one)
    chunks, meter = answer(wire(*events, *END))
    assert said(chunks)[0]["content"] == "".join(f"{n} " for n in range(50))
    assert meter.upstream_id in ("up-1", "up-0")


def test_an_error_that_follows_chunks_of_the_same_shape_is_seen() -> None:
    same = [chunk({"content": "a"}, obfuscation="x" * n) for n in range(4)]
    error = chunk({"content": ""}, finish=None, error={"message": "Overloaded", "code": 503})
    meter, out = fault_of(wire(*same, error, *END))
    assert meter.fault is not None
    assert meter.fault.error_type == "provider_overloaded"
    assert said(read_chunks(out))[0]["content"] == "aaaa"


FAULTS: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "The provider sent an empty answer."),
    ("only comments", b": hi\n\n: ho\n\n", "something that is not a stream"),
    ("html", b"<html><title>Down</title></html>", "something that is not a stream"),
    ("broken off", wire(chunk({"content": "a"}), done=False), "broke off"),
    ("only a role", wire(chunk({"role": "assistant"}), done=False), "broke off"),
    ("done at once", wire(), "without having said anything"),
    ("a role and done", wire(chunk({"role": "assistant"})), "without having said anything"),
    ("bad json", wire(b'{"choices":[{"index":0,"delta":{"content":"a"'), "not JSON"),
    ("bad utf-8", wire(b'{"choices":[{"index":0,"delta":{"content":"\xff"}}]}'), "not JSON"),
    ("bad utf-8 unread", wire(b'{"choices":[{"delta":{"content":"a","x":"\xff"}}]}'), "not JSON"),
    (
        "bad utf-8 in a usual chunk",
        wire(
            *[b'{"choices":[{"delta":{"content":"a","x":"' + x + b'"}}]}' for x in (b"", b"\xff")]
        ),
        "not JSON",
    ),
    ("not an object", wire(b"[1]"), "not JSON"),
    ("choices of numbers", wire(b'{"choices":[1]}'), "unknown form"),
    ("choices no list", wire(b'{"choices":{}}'), "unknown form"),
    ("content a number", wire(b'{"choices":[{"delta":{"content":5}}]}'), "unknown form"),
    ("deep", wire(b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "not JSON"),
    (
        "whole answer",
        b'{"object":"chat.completion","choices":[{"message":{"content":"a"}}]}',
        "whole where a stream was asked",
    ),
    ("huge", b"data: " + b"x" * (17 * 1024 * 1024), "larger than 16777216 bytes"),
]


@pytest.mark.parametrize("row", FAULTS, ids=[row[0] for row in FAULTS])
def test_an_answer_that_is_none_is_a_fault(row: tuple[str, bytes, str]) -> None:
    _, data, words = row
    meter, _ = fault_of(data)
    assert meter.fault is not None
    assert words in meter.fault.message
    assert (meter.fault.status, meter.fault.retry) == (502, "elsewhere")
    assert not meter.ended
    assert meter.fault.raw is None or len(meter.fault.raw) <= 500


def test_an_error_instead_of_a_stream_is_classified_like_any_other() -> None:
    bodies = {
        b'{"error":{"message":"Rate limit reached","code":429}}': "rate_limit_exceeded",
        b'{"base_resp":{"status_code":1002,"status_msg":"rate limit"}}': "rate_limit_exceeded",
        wire({"error": {"message": "maximum context length is 5"}}): "context_length_exceeded",
        b'event: error\ndata: {"error":"Overloaded"}\n\n': "provider_overloaded",
        wire({"object": "error", "message": "boom", "code": 500}): "provider_unavailable",
    }
    for body, error_type in bodies.items():
        meter, _ = fault_of(body)
        assert meter.fault is not None
        assert meter.fault.error_type == error_type
        assert not meter.spoke


def test_an_error_inside_a_choice_is_a_fault() -> None:
    bad = chunk({"content": ""}, finish="error")
    bad["choices"][0]["error"] = {"code": 502, "message": "Overloaded"}
    meter, _ = fault_of(wire(chunk({"content": "a"}), bad))
    assert meter.fault is not None
    assert meter.fault.error_type == "provider_overloaded"


def test_a_stream_without_done_is_complete_after_a_finish_reason() -> None:
    for data in (wire(*END, done=False), wire(chunk({"content": "a"}), *END, done=False).rstrip()):
        _, meter = answer(data)
        assert meter.usage == Usage(5, 7)


def test_content_and_done_without_a_finish_reason_is_a_stop() -> None:
    chunks, meter = answer(wire(chunk({"content": "a"})))
    assert said(chunks)[0]["finish"] == ["stop"]
    assert meter.native_finish is None


def test_a_finish_reason_alone_is_an_answer() -> None:
    chunks, meter = answer(wire(chunk({"role": "assistant", "content": ""}), *END))
    assert meter.spoke
    assert said(chunks)[0]["content"] == ""


def test_nothing_after_done_is_read() -> None:
    way = relay(HEAD, "openai_chat")
    way.feed(wire(chunk({"content": "a"}), *END) + wire(chunk({"content": "b"})))
    assert way.meter.text_bytes == 1
    assert way.feed(wire({"error": "x"})) == b""
    assert way.meter.fault is None


def test_separators_are_escaped_on_the_way() -> None:
    raw = json.dumps(chunk({"content": "a\u2028b\u2029c\u0085"}), ensure_ascii=False).encode()
    way = relay(HEAD, "openai_chat")
    out = way.feed(b"data: " + raw + b"\n\n")
    assert b"a\\u2028b\\u2029c\\u0085" in out
    assert said(read_chunks(out))[0]["content"] == "a\u2028b\u2029c\u0085"


def test_json_over_several_data_lines_leaves_as_one_line() -> None:
    pretty = json.dumps(chunk({"content": "a"}), indent=2)
    block = b"".join(b"data: " + line.encode() + b"\n" for line in pretty.splitlines()) + b"\n"
    way = relay(HEAD, "openai_chat")
    out = way.feed(block + block)
    assert out.count(b"\n") == 4
    assert said(read_chunks(out))[0]["content"] == "aa"


def test_a_failure_after_content_is_one_chunk_and_no_done() -> None:
    way = relay(HEAD, "openai_chat")
    way.feed(wire(chunk({"content": "a"}), done=False))
    meter, _ = fault_of(wire({"error": {"message": "Overloaded", "code": 503}}))
    assert meter.fault is not None
    out = way.failure(errors.broken_stream("Acme", meter.fault))
    (one,) = read_chunks(out)
    assert b"[DONE]" not in out
    ChatStreamChunk.model_validate(one)
    assert one["error"]["code"] == 503
    assert one["error"]["metadata"]["error_type"] == "provider_overloaded"
    assert one["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "finish_reason": "error",
            "native_finish_reason": "error",
        }
    ]


def test_what_the_bill_adds_stands_on_the_last_chunk() -> None:
    way = relay(HEAD, "openai_chat")
    run(way, [wire(chunk({"content": "a"}), *END)])
    bill = Bill(Usage(1, 1), 1, 1, 0, extra={"openrouter_metadata": {"attempt": 1}})
    chunks = read_chunks(way.ending(bill))
    assert [one.get("openrouter_metadata") for one in chunks] == [None, {"attempt": 1}]
