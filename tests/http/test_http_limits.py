"""Limits in number at the doors: 429 and its headers, keys, free models, and who is not limited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.asgi import Reply
from support.road import NOON, Road, road
from tollway.ledger.entries import Transfer
from tollway.money import Price, Rates
from tollway.routing.offers import Index

MINUTE_S, DAY_S = 60, 86_400
MIDNIGHT_S = NOON + DAY_S / 2


@pytest.fixture
async def way(tmp_path: Path) -> AsyncIterator[Road]:
    async with road(tmp_path / "home") as opened:
        yield opened


def limits(reply: Reply) -> dict[str, str]:
    named = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after")
    return {name: reply.headers[name] for name in named if name in reply.headers}


async def test_a_key_s_limit_a_minute_is_told_as_openrouter_tells_it(way: Road) -> None:
    key = await way.new_key(requests_per_minute=3)
    way.clock.now_s += 12.25
    replies = [await way.chat(key=key) for _ in range(5)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429]
    assert limits(replies[0]) == {}
    refused = replies[3]
    assert limits(refused) == {
        "x-ratelimit-limit": "3",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(int(NOON + MINUTE_S) * 1000),
        "retry-after": "48",
    }
    assert refused.error["code"] == 429
    assert refused.error["metadata"]["error_type"] == "rate_limit_exceeded"
    assert refused.error["message"] == (
        "Rate limit exceeded: key-per-min. 3 requests a minute are allowed for this API key."
    )
    way.clock.now_s = NOON + MINUTE_S
    assert (await way.chat(key=key)).status == 200
    assert (await way.books()).holds == 4


async def test_every_dialect_says_it_in_its_own_words(way: Road) -> None:
    key = await way.new_key(requests_per_day=1)
    await way.chat(key=key)
    messages = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    told = await way.post("messages", {"model": "tollway/echo", **messages}, key=key)
    assert (told.status, told.json()["error"]["type"]) == (429, "rate_limit_error")
    asked = {"model": "tollway/echo", "input": "Hi"}
    told = await way.post("responses", asked, key=key)
    assert (told.status, told.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert limits(told)["x-ratelimit-reset"] == str(int(MIDNIGHT_S) * 1000)


async def test_hits_do_not_count_and_are_told_when_the_limit_is_used_up(way: Road) -> None:
    key = await way.new_key(requests_per_day=1)
    on = {"x_openrouter_cache": "true"}
    replies = [await way.chat(key=key, **on) for _ in range(4)]
    assert [reply.headers["x-openrouter-cache-status"] for reply in replies] == [
        "MISS",
        "HIT",
        "HIT",
        "HIT",
    ]
    assert (await way.chat("another", key=key, **on)).status == 429


async def test_failed_requests_count_and_malformed_ones_do_not(way: Road) -> None:
    key = await way.new_key(requests_per_day=2)
    assert (await way.chat(key=key, temperature="warm")).status == 400
    assert (await way.chat(key=key, model="tollway/nobody")).status == 400
    failed = await way.chat("[[fault status=500]]", key=key)
    assert failed.status >= 500
    assert [(await way.chat(key=key)).status for _ in range(2)] == [200, 429]


async def test_a_limit_lives_in_the_keys_api(way: Road) -> None:
    boss = await way.new_key(management=True)
    made = await way.control(
        "POST", "/api/v1/keys", key=boss, json={"name": "k", "requests_per_minute": 2}
    )
    data, key = made.json()["data"], made.json()["key"]
    assert (data["requests_per_minute"], data["requests_per_day"]) == (2, None)
    assert [(await way.chat(key=key)).status for _ in range(3)] == [200, 200, 429]
    seen = (await way.control("GET", "/api/v1/key", key=key)).json()["data"]
    assert (seen["rate_limit"]["requests"], seen["rate_limit"]["interval"]) == (2, "1m")
    url = f"/api/v1/keys/{data['hash']}"
    more = {"requests_per_minute": None, "requests_per_day": 5}
    changed = (await way.control("PATCH", url, key=boss, json=more)).json()["data"]
    assert (changed["requests_per_minute"], changed["requests_per_day"]) == (None, 5)
    assert changed["name"] == "k"
    assert (await way.chat(key=key)).status == 200
    seen = (await way.control("GET", "/api/v1/key", key=key)).json()["data"]
    assert (seen["rate_limit"]["requests"], seen["rate_limit"]["interval"]) == (5, "1d")


@pytest.mark.parametrize("field", ["requests_per_minute", "requests_per_day"])
@pytest.mark.parametrize("wrong", [0, -1, 10**9 + 1, "7", 1.5])
async def test_a_limit_that_is_none_is_refused_by_name(way: Road, field: str, wrong: Any) -> None:
    boss = await way.new_key(management=True)
    body = {"name": "k", field: wrong}
    refused = await way.control("POST", "/api/v1/keys", key=boss, json=body)
    assert refused.status == 400
    assert field in refused.error["message"]


async def test_a_key_without_limits_has_the_old_shape(way: Road) -> None:
    data = (await way.control("GET", "/api/v1/key", key=way.key)).json()["data"]
    assert (data["rate_limit"]["requests"], data["rate_limit"]["interval"]) == (-1, "10s")
    assert data["free_model_daily_requests"] == {"used": 0, "limit": 50, "remaining": 50}


# ---- free models -----------------------------------------------------------------------------------


def gives_away(way: Road, *models: str, own: bool = False, network: bool = False) -> None:
    """Let these models of the sandbox be free endpoints of somebody else's."""
    gateway = way.gateway
    nothing = Price(Rates(prompt=0, completion=0))
    providers, endpoints = dict(gateway.catalogue.providers), dict(gateway.catalogue.endpoints)
    for name in ("tollway", "tollway-b"):
        providers[name] = msgspec.structs.replace(
            providers[name], base_url="https://free.example/v1", private_network=network
        )
    for model in models:
        endpoints[model] = tuple(
            msgspec.structs.replace(one, price=nothing, own=own) for one in endpoints[model]
        )
    gateway.catalogue = msgspec.structs.replace(
        gateway.catalogue, providers=providers, endpoints=endpoints
    )
    gateway.index = Index(gateway.catalogue, lambda provider: provider.id in gateway.reach)


async def test_free_models_are_limited_by_workspace_more_keys_do_not_help(way: Road) -> None:
    gives_away(way, "tollway/echo")
    keys = [way.key, await way.new_key(name="second")]
    replies = [await way.chat(key=keys[n % 2]) for n in range(22)]
    assert [reply.status for reply in replies] == [200] * 20 + [429] * 2
    assert replies[20].error["message"].startswith("Rate limit exceeded: free-models-per-min.")
    assert limits(replies[20])["x-ratelimit-limit"] == "20"
    way.clock.now_s += MINUTE_S
    for minute in range(2):
        statuses = [(await way.chat()).status for _ in range(20)]
        assert statuses == ([200] * 20 if minute == 0 else [200] * 10 + [429] * 10)
        way.clock.now_s += MINUTE_S
    refused = await way.chat()
    assert refused.error["message"].startswith("Rate limit exceeded: free-models-per-day.")
    assert limits(refused)["x-ratelimit-reset"] == str(int(MIDNIGHT_S) * 1000)
    data = (await way.control("GET", "/api/v1/key", key=way.key)).json()["data"]
    assert data["free_model_daily_requests"] == {"used": 50, "limit": 50, "remaining": 0}
    way.clock.now_s = MIDNIGHT_S
    assert (await way.chat()).status == 200
    data = (await way.control("GET", "/api/v1/key", key=way.key)).json()["data"]
    assert data["free_model_daily_requests"] == {"used": 1, "limit": 50, "remaining": 49}


async def test_ten_dollars_of_credit_raise_the_day_to_a_thousand(way: Road) -> None:
    gives_away(way, "tollway/echo")
    more = Transfer(
        "more", "default", "payments_clearing", "wallet", 5 * 10**9, "operator grant", 1
    )
    assert await way.gateway.ledger.transfer(more) is True
    for _ in range(3):
        assert [(await way.chat()).status for _ in range(20)] == [200] * 20
        way.clock.now_s += MINUTE_S
    data = (await way.control("GET", "/api/v1/key", key=way.key)).json()["data"]
    assert data["free_model_daily_requests"] == {"used": 60, "limit": 1_000, "remaining": 940}


async def test_paid_requests_do_not_count(way: Road) -> None:
    gives_away(way, "tollway/echo")
    assert {(await way.chat(model="tollway/lorem")).status for _ in range(25)} == {200}
    data = (await way.control("GET", "/api/v1/key", key=way.key)).json()["data"]
    assert data["free_model_daily_requests"]["used"] == 0


@pytest.mark.parametrize("ours", [{"own": True}, {"network": True}])
async def test_capacity_of_the_operator_s_own_is_not_limited(
    way: Road, ours: dict[str, bool]
) -> None:
    gives_away(way, "tollway/echo", **ours)
    assert {(await way.chat()).status for _ in range(60)} == {200}


async def test_a_request_that_may_go_on_to_a_paid_model_does_when_what_is_free_is_used_up(
    way: Road,
) -> None:
    gives_away(way, "tollway/echo")
    models = {"models": ["tollway/echo", "tollway/lorem"]}
    served = [(await way.chat(**models)).json()["model"] for _ in range(22)]
    assert served == ["tollway/echo"] * 20 + ["tollway/lorem"] * 2


FAILS = "[[status=503 at=lorem]]"
"""The paid one does; what is behind it does not."""


async def free_today(way: Road) -> int:
    data = (await way.control("GET", "/api/v1/key", key=way.key)).json()["data"]
    used: int = data["free_model_daily_requests"]["used"]
    return used


async def test_a_request_that_a_paid_model_serves_does_not_count_whatever_is_behind_it(
    way: Road,
) -> None:
    gives_away(way, "tollway/echo")
    models = {"models": ["tollway/lorem", "tollway/echo"], "model": None}
    served = {(await way.chat(**models)).json()["model"] for _ in range(25)}
    assert (served, await free_today(way)) == ({"tollway/lorem"}, 0)


async def test_a_paid_model_that_fails_opens_no_way_around_the_limit(way: Road) -> None:
    gives_away(way, "tollway/echo")
    models = {"models": ["tollway/lorem", "tollway/echo"], "model": None}
    replies = [await way.chat(FAILS, **models) for _ in range(22)]
    assert [reply.status for reply in replies] == [200] * 20 + [503] * 2
    assert {reply.json()["model"] for reply in replies[:20]} == {"tollway/echo"}
    failed = replies[20].error["metadata"]["previous_errors"]
    assert {each["code"] for each in failed} == {"overloaded"}
    assert await free_today(way) == 20
    assert (await way.chat()).status == 429, "the same window"
    books = await way.books()
    assert (books.open_holds, books.charges[-2:]) == (0, [0, 0])


async def test_behind_what_is_used_up_the_next_paid_model_is_tried(way: Road) -> None:
    gives_away(way, "tollway/echo")
    models = {"models": ["tollway/lorem", "tollway/echo", "tollway/fault"], "model": None}
    told = {"x_tollway_metadata": "enabled"}
    replies = [(await way.chat(FAILS, **models, **told)).json() for _ in range(22)]
    assert [r["model"] for r in replies] == ["tollway/echo"] * 20 + ["tollway/fault"] * 2
    said = replies[20]["openrouter_metadata"]
    assert {d["model"] for d in said["tollway"]["drops"] if d["reason"] == "free_limit"} == {
        "tollway/echo"
    }
    assert {a["model"] for a in said["attempts"]} == {"tollway/lorem", "tollway/fault"}
    assert await free_today(way) == 20


async def test_going_on_from_one_free_endpoint_to_others_counts_once(way: Road) -> None:
    gives_away(way, "tollway/echo", "tollway/lorem")
    models = {"models": ["tollway/lorem", "tollway/echo"], "model": None}
    assert (await way.chat(FAILS, **models)).status == 200
    assert await free_today(way) == 1
    paid_behind = {"models": ["tollway/lorem", "tollway/fault"], "model": None}
    assert (await way.chat(FAILS, **paid_behind)).json()["model"] == "tollway/fault"
    assert await free_today(way) == 2, "it was called"


async def test_the_operator_can_switch_it_off_or_say_other_figures(tmp_path: Path) -> None:
    async with road(tmp_path / "off", free_limits=False) as way:
        gives_away(way, "tollway/echo")
        assert {(await way.chat()).status for _ in range(25)} == {200}
        data = (await way.control("GET", "/api/v1/key", key=way.key)).json()["data"]
        assert data["free_model_daily_requests"] == {"used": 0, "limit": -1, "remaining": -1}
    async with road(tmp_path / "two", free_requests_per_minute=2) as way:
        gives_away(way, "tollway/echo")
        assert [(await way.chat()).status for _ in range(3)] == [200, 200, 429]
