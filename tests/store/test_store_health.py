"""Health shared through one store: two instances, one that dies, one database that is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from tollway.canon import Fault
from tollway.catalogue.entries import Endpoint
from tollway.errors import Unavailable
from tollway.money import Price, Rates
from tollway.routing.health import EJECTED, STABLE, Health, Outcome
from tollway.store.health import ALIVE_S, GONE_S, HealthShare
from tollway.store.sqlite import Store

NOW = 1_800_000_000.0
ONE = Endpoint(
    key="acme/one@alpha",
    model="acme/one",
    provider="alpha",
    tag="alpha",
    id="one",
    price_version="v1",
    price=Price(Rates(prompt=1, completion=1)),
)
WELL = Outcome.answered(0.5, 100, 2.0)
ILL = Outcome.failed(Fault(502, "x", "x"), 0.1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(tmp_path / "tollway.db")
    opened.start(asyncio.get_running_loop())
    yield opened
    await opened.close()


def part(store: Store, name: str) -> tuple[Health, HealthShare]:
    health = Health()
    return health, HealthShare(store, health, name)


async def rows(store: Store) -> dict[str, int]:
    def read(connection: apsw.Connection) -> dict[str, int]:
        return dict(connection.execute("SELECT process, at_ms FROM health_digest"))

    return await store.read(read)


async def test_what_one_process_saw_the_other_routes_by(store: Store) -> None:
    one, share = part(store, "one")
    other, other_share = part(store, "other")
    for _ in range(5):
        one.note(ONE, ILL, NOW)
    one.note(ONE, WELL, NOW)
    await share.exchange(NOW)
    await other_share.exchange(NOW + 1)
    assert other.rank(ONE.key, "alpha", NOW + 1) == EJECTED
    assert other.latency(ONE.key, NOW + 1)["p50"] == 0.5
    other.note(ONE, Outcome.answered(1.5, 1, 2.0), NOW + 2)
    await other_share.exchange(NOW + 6)
    await share.exchange(NOW + 6)
    assert one.measured(ONE.key, "alpha", NOW + 6).calls == 7
    assert set(await rows(store)) == {"one", "other"}


async def test_a_process_with_nothing_to_say_writes_nothing(store: Store) -> None:
    _, share = part(store, "one")
    for n in range(10):
        await share.exchange(NOW + 5 * n)
    assert await rows(store) == {}


async def test_a_silent_process_gives_signs_of_life_and_no_more(store: Store) -> None:
    one, share = part(store, "one")
    one.note(ONE, WELL, NOW)
    seen = set()
    for n in range(13):
        await share.exchange(NOW + 5 * n)
        seen |= set((await rows(store)).values())
    assert sorted(seen) == [int((NOW + ALIVE_S * n) * 1000) for n in range(7)]


async def test_what_a_restart_finds_is_heard_at_once_and_then_its_own(store: Store) -> None:
    before, share = part(store, "before")
    for n in range(30):
        before.note(ONE, WELL, NOW - n)
    await share.tell(NOW)
    after, share = part(store, "after")
    await share.exchange(NOW + 3)
    assert after.measured(ONE.key, "alpha", NOW + 3).calls == 30
    assert after.tell(NOW + 3).records == {}
    for n in range(1, 10):
        await share.exchange(NOW + 5 * n)
        assert after.measured(ONE.key, "alpha", NOW + 5 * n).calls == 30
    assert set(await rows(store)) == {"after"}
    assert after.tell(NOW + 50).records.keys() == {ONE.key}


async def test_what_is_left_behind_is_taken_over_by_exactly_one(store: Store) -> None:
    gone, share = part(store, "gone")
    for n in range(30):
        gone.note(ONE, WELL, NOW - n)
    await share.tell(NOW)
    late = NOW + GONE_S + 1
    parts = [part(store, f"p{n}") for n in range(3)]
    await asyncio.gather(*(share.exchange(late) for _, share in parts))
    assert sorted(len(h.tell(late).records) for h, _ in parts) == [0, 0, 1]
    for n in (1, 2):
        for _, share in parts:
            await share.exchange(late + 5 * n)
    assert [h.measured(ONE.key, "alpha", late + 10).calls for h, _ in parts] == [30, 30, 30]


async def test_a_row_that_cannot_be_read_is_passed_over(store: Store) -> None:
    def spoil(connection: apsw.Connection) -> None:
        connection.execute(
            "INSERT INTO health_digest VALUES ('bad', ?, x'00ff'), ('old', 0, x'c1')",
            (int(NOW * 1000),),
        )

    await store.write(spoil)
    one, share = part(store, "one")
    one.note(ONE, WELL, NOW)
    await share.exchange(NOW)
    assert one.rank(ONE.key, "alpha", NOW) == STABLE
    assert set(await rows(store)) == {"bad", "one"}


async def test_a_lost_database_takes_nothing_from_who_measured_it(store: Store) -> None:
    one, share = part(store, "one")
    for _ in range(5):
        one.note(ONE, ILL, NOW)
    await share.exchange(NOW)
    one.note(ONE, WELL, NOW)
    await store.close()
    with pytest.raises(Unavailable):
        await share.exchange(NOW + 5)
    assert one.rank(ONE.key, "alpha", NOW + 5) == EJECTED
    assert one.measured(ONE.key, "alpha", NOW + 5).calls == 6
