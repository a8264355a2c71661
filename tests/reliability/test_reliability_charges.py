"""What is charged and booked when a request or a report is out of the ordinary: every byte that is
sent on is held for, pictures cost what they cost, and what is not believed is in the books.
"""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

from reliability_support import (
    Books,
    Exchange,
    ask,
    eventually,
    provider,
    tollway,
    until_idle,
    whole,
)

from support.server import Server
from support.upstream import (
    Break,
    Reply,
    ScriptedProvider,
    chat_chunk,
    chat_events,
    chat_reply,
    error_reply,
)

CREDIT = {"TOLLWAY_FIRST_CREDIT_USD": "100"}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
PRICED = 'pricing = { prompt = "0.000001", completion = "0.000002"'


READS = """
[[models]]
id = "acme/one"
name = "One"
author = "acme"
input_modalities = ["text", "image", "file"]
"""


def usage(prompt: int, completion: int = 1) -> dict[str, Any]:
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def nano(usd: float) -> int:
    return int(Decimal(str(usd)) * 10**9)


async def chat(server: Server, **more: Any) -> tuple[int, Any, dict[str, str]]:
    body = json.loads(ask(**more))
    return await asyncio.to_thread(server.ask, "POST", "/chat/completions", body)


async def owed(server: Server) -> int:
    """What the platform may owe providers without a customer to pay it, nano-USD."""
    import apsw

    def read() -> int:
        connection = apsw.Connection(
            str(server.home / "tollway.db"), flags=apsw.SQLITE_OPEN_READONLY
        )
        sql = "SELECT posted FROM account WHERE kind = 'provider_unreconciled'"
        return int(connection.execute(sql).get or 0)

    return await asyncio.to_thread(read)


async def test_bytes_in_a_field_nobody_knows_are_held_for_and_charged() -> None:
    async with ScriptedProvider(chat_reply("ok", usage=usage(100_000))) as upstream:
        with Server(providers={"p": provider("p", upstream.base_url)}, env=CREDIT) as server:
            status, body, _ = await chat(server, documents=["x" * 300_000], max_tokens=5)
            assert status == 200
            assert nano(body["usage"]["cost"]) == 100_000 * 1_000 + 2_000
            assert await owed(server) == 0
            server.assert_books()


async def test_a_document_by_reference_is_charged_up_to_the_window() -> None:
    part = {"type": "file", "file": {"file_data": "https://example.com/long.pdf"}}
    async with ScriptedProvider(chat_reply("ok", usage=usage(120_000))) as upstream:
        file = provider("p", upstream.base_url) + READS
        with Server(providers={"p": file}, env=CREDIT) as server:
            messages = [{"role": "user", "content": [{"type": "text", "text": "Read"}, part]}]
            status, body, _ = await asyncio.to_thread(
                server.ask,
                "POST",
                "/chat/completions",
                {"model": "acme/one", "messages": messages, "max_tokens": 5},
            )
            assert status == 200, body
            assert body["usage"]["prompt_tokens"] == 120_000


async def test_a_report_nobody_can_believe_is_bounded_and_the_rest_is_in_the_books() -> None:
    async with ScriptedProvider(chat_reply("ok", usage=usage(10, 900_000_000))) as upstream:
        with Server(providers={"p": provider("p", upstream.base_url)}, env=CREDIT) as server:
            status, body, _ = await chat(server, max_tokens=50)
            assert status == 200
            believed = body["usage"]["completion_tokens"]
            assert believed == 2 * 50 + 1_024
            found = f"/generation?id={body['id']}"
            told = (await asyncio.to_thread(server.ask, "GET", found))[1]["data"]["tollway"]
            assert (told["doubts"], told["estimated"]) == (["completion_tokens"], False)
            await eventually(lambda: server.balance_nano() < 100 * 10**9)
            assert await owed(server) == (900_000_000 - believed) * 2_000
            server.assert_books()


async def test_pictures_are_charged_apiece() -> None:
    async with ScriptedProvider(chat_reply("ok", usage=usage(100))) as upstream:
        file = provider("p", upstream.base_url).replace(PRICED, f'{PRICED}, image = "0.01"')
        file += READS
        with Server(providers={"p": file}, env=CREDIT) as server:
            content = [{"type": "text", "text": "What?"}, PICTURE, PICTURE, PICTURE]
            status, body, _ = await asyncio.to_thread(
                server.ask,
                "POST",
                "/chat/completions",
                {"model": "acme/one", "messages": [{"role": "user", "content": content}]},
            )
            assert status == 200, body
            assert nano(body["usage"]["cost"]) == 100 * 1_000 + 2_000 + 3 * 10_000_000


async def test_a_key_limit_says_whether_waiting_helps() -> None:
    gate = asyncio.Event()
    slow = Reply(steps=[*chat_events("one")[:2], gate, *chat_events("one")[2:]])
    async with ScriptedProvider(slow) as upstream:
        with Server(providers={"p": provider("p", upstream.base_url)}, env=CREDIT) as server:
            made = ("keys", "create", "--name", "k", "--limit", "0.01", "--plain")
            server.key = await tollway(server, *made)
            first = asyncio.create_task(chat(server, stream=True, max_tokens=3_000))
            await eventually(lambda: len(upstream.seen) == 1)
            status, body, headers = await chat(server, max_tokens=3_000)
            assert (status, headers["retry-after"]) == (403, "1")
            assert body["error"]["metadata"]["reason"] == "in_flight_budget_exhausted"
            gate.set()
            assert (await first)[0] == 200
            status, body, headers = await chat(server, max_tokens=4_096, n=2)
            assert status == 403 and "retry-after" not in headers
            assert "may cost up to" in body["error"]["message"]


async def test_the_only_endpoint_is_called_again_after_a_pause() -> None:
    def moody(seen: Any) -> Reply:
        return error_reply(503) if len(upstream.seen) < 3 else chat_reply("at last")

    async with ScriptedProvider(moody) as upstream:
        with Server(providers={"p": provider("p", upstream.base_url)}, env=CREDIT) as server:
            status, body, _ = await chat(server)
            assert (status, body["choices"][0]["message"]["content"]) == (200, "at last")
            assert len(upstream.seen) == 3
            record = (await asyncio.to_thread(server.ask, "GET", f"/generation?id={body['id']}"))[1]
            tried = [r["status"] for r in record["data"]["provider_responses"]]
            assert tried == [503, 503, 200]


async def test_a_request_that_is_wrong_is_not_repeated_and_a_long_wait_is_the_callers() -> None:
    replies = [error_reply(400), error_reply(429, headers=(("retry-after", "20"),))]
    async with ScriptedProvider(lambda seen: replies[len(upstream.seen) - 1]) as upstream:
        with Server(providers={"p": provider("p", upstream.base_url)}, env=CREDIT) as server:
            assert (await chat(server))[0] == 400
            status, _, headers = await chat(server)
            assert (status, headers["retry-after"]) == (429, "20")
            assert len(upstream.seen) == 2


# ---- what must not be free, and what must not be believed -----------------------------------------


async def test_our_own_deadline_is_no_failure_of_the_providers_and_what_was_delivered_is_paid() -> (
    None
):
    words = [f"w{n} " for n in range(40)]
    steps: list[Any] = []
    for word in words:
        steps += [chat_chunk({"role": "assistant", "content": word}), 0.1]
    env = {**CREDIT, "TOLLWAY_TOTAL_TIMEOUT_S": "1"}
    async with ScriptedProvider(Reply(steps=steps)) as upstream:
        with Server(providers={"p": provider("p", upstream.base_url)}, env=env) as server:
            done = await whole(server, ask(stream=True, max_tokens=500))
            assert ([e["code"] for e in done.errors], done.done) == ([504], False)
            assert len(done.text.split()) >= 5
            books = Books(server.home)
            await until_idle(server, books)
            record = books.generation(done.generation)
            assert (record["status"], record["estimated"]) == ("cancelled", 1)
            tokens = record["completion_tokens"]
            assert tokens == -(-len(done.text) // 4)
            assert record["charge_nano"] == record["prompt_tokens"] * 1_000 + tokens * 2_000
            books.check()
            books.close()


async def test_a_provider_that_counts_as_it_goes_is_not_free_when_the_client_leaves() -> None:
    text = "delivered words " * 20
    running = chat_chunk({"role": "assistant", "content": text}).replace(
        b'"choices"', b'"usage":{"prompt_tokens":11,"completion_tokens":0},"choices"'
    )
    async with ScriptedProvider(Reply(steps=[running, Break.STALL])) as upstream:
        with Server(providers={"p": provider("p", upstream.base_url)}, env=CREDIT) as server:
            exchange = await Exchange.open(server, ask(stream=True, max_tokens=500))
            await exchange.begin()
            await exchange.until(b"delivered")
            exchange.reset()
            books = Books(server.home)
            await eventually(lambda: bool(books.rows("SELECT 1 FROM generation")))
            record = books.generation(exchange.generation)
            tokens = -(-len(text) // 4)
            assert (record["prompt_tokens"], record["completion_tokens"]) == (11, tokens)
            assert (record["charge_nano"], record["estimated"]) == (11_000 + tokens * 2_000, 1)
            books.close()


SEARCH = 'pricing = { web_search = "0.01", prompt = "0.000001", completion = "0.000002"'


async def test_searches_nobody_asked_for_are_not_charged_and_not_lost_from_the_books() -> None:
    said = {**usage(10), "num_search_queries": 10_000}
    async with ScriptedProvider(chat_reply("ok", usage=said)) as upstream:
        file = provider("p", upstream.base_url).replace(PRICED, SEARCH)
        with Server(providers={"p": file}, env=CREDIT) as server:
            status, body, _ = await chat(server, max_tokens=5)
            assert status == 200
            assert nano(body["usage"]["cost"]) == 12_000
            books = Books(server.home)
            await until_idle(server, books)
            books.close()
            assert await owed(server) == 10_000 * 10**7
            server.assert_books()


async def test_a_model_that_always_searches_is_held_and_charged_for_it_within_a_keys_limit() -> (
    None
):
    said = {**usage(10), "num_search_queries": 3}
    async with ScriptedProvider(chat_reply("ok", usage=said)) as upstream:
        file = provider("p", upstream.base_url).replace(PRICED, SEARCH)
        file = file.replace(
            'dialect = "openai_chat"', 'dialect = "openai_chat"\nquirks = ["searches_unasked"]'
        )
        with Server(providers={"p": file}, env=CREDIT) as server:
            status, body, _ = await chat(server, max_tokens=5)
            assert (status, nano(body["usage"]["cost"])) == (200, 3 * 10**7 + 12_000)
            key = await tollway(
                server, "keys", "create", "--name", "k", "--limit", "0.25", "--plain"
            )
            done = await asyncio.gather(
                *(whole(server, ask(max_tokens=5), key=key) for _ in range(20))
            )
            assert sorted({each.status for each in done}) == [200, 403]
            spent = sum(nano(each.json()["usage"]["cost"]) for each in done if each.status == 200)
            assert spent <= 250_000_000
            server.assert_books()


async def test_absurd_usage_never_takes_more_than_the_keys_limit() -> None:
    said = {"prompt_tokens": 999_999_999, "completion_tokens": 999_999_999, "total_tokens": 1}
    async with ScriptedProvider(chat_reply("ok", usage=said)) as upstream:
        with Server(providers={"p": provider("p", upstream.base_url)}, env=CREDIT) as server:
            key = await tollway(
                server, "keys", "create", "--name", "k", "--limit", "0.001", "--plain"
            )
            done = await whole(server, ask(max_tokens=1), key=key)
            assert done.status == 200
            books = Books(server.home)
            await until_idle(server, books)
            assert books.wallet_nano == 100 * 10**9 - 1_000_000
            books.check()
            books.close()
