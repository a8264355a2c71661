"""Tool calls are collected the same by every relay, whatever both sides speak."""

import json

import pytest
from dialect_support import HEAD, chunk, run
from dialect_support import wire as stream_of
from matrix_support import ANSWERS, WRITERS, head, wire

from support.conversations import FORMATS, answer
from tollway import canon
from tollway.dialects import dialect
from tollway.dialects.openai_chat_stream import StreamRelay
from tollway.dialects.toolcalls import BYTES_MAX, CALLS_MAX, ToolCalls

SEED = 41_000
COUNT = 12


def said(events: list[canon.Event]) -> list[tuple[str, object]]:
    """Name and decoded arguments of each call of an answer."""
    calls: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, canon.ToolCall):
            name, text = calls.get(event.index, ["", ""])
            calls[event.index] = [name or event.name or "", text + event.arguments]
    return [(name, json.loads(text or "{}")) for name, text in calls.values()]


@pytest.mark.parametrize(
    ("given", "target", "stream"),
    [(*cell, True) for cell in ANSWERS]
    + [(*cell, False) for cell in ANSWERS if cell[1] in WRITERS],
)
def test_every_relay_collects_the_calls_of_an_answer(given, target, stream) -> None:
    seen = 0
    for seed in range(SEED, SEED + COUNT):
        events = answer(seed, FORMATS.get(target, "anthropic-claude-v1"))
        data = wire(target, events, stream)
        way = dialect(given).relay(head(stream), target, (), None)
        way.meter.calls = ToolCalls()
        run(way, [data[n : n + 97] for n in range(0, len(data), 97)])
        found = [(name, json.loads(text or "{}")) for name, text in way.meter.calls.whole()]
        assert found == said(events), f"seed {seed}"
        seen += len(found)
    assert seen > 5


def test_nothing_is_collected_where_nobody_asked() -> None:
    relay = StreamRelay(HEAD)
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    run(relay, [stream_of(chunk({"tool_calls": [call]}), chunk(finish="tool_calls"))])
    assert relay.meter.calls is None


def collected(*events: dict[str, object]) -> list[tuple[str, str]]:
    relay = StreamRelay(HEAD)
    relay.meter.calls = ToolCalls()
    run(relay, [stream_of(*events)])
    return list(relay.meter.calls.whole())


def fragment(arguments: str, name: str | None = None, **more: object) -> dict[str, object]:
    return chunk({"tool_calls": [{**more, "function": {"name": name, "arguments": arguments}}]})


def test_calls_side_by_side_are_kept_apart() -> None:
    assert collected(
        fragment("", "one", index=0, id="a"),
        fragment("", "two", index=1, id="b"),
        fragment('{"x":', index=0),
        fragment("[]", index=1),
        fragment("1}", index=0),
        chunk(finish="tool_calls"),
    ) == [("one", '{"x":1}'), ("two", "[]")]


def test_calls_without_an_index_begin_with_their_name() -> None:
    assert collected(
        fragment('{"x":', "one", id="a"),
        fragment("1}"),
        fragment("{}", "two", id="b"),
        chunk(finish="tool_calls"),
    ) == [("one", '{"x":1}'), ("two", "{}")]


def test_calls_of_several_answers_are_kept_apart() -> None:
    call = {"index": 0, "function": {"name": "f", "arguments": "{}"}}
    events = [chunk({"tool_calls": [call]}, index=n) for n in range(2)]
    assert collected(*events) == [("f", "{}"), ("f", "{}")]


def test_the_one_function_of_old_requests_is_a_call() -> None:
    piece = {"function_call": {"name": "f", "arguments": '{"a":1}'}}
    assert collected(chunk(piece), chunk(finish="function_call")) == [("f", '{"a":1}')]


def test_what_is_larger_than_an_honest_answer_is_forgotten() -> None:
    calls = ToolCalls()
    calls.add(0, "f", "x" * BYTES_MAX)
    assert not calls.overflowed
    calls.add(0, None, "x")
    assert (calls.overflowed, len(calls)) == (True, 0)
    many = ToolCalls()
    for n in range(CALLS_MAX + 1):
        assert not many.overflowed
        many.add(n, "f", "{}")
    many.add(0, "f", "{}")
    assert (many.overflowed, len(many)) == (True, 0)
