"""Cohere's chat: what it is sent, as its own SDK types it, and what its answers say."""

import inspect
import json
from typing import Any, get_args

import cohere
import cohere.types as types
import cohere.v2.types
import pytest
from chat_support import CALL, PIXEL, SCHEMA, TOOL, asked, body, heard, sent, sum_of

from tollway.canon import Usage

TAKES = set(inspect.signature(cohere.ClientV2.chat).parameters) | {"stream"}
ROLES = {
    "user": types.UserChatMessageV2,
    "assistant": types.AssistantChatMessageV2,
    "system": types.SystemChatMessageV2,
    "tool": types.ToolChatMessageV2,
}
PARTS = {
    "user": {"text": types.TextContent, "image_url": types.ImageUrlContent},
    "assistant": {
        "text": types.TextAssistantMessageV2ContentOneItem,
        "thinking": types.ThinkingAssistantMessageV2ContentOneItem,
    },
    "system": {"text": types.TextSystemMessageV2ContentOneItem},
    "tool": {"text": types.TextToolContent},
}
EVENTS = {
    get_args(kind.model_fields["type"].annotation)[0]: kind
    for kind in get_args(get_args(cohere.v2.types.V2ChatStreamResponse)[0])
}


def typed(kind: Any, given: dict[str, Any]) -> None:
    """The SDK's type reads it, and has a name for every field: its models allow extra ones."""
    kind.model_validate(given)
    assert set(given) <= set(kind.model_fields), given


def checked(out: Any) -> dict[str, Any]:
    """The body, once the SDK's types have read it."""
    found = body(out)
    assert set(found) <= TAKES
    for message in found["messages"]:
        role = message["role"]
        typed(ROLES[role], message)
        if isinstance(message.get("content"), list):
            for part in message["content"]:
                typed(PARTS[role][part["type"]], part)
        for call in message.get("tool_calls", ()):
            typed(types.ToolCallV2, call)
    for tool in found.get("tools", ()):
        typed(types.ToolV2, tool)
        typed(types.ToolV2Function, tool["function"])
    if "thinking" in found:
        typed(types.Thinking, found["thinking"])
    if "response_format" in found:
        typed(types.JsonObjectResponseFormatV2, found["response_format"])
    return found


def test_a_plain_request_is_sent_with_its_limit_and_nothing_more() -> None:
    out = sent("cohere_v2", asked())
    assert (out.path, out.dropped) == ("/chat", ())
    assert checked(out) == {
        "model": "one-v1",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 100,
    }


def test_parameters_get_coheres_names_and_ranges() -> None:
    out = sent(
        "cohere_v2",
        asked(
            temperature=1.5,
            top_p=1,
            top_k=900,
            seed=-3,
            stop=["a", "b"],
            frequency_penalty=-1,
            presence_penalty=2,
            logprobs=True,
            top_logprobs=3,
            n=2,
            stream=True,
        ),
    )
    found = checked(out)
    assert {name: found[name] for name in ("temperature", "p", "k", "presence_penalty")} == {
        "temperature": 1.0,
        "p": 0.99,
        "k": 500,
        "presence_penalty": 1.0,
    }
    assert (found["stop_sequences"], found["stream"]) == (["a", "b"], True)
    assert set(out.dropped) == {"frequency_penalty", "seed", "logprobs", "top_logprobs", "n"}


def test_a_tool_loop_goes_and_its_plan_goes_back_where_it_came_from() -> None:
    plan = {"type": "reasoning.text", "text": "I will look.", "format": "cohere-tool-plan-v2"}
    thought = {"type": "reasoning.text", "text": "hm", "format": "cohere-thinking-v2"}
    foreign = {
        "type": "reasoning.text",
        "text": "x",
        "signature": "s",
        "format": "anthropic-claude-v1",
    }
    out = sent(
        "cohere_v2",
        asked(
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [CALL],
                "reasoning_details": [thought, plan, foreign],
            },
            {"role": "tool", "tool_call_id": CALL["id"], "content": "blue"},
            tools=[TOOL],
        ),
    )
    assert checked(out)["messages"][1:] == [
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}],
            "tool_plan": "I will look.",
            "tool_calls": [CALL],
        },
        {"role": "tool", "tool_call_id": CALL["id"], "content": "blue"},
    ]
    assert out.dropped == ("reasoning signature (anthropic-claude-v1)",)


@pytest.mark.parametrize(
    ("choice", "said", "tools"),
    [
        ("auto", None, 2),
        ("none", "NONE", 2),
        ("required", "REQUIRED", 2),
        ({"type": "function", "function": {"name": "look"}}, "REQUIRED", 1),
    ],
)
def test_a_tool_choice_is_one_of_two_words(choice, said, tools) -> None:
    other = {"type": "function", "function": {"name": "hear"}}
    found = checked(sent("cohere_v2", asked(tools=[TOOL, other], tool_choice=choice)))
    assert (found.get("tool_choice"), len(found["tools"])) == (said, tools)


def test_a_schema_goes_alone_and_is_named_beside_tools() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}}
    found = checked(sent("cohere_v2", asked(response_format=form)))
    assert found["response_format"] == {"type": "json_object", "json_schema": SCHEMA}
    out = sent("cohere_v2", asked(response_format=form, tools=[TOOL]))
    assert "response_format" not in checked(out)
    assert out.dropped == ("response_format",)


def test_images_go_and_other_media_are_named() -> None:
    parts = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
        },
    ]
    out = sent("cohere_v2", asked({"role": "user", "content": parts}))
    assert checked(out)["messages"][0]["content"] == parts[:2]
    assert out.dropped == ("file",)


def test_thinking_is_switched_and_bounded_below_the_limit() -> None:
    thinker: dict[str, Any] = {"capabilities": ("reasoning",)}
    for reasoning, thinking in (
        ({"enabled": True}, {"type": "enabled"}),
        ({"enabled": False}, {"type": "disabled"}),
        ({"max_tokens": 10**6}, {"type": "enabled", "token_budget": 99}),
        ({"effort": "medium"}, {"type": "enabled", "token_budget": 50}),
    ):
        assert (
            checked(sent("cohere_v2", asked(reasoning=reasoning), **thinker))["thinking"]
            == thinking
        )
    assert sent("cohere_v2", asked(reasoning={"enabled": True})).dropped == ("reasoning",)


# ---- answers -------------------------------------------------------------------------------------


def _message(**parts: Any) -> dict[str, Any]:
    return {"message": parts}


USAGE = {
    "billed_units": {"input_tokens": 5.0, "output_tokens": 9.0},
    "tokens": {"input_tokens": 77, "output_tokens": 19},
    "cached_tokens": 2,
}
SOURCE = {"type": "document", "id": "d", "document": {"url": "https://example.com", "title": "T"}}
CITED = {"start": 0, "end": 2, "text": "It", "sources": [SOURCE, {"type": "tool", "id": "t"}]}
STREAM = [
    {
        "type": "message-start",
        "id": "up-1",
        "delta": _message(role="assistant", content=[], tool_plan="", tool_calls=[], citations=[]),
    },
    {
        "type": "content-start",
        "index": 0,
        "delta": _message(content={"type": "thinking", "thinking": ""}),
    },
    {"type": "content-delta", "index": 0, "delta": _message(content={"thinking": "hm"})},
    {"type": "content-end", "index": 0},
    {"type": "content-start", "index": 1, "delta": _message(content={"type": "text", "text": ""})},
    {"type": "content-delta", "index": 1, "delta": _message(content={"text": "It is blué\u2028"})},
    {"type": "citation-start", "index": 0, "delta": _message(citations=CITED)},
    {"type": "citation-end", "index": 0},
    {"type": "content-end", "index": 1},
    {"type": "tool-plan-delta", "delta": _message(tool_plan="I will look.")},
    {
        "type": "tool-call-start",
        "index": 0,
        "delta": _message(
            tool_calls={
                "id": "look_1",
                "type": "function",
                "function": {"name": "look", "arguments": ""},
            }
        ),
    },
    {
        "type": "tool-call-delta",
        "index": 0,
        "delta": _message(tool_calls={"function": {"arguments": '{"at":"sky"}'}}),
    },
    {"type": "tool-call-end", "index": 0},
    {"type": "unheard-of", "delta": 5},
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}},
]
SAID = {
    "text": "It is blué\u2028",
    "reasoning": "hmI will look.",
    "calls": {0: ["look_1", "look", '{"at":"sky"}']},
    "details": [
        {"type": "reasoning.text", "text": "hm", "format": "cohere-thinking-v2", "index": 0},
        {
            "type": "reasoning.text",
            "text": "I will look.",
            "format": "cohere-tool-plan-v2",
            "index": 0,
        },
    ],
    "annotations": [
        {
            "type": "url_citation",
            "url_citation": {
                "url": "https://example.com",
                "title": "T",
                "start_index": 0,
                "end_index": 2,
            },
        }
    ],
    "finish": ("tool_calls", "TOOL_CALL"),
    "usage": Usage(prompt_tokens=5, completion_tokens=9, cached_tokens=2),
    "ended": True,
}


def stream(events: list[Any], end: bytes = b"\n\n") -> bytes:
    return b"".join(
        b"event: %s" % one["type"].encode()
        + end[: len(end) // 2]
        + b"data: "
        + json.dumps(one, ensure_ascii=False).encode()
        + end
        for one in events
    )


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_a_stream_cut_at_every_byte_says_the_same(end) -> None:
    assert len(EVENTS) == 12
    for one in STREAM:
        if one["type"] in EVENTS:
            EVENTS[one["type"]].model_validate(one)
    data = stream(STREAM, end)
    for size in (1, 2, 3, 5, 7, 11, 64, len(data)):
        assert sum_of(heard("cohere_v2", data, size)) == SAID


def test_a_whole_answer_says_the_same() -> None:
    message = {
        "role": "assistant",
        "tool_plan": "I will look.",
        "content": [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "It is blué\u2028"},
        ],
        "tool_calls": [{"id": "look_1", "type": "function", "function": CALL["function"]}],
        "citations": [CITED],
    }
    whole = {"id": "up-1", "finish_reason": "TOOL_CALL", "message": message, "usage": USAGE}
    cohere.v2.types.V2ChatResponse.model_validate(whole)
    found = sum_of(heard("cohere_v2", json.dumps(whole).encode(), 7, stream=False))
    assert found == {
        **SAID,
        "reasoning": "I will look.hm",
        "details": SAID["details"][::-1],  # a message does not say which came first
    }


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("ERROR_TOXIC", "content_filter"),
        ("NEW_WORD", "stop"),
    ],
)
def test_finish_reasons_by_table(native, reason) -> None:
    end = {"type": "message-end", "delta": {"finish_reason": native}}
    assert sum_of(heard("cohere_v2", stream([STREAM[5], end]), 9))["finish"] == (reason, native)


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([STREAM[5]], 502),
        ([], 502),
        ([STREAM[5], {"type": "message-end", "delta": {"finish_reason": "ERROR"}}], 502),
        ([{"type": "message-end", "delta": {"finish_reason": "TIMEOUT"}}], 502),
        ([{"type": "message-end", "delta": {"error": "rate limit"}}], 429),
        ([{"type": "error", "message": "server is overloaded"}], 503),
        ([{"type": "content-delta", "delta": {"message": {"content": {"text": 5}}}}], 502),
        ([{"type": "content-delta"}], 502),
    ],
)
def test_a_broken_stream_ends_in_one_fault(events, status) -> None:
    found = heard("cohere_v2", stream(events), 3)
    assert sum_of(found)["fault"].status == status
    assert [type(one).__name__ for one in found].count("Failed") == 1
    assert "ended" not in sum_of(found)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        {"billed_units": {"input_tokens": -1, "output_tokens": 2}},
        {"tokens": {"output_tokens": 1e99}},
    ],
)
def test_a_report_that_is_none_is_not_believed(usage) -> None:
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}}
    assert "usage" not in sum_of(heard("cohere_v2", stream([STREAM[5], end]), 50))
