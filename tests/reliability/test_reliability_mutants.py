"""Planted bugs of the road: each must be caught by the check that is named for it.

A mutant is one replaced piece of source in a copy of the package, served by a real process. The
same checks pass on the unchanged copy, so a check that catches everything catches nothing.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from reliability_support import (
    Books,
    Exchange,
    ask,
    eventually,
    provider,
    tollway,
    until_idle,
    whole,
    words,
)

from support.server import ROOT, Server
from support.upstream import (
    DONE,
    Break,
    Reply,
    ScriptedProvider,
    Seen,
    chat_chunk,
    chat_events,
    error_reply,
    event,
)

TEXT = words(6)
USAGE = {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26}
CACHED = {**USAGE, "prompt_tokens_details": {"cached_tokens": 8}}
PAID_NANO = 20 * 1_000 + 6 * 2_000


class Bench:
    """A server, and two scripted providers for `acme/one`: the first is always tried first."""

    def __init__(self, server: Server, first: ScriptedProvider, second: ScriptedProvider) -> None:
        self.server = server
        self.first = first
        self.second = second
        self.books = Books(server.home)

    async def ask(self, text: str, *, order: str = "first", **more: object) -> Exchange:
        chosen = {"order": [order, "second"]}
        return await Exchange.open(self.server, ask(text, stream=True, provider=chosen, **more))

    async def ended(self) -> None:
        await until_idle(self.server, self.books, 1.5)


def first_script(seen: Seen) -> Reply:
    events = chat_events(TEXT, usage=USAGE)
    match seen.json["messages"][0]["content"]:
        case "stays":
            return Reply(steps=[*events[:4], Break.STALL])
        case "goes on":
            return Reply(steps=[*events[:3], 0.25, *events[3:]])
        case "dies":
            return Reply(steps=[*events[:4], 0.05, Break.CLOSE])
        case "says an error":
            broken = {"error": {"message": "Overloaded", "type": "overloaded_error", "code": 529}}
            return Reply(steps=[*events[:4], 0.05, event(broken), DONE])
        case "refuses":
            return error_reply(503)
        case "refuses late":
            refused = error_reply(503)
            return Reply(503, refused.headers, refused.steps, [0.25], "length")
        case "tells twice":
            finish = chat_chunk({}, finish="stop")
            usage = events[-2]
            return Reply(steps=[*events[:-3], usage, finish, usage, DONE])
        case "cached":
            return Reply(steps=chat_events(TEXT, usage=CACHED))
        case _:
            return Reply(steps=events)


def second_script(seen: Seen) -> Reply:
    if seen.json["messages"][0]["content"] == "refuses":
        return error_reply(503)
    return Reply(steps=chat_events("spliced", usage=USAGE))


# ---- checks --------------------------------------------------------------------------------------


async def leaves_mid_stream(b: Bench) -> None:
    """Settled once at what was delivered, and the provider is cut off."""
    client = await b.ask("stays")
    await client.begin()
    await client.until(b"w00002")
    delivered = -(-len(client.text.encode()) // 4)
    client.reset()
    await eventually(lambda: bool(b.first.seen[-1].closed_s), 1.5, "the provider is cut off")
    await b.ended()
    record = b.books.generation(client.generation)
    assert record["status"] == "cancelled"
    assert record["completion_tokens"] >= delivered
    assert record["charge_nano"] >= delivered * 2_000
    assert record["charge_nano"] > delivered * 2_000, "the input is charged as well"


async def leaves_who_bills_anyway(b: Bench) -> None:
    """Charged the real usage of the whole answer."""
    client = await b.ask("goes on", order="bills")
    await client.begin()
    await client.until(b"w00001")
    client.reset()
    await b.ended()
    record = b.books.generation(client.generation)
    assert (record["status"], record["charge_nano"]) == ("completed", PAID_NANO)


async def leaves_before_a_failure(b: Bench) -> None:
    """No second answer is bought for nobody."""
    known = len(b.second.seen)
    client = await b.ask("refuses late", order="bills")
    await eventually(lambda: bool(b.first.seen))
    client.reset()
    await b.ended()
    assert len(b.second.seen) == known
    assert b.books.charged_nano == 0


async def dies_mid_stream(b: Bench) -> None:
    """One error, no [DONE], no second voice, no charge."""
    for text in ("dies", "says an error"):
        done = await (await b.ask(text)).rest()
        assert done.status == 200
        assert len(done.errors) == 1
        assert not done.done
        assert TEXT.startswith(done.text.strip())
        assert done.text
        await b.ended()
        assert b.books.generation(done.generation)["charge_nano"] == 0
    assert not b.second.seen
    assert b.books.charged_nano == 0


async def everything_refuses(b: Bench) -> None:
    """The hold is given back at once, nothing is charged."""
    done = await (await b.ask("refuses")).rest()
    assert done.status == 503
    await b.ended()
    assert b.books.rows("SELECT state, charged_nano FROM hold") == [("voided", 0)]


async def fails_over(b: Bench) -> None:
    """A refusal before the first token is not seen."""
    done = await (await b.ask("refuses late")).rest()
    assert (done.status, done.text.strip(), done.done) == (200, "spliced", True)


async def tells_usage_twice(b: Bench) -> None:
    done = await (await b.ask("tells twice")).rest()
    assert done.usage is not None
    assert done.usage["completion_tokens"] == 6
    await b.ended()
    assert b.books.generation(done.generation)["charge_nano"] == PAID_NANO


async def prices_cached_tokens_once(b: Bench) -> None:
    done = await (await b.ask("cached")).rest()
    assert done.usage is not None
    await b.ended()
    assert b.books.generation(done.generation)["charge_nano"] == PAID_NANO


async def clamps_upstream(b: Bench) -> None:
    """With little money left the limit that was held is the limit that is sent."""
    first = await (await b.ask("plain")).rest()
    assert "x-tollway-output-limit" not in first.headers
    wanted = b.first.seen[-1].json["max_tokens"]
    key = await tollway(
        b.server, "keys", "create", "--name", "tight", "--limit", "0.0011", "--plain"
    )
    body = ask("plain", stream=True, provider={"only": ["first"]})
    done = await whole(b.server, body, key=key)
    sent = b.first.seen[-1].json["max_tokens"]
    assert done.status == 200
    assert sent < wanted
    assert sent * 2_000 <= 1_100_000
    assert int(done.headers["x-tollway-output-limit"]) == sent


async def completes(b: Bench) -> None:
    done = await (await b.ask("plain")).rest()
    assert (done.text.strip(), done.done, done.errors) == (TEXT, True, [])
    await b.ended()
    assert b.books.generation(done.generation)["charge_nano"] == PAID_NANO
    b.books.check()


Check = Callable[[Bench], Awaitable[None]]


class Mutant(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    check: Check


FLOW, CALLING, RECEIPT, GATEWAY = "flow.py", "calling.py", "receipt.py", "gateway.py"
MUTANTS = (
    Mutant(
        "a cancelled request is not settled",
        FLOW,
        "            self.gateway.end(receipt.close(self._facts()))\n",
        "            if not self.client_left:\n"
        "                self.gateway.end(receipt.close(self._facts()))\n",
        leaves_mid_stream,
    ),
    Mutant(
        "a client that left pays nothing",
        RECEIPT,
        'case "completed" | "left" if',
        'case "completed" if',
        leaves_mid_stream,
    ),
    Mutant(
        "delivered text is not counted",
        "dialects/__init__.py",
        "counted = -(-self.text_bytes // 4) + reasoning",
        "counted = reasoning",
        leaves_mid_stream,
    ),
    Mutant(
        "input is not counted when the client left",
        "dialects/__init__.py",
        "prompt_tokens=prompt_tokens_likely",
        "prompt_tokens=0",
        leaves_mid_stream,
    ),
    Mutant(
        "a client that left is not noticed",
        FLOW,
        "        if self.client_left:\n            return\n",
        "        if not self.client_left:\n            return\n",
        leaves_mid_stream,
    ),
    Mutant(
        "the provider is not hung up on",
        CALLING,
        "            await answer.close()\n",
        "            answer.status\n",
        leaves_mid_stream,
    ),
    Mutant(
        "an answer that is billed anyway is cut off",
        FLOW,
        "not current.attempt.provider.cancels",
        "current.attempt.provider.cancels",
        leaves_who_bills_anyway,
    ),
    Mutant(
        "failing over for a client that has left",
        FLOW,
        "        if self.client_left:\n            return None",
        "        if False:\n            return None",
        leaves_before_a_failure,
    ),
    Mutant(
        "failing over after the first content",
        CALLING,
        "while not (meter.spoke or meter.ended):",
        "while not meter.ended:",
        dies_mid_stream,
    ),
    Mutant(
        "[DONE] after an error",
        "dialects/openai_chat_stream.py",
        "        return event(msgspec.json.encode({**self._top([failure_choice()]), **error.body()}))",
        "        return event(msgspec.json.encode({**self._top([failure_choice()]), **error.body()})) + DONE",
        dies_mid_stream,
    ),
    Mutant(
        "a broken answer is charged",
        RECEIPT,
        '        if self.progress == "whole":',
        '        if self.progress in ("whole", "broke"):',
        dies_mid_stream,
    ),
    Mutant(
        "the end of a stream is told after its error",
        "http/inference.py",
        "        elif self.streamed and self.call is not None and not self.ended:\n",
        "        elif self.streamed and self.call is not None and not self.ended:\n"
        "            self.write(self.call.failure(error))\n",
        dies_mid_stream,
    ),
    Mutant(
        "a hold is not voided on refusal",
        GATEWAY,
        "        if isinstance(command, Void):\n",
        "        if isinstance(command, Void):\n            return\n        if False:\n",
        everything_refuses,
    ),
    Mutant(
        "no failing over at all",
        FLOW,
        "                index = await self._next(index, failed.fault)\n",
        "                index = None\n",
        fails_over,
    ),
    Mutant(
        "usage is counted as often as it is told",
        "dialects/openai_chat_reading.py",
        "            self.meter.usage = usage\n",
        "            told = self.meter.usage\n"
        "            self.meter.usage = usage if told is None else msgspec.structs.replace(\n"
        "                usage, completion_tokens=told.completion_tokens + usage.completion_tokens)\n",
        tells_usage_twice,
    ),
    Mutant(
        "cached tokens are priced twice",
        "money.py",
        "        usage.prompt_tokens\n        - usage.cached_tokens\n",
        "        usage.prompt_tokens\n",
        prices_cached_tokens_once,
    ),
    Mutant(
        "the output limit is not clamped upstream",
        CALLING,
        "outbound = out.render_request(ready, attempt, self.output_tokens_max)",
        "outbound = out.render_request(ready, attempt, attempt.output_tokens_wanted)",
        clamps_upstream,
    ),
    Mutant(
        "the charge is a nano-USD short",
        RECEIPT,
        "                charge_nano=paid.charge_nano + lost_nano,\n",
        "                charge_nano=paid.charge_nano + lost_nano - 1,\n",
        completes,
    ),
)
CHECKS: tuple[Check, ...] = tuple(dict.fromkeys(mutant.check for mutant in MUTANTS))
LANES = 2


async def survives(package: Path, checks: tuple[Check, ...]) -> str | None:
    """Run checks against the package in this folder; what the first that failed said."""
    async with ScriptedProvider(first_script) as first, ScriptedProvider(second_script) as second:
        prices = {"prompt": "0.000001", "completion": "0.000002"}
        files = {
            "first": provider("first", first.base_url, **prices),
            "bills": provider("bills", first.base_url, cancels=False, **prices),
            "second": provider("second", second.base_url, **prices),
        }
        env = {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
        server = Server(providers=files, env=env)
        await asyncio.to_thread(server.__enter__)
        bench = Bench(server, first, second)
        try:
            for check in checks:
                try:
                    await asyncio.wait_for(check(bench), 8)
                except (
                    AssertionError,
                    TimeoutError,
                    OSError,
                    asyncio.IncompleteReadError,
                ) as error:
                    return f"{check.__name__}: {type(error).__name__} {str(error)[:100]}"
            return None
        finally:
            bench.books.close()
            server.kill()
            await asyncio.to_thread(server.__exit__, None, None, None)


def mutated(mutant: Mutant, original: Path, at: Path) -> Path:
    """A copy of the package with one piece of source replaced."""
    shutil.copytree(original, at / "tollway", symlinks=True)
    file = at / "tollway" / mutant.file
    source = file.read_text()
    assert source.count(mutant.old) == 1, f"{mutant.name}: its place in {mutant.file} has changed"
    file.write_text(source.replace(mutant.old, mutant.new))
    return at


async def test_every_planted_bug_is_caught_by_its_check(tmp_path: Path) -> None:
    original = tmp_path / "original" / "tollway"
    shutil.copytree(ROOT / "src" / "tollway", original)
    for check in CHECKS:
        assert await survives(original.parent, (check,)) is None, "the checks fail without a bug"
    lanes = asyncio.Semaphore(LANES)
    caught: dict[str, str | None] = {}

    async def plant(n: int, mutant: Mutant) -> None:
        async with lanes:
            package = mutated(mutant, original, tmp_path / str(n))
            caught[mutant.name] = await survives(package, (mutant.check,))
            shutil.rmtree(package)

    await asyncio.gather(*(plant(n, mutant) for n, mutant in enumerate(MUTANTS)))
    missed = [name for name, how in caught.items() if how is None]
    print(f"R4: {len(MUTANTS) - len(missed)}/{len(MUTANTS)} planted bugs of the road caught")
    for name, how in caught.items():
        print(f"  {name} – {how}")
    assert not missed
