"""The race of two attempts: a second endpoint is asked when the first has not spoken in time.

Not here: whether and when (the plan says so), what the loser costs (`receipt`). Whoever speaks
first wins; the other is cancelled at once. Both may have been sent, so both are given back. One
that fails is told of at once: whoever asked hangs up on it while the other goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from .calling import Try
from .canon import Fault
from .upstream import AttemptFailed

HUNG_UP = Fault(499, "cancelled", "Hung up on: the other endpoint spoke first.", local=True)
"""What became of the one that lost, for who reads of it."""


class Race(msgspec.Struct, frozen=True):
    """How it ended. `winner` None: everyone who ran has failed."""

    winner: Try | None
    spoken: bytes
    loser: Try | None
    """Cancelled because the other spoke first."""


async def race(
    first: Try,
    second: Callable[[], Try | None],
    after_s: float,
    failed: Callable[[Try, Fault], Awaitable[None]],
) -> Race:
    """`second` is asked once, after `after_s` of silence; it may decline with None. `failed` is
    told of each that fails, as soon as it has. Cancelled, it cancels both and lets them close their
    sockets."""
    runs: dict[asyncio.Task[bytes], Try] = {asyncio.create_task(first.listen()): first}
    running = set(runs)
    try:
        done, running = await asyncio.wait(running, timeout=after_s)
        if not done and (rival := second()) is not None:
            run = asyncio.create_task(rival.listen())
            runs[run] = rival
            running.add(run)
        while True:
            spoke = [run for run in runs if run in done and run.exception() is None]
            for run, each in runs.items():
                if run in done and run not in spoke:
                    await failed(each, _fault(run))
            if spoke or not running:
                break
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for run in running:
            run.cancel()
        if running:
            await asyncio.wait(running)
            for run in running:
                _ = run.cancelled() or run.exception()  # nobody asks any more
    if not spoke:
        return Race(None, b"", None)
    winner = spoke[0]
    losers = [each for run, each in runs.items() if run is not winner and run in running]
    losers += [runs[run] for run in spoke[1:]]
    return Race(runs[winner], winner.result(), losers[0] if losers else None)


def _fault(run: asyncio.Task[bytes]) -> Fault:
    """Raises what is no fault of a provider."""
    error = run.exception()
    if not isinstance(error, AttemptFailed):
        assert error is not None
        raise error
    return error.fault
