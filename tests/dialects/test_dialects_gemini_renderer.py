"""dialects/gemini/renderer.py: answers of providers of another dialect, as Google would send them.
Every chunk is read by Google's own response type."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from dialect_support import HEAD, WHOLE, chunk, read_sse, wire
from google.genai import types
from msgspec import Raw

from tollway import canon, errors
from tollway.canon import Event, Usage
from tollway.dialects import Bill, gemini, openai_chat
from tollway.dialects.gemini.renderer import BodyRenderer, StreamRenderer
from tollway.dialects.gemini.request import GeminiRequest
from tollway.dialects.gemini.signatures import opened

BILL = Bill(Usage(100, 50, cached_tokens=64, reasoning_tokens=30, audio_tokens=26), 1, 1, 1)
BODY = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 20,
    "totalTokenCount": 150,
    "cachedContentTokenCount": 64,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 74},
        {"modality": "AUDIO", "tokenCount": 26},
    ],
    "thoughtsTokenCount": 30,
}


def caller(sse: bool = True, shows: bool = True) -> GeminiRequest:
    return GeminiRequest("gemini", ("a/b",), True, {}, sse=sse, shows_thoughts=shows)


def valid(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for one in chunks:
        types.GenerateContentResponse.model_validate(one)
    return chunks


def streamed(events: Sequence[Event], shows: bool = True, sse: bool = True) -> list[dict[str, Any]]:
    renderer = StreamRenderer(HEAD, sse, shows)
    data = b"".join(renderer.render([event]) for event in events) + renderer.ending(BILL)
    if not sse:
        return valid(json.loads(data))
    assert data.endswith(b"}\r\n\r\n")
    return valid([json.loads(payload) for payload in read_sse(data)])


def whole(events: Sequence[Event], shows: bool = True) -> dict[str, Any]:
    renderer = BodyRenderer(WHOLE, shows)
    assert renderer.render(events) == b""
    return valid([json.loads(renderer.ending(BILL))])[0]


def parts(chunks: Sequence[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    return [
        part
        for one in chunks
        for candidate in one["candidates"]
        if candidate["index"] == index
        for part in candidate.get("content", {}).get("parts", ())
    ]


def raw(**entry: Any) -> Raw:
    return Raw(msgspec.json.encode(entry))


def details(signature: str) -> list[Any]:
    found = opened(signature)
    assert found is not None
    return [json.loads(bytes(one)) for one in found]


CLAUDE = {"format": "anthropic-claude-v1", "index": 0}
THINKS: list[Event] = [
    canon.Reasoning("Let ", (raw(type="reasoning.text", text="Let ", **CLAUDE),)),
    canon.Reasoning("me", (raw(type="reasoning.text", text="me", **CLAUDE),)),
    canon.Reasoning("", (raw(type="reasoning.text", text="", signature="s+/=", **CLAUDE),)),
]
CALLS: list[Event] = [
    canon.ToolCall(0, "t1", "f", '{"a":'),
    canon.ToolCall(1, "t2", "g"),
    canon.ToolCall(0, arguments="1}"),
]
BLOCK = {"type": "reasoning.text", "text": "Let me", "signature": "s+/=", **CLAUDE}


def test_text_goes_chunk_by_chunk_and_the_bill_comes_last() -> None:
    events = [canon.Text("a\u2028"), canon.Text("é"), canon.Finish("length", "max_tokens")]
    chunks = streamed(events)
    who = {"modelVersion": "acme/one", "responseId": "gen-1"}
    assert chunks == [
        {
            "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}],
            **who,
        }
        for text in ("a\u2028", "é")
    ] + [
        {
            "candidates": [
                {
                    "content": {"parts": [{"text": ""}], "role": "model"},
                    "finishReason": "MAX_TOKENS",
                    "index": 0,
                }
            ],
            "usageMetadata": BODY,
            **who,
        }
    ]
    assert streamed(events, sse=False) == chunks
    assert parts([whole(events)]) == [{"text": "a\u2028é"}]
    assert whole(events)["usageMetadata"] == BODY


@pytest.mark.parametrize(
    ("reason", "native", "word"),
    [
        ("stop", "end_turn", "STOP"),
        ("tool_calls", "tool_use", "STOP"),
        ("length", "length", "MAX_TOKENS"),
        ("content_filter", "refusal", "SAFETY"),
        ("content_filter", "RECITATION", "RECITATION"),
        ("stop", None, "STOP"),
    ],
)
def test_finish_reasons_are_googles_words(reason: Any, native: str | None, word: str) -> None:
    body = whole([canon.Finish(reason, native)])
    assert body["candidates"][0]["finishReason"] == word
    assert streamed([canon.Finish(reason, native)])[-1]["candidates"][0]["finishReason"] == word


def test_calls_come_whole_and_the_first_carries_the_state_of_the_provider() -> None:
    events = [*THINKS, *CALLS, canon.Finish("tool_calls")]
    for found in (parts(streamed(events)), parts([whole(events)])):
        texts = [part for part in found if "functionCall" not in part]
        first, second = [part for part in found if "functionCall" in part]
        assert "".join(part["text"] for part in texts) == "Let me"
        assert all(part["thought"] for part in texts)
        assert first["functionCall"] == {"id": "t1", "name": "f", "args": {"a": 1}}
        assert details(first["thoughtSignature"]) == [BLOCK]
        assert second == {"functionCall": {"id": "t2", "name": "g", "args": {}}}


def test_state_without_a_call_rides_on_a_last_empty_text() -> None:
    events = [*THINKS, canon.Text("hi"), canon.Finish("stop")]
    *_, last = parts(streamed(events))
    assert (last["text"], details(last["thoughtSignature"])) == ("", [BLOCK])
    (thought, text) = parts([whole(events)])
    assert thought == {"text": "Let me", "thought": True}
    assert (text["text"], details(text["thoughtSignature"])) == ("hi", [BLOCK])


def test_thoughts_are_hidden_from_who_did_not_ask_but_their_state_is_kept() -> None:
    found = parts(streamed([*THINKS, *CALLS], shows=False))
    assert [sorted(part) for part in found] == [
        ["functionCall", "thoughtSignature"],
        ["functionCall"],
    ]
    plain: list[Event] = [canon.Reasoning("hm", (raw(type="reasoning.text", text="hm"),))]
    assert parts(streamed([*plain, canon.Text("a")], shows=False)) == [{"text": "a"}, {"text": ""}]
    (call,) = parts(streamed([*plain, canon.ToolCall(0, "t", "f", "{}")], shows=False))
    assert details(call["thoughtSignature"]) == [{"type": "reasoning.text", "text": "hm"}]


def test_googles_own_signatures_come_back_as_they_were() -> None:
    form = {"format": "google-gemini-v1", "index": 0}
    events: list[Event] = [
        canon.Reasoning("hm", (raw(type="reasoning.text", text="hm", signature="AAAA", **form),)),
        canon.Text("a"),
        canon.Reasoning("", (raw(type="reasoning.encrypted", data="BBBB", **form),)),
        canon.Reasoning("", (raw(type="reasoning.encrypted", data="CCCC", id="t2", **form),)),
        *CALLS,
        canon.Finish("tool_calls"),
    ]
    assert parts(streamed(events)) == [
        {"text": "hm", "thought": True, "thoughtSignature": "AAAA"},
        {"text": "a"},
        {"text": "", "thoughtSignature": "BBBB"},
        {"functionCall": {"id": "t1", "name": "f", "args": {"a": 1}}},
        {"functionCall": {"id": "t2", "name": "g", "args": {}}, "thoughtSignature": "CCCC"},
    ]
    assert parts([whole(events)])[1] == {"text": "a", "thoughtSignature": "BBBB"}


def test_order_is_kept_where_text_follows_a_call() -> None:
    image = canon.Extra("images", Raw(b'[{"image_url":{"url":"data:image/png;base64,AAAA"}}]'))
    for then, kind in ((canon.Text("then"), "text"), (image, "inlineData")):
        events = [*CALLS, then, canon.Finish("stop")]
        for found in (parts(streamed(events)), parts([whole(events)])):
            kinds = [sorted(part)[0] for part in found]
            assert kinds[:3] == ["functionCall", "functionCall", kind]


def test_broken_arguments_are_shown_and_do_not_break_the_answer() -> None:
    events = [canon.ToolCall(0, "t", "f", "{oops"), canon.Text("a"), canon.Finish("tool_calls")]
    found = parts(streamed(events))
    call = {"id": "t", "name": "f", "args": {"arguments": "{oops"}}
    assert found == [{"text": "a"}, {"functionCall": call}]


def test_images_audio_sources_and_probabilities() -> None:
    cited = {
        "type": "url_citation",
        "url_citation": {
            "url": "https://a.example/",
            "title": "A",
            "start_index": 2,
            "end_index": 4,
        },
    }
    tops = [{"token": "no", "logprob": -2.0}]
    logprobs = {"content": [{"token": "ok", "logprob": -0.5, "top_logprobs": tops}]}
    events: list[Event] = [
        canon.Text("é ok"),
        canon.Extra("images", Raw(b'[{"image_url":{"url":"data:image/png;base64,AAAA"}}]')),
        canon.Extra("audio", Raw(b'{"id":"x","data":"BBBB"}')),
        canon.Extra("annotations", Raw(msgspec.json.encode([cited]))),
        canon.Extra("logprobs", Raw(msgspec.json.encode(logprobs))),
        canon.Finish("stop"),
    ]
    body = whole(events)
    (candidate,) = body["candidates"]
    assert parts([body]) == [
        {"text": "é ok"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "BBBB"}},
    ]
    assert candidate["groundingMetadata"] == {
        "groundingChunks": [{"web": {"uri": "https://a.example/", "title": "A"}}],
        "groundingSupports": [
            {
                "segment": {"startIndex": 3, "endIndex": 5, "text": "ok"},
                "groundingChunkIndices": [0],
            }
        ],
    }
    assert candidate["logprobsResult"] == {
        "chosenCandidates": [{"token": "ok", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "no", "logProbability": -2.0}]}],
    }
    last = streamed(events)[-1]["candidates"][0]
    assert last["groundingMetadata"] == candidate["groundingMetadata"]


def test_a_chat_stream_reaches_a_gemini_caller_however_it_is_cut() -> None:
    stream = wire(
        chunk({"role": "assistant", "reasoning_content": "hm"}),
        chunk({"content": "héllo "}),
        chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}]}),
        chunk(finish="tool_calls"),
    )  # fmt: skip

    def served(step: int, sse: bool) -> bytes:
        way = gemini.relay(HEAD, "openai_chat", (), caller(sse))
        out = b"".join(way.feed(stream[n : n + step]) for n in range(0, len(stream), step))
        return out + way.ending(BILL)

    expected = [json.loads(payload) for payload in read_sse(served(len(stream), True))]
    for step in range(1, 60, 7):
        assert served(step, True) == served(len(stream), True)
        assert json.loads(served(step, False)) == expected
    assert [sorted(part) for part in parts(expected)] == [
        ["text", "thought"],
        ["text"],
        ["functionCall", "thoughtSignature"],
    ]


def test_gemini_to_chat_to_gemini_keeps_a_signature_byte_for_byte() -> None:
    """A chat caller in a tool loop: what the model signed goes back to it unchanged."""
    signature = base64.b64encode(bytes(range(256))).decode()
    answer = {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": signature}
                    ]
                },
                "finishReason": "STOP",
            }
        ],
        "responseId": "up-1",
    }
    way = openai_chat.relay(WHOLE, "gemini")
    way.feed(json.dumps(answer).encode())
    way.finish()
    message = json.loads(way.ending(BILL))["choices"][0]["message"]
    (call,) = message["tool_calls"]
    body = {
        "model": "google/x",
        "messages": [
            {"role": "user", "content": "go"},
            message,
            {"role": "tool", "tool_call_id": call["id"], "content": "ok"},
        ],
    }
    from test_dialects_gemini_render import to

    request = openai_chat.parse_request(json.dumps(body).encode())
    out = gemini.render_request(request, to("gemini-3-pro"), 10)
    sent = json.loads(out.body)["contents"]
    assert sent[1]["parts"][0]["thoughtSignature"] == signature
    assert sent[1]["parts"][0]["functionCall"]["id"] == call["id"]
    assert out.dropped == ()


@pytest.mark.parametrize("sse", [True, False])
def test_a_failure_after_the_first_content_is_one_error_in_googles_shape(sse: bool) -> None:
    error = errors.broken_stream("Acme", canon.Fault(502, "provider_unavailable", "broke"))
    for outbound in ("openai_chat", "gemini"):
        way = gemini.relay(HEAD, outbound, (), caller(sse))
        first = wire(chunk({"content": "a"}), done=False)
        if outbound == "gemini":
            first = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\n\n'
        data = way.feed(first) + way.failure(error)
        found = json.loads(data) if not sse else [json.loads(p) for p in read_sse(data)]
        assert len(found) == 2
        told = found[-1]["error"]
        assert (told["code"], told["status"], told["message"]) == (502, "UNAVAILABLE", "broke")
