"""dialects/openai_completions.py and translated.py"""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialect_support import BILL, HEAD, WHOLE, attempt, chunk, read_chunks, run, wire
from openai.types import Completion

from tollway import errors
from tollway.canon import Usage
from tollway.dialects import dialect
from tollway.dialects.openai_chat import render_request
from tollway.dialects.openai_completions import parse_request, relay
from tollway.errors import CallerError

USAGE = {"prompt_tokens": 5, "completion_tokens": 7}
END = (chunk(finish="length"), {"choices": [], "usage": USAGE})


@pytest.mark.parametrize("prompt", ["once é", ["once é"]])
def test_a_prompt_becomes_one_user_message(prompt: object) -> None:
    body = {"model": "a/b", "prompt": prompt, "max_tokens": 9, "temperature": 0.5, "logprobs": 2}
    request = parse_request(json.dumps(body).encode(), {"x-session-id": "s"})
    assert request.dialect == "openai_completions"
    assert request.models == ("a/b",)
    assert request.params == {"temperature"}
    assert (request.output_tokens_max, request.session_id) == (9, "s")
    message = '[{"role":"user","content":"once é"}]'
    assert request.prompt_bytes >= len(message.encode())
    assert json.loads(render_request(request, attempt(), 5).body) == {
        "model": "one-v1",
        "messages": json.loads(message),
        "temperature": 0.5,
        "max_tokens": 5,
    }


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "prompt: is required"),
    ({"prompt": 5}, "prompt: expected a string or an array, got an integer"),
    ({"prompt": [5]}, "prompt[0]: expected a string, got an integer"),
    ({"prompt": []}, "prompt: must not be empty"),
    ({"prompt": ["a", "b"]}, "prompt: expected at most 1 entries"),
    ({"prompt": "a", "suffix": "b"}, "suffix: is not supported; chat models only continue"),
    ({"prompt": "a", "echo": True}, "echo: is not supported"),
    ({"prompt": "a", "best_of": 2}, "best_of: expected an integer of at most 1"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens: expected an integer of at least 1"),
    ({"prompt": "a", "provider": {"x": 1}}, "provider.x: there is no such field"),
    (
        {"prompt": "a", "reasoning": {"effort": "low", "max_tokens": 5}},
        "reasoning: effort and max_tokens exclude each other",
    ),
]


@pytest.mark.parametrize("row", WRONG, ids=[row[1][:50] for row in WRONG])
def test_a_wrong_field_is_refused_by_its_path(row: tuple[dict[str, Any], str]) -> None:
    with pytest.raises(CallerError) as caught:
        parse_request(json.dumps({"model": "a/b", **row[0]}).encode())
    assert caught.value.message == row[1]


def test_a_stream_is_rendered_as_text_chunks() -> None:
    data = wire(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "a"}),
        chunk({"content": "b\u2028"}),
        *END,
    )
    for size in (1, 13, len(data)):
        way = relay(HEAD, "openai_chat")
        out = run(way, [data[n : n + size] for n in range(0, len(data), size)])
        assert way.meter.ended
        out += way.ending(BILL)
        assert out.endswith(b"data: [DONE]\n\n")
        chunks = read_chunks(out)
        for one in chunks:
            # OpenAI's own streams have null here before the end, though its type says otherwise.
            choices = [{**c, "finish_reason": c["finish_reason"] or "stop"} for c in one["choices"]]
            Completion.model_validate({**one, "choices": choices})
            assert (one["id"], one["object"], one["model"], one["provider"]) == (
                "gen-1",
                "text_completion",
                "acme/one",
                "Acme",
            )
        assert [one["choices"] for one in chunks] == [
            [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}],
            [{"index": 0, "text": "b\u2028", "logprobs": None, "finish_reason": None}],
            [
                {
                    "index": 0,
                    "text": "",
                    "logprobs": None,
                    "finish_reason": "length",
                    "native_finish_reason": "length",
                }
            ],
            [],
        ]
        assert chunks[-1]["usage"]["cost"] == 0.0000015
        assert (way.meter.usage, way.meter.text_bytes) == (Usage(5, 7), 5)


def test_a_body_is_rendered_as_a_text_completion() -> None:
    body = {
        "choices": [
            {
                "index": n,
                "message": {"content": f"x{n}", "reasoning": "hm"},
                "finish_reason": "stop",
            }
            for n in (0, 1)
        ],
        "usage": USAGE,
    }
    way = relay(WHOLE, "openai_chat")
    assert run(way, [json.dumps(body).encode()]) == b""
    decoded = json.loads(way.ending(BILL))
    Completion.model_validate(decoded)
    assert [(c["text"], c["reasoning"], c["finish_reason"]) for c in decoded["choices"]] == [
        ("x0", "hm", "stop"),
        ("x1", "hm", "stop"),
    ]
    assert decoded["usage"]["total_tokens"] == 12


def test_reasoning_rides_beside_the_text_unless_it_is_not_wanted() -> None:
    data = wire(chunk({"reasoning_content": "hm"}), chunk({"content": "a"}), *END)
    way = relay(HEAD, "openai_chat")
    assert read_chunks(run(way, [data]))[0]["choices"][0]["reasoning"] == "hm"
    asked = b'{"model":"a","prompt":"x","include_reasoning":false}'
    way = relay(HEAD, "openai_chat", (), parse_request(asked))
    assert b"hm" not in run(way, [data])
    assert way.meter.reasoning_bytes == 2


def test_faults_reach_the_meter_and_failures_are_one_event() -> None:
    way = relay(HEAD, "openai_chat")
    out = run(way, [wire(chunk({"content": "a"}), {"error": {"message": "x"}})])
    assert way.meter.fault is not None
    assert read_chunks(out)[0]["choices"][0]["text"] == "a"
    (one,) = read_chunks(way.failure(errors.broken_stream("Acme", way.meter.fault)))
    assert one["choices"][0]["finish_reason"] == "error"
    assert one["error"]["code"] == 502
    whole = relay(WHOLE, "openai_chat").failure(errors.bad_field("n", "is wrong"))
    assert json.loads(whole)["error"]["code"] == 400


def test_the_dialects_are_found_by_name() -> None:
    for name in ("openai_chat", "openai_completions"):
        module = dialect(name)
        for part in ("parse_request", "relay", "render_error"):
            assert callable(getattr(module, part))
    for part in ("render_request", "parse_fault", "parser"):
        assert callable(getattr(dialect("openai_chat"), part))
    with pytest.raises(KeyError):
        relay(HEAD, "no_such_dialect")
    with pytest.raises(KeyError):
        dialect("openai_chat").relay(HEAD, "no_such_dialect")
