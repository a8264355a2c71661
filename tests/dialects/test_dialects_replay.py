"""An answer told again, in every dialect a client speaks, from every dialect a provider speaks: the
same as the first one but for ids, times and usage."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from dialect_support import attempt
from matrix_support import ANSWERS, bill, head, wire

from support.conversations import FORMATS, answer
from tollway import caching, dialects
from tollway.canon import Request
from tollway.dialects import Relay, dialect
from tollway.routing.entries import Attempt

ROOM = 10**6
SEEDS = range(6)


def asked(given: str, stream: bool) -> Request:
    """A request of a client of `given`, as short as it can be."""
    messages = [{"role": "user", "content": "hi"}]
    body: dict[str, Any] = {"model": "a/b", "stream": stream, "messages": messages}
    method = "streamGenerateContent" if stream else "generateContent"
    headers: dict[str, str] = {}
    if given == "openai_responses":
        body = {"model": "a/b", "stream": stream, "input": "hi"}
    elif given == "anthropic_messages":
        body["max_tokens"] = 99
    elif given == "gemini":
        body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        headers = {"x-tollway-alt": "sse"}
    path = f"/v1beta/models/a/b:{method}"
    request: Request = dialect(given).parse_request(json.dumps(body).encode(), headers, path)
    return request


def first(request: Request, target: str, data: bytes, size: int) -> tuple[list[bytes], Relay]:
    """What the first caller gets, taped."""
    relay: Relay = caching.Taped(
        dialects.relay(request, head(request.stream), target, ()), _attempt(target), ROOM
    )
    out = []
    for n in range(0, len(data), size):
        out.append(relay.feed(data[n : n + size]))
        if relay.meter.ended:
            break
    else:
        out.append(relay.finish())
    assert relay.meter.fault is None, relay.meter.fault
    assert relay.meter.usage is not None
    return [*out, relay.ending(bill(relay.meter.usage))], relay


def _attempt(target: str) -> Attempt:
    made = attempt()
    endpoint = msgspec.structs.replace(made.endpoint, dialect=target)
    return msgspec.structs.replace(made, endpoint=endpoint)


def events(out: bytes) -> list[bytes]:
    """The pieces a client reads: events of a stream, or one body."""
    pieces = re.split(rb"\r?\n\r?\n", out)
    return [piece for piece in pieces if piece]


OURS = re.compile(r"\b(gen|[a-z]{2,3})([-_])2(?=$|_\d+$)")
"""Ids made from the generation's: `gen-2`, and `msg_2_1` for its parts."""


def without_usage(piece: bytes) -> Any:
    """A piece with its ids, times and usage blanked; what is not JSON as it is."""
    lines = []
    for line in piece.split(b"\n"):
        prefix, _, data = line.rpartition(b"data: ")
        try:
            lines.append((prefix, _blank(json.loads(data))))
        except ValueError:
            lines.append((prefix, data))
    return lines


def _blank(value: Any) -> Any:
    if isinstance(value, list):
        return [_blank(one) for one in value]
    if not isinstance(value, dict):
        return OURS.sub(r"\1\g<2>1", value) if isinstance(value, str) else value
    hidden = {"usage", "usageMetadata", "created", "created_at"}
    return {k: "…" if k in hidden else _blank(v) for k, v in value.items()}


def counts(value: Any) -> list[float]:
    """Every number said about use or money, anywhere."""
    if isinstance(value, list):
        return [n for one in value for n in counts(one)]
    if not isinstance(value, dict):
        return []
    found: list[float] = []
    for name, inner in value.items():
        if name in ("usage", "usageMetadata") and isinstance(inner, dict):
            found += _numbers(inner)
        else:
            found += counts(inner)
    return found


def _numbers(value: Any) -> list[float]:
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [n for one in inner for n in _numbers(one)]


def numbers_of(piece: bytes) -> list[float]:
    found: list[float] = []
    for line in piece.split(b"\n"):
        data = line.rpartition(b"data: ")[2]
        try:
            found += counts(json.loads(data))
        except ValueError:
            continue
    return found


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("given", "target"), ANSWERS)
def test_a_replay_is_the_first_answer_with_other_ids_and_nothing_used(
    given: str, target: str, stream: bool
) -> None:
    if not stream and target in ("bedrock_converse", "cohere_v2", "ollama"):
        return  # their whole bodies are written nowhere here; the stream says what matters
    request = asked(given, stream)
    said_use = 0
    for seed in SEEDS:
        data = wire(target, answer(seed, FORMATS.get(target, "anthropic-claude-v1")), stream)
        out, relay = first(request, target, data, size=170)
        kept = caching.kept(relay, "gen-1", 5.0, 6.0, 300)
        assert kept is not None
        again = list(caching.replay(kept, request, "gen-2", 1_900_000_000))
        was, now = events(b"".join(out)), events(b"".join(again))
        assert len(was) == len(now)
        assert list(map(without_usage, was)) == list(map(without_usage, now)), f"seed {seed}"
        assert b"gen-1" not in b"".join(again)
        assert b"gen-2" in b"".join(again)
        assert {n for piece in now for n in numbers_of(piece)} <= {0}
        said_use += sum(n for piece in was for n in numbers_of(piece)) > 0
    assert said_use == len(SEEDS)


@pytest.mark.parametrize("given", ["openai_chat", "anthropic_messages", "openai_responses"])
def test_a_replay_can_be_told_any_number_of_times(given: str) -> None:
    request = asked(given, True)
    data = wire(given, answer(3, FORMATS.get(given, "anthropic-claude-v1")), True)
    _, relay = first(request, given, data, 1_000)
    kept = caching.kept(relay, "gen-1", 5.0, 6.0, 300)
    assert kept is not None
    told = [b"".join(caching.replay(kept, request, "gen-2", 7)) for _ in range(3)]
    assert told[0] == told[1] == told[2]


def test_of_an_answer_that_is_too_long_nothing_is_kept_and_nothing_is_lost() -> None:
    request = asked("openai_chat", True)
    data = wire("openai_chat", answer(1, "anthropic-claude-v1"), True)
    plain, _ = first(request, "openai_chat", data, 50)
    relay = caching.Taped(
        dialects.relay(request, head(True), "openai_chat", ()), _attempt("openai_chat"), 300
    )
    out = b"".join(relay.feed(data[n : n + 50]) for n in range(0, len(data), 50))
    assert relay.meter.usage is not None
    assert out + relay.ending(bill(relay.meter.usage)) == b"".join(plain)
    assert caching.kept(relay, "gen-1", 5.0, 6.0, 300) is None
    assert not relay._data  # nor in memory


ANTHROPIC = b"".join(
    b"event: %s\ndata: %s\n\n" % (one["type"].encode(), json.dumps(one).encode())
    for one in (
        {
            "type": "message_start",
            "message": {
                "id": "msg_provider",
                "type": "message",
                "role": "assistant",
                "model": "native",
                "content": [],
                "stop_reason": None,
                "usage": {"input_tokens": 25, "cache_read_input_tokens": 7, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hello"},
        },
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 9, "iterations": [{"input_tokens": 25}]},
        },
        {"type": "message_stop"},
    )
)


def test_what_a_provider_counts_in_its_first_event_is_not_shown_again() -> None:
    """Anthropic tells the input when a message begins, and more besides when it ends."""
    request = asked("anthropic_messages", True)
    out, relay = first(request, "anthropic_messages", ANTHROPIC, 90)
    assert 25 in numbers_of(b"".join(out))
    kept = caching.kept(relay, "gen-1", 5.0, 6.0, 300)
    assert kept is not None
    again = b"".join(caching.replay(kept, request, "gen-2", 7))
    assert set(numbers_of(again)) == {0}
    assert b'"text":"Hello"' in again.replace(b": ", b":")
