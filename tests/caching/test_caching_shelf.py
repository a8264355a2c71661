"""The table of kept answers: bounds, age, and who goes first."""

from __future__ import annotations

import random

from tollway.caching import Kept, Shelf
from tollway.caching.tape import OVERHEAD_BYTES


def kept(
    name: str = "gen-1", size: int = 10, stored_s: float = 0, ttl_s: int = 300, asked_s: float = 0
) -> Kept:
    return Kept(
        source_id=name,
        model="acme/one",
        provider="Acme",
        endpoint="acme/one@acme",
        price_version="v1",
        outbound="openai_chat",
        quirks=(),
        data=b"x" * size,
        finished=False,
        finish="stop",
        native_finish="stop",
        asked_s=asked_s,
        stored_s=stored_s,
        ttl_s=ttl_s,
    )


def test_an_answer_is_given_until_its_time_is_over() -> None:
    shelf = Shelf(10, 10**6)
    shelf.put(b"k", kept(stored_s=1_000, ttl_s=60))
    assert shelf.get(b"k", 1_059.9) is not None
    assert shelf.get(b"other", 1_059.9) is None
    assert shelf.get(b"k", 1_060) is None
    assert (len(shelf), shelf.bytes) == (0, 0)


def test_age_is_counted_in_whole_seconds() -> None:
    told = kept(stored_s=1_000)
    assert [told.age_s(now) for now in (999.0, 1_000.0, 1_000.9, 1_059.0)] == [0, 0, 0, 59]


def test_a_clock_that_was_set_back_far_makes_no_answer_immortal() -> None:
    shelf = Shelf(10, 10**6)
    shelf.put(b"k", kept(stored_s=10_000, ttl_s=60))
    assert shelf.get(b"k", 9_990) is not None
    assert shelf.get(b"k", 5_000) is None


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    shelf = Shelf(2, 10**6)
    shelf.put(b"a", kept("a"))
    shelf.put(b"b", kept("b"))
    assert shelf.get(b"a", 1) is not None
    shelf.put(b"c", kept("c"))
    assert [shelf.get(key, 1) is not None for key in (b"a", b"b", b"c")] == [True, False, True]


def test_bytes_are_bounded_overheads_included() -> None:
    room = 3 * (1_000 + OVERHEAD_BYTES)
    shelf = Shelf(100, room)
    for n in range(5):
        shelf.put(b"%d" % n, kept(str(n), 1_000))
    assert (len(shelf), shelf.bytes) == (3, room)
    shelf.put(b"huge", kept("huge", room))
    assert (len(shelf), shelf.get(b"huge", 0)) == (3, None)


def test_a_newer_answer_takes_the_place_and_an_answer_to_an_older_question_does_not() -> None:
    shelf = Shelf(10, 10**6)
    shelf.put(b"k", kept("fresh", asked_s=20))
    shelf.put(b"k", kept("late", asked_s=10))
    assert shelf.get(b"k", 0) == kept("fresh", asked_s=20)
    shelf.put(b"k", kept("newer", asked_s=30))
    assert shelf.get(b"k", 0) == kept("newer", asked_s=30)
    assert len(shelf) == 1


def test_sweeping_lets_go_of_what_nobody_asks_for_again() -> None:
    shelf = Shelf(10, 10**6)
    shelf.put(b"a", kept("a", ttl_s=10))
    shelf.put(b"b", kept("b", ttl_s=20))
    shelf.sweep(15)
    assert len(shelf) == 1
    assert shelf.bytes == kept().size


def test_the_table_never_outgrows_its_bounds_whatever_is_done_to_it() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, shelf, now = random.Random(seed), Shelf(8, 20_000), 0.0
    for _ in range(3_000):
        now += chance.random() * 5
        key = b"%d" % chance.randrange(20)
        match chance.randrange(4):
            case 0 | 1:
                size = chance.randrange(8_000)
                shelf.put(key, kept(size=size, stored_s=now, ttl_s=chance.randrange(1, 60)))
            case 2:
                found = shelf.get(key, now)
                assert found is None or found.stored_s + found.ttl_s > now
            case 3:
                shelf.drop(key) if chance.random() < 0.5 else shelf.sweep(now)
        assert len(shelf) <= 8
        assert shelf.bytes == sum(one.size for one in shelf._kept.values()) <= 20_000


def test_a_cleared_table_holds_nothing_and_takes_up_nothing() -> None:
    shelf = Shelf(10, 1_000_000)
    shelf.put(b"a", kept())
    shelf.clear()
    assert (len(shelf), shelf.bytes, shelf.get(b"a", 0)) == (0, 0, None)
