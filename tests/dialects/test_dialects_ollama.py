"""Ollama's own chat: what it is sent, and what its lines say."""

import json
from typing import Any

import pytest
from chat_support import CALL, PIXEL, SCHEMA, TOOL, asked, body, heard, sent, sum_of

from tollway.canon import Usage
from tollway.dialects import dialect


def test_a_plain_request_says_that_it_is_not_a_stream() -> None:
    out = sent("ollama", asked())
    assert (out.path, out.dropped) == ("/api/chat", ())
    assert body(out) == {
        "model": "one-v1",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
        "options": {"num_predict": 100},
    }
    assert body(sent("ollama", asked(stream=True)))["stream"] is True


def test_parameters_are_options() -> None:
    out = sent(
        "ollama",
        asked(
            temperature=1.5, top_k=4, min_p=0.1, repetition_penalty=1.1, seed=3, stop="x", top_a=0.1
        ),
    )
    assert body(out)["options"] == {
        "temperature": 1.5,
        "top_k": 4,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "seed": 3,
        "stop": ["x"],
        "num_predict": 100,
    }
    assert out.dropped == ("top_a",)


def test_options_are_merged_and_cannot_lift_the_limit() -> None:
    wishes = {
        "options": {"acme": {"keep_alive": "5m", "options": {"num_ctx": 9, "num_predict": -1}}}
    }
    found = body(sent("ollama", asked(provider=wishes)))
    assert found["options"] == {"num_ctx": 9, "num_predict": 100}
    assert found["keep_alive"] == "5m"


def test_a_tool_loop_has_objects_and_names() -> None:
    broken = {"id": "b", "type": "function", "function": {"name": "hear", "arguments": "{oops"}}
    out = sent(
        "ollama",
        asked(
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "so", "tool_calls": [CALL, broken]},
            {"role": "tool", "tool_call_id": "b", "content": "no"},
            {"role": "tool", "tool_call_id": CALL["id"], "content": "blue"},
            tools=[TOOL],
        ),
    )
    assert body(out)["messages"][1:] == [
        {
            "role": "assistant",
            "content": "so",
            "tool_calls": [
                {"function": {"name": "look", "arguments": {"at": "sky"}}},
                {"function": {"name": "hear", "arguments": {"raw": "{oops"}}},
            ],
        },
        {"role": "tool", "content": "no", "tool_name": "hear"},
        {"role": "tool", "content": "blue", "tool_name": "look"},
    ]
    assert body(out)["tools"] == [TOOL]


@pytest.mark.parametrize(
    ("choice", "tools", "dropped"),
    [
        ("auto", 2, ()),
        ("none", 0, ()),
        ("required", 2, ("tool_choice",)),
        ({"type": "function", "function": {"name": "look"}}, 1, ("tool_choice",)),
    ],
)
def test_a_tool_choice_is_said_by_what_is_offered(choice, tools, dropped) -> None:
    other = {"type": "function", "function": {"name": "hear"}}
    out = sent("ollama", asked(tools=[TOOL, other], tool_choice=choice))
    assert (len(body(out).get("tools", ())), out.dropped) == (tools, dropped)


def test_formats_images_and_thinking() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA}}
    parts = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    out = sent(
        "ollama",
        asked(
            {"role": "user", "content": parts}, response_format=form, reasoning={"effort": "high"}
        ),
    )
    found = body(out)
    assert found["messages"] == [{"role": "user", "content": "see", "images": ["aGk="]}]
    assert (found["format"], found["think"]) == (SCHEMA, True)
    assert out.dropped == ("image by reference",)
    levels = asked(reasoning={"effort": "xhigh"}, response_format={"type": "json_object"})
    found = body(sent("ollama", levels, efforts=("low", "medium", "high")))
    assert (found["think"], found["format"]) == ("high", "json")
    assert body(sent("ollama", asked(reasoning={"enabled": False})))["think"] is False


# ---- answers -------------------------------------------------------------------------------------


def _line(message: Any = None, **more: Any) -> dict[str, Any]:
    top = {"model": "m", "created_at": "2026-11-22T00:00:00Z", "done": False}
    return {**top, **({"message": message} if message else {}), **more}


LINES = [
    _line({"role": "assistant", "content": "", "thinking": "hm"}),
    _line({"role": "assistant", "content": "It is "}),
    _line({"role": "assistant", "content": "blué\u2028"}),
    _line(
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "call_1", "function": {"name": "look", "arguments": {"at": "sky"}}}
            ],
        }
    ),
    _line(
        {"role": "assistant", "content": ""},
        done=True,
        done_reason="stop",
        prompt_eval_count=5,
        eval_count=9,
    ),
]
SAID = {
    "text": "It is blué\u2028",
    "reasoning": "hm",
    "calls": {0: ["call_1", "look", '{"at": "sky"}']},
    "details": [{"type": "reasoning.text", "text": "hm", "format": "ollama-v1", "index": 0}],
    "finish": ("tool_calls", "stop"),
    "usage": Usage(prompt_tokens=5, completion_tokens=9),
    "ended": True,
}


def lines(events: list[Any], end: bytes = b"\n") -> bytes:
    return b"".join(json.dumps(one, ensure_ascii=False).encode() + end for one in events)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
def test_lines_cut_at_every_byte_say_the_same(end) -> None:
    data = lines(LINES, end)
    for size in (1, 2, 3, 5, 7, 11, 64, len(data)):
        assert sum_of(heard("ollama", data, size)) == SAID
    assert sum_of(heard("ollama", data.rstrip(), 4)) == SAID


def test_a_whole_answer_is_one_line() -> None:
    message = {
        "role": "assistant",
        "thinking": "hm",
        "content": "It is blué\u2028",
        "tool_calls": LINES[3]["message"]["tool_calls"],
    }
    whole = {**LINES[4], "message": message}
    assert sum_of(heard("ollama", json.dumps(whole).encode(), 7, stream=False)) == SAID


def test_nothing_is_read_after_the_end() -> None:
    parser = dialect("ollama").parser(True)
    assert len(parser.feed(lines(LINES))) > 0
    assert parser.feed(lines(LINES[:2])) == []
    assert parser.finish() == []


def test_calls_without_ids_get_their_own() -> None:
    call = {"function": {"name": "look", "arguments": {}}}
    twice = _line({"role": "assistant", "tool_calls": [call, call]})
    ids = []
    for at in ("2026-11-22T00:00:00Z", "2026-11-22T00:00:01Z"):
        data = lines([{**twice, "created_at": at}, LINES[4]])
        found = sum_of(heard("ollama", data, 10))["calls"]
        assert found == sum_of(heard("ollama", data, 1))["calls"]
        ids += [found[0][0], found[1][0]]
    assert len(set(ids)) == 4
    assert all(id.startswith("call_") for id in ids)


def test_without_a_count_of_the_prompt_nothing_is_reported() -> None:
    end = {**LINES[4], "prompt_eval_count": None, "done_reason": "length"}
    found = sum_of(heard("ollama", lines([LINES[1], end]), 10))
    assert found["finish"] == ("length", "length")
    assert "usage" not in found


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 502),
        (b"<html>busy</html>", 502),
        (lines(LINES[:3]), 502),
        (lines([LINES[1], {"error": "model runner has unexpectedly stopped"}]), 502),
        (lines([{"error": "server busy, too many requests"}]), 429),
        (lines([_line({"role": "assistant", "content": ""}, done=True, done_reason="load")]), 502),
        (b'{"message": {"content": 5}}\n', 502),
        (b"[1]\n", 502),
        (b'{"model": "\xff", "done": true}\n', 502),
    ],
)
def test_broken_lines_end_in_one_fault(data, status) -> None:
    found = heard("ollama", data, 3)
    assert [type(one).__name__ for one in found].count("Failed") == 1
    assert sum_of(found)["fault"].status == status
    assert "ended" not in sum_of(found)


@pytest.mark.parametrize(
    ("status", "raw", "expected"),
    [
        (404, b'{"error":"model \\"x\\" not found"}', (502, "provider_unavailable", "elsewhere")),
        (
            400,
            b'{"error":"prompt too long; exceeded max context length by 9 tokens"}',
            (400, "context_length_exceeded", "larger"),
        ),
        (
            503,
            b'{"error":"server busy, please try again. maximum pending requests exceeded"}',
            (503, "provider_overloaded", "elsewhere"),
        ),
        (500, b'{"error":"boom"}', (502, "provider_unavailable", "elsewhere")),
    ],
)
def test_refusals_by_table(status, raw, expected) -> None:
    fault = dialect("ollama").parse_fault(status, {}, raw)
    assert (fault.status, fault.error_type, fault.retry) == expected
