"""Hedging on the whole road: who is asked, who wins, what the other one costs, and that nothing is
left open. And what a caller reads of it, before and after."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from reliability_support import Books, Exchange, ask, eventually, provider, until_idle, whole

from support.server import Server
from support.upstream import (
    Break,
    Reply,
    ScriptedProvider,
    chat_events,
    chat_reply,
    error_reply,
    event,
)

QUICK_TEXT, SLOW_TEXT = "quick answer", "slow answer"
QUICK = Reply(steps=chat_events(QUICK_TEXT))
SILENT = Reply(before_head=[Break.STALL])
THINKING = Reply(steps=[b": still thinking\n\n", Break.STALL])
REFUSES_LATE = Reply(
    before_head=[0.3], steps=[event({"error": {"message": "down", "code": 503}}), Break.STALL]
)
"""Says that it fails while the other one runs, and keeps its connection open."""
PAID_NANO = 10 * 2_000 + 2 * 4_000
"""The quick answer at twice the price: 10 tokens in, two words out."""
ENV = {"TOLLWAY_FIRST_CREDIT_USD": "1"}
AFTER = {"after": 0.15}


class Two:
    """A server with two providers of one model; the first is the cheaper one."""

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = ScriptedProvider(first), ScriptedProvider(second)

    async def __aenter__(self) -> Two:
        await self.first.__aenter__()
        await self.second.__aenter__()
        files = {
            "first": provider("first", self.first.base_url),
            "second": provider(
                "second", self.second.base_url, prompt="0.000002", completion="0.000004"
            ),
        }
        self.server = Server(providers=files, env=ENV)
        await asyncio.to_thread(self.server.__enter__)
        self.books = Books(self.server.home)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.books.close()
        await asyncio.to_thread(self.server.__exit__, None, None, None)
        await self.second.__aexit__()
        await self.first.__aexit__()

    async def asked(self, hedge: Any = AFTER, stream: bool = True, **more: Any) -> Exchange:
        wishes = {"sort": "price", **({"hedge": hedge} if hedge else {})}
        body = ask(stream=stream, provider=wishes, max_tokens=50)
        return await asyncio.wait_for(whole(self.server, body, **more), 10)

    async def record(self, done: Exchange) -> dict[str, Any]:
        await until_idle(self.server, self.books)
        found = self.books.one("SELECT detail FROM generation WHERE id = ?", done.generation)
        detail: dict[str, Any] = json.loads(found)
        return detail

    def owed_nano(self) -> int:
        sql = "SELECT posted FROM account WHERE kind = 'provider_unreconciled'"
        found = self.books.rows(sql)
        return int(found[0][0]) if found else 0


async def test_a_second_endpoint_answers_when_the_first_is_silent_and_the_caller_pays_both() -> (
    None
):
    for stream, silent in ((True, SILENT), (False, SILENT), (True, THINKING)):
        second = QUICK if stream else chat_reply(QUICK_TEXT)
        async with Two(silent, second) as two:
            done = await two.asked(stream=stream, x_tollway_metadata="enabled")
            assert (done.status, done.text.strip()) == (200, QUICK_TEXT)
            record = await two.record(done)
            lost = record["hedge"]
            # The one that lost: its input alone, a token for four bytes, at its own price.
            input_nano = lost["usage"]["prompt_tokens"] * 1_000
            assert lost["charge"] == input_nano > 0
            assert lost["endpoint_id"] == "acme/one@first"
            usage = done.usage if stream else done.json()["usage"]
            assert usage is not None
            assert round(usage["cost"] * 1e9) == PAID_NANO + input_nano
            assert two.books.generation(done.generation)["charge_nano"] == PAID_NANO + input_nano
            assert two.books.wallet_nano == 10**9 - PAID_NANO - input_nano
            assert two.owed_nano() == input_nano, "nobody knows yet what the first one bills"
            assert [a["status"] for a in record["attempts"]] == [499, 200]
            found = f"/generation?id={done.generation}"
            told = (await asyncio.to_thread(two.server.ask, "GET", found))[1]["data"]["tollway"]
            assert told["hedge"] == {
                "endpoint_id": "acme/one@first",
                "charge_usd": lost["charge"] / 1e9,
            }
            assert told["order"] == ["acme/one@first", "acme/one@second"]
            assert (told["sort"], told["hold"]["output_tokens_max"]) == ("price", 50)
            assert told["hold"]["granted_usd"] == record["hold"]["granted"] / 1e9
            assert [a["status"] for a in told["attempts"]] == [499, 200]
            assert told["price_version"] and not told["estimated"]
            assert await two.first.until(lambda two=two: two.first.connections_open == 0) < 1
            two.books.check()


async def test_who_is_quick_is_alone_and_pays_for_one() -> None:
    async with Two(QUICK, QUICK) as two:
        done = await two.asked(hedge={"after": 5})
        assert done.text.strip() == QUICK_TEXT
        assert (len(two.first.seen), len(two.second.seen)) == (1, 0)
        assert "hedge" not in await two.record(done)
        assert two.books.charged_nano == PAID_NANO // 2


async def test_the_first_may_still_win_and_the_second_is_hung_up_on() -> None:
    late = Reply(before_head=[0.5], steps=chat_events(SLOW_TEXT))
    async with Two(late, SILENT) as two:
        done = await two.asked()
        assert done.text.strip() == SLOW_TEXT
        record = await two.record(done)
        assert record["hedge"]["endpoint_id"] == "acme/one@second"
        assert two.books.charged_nano == PAID_NANO // 2 + record["hedge"]["charge"]
        assert await two.second.until(lambda: two.second.connections_open == 0) < 1
        two.books.check()


async def test_a_first_that_fails_early_is_failed_over_as_ever() -> None:
    async with Two(error_reply(503, "down"), QUICK) as two:
        done = await two.asked(hedge={"after": 5})
        assert done.text.strip() == QUICK_TEXT
        record = await two.record(done)
        assert ("hedge" in record, [a["status"] for a in record["attempts"]]) == (False, [503, 200])
        assert two.books.charged_nano == PAID_NANO


async def test_both_may_fail_and_nothing_is_charged() -> None:
    late = Reply(status=500, before_head=[0.4], steps=[b"{}"], framing="length")
    async with Two(late, error_reply(503, "down")) as two:
        done = await two.asked()
        assert done.status in (500, 502, 503)
        await until_idle(two.server, two.books)
        assert (two.books.charged_nano, two.books.wallet_nano) == (0, 10**9)
        assert {
            each["provider"] for each in done.json()["error"]["metadata"]["previous_errors"]
        } == {
            "First",
            "Second",
        }
        two.books.check()


async def test_one_that_fails_is_hung_up_on_while_the_other_goes_on() -> None:
    speak = asyncio.Event()
    late = Reply(before_head=[speak], steps=chat_events(SLOW_TEXT))
    refuses_at_once = Reply(steps=REFUSES_LATE.steps)
    for first, second in ((REFUSES_LATE, late), (late, refuses_at_once)):
        speak.clear()
        async with Two(first, second) as two:
            failing, other = (
                (two.first, two.second) if first is REFUSES_LATE else (two.second, two.first)
            )
            answer = asyncio.create_task(two.asked())
            await other.until(lambda two=two: len(two.first.seen) + len(two.second.seen) == 2)
            await failing.until(lambda it=failing: it.seen[0].closed_s is not None, 2)
            assert (other.connections_open, answer.done()) == (1, False)
            speak.set()
            done = await answer
            assert done.text.strip() == SLOW_TEXT
            record = await two.record(done)
            assert ("hedge" in record, [a["status"] for a in record["attempts"]]) == (
                False,
                [503, 200],
            )
            assert two.books.charged_nano == (
                PAID_NANO if other is two.second else PAID_NANO // 2
            ), "who failed costs nothing"
            two.books.check()


async def test_a_client_that_leaves_after_one_has_failed_pays_the_input_of_the_other() -> None:
    async with Two(REFUSES_LATE, SILENT) as two:
        body = ask(stream=True, provider={"sort": "price", "hedge": AFTER}, max_tokens=50)
        exchange = await Exchange.open(two.server, body)
        await two.second.until(lambda: len(two.second.seen) == 1)
        await two.first.until(lambda: two.first.connections_open == 0)
        exchange.reset()
        assert await two.second.until(lambda: two.second.connections_open == 0) < 1
        await until_idle(two.server, two.books)
        detail = json.loads(two.books.one("SELECT detail FROM generation"))
        assert ("hedge" in detail, detail["cancelled"]) == (False, True)
        assert [a["status"] for a in detail["attempts"]] == [503, 499]
        assert two.books.charged_nano == detail["usage"]["prompt_tokens"] * 2_000 > 0
        two.books.check()


async def test_a_client_that_leaves_the_race_closes_both_and_pays_the_input_of_both() -> None:
    async with Two(SILENT, SILENT) as two:
        body = ask(stream=True, provider={"sort": "price", "hedge": AFTER}, max_tokens=50)
        exchange = await Exchange.open(two.server, body)
        await two.second.until(lambda: len(two.second.seen) == 1)
        exchange.reset()
        assert await two.second.until(lambda: two.second.connections_open == 0) < 1
        assert await two.first.until(lambda: two.first.connections_open == 0) < 1
        await until_idle(two.server, two.books)
        (charge,) = two.books.rows("SELECT charge_nano FROM generation")
        detail = json.loads(two.books.one("SELECT detail FROM generation"))
        tokens = detail["hedge"]["usage"]["prompt_tokens"]
        assert charge == (tokens * 1_000 + tokens * 2_000,)
        two.books.check()


async def test_a_winner_that_breaks_off_costs_the_caller_nothing_for_either() -> None:
    dies = Reply(steps=[*chat_events(QUICK_TEXT)[:2], Break.RESET])
    async with Two(SILENT, dies) as two:
        done = await two.asked()
        assert (len(done.errors), done.done) == (1, False)
        await until_idle(two.server, two.books)
        assert (two.books.charged_nano, two.books.wallet_nano) == (0, 10**9)
        assert two.owed_nano() > 0
        two.books.check()


async def test_no_more_than_a_small_part_of_the_traffic_is_hedged() -> None:
    slow = Reply(before_head=[0.3], steps=chat_events(SLOW_TEXT))
    async with Two(slow, SILENT) as two:
        done = await asyncio.gather(*(two.asked(hedge={"after": 0.05}) for _ in range(40)))
        assert [each.text.strip() for each in done] == [SLOW_TEXT] * 40
        assert len(two.second.seen) == 10, "ten in ten seconds, or one in twenty"
        await until_idle(two.server, two.books)
        two.books.check()


async def test_the_plan_is_told_before_and_after_and_kept_in_the_record() -> None:
    async with Two(SILENT, QUICK) as two:
        wishes = {"sort": "price", "hedge": {"after": 0.15, "max_cost": 0.01}, "ignore": ["third"]}
        body = json.loads(ask(stream=True, provider=wishes, max_tokens=50))
        status, told, _ = await asyncio.to_thread(two.server.ask, "POST", "/route/explain", body)
        assert status == 200
        data = told["data"]
        assert [each["endpoint"] for each in data["order"]] == ["acme/one@first", "acme/one@second"]
        assert data["hedge"]["after_s"] == 0.15
        assert data["price_ceiling_usd"] > data["hedge"]["reserve_usd"] > 0
        assert data["refusal"] is None
        assert (two.first.seen, two.books.rows("SELECT 1 FROM hold")) == ([], []), (
            "nothing was sent"
        )

        done = await two.asked(x_openrouter_metadata="enabled")
        said = done.chunks[-1]["openrouter_metadata"]
        assert said["attempts"] == [
            {"provider": "First", "model": "acme/one", "status": 499},
            {"provider": "Second", "model": "acme/one", "status": 200},
        ]
        assert said["pipeline"][0]["name"] == "hedge"
        assert "tollway" not in said
        record = await two.record(done)
        assert record["order"] == [each["endpoint"] for each in data["order"]]
        assert record["pipeline"] == said["pipeline"]
        assert "openrouter_metadata" not in (await two.asked()).chunks[-1]


async def test_what_would_be_refused_is_explained_as_well() -> None:
    async with Two(QUICK, QUICK) as two:
        for change, code in (
            ({"model": "acme/none"}, 400),
            ({"provider": {"only": ["nobody"]}}, 404),
        ):
            body = {**json.loads(ask()), **change}
            status, told, _ = await asyncio.to_thread(
                two.server.ask, "POST", "/route/explain", body
            )
            assert (status, told["data"]["refusal"]["error"]["code"]) == (200, code)
        refused = await whole(
            two.server, ask(provider={"only": ["nobody"]}), x_tollway_metadata="enabled"
        )
        said = refused.json()["openrouter_metadata"]
        assert (said["attempt"], len(said["tollway"]["drops"])) == (0, 2)
        status, wrong, _ = await asyncio.to_thread(
            two.server.ask, "POST", "/route/explain?api=smoke", json.loads(ask())
        )
        assert (status, wrong["error"]["metadata"]["field"]) == (400, "api")
        assert await eventually(lambda: two.books.open_holds == 0) < 1


async def test_a_conversation_keeps_its_endpoint_once_its_cache_was_hit() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    hit = chat_reply(QUICK_TEXT, usage=usage)
    async with Two(hit, hit) as two:
        file = two.server.home / "providers" / "second.toml"
        for path in (file, file.with_name("first.toml")):
            text = path.read_text()
            path.write_text(text.replace("pricing = { ", 'pricing = { input_cache_read = "0", '))
        await asyncio.to_thread(two.server.stop)
        await asyncio.to_thread(two.server.start)
        dear = {**json.loads(ask()), "provider": {"only": ["second"]}}
        status, _, _ = await asyncio.to_thread(two.server.ask, "POST", "/chat/completions", dear)
        assert status == 200
        cheap = {**dear, "provider": {"sort": "price"}}
        for _ in range(3):
            await asyncio.to_thread(two.server.ask, "POST", "/chat/completions", cheap)
        assert (len(two.first.seen), len(two.second.seen)) == (0, 4)
        other = {**cheap, "messages": [{"role": "user", "content": "Something else"}]}
        await asyncio.to_thread(two.server.ask, "POST", "/chat/completions", other)
        assert len(two.first.seen) == 1
