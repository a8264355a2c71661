"""Clients that leave at every point of an answer: one end in the books, no socket left, no gift.

A case is a point × stream or not × a provider that stops billing when its connection closes or one
that bills the whole answer anyway. The provider stops at the point, the client leaves, and then it
is looked at what became of the hold, the provider's socket and the charge.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from reliability_support import (
    LONG,
    SEED,
    Books,
    Exchange,
    ask,
    eventually,
    head,
    percentile,
    provider,
    seeded,
    sockets,
    until_idle,
    whole,
)

from support.server import Server
from support.upstream import (
    DONE,
    Reply,
    ScriptedProvider,
    Seen,
    Step,
    chat_body,
    chat_chunk,
    chat_events,
    error_reply,
    event,
)

REPEATS = 20 if LONG else 5
TEXT = "alpha beta gamma delta epsilon zeta eta theta iota kappa"
WORDS = TEXT.split()
USAGE = {"prompt_tokens": 40, "completion_tokens": 30, "total_tokens": 70}
REAL_NANO = 40 * 1_000 + 30 * 2_000

BEFORE_BODY, AFTER_BODY, NO_HEAD, NO_EVENT = "before body", "after body", "no head", "no event"
FIRST, MID, TOOL, NO_FINISH = "first event", "mid", "in a tool call", "before finish"
FINISHED, USED, DONE_SENT, UNREAD = "before usage", "before [DONE]", "after [DONE]", "all unread"
POINTS = (
    BEFORE_BODY, AFTER_BODY, NO_HEAD, NO_EVENT, FIRST, MID,
    TOOL, NO_FINISH, FINISHED, USED, DONE_SENT, UNREAD,
)  # fmt: skip

ARGUMENTS = ['{"city"', ': "Paris", ', '"days"', ": 3}"]


@dataclass
class Case:
    name: str
    point: str
    stream: bool
    cancels: bool
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    seen: Seen | None = None
    left_s: float = 0.0
    exchange: Exchange | None = None

    async def stop(self) -> None:
        self.reached.set()
        await self.release.wait()

    def reply(self, seen: Seen) -> Reply:
        self.seen = seen
        steps = self._stream() if self.stream else self._body()
        before: list[Step] = [self.stop] if self.point == NO_HEAD else []
        if self.stream:
            return Reply(before_head=before, steps=steps)
        length = sum(len(step) for step in steps if isinstance(step, bytes))
        json_type = (("content-type", "application/json"),)
        return Reply(200, json_type, steps, before, "length", length)

    def _stream(self) -> list[Step]:
        events: list[Step] = [*chat_events(TEXT, usage=USAGE)]
        last = len(WORDS)
        at = {NO_EVENT: 0, FIRST: 2, MID: 6, NO_FINISH: last + 1, FINISHED: last + 2}
        at |= {USED: last + 3, DONE_SENT: last + 4}
        if self.point == TOOL:
            events, place = _tool_call(), 3
        else:
            place = at.get(self.point, -1)
        if place >= 0:
            events.insert(place, self.stop)
        return events

    def _body(self) -> list[Step]:
        body = chat_body(TEXT, usage=USAGE)
        share = {NO_EVENT: 0.0, FIRST: 0.1, MID: 0.5, TOOL: 0.3, NO_FINISH: 0.7, FINISHED: 0.9}
        if self.point == USED:
            return [body[:-1], self.stop, body[-1:]]
        if self.point not in share:
            return [body]
        cut = int(len(body) * share[self.point])
        return [body[:cut], self.stop, body[cut:]]

    async def until_point(self) -> None:
        """Until the provider stands at the point and the client has read what came before."""
        exchange = self.exchange
        assert exchange is not None
        if self.point == UNREAD or (not self.stream and self.point == DONE_SENT):
            await eventually(lambda: self.seen is not None and self.seen.whole)
        else:
            await asyncio.wait_for(self.reached.wait(), 5)
        if self.point == UNREAD:
            await asyncio.sleep(0.03)
            return
        marks = {FIRST: WORDS[0], MID: WORDS[4], TOOL: "Paris", DONE_SENT: "[DONE]"}
        marks |= dict.fromkeys((NO_FINISH, FINISHED, USED), WORDS[-1])
        if self.stream and self.point in marks:
            await exchange.begin()
            await exchange.until(marks[self.point].encode())
        elif self.point == DONE_SENT:
            await exchange.begin()
            await exchange.read()


def _tool_call() -> list[Step]:
    def piece(call: dict[str, Any]) -> bytes:
        return chat_chunk({"tool_calls": [{"index": 0, **call}]})

    named = {"id": "call_1", "type": "function"}
    first = piece({**named, "function": {"name": "weather", "arguments": ARGUMENTS[0]}})
    rest = [piece({"function": {"arguments": text}}) for text in ARGUMENTS[1:]]
    frame = {"id": "chatcmpl-x", "object": "chat.completion.chunk", "created": 1, "model": "x"}
    usage = event({**frame, "choices": [], "usage": USAGE})
    opening = chat_chunk({"role": "assistant", "content": None})
    return [opening, first, *rest, chat_chunk({}, finish="tool_calls"), usage, DONE]


class Bench:
    """A server with a provider that can be cancelled and one that cannot, both scripted."""

    def __init__(self, server: Server, upstream: ScriptedProvider) -> None:
        self.server = server
        self.upstream = upstream
        self.books = Books(server.home)
        self.cases: dict[str, Case] = {}

    def script(self, seen: Seen) -> Reply:
        asked = seen.json["messages"][0]["content"]
        case = self.cases.get(asked)
        if case is not None:
            return case.reply(seen)
        steps = chat_events(TEXT, usage=USAGE)
        if seen.json.get("stream"):
            return Reply(steps=steps)
        return Reply(
            200,
            (("content-type", "application/json"),),
            [chat_body(TEXT, usage=USAGE)],
            (),
            "length",
        )

    async def leave(self, case: Case, random: Random) -> None:
        """Send the request, come to the point, hang up."""
        self.cases[case.name] = case
        model = "acme/stops" if case.cancels else "acme/bills"
        body = ask(case.name, model=model, stream=case.stream)
        exchange = case.exchange = await Exchange.connect(self.server.port)
        sent = head(self.server, len(body), user_agent=case.name) + body
        if case.point == BEFORE_BODY:
            sent = sent[: -random.randrange(1, len(body))]
        exchange.writer.write(sent)
        await exchange.writer.drain()
        if case.point == BEFORE_BODY:
            await asyncio.sleep(random.random() * 0.02)
        elif case.point == AFTER_BODY:
            await asyncio.sleep(random.choice((0, 0, 0.0005, 0.001, 0.002, 0.004)))
        else:
            await case.until_point()
        case.left_s = time.monotonic()
        if random.random() < 0.5:
            exchange.reset()
        else:
            exchange.close()

    async def settled(self, case: Case) -> float:
        """Seconds from leaving to the one end in the books."""
        found = "SELECT count(*) FROM generation WHERE detail LIKE ?"
        mark = f'%"{case.name}"%'
        if case.point in (BEFORE_BODY, AFTER_BODY):  # may never have been held
            await asyncio.sleep(0.05)
            await eventually(
                lambda: self.books.open_holds == 0 or self._ended(mark), 2.0, case.name
            )
        else:
            await eventually(lambda: self.books.one(found, mark) > 0, 2.0, f"record of {case}")
        return time.monotonic() - case.left_s

    def _ended(self, mark: str) -> bool:
        return bool(self.books.one("SELECT count(*) FROM generation WHERE detail LIKE ?", mark))

    def record(self, case: Case) -> dict[str, Any] | None:
        names = "status, charge_nano, completion_tokens, estimated, id"
        rows = self.books.rows(
            f"SELECT {names} FROM generation WHERE detail LIKE ?",  # noqa: S608 - names are ours
            f'%"{case.name}"%',
        )
        assert len(rows) <= 1, f"{case.name}: {len(rows)} records"
        return dict(zip(names.split(", "), rows[0], strict=True)) if rows else None


@contextlib.asynccontextmanager
async def bench(**env: str) -> AsyncIterator[Bench]:
    async with ScriptedProvider(lambda seen: error_reply(500)) as upstream:
        files = {
            "stops": provider("stops", upstream.base_url, model="acme/stops"),
            "bills": provider("bills", upstream.base_url, model="acme/bills", cancels=False),
        }
        with Server(providers=files, env={"TOLLWAY_FIRST_CREDIT_USD": "1000", **env}) as server:
            made = Bench(server, upstream)
            upstream.script = made.script
            await asyncio.gather(
                *(whole(server, ask("warm", model="acme/stops")) for _ in range(8))
            )
            await until_idle(server, made.books)
            yield made
            made.books.check()
            made.books.close()


def judge(case: Case, record: dict[str, Any] | None) -> str:
    """Check one case against docs/billing.md; the kind of its end, for the summary."""
    exchange, seen = case.exchange, case.seen
    assert exchange is not None
    if record is None:
        assert case.point in (BEFORE_BODY, AFTER_BODY), case
        assert seen is None, f"{case.name} was sent and has no record"
        return "nothing held"
    assert case.point != BEFORE_BODY, f"{case.name}: half a request was admitted"
    charge = record["charge_nano"]
    delivered = len(exchange.text.encode()) if case.stream else 0
    least = -(-delivered // 4) * 2_000
    assert charge >= least, f"{case.name}: {charge} for {delivered} bytes delivered"
    if case.point in (DONE_SENT, UNREAD) or (case.cancels and case.point == USED and case.stream):
        assert (charge, record["estimated"]) == (REAL_NANO, 0), (case.name, record)
    if case.point in (AFTER_BODY, BEFORE_BODY):
        return str(record["status"])
    if not case.cancels:
        assert (charge, record["estimated"]) == (REAL_NANO, 0), (case.name, record)
        assert record["status"] == "completed", (case.name, record)
    elif case.point not in (DONE_SENT, UNREAD):
        assert record["status"] == "cancelled", (case.name, record)
        assert charge > 0, f"{case.name}: the input was sent and is not charged"
    return str(record["status"])


def upstream_closed(case: Case) -> float | None:
    """Seconds until the provider's connection was closed; None where that is not asked for."""
    seen = case.seen
    held = case.reached.is_set()
    if seen is None or not case.cancels or not held:
        return None
    assert seen.closed_s is not None, f"{case.name}: the provider's connection stays open"
    return seen.closed_s - case.left_s


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("cancels", [True, False], ids=["stops", "bills"])
async def test_a_client_that_leaves_is_settled_once_and_cut_off(
    stream: bool, cancels: bool
) -> None:
    random = seeded(f"disconnect {stream} {cancels}")
    cases = [
        Case(f"case-{point}-{n}".replace(" ", "-"), point, stream, cancels)
        for point in POINTS
        for n in range(REPEATS)
    ]
    random.shuffle(cases)
    ends: Counter[str] = Counter()
    settled: list[float] = []
    closed: list[float] = []
    async with bench() as made:
        server, upstream, books = made.server, made.upstream, made.books
        idle = sockets(server.pid) - upstream.connections_open

        async def run(case: Case) -> None:
            await made.leave(case, random)
            if not cancels:
                await asyncio.sleep(0.03)
                case.release.set()
            settled.append(await made.settled(case))
            if case.seen is not None and cancels and case.reached.is_set():
                held = case.seen
                await eventually(lambda: held.closed_s is not None, 1.0, f"{case.name} closed")
            case.release.set()

        for at in range(0, len(cases), 12):
            await asyncio.gather(*map(run, cases[at : at + 12]))
        await until_idle(server, books)
        for case in cases:
            ends[judge(case, made.record(case))] += 1
            took = upstream_closed(case)
            if took is not None:
                closed.append(took)
        assert max(settled) <= 2.0
        assert max(closed, default=0.0) <= 1.0

        ended = "SELECT count(*) FROM hold WHERE state <> 'open'"
        assert books.one(ended) == books.one("SELECT count(*) FROM hold")
        double = "SELECT count(*) FROM transfer WHERE reason = 'charge' GROUP BY hold_id"
        assert {count for (count,) in books.rows(double)} == {1}
        await eventually(
            lambda: sockets(server.pid) - upstream.connections_open <= idle,
            3.0,
            "no socket is left",
        )
        stuck = [c for c in upstream.open if c.now is not None and not c.now.whole]
        assert not stuck, [json.loads(c.now.body)["messages"] for c in stuck if c.now]
        print(
            f"R9: {len(cases)} left ({'stream' if stream else 'whole'}, "
            f"{'stops' if cancels else 'bills'}): {dict(ends)}; settled p50 "
            f"{percentile(settled, 0.5):.3f} max {max(settled):.3f} s; provider closed max "
            f"{max(closed, default=0.0):.3f} s; leaked 0 (seed {SEED})"
        )
