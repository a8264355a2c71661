"""R10 on the way to a provider: a healthy one behind the fault proxy, another beside it.

What a scripted provider cannot do by itself: break connections as they are made, heads at any byte,
bodies at any event, TLS. The proxies run here, in the test's own loop.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from reliability_support import (
    LONG,
    SEED,
    Books,
    Exchange,
    ask,
    at_rate,
    provider,
    seeded,
    until_idle,
    whole,
    words,
)

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen, chat_events, chat_reply
from tollway.dev.fault_plan import Faults
from tollway.dev.fault_proxy import FaultProxy, upstream

RATE = 100
EACH = 20 if LONG else 6
GOOD_TEXT, SHAKY_TEXT = words(12), words(8, 500)
GOOD_NANO = 10 * 3_000 + 12 * 6_000

BEFORE = (
    # as the connection is made: a proxy of their own each, as they hold for every connection
    "drop@connect",
    "reset@connect",
    "halfclose@connect",
    "garbage@connect",
    # after the request has arrived
    "drop",
    "reset",
    "halfclose",
    "garbage",
    "stall",
    "status=503 retry_after=20",
    # in the head
    "drop@head=1",
    "drop@head=20",
    "reset@head=20",
    "halfclose@head=60",
    "stall@head=20",
    "throttle=20@head",
    "corrupt=text:XXXX@head",
    "corrupt=hex:00@head=10",
    # in the body, before there is a word
    "drop@bytes",
    "reset@bytes=10",
    "stall@bytes=10",
    "halfclose@bytes=10",
    "truncate@bytes",
    "truncate@bytes=10",
    "corrupt=text:}}}}}@bytes=8",
    "drop@event=1",
    "reset@event=1",
    "stall@event=1",
    "truncate@event=1",
    "corrupt=text:data:}}}}}}@event=1",
)

TLS = ("drop@connect", "reset@connect", "garbage@connect", "delay=0s@connect")
"""The same with an https base URL: the handshake breaks; in the last one nothing does, but HTTP is
spoken where TLS is expected."""

STREAMS = re.compile(r"stall|halfclose@head|halfclose@bytes|throttle|@event|@bytes=10|@bytes=8")
"""Of streams only: a whole answer may be silent as long as it likes, and has no events."""

AFTER = (
    "drop@event=4",
    "reset@event=4",
    "halfclose@event=4",
    "stall@event=4",
    "truncate@event=4",
    "drop@bytes=700",
    "truncate@bytes=700",
    "corrupt=text:data:}}}}}}@event=4",
)


def script(seen: Seen) -> Reply:
    text = SHAKY_TEXT if "/shaky" in seen.path else GOOD_TEXT
    if not seen.json.get("stream"):
        return chat_reply(text)
    first, *rest = chat_events(text)
    return Reply(steps=[first, *(step for piece in rest for step in (0.004, piece))])


async def proxies(stack: AsyncExitStack, port: int, rules: tuple[str, ...]) -> dict[str, str]:
    """A base URL for each rule. Rules about requests share a proxy and are told apart by path."""
    told: list[dict[str, Any]] = []

    async def started(texts: list[str], path: str) -> str:
        to = upstream(f"http://127.0.0.1:{port}/shaky")
        proxy = FaultProxy(Faults(texts, SEED), to, say=told.append)
        bound = await proxy.start("127.0.0.1", 0)
        stack.push_async_callback(proxy.close)
        return f"127.0.0.1:{bound}{path}"

    shared = [rule for rule in rules if "@connect" not in rule]
    texts = [f"{rule} path=/k{n}/" for n, rule in enumerate(shared)]
    base = await started(texts, "")
    urls = {rule: f"http://{base}/k{n}/v1" for n, rule in enumerate(shared)}
    for rule in set(rules) - set(shared):
        urls[rule] = f"http://{await started([rule], '')}/v1"
    return urls


def files(urls: list[str], good: ScriptedProvider) -> dict[str, str]:
    cheap = {"prompt": "0.000001", "completion": "0.000002"}
    found = {f"s{n}": provider(f"s{n}", url, **cheap) for n, url in enumerate(urls)}
    dear = {"prompt": "0.000003", "completion": "0.000006"}
    return {**found, "good": provider("good", good.base_url, **dear)}


ENV = {
    "TOLLWAY_IDLE_TIMEOUT_S": "1",
    "TOLLWAY_FIRST_TOKEN_TIMEOUT_S": "1.5",
    "TOLLWAY_FIRST_CREDIT_USD": "1000",
}


async def test_no_caller_sees_what_breaks_on_the_way_before_the_first_token() -> None:
    random = seeded("proxied before")
    async with ScriptedProvider(script) as good, AsyncExitStack() as stack:
        plain = await proxies(stack, good.port, BEFORE)
        secure = await proxies(stack, good.port, TLS)
        urls = {**plain, **{f"{rule} under TLS": url for rule, url in secure.items()}}
        urls = {k: u.replace("http:", "https:") if "TLS" in k else u for k, u in urls.items()}
        kinds = [kind for kind in urls for _ in range(EACH)]
        random.shuffle(kinds)
        wrong: Counter[str] = Counter()
        with Server(providers=files(list(urls.values()), good), env=ENV) as server:
            books = Books(server.home)
            order = {kind: [f"s{n}", "good"] for n, kind in enumerate(urls)}

            async def one(n: int) -> None:
                kind = kinds[n]
                stream = bool(STREAMS.search(kind)) or random.random() < 0.5
                chosen = {"order": order[kind], "allow_fallbacks": False}
                e = await asyncio.wait_for(whole(server, ask(stream=stream, provider=chosen)), 15)
                served = e.status == 200 and e.text.strip() == GOOD_TEXT
                if not served or (stream and (not e.done or e.errors)):
                    wrong[f"{kind} ({'stream' if stream else 'whole'}): {e.body[:300]!r}"] += 1

            raised = await at_rate(RATE, len(kinds), one)
            await until_idle(server, books)
            print(
                f"R10: {len(kinds)} requests through the fault proxy, {len(urls)} faults, {RATE}/s: "
                f"{len(raised)} broken, {sum(wrong.values())} wrong"
            )
            assert not raised, (SEED, raised[:3])
            assert not wrong, (SEED, "\n".join(wrong))
            assert books.charged_nano == GOOD_NANO * len(kinds)
            books.check()
            books.close()


async def test_what_breaks_on_the_way_after_the_first_token_is_one_error_and_no_charge() -> None:
    random = seeded("proxied after")
    kinds = [kind for kind in AFTER for _ in range(EACH)]
    random.shuffle(kinds)
    ends: list[tuple[str, Exchange]] = []
    async with ScriptedProvider(script) as good, AsyncExitStack() as stack:
        urls = await proxies(stack, good.port, AFTER)
        with Server(providers=files(list(urls.values()), good), env=ENV) as server:
            books = Books(server.home)
            before = books.wallet_nano
            order = {kind: [f"s{n}", "good"] for n, kind in enumerate(urls)}

            async def one(n: int) -> None:
                body = ask(stream=True, provider={"order": order[kinds[n]]})
                ends.append((kinds[n], await asyncio.wait_for(whole(server, body), 15)))

            raised = await at_rate(RATE, len(kinds), one)
            await until_idle(server, books)
            assert not raised, (SEED, raised[:3])
            # A reset takes with it what the gateway has not read yet, the first token too: then
            # nothing had begun, and the other provider answers, whole.
            elsewhere = [(kind, e) for kind, e in ends if GOOD_TEXT in e.text]
            assert all(e.text.strip() == GOOD_TEXT and e.done for _, e in elsewhere), "spliced"
            assert {kind for kind, _ in elsewhere} <= {"reset@event=4"}
            assert len(elsewhere) <= EACH // 2
            for kind, e in ends:
                if (kind, e) in elsewhere:
                    continue
                assert e.status == 200, (kind, e.body)
                assert len(e.errors) == 1, (kind, e.events)
                assert "error" in e.chunks[-1], (kind, "words after the error")
                assert not e.done, kind
                assert e.usage is None, kind
                assert e.text, kind
                assert f"{SHAKY_TEXT} ".startswith(e.text), (kind, e.text)
                record = books.generation(e.generation)
                assert (record["status"], record["charge_nano"]) == ("failed", 0), (kind, record)
            assert books.wallet_nano == before - GOOD_NANO * len(elsewhere)
            print(
                f"R10: {len(kinds)} streams broken by the fault proxy in {len(AFTER)} ways, {RATE}/s: "
                f"one error each, {len(elsewhere)} had not begun, charged 0"
            )
            books.check()
            books.close()
