"""dialects/openai_chat_request.py, preferences.py and problems.py"""

from __future__ import annotations

import json
import timeit
from typing import Any

import pytest

from tollway.canon import NO_PREFERENCES, HedgeWish, MaxPrice, Preferences, Request
from tollway.dialects.openai_chat import parse_request
from tollway.dialects.openai_chat_request import ChatRequest
from tollway.errors import CallerError

HELLO = [{"role": "user", "content": "hello"}]


def parse(**fields: Any) -> Request:
    return parse_request(json.dumps({"model": "a/b", "messages": HELLO, **fields}).encode())


def refusal(body: bytes | dict[str, Any]) -> CallerError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(CallerError) as caught:
        parse_request(raw)
    assert caught.value.status == 400
    return caught.value


def user(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": 5}, "model: expected a string, got an integer"),
    ({"model": ""}, "model: must not be empty"),
    ({"models": ["a", 5]}, "models[1]: expected a string, got an integer"),
    ({"models": ["a"] * 65}, "models: expected at most 64 entries"),
    ({"messages": []}, "messages: must not be empty"),
    ({"messages": {}}, "messages: expected an array, got an object"),
    ({"messages": None}, "messages: expected an array, got null"),
    ({"messages": [5]}, "messages[0]: expected an object, got an integer"),
    ({"messages": [{"content": "x"}]}, "messages[0].role: is required"),
    (
        {"messages": [{"role": "bot", "content": "x"}]},
        "messages[0].role: 'bot' is not one of system, developer, user, assistant, tool",
    ),
    ({"messages": [{"role": "user"}]}, "messages[0].content: is required"),
    (
        {"messages": [{"role": "user", "content": None}]},
        "messages[0].content: expected a string or an array, got null",
    ),
    (
        {"messages": [{"role": "tool", "content": "x"}]},
        "messages[0].tool_call_id: is required",
    ),
    (
        {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{"id": "c", "function": {}}]}]},
        "messages[1].tool_calls[0].function.name: is required",
    ),
    (
        {"messages": user({"type": "smell"})},
        "messages[0].content[0].type: 'smell' is not one of the accepted values",
    ),
    ({"messages": user({"text": "x"})}, "messages[0].content[0].type: is required"),
    (
        {"messages": [*HELLO, *HELLO, *user({"type": "image_url", "image_url": {"url": 5}})]},
        "messages[2].content[0].image_url.url: expected a string, got an integer",
    ),
    (
        {"messages": user({"type": "image_url", "image_url": {"url": "x", "detail": "best"}})},
        "messages[0].content[0].image_url.detail: 'best' is not one of auto, low, high, original",
    ),
    (
        {"messages": user({"type": "input_audio", "input_audio": {"format": "wav"}})},
        "messages[0].content[0].input_audio.data: is required",
    ),
    (
        {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].type: 'image_url' is not one of the accepted values",
    ),
    (
        {"messages": user({"type": "text", "text": "x", "cache_control": {"type": "forever"}})},
        "messages[0].content[0].cache_control.type: 'forever' is not one of the accepted values",
    ),
    ({"stream": "yes"}, "stream: expected a boolean, got a string"),
    ({"max_tokens": 0}, "max_tokens: expected an integer of at least 1"),
    ({"max_tokens": 1.5}, "max_tokens: expected an integer, got a number"),
    ({"max_tokens": 1.0}, "max_tokens: expected an integer, got a number"),
    ({"max_tokens": True}, "max_tokens: expected an integer, got a boolean"),
    ({"max_tokens": "5"}, "max_tokens: expected an integer, got a string"),
    ({"max_completion_tokens": -1}, "max_completion_tokens: expected an integer of at least 1"),
    ({"max_tokens": 2**40}, "max_tokens: expected an integer of at most 2147483647"),
    ({"temperature": 2.1}, "temperature: expected a number of at most 2"),
    ({"temperature": -0.1}, "temperature: expected a number of at least 0"),
    ({"temperature": True}, "temperature: expected a number, got a boolean"),
    ({"temperature": "hot"}, "temperature: expected a number, got a string"),
    ({"top_p": 1.1}, "top_p: expected a number of at most 1"),
    ({"top_k": -1}, "top_k: expected an integer of at least 0"),
    ({"min_p": 2}, "min_p: expected a number of at most 1"),
    ({"top_a": -1}, "top_a: expected a number of at least 0"),
    ({"frequency_penalty": 3}, "frequency_penalty: expected a number of at most 2"),
    ({"presence_penalty": -3}, "presence_penalty: expected a number of at least -2"),
    ({"repetition_penalty": 3}, "repetition_penalty: expected a number of at most 2"),
    ({"seed": 1.5}, "seed: expected an integer, got a number"),
    ({"stop": ["a"] * 5}, "stop: expected at most 4 entries"),
    ({"stop": 5}, "stop: expected a string or an array, got an integer"),
    ({"n": 0}, "n: expected an integer of at least 1"),
    ({"n": 129}, "n: expected an integer of at most 128"),
    ({"logit_bias": {"5": 101}}, "logit_bias[...]: expected a number of at most 100"),
    ({"logprobs": 1}, "logprobs: expected a boolean, got an integer"),
    ({"top_logprobs": 21}, "top_logprobs: expected an integer of at most 20"),
    (
        {"top_logprobs": 2, "logprobs": False},
        "top_logprobs: needs logprobs to be true",
    ),
    (
        {"response_format": {"type": "yaml"}},
        "response_format.type: 'yaml' is not one of the accepted values",
    ),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema: is required"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x" * 65}}},
        "response_format.json_schema.name: expected at most 64 characters",
    ),
    ({"tools": [{"type": "function"}]}, "tools[0].function: is required"),
    ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type: is required"),
    (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name: expected 1 to 64 characters of a-z, A-Z, 0-9, _ and -",
    ),
    (
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "tools[0].function.parameters: expected an object, got an array",
    ),
    ({"tool_choice": "maybe"}, "tool_choice: expected none, auto, required or an object"),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function: is required"),
    (
        {"reasoning": {"effort": "huge"}},
        "reasoning.effort: 'huge' is not one of max, xhigh, high, medium, low, minimal, none",
    ),
    (
        {"reasoning": {"effort": "low", "max_tokens": 5}},
        "reasoning: effort and max_tokens exclude each other",
    ),
    (
        {"reasoning": {"effort": "low"}, "reasoning_effort": "high"},
        "reasoning_effort: contradicts reasoning.effort",
    ),
    (
        {"reasoning": {"enabled": False}, "reasoning_effort": "high"},
        "reasoning.enabled: is false, yet an effort is asked for",
    ),
    ({"verbosity": "loud"}, "verbosity: 'loud' is not one of the accepted values"),
    ({"modalities": ["smell"]}, "modalities[0]: 'smell' is not one of text, image, audio"),
    ({"session_id": "x" * 257}, "session_id: expected at most 256 characters"),
    ({"user": "x" * 257}, "user: expected at most 256 characters"),
    ({"metadata": {"a": 5}}, "metadata[...]: expected a string, got an integer"),
    (
        {"metadata": {str(n): "" for n in range(17)}},
        "metadata: expected at most 16 entries",
    ),
    ({"provider": {"colour": "red"}}, "provider.colour: there is no such field"),
    ({"provider": []}, "provider: expected an object, got an array"),
    ({"provider": {"order": "openai"}}, "provider.order: expected an array, got a string"),
    (
        {"provider": {"sort": "beauty"}},
        "provider.sort: 'beauty' is not one of price, throughput, latency, exacto",
    ),
    (
        {"provider": {"sort": {"by": "price", "partition": "all"}}},
        "provider.sort.partition: 'all' is not one of model, none",
    ),
    (
        {"provider": {"quantizations": ["fp64"]}},
        "provider.quantizations[0]: 'fp64' is not one of int4, int8, fp4, mxfp4, nvfp4, fp6, fp8, mxfp8, fp16, bf16, fp32, unknown",
    ),
    (
        {"provider": {"data_collection": "some"}},
        "provider.data_collection: 'some' is not one of allow, deny",
    ),
    (
        {"provider": {"max_price": {"prompt": "cheap"}}},
        "provider.max_price.prompt: expected an amount of USD, got 'cheap'",
    ),
    (
        {"provider": {"max_price": {"prompt": -1}}},
        "provider.max_price.prompt: expected an amount of USD of zero or more",
    ),
    (
        {"provider": {"max_price": {"prompt": "NaN"}}},
        "provider.max_price.prompt: expected an amount of USD of zero or more",
    ),
    (
        {"provider": {"max_price": {"tokens": 1}}},
        "provider.max_price.tokens: there is no such field",
    ),
    (
        {"provider": {"hedge": {"after": "p96"}}},
        'provider.hedge.after: expected "p95" or a number of seconds',
    ),
    (
        {"provider": {"hedge": {"after": 0}}},
        "provider.hedge.after: expected a number above 0",
    ),
    (
        {"provider": {"hedge": {"max_cost": "much"}}},
        "provider.hedge.max_cost: expected an amount of USD, got 'much'",
    ),
    (
        {"provider": {"hedge": {"before": 1}}},
        "provider.hedge.before: there is no such field",
    ),
    (
        {"provider": {"preferred_max_latency": {"p51": 1}}},
        "provider.preferred_max_latency.p51: there is no such field",
    ),
    (
        {"provider": {"options": {"openai": 5}}},
        "provider.options[...]: expected an object, got an integer",
    ),
]


@pytest.mark.parametrize("row", WRONG, ids=[row[1][:60] for row in WRONG])
def test_a_wrong_field_is_refused_by_its_path(row: tuple[dict[str, Any], str]) -> None:
    changes, message = row
    error = refusal({"model": "a/b", "messages": HELLO, **changes})
    assert error.message == message
    if not message.startswith("messages: is"):
        assert error.metadata["field"] == message.split(":")[0]


JSON_ERRORS: list[tuple[bytes, str]] = [
    (b"", "it ends too early"),
    (b"{", "it ends too early"),
    (b"nul", "it ends too early"),
    (b"{} {}", "trailing characters (byte 3)"),
    (b'{"a": NaN}', "invalid character (byte 6)"),
    (b'{"a": Infinity}', "invalid character (byte 6)"),
    (b'{"a": 01}', "invalid number (byte 7)"),
    (b"<html>", "invalid character (byte 0)"),
    (b'\xef\xbb\xbf{"model":"a"}', "invalid character (byte 0)"),
    (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "it is nested too deeply"),
    (b'{"a":' + b'{"a":' * 200_000, "it is nested too deeply"),
    (b'{"model":"\xff","messages":[]}', "it is not UTF-8"),
    (b'{"x":"\xff","model":"a/b","messages":[{"role":"user","content":"x"}]}', "it is not UTF-8"),
]


@pytest.mark.parametrize("body", [b"[]", b"[{}]", b'"x"', b"3", b"null"])
def test_json_that_is_not_an_object_is_not_called_broken(body: bytes) -> None:
    assert refusal(body).message == "the body must be one JSON object"


@pytest.mark.parametrize("row", JSON_ERRORS, ids=lambda row: repr(row[0][:30]))
def test_a_body_that_is_not_json_is_refused(row: tuple[bytes, str]) -> None:
    body, problem = row
    assert refusal(body).message in (
        f"The body is not valid JSON: {problem}",
        "messages: is required",
    )


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" * 400 + b".0"])
def test_numbers_beyond_a_float_are_refused(number: bytes) -> None:
    body = b'{"model":"a/b","messages":[{"role":"user","content":"x"}],"temperature":' + number
    assert refusal(body + b"}").message.startswith("temperature: ")


def test_of_a_key_given_twice_the_last_counts_in_what_is_checked_and_in_what_is_sent() -> None:
    body = (
        b'{"model":"a/b","max_tokens":5,"messages":[{"role":"user","content":"x"}],'
        b'"max_tokens":7,"mod\\u0065l":"c/d"}'
    )
    request = parse_request(body)
    assert request.models == ("c/d",)
    assert request.output_tokens_max == 7
    assert bytes(request.fields["max_tokens"]) == b"7"
    assert bytes(request.fields["model"]) == b'"c/d"'


def test_a_small_request_becomes_what_routing_and_money_read() -> None:
    request = parse(temperature=0.5, stream=True, max_tokens=100, user="u1", extra={"x": 1})
    assert isinstance(request, ChatRequest)
    assert request.dialect == "openai_chat"
    assert request.models == ("a/b",)
    assert request.stream is True
    assert request.params == {"temperature"}
    assert request.modalities == {"text"}
    assert request.output_tokens_max == 100
    assert request.choices == 1
    sent = {"messages": HELLO, "t": 0.5, "s": True, "m": 100, "u": "u1", "extra": {"x": 1}}
    assert request.prompt_bytes == sum(len(json.dumps(value)) for value in sent.values())
    assert (request.media_tokens, request.images, request.cache_marked) == (0, 0, False)
    assert request.preferences == NO_PREFERENCES
    assert (request.session_id, request.user) == (None, "u1")
    assert bytes(request.fields["extra"]) == b'{"x": 1}'
    assert request.traits == frozenset()


def test_whatever_a_provider_may_put_before_its_model_is_held_for() -> None:
    bare, long = parse().prompt_bytes, "x" * 100_000
    for field in ({"documents": [long]}, {"prediction": {"type": "content", "content": long}}):
        assert parse(**field).prompt_bytes > bare + 100_000
    options = {"options": {"acme": {"chat_template": long}}}
    assert parse(provider=options).prompt_bytes > bare + 100_000


def test_models_come_in_order_and_once() -> None:
    assert parse(models=["c/d", "a/b", "c/d", "e/f:free"]).models == ("a/b", "c/d", "e/f:free")
    body = {"messages": HELLO, "models": ["c/d"]}
    assert parse_request(json.dumps(body).encode()).models == ("c/d",)


def test_null_means_not_given() -> None:
    request = parse(temperature=None, stop=None, stream=None, provider=None, max_tokens=None)
    assert set(request.fields) == {"model", "messages"}
    assert request.params == frozenset()
    assert request.output_tokens_max is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 7, "max_completion_tokens": 6}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
    ],
)
def test_the_output_limit_is_the_larger_of_its_spellings(
    fields: dict[str, int], expected: int | None
) -> None:
    assert parse(**fields).output_tokens_max == expected


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def test_parameters_are_named_as_the_catalogue_names_them() -> None:
    request = parse(
        temperature=1,
        top_k=5,
        tools=[TOOL],
        tool_choice="auto",
        parallel_tool_calls=False,
        reasoning_effort="low",
        include_reasoning=True,
        max_completion_tokens=5,
        n=2,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        logprobs=True,
        safe_prompt=True,
    )
    assert request.params == {
        "temperature",
        "top_k",
        "tools",
        "tool_choice",
        "reasoning",
        "include_reasoning",
        "response_format",
        "structured_outputs",
        "logprobs",
    }
    assert request.choices == 2
    assert parse(response_format={"type": "text"}).params == frozenset()
    assert parse(response_format={"type": "json_object"}).params == {"response_format"}


def test_media_are_counted_apart_from_the_text() -> None:
    url = "data:image/png;base64," + "A" * 10_000
    pdf = "data:application/pdf;base64," + "A" * 1_000_000
    text = "data:text/plain;base64," + "A" * 4_000
    messages = user(
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "high"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": text}},
        {"type": "file", "file": {"filename": "b.pdf", "file_data": "https://x/b.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "A" * 40_000, "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://x/v.mp4"}},
    )
    request = parse(messages=messages)
    assert request.images == 2
    assert request.modalities == {"text", "image", "file", "audio", "video"}
    pdf_tokens = len(pdf) * 3 // 4 // 16
    text_tokens = len(text) * 3 // 4 // 2
    audio_tokens = 30_000 // 500 + 1
    assert request.media_tokens == (
        1_600 + 4_800 + pdf_tokens + text_tokens + 30_000 + audio_tokens + 180_000
    )
    inline = len(url) + len(pdf) + len(text) + 40_000
    assert request.prompt_bytes == len(json.dumps(messages)) - inline


def test_tools_and_schema_count_as_prompt() -> None:
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"a": "b" * 100}}}
    bare = parse().prompt_bytes
    assert parse(tools=[TOOL]).prompt_bytes == bare + len(json.dumps([TOOL]))
    assert parse(response_format=format_).prompt_bytes == bare + len(json.dumps(format_))


MARK = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": user({"type": "text", "text": "x", **MARK})},
        {"messages": user({"type": "image_url", "image_url": {"url": "x"}, **MARK})},
        {"messages": user({"type": "text", "text": "x", "prompt_cache_breakpoint": {}})},
        {"tools": [{**TOOL, **MARK}]},
        MARK,
    ],
    ids=["text", "image", "breakpoint", "tool", "top level"],
)
def test_cache_breakpoints_are_seen_wherever_they_are(fields: dict[str, Any]) -> None:
    assert parse(**fields).cache_marked is True
    assert parse(messages=[{"role": "user", "content": '"cache_control"'}]).cache_marked is False


def test_traits_say_what_some_providers_would_refuse() -> None:
    messages = [
        {"role": "developer", "content": "x"},
        {"role": "system", "content": "x", "configuration_update": {"reasoning": {}}},
        *user({"type": "image_url", "image_url": {"url": "u", "detail": "original"}, **MARK}),
        {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ]  # fmt: skip
    request = parse(messages=messages)
    assert isinstance(request, ChatRequest)
    assert request.traits == {
        "developer",
        "router_fields",
        "parts",
        "original",
        "cache_control",
        "reasoning",
        "calls",
    }


def test_the_session_is_the_bodys_then_the_headers() -> None:
    body = json.dumps({"model": "a", "messages": HELLO}).encode()
    assert parse_request(body, {"x-session-id": "h"}).session_id == "h"
    assert parse_request(body, {"x-session-id": "h" * 300}).session_id == "h" * 256
    assert parse_request(body).session_id is None
    assert parse(session_id="b").session_id == "b"


def test_provider_preferences_get_their_units_and_spelling() -> None:
    preferences = parse(
        provider={
            "order": ["OpenAI", "groq", "openai"],
            "only": ["Azure"],
            "ignore": ["X"],
            "allow_fallbacks": False,
            "require_parameters": True,
            "data_collection": "deny",
            "zdr": True,
            "enforce_distillable_text": True,
            "quantizations": ["fp8", "bf16"],
            "sort": {"by": "throughput", "partition": "none"},
            "max_price": {"prompt": 0.15, "completion": "0.6", "request": 0.01, "image": "0.002"},
            "preferred_min_throughput": 50,
            "preferred_max_latency": {"p50": 1, "p99": 2.5},
            "options": {"OpenAI": {"foo": [1, 2]}},
        }
    ).preferences
    options = preferences.options
    assert options is not None
    assert bytes(options["openai"]["foo"]) == b"[1, 2]"  # type: ignore[call-overload]
    assert preferences == Preferences(
        order=("openai", "groq"),
        only=("azure",),
        ignore=("x",),
        allow_fallbacks=False,
        require_parameters=True,
        data_collection="deny",
        zdr=True,
        enforce_distillable_text=True,
        quantizations=("fp8", "bf16"),
        sort="throughput",
        partition="none",
        max_price=MaxPrice(
            prompt=150_000, completion=600_000, request=10_000_000_000, image=2_000_000_000
        ),
        preferred_min_throughput={"p50": 50.0},
        preferred_max_latency={"p50": 1.0, "p99": 2.5},
        options=options,
    )
    hedge = {"after": 1.5, "max_cost": "0.01"}
    assert parse(provider={"hedge": hedge}).preferences.hedge == HedgeWish(1.5, 10_000_000)
    assert parse(provider={"hedge": {}}).preferences.hedge == HedgeWish(None)
    assert parse(provider={"sort": "price"}).preferences == Preferences(sort="price")
    assert parse(provider={}).preferences == NO_PREFERENCES


@pytest.mark.parametrize(
    ("usd", "pico"),
    [("0", 0), (0, 0), ("0.0000019", 1), ("1e-400", 0), ("1e400", 10**13), (1e300, 10**13)],
)
def test_a_price_cap_is_rounded_down_and_bounded(usd: object, pico: int) -> None:
    caps = parse(provider={"max_price": {"prompt": usd}}).preferences.max_price
    assert caps is not None
    assert caps.prompt == pico


def test_a_small_request_is_parsed_in_microseconds() -> None:
    body = json.dumps({"model": "a/b", "messages": HELLO, "stream": True, "max_tokens": 9}).encode()
    runs = 2_000
    best = min(timeit.repeat(lambda: parse_request(body), number=runs, repeat=5)) / runs
    print(f"parse_request: {best * 1e6:.1f} us")
    assert best < 60e-6
