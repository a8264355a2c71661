"""dialects/openai_chat_written.py, by way of render_request, as the road calls it"""

from __future__ import annotations

import json
from typing import Any

import openai.types.chat as oracle
import pytest
from dialect_support import attempt
from msgspec import Raw
from msgspec.structs import replace
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from support.conversations import asking, conversations, differences, kit, unexplained
from tollway import conversation as said
from tollway.conversation import Conversation
from tollway.dialects import Outbound, conversation
from tollway.dialects.openai_chat import parse_request, render_request
from tollway.money import Price, Rates

ROUTER = ("usage_cost_field", "thinking=openrouter")
SEED, COUNT = 7_000, 150
HI = said.Turn("user", (said.Text("hi"),))
PNG = said.Source(data="QUJD", media_type="image/png")


def out(spoken: Conversation, *quirks: str, stream: bool = False, **facts: Any) -> Outbound:
    with kit(spoken):
        return render_request(asking(stream), attempt(quirks, **facts), 500)


def sent(*turns: said.Turn, quirks: tuple[str, ...] = ROUTER, **asked: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(out(Conversation(turns, **asked), *quirks).body)
    return body


def test_a_plain_question_needs_nothing_but_its_text_and_the_limit() -> None:
    assert sent(HI, quirks=()) == {
        "model": "one-v1",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 500,
    }
    body = json.loads(out(Conversation((HI,)), stream=True).body)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


def test_several_answers_are_asked_for_as_such() -> None:
    with kit(Conversation((HI,))):
        made = render_request(replace(asking(False), choices=3), attempt(), 5)
    assert json.loads(made.body)["n"] == 3


def test_a_turn_that_says_nothing_is_still_a_message() -> None:
    turns = (said.Turn("assistant", ()), said.Turn("user", ()))
    assert sent(*turns)["messages"] == [
        {"role": "assistant", "content": ""},
        {"role": "user", "content": ""},
    ]


def test_media_of_a_tool_result_follow_in_a_user_message() -> None:
    results = said.Turn(
        "user",
        (
            said.Result("a-long-one", (said.Text("see"), said.Image(PNG))),
            said.Result("b-long-one", (said.Text("2"),)),
            said.Text("well?"),
        ),
    )
    first, second, after = sent(results, quirks=("tool_call_id_len=9",))["messages"]
    assert [first["content"], second["content"]] == ["see", "2"]
    assert [len(first["tool_call_id"]), len(second["tool_call_id"])] == [9, 9]
    assert after == {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            {"type": "text", "text": "well?"},
        ],
    }


def test_an_assistant_turn_is_one_message() -> None:
    entry = Raw(b'{"type":"reasoning.text","text":"hm","signature":"s","index":0}')
    turn = said.Turn(
        "assistant",
        (
            said.Thought("hm", (entry,)),
            said.Text("a"),
            said.Text("b", said.Cache("1h")),
            said.Call("c1", "f", '{"x": 1}'),
            said.Call("c2", "g", "not json"),
        ),
    )
    results = said.Turn(
        "user",
        (
            said.Result("c1", (said.Text("one"),), "f"),
            said.Result("c2", (said.Text("two"), said.Text("2")), "g", True),
            said.Text("and?"),
        ),
    )
    assert sent(turn, results)["messages"] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "a"},
                {
                    "type": "text",
                    "text": "b",
                    "cache_control": {"type": "ephemeral", "ttl": "1h"},
                },
            ],
            "reasoning": "hm",
            "reasoning_details": [
                {"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}
            ],
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"x": 1}'},
                },
                {
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "g", "arguments": "not json"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {
            "role": "tool",
            "tool_call_id": "c2",
            "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "2"}],
        },
        {"role": "user", "content": "and?"},
    ]


def test_quirks_bend_a_translated_request_as_they_bend_any_other() -> None:
    turns = (
        HI,
        said.Turn("assistant", (said.Thought("hm"), said.Call("a-long-id", "f", "{}"))),
        said.Turn("user", (said.Result("a-long-id", (said.Text("1"), said.Text("2"))),)),
    )
    asked = {"thinking": said.Thinking(True, "high"), "cache": said.Cache()}
    body = sent(
        *turns,
        quirks=(
            "replay_reasoning_content",
            "tool_call_id_len=9",
            "content_must_be_string",
            "max_tokens_field=max_completion_tokens",
            "thinking=deepseek",
        ),
        **asked,
    )
    _, call, result = body["messages"]
    assert call["reasoning_content"] == "hm"
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert len(result["tool_call_id"]) == 9
    assert result["content"] == "1\n2"
    assert body["max_completion_tokens"] == 500
    assert body["thinking"] == {"type": "enabled"}
    assert "reasoning" not in body
    assert "cache_control" not in body


def test_switches_are_written_in_the_words_of_the_contract() -> None:
    body = sent(
        HI,
        tools=(said.Tool("f", "d", Raw(b'{"type":"object"}'), True, said.Cache()),),
        tool_choice=said.ToolChoice("named", "f"),
        parallel_calls=False,
        format=said.Format("schema", "n", Raw(b'{"type":"object"}'), True, "what"),
        thinking=said.Thinking(True, budget=2_000),
        verbosity="low",
        sampling=said.Sampling(temperature=0.0, stop=("a", "b"), logit_bias={"1": 2.0}),
        output_modalities=("text", "image"),
        cache=said.Cache("1h"),
        cache_key="k",
    )
    assert {name: body[name] for name in body if name not in ("model", "messages")} == {
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "d",
                    "parameters": {"type": "object"},
                    "strict": True,
                },
                "cache_control": {"type": "ephemeral"},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "n",
                "description": "what",
                "schema": {"type": "object"},
                "strict": True,
            },
        },
        "reasoning": {"max_tokens": 2_000},
        "verbosity": "low",
        "temperature": 0.0,
        "stop": ["a", "b"],
        "logit_bias": {"1": 2.0},
        "modalities": ["text", "image"],
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "prompt_cache_key": "k",
        "max_tokens": 500,
    }
    assert sent(HI, format=said.Format("json"))["response_format"] == {"type": "json_object"}
    forced = sent(HI, tools=(said.Tool("f"),), tool_choice=said.ToolChoice("required"))
    assert forced["tool_choice"] == "required"
    assert sent(HI, thinking=said.Thinking(False))["reasoning"] == {
        "enabled": False,
        "effort": "none",
    }
    assert sent(HI, thinking=said.Thinking(True, exclude=True))["reasoning"] == {
        "enabled": True,
        "exclude": True,
    }


LOSSES: list[tuple[tuple[said.Part, ...], said.Role, tuple[str, ...]]] = [
    ((said.Text("a"), said.Image(said.Source(file_id="f"))), "user", ("image by file id",)),
    ((said.Audio(said.Source(url="https://x.org/a")),), "user", ("audio by reference",)),
    ((said.Video(said.Source(file_id="f")),), "user", ("video by file id",)),
    ((said.Text("a"), said.Image(PNG)), "system", ("image in a system message",)),
    ((said.Call("c", "f", "{}"), said.Text("a")), "assistant", ("order of parts in an answer",)),
    ((said.Text("a"), said.File(PNG)), "assistant", ("file in an answer",)),
    ((said.Text("a"), said.Image(PNG)), "assistant", ("messages.images",)),
    ((said.Thought("hm"), said.Text("a")), "assistant", ("reasoning",)),
    ((said.Result("c", (said.Image(PNG),)),), "user", ("place of media in tool results",)),
    ((said.Result("c", (said.Text("x"),), None, True),), "user", ("is_error",)),
    (
        (said.Text("a"), said.Result("c", (said.Text("x"),))),
        "user",
        ("place of what is said before a tool result",),
    ),
    ((said.Text("a", said.Cache()),), "user", ("cache_control",)),
]


@pytest.mark.parametrize("row", LOSSES, ids=[row[2][0] for row in LOSSES])
def test_what_cannot_be_said_is_named(
    row: tuple[tuple[said.Part, ...], said.Role, tuple[str, ...]],
) -> None:
    parts, role, names = row
    assert out(Conversation((said.Turn(role, parts),))).dropped == names


def test_extras_of_another_dialect_are_named_and_the_ones_both_know_are_sent() -> None:
    extras = {"metadata": Raw(b'{"a":"b"}'), "mcp_servers": Raw(b"[]")}
    made = out(Conversation((HI,), extras=extras))
    assert made.dropped == ("metadata", "mcp_servers")
    body = sent(HI, sampling=said.Sampling(stop=tuple("abcde")))
    assert body["stop"] == ["a", "b", "c", "d"]


def test_a_plain_text_document_is_text() -> None:
    note = said.File(said.Source(data="aGVsbG8=", media_type="text/plain"), "n.txt", said.Cache())
    broken = said.File(said.Source(data="aGVsbG8", media_type="text/plain"), "n.txt")
    (message,) = sent(said.Turn("user", (note, broken)))["messages"]
    assert message["content"] == [
        {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}},
        {
            "type": "file",
            "file": {"filename": "n.txt", "file_data": "data:text/plain;base64,aGVsbG8"},
        },
    ]


def test_a_cache_marker_becomes_openais_own_where_it_bills_for_it() -> None:
    body = json.dumps(
        {
            "model": "a",
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                        {
                            "type": "text",
                            "text": "b",
                            "prompt_cache_breakpoint": {"mode": "explicit"},
                        },
                    ],
                }
            ],
        }
    ).encode()
    marks = []
    for quirk, billed in (
        ("explicit_cache_breakpoints_on_new_models", True),
        ("explicit_cache_breakpoints_on_new_models", False),
        ("cache_control_supported", False),
        ("", False),
    ):
        made = render_request(parse_request(body), _billing(attempt((quirk,)), billed), 5)
        parts = json.loads(made.body)["messages"][0]["content"]
        marks.append(([sorted(set(part) - {"type", "text"}) for part in parts], made.dropped))
    assert marks == [
        ([["prompt_cache_breakpoint"], ["prompt_cache_breakpoint"]], ()),
        ([[], ["prompt_cache_breakpoint"]], ("cache_control",)),
        ([["cache_control"], ["cache_control"]], ()),
        ([[], []], ("cache_control", "prompt_cache_breakpoint")),
    ]


def _billing(one: Any, billed: bool) -> Any:
    rates = Rates(prompt=1, completion=1, input_cache_write=2 if billed else None)
    return replace(one, endpoint=replace(one.endpoint, price=Price(rates)))


def test_conversations_made_at_random_come_back_from_a_router_like_us() -> None:
    """Seeds are printed; each replays alone."""
    for format in ("anthropic-claude-v1", "openai-responses-v1", "google-gemini-v1"):
        for seed, spoken in conversations(SEED, COUNT, format):
            made = out(spoken, *ROUTER)
            again = conversation(parse_request(made.body))
            assert unexplained(differences(spoken, again), made.dropped) == {}, f"seed {seed}"
            assert set(made.dropped) <= {"place of media in tool results", "is_error"}


def test_what_is_sent_to_openai_is_what_its_own_types_accept() -> None:
    message = TypeAdapter(list[oracle.ChatCompletionMessageParam])
    tools = TypeAdapter(list[oracle.ChatCompletionToolUnionParam])
    whole = set(CompletionCreateParamsNonStreaming.__annotations__) | {"stream"}
    whole |= set(CompletionCreateParamsNonStreaming.__mro__[0].__annotations__)
    for seed, spoken in conversations(SEED, COUNT):
        body = json.loads(out(spoken, "developer_role").body)
        checked = [_without_video(m) for m in body["messages"]]
        message.validate_python(checked)
        for one in message.validate_python(checked):
            json.dumps(one, default=list)  # lazily validated parts are read
        if "tools" in body:
            tools.validate_python(body["tools"])
        foreign = {"top_k", "min_p", "repetition_penalty"}
        assert set(body) - foreign <= whole, f"seed {seed}"


def _without_video(message: dict[str, Any]) -> dict[str, Any]:
    """Video is a router's own part."""
    content = message["content"]
    if isinstance(content, list):
        content = [part for part in content if part["type"] != "video_url"]
    return {**message, "content": content}
