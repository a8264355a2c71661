"""Requests for the same answer that run at the same time: one asks, the others wait for it.

The one that asks is the *leader* of a flight. When its answer is whole every waiter gets it. When
it fails, or its client leaves, the longest waiter becomes the leader and the others go on waiting.

Rules. Whoever leads lands the flight exactly once: `landed`, `failed` or `released`. A waiter can be
cancelled at any moment; one that is cancelled in the instant it was made leader passes that on. A
waiter waits for a bounded time and a bounded number of failing leaders; then it asks for itself,
so that a provider that is down does not make a queue answer one by one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum

from .tape import Kept

WAITERS_MAX = 1_000
"""In one flight; further requests ask for themselves."""

LEADERS_MAX = 3
"""So many leaders may fail before those who wait ask for themselves: one failure may be that
request's own bad luck, three are the provider's."""


class Turn(Enum):
    """What a waiter is told when there is no answer for it."""

    LEAD = "lead"
    """The flight is yours now."""
    ALONE = "alone"
    """Ask for yourself; nobody waits for you."""


class Flight:
    """One question that is being asked. Made by `Flights.begin`, for its first leader."""

    __slots__ = ("_failed", "_waiting", "key")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._waiting: deque[asyncio.Future[Kept | Turn]] = deque()
        self._failed = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _tell(self, said: Kept | Turn) -> None:
        """Tell everyone who waits."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(said)

    def _promote(self) -> bool:
        """Make the longest waiter the leader; False when nobody waits any more."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(Turn.LEAD)
                return True
        return False


class Flights:
    """Those of one process, by the key of the answer."""

    def __init__(self) -> None:
        self._open: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def waiting(self) -> int:
        return sum(flight.waiting for flight in self._open.values())

    def find(self, key: bytes) -> Flight | None:
        """A flight that one more may wait for."""
        return self._open.get(key)

    def begin(self, key: bytes) -> Flight:
        """A new flight, led by the caller. One that is in the air under the same key goes on for
        those who wait for it, but nobody else finds it."""
        flight = self._open[key] = Flight(key)
        return flight

    async def wait(self, flight: Flight, wait_s: float) -> Kept | Turn:
        """Wait for the flight's answer, at most `wait_s` seconds."""
        if flight.waiting >= WAITERS_MAX:
            return Turn.ALONE
        future: asyncio.Future[Kept | Turn] = asyncio.get_running_loop().create_future()
        flight._waiting.append(future)
        try:
            async with asyncio.timeout(wait_s):
                return await future
        except TimeoutError:
            told = _told(future)  # it may have come in the same instant
            return Turn.ALONE if told is None else told
        except asyncio.CancelledError:
            if _told(future) is Turn.LEAD:
                self.failed(flight, counts=False)
            raise
        finally:
            if not future.done() or future.cancelled():
                _forget(flight, future)

    # ---- what a leader does at its end -----------------------------------------------------------

    def landed(self, flight: Flight, kept: Kept) -> bool:
        """The answer is there. True when it is the newest under its key, and so worth keeping."""
        newest = self._close(flight)
        flight._tell(kept)
        return newest

    def failed(self, flight: Flight, *, counts: bool) -> None:
        """There is no answer of this leader's. `counts`: it was not merely called off."""
        flight._failed += counts
        if flight._failed >= LEADERS_MAX:
            self.released(flight)
        elif not flight._promote():
            self._close(flight)

    def released(self, flight: Flight) -> None:
        """There is an answer, but nothing to hand on: everyone asks for themselves."""
        self._close(flight)
        flight._tell(Turn.ALONE)

    def _close(self, flight: Flight) -> bool:
        if self._open.get(flight.key) is not flight:
            return False
        del self._open[flight.key]
        return True


def _told(future: asyncio.Future[Kept | Turn]) -> Kept | Turn | None:
    return future.result() if future.done() and not future.cancelled() else None


def _forget(flight: Flight, future: asyncio.Future[Kept | Turn]) -> None:
    """A waiter that left makes room for another one."""
    if future in flight._waiting:
        flight._waiting.remove(future)
