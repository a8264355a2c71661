"""Messages requests: what passes, what is refused and in which words, what is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from tollway.conversation import (
    Cache,
    Call,
    File,
    Image,
    Result,
    Source,
    Text,
    Thinking,
    Thought,
    ToolChoice,
)
from tollway.dialects import anthropic_messages, conversation
from tollway.dialects.anthropic_messages.opaque import PREFIX, wrapped
from tollway.dialects.anthropic_messages.request import MessagesRequest
from tollway.errors import CallerError

BASE: dict[str, Any] = {
    "model": "anthropic/claude-x",
    "max_tokens": 4_000,
    "messages": [{"role": "user", "content": "hi"}],
}
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}


def parsed(headers: dict[str, str] | None = None, **changes: Any) -> MessagesRequest:
    body = json.dumps({**BASE, **changes}).encode()
    request = anthropic_messages.parse_request(body, headers or {}, "/v1/messages?beta=true")
    assert isinstance(request, MessagesRequest)
    return request


def user(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


# ---- parsing -------------------------------------------------------------------------------------


def test_a_request_is_filled_in_for_routing() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "A" * 4_000}
    request = parsed(
        headers={
            "anthropic-version": "2026-10-21",
            "anthropic-beta": "one-2025-01-01, two",
            "x-anthropic-beta": "two,three",
            "x-session-id": "s1",
        },
        stream=True,
        temperature=0.5,
        stop_sequences=["END"],
        tools=[WEATHER],
        tool_choice={"type": "any"},
        thinking={"type": "enabled", "budget_tokens": 2_000},
        metadata={"user_id": "u1"},
        fallbacks=[{"model": "c/d"}],
        messages=user(
            {"type": "image", "source": {"type": "url", "url": "https://x.org/a.png"}},
            {"type": "document", "source": pdf, "cache_control": {"type": "ephemeral"}},
        ),
    )
    assert request.models == ("anthropic/claude-x", "c/d")
    assert (request.stream, request.output_tokens_max, request.choices) == (True, 4_000, 1)
    assert request.params == {"temperature", "stop", "tools", "tool_choice", "reasoning"}
    assert request.modalities == {"text", "image", "file"}
    assert (request.images, request.media_tokens) == (1, 1_600 + 3_000)
    assert request.prompt_bytes < 600
    assert request.cache_marked
    assert (request.user, request.session_id) == ("u1", "s1")
    assert request.version == "2026-10-21"
    assert request.betas == ("one-2025-01-01", "two", "three")


def test_the_caller_may_leave_the_output_limit_out() -> None:
    body = json.dumps({k: v for k, v in BASE.items() if k != "max_tokens"}).encode()
    assert anthropic_messages.parse_request(body).output_tokens_max is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": user({"type": "text"})}, "messages[0].content[0].text"),
        ({"messages": user({"type": "image"})}, "messages[0].content[0].source"),
        (
            {"messages": user({"type": "image", "source": {"type": "gopher"}})},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": user({"type": "document", "source": {"type": "base64", "data": "A"}})},
            "messages[0].content[0].source.media_type",
        ),
        (
            {"messages": user({"type": "tool_use", "id": "a", "name": "b", "input": "{}"})},
            "messages[0].content[0].input",
        ),
        (
            {"messages": user({"type": "tool_result", "content": "x"})},
            "messages[0].content[0].tool_use_id",
        ),
        (
            {
                "messages": user(
                    {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]}
                )
            },
            "messages[0].content[0].content[0].source",
        ),
        (
            {"messages": user({"type": "text", "text": "x", "cache_control": {"type": "eternal"}})},
            "messages[0].content[0].cache_control.type",
        ),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"system": [{"type": "image"}]}, "system[0].source"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tools": [{**WEATHER, "name": "a b"}]}, "tools[0].name"),
        ({"tools": [{"type": "code_execution_20250825", "name": "x"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4_000}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "always"}}, "thinking.type"),
        ({"output_config": {"effort": "minimal"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"models": ["a/b"], "fallbacks": [{"model": "c/d"}]}, "fallbacks"),
        ({"fallbacks": [{"model": "a/b"}] * 4}, "fallbacks"),
        ({"fallbacks": [{"model": "a/b", "provider": {}}]}, "fallbacks[0].provider"),
        ({"provider": {"colour": "red"}}, "provider.colour"),
        ({"model": None}, "model"),
    ],
)
def test_what_breaks_the_contract_is_refused_by_the_name_of_its_field(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(CallerError) as caught:
        parsed(**changes)
    assert caught.value.status == 400
    assert caught.value.metadata["field"] == field


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff{}", b'{"messages":' + b"[" * 200_000])
def test_what_is_no_request_at_all_is_refused(body: bytes) -> None:
    with pytest.raises(CallerError) as caught:
        anthropic_messages.parse_request(body)
    assert caught.value.status == 400


def test_a_kind_of_block_that_is_new_passes() -> None:
    assert parsed(messages=user({"type": "hologram", "content": {"a": 1}})).prompt_bytes > 0


def test_a_beta_cannot_smuggle_a_header() -> None:
    betas = parsed(headers={"anthropic-beta": "good-1,bad\r\nx: y,é"}).betas
    assert betas == ("good-1",)


def test_searches_of_the_vendor_are_held_for() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert "web_search_options" in parsed(tools=[search]).params


def test_tokens_are_counted_by_a_line() -> None:
    body = json.dumps({"model": "x", "messages": [{"role": "user", "content": "a" * 4_000}]})
    models, told = anthropic_messages.count_tokens(body.encode(), {})
    assert models == ("x",)
    assert 1_000 < json.loads(told)["input_tokens"] < 1_020
    nameless = {"messages": [{"role": "user", "content": "a"}]}
    assert anthropic_messages.count_tokens(json.dumps(nameless).encode()).models == ()
    several = {**nameless, "models": ["a/b", "c/d"]}
    assert anthropic_messages.count_tokens(json.dumps(several).encode()).models == ("a/b", "c/d")
    with pytest.raises(CallerError):
        anthropic_messages.count_tokens(b"{}")


# ---- meaning -------------------------------------------------------------------------------------


def test_every_block_has_its_place_in_a_conversation() -> None:
    said = conversation(
        parsed(
            system=[{"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}}],
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "look"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "AA"},
                        },
                        {
                            "type": "document",
                            "title": "t.pdf",
                            "source": {"type": "url", "url": "https://x.org/t.pdf"},
                        },
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "abc"},
                        },
                    ],
                },
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "hm", "signature": "sig+/="},
                        {"type": "redacted_thinking", "data": "dat+/="},
                        {"type": "text", "text": "so"},
                        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1.50}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "toolu_1",
                            "is_error": True,
                            "content": [{"type": "text", "text": "no"}],
                        },
                        {"type": "server_tool_use", "id": "x", "name": "web_search", "input": {}},
                    ],
                },
            ],
        )
    )
    system, first, answer, last = said.turns
    assert system.parts == (Text("be", Cache()),)
    assert first.parts == (
        Text("look"),
        Image(Source(data="AA", media_type="image/png")),
        File(Source(url="https://x.org/t.pdf"), "t.pdf"),
        File(Source(data="YWJj", media_type="text/plain")),
    )
    thought = answer.parts[0]
    assert isinstance(thought, Thought)
    assert thought.text == "hm"
    assert [json.loads(bytes(raw)) for raw in thought.details] == [
        {
            "type": "reasoning.text",
            "text": "hm",
            "signature": "sig+/=",
            "format": "anthropic-claude-v1",
            "index": 0,
        },
        {
            "type": "reasoning.encrypted",
            "data": "dat+/=",
            "format": "anthropic-claude-v1",
            "index": 1,
        },
    ]
    assert answer.parts[1:] == (Text("so"), Call("toolu_1", "f", '{"a": 1.5}'))
    assert last.parts == (Result("toolu_1", (Text("no"),), is_error=True),)
    assert list(said.extras) == ["messages.server_tool_use"]


def test_switches_have_their_place_in_a_conversation() -> None:
    said = conversation(
        parsed(
            tools=[{**WEATHER, "strict": True}, {"type": "bash_20250124", "name": "bash"}],
            tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            thinking={"type": "adaptive", "display": "omitted"},
            output_config={
                "effort": "xhigh",
                "format": {"type": "json_schema", "schema": {"type": "object"}},
            },
            top_k=5,
            stop_sequences=["a", "b"],
        )
    )
    assert [tool.name for tool in said.tools] == ["weather"]
    assert list(said.extras) == ["tools.bash_20250124"]
    assert (said.tool_choice, said.parallel_calls) == (ToolChoice("named", "weather"), False)
    assert said.thinking == Thinking(True, "xhigh", None, True)
    assert said.format is not None and said.format.kind == "schema"
    assert (said.sampling.top_k, said.sampling.stop) == (5, ("a", "b"))


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, Thinking()),
        ({"thinking": {"type": "disabled"}}, Thinking(False)),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, Thinking(True, None, 2_000)),
        ({"thinking": {"type": "adaptive"}}, Thinking(True)),
        ({"output_config": {"effort": "low"}}, Thinking(True, "low")),
    ],
)
def test_thinking_is_one_wish(fields: dict[str, Any], wanted: Thinking) -> None:
    assert conversation(parsed(**fields)).thinking == wanted


def test_reasoning_of_another_vendor_comes_back_byte_for_byte() -> None:
    entry = Raw(b'{ "type":"reasoning.encrypted", "data":"\\u00e9==", "id":"rs_1" }')
    content = [{"type": "redacted_thinking", "data": wrapped(entry)}, {"type": "text", "text": "x"}]
    request = parsed(messages=[{"role": "assistant", "content": content}])
    assert request.foreign_thinking
    thought = conversation(request).turns[0].parts[0]
    assert isinstance(thought, Thought)
    assert [bytes(raw) for raw in thought.details] == [bytes(entry)]


def test_a_signature_of_ours_that_was_tampered_with_is_only_text() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": PREFIX + "!!"}
    said = conversation(parsed(messages=[{"role": "assistant", "content": [block]}]))
    assert said.turns[0].parts == (Thought("hm"),)
