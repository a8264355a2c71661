"""How a sandbox answer goes over the wire, and how it breaks: the plan of one exchange.

Pure. From a request and the words that hold to a `Play`: a head and lazily made steps, each a wait,
bytes or a break. `sandbox` acts it out. Rules. Events are counted as they leave, from 1, the role
event included; an answer that is not streamed is one event, and what would break after it breaks
inside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec

from . import sandbox_models as models
from . import sandbox_wire as wire
from .sandbox_grammar import BEFORE
from .sandbox_wire import Event


class Wait(msgspec.Struct, frozen=True):
    """Seconds of silence; infinite for a stall."""

    seconds: float


class Cut(msgspec.Struct, frozen=True):
    """The connection breaks here."""


Step = Wait | Event | Cut

STALL = Wait(math.inf)


class Play(msgspec.Struct, frozen=True):
    """`before` happens ahead of the head."""

    status: int
    headers: dict[str, str]
    before: tuple[Step, ...]
    steps: Iterator[Step]


def play(prompt: models.Prompt, wishes: Mapping[str, object]) -> Play:
    """`wishes` are the words of the directives that hold, merged. Raises models.BadRequest."""
    said = models.answer(prompt, wishes)
    before = list(_before(wishes))
    status = _int(wishes, "status")
    if status is not None:
        return _refusal(status, wishes, before)
    if "html" in wishes:
        page = Event(b"<!doctype html><html><body><h1>It works!</h1></body></html>")
        return Play(200, {"content-type": "text/html"}, tuple(before), iter((page,)))
    streamed = prompt.ask.stream
    kind = "text/event-stream; charset=utf-8" if streamed else "application/json"
    headers = {"content-type": kind, "x-request-id": f"req-{said.id}"}
    if "empty" in wishes:
        return Play(200, headers, tuple(before), iter(()))
    usage = _usage(said, wishes)
    finish = str(wishes.get("finish", said.finish))
    if streamed:
        asked = prompt.ask.stream_options
        with_usage = asked is not None and asked.include_usage
        events = wire.stream(said, usage if with_usage else None, finish)
        return Play(200, headers, tuple(before), _stream_steps(events, said, wishes))
    if seconds := _pace(said, wishes):
        before.append(Wait(seconds))
    event = wire.body(said, usage, finish)
    return Play(200, headers, tuple(before), _body_steps(event, wishes))


def refusal(error: models.BadRequest) -> Play:
    """What the sandbox answers to a request it cannot take."""
    body = wire.error_of(error.status, error.code, error.message)
    headers = {"content-type": "application/json"}
    return Play(error.status, headers, (), iter((Event(msgspec.json.encode(body)),)))


def _refusal(status: int, wishes: Mapping[str, object], before: list[Step]) -> Play:
    headers = {"content-type": "application/json"}
    wait = wishes.get("retry_after")
    if isinstance(wait, float):
        headers["retry-after"] = f"{wait:g}"
    code = str(wishes.get("code", CODES.get(status, "sandbox_fault")))
    body = wire.error_of(status, code, f"The sandbox was asked to answer {status}.")
    return Play(status, headers, tuple(before), iter((Event(msgspec.json.encode(body)),)))


CODES = {
    400: "invalid_request",
    401: "invalid_api_key",
    402: "insufficient_balance",
    403: "permission_denied",
    404: "model_not_found",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    500: "internal_error",
    503: "overloaded",
    529: "overloaded",
}


def _before(wishes: Mapping[str, object]) -> Iterator[Step]:
    seconds = wishes.get("slow_headers")
    if isinstance(seconds, float):
        yield Wait(seconds)
    if wishes.get("stall") == BEFORE:
        yield STALL
    if wishes.get("die") == BEFORE:
        yield Cut()


def _stream_steps(
    events: Iterator[Event], said: models.Said, wishes: Mapping[str, object]
) -> Iterator[Step]:
    delay = wishes.get("delay")
    if isinstance(delay, float):
        yield Wait(delay)
    rate = wishes.get("rate")
    bad = _int(wishes, "bad_json")
    if "no_done" not in wishes:
        events = chain(events, (Event(wire.DONE),))
    n = 0
    while not (breaks := tuple(_breaks(n, wishes))):
        event = next(events, None)
        if event is None:
            return
        n += 1
        if event.tokens and isinstance(rate, float):
            yield Wait(event.tokens / rate)
        yield Event(_spoilt(event.data), event.tokens) if n == bad else event
    yield from breaks


def _breaks(n: int, wishes: Mapping[str, object]) -> Iterator[Step]:
    """What ends the stream after its n-th event."""
    if _int(wishes, "error_after") == n:
        yield wire.event(_INSIDE)
    if _int(wishes, "stall") == n:
        yield STALL
    if _int(wishes, "die") == n:
        yield Cut()


def _body_steps(event: Event, wishes: Mapping[str, object]) -> Iterator[Step]:
    half = len(event.data) // 2
    if "error_after" in wishes:
        yield Event(msgspec.json.encode(_INSIDE))
    elif "die" in wishes or "stall" in wishes:
        ends = STALL if "stall" in wishes else Cut()
        if wishes.get("die" if "die" in wishes else "stall") != 0:
            yield Event(event.data[:half])
        yield ends
    elif "bad_json" in wishes:
        yield Event(event.data[:half], event.tokens)
    else:
        yield event


_INSIDE = wire.error_of(503, "overloaded", "The sandbox was asked to fail inside its answer.")


def _pace(said: models.Said, wishes: Mapping[str, object]) -> float:
    """Seconds a body that is not streamed takes."""
    delay, rate = wishes.get("delay"), wishes.get("rate")
    seconds = delay if isinstance(delay, float) else 0.0
    if isinstance(rate, float):
        seconds += said.completion_tokens * said.choices / rate
    return seconds


def _usage(said: models.Said, wishes: Mapping[str, object]) -> dict[str, Any] | None:
    usage = wire.usage_of(said)
    if "no_usage" in wishes:
        return None
    if "negative_usage" in wishes:
        usage.update(prompt_tokens=-5, completion_tokens=-7, total_tokens=-12)
    if "huge_usage" in wishes:
        usage.update(completion_tokens=10**15, total_tokens=10**15 + said.prompt_tokens)
    return usage


def _spoilt(data: bytes) -> bytes:
    """The event cut in half inside its JSON, and ended as if nothing were wrong."""
    return data[: len(data) // 2].rstrip(b"\n") + b"\n\n"


def _int(wishes: Mapping[str, object], word: str) -> int | None:
    value = wishes.get(word)
    return value if isinstance(value, int) else None
