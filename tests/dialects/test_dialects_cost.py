"""What a chunk costs in the dialect alone. The bound is loose, for busy machines; the figure is
printed."""

from __future__ import annotations

import timeit
from typing import Any

from dialect_support import HEAD, chunk, wire

from tollway import canon
from tollway.canon import Event
from tollway.dialects.openai_chat import relay
from tollway.dialects.openai_chat_renderer import StreamRenderer
from tollway.dialects.openai_completions import relay as completions_relay


def test_a_chunk_in_a_burst_costs_microseconds() -> None:
    kinds: dict[str, list[dict[str, Any]]] = {
        "content": [chunk({"content": f"word{n} "}) for n in range(300)],
        "padded": [chunk({"content": "w "}, obfuscation="x" * (n % 9)) for n in range(300)],
        "reasoning": [chunk({"reasoning_content": f"word{n} "}) for n in range(300)],
        "tool calls": [
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "abc"}}]})
            for _ in range(300)
        ],
    }
    for name, events in kinds.items():
        burst = wire(*events, done=False)

        def once(burst: bytes = burst) -> None:
            relay(HEAD, "openai_chat").feed(burst)

        best = min(timeit.repeat(once, number=5, repeat=5)) / 5 / 300
        print(f"{name}: {best * 1e6:.2f} us a chunk")
        assert best < 40e-6


def test_an_event_written_as_a_chunk_costs_microseconds() -> None:
    kinds: dict[str, list[Event]] = {
        "text": [canon.Text(f"word{n} ") for n in range(300)],
        "reasoning": [canon.Reasoning("hm")] * 300,
        "tool calls": [canon.ToolCall(0, None, None, "abc")] * 300,
    }
    for name, events in kinds.items():

        def once(events: list[Event] = events) -> None:
            StreamRenderer(HEAD).render(events)

        best = min(timeit.repeat(once, number=5, repeat=5)) / 5 / 300
        print(f"{name} written: {best * 1e6:.2f} us an event")
        assert best < 40e-6


def test_a_translated_chunk_in_a_burst_costs_microseconds() -> None:
    burst = wire(*[chunk({"content": f"word{n} "}) for n in range(300)], done=False)

    def once() -> None:
        completions_relay(HEAD, "openai_chat").feed(burst)

    best = min(timeit.repeat(once, number=5, repeat=5)) / 5 / 300
    print(f"translated to completions: {best * 1e6:.2f} us a chunk")
    assert best < 60e-6
