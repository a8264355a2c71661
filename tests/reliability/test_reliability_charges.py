"""What is charged and booked when a request or a report is out of the ordinary: every byte that is
sent on is held for, pictures cost what they cost, and what is not believed is in the books.
"""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

from reliability_support import ask, eventually, provider, tollway

from support.server import Server
from support.upstream import Reply, ScriptedProvider, chat_events, chat_reply, error_reply

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
