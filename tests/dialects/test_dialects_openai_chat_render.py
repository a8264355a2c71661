"""dialects/openai_chat_render.py and openai_chat_messages.py"""

from __future__ import annotations

import json
import timeit
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic
import pytest
from dialect_support import attempt
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from tollway.canon import Request
from tollway.dialects.openai_chat import parse_request, render_request
from tollway.dialects.openai_chat_messages import short_id
from tollway.routing.entries import Attempt

HELLO = [{"role": "user", "content": "hello"}]


def sent(fields: dict[str, Any], to: Attempt | None = None, limit: int = 500) -> dict[str, Any]:
    """What goes upstream for a caller's fields."""
    body = json.dumps({"model": "a/b", "messages": HELLO, **fields}).encode()
    outbound = render_request(parse_request(body), to or attempt(), limit)
    assert outbound.path == "/chat/completions"
    decoded: dict[str, Any] = json.loads(outbound.body)
    return decoded


def test_a_request_goes_up_as_it_came_but_for_model_and_limit() -> None:
    fields = {"temperature": 0.5, "stop": ["x"], "seed": 7, "safe_prompt": True}
    assert sent(fields) == {"model": "one-v1", "messages": HELLO, "max_tokens": 500, **fields}


def test_the_callers_json_is_not_reformatted() -> None:
    body = b'{"model":"a/b", "messages": [ {"role":"user","content":"\\u00e9 \\/ 1"} ],"x":1.50}'
    outbound = render_request(parse_request(body), attempt(), 5)
    assert b'"messages":[ {"role":"user","content":"\\u00e9 \\/ 1"} ]' in outbound.body
    assert b'"x":1.50' in outbound.body


def test_what_is_the_routers_or_says_who_asks_stays_here() -> None:
    fields = {
        "models": ["c/d"],
        "route": "fallback",
        "provider": {"sort": "price"},
        "plugins": [{"id": "context-compression"}],
        "preset": "p",
        "transforms": ["middle-out"],
        "session_id": "s",
        "trace": {"trace_id": "t"},
        "usage": {"include": True},
        "debug": {"echo_upstream_body": True},
        "user": "alice",
        "safety_identifier": "alice",
        "store": True,
        "cache_control": {"type": "ephemeral"},
        "service_tier": "priority",
        "structured_outputs": True,
        "stream_options": {"include_usage": False},
        "include_reasoning": True,
    }
    assert sent(fields) == {"model": "one-v1", "messages": HELLO, "max_tokens": 500}


def test_nothing_a_caller_writes_lifts_the_limit() -> None:
    fields = {
        "max_tokens": 9_000,
        "max_completion_tokens": 9_000,
        "max_output_tokens": 9_000,
        "max_new_tokens": 9_000,
        "num_predict": 9_000,
        "best_of": 5,
        "speed": "fast",
        "provider": {
            "options": {
                "acme": {
                    "max_tokens": 9_000,
                    "max_completion_tokens": 9_000,
                    "n": 9,
                    "model": "dear",
                    "service_tier": "priority",
                    "messages": [],
                    "stream": True,
                    "user": "alice",
                    "fine": 1,
                }
            }
        },
    }
    assert sent(fields) == {"model": "one-v1", "messages": HELLO, "max_tokens": 500, "fine": 1}


@pytest.mark.parametrize(
    ("fields", "quirks", "name"),
    [
        ({}, (), "max_tokens"),
        ({"max_tokens": 9}, (), "max_tokens"),
        ({"max_completion_tokens": 9}, (), "max_completion_tokens"),
        ({"max_completion_tokens": 9, "max_tokens": 9}, (), "max_tokens"),
        ({"max_tokens": 9}, ("max_tokens_field=max_completion_tokens",), "max_completion_tokens"),
        ({"max_completion_tokens": 9}, ("max_tokens_field=max_tokens",), "max_tokens"),
    ],
)
def test_the_limit_is_always_sent_and_under_one_name(
    fields: dict[str, Any], quirks: tuple[str, ...], name: str
) -> None:
    body = sent(fields, attempt(quirks))
    assert {n: v for n, v in body.items() if "tokens" in n} == {name: 500}


def test_a_stream_asks_for_usage() -> None:
    assert sent({"stream": True})["stream_options"] == {"include_usage": True}
    assert "stream_options" not in sent({"stream": False, "stream_options": {"x": 1}})


def test_the_planned_tier_is_sent_and_no_other() -> None:
    assert sent({"service_tier": "flex"}, attempt(service_tier="flex"))["service_tier"] == "flex"
    assert sent({}, attempt(service_tier="flex"))["service_tier"] == "flex"
    assert "service_tier" not in sent({"service_tier": "priority"})


TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}


def test_dropped_parameters_go_with_what_needs_them() -> None:
    fields = {
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "response_format": SCHEMA,
        "logprobs": True,
        "top_logprobs": 2,
        "seed": 1,
        "reasoning": {"effort": "high"},
        "temperature": 1,
    }
    dropped = ("tools", "structured_outputs", "logprobs", "reasoning", "seed")
    assert sent(fields, attempt(dropped=dropped)) == {
        "model": "one-v1",
        "messages": HELLO,
        "temperature": 1,
        "max_tokens": 500,
    }


def test_models_that_reject_sampling_get_none() -> None:
    body = sent({"temperature": 1, "top_p": 1, "seed": 3}, attempt(no_sampling=True))
    assert body == {"model": "one-v1", "messages": HELLO, "seed": 3, "max_tokens": 500}


def test_options_are_merged_for_their_provider_alone() -> None:
    options = {"ACME": {"a": [1.50]}, "acme/fast": {"b": 2}, "other": {"c": 3}}
    body = sent({"provider": {"options": options}})
    assert (body["a"], body["b"], "c" in body) == ([1.5], 2, False)


# ---- messages ------------------------------------------------------------------------------------

HISTORY: list[dict[str, Any]] = [
    {"role": "developer", "content": "be brief"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "ho", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "original"}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "reasoning": "thinking",
        "reasoning_details": [{"type": "reasoning.text", "text": "thinking", "index": 0}],
        "model": "x/y",
        "annotations": [],
        "tool_calls": [
            {"id": "call_abc", "type": "function", "function": {"name": "f", "arguments": "{"}}
        ],
    },
    {"role": "tool", "tool_call_id": "call_abc", "content": "ok"},
]
PLAIN: list[dict[str, Any]] = [
    {"role": "system", "content": "be brief"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "hi"},
            {"type": "text", "text": "ho"},
            {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "high"}},
        ],
    },
    {"role": "assistant", "content": None, "tool_calls": HISTORY[2]["tool_calls"]},
    HISTORY[3],
]


def history(*quirks: str, messages: object = HISTORY) -> Any:
    return sent({"messages": messages}, attempt(quirks))["messages"]


def test_a_provider_without_quirks_gets_plain_messages() -> None:
    assert history() == PLAIN


def test_openai_takes_its_own_newer_forms() -> None:
    messages = history("developer_role", "explicit_cache_breakpoints_on_new_models")
    assert messages[0] == HISTORY[0]
    assert messages[1]["content"][1] == HISTORY[1]["content"][1]
    assert messages[1]["content"][2] == HISTORY[1]["content"][2]
    assert messages[2] == PLAIN[2]
    assert history("developer_role", "no_developer_role")[0] == PLAIN[0]


def test_a_router_like_us_takes_everything_but_foreign_roles() -> None:
    messages = history("usage_cost_field")
    assert messages[1]["content"][:2] == HISTORY[1]["content"][:2]
    assert messages[2] == HISTORY[2]


def test_cache_markers_stay_where_they_are_known() -> None:
    tools = [{**TOOLS[0], "cache_control": {"type": "ephemeral"}, "defer_loading": True}]
    fields = {"tools": tools, "messages": HISTORY}
    assert sent(fields)["tools"] == TOOLS
    kept = sent(fields, attempt(("explicit_cache_control_supported",)))
    assert kept["tools"] == [{**TOOLS[0], "cache_control": {"type": "ephemeral"}}]
    assert kept["messages"][1]["content"][0] == HISTORY[1]["content"][0]
    top = {"cache_control": {"type": "ephemeral"}}
    assert sent(top, attempt(("cache_control_supported",)))["cache_control"] == {
        "type": "ephemeral"
    }


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_earlier_reasoning_is_replayed_where_it_is_wanted(name: str) -> None:
    messages = [*HELLO, {"role": "assistant", "content": "a", name: "hm"}]
    assert history(messages=messages)[1] == {"role": "assistant", "content": "a"}
    assert history("replay_reasoning_content", messages=messages)[1] == {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "hm",
    }


def test_tool_ids_get_the_length_asked_for_and_still_match() -> None:
    messages = history("tool_call_id_len=9")
    (call,) = messages[2]["tool_calls"]
    assert call["id"] == messages[3]["tool_call_id"] == short_id("call_abc", 9)
    assert len(call["id"]) == 9
    assert call["id"].isalnum()
    assert call["function"] == HISTORY[2]["tool_calls"][0]["function"]
    assert short_id("aB3456789", 9) == "aB3456789"


def test_content_becomes_a_string_where_it_must_unless_it_is_more_than_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "user", "content": parts}]
    assert history("content_must_be_string", messages=messages)[0]["content"] == "a\nb"
    assert history("content_must_be_string")[1] == PLAIN[1]


def test_a_request_of_unknown_traits_is_looked_through() -> None:
    raw = parse_request(json.dumps({"model": "a/b", "messages": HISTORY}).encode())
    plain = Request(dialect="openai_chat", models=("a/b",), stream=False, fields=raw.fields)
    assert json.loads(render_request(plain, attempt(), 5).body)["messages"] == PLAIN


# ---- the official SDK's own types ----------------------------------------------------------------

RICH: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:x;base64,AA"}},
            ],
        },
        *HISTORY[2:],
    ],
    "tools": [*TOOLS, {**TOOLS[0], "cache_control": {"type": "ephemeral"}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "response_format": SCHEMA,
    "temperature": 0.2,
    "top_p": 0.9,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "logit_bias": {"5": 10},
    "logprobs": True,
    "top_logprobs": 3,
    "seed": 5,
    "stop": ["x", "y"],
    "n": 2,
    "max_tokens": 50,
    "reasoning": {"effort": "xhigh", "exclude": True},
    "verbosity": "low",
    "modalities": ["text"],
    "metadata": {"a": "b"},
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_key": "k",
    "user": "alice",
    "provider": {"order": ["acme"]},
    "session_id": "s",
    "plugins": [],
}
OPENAI = ("max_tokens_field=max_completion_tokens", "developer_role", "thinking=openai")
CASES: dict[str, dict[str, Any]] = {
    "small": {},
    "developer": {"messages": [{"role": "developer", "content": "x"}, *HELLO]},
    "rich": RICH,
    "reasoning as a budget": {"reasoning": {"max_tokens": 2_000}},
    "reasoning off": {"reasoning": {"enabled": False}},
}


def exhaust(value: object) -> None:
    """pydantic checks iterables lazily: walk them."""
    if isinstance(value, Mapping):
        for item in value.values():
            exhaust(item)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for item in value:
            exhaust(item)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_what_openai_gets_is_what_its_sdk_would_send(case: str, stream: bool) -> None:
    kind = CompletionCreateParamsStreaming if stream else CompletionCreateParamsNonStreaming
    body = sent({**CASES[case], "stream": stream}, attempt(OPENAI), 5_000)
    adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(kind)
    exhaust(adapter.validate_python(body))
    assert set(body) - set(kind.__annotations__) == set()
    assert not {"cache_control", "reasoning_details", "reasoning"} & set(
        json.dumps(body).split('"')
    )


def test_the_oracle_refuses_what_openai_would() -> None:
    adapter = pydantic.TypeAdapter(CompletionCreateParamsNonStreaming)
    with pytest.raises(pydantic.ValidationError):
        exhaust(adapter.validate_python({"model": "x", "messages": [{"role": "bot"}]}))


def test_a_small_request_is_rendered_in_microseconds() -> None:
    body = json.dumps({"model": "a/b", "messages": HELLO, "stream": True, "max_tokens": 9}).encode()
    request, to, runs = parse_request(body), attempt(OPENAI), 2_000
    best = min(timeit.repeat(lambda: render_request(request, to, 9), number=runs, repeat=5)) / runs
    print(f"render_request: {best * 1e6:.1f} us")
    assert best < 60e-6
