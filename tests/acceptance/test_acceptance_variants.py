"""Aliases, variants, service tiers and refusals of a country, from a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from acceptance_support import events, scripted

from support.server import Server
from support.upstream import (
    Reply,
    ScriptedProvider,
    Seen,
    chat_chunk,
    chat_reply,
    error_reply,
    event,
)

ABROAD = error_reply(
    403,
    "Country, region, or territory not supported",
    code="unsupported_country_region_territory",
)
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}


def script(seen: Seen) -> Reply:
    asked = seen.json
    if asked["model"] == "abroad":
        return ABROAD
    if asked["model"] == "down":
        return error_reply(503, "Service unavailable")
    tier = asked.get("service_tier", "on_demand")
    if "downgrade" in json.dumps(asked["messages"]):
        tier = "default"
    if asked.get("stream"):
        last = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunks = [
            chat_chunk({"role": "assistant", "content": "Fine."}),
            chat_chunk({}, finish="stop"),
            event({**last, "choices": [], "usage": USAGE, "service_tier": tier}),
            event("[DONE]"),
        ]
        return Reply(steps=chunks)
    reply = chat_reply("Fine.", usage=USAGE)
    body = {**json.loads(reply.steps[0]), "service_tier": tier}  # type: ignore[arg-type]
    return Reply(headers=reply.headers, steps=[json.dumps(body).encode()], framing="length")


def file(id: str, url: str, *endpoints: str) -> str:
    return f"""
id = "{id}"
name = "{id.title()}"
dialect = "openai_chat"
base_url = "{url}"
auth = {{ scheme = "none" }}
private_network = true
""" + "".join(endpoints)


def sold(model: str, id: str, more: str = "", price: str = "0.000001") -> str:
    return f"""
[[endpoints]]
model = "{model}"
id = "{id}"
pricing = {{ prompt = "{price}", completion = "{price}" }}
{more}
"""


TIERS = """service_tiers = { \
priority = { prompt = "0.000002", completion = "0.000002" }, \
flex = { prompt = "0.0000005", completion = "0.0000005" }, \
batch = { prompt = "0.0000004", completion = "0.0000004" } }"""

SEEKER = """
[[models]]
id = "acme/seeker"
params = ["max_tokens", "web_search_options"]
"""
OPUS = """
[[models]]
id = "anthropic/claude-opus-99"
name = "Claude Opus 99"
created = "2026-11-11"
"""


@pytest.fixture(scope="module")
def shop() -> Iterator[tuple[Server, ScriptedProvider]]:
    with scripted(script) as upstream:
        url = upstream.base_url
        alpha = file(
            "alpha",
            url,
            SEEKER,
            OPUS,
            sold("acme/tiered", "tiered", TIERS),
            sold("acme/seeker", "seeker"),
            sold("anthropic/claude-opus-99", "opus"),
            sold("acme/mixed", "abroad"),
            sold("acme/lucky", "abroad"),
        )
        beta = file(
            "beta", url, sold("acme/mixed", "down"), sold("acme/lucky", "lucky", price="0.00001")
        )
        with Server(providers={"alpha": alpha, "beta": beta}) as server:
            yield server, upstream


@pytest.fixture
def server(shop: tuple[Server, ScriptedProvider]) -> Server:
    return shop[0]


@pytest.fixture
def seen(shop: tuple[Server, ScriptedProvider]) -> list[Seen]:
    shop[1].seen.clear()
    return shop[1].seen


# ---- aliases -------------------------------------------------------------------------------------

ALIAS, OPUS_99 = "~anthropic/claude-opus-latest", "anthropic/claude-opus-99"


def test_an_alias_is_answered_by_the_newest_that_can_be_called(server: Server) -> None:
    for slug in (ALIAS, f"{ALIAS}:nitro", ALIAS.upper()):
        status, body, _ = server.chat(slug)
        assert (status, body["model"]) == (200, OPUS_99)


def test_an_alias_is_listed_with_its_targets_price(server: Server) -> None:
    rows = {row["id"]: row for row in server.ask("GET", "/models")[1]["data"]}
    assert rows[ALIAS]["alias_target"] == {"name": "Claude Opus 99", "slug": OPUS_99}
    assert rows[ALIAS]["pricing"] == rows[OPUS_99]["pricing"]
    assert server.ask("GET", f"/model/{ALIAS}")[1]["data"] == rows[ALIAS]
    endpoints = server.ask("GET", f"/models/{ALIAS}/endpoints")[1]["data"]
    assert (endpoints["id"], len(endpoints["endpoints"])) == (OPUS_99, 1)


def test_an_unknown_alias_is_told_what_there_is(server: Server) -> None:
    status, body, _ = server.chat("~anthropic/claude-opis-latest")
    assert status == 400
    assert ALIAS in body["error"]["availability"]["fallback_models"]


# ---- variants ------------------------------------------------------------------------------------


def test_online_asks_the_provider_to_search_once(server: Server, seen: list[Seen]) -> None:
    assert server.chat("acme/seeker")[0] == 200
    assert server.chat("acme/seeker:floor:online")[0] == 200
    mine = {"search_context_size": "low"}
    assert server.chat("acme/seeker:online", web_search_options=mine)[0] == 200
    asked = [one.json.get("web_search_options") for one in seen]
    assert asked == [None, {}, mine]


def test_two_models_in_one_slug_are_a_contradiction(server: Server) -> None:
    status, body, _ = server.chat("acme/seeker:free:nitro:batch")
    assert status == 400
    assert ":free and :batch are different models" in body["error"]["message"]


def test_batch_prices_are_never_taken_by_a_request_that_waits(
    server: Server, seen: list[Seen]
) -> None:
    status, body, _ = server.chat("acme/tiered", provider={"only": ["alpha/batch"]})
    assert (status, seen) == (404, [])
    assert body["error"]["availability"]["excluded_by"] == ["allowed_providers"]
    status, body, _ = server.chat("acme/tiered:batch")
    assert (status, seen) == (400, [])
    assert body["error"]["availability"]["code"] == "wrong_endpoint"


# ---- tiers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slug", "more", "sent", "tier", "usd"),
    [
        ("acme/tiered", {}, None, "default", 0.0011),
        ("acme/tiered", {"service_tier": "priority"}, "priority", "priority", 0.0022),
        ("acme/tiered", {"service_tier": "fast"}, "priority", "priority", 0.0022),
        ("acme/tiered", {"service_tier": "ultrafast"}, "priority", "priority", 0.0022),
        ("acme/tiered", {"service_tier": "flex"}, "flex", "flex", 0.00055),
        ("acme/tiered:floor", {}, "flex", "flex", 0.00055),
        ("acme/tiered:floor", {"service_tier": "default"}, None, "default", 0.0011),
        ("acme/tiered:floor", {"provider": {"order": ["alpha"]}}, None, "default", 0.0011),
        ("acme/tiered", {"provider": {"only": ["Alpha/Priority"]}}, "priority", "priority", 0.0022),
        ("acme/seeker", {"service_tier": "flex"}, None, "default", 0.0011),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_tier_that_served_is_told_and_paid(
    server: Server,
    seen: list[Seen],
    slug: str,
    more: dict[str, Any],
    sent: str | None,
    tier: str,
    usd: float,
    stream: bool,
) -> None:
    status, body, _ = server.chat(slug, stream=stream, **more)
    assert status == 200
    last = events(body)[-2] if stream else body
    assert [one.json.get("service_tier") for one in seen] == [sent]
    assert (last["service_tier"], last["usage"]["cost"]) == (tier, usd)


def test_a_priority_that_the_provider_could_not_keep_is_not_paid(
    server: Server, seen: list[Seen]
) -> None:
    status, body, _ = server.chat("acme/tiered", "downgrade me", service_tier="priority")
    assert (status, seen[0].json["service_tier"]) == (200, "priority")
    assert (body["service_tier"], body["usage"]["cost"]) == ("default", 0.0011)
    server.assert_books()


# ---- countries -----------------------------------------------------------------------------------


def test_who_does_not_serve_our_country_is_passed_over(server: Server, seen: list[Seen]) -> None:
    status, body, _ = server.chat("acme/lucky", provider={"order": ["alpha"]})
    assert (status, body["provider"]) == (200, "Beta")
    assert [one.json["model"] for one in seen] == ["abroad", "lucky"]


def test_a_country_is_not_the_reason_while_another_may_come_back(server: Server) -> None:
    status, body, _ = server.chat("acme/mixed")
    told = body["error"]["availability"]
    assert (status, told["code"], told["retryable"]) == (503, "temporarily_unavailable", True)
    assert told["excluded_by"] == ["geo"]
    assert sorted(told["affected_providers"]) == ["Alpha", "Beta"]
