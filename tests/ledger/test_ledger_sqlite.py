from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ledger_support import KEY, WS, at, empty_database, generation, grant, hold, settle, void

from tollway.errors import Unavailable
from tollway.ledger import reads, sqlite
from tollway.ledger.audit import audit
from tollway.ledger.budgets import set_budget
from tollway.ledger.entries import Ended, Held, Progress, Refused
from tollway.ledger.rules import LedgerError, UnknownHold
from tollway.ledger.sqlite import Ledger, Recovered
from tollway.store.lock import HomeInUse
from tollway.store.sqlite import Store

NOW = at("2026-11-25T12:00:00")


class House:
    """A store and its ledger in one home; `again()` is the next life of the server."""

    def __init__(self, home: Path) -> None:
        self.home = home

    async def open(self) -> Ledger:
        self.store = Store.open(self.home / "tollway.db")
        self.store.start(asyncio.get_running_loop())
        self.ledger = Ledger(self.store, lambda: NOW)
        self.recovered = await self.ledger.start()
        return self.ledger

    async def close(self) -> None:
        await self.ledger.close()
        await self.store.close()

    async def again(self) -> Recovered:
        await self.close()
        await self.open()
        return self.recovered

    async def balance(self) -> tuple[int, int]:
        found = await self.store.read(reads.balance, WS)
        return found.posted_nano, found.held_nano


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path / "home")
    ledger = await made.open()
    await ledger.transfer(grant("first", 1000))
    yield made
    assert await made.store.read(audit) == []
    await made.close()


async def test_a_request_is_held_settled_and_recorded(house: House) -> None:
    ledger = house.ledger
    assert await ledger.hold(hold("a", 600, at_ms=NOW)) == Held("a", 600, 400)
    assert await ledger.settle(settle("a", 250, 200, NOW, generation("a", 250, NOW))) == Ended(
        "a", True, 250
    )
    assert await house.store.read(reads.generation, "a", WS) == generation("a", 250, NOW)
    assert await house.balance() == (750, 0)


async def test_a_lookup_behind_a_barrier_sees_what_was_called_before(house: House) -> None:
    house.ledger.hold(hold("a", 600))
    house.ledger.settle(settle("a", 250))
    await house.ledger.barrier()
    assert (await house.store.read(reads.generation, "a", WS)).charge_nano == 250


@pytest.mark.parametrize("query", [name for name in sqlite.SQL if name.startswith("load_")])
def test_what_a_batch_loads_is_found_by_index_and_without_temporary_tables(query: str) -> None:
    explained = empty_database().execute("EXPLAIN QUERY PLAN " + sqlite.SQL[query], ("[]",))
    steps = [step for *_, step in explained]
    assert steps[0] == "SCAN wanted VIRTUAL TABLE INDEX 1:"
    assert len(steps) == 2 and steps[1].startswith("SEARCH"), steps


async def race(house: House, requests: int) -> tuple[int, list[Refused]]:
    """`requests` tasks at once: hold 20, wait for the others, settle 20."""
    settled = 0

    async def request(n: int) -> Any:
        nonlocal settled
        held = await house.ledger.hold(hold(f"r{n}", 20, at_ms=NOW))
        if isinstance(held, Held):
            await asyncio.sleep(0)
            ended = await house.ledger.settle(settle(f"r{n}", 20, 15, NOW))
            settled += ended == Ended(f"r{n}", True, 20)
        return held

    answers = await asyncio.gather(*(request(n) for n in range(requests)))
    return settled, [a for a in answers if isinstance(a, Refused)]


async def test_a_thousand_requests_with_money_for_fifty_give_exactly_fifty(house: House) -> None:
    settled, refused = await race(house, 1000)
    print(f"R2 wallet: {settled} admitted, {len(refused)} refused, batch {house.store.stats()}")
    assert (settled, len(refused)) == (50, 950)
    assert {r.by for r in refused} == {"credit"}
    assert await house.balance() == (0, 0)


async def test_a_thousand_requests_with_a_limit_for_fifty_give_exactly_fifty(house: House) -> None:
    await house.ledger.transfer(grant("more", 10**9))
    await house.store.write(set_budget, KEY, limit_nano=1000, reset="daily", now_ms=NOW)
    settled, refused = await race(house, 1000)
    print(f"R2 key limit: {settled} admitted, {len(refused)} refused")
    assert (settled, len(refused)) == (50, 950)
    assert {r.by for r in refused} == {"key_limit"}
    assert (await house.store.read(reads.key_usage, KEY, NOW)).remaining_nano == 0


async def test_every_command_has_one_effect_however_often_and_in_whatever_order_it_comes(
    house: House,
) -> None:
    """R7: deliveries are shuffled, repeated, and an end that comes before its hold is sent again."""
    seed = random.randrange(10**9)
    print(f"R7 seed {seed}")
    rng = random.Random(seed)
    await house.ledger.transfer(grant("more", 10**12))
    requests = 100_000 // 7
    commands: list[Any] = []
    for n in range(requests):
        end = settle(f"x{n}", 7, 5) if n % 5 else void(f"x{n}")
        commands += [hold(f"x{n}", 10)] * rng.randint(1, 5) + [end] * rng.randint(1, 5)
        if n % 7 == 0:
            commands += [grant(f"g{n}", 11)] * rng.randint(1, 5)
    rng.shuffle(commands)
    delivered, effects = 0, 0
    while commands:
        again = []
        for start in range(0, len(commands), 4096):
            part = commands[start : start + 4096]
            delivered += len(part)
            answers = await asyncio.gather(*(_send(house.ledger, c) for c in part))
            for command, answer in zip(part, answers, strict=True):
                if isinstance(answer, UnknownHold):
                    again.append(command)
                effects += answer is True or (isinstance(answer, Ended) and answer.applied)
        commands = again
    grants = len(range(0, requests, 7))
    charged = sum(7 for n in range(requests) if n % 5)
    print(f"R7: {delivered} deliveries of {2 * requests + grants} commands, {effects} ends+grants")
    assert delivered >= 80_000
    assert effects == requests + grants
    assert await house.balance() == (1000 + 10**12 + 11 * grants - charged, 0)


async def _send(ledger: Ledger, command: Any) -> Any:
    name = type(command).__name__.lower()
    try:
        return await getattr(ledger, name)(command)
    except LedgerError as error:
        return error


# ---- lives ---------------------------------------------------------------------------------------


async def test_a_restart_ends_what_the_last_life_left_open(house: House) -> None:
    for id in ("done", "spoke", "silent"):
        await house.ledger.hold(hold(id, 100))
    await house.ledger.settle(settle("done", 10))
    house.ledger.progress([Progress("spoke", 30, 20)])
    assert await house.again() == Recovered(settled=1, released=1)
    assert await house.balance() == (960, 0)
    assert await house.store.read(reads.posted_by_account) == {
        "payments_clearing": -1000,
        "wallet": 960,
        "revenue": 20,
        "provider_payable": 20,
        "platform_loss": -100,
        "provider_unreconciled": 100,
    }
    spoke = await house.store.read(reads.generation, "spoke", WS)
    assert (spoke.status, spoke.charge_nano, spoke.estimated) == ("cancelled", 30, True)
    assert await house.ledger.settle(settle("silent", 10)) == Ended("silent", False)
    assert await house.again() == Recovered(0, 0)


async def test_a_hold_past_its_deadline_expires(house: House) -> None:
    await house.ledger.hold(hold("late", 100, at_ms=NOW, deadline_ms=NOW + 10))
    await house.ledger.hold(hold("live", 100, at_ms=NOW, deadline_ms=NOW + 20))
    assert await house.ledger.expire(NOW + 10) == Recovered(0, 0)
    assert await house.ledger.expire(NOW + 11) == Recovered(0, 1)
    assert await house.balance() == (1000, 100)


async def test_two_servers_cannot_share_a_home(house: House) -> None:
    second = Store.open(house.home / "tollway.db")
    second.start(asyncio.get_running_loop())
    with pytest.raises(HomeInUse, match="another --home"):
        await Ledger(second, lambda: NOW).start()
    await second.close()


async def test_holding_needs_a_started_ledger(house: House) -> None:
    with pytest.raises(RuntimeError):
        Ledger(house.store, lambda: NOW).hold(hold("a", 1))


# ---- cancellation --------------------------------------------------------------------------------


async def test_a_hold_whose_caller_left_is_voided(house: House) -> None:
    house.ledger.hold(hold("a", 600)).cancel()
    await house.ledger.barrier()
    await asyncio.sleep(0)
    await house.ledger.barrier()
    assert await house.balance() == (1000, 0)


async def test_a_settlement_cannot_be_cancelled(house: House) -> None:
    await house.ledger.hold(hold("a", 600))
    house.ledger.settle(settle("a", 250)).cancel()
    await house.ledger.barrier()
    assert await house.balance() == (750, 0)


# ---- a failing store -----------------------------------------------------------------------------


async def fill_the_disk(store: Store, pages: int | None = None) -> None:
    """Let the database grow no further than it is; a huge number empties the disk again."""

    def limit(connection: Any) -> None:
        connection.pragma("max_page_count", pages or connection.pragma("page_count"))

    await store.write(limit)


async def test_a_full_disk_refuses_holds_and_keeps_settlements_until_there_is_room(
    house: House,
) -> None:
    ids = [f"h{n}" for n in range(200)]
    for id in ids:
        await house.ledger.hold(hold(id, 1))
    await fill_the_disk(house.store)
    ends = [house.ledger.settle(settle(id, 1, made=generation(id, 1))) for id in ids]
    refused = 0
    for n in range(300):
        try:
            await house.ledger.hold(hold(f"new{n}", 1))
        except Unavailable:
            refused += 1
            break
    assert refused == 1
    assert not house.store.healthy
    assert house.store.stats().waiting + sum(end.done() for end in ends) == len(ids)
    with pytest.raises(Unavailable):
        await house.ledger.transfer(grant("refused", 5))
    house.store._connection.pragma("max_page_count", 1_000_000)
    assert {(await end).charged_nano for end in ends} == {1}
    assert house.store.healthy
    posted, _ = await house.balance()
    assert posted == 1000 - len(ids)


async def test_a_store_without_waiting_commands_finds_out_itself_that_it_works_again(
    house: House,
) -> None:
    house.store._connection.set_busy_timeout(1)
    blocker = Store.open(house.home / "tollway.db")
    blocker._connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await house.ledger.hold(hold("a", 1))
    assert not house.store.healthy
    assert await house.balance() == (1000, 0)
    blocker._connection.execute("COMMIT")
    await asyncio.wait_for(_healthy(house.store), 5)
    await blocker.close()
    assert isinstance(await house.ledger.hold(hold("b", 1)), Held)
    await house.ledger.void(void("b"))


async def _healthy(store: Store) -> None:
    while not store.healthy:
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.01)


# ---- other processes -----------------------------------------------------------------------------

OTHER = """
import asyncio, pathlib, sys
from tollway.ledger.entries import Transfer
from tollway.ledger.sqlite import Ledger
from tollway.store.sqlite import Store

async def main(path, count):
    store = Store.open(pathlib.Path(path))
    store.start(asyncio.get_running_loop())
    ledger = Ledger(store, lambda: 0)
    for n in range(count):
        await ledger.transfer(Transfer(f"cli{n}", "ws", "payments_clearing", "wallet", 3, "grant", 1))
    await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_a_second_process_grants_while_the_server_serves(house: House) -> None:
    path = str(house.home / "tollway.db")
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", OTHER, path, "200")
    ending = asyncio.ensure_future(other.wait())
    n = 0
    while not ending.done():
        n += 1
        assert isinstance(await house.ledger.hold(hold(f"p{n}", 1, 0)), Held)
        await house.ledger.settle(settle(f"p{n}", 1))
    assert other.returncode == 0
    lost = -(await house.store.read(reads.posted_by_account, WS)).get("platform_loss", 0)
    assert await house.balance() == (1000 + 600 - n + lost, 0)
