"""R18: streams of every shape, cut at every place, mean the same or end as a clean fault."""

from __future__ import annotations

import os
import resource
import time
from random import Random
from typing import Any

from dialect_support import BILL, HEAD, chunk, read_chunks, run, said, wire
from stream_maker import Made, make

from tollway.canon import Usage
from tollway.dialects import Relay
from tollway.dialects.openai_chat import relay
from tollway.dialects.openai_completions import relay as completions_relay

STREAMS = 5_000
CUT_EVERYWHERE = 40
SEED = int(os.environ.get("TOLLWAY_TEST_SEED", "20261122"))


def outcome(way: Relay, parts: list[bytes]) -> tuple[bytes, bool, object]:
    """Everything that can be seen of an answer."""
    out = run(way, parts)
    meter = way.meter
    fault = meter.fault.message if meter.fault else None
    if fault is None:
        out += way.ending(BILL)
    seen = (fault, meter.spoke, meter.usage, meter.finish, meter.text_bytes, meter.reasoning_bytes)
    return out, meter.ended, seen


def cuts(random: Random, data: bytes) -> list[list[bytes]]:
    """Byte by byte, and two random cuttings."""
    ways = [[data[n : n + 1] for n in range(len(data))]]
    for _ in range(2):
        places = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(1, 6)))
        ends = [*places, len(data)]
        ways.append([data[a:b] for a, b in zip([0, *places], ends, strict=True)])
    return ways


def check_meaning(made: Made, out: bytes, ended: bool, where: str) -> None:
    chunks = read_chunks(out)
    total = said(chunks)
    assert ended is made.complete, where
    if not made.complete:
        return
    for index in made.content:
        got = total[index]
        assert got["content"] == made.content[index], where
        assert got["reasoning"] == made.reasoning[index], where
        assert got["calls"] == made.calls[index], where
        assert got["finish"] == [made.finish[index]], where
    assert out.count(b"data: [DONE]\n\n") == 1, where
    for raw in ("\u2028", "\u2029", "\u0085"):
        assert raw.encode() not in out, where


def test_r18_streams_mean_the_same_however_they_are_cut() -> None:
    start, faults, runs, size = time.process_time(), 0, 0, 0
    for n in range(STREAMS):
        random = Random(f"{SEED}-{n}")
        made = make(random)
        where = f"TOLLWAY_TEST_SEED={SEED}, stream {n}"
        whole = outcome(relay(HEAD, "openai_chat"), [made.data])
        check_meaning(made, *whole[:2], where)
        if made.complete and made.usage is not None:
            assert whole[2][2] == Usage(*made.usage), where  # type: ignore[index]
        ways = cuts(random, made.data)
        if n < CUT_EVERYWHERE:
            ways += [[made.data[:i], made.data[i:]] for i in range(len(made.data))]
        for parts in ways:
            assert outcome(relay(HEAD, "openai_chat"), parts) == whole, where
        if n % 10 == 0:
            other = outcome(completions_relay(HEAD, "openai_chat"), [made.data])
            for parts in ways[:2]:
                assert outcome(completions_relay(HEAD, "openai_chat"), parts) == other, where
            assert other[1:] == whole[1:], where
        faults += not made.complete
        runs += 1 + len(ways)
        size += len(made.data)
    seconds = time.process_time() - start
    print(
        f"R18: {STREAMS} streams ({size / 1e6:.1f} MB, {faults} faulty), {runs} cuttings, "
        f"0 differences, {seconds:.1f} s of CPU, seed {SEED}"
    )


def test_r18_an_event_of_8_mb_passes_within_bounded_memory() -> None:
    text = "x" * (8 * 1024 * 1024)
    data = wire(chunk({"content": "a"}), chunk({"content": text}), chunk(finish="stop"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for step in (1_000, 65_536, len(data)):
        way = relay(HEAD, "openai_chat")
        parts = (data[n : n + step] for n in range(0, len(data), step))
        total: Any = said(read_chunks(run(way, parts)))
        assert total[0]["content"] == "a" + text
        assert way.meter.text_bytes == len(text) + 1
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"R18: 8 MB event, peak memory grew by {grown_mb:.0f} MB (test's own copies included)")
    assert grown_mb < 400
