"""Which rules hold, and what they do to bytes, in any slicing."""

import os
import secrets
from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random

import pytest

from tollway.dev.fault_grammar import parse
from tollway.dev.fault_plan import (
    Changed,
    End,
    Faults,
    Injection,
    Step,
    Stream,
    Wait,
    before,
    holds,
)

SEED = int(os.environ.get("TOLLWAY_TEST_SEED") or secrets.randbits(32))
EVENTS = b"data: one\n\ndata: two\r\n\r\n: note\n\nid: 7\rdata: three\r\rdata: four\n\n"
ENDS = (11, 24, 32, 51, 63)
"""Offsets behind the events of EVENTS. A comment ends as one does: its line is a line."""


def injections(*texts: str, seed: int = 0) -> list[Injection]:
    return Faults(texts, seed).request("POST", "/v1/chat/completions")


def run(steps: Iterable[Step]) -> tuple[bytes, list[str]]:
    """The bytes sent, and the rest of the steps in short."""
    sent, said = b"", []
    for step in steps:
        match step:
            case bytes():
                sent += step
            case Wait(seconds, by):
                said.append(f"{len(sent)} wait {seconds} {by.number}")
            case Changed(by):
                said.append(f"{len(sent)} changed {by.number}")
            case End(by):
                said.append(f"{len(sent)} {by.rule.kind}")
                return sent, said
    return sent, said


def through(stream: Stream, data: bytes, cuts: Sequence[int] = ()) -> tuple[bytes, list[str]]:
    edges = [0, *cuts, len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges) if a < b]
    steps = [stream.begin(), *(stream.feed(piece) for piece in pieces)]
    return run(step for some in steps for step in some)


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ("", "11111111"),
        ("first=3", "11100000"),
        ("every=3", "00100100"),
        ("after=2", "00111111"),
        ("after=1 every=2 first=2", "00101000"),
        ("p=0", "00000000"),
        ("first=0", "00000000"),
    ],
)
def test_a_rule_holds_for_the_requests_it_names(options: str, held: str) -> None:
    rule = parse(f"drop {options}")
    assert "".join("01"[holds(rule, n, Random(0))] for n in range(8)) == held


def test_a_share_is_a_share_and_the_seed_says_which() -> None:
    def hits(seed: int) -> list[bool]:
        faults = Faults(["drop p=0.1"], seed)
        return [bool(faults.request("GET", "/")) for _ in range(5_000)]

    assert 400 < sum(hits(SEED)) < 600, SEED
    assert hits(SEED) == hits(SEED)
    assert hits(SEED) != hits(SEED + 1), SEED


def test_one_rules_dice_do_not_move_anothers() -> None:
    alone = Faults(["drop p=0.5"], SEED)
    beside = Faults(["drop p=0.5", "delay=1s@chunk jitter=1s p=0.5"], SEED)
    for _ in range(200):
        first = [by.number for by in beside.request("GET", "/") if by.number == 1]
        assert [by.number for by in alone.request("GET", "/")] == first, SEED


def test_rules_are_counted_by_path_method_and_connection() -> None:
    faults = Faults(["drop first=1 path=/a", "reset first=1 method=get", "stall@connect first=1"])
    assert faults.request("POST", "/b") == []
    assert [by.number for by in faults.request("POST", "/a/b")] == [1]
    assert [by.number for by in faults.request("GET", "/a")] == [2]
    assert [by.number for by in faults.connection()] == [3]
    assert faults.connection() == []
    assert faults.seen == [2, 1, 2]


def test_new_rules_begin_again_and_wrong_ones_change_nothing() -> None:
    faults = Faults(["drop first=1"], seed=3)
    (old,) = faults.request("GET", "/")
    faults.happened(old)
    assert (faults.seen, faults.injected) == ([1], [1])
    with pytest.raises(ValueError, match="no fault"):
        faults.set(["drop", "nothing"])
    assert (faults.seen, faults.injected, faults.seed) == ([1], [1], 3)
    faults.set(["drop first=1"])
    assert (faults.seen, faults.injected, faults.seed) == ([0], [0], 3)
    faults.happened(old)
    assert faults.injected == [0], "an exchange of the old rules"
    with pytest.raises(ValueError, match="more than 100"):
        faults.set(["drop"] * 101)


def test_what_happens_before_the_upstream_is_asked() -> None:
    steps = before(injections("delay=2s@request", "drop", "reset", "delay=9s"), "request")
    assert run(steps) == (b"", ["0 wait 2.0 1", "0 drop"])
    assert run(before(injections("stall", "stall=3s"), "request"))[1] == [
        "0 wait None 1",
        "0 wait 3.0 2",
    ]


def test_jitter_stays_within_its_bound_and_differs() -> None:
    by = injections("delay=1s jitter=500ms", seed=SEED)[0]
    waits = {by.pause_s() for _ in range(100)}
    assert len(waits) == 100
    assert 1 <= min(waits) < 1.1 < 1.4 < max(waits) <= 1.5, SEED


@pytest.mark.parametrize("n", [0, 1, 11, 12, len(EVENTS) - 1, len(EVENTS)])
def test_a_drop_comes_after_exactly_so_many_bytes(n: int) -> None:
    dice = Random(SEED)
    for _ in range(30):
        cuts = sorted(dice.sample(range(len(EVENTS)), 5))
        stream = Stream(injections(f"drop@bytes={n}"))
        assert through(stream, EVENTS, cuts) == (EVENTS[:n], [f"{n} drop"]), (SEED, cuts)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_cut_comes_behind_exactly_so_many_events(number: int) -> None:
    end = ENDS[number - 1]
    for cut in range(len(EVENTS)):
        sent, said = through(Stream(injections(f"truncate@event={number}")), EVENTS, [cut])
        # Where a pair of line ends is cut in two the first half ends the line.
        assert sent in (EVENTS[:end], EVENTS[: end - 1]), cut
        assert sent == EVENTS[:end] or cut == end - 1
        assert said == [f"{len(sent)} truncate"]


def test_a_line_end_that_is_cut_in_two_ends_one_line() -> None:
    stream = Stream(injections("drop@event=2"))
    pieces = (b"data: 1\r", b"\n\r", b"\ndata: 2\r", b"\n", b"id: 2\r\n\r\n", b"rest")
    sent, said = run(step for piece in pieces for step in stream.feed(piece))
    assert (sent, said) == (b"data: 1\r\n\r\ndata: 2\r\nid: 2\r\n\r\n", ["29 drop"])
    stream = Stream(injections("drop@event=1"))
    sent, _ = run(
        step for piece in (b"a: 1\r", b"b: 2", b"\n", b"\n", b"x") for step in stream.feed(piece)
    )
    assert sent == b"a: 1\rb: 2\n\n"


def test_what_never_comes_never_happens() -> None:
    stream = Stream(injections("drop@bytes=1k", "reset@event=9", "corrupt@bytes=1k"))
    assert through(stream, EVENTS, [7]) == (EVENTS, [])


def test_head_and_body_have_their_own_faults() -> None:
    mine = injections("delay=1s", "drop@head=4", "drop@bytes=2", "delay=2s@chunk")
    assert through(Stream(mine, head=True), b"HTTP/1.1 200") == (
        b"HTTP",
        ["0 wait 1.0 1", "4 drop"],
    )
    assert through(Stream(mine), b"body", [1]) == (
        b"bo",
        ["0 wait 2.0 4", "1 wait 2.0 4", "2 drop"],
    )


def test_a_stall_in_the_middle_goes_on_afterwards() -> None:
    stream = Stream(injections("stall=5s@event=1", "delay=1s@bytes=20"))
    assert through(stream, EVENTS) == (EVENTS, ["11 wait 5.0 1", "20 wait 1.0 2"])


def test_a_throttle_takes_the_time_its_rate_says() -> None:
    stream = Stream(injections("throttle=100", "throttle=20"))
    pieces = list(stream.feed(b"x" * 50))
    assert [len(p) for p in pieces if isinstance(p, bytes)] == [2] * 25, "the slower one counts"
    assert sum(p.seconds or 0 for p in pieces if isinstance(p, Wait)) == pytest.approx(2.5)
    slow = [p for p in Stream(injections("throttle=1")).feed(b"ab") if isinstance(p, bytes)]
    assert slow == [b"a", b"b"]


def test_a_flip_changes_one_bit_of_one_byte() -> None:
    for cut in range(40):
        sent, said = through(Stream(injections("corrupt@bytes=9", seed=SEED)), EVENTS, [cut])
        changed = [(n, a ^ b) for n, (a, b) in enumerate(zip(EVENTS, sent, strict=True)) if a != b]
        assert [n for n, _ in changed] == [9], SEED
        assert changed[0][1].bit_count() == 1
        assert said == [f"{0 if cut > 9 or cut == 0 else cut} changed 1"]


def test_bytes_are_written_over_what_is_there_across_pieces() -> None:
    for cuts in ([], [10], [9, 10, 11], [8, 12]):
        sent, said = through(Stream(injections("corrupt=text:abc@bytes=9")), EVENTS, cuts)
        assert sent == EVENTS[:9] + b"abc" + EVENTS[12:], cuts
        assert said
    behind = Stream(injections("corrupt=hex:0001@event=2"))
    sent, _ = through(behind, EVENTS, [24])
    assert sent == EVENTS[:24] + b"\0\1" + EVENTS[26:]


def test_a_share_of_the_bytes_is_broken_the_same_ones_in_any_slicing() -> None:
    data = bytes(20_000)
    whole, _ = through(Stream(injections("corrupt share=0.01", seed=SEED)), data)
    assert 120 < sum(map(bool, whole)) < 280, SEED
    cut, _ = through(Stream(injections("corrupt share=0.01", seed=SEED)), data, [1, 999, 15_000])
    assert cut == whole, SEED
    assert all(through(Stream(injections("corrupt share=1")), b"\0" * 99)[0])
    assert through(Stream(injections("corrupt share=0")), b"\0" * 99)[1] == []
