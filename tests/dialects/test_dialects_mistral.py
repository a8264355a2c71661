"""Mistral's chat: what it is sent, as its own SDK types it, and what its answers say."""

import json
from typing import Any

import pytest
from chat_support import CALL, PIXEL, SCHEMA, TOOL, asked, body, heard, sent, sum_of
from dialect_support import wire
from mistralai.client.models import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
)

from tollway.canon import Usage
from tollway.dialects import dialect
from tollway.dialects.mistral.render import short_id

KNOWN = {field.alias or name for name, field in ChatCompletionRequest.model_fields.items()}


def checked(out: Any) -> dict[str, Any]:
    """The body, once the SDK has read it and knows every field in it."""
    found = body(out)
    ChatCompletionRequest.model_validate(found)
    assert set(found) <= KNOWN
    return found


def test_a_plain_request_is_sent_with_its_limit_and_nothing_more() -> None:
    out = sent("mistral", asked())
    assert out.path == "/chat/completions"
    assert checked(out) == {
        "model": "one-v1",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 100,
    }
    assert out.dropped == ()


def test_parameters_get_mistrals_names_and_ranges() -> None:
    out = sent(
        "mistral",
        asked(
            temperature=1.9,
            top_p=0.5,
            top_k=7,
            seed=3,
            stop="x",
            frequency_penalty=0.5,
            min_p=0.1,
            logit_bias={"1": 2},
            n=2,
            stream=True,
            user="u",
            verbosity="low",
            parallel_tool_calls=False,
        ),
    )
    found = checked(out)
    assert (found["temperature"], found["random_seed"], found["stop"]) == (1.5, 3, ["x"])
    assert (found["n"], found["stream"]) == (2, True)
    assert "stream_options" not in found
    assert set(out.dropped) == {"min_p", "logit_bias", "verbosity"}


def test_a_tool_loop_keeps_its_ids_in_nine_characters() -> None:
    out = sent(
        "mistral",
        asked(
            {"role": "system", "content": "s"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": CALL["id"], "content": "blue"},
            tools=[TOOL],
            tool_choice="required",
        ),
    )
    found = checked(out)
    called, result = found["messages"][2:]
    assert called["tool_calls"][0]["id"] == result["tool_call_id"] == short_id(CALL["id"])
    assert len(result["tool_call_id"]) == 9 and result["tool_call_id"].isalnum()
    assert called["tool_calls"][0]["function"] == CALL["function"]
    assert (result["content"], result["name"]) == ("blue", "look")
    assert (found["tool_choice"], found["tools"]) == ("any", [TOOL])
    assert short_id("abc123XYZ") == "abc123XYZ"


def test_a_named_tool_and_a_schema_go_as_in_chat() -> None:
    named = {"type": "function", "function": {"name": "look"}}
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}
    found = checked(sent("mistral", asked(tools=[TOOL], tool_choice=named, response_format=form)))
    assert (found["tool_choice"], found["response_format"]) == (named, form)
    found = checked(sent("mistral", asked(response_format={"type": "json_object"})))
    assert found["response_format"] == {"type": "json_object"}


def test_media_become_chunks() -> None:
    parts = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://example.com/a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
    ]
    out = sent("mistral", asked({"role": "user", "content": parts}))
    assert checked(out)["messages"][0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {
            "type": "document_url",
            "document_url": "https://example.com/a.pdf",
            "document_name": "a.pdf",
        },
        {"type": "input_audio", "input_audio": "aGk="},
    ]
    assert out.dropped == ("video",)


def test_an_answer_at_the_end_is_a_prefix() -> None:
    found = checked(
        sent(
            "mistral",
            asked({"role": "user", "content": "hi"}, {"role": "assistant", "content": "He"}),
        )
    )
    assert found["messages"][1] == {"role": "assistant", "content": "He", "prefix": True}


def test_only_its_own_reasoning_goes_back_and_foreign_one_is_named() -> None:
    own = {"type": "reasoning.text", "text": "hm", "signature": "sig", "format": "mistral-v1"}
    foreign = {"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"}
    answer = {"role": "assistant", "content": "yes", "reasoning_details": [own, foreign]}
    out = sent(
        "mistral",
        asked({"role": "user", "content": "hi"}, answer, {"role": "user", "content": "?"}),
    )
    assert checked(out)["messages"][1]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": "sig"},
        {"type": "text", "text": "yes"},
    ]
    assert out.dropped == ("reasoning signature (openai-responses-v1)",)


def test_thinking_is_an_effort_or_a_mode_or_nothing() -> None:
    high = asked(reasoning={"effort": "high"})
    assert checked(sent("mistral", high, efforts=("none", "high")))["reasoning_effort"] == "high"
    off = asked(reasoning={"enabled": False})
    assert checked(sent("mistral", off, capabilities=("reasoning",)))["reasoning_effort"] == "none"
    assert sent("mistral", high).dropped == ("reasoning",)
    assert "reasoning_effort" not in checked(sent("mistral", high))


def test_what_the_endpoint_does_not_support_is_not_sent() -> None:
    request = asked(
        temperature=1, tools=[TOOL], tool_choice="auto", response_format={"type": "json_object"}
    )
    found = checked(sent("mistral", request, ("temperature", "tools", "response_format")))
    assert set(found) == {"model", "messages", "max_tokens"}


def test_what_goes_with_a_dropped_parameter_goes_too() -> None:
    request = asked(
        logprobs=True, top_logprobs=2, temperature=1, seed=1, reasoning={"effort": "low"}
    )
    found = checked(sent("mistral", request, ("logprobs", "reasoning"), efforts=("low",)))
    assert set(found) == {"model", "messages", "max_tokens", "temperature", "random_seed"}
    found = checked(sent("mistral", request, no_sampling=True))
    assert "temperature" not in found and found["random_seed"] == 1


def test_calls_at_the_end_are_no_prefix() -> None:
    last = {"role": "assistant", "content": "so", "tool_calls": [CALL]}
    found = checked(sent("mistral", asked({"role": "user", "content": "hi"}, last)))
    assert "prefix" not in found["messages"][1]


def test_options_cannot_lift_the_limit() -> None:
    wishes = {"options": {"acme": {"safe_prompt": True, "max_tokens": 10**6, "n": 9}}}
    found = checked(sent("mistral", asked(provider=wishes)))
    assert (found["safe_prompt"], found["max_tokens"], "n" in found) == (True, 100, False)


def test_on_vertex_it_is_the_same_body_under_another_path() -> None:
    for stream, method in ((False, "rawPredict"), (True, "streamRawPredict")):
        out, same = (
            sent("vertex_mistral", asked(stream=stream)),
            sent("mistral", asked(stream=stream)),
        )
        assert out.path == f"/publishers/mistralai/models/one-v1:{method}"
        assert (out.body, out.headers) == (same.body, same.headers)


# ---- answers -------------------------------------------------------------------------------------


def _chunk(delta: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "m1",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [choice],
        **more,
    }


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "let me "}]}
SIGNED = {"type": "thinking", "thinking": [{"type": "text", "text": "see"}], "signature": "sig"}
STREAM = [
    _chunk({"role": "assistant", "content": ""}),
    _chunk({"content": [THINKING]}),
    _chunk({"content": [SIGNED]}),
    _chunk(
        {
            "content": [
                {"type": "text", "text": "It is"},
                {"type": "reference", "reference_ids": [1]},
            ]
        }
    ),
    _chunk({"content": " blué\u2028"}),
    _chunk(
        {
            "content": "",
            "tool_calls": [{"id": "abc123XYZ", "index": 0, "function": CALL["function"]}],
        },
        "tool_calls",
        usage={"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14},
    ),
]
SAID = {
    "text": "It is blué\u2028",
    "reasoning": "let me see",
    "calls": {0: ["abc123XYZ", "look", '{"at":"sky"}']},
    "details": [
        {"type": "reasoning.text", "text": "let me ", "format": "mistral-v1", "index": 0},
        {
            "type": "reasoning.text",
            "text": "see",
            "signature": "sig",
            "format": "mistral-v1",
            "index": 0,
        },
    ],
    "finish": ("tool_calls", "tool_calls"),
    "usage": Usage(prompt_tokens=5, completion_tokens=9),
    "ended": True,
}


def test_a_stream_cut_at_every_byte_says_the_same() -> None:
    for one in STREAM:
        CompletionChunk.model_validate(one)
    data = wire(*[json.dumps(one, ensure_ascii=False).encode() for one in STREAM])
    for size in (1, 2, 3, 5, 7, 11, 64, len(data)):
        assert sum_of(heard("mistral", data, size)) == SAID


def test_a_whole_answer_says_the_same() -> None:
    message = {
        "role": "assistant",
        "content": [
            THINKING,
            SIGNED,
            {"type": "text", "text": "It is blué\u2028"},
        ],
        "tool_calls": [{"id": "abc123XYZ", "function": CALL["function"]}],
    }
    whole = {
        "id": "m1",
        "object": "chat.completion",
        "model": "m",
        "created": 1,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14},
    }
    ChatCompletionResponse.model_validate(whole)
    found = sum_of(heard("mistral", json.dumps(whole).encode(), 7, stream=False))
    details = [{**SAID["details"][0]}, {**SAID["details"][1], "index": 1}]
    assert found == {**SAID, "details": details}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        wire({"choices": [{"index": 0, "delta": {"content": "a"}}]}, done=False),
        wire({"choices": [{"index": 0, "delta": {"content": 5}}]}),
        wire({"object": "error", "message": "boom", "type": "x"}),
        wire(
            {"choices": [{"index": 0, "delta": {"content": [5, None]}, "finish_reason": "error"}]}
        ),
        b'data: {"choices": [\n\n',
    ],
)
def test_a_broken_stream_ends_in_one_fault(data) -> None:
    found = heard("mistral", data, 3)
    assert [type(one).__name__ for one in found][-1] == "Failed"
    assert "ended" not in sum_of(found)


BROKE = b'{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "error"}]}'


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"choices": []}', b'{"choices": [1]}', b"x", BROKE]
)
def test_a_broken_body_is_one_fault(data) -> None:
    assert list(sum_of(heard("mistral", data, 3, stream=False)))[-1] == "fault"


@pytest.mark.parametrize(
    ("status", "raw", "expected"),
    [
        (
            400,
            b'{"object":"error","message":"Prompt contains 9 tokens, too large for model with 8 maximum context length","type":"invalid_request_error","code":null}',
            (400, "context_length_exceeded", "larger"),
        ),
        (
            429,
            b'{"object":"error","message":"Service tier capacity exceeded for this model.","type":"service_tier_capacity_exceeded","code":"3505"}',
            (503, "provider_overloaded", "elsewhere"),
        ),
        (
            429,
            b'{"message":"Requests rate limit exceeded"}',
            (429, "rate_limit_exceeded", "elsewhere"),
        ),
        (
            422,
            b'{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"Extra inputs are not permitted"}]}',
            (422, "unprocessable", "never"),
        ),
        (401, b'{"detail":"Unauthorized"}', (502, "provider_unavailable", "cool")),
    ],
)
def test_refusals_by_table(status, raw, expected) -> None:
    fault = dialect("mistral").parse_fault(status, {}, raw)
    assert (fault.status, fault.error_type, fault.retry) == expected
