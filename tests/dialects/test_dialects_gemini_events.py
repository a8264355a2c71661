"""dialects/gemini: providers' answers to events (events, reading, usage) and to callers (relay)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from dialect_support import BILL, HEAD, WHOLE, read_sse

from tollway import canon
from tollway.canon import Event, Usage
from tollway.dialects.gemini import parser, relay
from tollway.dialects.gemini.answer import FINISH
from tollway.dialects.gemini.request import GeminiRequest

SIGNATURE = "EpQECpEEAXLI2nz/+a=="


def chunk(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A provider's chunk; `finish` and `index` go into the candidate, the rest on top."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}}
    if "finish" in more:
        candidate["finishReason"] = more.pop("finish")
    candidate["index"] = more.pop("index", 0)
    candidate.update(more.pop("candidate", {}))
    return {
        "candidates": [candidate],
        "modelVersion": "gemini-3-pro-preview",
        "responseId": "up-1",
        **more,
    }


USAGE = {
    "promptTokenCount": 100,
    "toolUsePromptTokenCount": 5,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 30,
    "cachedContentTokenCount": 64,
    "totalTokenCount": 155,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 60},
        {"modality": "AUDIO", "tokenCount": 30},
        {"modality": "IMAGE", "tokenCount": 10},
    ],
    "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}],
}
THINKS = [
    chunk({"text": "Let me ", "thought": True}, usageMetadata={"promptTokenCount": 100}),
    chunk({"text": "sée.", "thought": True}),
    chunk({"text": "Sun\u2028ny "}),
    chunk({"text": "日本🙂"}, {"text": "", "thoughtSignature": SIGNATURE}),
    chunk(
        {
            "functionCall": {"name": "weather", "args": {"city": "Paris"}},
            "thoughtSignature": "c2ln",
        },
        {"functionCall": {"name": "time", "id": "own-1", "args": {}}},
    ),
    chunk({"text": ""}, finish="STOP", usageMetadata=USAGE),
]


def wire(chunks: Sequence[dict[str, Any]], end: bytes = b"\r\n\r\n") -> bytes:
    return b"".join(
        b"data: " + json.dumps(one, ensure_ascii=False).encode() + end for one in chunks
    )


def events(data: bytes, step: int | None = None, stream: bool = True) -> list[Event]:
    way = parser(stream)
    size = step or max(1, len(data))
    found = [e for n in range(0, len(data), size) for e in way.feed(data[n : n + size])]
    return found + way.finish()


def plain(found: Sequence[Event]) -> Any:
    return json.loads(msgspec.json.encode(found))


def test_a_stream_gives_its_events_in_order() -> None:
    found = events(wire(THINKS))
    minted = found[6]
    assert isinstance(minted, canon.ToolCall)
    assert minted.id is not None and minted.id.startswith("call_")
    google = {"format": "google-gemini-v1", "index": 0}
    assert plain(found) == [
        {
            "type": "Reasoning",
            "text": text,
            "details": [{"type": "reasoning.text", "text": text, **google}],
            "choice": 0,
        }
        for text in ("Let me ", "sée.")
    ] + [
        {"type": "Text", "text": "Sun\u2028ny ", "choice": 0},
        {"type": "Text", "text": "日本🙂", "choice": 0},
        {
            "type": "Reasoning",
            "text": "",
            "details": [{"type": "reasoning.encrypted", "data": SIGNATURE, **google}],
            "choice": 0,
        },
        {
            "type": "Reasoning",
            "text": "",
            "details": [{"type": "reasoning.encrypted", "data": "c2ln", "id": minted.id, **google}],
            "choice": 0,
        },
        {
            "type": "ToolCall",
            "index": 0,
            "id": minted.id,
            "name": "weather",
            "arguments": '{"city":"Paris"}',
            "choice": 0,
        },
        {
            "type": "ToolCall",
            "index": 1,
            "id": "own-1",
            "name": "time",
            "arguments": "{}",
            "choice": 0,
        },
        {"type": "Finish", "reason": "tool_calls", "native": "STOP", "choice": 0},
        {
            "type": "Used",
            "usage": {
                "prompt_tokens": 105,
                "completion_tokens": 50,
                "cached_tokens": 64,
                "cached_audio_tokens": 4,
                "audio_tokens": 26,
                "image_tokens": 10,
                "reasoning_tokens": 30,
            },
        },
        {"type": "Ended"},
    ]


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\r"])
def test_a_stream_cut_at_every_byte_gives_the_same_events(end: bytes) -> None:
    data = b"\xef\xbb\xbf: hello\r\n\r\n" + wire(THINKS, end)
    expected = events(data)
    for cut in range(1, len(data)):
        way = parser(True)
        assert way.feed(data[:cut]) + way.feed(data[cut:]) + way.finish() == expected
    assert events(data, 1) == expected
    assert events(data.rstrip(b"\r\n")) == expected


def test_a_whole_body_says_what_its_stream_says() -> None:
    parts = [p for one in THINKS for p in one["candidates"][0]["content"]["parts"]]
    body = chunk(*parts, finish="STOP", usageMetadata=USAGE)
    assert plain(events(json.dumps(body, indent=2).encode(), 7, stream=False)) == plain(
        events(wire(THINKS))
    )


def test_every_finish_reason_of_google_is_known() -> None:
    from google.genai.types import BlockedReason, FinishReason

    assert {reason.value for reason in FinishReason} <= set(FINISH)
    for word in ("MALFORMED_FUNCTION_CALL", "MISSING_THOUGHT_SIGNATURE", "OTHER"):
        assert FINISH[word] == "error"
    for word in ("SAFETY", "RECITATION", "IMAGE_SAFETY", "MODEL_ARMOR"):
        assert FINISH[word] == "content_filter"
    for reason in FinishReason:
        found = events(wire([chunk({"text": "a"}, finish=reason.value)]))
        if FINISH[reason.value] == "error":
            (failed,) = found[-1:]
            assert isinstance(failed, canon.Failed)
            assert (failed.fault.retry, failed.fault.provider_code) == ("elsewhere", reason.value)
        else:
            assert canon.Finish(FINISH[reason.value], reason.value) in found
    for blocked in BlockedReason:
        if blocked.value != "BLOCKED_REASON_UNSPECIFIED":
            answer = {"promptFeedback": {"blockReason": blocked.value}}
            expected = [canon.Finish("content_filter", blocked.value), canon.Ended()]
            assert events(wire([answer])) == expected
            assert events(json.dumps(answer).encode(), stream=False) == expected


def test_images_audio_code_and_sources_become_parts_under_their_public_names() -> None:
    grounding = {
        "webSearchQueries": ["a", "b"],
        "groundingChunks": [{"web": {"uri": "https://a.example/", "title": "A"}}],
        "groundingSupports": [
            {
                "segment": {"startIndex": 3, "endIndex": 5, "text": "ok"},
                "groundingChunkIndices": [0],
            }
        ],
    }
    logprobs = {
        "chosenCandidates": [{"token": "ok", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "no", "logProbability": -2}]}],
    }
    stream = [
        chunk({"text": "é "}),
        chunk({"text": "ok"}),
        chunk({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        chunk({"inlineData": {"mimeType": "audio/L16", "data": "BBBB"}}),
        chunk({"executableCode": {"language": "PYTHON", "code": "1+1"}}),
        chunk(
            finish="STOP",
            candidate={"groundingMetadata": grounding, "logprobsResult": logprobs},
            usageMetadata={"promptTokenCount": 1},
        ),
    ]
    found = plain(events(wire(stream)))
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    where = {"url": "https://a.example/", "title": "A", "start_index": 2, "end_index": 4}
    assert found[2:-1] == [
        {"type": "Extra", "name": "images", "value": [image], "choice": 0},
        {"type": "Extra", "name": "audio", "value": {"data": "BBBB"}, "choice": 0},
        {"type": "Text", "text": "\n```python\n1+1\n```\n", "choice": 0},
        {
            "type": "Extra",
            "name": "annotations",
            "value": [{"type": "url_citation", "url_citation": {**where, "content": "ok"}}],
            "choice": 0,
        },
        {
            "type": "Extra",
            "name": "logprobs",
            "value": {
                "content": [
                    {
                        "token": "ok",
                        "logprob": -0.5,
                        "bytes": [111, 107],
                        "top_logprobs": [{"token": "no", "logprob": -2, "bytes": [110, 111]}],
                    }
                ],
                "refusal": None,
            },
            "choice": 0,
        },
        {"type": "Finish", "reason": "stop", "native": "STOP", "choice": 0},
        {"type": "Used", "usage": {"prompt_tokens": 1, "web_searches": 2}},
    ]


ERROR = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}


@pytest.mark.parametrize(
    ("data", "error_type"),
    [
        (b"", "provider_unavailable"),
        (b"<html>bad gateway</html>", "provider_unavailable"),
        (b"data: {bad\n\n", "provider_unavailable"),
        (b'data: {"candidates": 5}\n\n', "provider_unavailable"),
        (b'data: {"candidates": [{"content": {"parts": "x"}}]}\n\n', "provider_unavailable"),
        (b"data: \xff\xfe\n\n", "provider_unavailable"),
        (wire([chunk({"text": "a"})]), "provider_unavailable"),
        (wire([chunk({"text": "a"}), {"error": ERROR}]), "provider_overloaded"),
        (json.dumps({"error": ERROR}).encode(), "provider_overloaded"),
        (json.dumps([{"error": ERROR}], indent=1).encode(), "provider_overloaded"),
        (b'data: {"candidates": ' + b"[" * 200_000 + b"\n\n", "provider_unavailable"),
    ],
)
def test_what_is_no_answer_is_one_fault_and_the_last_event(data: bytes, error_type: str) -> None:
    for step in (None, 3) if len(data) < 10_000 else (None,):
        way = relay(HEAD, "gemini")
        size = step or max(1, len(data))
        for n in range(0, len(data), size):
            way.feed(data[n : n + size])
        way.finish()
        found = events(data, step)
        assert found[-1] == canon.Failed(way.meter.fault)  # type: ignore[arg-type]
        assert sum(isinstance(e, canon.Failed | canon.Ended) for e in found) == 1
        assert way.meter.fault is not None
        assert way.meter.fault.error_type == error_type


@pytest.mark.parametrize(
    "usage",
    [
        {"promptTokenCount": -5},
        {"promptTokenCount": 10**12},
        {"promptTokenCount": "many"},
        {"trafficType": "ON_DEMAND"},
        [],
    ],
)
def test_an_absurd_usage_is_unreported(usage: Any) -> None:
    way = parser(True)
    way.feed(wire([chunk({"text": "a"}, finish="STOP", usageMetadata=usage)]))
    way.finish()
    assert (way.meter.ended, way.meter.usage) == (True, None)


def passed(data: bytes, step: int | None = None, sse: bool = True) -> tuple[bytes, bytes]:
    """What a caller of the same dialect gets before and at the end."""
    way = relay(HEAD, "vertex_gemini", (), caller(sse))
    size = step or len(data)
    out = b"".join(way.feed(data[n : n + size]) for n in range(0, len(data), size))
    out += way.finish()
    assert way.meter.ended
    return out, way.ending(BILL)


def caller(sse: bool) -> GeminiRequest:
    return GeminiRequest("gemini", ("acme/one",), True, {}, sse=sse)


def test_the_same_dialect_passes_candidates_and_rewrites_identity_and_usage() -> None:
    data = wire(THINKS)
    expected = passed(data)
    for step in (1, 5, 64):
        assert passed(data, step) == expected
    chunks = [json.loads(payload) for payload in read_sse(expected[0] + expected[1])]
    assert [one["candidates"] for one in chunks] == [one["candidates"] for one in THINKS]
    assert {(one["modelVersion"], one["responseId"]) for one in chunks} == {("acme/one", "gen-1")}
    assert ["usageMetadata" in one for one in chunks] == [False] * 5 + [True]
    assert chunks[-1]["usageMetadata"] == {
        "promptTokenCount": 5,
        "candidatesTokenCount": 7,
        "totalTokenCount": 12,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
    }
    array = b"".join(passed(data, 9, sse=False))
    assert json.loads(array) == chunks


def test_passing_on_and_parsing_meter_the_same() -> None:
    data = wire(THINKS)
    way, reader = relay(HEAD, "gemini"), parser(True)
    for one in (way, reader):
        one.feed(data)
        one.finish()
    for name in ("text_bytes", "reasoning_bytes", "usage", "finish", "upstream_id", "spoke"):
        assert getattr(way.meter, name) == getattr(reader.meter, name)
    assert way.meter.usage == Usage(105, 50, 64, 4, 0, 0, 26, 10, 30)


def test_a_whole_body_passes_with_identity_and_usage_rewritten() -> None:
    body = chunk({"text": "hi"}, finish="STOP", usageMetadata=USAGE, createTime="now")
    way = relay(WHOLE, "gemini")
    assert way.feed(json.dumps(body).encode()) == b"" == way.finish()
    answer = json.loads(way.ending(BILL))
    assert answer["candidates"] == body["candidates"]
    assert (answer["modelVersion"], answer["responseId"]) == ("acme/one", "gen-1")
    assert answer["usageMetadata"]["promptTokenCount"] == 5
    assert "createTime" not in answer


def test_two_candidates_that_end_apart_both_keep_their_reasons() -> None:
    stream = [
        chunk({"text": "a"}, finish="STOP"),
        chunk({"text": "b"}, index=1),
        chunk({"text": "c"}, index=1, finish="MAX_TOKENS"),
    ]
    out = b"".join(passed(wire(stream)))
    finishes = [
        (c["index"], c["finishReason"])
        for payload in read_sse(out)
        for c in json.loads(payload)["candidates"]
        if "finishReason" in c
    ]
    assert finishes == [(0, "STOP"), (1, "MAX_TOKENS")]
    found = [e for e in events(wire(stream)) if isinstance(e, canon.Finish)]
    assert found == [canon.Finish("stop", "STOP"), canon.Finish("length", "MAX_TOKENS", 1)]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("many", [1, 2])
def test_candidates_are_counted(stream: bool, many: int) -> None:
    chunks = [chunk({"text": "x"}, index=n, finish="STOP") for n in range(many)]
    whole = {**chunks[0], "candidates": [one["candidates"][0] for one in chunks]}
    reader = parser(stream)
    reader.feed(wire(chunks) if stream else json.dumps(whole).encode())
    reader.finish()
    assert reader.meter.choices == many
