"""Openings: the turns of one conversation have one name, in every dialect that has turns."""

import json
from typing import Any

import pytest

from tollway.canon import Request
from tollway.dialects import dialect
from tollway.dialects.openings import cache_lifetime_s, conversation_name

MODEL = "acme/one"
HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
TURNS: dict[str, tuple[dict[str, Any], str, list[Any]]] = {
    "openai_chat": (
        {"model": MODEL, "messages": [{"role": "system", "content": "Be brief"}, HELLO]},
        "messages",
        [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "More"}],
    ),
    "openai_responses": (
        {"model": MODEL, "instructions": "Be brief", "input": [HELLO]},
        "input",
        [
            {
                "type": "message",
                "role": "assistant",
                "id": "m1",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
            },
            {"role": "user", "content": "More"},
        ],
    ),
    "anthropic_messages": (
        {"model": MODEL, "max_tokens": 9, "system": "Be brief", "messages": [HELLO]},
        "messages",
        [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "More"}],
    ),
    "gemini": (
        {
            "systemInstruction": {"parts": [{"text": "Be brief"}]},
            "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        },
        "contents",
        [
            {"role": "model", "parts": [{"text": "Hi"}]},
            {"role": "user", "parts": [{"text": "More"}]},
        ],
    ),
}


def parsed(name: str, body: dict[str, Any], **headers: str) -> Request:
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    path = f"/v1beta/models/{MODEL}:generateContent"
    asked: Request = dialect(name).parse_request(json.dumps(body).encode(), sent, path)
    return asked


@pytest.mark.parametrize("name", TURNS)
def test_the_next_turn_has_the_name_of_the_first(name: str) -> None:
    body, field, more = TURNS[name]
    first = conversation_name(parsed(name, body))
    later = conversation_name(parsed(name, {**body, field: [*body[field], *more]}))
    assert first is not None and first == later


@pytest.mark.parametrize("name", TURNS)
def test_another_beginning_has_another_name(name: str) -> None:
    body = TURNS[name][0]
    first = conversation_name(parsed(name, body))
    text = json.dumps(body)
    for old, new in (("Hello", "Hullo"), ("Be brief", "Be kind")):
        assert old in text
        assert conversation_name(parsed(name, json.loads(text.replace(old, new)))) != first


def test_what_stands_in_one_message_is_not_taken_for_the_other() -> None:
    def name(system: str, user: str) -> str | None:
        said = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        return conversation_name(parsed("openai_chat", {"model": MODEL, "messages": said}))

    assert name("ab", "c") != name("a", "bc")


def test_a_name_of_the_callers_own_counts_first() -> None:
    body = {**TURNS["openai_chat"][0], "prompt_cache_key": "k"}
    assert conversation_name(parsed("openai_chat", {**body, "session_id": "s"})) == "session:s"
    assert conversation_name(parsed("openai_chat", body, x_session_id="h")) == "session:h"
    assert conversation_name(parsed("openai_chat", body)) == 'key:"k"'


def test_a_prompt_without_turns_has_no_name() -> None:
    assert conversation_name(parsed("openai_completions", {"model": MODEL, "prompt": "x"})) is None


def marked(**mark: Any) -> dict[str, Any]:
    part = {"type": "text", "text": "Long", "cache_control": {"type": "ephemeral", **mark}}
    return {"model": MODEL, "messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (TURNS["openai_chat"][0], None),
        (marked(), None),
        (marked(ttl="5m"), 300),
        (marked(ttl="1h"), 3_600),
        ({**marked(ttl="5m"), "cache_control": {"type": "ephemeral", "ttl": "1h"}}, 3_600),
        ({**TURNS["openai_chat"][0], "prompt_cache_retention": "24h"}, 86_400),
        ({**TURNS["openai_chat"][0], "prompt_cache_retention": "in_memory"}, None),
        (
            {
                **TURNS["openai_chat"][0],
                "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
            },
            1_800,
        ),
    ],
)
def test_the_lifetime_asked_for_is_the_longest_that_is_named(
    body: dict[str, Any], seconds: float | None
) -> None:
    assert cache_lifetime_s(parsed("openai_chat", body)) == seconds


def test_a_text_that_speaks_of_lifetimes_asks_for_none() -> None:
    body = marked()
    body["messages"][0]["content"][0]["text"] = 'Set "ttl": "1h" in the config'
    assert cache_lifetime_s(parsed("openai_chat", body)) is None
