"""Requests that wait for the same answer. No clock is needed: whoever waits is told."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from test_caching_shelf import kept

from tollway.caching.flights import LEADERS_MAX, WAITERS_MAX, Flight, Flights, Turn

ANSWER = kept("paid")
LONG_S = 60.0


async def waiters(flights: Flights, flight: Flight, count: int) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(flights.wait(flight, LONG_S)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_everyone_who_waits_gets_the_leader_s_answer() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    tasks = await waiters(flights, flight, 5)
    assert (flights.find(b"k"), flights.waiting) == (flight, 5)
    assert flights.landed(flight, ANSWER) is True
    assert await asyncio.gather(*tasks) == [ANSWER] * 5
    assert (flights.find(b"k"), len(flights)) == (None, 0)


async def test_when_a_leader_fails_the_longest_waiter_leads_and_the_others_go_on_waiting() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    first, *others = await waiters(flights, flight, 4)
    flights.failed(flight, counts=True)
    assert await first is Turn.LEAD
    await turn()
    assert not any(task.done() for task in others)
    assert flights.find(b"k") is flight
    flights.landed(flight, ANSWER)
    assert await asyncio.gather(*others) == [ANSWER] * 3


async def test_after_some_failing_leaders_those_who_wait_ask_for_themselves() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    tasks = await waiters(flights, flight, 10)
    for _ in range(LEADERS_MAX):
        flights.failed(flight, counts=True)
        await turn()
    told = await asyncio.gather(*tasks)
    assert told.count(Turn.LEAD) == LEADERS_MAX - 1
    assert told.count(Turn.ALONE) == 10 - (LEADERS_MAX - 1)
    assert len(flights) == 0


async def test_leaders_that_merely_left_do_not_count_as_failures() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    tasks = await waiters(flights, flight, 10)
    for _ in range(9):
        flights.failed(flight, counts=False)
    await turn()
    assert [task.done() for task in tasks] == [True] * 9 + [False]
    flights.landed(flight, ANSWER)
    assert await tasks[-1] == ANSWER


async def test_the_last_leader_s_failure_closes_the_flight() -> None:
    flights = Flights()
    flights.failed(flights.begin(b"k"), counts=True)
    assert len(flights) == 0


async def test_a_waiter_that_leaves_makes_room_and_is_never_made_leader() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    first, second = await waiters(flights, flight, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert flight.waiting == 1
    flights.failed(flight, counts=True)
    assert await second is Turn.LEAD


async def test_one_that_leaves_in_the_instant_it_is_made_leader_passes_that_on() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    first, second = await waiters(flights, flight, 2)
    flights.failed(flight, counts=True)  # first is leader, and does not know yet
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second is Turn.LEAD


async def test_a_waiter_s_patience_ends() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    assert await flights.wait(flight, 0) is Turn.ALONE
    assert flight.waiting == 0
    flights.landed(flight, ANSWER)


async def test_an_answer_in_the_instant_patience_ends_is_taken() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    task = asyncio.create_task(flights.wait(flight, 0))
    await asyncio.sleep(0)
    flights.landed(flight, ANSWER)
    assert await task == ANSWER


async def test_a_flight_has_no_more_waiters_than_it_may() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    tasks = await waiters(flights, flight, WAITERS_MAX)
    assert await flights.wait(flight, LONG_S) is Turn.ALONE
    flights.landed(flight, ANSWER)
    assert await asyncio.gather(*tasks) == [ANSWER] * WAITERS_MAX


async def test_a_fresh_flight_supersedes_one_in_the_air_which_still_lands_for_its_own() -> None:
    flights = Flights()
    old = flights.begin(b"k")
    (waiting,) = await waiters(flights, old, 1)
    new = flights.begin(b"k")
    assert flights.find(b"k") is new
    assert flights.landed(old, ANSWER) is False
    assert await waiting == ANSWER
    assert flights.landed(new, ANSWER) is True


async def test_what_cannot_be_handed_on_releases_everyone() -> None:
    flights = Flights()
    flight = flights.begin(b"k")
    tasks = await waiters(flights, flight, 3)
    flights.released(flight)
    assert await asyncio.gather(*tasks) == [Turn.ALONE] * 3
    assert len(flights) == 0


async def test_no_waiter_is_lost_whatever_leaders_and_clients_do() -> None:
    """Random landings, failures and departures: everyone who stays is answered, and at no moment
    are there two leaders of one flight."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(150):
        flights, answered, left, leading = Flights(), 0, 0, 0

        async def request(flights: Flights = flights) -> None:
            nonlocal answered, leading
            flight = flights.find(b"k")
            told = None if flight is None else await flights.wait(flight, LONG_S)
            if told is not None and told is not Turn.LEAD:
                answered += 1
            else:
                mine = flight or flights.begin(b"k")
                leading += 1
                assert leading == 1
                whole = False
                try:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    whole = chance.random() < 0.4
                    answered += 1
                finally:
                    leading -= 1
                    if whole:
                        flights.landed(mine, ANSWER)
                    else:
                        flights.failed(mine, counts=chance.random() < 0.5)

        tasks: list[asyncio.Task[None]] = []
        for _ in range(30):
            tasks.append(asyncio.create_task(request()))
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            if chance.random() < 0.4:
                chance.choice(tasks).cancel()
        async with asyncio.timeout(5):
            done = await asyncio.gather(*tasks, return_exceptions=True)
        left = sum(isinstance(one, asyncio.CancelledError) for one in done)
        assert [one for one in done if isinstance(one, Exception)] == []
        assert answered >= len(tasks) - left
        assert (len(flights), flights.waiting) == (0, 0)
