"""Limits in number: counted with the hold, exactly, over any clock, restart and number of workers."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from ledger_support import (
    DAY_MS,
    KEY,
    WS,
    Books,
    at,
    generation,
    hold,
    settle,
    told_again,
    void,
)

from tollway.ledger import rates, reads
from tollway.ledger.audit import audit
from tollway.ledger.entries import Admit, Count, Exhausted, Held, Record, Refused, Transfer
from tollway.ledger.rules import BadCommand, HoldEnded, UnknownHold
from tollway.ledger.sqlite import Ledger
from tollway.store.migrate import FOLDER, migrate
from tollway.store.sqlite import Store

NOON = at("2026-11-25T12:00:00")
NOON_30 = at("2026-11-25T12:00:30")
USD = 10**9


def minute(limit: int, bucket: str = f"key:{KEY}") -> Count:
    return Count(bucket, "minute", limit, "key")


def day(limit: int, bucket: str = f"key:{KEY}", **more: Any) -> Count:
    return Count(bucket, "day", limit, "key", **more)


def asked(id: str, at_ms: int, *counts: Count, wanted: int = 0, **more: Any) -> Any:
    return hold(id, wanted, at_ms=at_ms, counts=counts, **more)


def used(books: Books) -> dict[tuple[str, str], int]:
    rows = books.connection.execute("SELECT bucket, period, used FROM rate_window")
    return {(bucket, period): n for bucket, period, n in rows}


@pytest.fixture
def books() -> Books:
    made = Books()
    made.grant(1000)
    return made


def test_so_many_are_admitted_a_minute_and_the_next_minute_as_many_again(books: Books) -> None:
    for n in range(3):
        assert isinstance(books.one(asked(f"a{n}", NOON + n, minute(3))), Held)
    refused = books.one(asked("a3", NOON_30, minute(3)))
    assert refused == Refused("a3", "rate", 1000, rate=Exhausted("key", "minute", 3, NOON + 60_000))
    assert isinstance(books.one(asked("a4", NOON + 60_000, minute(3))), Held)
    assert books.count("hold") == 4
    assert used(books) == {(f"key:{KEY}", "minute"): 1}


def test_days_are_those_of_utc(books: Books) -> None:
    before = at("2026-11-25T23:59:59")
    assert isinstance(books.one(asked("a", before, day(1))), Held)
    refused = books.one(asked("b", before + 999, day(1)))
    assert refused.rate == Exhausted("key", "day", 1, at("2026-11-26T00:00:00"))
    assert isinstance(books.one(asked("c", before + 1_000, day(1))), Held)


def test_what_is_refused_does_not_count_and_what_is_admitted_counts_whatever_becomes_of_it(
    books: Books,
) -> None:
    books.apply(asked("a", NOON, minute(2)), void("a"))
    books.apply(*[asked(f"poor{n}", NOON, minute(2), wanted=5000) for n in range(5)])
    assert used(books) == {(f"key:{KEY}", "minute"): 1}
    books.apply(asked("b", NOON, minute(2)))
    assert books.one(asked("c", NOON, minute(2))).by == "rate"
    assert used(books) == {(f"key:{KEY}", "minute"): 2}


def test_a_request_counts_in_all_of_its_windows_or_in_none(books: Books) -> None:
    books.apply(asked("a", NOON, minute(5), day(1)))
    refused = books.one(asked("b", NOON, minute(5), day(1)))
    assert refused.rate.period == "day"
    assert used(books) == {(f"key:{KEY}", "minute"): 1, (f"key:{KEY}", "day"): 1}


def test_of_several_full_windows_the_one_that_opens_last_is_named(books: Books) -> None:
    books.apply(asked("a", NOON, minute(1), day(1)))
    assert books.one(asked("b", NOON, minute(1), day(1))).rate.period == "day"
    assert books.one(asked("c", NOON, day(1), minute(1))).rate.period == "day"


def test_what_waiting_cannot_mend_is_named_before_a_full_window(books: Books) -> None:
    books.apply(asked("a", NOON, minute(1)))
    assert books.one(asked("b", NOON, minute(1), wanted=2000)).by == "credit"


def test_the_same_hold_delivered_twice_counts_once(books: Books) -> None:
    first = asked("a", NOON, minute(1))
    assert books.apply(first, first) == [Held("a", 0, 1000)] * 2
    assert isinstance(books.one(first), Held)
    assert used(books) == {(f"key:{KEY}", "minute"): 1}


def test_a_hold_that_goes_on_to_what_is_limited_is_counted_then(books: Books) -> None:
    free = minute(2, f"free:{WS}"), day(9, f"free:{WS}")
    books.apply(*[asked(f"a{n}", NOON) for n in range(4)])
    assert used(books) == {}
    assert books.apply(*[Admit(f"a{n}", free, NOON_30) for n in range(2)]) == [None, None]
    full = Exhausted("key", "minute", 2, NOON + 60_000)
    assert books.apply(Admit("a2", free, NOON_30), asked("a4", NOON, *free))[0] == full
    assert used(books) == {(f"free:{WS}", "minute"): 2, (f"free:{WS}", "day"): 2}
    assert books.one(Admit("a3", free, NOON + 60_000)) is None
    assert used(books) == {(f"free:{WS}", "minute"): 1, (f"free:{WS}", "day"): 3}
    assert audit(books.connection) == []


def test_only_what_is_held_goes_on(books: Books) -> None:
    free = (minute(2, f"free:{WS}"),)
    books.apply(asked("a", NOON), void("a"))
    ended, unknown = books.apply(Admit("a", free, NOON), Admit("b", free, NOON))
    assert (type(ended), type(unknown)) == (HoldEnded, UnknownHold)
    assert used(books) == {}


def test_credit_raises_the_limit_of_what_goes_on_too(books: Books) -> None:
    free = (day(1, f"free:{WS}", limit_credited=2, credited_least_nano=2000),)
    books.apply(*[asked(f"a{n}", NOON) for n in range(3)])
    assert books.one(Admit("a0", free, NOON)) is None
    assert books.one(Admit("a1", free, NOON)).limit == 1
    books.grant(1000)
    assert books.one(Admit("a1", free, NOON)) is None
    assert books.one(Admit("a2", free, NOON)).limit == 2


def test_buckets_do_not_touch_each_other(books: Books) -> None:
    books.apply(asked("a", NOON, minute(1)))
    assert isinstance(books.one(asked("b", NOON, minute(1, "key:other"))), Held)
    assert isinstance(books.one(asked("c", NOON)), Held)


def test_a_clock_that_is_set_back_opens_no_old_window(books: Books) -> None:
    books.apply(asked("a", NOON + 60_000, minute(2)))
    assert isinstance(books.one(asked("b", NOON, minute(2))), Held)
    refused = books.one(asked("c", NOON, minute(2)))
    assert refused.rate.resets_ms == NOON + 120_000


def test_a_lowered_limit_is_in_force_at_once(books: Books) -> None:
    books.apply(*[asked(f"a{n}", NOON, day(9)) for n in range(5)])
    assert books.one(asked("b", NOON, day(3))).rate.limit == 3


@pytest.mark.parametrize(("credited", "limit"), [(0, 1), (9, 1), (10, 3), (25, 3)])
def test_credit_raises_a_limit(credited: int, limit: int) -> None:
    books = Books()
    if credited:
        books.grant(credited * USD)
    count = day(1, f"free:{WS}", limit_credited=3, credited_least_nano=10 * USD)
    answers = books.apply(*[asked(f"a{n}", NOON, count) for n in range(5)])
    assert sum(isinstance(answer, Held) for answer in answers) == limit
    assert reads.admitted(books.connection, count, WS, NOON) == (limit, limit)
    assert reads.admitted(books.connection, count, WS, NOON + DAY_MS) == (0, limit)


def test_credit_that_was_taken_back_lowers_it_again() -> None:
    books = Books()
    books.grant(12 * USD)
    books.one(Transfer("back", WS, "wallet", "payments_clearing", 5 * USD, "taken back", 1))
    count = day(1, f"free:{WS}", limit_credited=3, credited_least_nano=10 * USD)
    assert reads.admitted(books.connection, count, WS, NOON) == (0, 1)


def test_a_hold_without_limits_asks_for_no_window(books: Books) -> None:
    asked_for: list[str] = []
    books.connection.trace_v2(
        0x01,
        lambda event: asked_for.append(event["sql"]),  # every statement
    )
    books.apply(hold("a", 5), void("a"))
    books.connection.trace_v2(0, None)
    assert asked_for
    assert not [sql for sql in asked_for if "rate_window" in sql]


def test_windows_against_a_count_by_hand() -> None:
    """Random requests at random moments, clocks set back included: admitted is exactly what a list
    of all admitted moments says."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, books = random.Random(seed), Books()
    admitted: dict[tuple[str, str], list[int]] = {}
    now = NOON
    for n in range(1_500):
        now += chance.choice((0, 1, 500, 7_000, 61_000, DAY_MS // 7, -90_000))
        limits = [
            Count(f"key:k{chance.randrange(3)}", period, chance.randrange(1, 6), "key")
            for period in chance.choice((("minute",), ("day",), ("minute", "day")))
        ]
        full = False
        at_window = {}
        for count in limits:
            known = admitted.setdefault((count.bucket, count.period), [])
            window = max([now // rates.LENGTH_MS[count.period], *known])
            at_window[count.bucket, count.period] = window
            full = full or known.count(window) >= count.limit
        answer = books.one(asked(f"h{n}", now, *limits, key_id=limits[0].bucket[4:]))
        assert isinstance(answer, Refused) is full, f"request {n}"
        if not full:
            for where, window in at_window.items():
                admitted[where].append(window)


# ---- answers out of the cache ----------------------------------------------------------------------


def test_an_answer_out_of_the_cache_is_recorded_free_and_holds_nothing(books: Books) -> None:
    books.apply(hold("a", 600, at_ms=NOON), Record(told_again("b", "a")))
    before = books.posted()
    books.apply(settle("a", 250, made=generation("a", 250)))
    after = books.posted()
    assert books.one(Record(told_again("c", "a", NOON))) is True
    assert books.posted() == after != before
    assert (books.held(), books.count("hold"), books.count("generation")) == (0, 1, 3)
    assert books.violations() == []
    found = reads.generation(books.connection, "c", WS)
    assert found is not None
    assert (found.charge_nano, found.status) == (0, "completed")


def test_a_record_delivered_twice_is_one(books: Books) -> None:
    books.apply(hold("a", 600), Record(told_again("b", "a")), Record(told_again("b", "a")))
    assert books.one(Record(told_again("b", "a"))) is False
    assert books.count("generation") == 1
    rows = books.connection.execute("SELECT sum(requests) FROM rollup").get
    assert rows == 1


@pytest.mark.parametrize(
    "wrong", [{"charge_nano": 1}, {"prompt_tokens": 1}, {"cached_tokens": 1}, {"status": "failed"}]
)
def test_a_record_that_is_not_free_is_refused(books: Books, wrong: dict[str, Any]) -> None:
    made = msgspec.structs.replace(told_again("b", "a"), **wrong)
    assert isinstance(books.one(Record(made)), BadCommand)
    assert books.count("generation") == 0


def test_activity_counts_them_on_the_day_they_were_asked_for(books: Books) -> None:
    books.apply(hold("a", 600, at_ms=NOON), Record(told_again("b", "a", NOON)))
    (row,) = reads.activity(books.connection, NOON + DAY_MS)
    assert (row.date, row.requests, row.charge_nano) == ("2026-11-25", 1, 0)


# ---- many at once, many processes, a restart -------------------------------------------------------


async def test_a_thousand_at_once_against_fifty_admit_fifty_and_a_restart_keeps_the_count(
    tmp_path: Path,
) -> None:
    async def life(work: Any) -> Any:
        store = Store.open(tmp_path / "tollway.db")
        store.start(asyncio.get_running_loop())
        ledger = Ledger(store, lambda: NOON)
        await ledger.start()
        try:
            return await work(store, ledger)
        finally:
            await ledger.close()
            await store.close()

    async def rush(store: Store, ledger: Ledger) -> Counter[type]:
        holds = [ledger.hold(asked(f"a{n}", NOON, day(50))) for n in range(1_000)]
        answers = await asyncio.gather(*holds)
        assert all(answer.by == "rate" for answer in answers if isinstance(answer, Refused))
        assert await store.read(audit) == []
        return Counter(map(type, answers))

    async def later(store: Store, ledger: Ledger) -> tuple[Any, Any]:
        return (
            await ledger.hold(asked("late", NOON_30, day(50))),
            await ledger.hold(asked("tomorrow", NOON + DAY_MS, day(50))),
        )

    assert await life(rush) == {Held: 50, Refused: 950}
    late, tomorrow = await life(later)
    assert (late.by, type(tomorrow)) == ("rate", Held)


WORKER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from ledger_support import hold
from tollway.ledger.entries import Count, Held
from tollway.ledger.sqlite import Ledger
from tollway.store.sqlite import Store

async def main(name):
    store = Store.open(Path({home!r}) / "tollway.db")
    store.start(asyncio.get_running_loop())
    ledger = Ledger(store, lambda: 0)
    ledger._epoch = 1  # a second worker: the first one owns the home and its epoch
    print("ready", flush=True)
    sys.stdin.readline()
    count = (Count("key:key", "minute", 50, "key"), Count("key:key", "day", 50, "key"))
    answers = []
    for _ in range(10):
        answers += await asyncio.gather(*[
            ledger.hold(hold(f"{{name}}{{len(answers)}}-{{n}}", 0, at_ms={now}, counts=count))
            for n in range(50)
        ])
    print(sum(isinstance(one, Held) for one in answers), flush=True)
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_two_processes_over_one_database_admit_exactly_the_limit(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "tollway.db")
    store.start(asyncio.get_running_loop())
    code = WORKER.format(tests=str(Path(__file__).parent), home=str(tmp_path), now=NOON)
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in ("left", "right")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert await worker.stdout.readline() == b"ready\n"
    outputs = await asyncio.gather(*[worker.communicate(b"go\n") for worker in workers])
    admitted = [int(out) for out, _ in outputs]
    assert sum(admitted) == 50
    assert await store.read(audit) == []
    await store.close()


def test_the_migration_finds_books_that_are_in_use(tmp_path: Path) -> None:
    """A database of the version before: its keys have no limit and its books stay in order."""
    older = tmp_path / "older"
    older.mkdir()
    for number in ("0001", "0002"):
        (found,) = FOLDER.glob(f"{number}_*.sql")
        shutil.copy(found, older)
    connection = apsw.Connection(str(tmp_path / "tollway.db"))
    migrate(connection, older)
    connection.execute("INSERT INTO workspace VALUES ('default', 'Default', 0)")
    connection.execute(
        "INSERT INTO key (hash, digest, workspace_id, name, label, disabled, management,"
        " include_byok_in_limit, created_ms) VALUES (?, ?, 'default', 'k', 'k', 0, 0, 0, 0)",
        ("a" * 64, b"b" * 32),
    )
    assert 6 in migrate(connection)
    query = "SELECT requests_per_minute, requests_per_day FROM key"
    assert connection.execute(query).fetchall() == [(None, None)]
    assert audit(connection) == []
