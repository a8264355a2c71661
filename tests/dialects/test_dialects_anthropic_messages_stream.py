"""Messages answers: the wire as events, events as the wire, and the wire passed on."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic_support import begun, block, ended, named, read_named, text_block
from dialect_support import BILL, HEAD, WHOLE, run
from msgspec import Raw

from tollway import canon
from tollway.canon import Event, Usage
from tollway.dialects import Bill, anthropic_messages
from tollway.dialects.anthropic_messages.opaque import unwrapped
from tollway.dialects.anthropic_messages.render import ANSWER_TOOL
from tollway.dialects.anthropic_messages.writer import BodyWriter, StreamWriter

CITATION = {
    "type": "web_search_result_location",
    "url": "https://x.org",
    "title": "X",
    "cited_text": "said",
    "encrypted_index": "e==",
}
RICH = named(
    begun(cache_read_input_tokens=100, cache_creation_input_tokens=50),
    {"type": "ping"},
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "thinking_delta", "thinking": " é🙂"},
        {"type": "signature_delta", "signature": "sig+/="},
    ),
    *block(1, {"type": "redacted_thinking", "data": "dat+/="}),
    *text_block(2, "so\u2028", "…"),
    *block(
        3,
        {"type": "text", "text": "", "citations": []},
        {"type": "citations_delta", "citation": CITATION},
        {"type": "text_delta", "text": "said"},
    ),
    *block(
        4,
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"a": "é'},
        {"type": "input_json_delta", "partial_json": '"}'},
    ),
    *block(5, {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}),
    {"type": "of_the_future", "x": 1},
    *ended("tool_use", output_tokens_details={"thinking_tokens": 7}),
)
USAGE = Usage(
    prompt_tokens=160,
    completion_tokens=20,
    cached_tokens=100,
    cache_write_tokens=50,
    reasoning_tokens=7,
)


def parsed(*parts: bytes, stream: bool = True) -> list[Event]:
    parser = anthropic_messages.parser(stream)
    events: list[Event] = []
    for part in parts:
        events += parser.feed(part)
    return events + ([] if parser.meter.ended else parser.finish())


def plain(events: list[Event]) -> list[bytes]:
    """Details as values, so that events compare."""
    return [msgspec.json.encode(e) for e in events]


# ---- the wire as events --------------------------------------------------------------------------


def test_a_rich_stream_is_read() -> None:
    events = parsed(RICH)
    format = "anthropic-claude-v1"
    reasoning = [e for e in events if isinstance(e, canon.Reasoning)]
    assert "".join(e.text for e in reasoning) == "hm é🙂"
    assert [json.loads(bytes(raw)) for e in reasoning for raw in e.details] == [
        {"type": "reasoning.text", "text": "hm", "format": format, "index": 0},
        {"type": "reasoning.text", "text": " é🙂", "format": format, "index": 0},
        {"type": "reasoning.text", "signature": "sig+/=", "format": format, "index": 0},
        {"type": "reasoning.encrypted", "data": "dat+/=", "format": format, "index": 1},
    ]
    rest = [e for e in events if not isinstance(e, canon.Reasoning)]
    citation = rest.pop(2)
    assert isinstance(citation, canon.Extra) and citation.name == "annotations"
    assert json.loads(bytes(citation.value)) == [
        {
            "type": "url_citation",
            "url_citation": {"url": "https://x.org", "title": "X", "content": "said"},
        }
    ]
    assert rest == [
        canon.Text("so\u2028"),
        canon.Text("…"),
        canon.Text("said"),
        canon.ToolCall(0, "toolu_1", "f"),
        canon.ToolCall(0, arguments='{"a": "é'),
        canon.ToolCall(0, arguments='"}'),
        canon.ToolCall(1, "toolu_2", "g"),
        canon.ToolCall(1, arguments="{}"),
        canon.Finish("tool_calls", "tool_use"),
        canon.Used(USAGE),
        canon.Ended(),
    ]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_cutting_a_stream_anywhere_changes_nothing(ends: bytes) -> None:
    data = b"\xef\xbb\xbf: hello\n\n".replace(b"\n", ends) + RICH.replace(b"\n", ends)
    whole = plain(parsed(data))
    way = anthropic_messages.relay(HEAD, "anthropic_messages")
    passed = run(way, [data])
    for at in range(len(data)):
        assert plain(parsed(data[:at], data[at:])) == whole, f"cut at {at}"
        again = anthropic_messages.relay(HEAD, "anthropic_messages")
        assert run(again, [data[:at], data[at:]]) == passed, f"cut at {at}"
    assert plain(parsed(*(data[n : n + 1] for n in range(len(data))))) == whole


def body(**changes: Any) -> bytes:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "dat"},
            {"type": "text", "text": "so", "citations": [CITATION]},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 20,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "server_tool_use": {"web_search_requests": 2},
            "service_tier": "standard",
        },
    }
    return json.dumps({**message, **changes}).encode()


def test_a_whole_answer_is_read() -> None:
    events = parsed(body(), stream=False)
    assert [type(e).__name__ for e in events] == [
        "Reasoning",
        "Reasoning",
        "Text",
        "Extra",
        "ToolCall",
        "ToolCall",
        "Finish",
        "Used",
        "Ended",
    ]
    assert canon.ToolCall(0, arguments='{"a": 1}') in events
    assert events[-2] == canon.Used(
        Usage(
            prompt_tokens=40,
            completion_tokens=20,
            cache_write_tokens=10,
            cache_write_1h_tokens=20,
            web_searches=2,
        )
    )


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("compaction", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("moonrise", "stop"),
    ],
)
def test_every_stop_reason_has_its_word(native: str, reason: str) -> None:
    events = parsed(named(begun(), *text_block(0, "x"), *ended(native)))
    assert canon.Finish(reason, native) in events  # type: ignore[arg-type]


def test_why_a_model_refused_is_passed_on() -> None:
    last = ended("refusal")
    last[0]["delta"]["stop_details"] = {"type": "refusal", "explanation": "not this"}
    events = parsed(named(begun(), *last))
    assert canon.Refusal("not this") in events


def test_a_structured_answer_in_a_tool_call_is_text() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": ANSWER_TOOL, "input": {}}
    delta = {"type": "input_json_delta", "partial_json": '{"a":1}'}
    events = parsed(named(begun(), *block(0, call, delta), *ended("tool_use")))
    assert events[0] == canon.Text('{"a":1}')
    assert canon.Finish("stop", "tool_use") in events
    content = [{**call, "input": {"a": 1}}]
    assert parsed(body(content=content), stream=False)[0] == canon.Text('{"a": 1}')


@pytest.mark.parametrize(
    ("report", "usage"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4)),
        ({"output_tokens": 4}, Usage(0, 4)),
        ({"input_tokens": -3, "output_tokens": 4}, None),
        ({"input_tokens": 3}, None),
        ({"input_tokens": 10**12, "output_tokens": 4}, None),
        (
            {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": -5},
            Usage(3, 4, doubts=("cached_tokens",)),
        ),
        (
            {
                "input_tokens": 3,
                "output_tokens": 4,
                "iterations": [
                    {"type": "compaction", "input_tokens": 100, "output_tokens": 9},
                    {"type": "message", "input_tokens": 3, "output_tokens": 4},
                ],
            },
            Usage(103, 13),
        ),
    ],
)
def test_usage_is_believed_where_it_can_be(report: dict[str, Any], usage: Usage | None) -> None:
    parser = anthropic_messages.parser(False)
    parser.feed(body(usage=report))
    parser.finish()
    assert parser.meter.usage == usage


def test_an_answer_that_is_cut_off_is_charged_its_true_input() -> None:
    parser = anthropic_messages.parser(True)
    parser.feed(named(begun(cache_read_input_tokens=90), *text_block(0, "x" * 40)))
    usage = parser.meter.usage_or_estimate(5)
    assert (usage.prompt_tokens, usage.cached_tokens) == (100, 90)
    assert (usage.completion_tokens, usage.estimated) == (10, True)


# ---- what is no answer ---------------------------------------------------------------------------

OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@pytest.mark.parametrize(
    ("data", "status", "error_type"),
    [
        (named(OVERLOADED), 503, "provider_overloaded"),
        (json.dumps(OVERLOADED).encode(), 503, "provider_overloaded"),
        (b"data: " + json.dumps({"error": {"message": "x"}}).encode(), 502, "provider_unavailable"),
        (named(begun(), *text_block(0, "x")), 502, "provider_unavailable"),
        (named(begun(), {"type": "message_stop"}), 502, "provider_unavailable"),
        (b"<html><title>Bad gateway</title>", 502, "provider_unavailable"),
        (b"", 502, "provider_unavailable"),
        (body(), 502, "provider_unavailable"),
        (b"data: {broken\n\n", 502, "provider_unavailable"),
        (b'data: {"type":"ping","x":"\xff"}\n\n', 502, "provider_unavailable"),
        (b'data: {"base_resp":{"status_code":1002}}\n\n', 429, "rate_limit_exceeded"),
    ],
)
def test_what_is_no_stream_is_a_fault(data: bytes, status: int, error_type: str) -> None:
    way = anthropic_messages.relay(HEAD, "anthropic_messages")
    run(way, [data])
    fault = way.meter.fault
    assert fault is not None
    assert (fault.status, fault.error_type) == (status, error_type)
    last = parsed(data)[-1]
    assert isinstance(last, canon.Failed)
    assert (last.fault.status, last.fault.error_type) == (status, error_type)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (json.dumps(OVERLOADED).encode(), 503),
        (b"<html>", 502),
        (b"", 502),
        (b"[]", 502),
        (b"{}", 502),
        (b'{"content": 5}', 502),
        (b'{"base_resp":{"status_code":1004}}', 502),
    ],
)
def test_what_is_no_answer_is_a_fault(data: bytes, status: int) -> None:
    way = anthropic_messages.relay(WHOLE, "anthropic_messages")
    run(way, [data])
    assert way.meter.fault is not None and way.meter.fault.status == status
    (last,) = parsed(data, stream=False)
    assert isinstance(last, canon.Failed) and last.fault.status == status


def test_an_error_in_the_middle_ends_the_stream() -> None:
    data = named(begun(), *text_block(0, "x"), OVERLOADED, *text_block(1, "late"), *ended())
    way = anthropic_messages.relay(HEAD, "anthropic_messages")
    out = run(way, [data])
    assert b"late" not in out and way.meter.spoke
    assert way.meter.fault is not None and way.meter.fault.error_type == "provider_overloaded"


def test_a_stream_that_only_lacks_its_goodbye_is_whole() -> None:
    data = named(begun(), *text_block(0, "x"), *ended()[:1])
    assert parsed(data)[-1] == canon.Ended()
    assert parsed(data, b"data: [DONE]\n\n")[-1] == canon.Ended()


# ---- passed on -----------------------------------------------------------------------------------


def test_a_stream_is_passed_on_with_our_names_and_our_bill() -> None:
    way = anthropic_messages.relay(HEAD, "anthropic_messages")
    out = run(way, [RICH]) + way.ending(Bill(USAGE, 1_500, 500, 1_000, extra={"more": 1}))
    events = read_named(out)
    given = read_named(RICH)
    start = events[0][1]["message"]
    assert (start["id"], start["model"], start["provider"]) == ("gen-1", "acme/one", "Acme")
    middle = [pair for pair in given if pair[0].startswith("content_block")]
    assert events[1:-2] == middle
    last = events[-2][1]
    assert last["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    usage = last["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (10, 100)
    assert (usage["cache_creation_input_tokens"], usage["output_tokens"]) == (50, 20)
    assert (usage["cost"], usage["is_byok"]) == (1.5e-6, False)
    assert usage["output_tokens_details"] == {"thinking_tokens": 7}
    assert events[-1] == ("message_stop", {"type": "message_stop", "more": 1})
    meter = way.meter
    assert (meter.finish, meter.native_finish) == ("tool_calls", "tool_use")
    assert meter.upstream_id == "msg_1"
    assert meter.usage == USAGE
    assert meter.text_bytes == len("so\u2028…saidf".encode()) + len('{"a": "é"}'.encode()) + 1
    assert b"\\u2028" in out and "\u2028".encode() not in out


def test_nothing_is_committed_before_something_was_said() -> None:
    way = anthropic_messages.relay(HEAD, "anthropic_messages")
    way.feed(named(begun(), {"type": "ping"}, *text_block(0)))
    assert not way.meter.spoke
    way.feed(named(*text_block(1, "x")))
    assert way.meter.spoke


def test_a_whole_answer_is_passed_on_with_our_names_and_our_bill() -> None:
    way = anthropic_messages.relay(WHOLE, "anthropic_messages")
    given = json.loads(body(context_management={"applied_edits": []}))
    assert run(way, [json.dumps(given).encode()]) == b""
    told = json.loads(way.ending(BILL))
    assert (told["id"], told["model"], told["provider"]) == ("gen-1", "acme/one", "Acme")
    for name in ("content", "stop_reason", "stop_sequence", "context_management", "type", "role"):
        assert told[name] == given[name]
    assert told["usage"]["input_tokens"] == 5
    assert told["usage"]["cost"] == 1.5e-6


# ---- events as the wire --------------------------------------------------------------------------


def stream_of(*events: Event, hides: bool = False) -> list[tuple[str, dict[str, Any]]]:
    writer = StreamWriter(HEAD, hides)
    out = b"".join(writer.render([event]) for event in events)
    return read_named(out + writer.ending(BILL))


def body_of(*events: Event) -> dict[str, Any]:
    writer = BodyWriter(WHOLE)
    writer.render(events)
    told: dict[str, Any] = json.loads(writer.ending(BILL))
    return told


def reasoning(words: str = "", /, **entry: Any) -> canon.Reasoning:
    return canon.Reasoning(words, (Raw(msgspec.json.encode(entry)),))


def test_text_is_written_as_the_vendor_would() -> None:
    events = stream_of(canon.Text("a"), canon.Text("é"), canon.Finish("stop", "stop"))
    assert [name for name, _ in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0][1]["message"]["content"] == []
    assert events[3][1] == {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "é"},
    }
    assert events[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[-2][1]["usage"]["output_tokens"] == 7


def test_thoughts_are_closed_by_their_signature() -> None:
    form = "anthropic-claude-v1"
    said = [
        reasoning("a", type="reasoning.text", text="a", format=form, index=0),
        reasoning("", type="reasoning.text", signature="s1", format=form, index=0),
        reasoning("b", type="reasoning.text", text="b", signature="s2", format=form, index=1),
        reasoning("", type="reasoning.encrypted", data="d", format=form, index=2),
        canon.Text("so"),
    ]
    assert body_of(*said)["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "s1"},
        {"type": "thinking", "thinking": "b", "signature": "s2"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "so", "citations": None},
    ]
    kinds = [(n, e.get("delta", {}).get("type")) for n, e in stream_of(*said)[1:5]]
    assert kinds == [
        ("content_block_start", None),
        ("content_block_delta", "thinking_delta"),
        ("content_block_delta", "signature_delta"),
        ("content_block_stop", None),
    ]


def test_reasoning_of_another_vendor_hides_in_the_signature() -> None:
    form = "openai-responses-v1"
    said = [
        reasoning("a", type="reasoning.summary", summary="a", id="rs", format=form, index=0),
        reasoning("b", type="reasoning.summary", summary="b", id="rs", format=form, index=0),
        reasoning("", type="reasoning.encrypted", data="gAAA", id="rs", format=form, index=0),
        canon.Text("so"),
    ]
    thinking, redacted, _ = body_of(*said)["content"]
    assert thinking["thinking"] == "ab"
    entry = unwrapped(thinking["signature"])
    assert entry is not None and json.loads(bytes(entry))["id"] == "rs"
    secret = unwrapped(redacted["data"])
    assert secret is not None and json.loads(bytes(secret))["data"] == "gAAA"


def test_plain_reasoning_has_an_empty_signature_and_may_be_hidden() -> None:
    said = [
        reasoning("a", type="reasoning.text", text="a", format="unknown", index=0),
        canon.Reasoning("b"),
        canon.Text("so"),
    ]
    assert body_of(*said)["content"][0] == {"type": "thinking", "thinking": "ab", "signature": ""}
    assert "thinking" not in json.dumps([e for _, e in stream_of(*said, hides=True)[1:-2]])


def calls(*pieces: tuple[int, str]) -> list[Event]:
    known: set[int] = set()
    events: list[Event] = []
    for index, text in pieces:
        first = index not in known
        known.add(index)
        name = f"f{index}" if first else None
        events.append(canon.ToolCall(index, f"c{index}" if first else None, name, text))
    return events


@pytest.mark.parametrize(
    "pieces",
    [
        ((0, ""), (0, '{"a":'), (0, "1}"), (1, '{"b":2}'), (2, "")),
        ((0, ""), (1, ""), (2, ""), (1, '{"b":'), (0, '{"a":'), (1, "2}"), (0, "1}")),
        ((0, '{"a":1}'), (1, '{"b":'), (2, ""), (1, "2}")),
    ],
)
def test_calls_side_by_side_become_blocks_one_after_the_other(
    pieces: tuple[tuple[int, str], ...],
) -> None:
    events = [canon.Text("x"), *calls(*pieces), canon.Finish("tool_calls", "tool_calls")]
    told = body_of(*events)
    assert [(b["id"], b["name"], b["input"]) for b in told["content"][1:]] == [
        ("c0", "f0", {"a": 1}),
        ("c1", "f1", {"b": 2}),
        ("c2", "f2", {}),
    ]
    assert told["stop_reason"] == "tool_use"
    open_block = None
    for name, event in stream_of(*events):
        if name == "content_block_start":
            assert open_block is None
            open_block = event["index"]
        elif name == "content_block_delta":
            assert event["index"] == open_block
        elif name == "content_block_stop":
            assert event["index"] == open_block
            open_block = None
    assert open_block is None


def test_arguments_that_are_no_json_are_shown_whole() -> None:
    (call,) = body_of(*calls((0, "{broken")))["content"]
    assert call["input"] == {"raw_arguments": "{broken"}


def test_annotations_become_citations_of_the_text() -> None:
    entry = {"url": "https://x.org", "title": "X", "content": "c", "start_index": 0, "end_index": 1}
    value = Raw(msgspec.json.encode([{"type": "url_citation", "url_citation": entry}, {"x": 1}]))
    (text,) = body_of(canon.Text("a"), canon.Extra("annotations", value))["content"]
    assert text["text"] == "a"
    assert text["citations"] == [
        {
            "type": "web_search_result_location",
            "cited_text": "c",
            "encrypted_index": "",
            "title": "X",
            "url": "https://x.org",
        }
    ]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (canon.Finish("stop", "stop_sequence"), "stop_sequence"),
        (canon.Finish("stop", "STOP"), "end_turn"),
        (canon.Finish("length", "MAX_TOKENS"), "max_tokens"),
        (canon.Finish("content_filter", "SAFETY"), "refusal"),
    ],
)
def test_a_finish_becomes_the_vendors_word(finish: canon.Finish, reason: str) -> None:
    told = body_of(canon.Text("x"), finish)
    assert told["stop_reason"] == reason
    assert (told.get("stop_details") is not None) == (reason == "refusal")


def test_a_refusal_is_text_and_a_reason() -> None:
    told = body_of(canon.Refusal("I can't."), canon.Finish("stop", "stop"))
    assert told["content"][0]["text"] == "I can't."
    assert told["stop_reason"] == "refusal"


def test_further_choices_are_left_out() -> None:
    told = body_of(canon.Text("a"), canon.Text("b", 1), canon.Finish("stop"))
    assert [b["text"] for b in told["content"]] == ["a"]


def test_a_structured_answer_is_text_for_a_caller_of_this_dialect_too() -> None:
    shape = {"type": "json_schema", "schema": {"type": "object"}}
    fields = {"model": "a/b", "messages": [{"role": "user", "content": "x"}]}
    asked = json.dumps({**fields, "output_config": {"format": shape}}).encode()
    request = anthropic_messages.parse_request(asked)
    call = {"type": "tool_use", "id": "toolu_1", "name": ANSWER_TOOL, "input": {}}
    delta = {"type": "input_json_delta", "partial_json": '{"a":1}'}
    way = anthropic_messages.relay(HEAD, "anthropic_messages", (), request)
    out = run(way, [named(begun(), *block(0, call, delta), *ended("tool_use"))])
    events = read_named(out + way.ending(BILL))
    assert events[2][1]["delta"] == {"type": "text_delta", "text": '{"a":1}'}
    assert events[-2][1]["delta"]["stop_reason"] == "end_turn"


def test_pieces_that_say_nothing_make_no_block() -> None:
    assert body_of(canon.Text(""), canon.Refusal(""), canon.Finish("stop"))["content"] == []
