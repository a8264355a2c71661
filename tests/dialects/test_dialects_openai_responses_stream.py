"""Responses answers on their way: passed on to callers of the same dialect, parsed into events for
all others, written for callers of this one. The SDK's own types and stream helpers are the judges."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

import msgspec
import openai
import pytest
from dialect_support import BILL, HEAD, WHOLE, read_sse, run
from msgspec import Raw
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tollway import canon
from tollway.canon import Event, Usage
from tollway.dialects import Bill, Meter, Relay
from tollway.dialects.openai_responses import parse_request, parser, relay
from tollway.dialects.openai_responses.conversation import conversation
from tollway.dialects.openai_responses.writer import Writer
from tollway.dialects.translated import Parser
from tollway.errors import Unavailable

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
REPORT = {
    "input_tokens": 30,
    "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 5},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 8},
    "total_tokens": 50,
}
USED = Usage(
    prompt_tokens=30,
    completion_tokens=20,
    cached_tokens=10,
    cache_write_tokens=5,
    reasoning_tokens=8,
)
BROKE = Unavailable("The provider broke off.", status=502, error_type="provider_unavailable")


def response(status: str, output: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_up",
        "object": "response",
        "created_at": 1,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "one-v1",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
        "billing": {"payer": "developer"},
        **more,
    }


REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "hm é"}],
    "encrypted_content": "FINAL",
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [
        {
            "type": "output_text",
            "text": "Hé\u2028llo",
            "annotations": [
                {
                    "type": "url_citation",
                    "url": "https://x",
                    "title": "X",
                    "start_index": 0,
                    "end_index": 2,
                }
            ],
            "logprobs": [],
        }
    ],
}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a":1}',
}
CALL_2 = {**CALL, "id": "fc_2", "call_id": "call_2", "name": "g", "arguments": "{}"}


def provider_events(end: str = "completed", **more: Any) -> list[dict[str, Any]]:
    """A stream as OpenAI sends it: thinking with a summary, text with a citation, two calls."""
    at = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    text = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    call = {"item_id": "fc_1", "output_index": 2}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    part = MESSAGE["content"][0]  # type: ignore[index]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response("in_progress", [])},
        {"type": "response.in_progress", "response": response("in_progress", [])},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**REASONING, "summary": [], "encrypted_content": "EARLY"},
        },
        {
            "type": "response.reasoning_summary_part.added",
            **at,
            "part": {"type": "summary_text", "text": ""},
        },
        {"type": "response.reasoning_summary_text.delta", **at, "delta": "hm "},
        {"type": "response.reasoning_summary_text.delta", **at, "delta": "é", "obfuscation": "x"},
        {"type": "response.reasoning_summary_text.done", **at, "text": "hm é"},
        {
            "type": "response.reasoning_summary_part.done",
            **at,
            "part": {"type": "summary_text", "text": "hm é"},
        },
        {"type": "response.output_item.done", "output_index": 0, "item": REASONING},
        {
            "type": "response.output_item.added",
            "output_index": 1,
            "item": {**MESSAGE, "content": [], "status": "in_progress"},
        },
        {"type": "response.content_part.added", **text, "part": empty},
        {"type": "response.output_text.delta", **text, "delta": "Hé\u2028", "logprobs": []},
        {"type": "response.output_text.delta", **text, "delta": "llo", "logprobs": []},
        {"type": "response.output_text.done", **text, "text": "Hé\u2028llo", "logprobs": []},
        {"type": "response.content_part.done", **text, "part": part},
        {"type": "response.output_item.done", "output_index": 1, "item": MESSAGE},
        {
            "type": "response.output_item.added",
            "output_index": 2,
            "item": {**CALL, "arguments": "", "status": "in_progress"},
        },
        {"type": "response.function_call_arguments.delta", **call, "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", **call, "delta": ":1}"},
        {
            "type": "response.function_call_arguments.done",
            **call,
            "name": "f",
            "arguments": '{"a":1}',
        },
        {"type": "response.output_item.done", "output_index": 2, "item": CALL},
        {"type": "response.output_item.added", "output_index": 3, "item": CALL_2},
        {"type": "response.output_item.done", "output_index": 3, "item": CALL_2},
    ]
    output = [REASONING, MESSAGE, CALL, CALL_2]
    last = response(end, output, usage=REPORT, service_tier="default", **more)
    events.append({"type": f"response.{end}", "response": last})
    return [{**event, "sequence_number": n} for n, event in enumerate(events)]


def wire(events: list[dict[str, Any]], ascii_only: bool = False) -> bytes:
    out = b""
    for event in events:
        data = json.dumps(event, ensure_ascii=ascii_only, separators=(",", ":")).encode()
        out += b"event: " + event["type"].encode() + b"\ndata: " + data + b"\n\n"
    return out


STREAM = wire(provider_events())


def parsed(
    data: bytes | list[bytes], stream: bool = True, *quirks: str
) -> tuple[list[Event], Parser]:
    reader = parser(stream, quirks)
    events: list[Event] = []
    for piece in [data] if isinstance(data, bytes) else data:
        events += reader.feed(piece)
    if not reader.meter.ended or not stream:
        events += reader.finish()
    return events, reader


def joined(events: list[Event]) -> dict[str, Any]:
    """What events say, deltas put together."""
    said: dict[str, Any] = {"text": "", "refusal": "", "reasoning": "", "calls": {}, "details": []}
    for event in events:
        match event:
            case canon.Text(text):
                said["text"] += text
            case canon.Refusal(text):
                said["refusal"] += text
            case canon.Reasoning(text, details):
                said["reasoning"] += text
                said["details"] += [json.loads(bytes(raw)) for raw in details]
            case canon.ToolCall(index, call_id, name, arguments):
                known = said["calls"].setdefault(index, [call_id, name, ""])
                known[2] += arguments
            case canon.Extra(name, value):
                said[name] = json.loads(bytes(value))
            case canon.Finish(reason, native):
                said["finish"] = (reason, native)
            case canon.Used(usage):
                said["usage"] = usage
            case canon.Failed(fault):
                said["fault"] = fault
            case canon.Ended():
                said["ended"] = True
    return said


# ---- from the provider: events -------------------------------------------------------------------

FULL = {
    "text": "Hé\u2028llo",
    "refusal": "",
    "reasoning": "hm é",
    "calls": {0: ["call_1", "f", '{"a":1}'], 1: ["call_2", "g", "{}"]},
    "annotations": [
        {
            "type": "url_citation",
            "url_citation": {"url": "https://x", "title": "X", "start_index": 0, "end_index": 2},
        }
    ],
    "finish": ("tool_calls", "completed"),
    "usage": USED,
    "ended": True,
}


def test_a_stream_says_what_it_says() -> None:
    events, reader = parsed(STREAM)
    said = joined(events)
    details = said.pop("details")
    logprobs = said.pop("logprobs", None)
    assert said == FULL
    assert logprobs is None
    form = {"id": "rs_1", "format": "openai-responses-v1"}
    assert details == [
        {"type": "reasoning.summary", "summary": "hm ", **form, "index": 0},
        {"type": "reasoning.summary", "summary": "é", **form, "index": 0},
        {"type": "reasoning.encrypted", "data": "FINAL", **form, "index": 1},
    ]
    meter = reader.meter
    assert (meter.finish, meter.usage, meter.upstream_id) == ("tool_calls", USED, "resp_up")
    assert meter.service_tier == "default"
    assert meter.reasoning_bytes == len("hm é".encode())
    assert meter.text_bytes == len("Hé\u2028llo".encode()) + len('f{"a":1}g{}')


def test_a_body_says_the_same_as_its_stream() -> None:
    body = json.dumps(provider_events()[-1]["response"]).encode()
    events, reader = parsed([body[:50], body[50:]], False)
    said = joined(events)
    assert [entry["type"] for entry in said.pop("details")] == [
        "reasoning.summary",
        "reasoning.encrypted",
    ]
    assert said == FULL
    assert reader.meter.text_bytes == len("Hé\u2028llo".encode()) + len('f{"a":1}g{}')


def test_cut_anywhere_it_gives_the_same_events() -> None:
    whole, _ = parsed(STREAM)
    for n in range(len(STREAM)):
        assert parsed([STREAM[:n], STREAM[n:]])[0] == whole
    assert parsed([STREAM[n : n + 1] for n in range(len(STREAM))])[0] == whole


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.replace(b"\n", b"\r"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b": keep-alive\n\n" + data.replace(b"event: ", b": x\nevent: "),
        lambda data: data.replace(b"data: ", b"data:"),
        lambda data: data.rstrip(b"\n"),
        lambda data: data + b"data: [DONE]\n\n",
        lambda data: data.replace(b'{"type":', b'{"type": ').replace(b',"', b',\ndata: "'),
    ],
)
def test_however_it_is_framed(spoil: Any) -> None:
    assert parsed(spoil(STREAM))[0] == parsed(STREAM)[0]


def test_hosts_that_send_items_without_deltas_are_understood() -> None:
    events = [e for e in provider_events() if not e["type"].endswith(".delta")]
    assert {**joined(parsed(wire(events))[0]), "details": []} == {**FULL, "details": []}
    last = [e for e in events if e["type"] in ("response.created", "response.completed")]
    assert {**joined(parsed(wire(last))[0]), "details": []} == {**FULL, "details": []}


def test_an_answer_cut_short_has_its_reason() -> None:
    for reason, finish in (("max_output_tokens", "length"), ("content_filter", "content_filter")):
        cut = provider_events("incomplete", incomplete_details={"reason": reason})
        said = joined(parsed(wire(cut))[0])
        assert said["finish"] == (finish, reason)
        assert said["usage"] == USED


def test_refusals_are_refusals() -> None:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {**MESSAGE, "content": [{"type": "refusal", "refusal": "no"}]}
    events = [
        {"type": "response.created", "response": response("in_progress", [])},
        {"type": "response.refusal.delta", **at, "delta": "no"},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response("completed", [item], usage=REPORT)},
    ]
    said = joined(parsed(wire(events))[0])
    assert (said["refusal"], said["text"], said["finish"][0]) == ("no", "", "stop")


def test_searches_are_counted() -> None:
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    events = [
        {"type": "response.created", "response": response("in_progress", [])},
        {"type": "response.output_item.done", "output_index": 0, "item": search},
        {"type": "response.output_item.done", "output_index": 1, "item": MESSAGE},
        {"type": "response.completed", "response": response("completed", [], usage=REPORT)},
    ]
    _, reader = parsed(wire(events))
    assert reader.meter.usage is not None and reader.meter.usage.web_searches == 1


def test_logprobs_and_images_are_extras() -> None:
    token = {"token": "H", "logprob": -0.5, "bytes": [72], "top_logprobs": []}
    part = {**MESSAGE["content"][0], "logprobs": [token]}  # type: ignore[index]
    image = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "QQ=="}
    body = response("completed", [{**MESSAGE, "content": [part]}, image], usage=REPORT)
    said = joined(parsed(json.dumps(body).encode(), False)[0])
    assert said["logprobs"] == {"content": [token], "refusal": None}
    assert said["images"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}
    ]


# ---- from the provider: faults -------------------------------------------------------------------


def failing(error: dict[str, Any]) -> list[bytes]:
    """Every way to say an error inside an answer that began."""
    created = {"type": "response.created", "response": response("in_progress", [])}
    failed = {"type": "response.failed", "response": response("failed", [], error=error)}
    return [
        wire([created, failed]),
        wire([created, {"type": "error", "sequence_number": 1, "param": None, **error}]),
        wire([created, {"type": "error", "error": error}]),
        wire([created]) + b"data: " + json.dumps({"error": error}).encode() + b"\n\n",
    ]


@pytest.mark.parametrize(
    ("code", "message", "status", "error_type", "retry"),
    [
        ("rate_limit_exceeded", "Rate limit reached", 429, "rate_limit_exceeded", "elsewhere"),
        ("server_error", "The server had an error", 502, "provider_unavailable", "elsewhere"),
        (
            "context_length_exceeded",
            "Your input exceeds the context window of this model.",
            400,
            "context_length_exceeded",
            "larger",
        ),
        ("insufficient_quota", "You exceeded your quota", 502, "provider_unavailable", "cool"),
        (
            "invalid_prompt",
            "flagged as potentially violating our usage policy",
            400,
            "content_policy_violation",
            "never",
        ),
    ],
)
def test_an_error_inside_an_answer_is_a_fault(
    code: str, message: str, status: int, error_type: str, retry: str
) -> None:
    for data in failing({"code": code, "message": message}):
        events, reader = parsed(data)
        fault = reader.meter.fault
        assert fault is not None
        assert (fault.status, fault.error_type, fault.retry) == (status, error_type, retry)
        assert events == [canon.Failed(fault)]
        assert not reader.meter.ended


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>busy</html>",
        STREAM[: STREAM.rfind(b"event: response.completed")],
        STREAM[: STREAM.rfind(b"event: response.completed")] + b"data: [DONE]\n\n",
        wire(provider_events()[:3]) + b"data: {bad\n\n",
        wire(provider_events()[:3]) + b"data: [1]\n\n",
        wire(provider_events()[:3]) + b'data: {"type":"response.output_text.delta","delta":5}\n\n',
        b'data: {"type":"response.output_text.delta","delta":"\xff"}\n\n',
        b'data: {"type":"response.completed","response":{"status":5}}\n\n',
        b'data: {"type":"response.completed","response":[]}\n\n',
        wire([{"type": "response.completed", "response": response("cancelled", [])}]),
    ],
)
def test_what_is_no_answer_is_a_fault(data: bytes) -> None:
    events, reader = parsed(data)
    assert reader.meter.fault is not None and not reader.meter.ended
    assert events[-1] == canon.Failed(reader.meter.fault)
    way = relay(HEAD, "openai_responses")
    run(way, [data])
    assert way.meter.fault == reader.meter.fault


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"output":5}', b'{"error":{"message":"m"}}']
)
def test_a_body_that_is_no_answer_is_a_fault(body: bytes) -> None:
    events, reader = parsed(body, False)
    assert reader.meter.fault is not None
    assert events == [canon.Failed(reader.meter.fault)]


def test_absurd_usage_is_unreported() -> None:
    odd = response("completed", [MESSAGE], usage={"input_tokens": -5, "output_tokens": 10**15})
    _, reader = parsed(json.dumps(odd).encode(), False)
    assert reader.meter.usage is None and reader.meter.ended


# ---- to a caller of the same dialect -------------------------------------------------------------


def payloads(out: bytes) -> list[dict[str, Any]]:
    """The events of a stream for callers, each valid in the eyes of the SDK."""
    assert out.endswith(b"data: [DONE]\n\n") or b"[DONE]" not in out
    found = []
    for payload in read_sse(out):
        if payload != b"[DONE]":
            EVENT.validate_json(payload)
            found.append(json.loads(payload))
    return found


def test_events_pass_as_they_came_but_for_id_model_and_usage() -> None:
    way = relay(HEAD, "openai_responses")
    out = run(way, [STREAM]) + way.ending(BILL)
    events = payloads(out)
    expected = provider_events()
    for event in expected:
        if "response" in event:
            event["response"].update(id="gen-1", model="acme/one")
            del event["response"]["billing"]
    usage = events[-1]["response"]["usage"]
    assert usage["input_tokens"] == 5 and usage["output_tokens"] == 7
    assert usage["cost"] == 0.0000015
    expected[-1]["response"]["usage"] = usage
    assert events == expected
    assert way.meter.usage == USED
    for raw in ("\u2028", "\u2029", "\u0085"):
        assert raw.encode() not in out


def test_passed_on_it_is_the_same_however_it_is_cut() -> None:
    def outcome(parts: list[bytes]) -> tuple[bytes, Any]:
        way = relay(HEAD, "openai_responses")
        out = run(way, parts)
        meter = way.meter
        return out + way.ending(BILL), (meter.text_bytes, meter.reasoning_bytes, meter.usage)

    whole = outcome([STREAM])
    for n in range(0, len(STREAM), 7):
        assert outcome([STREAM[:n], STREAM[n:]]) == whole
    assert outcome([STREAM[n : n + 1] for n in range(len(STREAM))]) == whole


def test_nothing_is_said_before_the_first_content() -> None:
    way = relay(HEAD, "openai_responses")
    before = provider_events()[:4]
    assert way.feed(wire(before)) != b""
    assert not way.meter.spoke
    way.feed(wire([provider_events()[4]]))
    assert way.meter.spoke


def test_a_call_is_content_before_its_arguments_are() -> None:
    way = relay(HEAD, "openai_responses")
    way.feed(wire([*provider_events()[:2], provider_events()[16]]))
    assert way.meter.spoke


def test_bytes_that_are_no_text_are_a_fault_even_where_nobody_reads() -> None:
    delta = provider_events()[5]
    bad = wire([delta]).replace(b'"obfuscation":"x"', b'"obfuscation":"\xff"')
    way = relay(HEAD, "openai_responses")
    assert way.feed(bad) == b""
    assert way.meter.fault is not None


def test_after_content_a_failure_is_one_event_and_no_end() -> None:
    way = relay(HEAD, "openai_responses")
    run(way, [wire(provider_events()[:12])])
    (event,) = payloads(way.failure(BROKE))
    assert event["type"] == "response.failed"
    assert event["sequence_number"] == 12
    assert event["response"]["id"] == "gen-1"
    assert event["response"]["status"] == "failed"
    assert event["response"]["error"] == {
        "code": "server_error",
        "message": "The provider broke off.",
    }
    assert event["response"]["error_type"] == "provider_unavailable"


def test_before_anything_a_failure_is_a_lone_error() -> None:
    for way in (relay(HEAD, "openai_responses"), relay(HEAD, "openai_chat")):
        (event,) = payloads(way.failure(BROKE))
        assert event == {
            "type": "error",
            "code": "server_error",
            "message": "The provider broke off.",
            "param": None,
            "sequence_number": 0,
        }


def test_a_body_passes_with_our_id_model_and_usage() -> None:
    body = provider_events()[-1]["response"]
    way = relay(WHOLE, "openai_responses")
    assert run(way, [json.dumps(body).encode()]) == b""
    assert way.meter.ended and way.meter.usage == USED
    bill = msgspec.structs.replace(BILL, extra={"openrouter_metadata": {"attempt": 1}})
    said = json.loads(way.ending(bill))
    assert Response.model_validate(said).output_text == "Hé\u2028llo"
    usage = said.pop("usage")
    assert usage["cost"] == 0.0000015
    assert said.pop("openrouter_metadata") == {"attempt": 1}
    del body["usage"], body["billing"]
    assert said == {**body, "id": "gen-1", "model": "acme/one"}


# ---- written from events -------------------------------------------------------------------------

TOOLS = [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]


def written(events: list[Event], stream: bool = True, bill: Bill = BILL, **fields: Any) -> bytes:
    request = parse_request(json.dumps({"model": "m", "input": "x", **fields}).encode())
    pen = Writer(HEAD if stream else WHOLE, request, Meter())
    return pen.render(events) + pen.ending(bill)


def back(out: bytes) -> dict[str, Any]:
    """What our own parser reads in a stream that was written for a caller."""
    return joined(parsed(out)[0])


def detail(**entry: Any) -> Raw:
    return Raw(json.dumps(entry).encode())


SPOKEN: list[Event] = [
    canon.Reasoning(
        "think",
        (detail(type="reasoning.text", text="think", index=0, format="anthropic-claude-v1"),),
    ),
    canon.Reasoning(
        "ing", (detail(type="reasoning.text", text="ing", index=0, format="anthropic-claude-v1"),)
    ),
    canon.Reasoning(
        "", (detail(type="reasoning.text", signature="S", index=0, format="anthropic-claude-v1"),)
    ),
    canon.Text("Hé"),
    canon.Text("\u2028llo"),
    canon.Extra("annotations", Raw(json.dumps(FULL["annotations"]).encode())),
    canon.ToolCall(0, "call_1", "f"),
    canon.ToolCall(0, None, None, '{"a"'),
    canon.ToolCall(1, "call_2", "g", ""),
    canon.ToolCall(0, None, None, ":1}"),
    canon.ToolCall(1, None, None, "{}"),
    canon.Finish("tool_calls", "tool_use"),
    canon.Used(USED),
    canon.Ended(),
]


def test_the_stream_written_for_a_caller_keeps_the_grammar() -> None:
    events = payloads(written(SPOKEN, tools=TOOLS, stream=True))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    last = events[-1]["response"]
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert last["output"] == done
    assert [item["type"] for item in done] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert last["usage"]["output_tokens"] == 7
    assert events[0]["response"]["status"] == "in_progress"


def test_every_item_has_one_id_with_its_prefix() -> None:
    out = payloads(written(SPOKEN, stream=True))[-1]["response"]["output"]
    ids = [item["id"] for item in out]
    assert len(set(ids)) == 4
    assert [name.split("_")[0] for name in ids] == ["rs", "msg", "fc", "fc"]


def test_whole_and_streamed_say_the_same() -> None:
    streamed = payloads(written(SPOKEN, stream=True))[-1]["response"]
    whole = json.loads(written(SPOKEN, stream=False))
    Response.model_validate(whole)
    assert whole == streamed


def test_written_and_read_back_it_says_the_same() -> None:
    said = back(written(SPOKEN, stream=True))
    assert said["text"] == "Hé\u2028llo"
    assert said["reasoning"] == "thinking"
    assert said["calls"] == FULL["calls"]
    assert said["annotations"] == FULL["annotations"]
    assert said["finish"][0] == "tool_calls"
    assert (said["usage"].prompt_tokens, said["usage"].completion_tokens) == (5, 7)


def test_foreign_state_comes_back_in_the_next_request() -> None:
    item = payloads(written(SPOKEN, stream=True))[-1]["response"]["output"][0]
    assert (item["format"], item["signature"]) == ("anthropic-claude-v1", "S")
    kept = {name: item[name] for name in ("type", "id", "summary", "encrypted_content")}
    asked = [{"role": "user", "content": "q"}, kept]
    request = parse_request(json.dumps({"model": "m", "input": asked}).encode())
    thought = conversation(request).turns[1].parts[0]
    assert [json.loads(bytes(raw)) for raw in thought.details] == [  # type: ignore[union-attr]
        {
            "type": "reasoning.text",
            "text": "thinking",
            "signature": "S",
            "format": "anthropic-claude-v1",
            "index": 0,
        }
    ]


def test_openais_reasoning_through_the_pivot_is_what_openai_sent() -> None:
    events, _ = parsed(STREAM)
    out = payloads(written(events, stream=True))[-1]["response"]["output"]
    assert out[0] == {**REASONING, "status": "completed"}
    assert out[1]["content"] == MESSAGE["content"]
    for item, sent in ((out[2], CALL), (out[3], CALL_2)):
        assert {**item, "id": ""} == {**sent, "id": ""}


def test_items_and_parts_of_openais_reasoning_stay_apart() -> None:
    summary = [{"type": "summary_text", "text": text} for text in ("one", "two")]
    output = [
        {**REASONING, "id": f"rs_{n}", "summary": summary, "encrypted_content": f"E{n}"}
        for n in range(2)
    ]
    body = json.dumps(response("completed", output, usage=REPORT)).encode()
    events, _ = parsed(body, False)
    out = payloads(written(events, stream=True))[-1]["response"]["output"]
    assert out == [{**item, "status": "completed"} for item in output]


def test_blocks_of_reasoning_are_items_of_their_own() -> None:
    form = "anthropic-claude-v1"
    events: list[Event] = [
        canon.Reasoning(
            "a", (detail(type="reasoning.text", text="a", signature="1", index=0, format=form),)
        ),
        canon.Reasoning("", (detail(type="reasoning.encrypted", data="R", index=1, format=form),)),
        canon.Reasoning(
            "b", (detail(type="reasoning.text", text="b", signature="2", index=2, format=form),)
        ),
        canon.Text("x"),
        canon.Finish("stop"),
    ]
    out = json.loads(written(events, stream=False))["output"]
    assert [item["type"] for item in out] == ["reasoning"] * 3 + ["message"]
    assert [item.get("signature") for item in out[:3]] == ["1", None, "2"]


def test_reasoning_that_is_not_to_be_shown_is_not_shown() -> None:
    out = json.loads(written(SPOKEN, stream=False, reasoning={"effort": "low", "exclude": True}))
    assert [item["type"] for item in out["output"]] == ["message", "function_call", "function_call"]


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_how_it_ended_is_said(finish: Any, status: str, reason: str | None) -> None:
    events = payloads(written([canon.Text("x"), canon.Finish(finish)], stream=True))
    last = events[-1]
    assert last["type"] == f"response.{status}"
    assert last["response"]["status"] == status
    assert last["response"]["incomplete_details"] == ({"reason": reason} if reason else None)
    assert last["response"]["output"][0]["status"] == status


def test_refusals_images_and_logprobs_are_written() -> None:
    token = {"token": "H", "logprob": -0.5, "bytes": None}
    events: list[Event] = [
        canon.Text("H"),
        canon.Extra("logprobs", Raw(json.dumps({"content": [token]}).encode())),
        canon.Refusal("no"),
        canon.Extra(
            "images",
            Raw(b'[{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}}]'),
        ),
        canon.Extra("audio", Raw(b"{}")),
        canon.Finish("stop"),
    ]
    last = payloads(written(events, stream=True))[-1]["response"]
    message, image = last["output"]
    assert message["content"] == [
        {
            "type": "output_text",
            "text": "H",
            "annotations": [],
            "logprobs": [{"token": "H", "logprob": -0.5, "bytes": [], "top_logprobs": []}],
        },
        {"type": "refusal", "refusal": "no"},
    ]
    assert (image["type"], image["result"]) == ("image_generation_call", "QQ==")


def test_an_answer_of_nothing_is_still_a_response() -> None:
    events = payloads(written([canon.Finish("stop")], stream=True))
    assert [e["type"] for e in events] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]


def test_the_request_is_echoed() -> None:
    said = json.loads(
        written(
            [canon.Text("x"), canon.Finish("stop")],
            stream=False,
            instructions="be brief",
            tools=TOOLS,
            tool_choice="required",
            temperature=0.5,
            text={"format": {"type": "json_object"}},
            metadata={"a": "b"},
        )
    )
    assert said["instructions"] == "be brief"
    assert said["tools"] == [{**TOOLS[0], "strict": None}]
    assert (said["tool_choice"], said["temperature"]) == ("required", 0.5)
    assert said["text"] == {"format": {"type": "json_object"}}
    assert (said["metadata"], said["store"]) == ({"a": "b"}, False)


def test_random_answers_keep_the_grammar_and_their_meaning() -> None:
    for seed in range(400):
        random = Random(seed)
        events, meaning = _made(random)
        out = written(events, stream=True)
        found = payloads(out)
        assert [e["sequence_number"] for e in found] == list(range(len(found))), seed
        said = back(out)
        for name, value in meaning.items():
            assert said[name] == value, (seed, name)
        whole = joined(parsed(written(events, stream=False), False)[0])
        for name, value in meaning.items():
            assert whole[name] == value, (seed, name)


def _made(random: Random) -> tuple[list[Event], dict[str, Any]]:
    events: list[Event] = []
    meaning: dict[str, Any] = {"text": "", "reasoning": "", "refusal": "", "calls": {}}
    for _ in range(random.randrange(1, 12)):
        piece = random.choice(("a", "é", "\u2028", '"', "\\n", "{}", "🙂"))
        match random.randrange(4):
            case 0:
                events.append(canon.Text(piece))
                meaning["text"] += piece
            case 1:
                events.append(canon.Reasoning(piece))
                meaning["reasoning"] += piece
            case 2:
                events.append(canon.Refusal(piece))
                meaning["refusal"] += piece
            case _:
                index = len(meaning["calls"])
                parts = random.choice((["{}"], ['{"a"', ":1}"], [""], ["not json", "!"]))
                events.append(canon.ToolCall(index, f"c{index}", "f", parts[0]))
                events += [canon.ToolCall(index, None, None, part) for part in parts[1:]]
                meaning["calls"][index] = [f"c{index}", "f", "".join(parts)]
    events.append(canon.Finish("tool_calls" if meaning["calls"] else "stop"))
    return events, meaning


# ---- the SDK as a client -------------------------------------------------------------------------


@contextmanager
def serving(body: bytes, stream: bool, status: int = 200) -> Iterator[openai.OpenAI]:
    """The official client against these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            kind = "text/event-stream" if stream else "application/json"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
            yield client
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Point(BaseModel):
    a: int


def _both() -> list[bytes]:
    way = relay(HEAD, "openai_responses")
    return [run(way, [STREAM]) + way.ending(BILL), written(SPOKEN, stream=True, tools=TOOLS)]


def test_the_sdks_stream_helper_reads_our_streams() -> None:
    for out in _both():
        with (
            serving(out, True) as client,
            client.responses.stream(model="m", input="x") as stream,
        ):
            snapshots = [e.snapshot for e in stream if e.type == "response.output_text.delta"]
            final = stream.get_final_response()
        assert (len(snapshots), snapshots[-1]) == (2, "Hé\u2028llo")
        assert final.output_text == "Hé\u2028llo"
        calls = [item for item in final.output if item.type == "function_call"]
        assert [(call.call_id, call.arguments) for call in calls] == [
            ("call_1", '{"a":1}'),
            ("call_2", "{}"),
        ]
        assert final.usage is not None and final.usage.total_tokens == 12


def test_the_sdk_reads_our_bodies_and_parses_structured_output() -> None:
    events: list[Event] = [canon.Text('{"a":'), canon.Text("4}"), canon.Finish("stop")]
    with serving(written(events, stream=False), False) as client:
        answer = client.responses.create(model="m", input="x")
        assert answer.output_text == '{"a":4}'
        parsed_answer = client.responses.parse(model="m", input="x", text_format=Point)
        assert parsed_answer.output_parsed == Point(a=4)


def test_the_sdk_sees_a_failure_as_an_event() -> None:
    request = parse_request(b'{"model":"m","input":"x","stream":true}')
    pen = Writer(HEAD, request, Meter())
    out = pen.render([canon.Text("Hel")]) + pen.failure(BROKE)
    with serving(out, True) as client:
        events = list(client.responses.create(model="m", input="x", stream=True))
    failed = events[-1]
    assert failed.type == "response.failed"
    assert failed.response.error is not None
    assert failed.response.error.code == "server_error"


# ---- cost ----------------------------------------------------------------------------------------


def test_deltas_cost_microseconds() -> None:
    """A bound against accidents, ten times what is measured."""
    import time

    delta = wire(
        [
            {
                "type": "response.output_text.delta",
                "item_id": "msg_1",
                "output_index": 0,
                "content_index": 0,
                "delta": "some words ",
                "logprobs": [],
                "sequence_number": 9,
            }
        ]
    )
    ways: list[Relay] = [relay(HEAD, "openai_responses")]
    for way in ways:
        start = time.process_time()
        for _ in range(5_000):
            way.feed(delta)
        each = (time.process_time() - start) / 5_000
        print(f"{each * 1e6:.1f} µs a delta")
        assert each < 100e-6
