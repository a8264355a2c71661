"""Middle-out over sizes alone: to the byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tollway.plugins.middle_out import Room, level, middle_out
from tollway.plugins.threads import Entry

ASK, SAY, SYSTEM = Entry("user"), Entry("assistant"), Entry("system")
MANY = 1 << 30


@given(sizes=st.lists(st.integers(0, 5_000), max_size=12), over=st.integers(1, 20_000))
def test_the_level_is_the_highest_that_saves_enough(sizes: list[int], over: int) -> None:
    def saved(at: int) -> int:
        return sum(max(0, size - at) for size in sizes)

    found = level(sizes, over)
    if found is None:
        assert saved(0) < over
    else:
        assert saved(found) >= over > saved(found + 1)


def test_what_fits_to_the_byte_stays_and_one_byte_less_loses_the_middle() -> None:
    entries = [SYSTEM, *[ASK, SAY] * 5]
    sizes = [100] * 11
    whole = middle_out(entries, sizes, Room(1_100, MANY), lambda n: [])
    assert whole == dict.fromkeys(range(11))
    less = middle_out(entries, sizes, Room(1_099, MANY), lambda n: [])
    assert less == dict.fromkeys([0, 1, 2, 3, 4, 7, 8, 9, 10])


def test_the_number_of_entries_is_a_bound_of_its_own() -> None:
    entries, sizes = [SYSTEM, *[ASK, SAY] * 50], [10] * 101
    kept = middle_out(entries, sizes, Room(MANY, 21), lambda n: [])
    assert kept is not None and list(kept) == [0, *range(1, 11), *range(91, 101)]


def test_a_question_inside_an_open_call_does_not_part_it_from_its_result() -> None:
    call, result = Entry("assistant", calls=("c",)), Entry("result", answers=("c",))
    entries = [ASK, SAY, ASK, call, ASK, result, SAY, ASK]
    kept = middle_out(entries, [100] * 8, Room(500, MANY), lambda n: [])
    assert kept == dict.fromkeys([0, 1, 7])


def test_cuts_come_down_to_the_byte_that_is_needed() -> None:
    sizes = [3_000, 2_000, 100]
    texts = {0: [2_950], 1: [1_950], 2: [50]}
    kept = middle_out([ASK, SAY, ASK], sizes, Room(3_100, MANY), lambda n: texts[n])
    assert kept == {0: 1_450, 1: 1_450, 2: None}
    assert 50 + 1_450 + 50 + 1_450 + 100 == 3_100


def test_nothing_fits_beside_a_system_prompt_that_fills_the_room() -> None:
    assert middle_out([SYSTEM, ASK], [100, 10], Room(100, MANY), lambda n: []) is None
    assert middle_out([SYSTEM], [10], Room(100, MANY), lambda n: []) is None
    assert middle_out([], [], Room(100, MANY), lambda n: []) is None
