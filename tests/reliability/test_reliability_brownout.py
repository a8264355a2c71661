"""R12: one provider becomes twenty times slower and does not fail. Who does not use it must not
notice, and it must not gather the requests of everyone who would.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from statistics import median

import pytest
from reliability_support import (
    LONG,
    SEED,
    Books,
    ask,
    at_rate,
    percentile,
    provider,
    seeded,
    until_idle,
    whole,
    words,
)

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen, chat_events

pytestmark = pytest.mark.alone

RATE = 40
"""Requests a second for each of the two models."""
FIRST_TOKEN_S = 0.1
SLOWER = 20
CALM_S, BROWN_S = (8, 15) if LONG else (2, 5)
ROUNDS = 5 if LONG else 3
TEXT = words(6)

OTHERS_MORE = 1.10
NOISE_S = 0.01
"""A tenth of an ordinary first token: the machine is shared, and p99 of a round is its second or
third slowest request."""

SETTLING_S = 3.0
"""Nobody can know before the first slow token is there, after two seconds."""
IN_FLIGHT_MOST = 0.6
"""Of what would pile up at the slow provider if it got the requests it gets on any other day:
rate × share × time to answer (Little's law)."""


class Pace:
    """How long a provider takes to its first token, and who waits for it now."""

    def __init__(self) -> None:
        self.first_token_s = FIRST_TOKEN_S

    def script(self, seen: Seen) -> Reply:
        return Reply(before_head=[self.first_token_s], steps=chat_events(TEXT))


def in_flight(at: ScriptedProvider) -> int:
    recent = at.seen[-1_000:]
    return sum(not seen.whole and seen.closed_s is None for seen in recent)


async def test_a_slow_provider_slows_nobody_else_and_gathers_no_crowd() -> None:
    seeded("brown-out")
    brown, steady = Pace(), Pace()
    async with (
        ScriptedProvider(brown.script) as slow,
        ScriptedProvider(steady.script) as spare,
        ScriptedProvider(steady.script) as other,
    ):
        files = {
            # Price draws nine in ten to the one that will be slow.
            "slow": provider("slow", slow.base_url, prompt="0.000001", completion="0.000002"),
            "spare": provider("spare", spare.base_url, prompt="0.000003", completion="0.000006"),
            "other": provider("other", other.base_url, model="acme/two"),
        }
        with Server(providers=files, env={"TOLLWAY_FIRST_CREDIT_USD": "1000"}) as server:
            books = Books(server.home)

            async def one_round(seconds: int) -> tuple[float, int, int]:
                """p99 of the other model's first tokens, most in flight at the slow provider once
                settled, and how many of its model's requests were not answered whole."""
                others: list[float] = []
                crowd = wrong = 0
                began = time.monotonic()

                async def watch() -> None:
                    nonlocal crowd
                    while True:
                        await asyncio.sleep(0.02)
                        if time.monotonic() - began > SETTLING_S:
                            crowd = max(crowd, in_flight(slow))

                async def ask_once(n: int) -> None:
                    nonlocal wrong
                    model = ("acme/one", "acme/two")[n % 2]
                    sent = time.monotonic()
                    e = await whole(server, ask(model=model, stream=True))
                    if model == "acme/two":
                        others.append(time.monotonic() - sent)
                        assert e.status == 200, e.body
                        assert e.text.strip() == TEXT
                    else:
                        wrong += e.status != 200 or e.text.strip() != TEXT

                watching = asyncio.ensure_future(watch())
                raised = await at_rate(2 * RATE, 2 * RATE * seconds, ask_once)
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
                assert not raised, (SEED, raised[:3])
                return percentile(others, 0.99), crowd, wrong

            await one_round(CALM_S)  # the process, and what it knows of each endpoint, get warm
            calm: list[float] = []
            browned: list[float] = []
            crowds: list[int] = []
            failed = 0
            for _ in range(ROUNDS):
                p99_s, _, wrong = await one_round(CALM_S)
                calm.append(p99_s)
                failed += wrong
                brown.first_token_s = FIRST_TOKEN_S * SLOWER
                p99_s, crowd, wrong = await one_round(BROWN_S)
                browned.append(p99_s)
                crowds.append(crowd)
                failed += wrong
                brown.first_token_s = FIRST_TOKEN_S
            await until_idle(server, books)
            uncapped = RATE * 0.9 * FIRST_TOKEN_S * SLOWER
            print(
                f"R12: {RATE}/s at each of two models, one provider {SLOWER} times slower in "
                f"{ROUNDS} rounds of {BROWN_S} s: the others' p99 {median(calm) * 1000:.0f} ms before, "
                f"{median(browned) * 1000:.0f} ms during "
                f"({(median(browned) / median(calm) - 1) * 100:+.0f} %); at most {max(crowds)} in "
                f"flight at the slow one, {uncapped:.0f} without a limit; {failed} not answered"
            )
            assert failed == 0, SEED
            assert median(browned) <= OTHERS_MORE * median(calm) + NOISE_S, (calm, browned)
            assert median(crowds) <= IN_FLIGHT_MOST * uncapped, crowds
            books.check()
            books.close()
