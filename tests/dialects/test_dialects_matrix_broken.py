"""Every pair of dialects when one end is broken: bytes and JSON damaged at random.

A provider's broken answer is a fault or a bounded usage, never an exception; a client's broken
request is a CallerError or a request that every dialect can write. Each failure prints the seed
that replays it.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from matrix_support import ANSWERS, CLIENT, INBOUND, LIMIT, OUTBOUND, THINKER, head, wire

from support.conversations import FORMATS, answer, asking, conversations, kit
from tollway import canon, dialects, errors
from tollway.canon import TOKENS_MAX
from tollway.dialects import Bill, Outbound, dialect
from tollway.errors import CallerError

SEED = 5_150
JUNK: tuple[Any, ...] = (None, True, -1, 1e300, 10**30, "", "\u2028é", [], {}, [[]], {"type": 5})


# ---- answers -------------------------------------------------------------------------------------


def damaged(random: Random, data: bytes) -> bytes:
    """One to three injuries: a byte changed, a piece cut out, doubled or put in, the end missing,
    a number made absurd."""
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(data) + 1)
        end = min(len(data), at + random.randrange(1, 60))
        match random.randrange(6):
            case 0:
                data = data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:end] + data[at:]
            case 3:
                data = data[:at]
            case 4:
                piece = random.choice([b"<html>", b"\r\n\r\n", b"null", b'{"error":"x"}', b"\xff"])
                data = data[:at] + piece + data[at:]
            case _:
                digits = [n for n, byte in enumerate(data) if byte in b"123456789"]
                if digits:
                    at = random.choice(digits)
                    absurd = random.choice([b"-1", b"1e999", b"99999999999999999999", b'"7"'])
                    data = data[:at] + absurd + data[at + 1 :]
    return data


@pytest.mark.parametrize(("given", "target"), ANSWERS)
def test_a_broken_answer_is_a_fault_or_an_answer_and_never_raises(given: str, target: str) -> None:
    ends = {"fault": 0, "answer": 0}
    for seed in range(SEED, SEED + 60):
        random = Random(seed)
        stream = target not in ANSWERED_WHOLE or random.random() < 0.5
        whole = wire(target, answer(seed, FORMATS.get(target, "anthropic-claude-v1")), stream)
        data = damaged(random, whole)
        size = random.choice([7, 64, len(data) + 1])
        try:
            ends[_deliver(given, target, data, stream, size)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, stream {stream}") from error
    assert ends["fault"] > 0
    assert ends["answer"] > 0 or target == "bedrock_converse"  # its frames carry checksums


ANSWERED_WHOLE = {target for _, target in ANSWERS} - {"bedrock_converse", "cohere_v2", "ollama"}


def _deliver(given: str, target: str, data: bytes, stream: bool, size: int) -> str:
    way = dialect(given).relay(head(stream), target, (), None)
    for n in range(0, len(data), size):
        told = way.feed(data[n : n + size])
        assert isinstance(told, bytes)
        if way.meter.fault is not None:
            break
    if way.meter.fault is None and not way.meter.ended:
        way.finish()
    usage = way.meter.usage_or_estimate(10)
    counts = [value for value in usage.__struct_fields__ if isinstance(getattr(usage, value), int)]
    assert all(0 <= getattr(usage, name) <= TOKENS_MAX for name in counts)
    if way.meter.fault is None:
        assert way.meter.ended, "neither a fault nor an end"
        assert way.ending(Bill(usage, 1, 1, 1))
        return "answer"
    assert 400 <= way.meter.fault.status <= 599
    assert way.feed(data) == b"", "something was said after the fault"
    way.failure(errors.broken_stream("Acme", way.meter.fault))
    return "fault"


# ---- requests ------------------------------------------------------------------------------------


def twisted(random: Random, body: Any) -> Any:
    """The same JSON with one value, anywhere, replaced by junk or taken out."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys: Any = node if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(body)
    holder, key = random.choice(places)
    if random.random() < 0.2:
        del holder[key]
    else:
        holder[key] = random.choice(JUNK)
    return body


@pytest.mark.parametrize("name", INBOUND)
def test_a_broken_request_is_refused_or_can_be_written_for_every_provider(name: str) -> None:
    ends = {"refused": 0, "written": 0}
    for seed, spoken in conversations(SEED, 150, FORMATS.get(name, "anthropic-claude-v1")):
        with kit(spoken):
            out: Outbound = dialect(name).render_request(asking(), CLIENT, LIMIT)
        body = json.dumps(twisted(Random(seed), json.loads(out.body))).encode()
        try:
            ends[_send(name, body, out.path)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {body!r}") from error
    assert min(ends.values()) > 0, ends


def _send(name: str, body: bytes, path: str) -> str:
    try:
        request: canon.Request = dialect(name).parse_request(body, {}, path)
    except CallerError as error:
        assert error.status == 400
        return "refused"
    assert request.prompt_bytes >= 0
    for target in OUTBOUND:
        try:
            out = dialect(target).render_request(request, THINKER, LIMIT)
        except CallerError:
            continue
        json.loads(out.body)
    dialects.conversation(request)
    return "written"
