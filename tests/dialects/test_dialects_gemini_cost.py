"""What a chunk costs in the Gemini dialect alone. The bound is loose, for busy machines; the figure
is printed."""

from __future__ import annotations

import timeit
from collections.abc import Callable

import pytest
from dialect_support import HEAD, chunk, wire
from test_dialects_gemini_events import chunk as google_chunk
from test_dialects_gemini_events import wire as google_wire

from tollway.dialects import gemini, openai_chat

RUNNING = {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12}
GOOGLE = google_wire(
    [google_chunk({"text": f"word{n} "}, usageMetadata=RUNNING) for n in range(300)]
)
CHAT = wire(*[chunk({"content": f"word{n} "}) for n in range(300)], done=False)


@pytest.mark.parametrize(
    ("name", "once"),
    [
        ("gemini to gemini", lambda: gemini.relay(HEAD, "gemini").feed(GOOGLE)),
        ("chat to gemini", lambda: gemini.relay(HEAD, "openai_chat").feed(CHAT)),
        ("gemini to chat", lambda: openai_chat.relay(HEAD, "gemini").feed(GOOGLE)),
    ],
)
def test_a_chunk_in_a_burst_costs_microseconds(name: str, once: Callable[[], bytes]) -> None:
    best = min(timeit.repeat(once, number=5, repeat=5)) / 5 / 300
    print(f"{name}: {best * 1e6:.2f} us a chunk")
    assert best < 60e-6
