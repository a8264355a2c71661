"""kill -9 under load, a hundred times: what was acknowledged is there, what was open is ended.

Acknowledged means that a client has read its usage and has asked for the generation's record, or
has been refused for lack of money. After every life the next start must be quick, end every hold
of the dead one, and find the books in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from random import Random

import pytest
from reliability_support import (
    LONG,
    SEED,
    Books,
    Exchange,
    ask,
    eventually,
    percentile,
    provider,
    seeded,
    whole,
    words,
)

from support.server import Server
from support.upstream import (
    Reply,
    ScriptedProvider,
    Seen,
    Step,
    chat_events,
    chat_reply,
)

pytestmark = pytest.mark.alone

LIVES = 300 if LONG else 100
LIVES_LEAST = 60
TIME_S = 600.0 if LONG else 55.0
"""On a slow machine fewer lives are lived, but not fewer than LIVES_LEAST."""
LONG_LIFE_EVERY = 12
"""Such a life is longer than the journal's second, so that a stream dies with progress on disk."""
CLIENTS = 12


def script(seen: Seen) -> Reply:
    """`n` words in `n` times the pause the request asks for."""
    count, pause = json.loads(seen.json["messages"][0]["content"])
    if not seen.json.get("stream"):
        answer = chat_reply(words(count))
        return Reply(200, answer.headers, answer.steps, [pause], "length")
    steps: list[Step] = []
    for piece in chat_events(words(count)):
        steps += [piece, pause] if pause else [piece]
    return Reply(steps=steps)


async def get_generation(server: Server, id: str) -> dict[str, object] | None:
    """The record, asked for over HTTP; None when the server died first."""
    exchange = await Exchange.connect(server.port)
    exchange.writer.write(
        f"GET /api/v1/generation?id={id} HTTP/1.1\r\nhost: x\r\n"
        f"authorization: Bearer {server.key}\r\n\r\n".encode()
    )
    await exchange.rest()
    found: dict[str, object] = exchange.json()["data"] if exchange.status == 200 else {}
    return found or None


class Load:
    """Clients that never stop asking while the server lives, and remember what it told them."""

    def __init__(self, server: Server, random: Random) -> None:
        self.server = server
        self.random = random
        self.acknowledged: dict[str, int] = {}
        self.asked = 0
        self.requests = 0

    async def client(self, slow: bool) -> None:
        """Until the connection fails."""
        dead = (OSError, asyncio.IncompleteReadError, json.JSONDecodeError)
        with contextlib.suppress(*dead):
            while True:
                await self._one(slow)

    async def _one(self, slow: bool) -> None:
        stream = self.random.random() < 0.6
        count = self.random.randrange(1, 30)
        pause = 0.1 if slow else self.random.choice((0.0, 0.0, 0.002, 0.01))
        text = json.dumps([60 if slow else count, pause])
        self.requests += 1
        done = await whole(self.server, ask(text, stream=stream or slow))
        assert done.status == 200, done.body
        usage = done.usage if stream or slow else done.json()["usage"]
        if usage is None:
            return
        record = await get_generation(self.server, done.generation)
        if record is not None:
            cost = round(usage["cost"] * 1e9)
            assert round(float(str(record["total_cost"])) * 1e9) == cost
            self.acknowledged[done.generation] = cost


def check_life(books: Books, load: Load, deep: bool) -> int:
    """After a restart; how many acknowledged charges were looked at."""
    epoch = int(books.one("SELECT value FROM meta WHERE name = 'epoch'"))
    dead = books.one("SELECT count(*) FROM hold WHERE state = 'open' AND epoch < ?", epoch)
    assert dead == 0, f"{dead} holds of dead lives are open"
    for id, cost in load.acknowledged.items():
        rows = books.rows("SELECT charge_nano FROM generation WHERE id = ?", id)
        assert rows == [(cost,)], f"{id} was told {cost} nano-USD, the books have {rows}"
    books.check(deep)
    return len(load.acknowledged)


async def test_a_hundred_kills_lose_nothing_that_was_acknowledged() -> None:
    random = seeded("kill")
    ready: list[float] = []
    open_at_kill: list[int] = []
    requests = acknowledged = lives = 0
    began = time.monotonic()
    async with ScriptedProvider(script) as upstream:
        env = {"TOLLWAY_FIRST_CREDIT_USD": "10000"}
        server = Server(providers={"one": provider("one", upstream.base_url)}, env=env)
        with server:
            books = Books(server.home)
            while lives < LIVES and not (
                lives >= LIVES_LEAST and time.monotonic() - began > TIME_S
            ):
                long_life = lives % LONG_LIFE_EVERY == LONG_LIFE_EVERY - 1
                load = Load(server, random)
                clients = [
                    asyncio.ensure_future(load.client(long_life and n < 3)) for n in range(CLIENTS)
                ]
                await asyncio.sleep(1.3 if long_life else 0.04 + random.random() * 0.12)
                open_at_kill.append(books.open_holds)
                server.kill()
                failed = await asyncio.gather(*clients, return_exceptions=True)
                assert failed == [None] * CLIENTS, (SEED, lives, failed)
                await asyncio.to_thread(server.start)
                lives += 1
                ready.append(server.started_s)
                requests += load.requests
                acknowledged += check_life(books, load, deep=lives % 10 == 0)
            states = dict(
                books.rows("SELECT state || ' ' || reason, count(*) FROM hold GROUP BY 1")
            )
            print(
                f"R5: {lives} kills under {CLIENTS} clients in {time.monotonic() - began:.0f} s: "
                f"{requests} requests, {acknowledged} acknowledged charges, 0 lost; open at the kill "
                f"p50 {percentile([float(n) for n in open_at_kill], 0.5):.0f} max "
                f"{max(open_at_kill)}; ready p50 {percentile(ready, 0.5):.2f} max {max(ready):.2f} s; "
                f"ends {states}"
            )
            assert acknowledged > 0
            assert max(open_at_kill) > 0
            assert states["posted recovered"] > 0, "no stream died with journalled progress"
            assert states["voided recovered"] > 0
            assert percentile(ready, 0.5) < 1.0
            after = await whole(server, ask(json.dumps([3, 0]), stream=True))
            assert after.done
            await eventually(lambda: books.open_holds == 0)
            books.check(deep=True)
            books.close()
