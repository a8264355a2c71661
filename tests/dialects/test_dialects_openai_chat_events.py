"""dialects/openai_chat_events.py, against streams as providers send them (openai_chat/*.wire)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dialect_support import BILL, HEAD, chunk, read_chunks, said, wire

from tollway import canon
from tollway.canon import Event
from tollway.dialects.openai_chat import parser, relay

CASES = sorted((Path(__file__).parent / "openai_chat").glob("*.wire"))


def events(data: bytes, size: int | None = None, stream: bool = True, *quirks: str) -> list[Event]:
    way = parser(stream, quirks)
    step = size or max(1, len(data))
    found = [e for n in range(0, len(data), step) for e in way.feed(data[n : n + step])]
    return found if way.meter.ended else found + way.finish()


def plain(found: list[Event]) -> Any:
    """Events as JSON values, neighbouring pieces of text joined."""
    return json.loads(msgspec.json.encode(found))


@pytest.mark.parametrize("case", CASES, ids=[path.stem for path in CASES])
def test_a_providers_stream_gives_its_events_however_it_is_cut(case: Path) -> None:
    data = case.read_bytes()
    expected = json.loads(case.with_suffix(".events.json").read_bytes())
    for size in (None, 1, 7, 64):
        assert plain(events(data, size)) == expected


@pytest.mark.parametrize("case", CASES, ids=[path.stem for path in CASES])
def test_passing_a_stream_on_and_parsing_it_agree(case: Path) -> None:
    data = case.read_bytes()
    way = relay(HEAD, "openai_chat")
    out = way.feed(data)
    out += b"" if way.meter.ended else way.finish()
    found = events(data)
    reader = parser(True)
    reader.feed(data)
    if way.meter.fault is None:
        out += way.ending(BILL)
    else:
        assert found[-1] == canon.Failed(way.meter.fault)
    (choice,) = said(read_chunks(out)).values()
    assert choice["content"] == "".join(e.text for e in found if isinstance(e, canon.Text))
    assert choice["reasoning"] == "".join(e.text for e in found if isinstance(e, canon.Reasoning))
    assert choice["finish"] == [e.reason for e in found if isinstance(e, canon.Finish)]
    for name in ("text_bytes", "reasoning_bytes", "usage", "finish", "upstream_id"):
        assert getattr(way.meter, name) == getattr(reader.meter, name)


def test_every_part_of_a_delta_becomes_an_event() -> None:
    delta = {
        "content": "a",
        "refusal": "b",
        "reasoning_content": "c",
        "audio": {"id": "x"},
        "images": [{"type": "image_url"}],
        "annotations": [{"type": "url_citation"}],
    }
    one = chunk(delta, index=2)
    one["choices"][0]["logprobs"] = {"content": []}
    assert plain(events(wire(one, done=False)))[:-1] == [
        {
            "type": "Reasoning",
            "text": "c",
            "details": [{"type": "reasoning.text", "text": "c", "format": "unknown", "index": 0}],
            "choice": 2,
        },
        {"type": "Text", "text": "a", "choice": 2},
        {"type": "Refusal", "text": "b", "choice": 2},
        {"type": "Extra", "name": "audio", "value": {"id": "x"}, "choice": 2},
        {"type": "Extra", "name": "images", "value": [{"type": "image_url"}], "choice": 2},
        {"type": "Extra", "name": "annotations", "value": [{"type": "url_citation"}], "choice": 2},
        {"type": "Extra", "name": "logprobs", "value": {"content": []}, "choice": 2},
    ]


def test_a_whole_body_gives_the_events_of_its_stream() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]
    body = {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a", "tool_calls": calls},
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    data = json.dumps(body).encode()
    assert events(data, 5, False) == [
        canon.Text("a"),
        canon.ToolCall(0, "c", "f", "{"),
        canon.Finish("tool_calls", "tool_calls"),
        canon.Used(canon.Usage(1, 2)),
        canon.Ended(),
    ]
    for broken in (b"<html>", b"", b'{"error":"x"}', data[:-1]):
        (only,) = events(broken, None, False)
        assert isinstance(only, canon.Failed)


def test_think_tags_are_taken_apart_in_streams_and_bodies() -> None:
    pieces = [chunk({"content": t}) for t in ("<thi", "nk>h</think>", "a</th")]
    kinds = [
        (type(e).__name__, getattr(e, "text", ""))
        for e in events(wire(*pieces), None, True, "think_tags_in_content")
    ]
    assert kinds == [("Reasoning", "h"), ("Text", "a</th"), ("Finish", ""), ("Ended", "")]
    body = {"choices": [{"message": {"content": "<think>h</think>a"}, "finish_reason": "stop"}]}
    found = events(json.dumps(body).encode(), None, False, "think_tags_in_content")
    assert [getattr(e, "text", None) for e in found] == ["h", "a", None, None]


def test_a_fault_is_one_event_and_the_last() -> None:
    data = wire(chunk({"content": "a"}), {"error": {"message": "x"}}, chunk({"content": "b"}))
    for size in (None, 1):
        found = events(data, size)
        assert [type(e) for e in found] == [canon.Text, canon.Failed]
