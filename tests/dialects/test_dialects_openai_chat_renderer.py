"""dialects/openai_chat_renderer.py, by way of relay, as the road calls it"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dialect_support import BILL, HEAD, WHOLE, read_chunks
from msgspec import Raw
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from support.conversations import answer, kit, told
from tollway import canon, errors
from tollway.canon import Event
from tollway.dialects import Bill, Relay
from tollway.dialects.openai_chat import parse_request, parser, relay

THOUGHT = Raw(b'{"type":"reasoning.text","text":"hm","format":"anthropic-claude-v1","index":0}')
SIGNED = Raw(b'{"type":"reasoning.text","signature":"s=","format":"anthropic-claude-v1","index":0}')
SECRET = Raw(b'{"type":"reasoning.encrypted","data":"x=","format":"anthropic-claude-v1","index":1}')
CITED = Raw(
    b'{"type":"url_citation","url_citation":'
    b'{"url":"https://x.org","title":"X","start_index":0,"end_index":1}}'
)
PICTURE = Raw(b'[{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}}]')
ODDS = Raw(b'{"content":[{"token":"a","logprob":-1.0,"bytes":[97],"top_logprobs":[]}]}')

EVERYTHING: list[Event] = [
    canon.Reasoning("hm", (THOUGHT,)),
    canon.Reasoning("", (SIGNED,)),
    canon.Reasoning("", (SECRET,)),
    canon.Text("a\u2028"),
    canon.Extra("logprobs", ODDS),
    canon.Text("b"),
    canon.Extra("annotations", CITED),
    canon.Extra("images", PICTURE),
    canon.Refusal("no"),
    canon.ToolCall(0, "c0", "f", '{"x'),
    canon.ToolCall(1, "c1", "g"),
    canon.ToolCall(0, arguments='":1}'),
    canon.ToolCall(1, arguments="{}"),
    canon.Text("second", 1),
    canon.Extra("nothing_known", ODDS),
    canon.Finish("tool_calls", "tool_use"),
    canon.Finish("length", None, 1),
    canon.Used(BILL.usage),
    canon.Ended(),
]


def way(events: Sequence[Event], stream: bool, hides: bool = False) -> Relay:
    body = json.dumps(
        {
            "model": "a",
            "messages": [{"role": "user", "content": "x"}],
            "reasoning": {"exclude": hides},
        }
    )
    with kit(events=events):
        return relay(HEAD if stream else WHOLE, "kit", (), parse_request(body.encode()))


def streamed(events: Sequence[Event], hides: bool = False) -> bytes:
    one = way(events, True, hides)
    return one.feed(b"x") + one.finish() + one.ending(BILL)


def whole(events: Sequence[Event], hides: bool = False) -> dict[str, Any]:
    one = way(events, False, hides)
    assert one.feed(b"x") + one.finish() == b""
    body: dict[str, Any] = json.loads(one.ending(BILL))
    return body


def test_events_become_chunks_as_the_contract_writes_them() -> None:
    out = streamed(EVERYTHING)
    assert "\u2028".encode() not in out
    assert out.endswith(b"data: [DONE]\n\n")
    chunks = read_chunks(out)
    top = {
        "id": "gen-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_001,
        "model": "acme/one",
        "provider": "Acme",
    }
    for one in chunks:
        ChatCompletionChunk.model_validate(one)
        assert {name: one[name] for name in top} == top
    said = [choice for one in chunks for choice in one["choices"]]
    common = {"index": 0, "finish_reason": None}
    thought, signed, secret = (json.loads(bytes(raw)) for raw in (THOUGHT, SIGNED, SECRET))
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "reasoning": "hm", "reasoning_details": [thought]},
        {"content": "", "reasoning_details": [signed]},
        {"content": "", "reasoning_details": [secret]},
        {"content": "a\u2028"},
        {"content": ""},
        {"content": "b"},
        {"annotations": [json.loads(bytes(CITED))]},
        {"images": json.loads(bytes(PICTURE))},
        {"refusal": "no"},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "c0",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"x'},
                }
            ]
        },
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "g", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '":1}'}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ]
    expected = [{**common, "delta": delta} for delta in deltas]
    expected[4]["logprobs"] = json.loads(bytes(ODDS))
    expected += [
        {**common, "index": 1, "delta": {"role": "assistant", "content": "second"}},
        {
            "index": 0,
            "delta": {},
            "finish_reason": "tool_calls",
            "native_finish_reason": "tool_use",
        },
        {"index": 1, "delta": {}, "finish_reason": "length", "native_finish_reason": "length"},
    ]
    assert said == expected
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["cost"] == 0.0000015


def test_events_become_one_body() -> None:
    body = whole(EVERYTHING)
    ChatCompletion.model_validate(body)
    assert {name: body[name] for name in ("id", "object", "model", "provider")} == {
        "id": "gen-1",
        "object": "chat.completion",
        "model": "acme/one",
        "provider": "Acme",
    }
    first, second = body["choices"]
    assert first == {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": "a\u2028b",
            "refusal": "no",
            "reasoning": "hm",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "hm",
                    "signature": "s=",
                    "format": "anthropic-claude-v1",
                    "index": 0,
                },
                json.loads(bytes(SECRET)),
            ],
            "tool_calls": [
                {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
            "annotations": [json.loads(bytes(CITED))],
            "images": json.loads(bytes(PICTURE)),
        },
        "logprobs": json.loads(bytes(ODDS)),
        "finish_reason": "tool_calls",
        "native_finish_reason": "tool_use",
    }
    assert second["message"] == {"role": "assistant", "content": "second", "refusal": None}
    assert (second["finish_reason"], second["native_finish_reason"]) == ("length", "length")
    assert body["usage"]["total_tokens"] == 12


def test_an_answer_of_calls_alone_has_no_content_and_an_empty_one_has_empty_content() -> None:
    calls = [canon.ToolCall(0, "c", "f", "{}"), canon.Finish("tool_calls")]
    assert whole(calls)["choices"][0]["message"]["content"] is None
    assert whole([canon.Finish("stop")])["choices"][0]["message"]["content"] == ""


def test_reasoning_without_details_gets_an_entry_and_unwanted_reasoning_is_left_out() -> None:
    events: list[Event] = [canon.Reasoning("hm"), canon.Text("a"), canon.Finish("stop")]
    entry = {"type": "reasoning.text", "text": "hm", "format": "unknown", "index": 0}
    assert whole(events)["choices"][0]["message"]["reasoning_details"] == [entry]
    (first, *_) = read_chunks(streamed(events))
    assert first["choices"][0]["delta"]["reasoning_details"] == [entry]
    assert b"hm" not in streamed(events, hides=True)
    assert "reasoning" not in whole(events, hides=True)["choices"][0]["message"]


def test_audio_in_pieces_is_one_recording() -> None:
    pieces = [
        {"id": "a", "data": "QQ==", "transcript": "x"},
        {"data": "Qg==", "transcript": "y", "expires_at": 5},
    ]
    events: list[Event] = [
        canon.Extra("audio", Raw(json.dumps(piece).encode())) for piece in pieces
    ]
    assert whole([*events, canon.Finish("stop")])["choices"][0]["message"]["audio"] == {
        "id": "a",
        "data": "QQ==Qg==",
        "transcript": "xy",
        "expires_at": 5,
    }


def test_a_failure_is_one_event_and_a_whole_answer_fails_as_an_error_body() -> None:
    fault = canon.Fault(502, "provider_unavailable", "gone")
    error = errors.broken_stream("Acme", fault)
    (one,) = read_chunks(way([], True).failure(error))
    assert one["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "finish_reason": "error",
            "native_finish_reason": "error",
        }
    ]
    assert one["error"] == error.body()["error"]
    assert json.loads(way([], False).failure(error)) == error.body()


def test_openais_own_reader_adds_the_chunks_up() -> None:
    state: ChatCompletionStreamState[Any] = ChatCompletionStreamState()
    first_alone = [event for event in EVERYTHING if getattr(event, "choice", 0) == 0]
    for one in read_chunks(streamed(first_alone)):
        state.handle_chunk(ChatCompletionChunk.model_validate(one))
    first = state.get_final_completion().choices[0]
    assert (first.message.role, first.message.content) == ("assistant", "a\u2028b")
    calls = [(c.id, c.function.name, c.function.arguments) for c in first.message.tool_calls or ()]
    assert calls == [("c0", "f", '{"x":1}'), ("c1", "g", "{}")]


def test_answers_made_at_random_come_back() -> None:
    for format in ("anthropic-claude-v1", "openai-responses-v1", "google-gemini-v1"):
        for seed in range(900, 1_100):
            events = answer(seed, format)
            bill = Bill(next(e.usage for e in events if isinstance(e, canon.Used)), 1, 1, 1)
            for stream in (True, False):
                one = way(events, stream)
                data = one.feed(b"x") + one.ending(bill)
                reader = parser(stream)
                found = reader.feed(data)
                found += [] if reader.meter.ended else reader.finish()
                assert told(found) == told(events), f"seed {seed}, stream {stream}"
