r"""dialects/surrogates.py: half a pair (`\ud83d` alone) costs a character, never an answer."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec
import pytest
from chat_support import heard, sum_of
from matrix_support import ANSWERS, read, relayed, wire

from support.wires import WIRES
from tollway import canon
from tollway.conversation import Call
from tollway.dialects import faults
from tollway.dialects.openai_responses.freeform import unwrapped
from tollway.dialects.spoken import arguments_of
from tollway.dialects.surrogates import object_of, paired

HALF, SIGN = r"\ud83d", "\ufffd"
MARK = "HALF"


@pytest.mark.parametrize(
    ("given", "mended"),
    [
        (r'"a\ud83db"', r'"a\ufffdb"'),
        (r'"\uDE00"', r'"\ufffd"'),
        (r'"\ud83d"', r'"\ufffd"'),
        (r'"\ud83d\ud83d\ude00\ude00"', r'"\ufffd\ud83d\ude00\ufffd"'),
        (r'"\ud83d\n\ude00"', r'"\ufffd\n\ufffd"'),
        (r'"\\\ud83d"', r'"\\\ufffd"'),
        (r'{"\udbff":1}', r'{"\ufffd":1}'),
        (r'"\ud83d\ude00"', None),
        (r'"\\ud83d"', None),
        (r'"\u00e9 \ue000 \ud7ff"', None),
        (r'"plain" and not json', None),
    ],
)
def test_half_a_pair_becomes_a_sign_and_all_else_stays(given: str, mended: str | None) -> None:
    assert paired(given.encode()) == (None if mended is None else mended.encode())


def test_what_is_mended_is_what_python_reads_with_signs_in_it() -> None:
    seed = Random().randrange(10**9)
    random = Random(seed)
    pieces = [r"\ud83d", r"\ude00", r"\uD83D", r"\\", r"\n", r"\"", r"\u0041", "ud83d", "é", "x"]
    for _ in range(500):
        text = '"' + "".join(random.choices(pieces, k=random.randrange(9))) + '"'
        wanted = json.loads(text).encode(errors="surrogatepass").decode("utf-8", "ignore")
        mended = paired(text.encode())
        got = msgspec.json.decode(text.encode() if mended is None else mended)
        assert got.replace(SIGN, "") == wanted, f"seed {seed}: {text}"


def answer(target: str, stream: bool) -> bytes:
    """Text and a call, each with half a pair in it, as a provider of `target` writes them."""
    said = MARK if target not in WIRES else "\ud83d"
    events: list[canon.Event] = [
        canon.Text(f"a{said}b"),
        canon.ToolCall(0, "call00001", "look", f'{{"a":"{said}"}}'),
        canon.Finish("tool_calls"),
        canon.Used(canon.Usage(5, 7)),
        canon.Ended(),
    ]
    data = wire(target, events, stream)
    assert (MARK.encode() if target not in WIRES else HALF.encode()) in data
    return data.replace(MARK.encode(), HALF.encode())


WAYS = [(g, t, s) for g, t in ANSWERS for s in (True, False) if s or t not in WIRES]


@pytest.mark.parametrize(("given", "target", "stream"), WAYS)
def test_every_answer_with_half_a_pair_reaches_every_client(
    given: str, target: str, stream: bool
) -> None:
    out = relayed(given, target, answer(target, stream), stream, 100_000)
    told = sum_of(read(given, out, stream))
    assert told["text"] == f"a{SIGN}b"
    ((_, name, arguments),) = told["calls"].values()
    assert (name, json.loads(arguments)) == ("look", {"a": SIGN})


BODIES: dict[str, Any] = {
    "bedrock_converse": {
        "output": {"message": {"role": "assistant", "content": [{"text": "a\ud83db"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 5, "outputTokens": 7},
    },
    "cohere_v2": {
        "message": {"role": "assistant", "content": [{"type": "text", "text": "a\ud83db"}]},
        "finish_reason": "COMPLETE",
    },
    "mistral": {
        "choices": [{"index": 0, "message": {"content": "a\ud83db"}, "finish_reason": "stop"}],
    },
    "ollama": {"message": {"content": "a\ud83db"}, "done": True, "done_reason": "stop"},
}


@pytest.mark.parametrize("name", BODIES)
def test_a_whole_answer_with_half_a_pair_is_read(name: str) -> None:
    data = json.dumps(BODIES[name]).encode()
    assert HALF.encode() in data
    told = sum_of(heard(name, data, len(data), stream=False))
    assert (told["text"], "fault" in told) == (f"a{SIGN}b", False)


def test_vectors_beside_half_a_pair_are_read() -> None:
    body = {"data": [{"embedding": [1.0]}], "note": "\ud83d", "usage": {"prompt_tokens": 2}}
    (vector, used, _) = heard("embed_openai", json.dumps(body).encode(), 20, stream=False)
    assert vector == canon.Extra("embedding", msgspec.Raw(b"[1.0]"))
    assert used == canon.Used(canon.Usage(prompt_tokens=2))


def test_a_chunk_of_a_usual_stream_and_one_over_several_lines_pass_mended() -> None:
    chunks = [
        {"id": "x", "choices": [{"index": 0, "delta": {"content": text}}]}
        for text in ("a", "b\ud83d", "c")
    ]
    lines = json.dumps(chunks[1], indent=1).replace("\n", "\ndata: ")
    end = {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
    texts = [*map(json.dumps, chunks), lines, *map(json.dumps, (chunks[2], end, usage)), "[DONE]"]
    data = "".join(f"data: {text}\n\n" for text in texts).encode()
    out = relayed("openai_chat", "openai_chat", data, True, 33)
    assert sum_of(read("openai_chat", out, True))["text"] == f"ab{SIGN}cb{SIGN}c"
    assert HALF.encode() not in out


def test_what_is_broken_besides_stays_broken() -> None:
    data = b'data: {"choices":[{"delta":{"content":"a\\ud83d"}}]\n\n'
    told = sum_of(heard("openai_chat", data, len(data)))
    assert told["fault"].provider_code == "invalid_answer"


def test_an_error_with_half_a_pair_is_understood() -> None:
    body = rb'{"error":{"message":"too many \ud83d tokens","code":"context_length_exceeded"}}'
    assert faults.parse_fault(400, {}, body).error_type == "context_length_exceeded"


# ---- the arguments' own JSON, which is a string in an answer -------------------------------------

INNER = json.dumps({"a": f"x{MARK}"}).replace(MARK, HALF)


def test_arguments_with_half_a_pair_are_an_object() -> None:
    assert object_of(INNER) == msgspec.Raw(b'{"a": "x\\ufffd"}')
    assert object_of("[1]") is None
    assert object_of('{"a":') is None
    assert arguments_of(Call("c", "look", INNER)) == {"a": f"x{SIGN}"}


@pytest.mark.parametrize("given", ["anthropic_messages", "gemini"])
def test_clients_who_are_given_objects_are_given_one(given: str) -> None:
    events: list[canon.Event] = [
        canon.ToolCall(0, "call00001", "look", INNER),
        canon.Finish("tool_calls"),
        canon.Used(canon.Usage(5, 7)),
        canon.Ended(),
    ]
    for stream in (True, False):
        data = wire("openai_chat", events, stream)
        out = relayed(given, "openai_chat", data, stream, len(data))
        ((_, _, arguments),) = sum_of(read(given, out, stream))["calls"].values()
        assert json.loads(arguments) in ({"a": f"x{SIGN}"}, json.loads(INNER))
        assert stream or b"raw_arguments" not in out


def test_a_custom_tool_is_given_its_text() -> None:
    assert unwrapped(rf'{{"input":"ls {HALF}"}}') == f"ls {SIGN}"
