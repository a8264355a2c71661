"""R20, parsers: whatever comes in, requests end in a Request or a CallerError and streams in an
answer or a fault; nothing else is raised."""

from __future__ import annotations

import json
import os
from collections import Counter
from random import Random
from typing import Any

from dialect_support import BILL, HEAD, WHOLE, attempt, run
from stream_maker import make

from tollway.dialects import openai_chat, openai_completions
from tollway.dialects.faults import parse_fault
from tollway.errors import CallerError

REQUESTS, STREAMS = 14_000, 8_000
SEED = int(os.environ.get("TOLLWAY_TEST_SEED", "20261122"))

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 5, 1.5, -0.0, 1e308, 2**31, 2**63, 2**70, "", "x", "none",
    "\ud83d\ude00", "x" * 300, [], [[]], [1], ["a"], [None], {}, {"a": 1}, {"type": "text"},
    {"type": "function"}, {"effort": "high"}, {"max_tokens": 5}, [{"role": "user"}],
    [{"type": "text", "text": "x"}],
]  # fmt: skip
BASE: dict[str, Any] = {
    "model": "a/b",
    "models": ["c/d"],
    "messages": [
        {"role": "developer", "content": "x"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:x", "detail": "original"}},
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                {"type": "file", "file": {"filename": "a", "file_data": "data:application/pdf,A"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning": "hm",
            "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "ok"},
    ],
    "prompt": "x",
    "stream": True,
    "max_tokens": 5,
    "temperature": 0.5,
    "stop": ["a"],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    "reasoning": {"effort": "high"},
    "provider": {
        "order": ["a"],
        "sort": {"by": "price"},
        "max_price": {"prompt": "1"},
        "preferred_max_latency": {"p50": 1},
        "options": {"acme": {"x": 1}},
    },
    "metadata": {"a": "b"},
    "logit_bias": {"5": 1},
}
QUIRKS = (
    (),
    ("usage_cost_field", "thinking=openrouter"),
    ("tool_call_id_len=9", "replay_reasoning_content", "thinking=qwen", "temperature_max=1"),
    (
        "content_must_be_string",
        "tool_choice_auto_only",
        "thinking=tmpl",
        "session_affinity_header=x",
    ),
)


def changed(random: Random, value: Any) -> Any:
    """A JSON value with one place in it changed, dropped or replaced."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if random.random() < 0.05:
            return {**value, random.choice(("x", "type", "role", "")): random.choice(VALUES)}
        return {**value, key: changed(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.85:
        place = random.randrange(len(value))
        return [*value[:place], changed(random, value[place]), *value[place + 1 :]]
    return random.choice(VALUES)


def spoiled(random: Random, data: bytes) -> bytes:
    """Bytes with a few of them changed, cut or repeated."""
    raw = bytearray(data)
    for _ in range(random.randrange(1, 4)):
        if not raw:
            break
        place = random.randrange(len(raw))
        match random.randrange(4):
            case 0:
                raw[place] = random.randrange(256)
            case 1:
                del raw[place : place + random.randrange(1, 20)]
            case 2:
                raw[place:place] = raw[place : place + random.randrange(1, 20)]
            case _:
                raw[place:place] = random.choice(
                    (b"\x00", b'"', b"{", b"\\u", b"1e999", b"\r", b"\n\n")
                )
    return bytes(raw)


def test_r20_requests_are_accepted_or_refused_and_nothing_else() -> None:
    seen: Counter[str] = Counter()
    for n in range(REQUESTS):
        random = Random(f"{SEED}-r-{n}")
        value = BASE
        for _ in range(random.randrange(1, 4)):
            value = changed(random, value)
        body = json.dumps(value, ensure_ascii=random.random() < 0.5).encode(errors="replace")
        if random.random() < 0.3:
            body = spoiled(random, body)
        dialect = random.choice((openai_chat, openai_chat, openai_completions))
        try:
            request = dialect.parse_request(body, {})
        except CallerError as error:
            assert error.status == 400
            assert error.message
            seen["refused"] += 1
            continue
        except Exception as error:
            raise AssertionError(f"TOLLWAY_TEST_SEED={SEED}, request {n}: {body!r}") from error
        seen["accepted"] += 1
        try:
            sent = json.loads(
                openai_chat.render_request(request, attempt(random.choice(QUIRKS)), 77).body
            )
        except Exception as error:
            raise AssertionError(f"TOLLWAY_TEST_SEED={SEED}, request {n}: {body!r}") from error
        limits = {k: v for k, v in sent.items() if k in ("max_tokens", "max_completion_tokens")}
        assert list(limits.values()) == [77], (SEED, n)
        assert sent["model"] == "one-v1", (SEED, n)
        assert request.prompt_bytes >= 0, (SEED, n)
        assert request.media_tokens >= 0, (SEED, n)
    print(f"R20: {REQUESTS} requests, {dict(seen)}, 0 exceptions, seed {SEED}")
    assert min(seen["accepted"], seen["refused"]) > REQUESTS // 20


def test_r20_streams_end_in_an_answer_or_a_fault_and_nothing_else() -> None:
    seen: Counter[str] = Counter()
    quirks = ((), ("think_tags_in_content",), ("completion_tokens_exclude_reasoning_in_chat",))
    for n in range(STREAMS):
        random = Random(f"{SEED}-s-{n}")
        if random.random() < 0.6:
            data = spoiled(random, make(random).data)
        else:
            data = _mutated_chunks(random)
        inbound = random.choice((openai_chat, openai_completions))
        head = random.choice((HEAD, HEAD, WHOLE))
        way = inbound.relay(head, "openai_chat", random.choice(quirks))
        step = random.choice((1, 9, 200, len(data) or 1))
        try:
            run(way, [data[i : i + step] for i in range(0, len(data), step)])
            if way.meter.fault is None:
                assert way.meter.ended
                way.ending(BILL)
            usage = way.meter.usage_or_estimate(5)
            assert min(usage.prompt_tokens, usage.completion_tokens) >= 0
            parse_fault(random.choice((200, 400, 429, 500, 503)), {"retry-after": "x"}, data)
        except Exception as error:
            raise AssertionError(f"TOLLWAY_TEST_SEED={SEED}, stream {n}: {data!r}") from error
        seen["fault" if way.meter.fault else "answer"] += 1
    print(f"R20: {STREAMS} streams, {dict(seen)}, 0 exceptions, seed {SEED}")
    assert min(seen.values()) > STREAMS // 50


CHUNK: dict[str, Any] = {
    "id": "up",
    "choices": [
        {
            "index": 0,
            "delta": {
                "role": "assistant",
                "content": "a",
                "reasoning_content": "b",
                "reasoning_details": [{"type": "reasoning.text"}],
                "refusal": None,
                "tool_calls": [
                    {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}
                ],
                "images": [{}],
                "audio": {"id": "x"},
            },
            "finish_reason": None,
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
            "error": None,
        }
    ],
    "usage": {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 1, "cached_tokens_details": {"audio_tokens": 1}},
        "completion_tokens_details": {"reasoning_tokens": 1},
        "server_tool_use": {"web_search_requests": 1},
    },
    "x_groq": {"usage": {"prompt_tokens": 1, "completion_tokens": 1}},
    "error": None,
    "base_resp": {"status_code": 0, "status_msg": ""},
    "citations": ["x"],
    "service_tier": "default",
    "system_fingerprint": "fp",
}


def _mutated_chunks(random: Random) -> bytes:
    """Well-formed JSON of wrong shapes, as a stream or as one body."""
    chunks = []
    for _ in range(random.randrange(1, 4)):
        value = CHUNK
        for _ in range(random.randrange(1, 4)):
            value = changed(random, value)
        chunks.append(json.dumps(value).encode())
    if random.random() < 0.3:
        return chunks[0].replace(b'"delta"', b'"message"')
    return b"".join(b"data: " + one + b"\n\n" for one in chunks) + b"data: [DONE]\n\n"
