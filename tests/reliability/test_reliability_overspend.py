"""N requests at the same moment never spend more than there is: wallet and key limit.

The provider answers only when every refusal is in, so all admitted requests overlap, and then it
reports the very most that was held, so that the last nano-USD counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from reliability_support import (
    SEED,
    Books,
    Exchange,
    ask,
    eventually,
    percentile,
    provider,
    seeded,
    tollway,
    until_idle,
    whole,
)

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen, chat_events, chat_reply

PAID, ASKED = 50, 1_000
OUTPUT = 100


def body(stream: bool) -> bytes:
    # the same length either way, so that the ceiling is the same to the nano-USD
    return ask("x" * 40, max_tokens=OUTPUT, stream=stream)


class Gate:
    """A provider that answers when it is opened, with usage that costs exactly `ceiling_nano`."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.ceiling_nano = 0

    def script(self, seen: Seen) -> Reply:
        prompt = (self.ceiling_nano - 2_000 * OUTPUT) // 1_000
        total = prompt + OUTPUT
        usage = {"prompt_tokens": prompt, "completion_tokens": OUTPUT, "total_tokens": total}
        if seen.json.get("stream"):
            return Reply(before_head=[self.open], steps=chat_events("one two", usage=usage))
        whole = chat_reply("one two", usage=usage)
        return Reply(200, whole.headers, whole.steps, [self.open], "length")


async def ceiling_of(url: str) -> int:
    """What one such request holds, asked of a server with plenty."""
    with Server(providers={"x": provider("x", url)}) as server:
        await whole(server, body(False))
        books = Books(server.home)
        await until_idle(server, books)
        amounts = {amount for (amount,) in books.rows("SELECT amount_nano FROM hold")}
        books.close()
    (amount,) = amounts
    return int(amount)


async def storm(
    server: Server, upstream: ScriptedProvider, gate: Gate, key: str | None
) -> tuple[Counter[int], list[Exchange], list[float]]:
    """All at once; the gate opens when exactly the refused have their answers."""
    random = seeded("overspend")
    refused, took, began = 0, [], time.monotonic()

    async def one(stream: bool) -> Exchange:
        nonlocal refused
        exchange = await Exchange.open(server, body(stream), key=key)
        status = await exchange.begin()
        if status != 200:
            refused += 1
            took.append(time.monotonic() - began)
        return await exchange.rest()

    async def release() -> None:
        await eventually(lambda: refused >= ASKED - PAID, 20, f"{ASKED - PAID} refusals")
        await asyncio.sleep(0.1)  # whoever was admitted beyond 50 gets the time to show it
        gate.open.set()

    storming = [one(random.random() < 0.5) for _ in range(ASKED)]
    *exchanges, _ = await asyncio.gather(*storming, release())
    found = [exchange for exchange in exchanges if exchange is not None]
    return Counter(exchange.status for exchange in found), found, took


@pytest.mark.parametrize(("bound", "refusal"), [("wallet", 402), ("key limit", 403)])
async def test_a_thousand_at_once_with_money_for_fifty(bound: str, refusal: int) -> None:
    gate = Gate()
    async with ScriptedProvider(gate.script) as upstream:
        gate.open.set()
        gate.ceiling_nano = 2_000 * OUTPUT
        gate.ceiling_nano = ceiling = await ceiling_of(upstream.base_url)
        gate.open.clear()
        upstream.seen.clear()
        money = PAID * ceiling
        usd = f"{money // 10**9}.{money % 10**9:09d}"
        credit = usd if bound == "wallet" else "5"
        files = {"x": provider("x", upstream.base_url)}
        with Server(providers=files, env={"TOLLWAY_FIRST_CREDIT_USD": credit}) as server:
            key = None
            if bound == "key limit":
                key = await tollway(
                    server, "keys", "create", "--name", "tight", "--limit", usd, "--plain"
                )
            books = Books(server.home)
            before = books.wallet_nano
            statuses, exchanges, took = await storm(server, upstream, gate, key)
            await until_idle(server, books)
            spent = before - books.wallet_nano
            print(
                f"R2 {bound}: {ASKED} asked, {dict(statuses)}, spent {spent:,} of {money:,} nano-USD; "
                f"refused within p50 {percentile(took, 0.5):.2f} s, max {max(took):.2f} s"
            )
            assert statuses == {200: PAID, refusal: ASKED - PAID}, SEED
            assert len(upstream.seen) == PAID
            assert spent == money
            assert books.one("SELECT sum(lost_nano) FROM hold") == 0
            assert books.one("SELECT count(*) FROM hold WHERE charged_nano = ?", ceiling) == PAID
            if bound == "wallet":
                assert books.wallet_nano == 0
            reasons = Counter(
                e.json()["error"]["metadata"]["limit_source"]
                for e in exchanges
                if e.status == refusal
            )
            expected = "openrouter_in_flight_budget" if refusal == 402 else "openrouter_key_limit"
            assert set(reasons) == {expected}
            later = await whole(server, body(False), key=key)
            assert later.status == refusal, "nothing is left afterwards either"
            books.check()
            books.close()
