"""What is kept of a body: settings, in the words of chat completions, whatever they came in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from presets_support import SAYS, merged

from tollway.errors import CallerError
from tollway.presets.capture import MAKES, capture
from tollway.presets.entries import CONFIG_BYTES_MAX

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
SEARCH = {"type": "openrouter:web_search", "parameters": {"max_results": 3}}

WORDS: dict[str, Any] = {
    "model": "a/1",
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 500,
    "tools": [FUNCTION, SEARCH],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "reasoning": {"effort": "high"},
    "provider": {"only": ["x"]},
}
BODIES: dict[str, dict[str, Any]] = {
    "openai_chat": {
        **WORDS,
        "messages": [
            {"role": "system", "content": "One."},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": "Later."},
        ],
        "max_completion_tokens": 500,
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "u",
        "session_id": "s",
        "metadata": {"k": "v"},
    },
    "openai_responses": {
        "model": "a/1",
        "input": "Hi",
        "instructions": "One.\n\nTwo.",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 500,
        "tools": [{"type": "function", **FUNCTION["function"]}, SEARCH],
        "tool_choice": {"type": "function", "name": "f"},
        "reasoning": {"effort": "high"},
        "provider": {"only": ["x"]},
        "store": False,
        "stream": True,
    },
    "anthropic_messages": {
        "model": "a/1",
        "messages": [{"role": "user", "content": "Hi"}],
        "system": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 500,
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}, SEARCH],
        "tool_choice": {"type": "tool", "name": "f"},
        "output_config": {"effort": "high"},
        "provider": {"only": ["x"]},
        "metadata": {"user_id": "u"},
        "stream": True,
    },
}


def captured(name: str, **body: Any) -> dict[str, Any]:
    return capture(name, json.dumps(body).encode()).config


@pytest.mark.parametrize("name", sorted(MAKES))
def test_the_same_settings_are_kept_alike_from_every_dialect(name: str) -> None:
    config, prompt = capture(name, json.dumps(BODIES[name]).encode())
    config["reasoning"].pop("enabled", None)  # an effort says so already
    assert config == WORDS
    assert prompt == "One.\n\nTwo."


@pytest.mark.parametrize("name", sorted(MAKES))
def test_what_was_captured_is_merged_as_it_was_sent(name: str) -> None:
    sent = {
        field: value
        for field, value in BODIES[name].items()
        if field
        not in ("messages", "input", "stream", "stream_options", "user", "session_id", "metadata")
        and field not in ("store", "max_completion_tokens", "system", "instructions")
    }
    if name == "anthropic_messages":
        sent.pop("output_config")  # an effort is a budget for a model nobody knows
        sent.pop("tool_choice")  # and neither goes with the other
    config, _ = capture(name, json.dumps({**SAYS[name], **sent}).encode())
    body, used, _ = merged(name, SAYS[name], config, made_in=name)
    assert body == {**SAYS[name], **sent}
    assert used.dropped == ()


def test_a_body_needs_no_messages_and_no_model() -> None:
    assert captured("openai_chat", temperature=0) == {"temperature": 0}
    assert captured("openai_responses", temperature=0) == {"temperature": 0}
    assert captured("anthropic_messages", temperature=0) == {"temperature": 0}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ({"include_reasoning": False}, {"reasoning": {"exclude": True}}),
        (
            {"reasoning": {"max_tokens": 9}, "include_reasoning": False},
            {"reasoning": {"max_tokens": 9, "exclude": True}},
        ),
        ({"safe_prompt": True, "top_k": None}, {"safe_prompt": True}),
        ({"cache_enabled": False}, {"cache_enabled": False}),
        (
            {"cache_ttl_seconds": 60, "models": ["a/1"]},
            {"models": ["a/1"], "cache_ttl_seconds": 60},
        ),
    ],
)
def test_one_thing_has_one_name(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert captured("openai_chat", **body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"stop_sequences": ["X"]}, {"stop": ["X"]}),
        ({"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2_000}},
            {"reasoning": {"max_tokens": 2_000}},
        ),
        ({"fallbacks": [{"model": "a/2"}]}, {"models": ["a/2"]}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "response", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        ({"context_management": {"edits": []}}, {"context_management": {"edits": []}}),
    ],
)
def test_settings_of_messages_in_the_words_of_chats(
    body: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert captured("anthropic_messages", **body) == expected


def test_settings_of_responses_in_the_words_of_chats() -> None:
    text = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"}
    assert captured("openai_responses", text=text, truncation="auto") == {
        "truncation": "auto",
        "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    }


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("openai_chat", {"temperature": 3}, "temperature: expected a number of at most 2"),
        ("openai_chat", {"provider": {"onyl": []}}, "provider.onyl: there is no such field"),
        ("anthropic_messages", {"tools": [{"name": "f"}]}, r"tools\[0\].input_schema: is required"),
        ("openai_chat", {"preset": "x"}, "preset: a preset cannot be made of a preset"),
        ("openai_chat", {"model": "a/1@preset/x"}, "model: a preset cannot be made of a preset"),
        ("openai_chat", {"models": ["@preset/x"]}, "model: a preset cannot be made of a preset"),
        ("openai_chat", {"cache_enabled": 1}, "cache_enabled: expected true or false"),
        ("openai_chat", {"cache_ttl_seconds": 0}, "cache_ttl_seconds: expected a whole number"),
        ("openai_chat", {"cache_ttl_seconds": True}, "cache_ttl_seconds: expected a whole number"),
        ("openai_chat", {"messages": "x", "seed": 1}, "messages: expected an array of objects"),
        ("openai_chat", {"stream": True}, "there is nothing to keep"),
        ("openai_responses", {"tool_choice": {"type": "mcp"}}, "tool_choice: a preset can hold"),
        (
            "openai_chat",
            {"messages": [{"role": "system", "content": "é" * (CONFIG_BYTES_MAX // 2)}]},
            "a preset holds at most 131,072 bytes",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(name: str, body: dict[str, Any], message: str) -> None:
    with pytest.raises(CallerError, match=message):
        captured(name, **body)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"model":"\xff"}', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(CallerError):
        capture("openai_chat", body)
