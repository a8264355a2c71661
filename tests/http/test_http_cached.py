"""The cache at the inference door: hits, misses, and what they cost. The clock is the test's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.asgi import Reply
from support.road import Road, road
from tollway.accounts.workspaces import WorkspaceChange, update_workspace
from tollway.routing.offers import Index
from tollway.settings import Settings, SettingsError

ON = {"x_openrouter_cache": "true"}


@pytest.fixture
async def way(tmp_path: Path) -> AsyncIterator[Road]:
    async with road(tmp_path / "home") as opened:
        yield opened


def status(reply: Reply) -> str | None:
    return reply.headers.get("x-openrouter-cache-status")


async def test_the_second_request_is_a_hit_that_costs_nothing_and_holds_nothing(way: Road) -> None:
    first = await way.chat(**ON)
    before = await way.books()
    way.clock.now_s += 42.5
    second = await way.chat(**ON)
    after = await way.books()

    assert (status(first), status(second)) == ("MISS", "HIT")
    assert first.headers["x-openrouter-cache-ttl"] == "300"
    assert "x-openrouter-cache-age" not in first.headers
    source, own = first.headers["x-generation-id"], second.headers["x-generation-id"]
    assert {k: v for k, v in second.headers.items() if "cache-" in k and k[0] == "x"} == {
        "x-openrouter-cache-status": "HIT",
        "x-openrouter-cache-age": "42",
        "x-openrouter-cache-ttl": "300",
        "x-openrouter-cache-source-id": source,
    }
    was, told = first.json(), second.json()
    assert (was["id"], told["id"]) == (source, own)
    assert told["created"] == was["created"] + 42
    assert told["choices"] == was["choices"]
    assert (told["model"], told["provider"]) == (was["model"], was["provider"])
    assert was["usage"]["cost"] > 0
    assert (told["usage"]["total_tokens"], told["usage"]["cost"]) == (0, 0)
    assert (after.wallet, after.held, after.holds) == (before.wallet, 0, before.holds)
    assert after.charges == [*before.charges, 0]


async def test_a_hit_is_found_by_its_id_and_names_whose_answer_it_is(way: Road) -> None:
    first = await way.chat(**ON)
    second = await way.chat(**ON, user_agent="me/1", http_referer="https://app.example")
    id = second.headers["x-generation-id"]
    data = (await way.control("GET", f"/api/v1/generation?id={id}", key=way.key)).json()["data"]
    assert data["response_cache_source_id"] == first.headers["x-generation-id"]
    assert (data["total_cost"], data["tokens_prompt"], data["tokens_completion"]) == (0, 0, 0)
    assert (data["model"], data["finish_reason"]) == ("tollway/echo", "stop")
    assert (data["cancelled"], data["origin"]) == (False, "https://app.example")


async def test_a_streamed_hit_is_the_first_stream_with_another_id(way: Road) -> None:
    first, second = [await way.chat("one two three", stream=True, **ON) for _ in range(2)]
    assert (status(first), status(second)) == ("MISS", "HIT")
    was, told = [
        reply.body.replace(reply.headers["x-generation-id"].encode(), b"ID").split(b"\n\n")
        for reply in (first, second)
    ]
    assert len(was) > 5
    assert was[:-3] == told[:-3]
    assert told[-2:] == [b"data: [DONE]", b""]
    (usage_was, usage_told) = [json.loads(events[-3][6:])["usage"] for events in (was, told)]
    assert usage_was["completion_tokens"] == 4
    assert (usage_told["total_tokens"], usage_told["cost"]) == (0, 0)


async def test_an_answer_is_kept_for_as_long_as_it_was_asked_to(way: Road) -> None:
    first = await way.chat(**ON, x_openrouter_cache_ttl="60s")
    assert first.headers["x-openrouter-cache-ttl"] == "60"
    way.clock.now_s += 59.9
    again = await way.chat(**ON, x_openrouter_cache_ttl="5")
    assert (status(again), again.headers["x-openrouter-cache-ttl"]) == ("HIT", "60")
    way.clock.now_s += 0.1
    assert status(await way.chat(**ON)) == "MISS"


@pytest.mark.parametrize("prefix", ["x_openrouter", "x_tollway"])
async def test_clearing_brings_a_new_answer_and_keeps_that(way: Road, prefix: str) -> None:
    on = {f"{prefix}_cache": "true"}
    old = await way.chat(**on)
    assert status(await way.chat(**on)) == "HIT"
    new = await way.chat(**on, **{f"{prefix}_cache_clear": "true"})
    assert status(new) == "MISS"
    last = await way.chat(**on)
    assert last.headers["x-openrouter-cache-source-id"] == new.headers["x-generation-id"]
    assert new.headers["x-generation-id"] != old.headers["x-generation-id"]


async def test_without_the_header_the_cache_is_neither_read_nor_written(way: Road) -> None:
    for off in ({}, {"x_openrouter_cache": "false"}):
        assert status(await way.chat(**off)) is None
    assert status(await way.chat(**ON)) == "MISS"
    for off in ({}, {"x_openrouter_cache": "false"}):
        assert status(await way.chat(**off)) is None
    assert len(way.gateway.shelf) == 1


async def test_keys_never_see_each_other_s_answers(way: Road) -> None:
    other = await way.new_key()
    assert status(await way.chat(**ON)) == "MISS"
    assert status(await way.chat(**ON, key=other)) == "MISS"
    assert status(await way.chat(**ON, key=other)) == "HIT"


async def test_two_orders_of_properties_are_two_questions_and_whitespace_is_none(way: Road) -> None:
    body: dict[str, Any] = {
        "model": "tollway/echo",
        "messages": [{"role": "user", "content": "a  b"}],
    }
    for raw, expected in (
        (json.dumps(body).encode(), "MISS"),
        (json.dumps(body, indent=3).encode(), "HIT"),
        (json.dumps(dict(reversed(body.items()))).encode(), "MISS"),
    ):
        assert status(await way.post("chat_completions", raw, **ON)) == expected


async def test_attribution_and_sessions_do_not_matter_and_streaming_does(way: Road) -> None:
    assert status(await way.chat(**ON)) == "MISS"
    same = {"http_referer": "https://x.example", "x_title": "t", "x_session_id": "s"}
    assert status(await way.chat(**ON, **same)) == "HIT"
    assert status(await way.chat(**ON, stream=True)) == "MISS"


async def imposed(way: Road, **routing: Any) -> None:
    change = WorkspaceChange(routing=routing)
    await update_workspace(way.gateway.store, "default", change, now_ms=1)
    await way.gateway.refresh_policies()


async def test_a_workspace_without_retention_keeps_nothing_whatever_is_asked(way: Road) -> None:
    await imposed(way, zdr=True)
    replies = [await way.chat(**ON) for _ in range(2)]
    assert [status(reply) for reply in replies] == [None, None]
    assert len(way.gateway.shelf) == 0


async def test_what_was_kept_before_is_gone_when_retention_is_allowed_again(way: Road) -> None:
    assert [status(await way.chat(**ON)) for _ in range(2)] == ["MISS", "HIT"]
    await imposed(way, zdr=True)
    assert len(way.gateway.shelf) == 0
    await imposed(way, zdr=False)
    assert status(await way.chat(**ON)) == "MISS"


async def test_zdr_of_a_request_does_not_matter(way: Road) -> None:
    wish = {"provider": {"zdr": True}}
    assert [status(await way.chat(**ON, **wish)) for _ in range(2)] == ["MISS", "HIT"]


async def test_a_dead_key_gets_no_kept_answer(way: Road) -> None:
    other = await way.new_key(expires_ms=int(way.clock() * 1000) + 60_000)
    assert status(await way.chat(**ON, key=other)) == "MISS"
    way.clock.now_s += 60
    assert (await way.chat(**ON, key=other)).status == 401


async def test_a_key_that_may_spend_nothing_more_still_gets_what_is_kept(way: Road) -> None:
    other = await way.new_key(limit_nano=500_000)
    long = {"max_tokens": 5, "key": other}
    assert status(await way.chat(**ON, **long)) == "MISS"
    for _ in range(60):
        if (await way.chat(f"spend {_}", **long)).status != 200:
            break
    else:
        raise AssertionError("the limit was never reached")
    hit = await way.chat(**ON, **long)
    assert (hit.status, status(hit)) == (200, "HIT")


async def test_what_may_not_be_asked_for_any_more_is_not_told_again(way: Road) -> None:
    assert status(await way.chat(**ON)) == "MISS"
    await imposed(way, allowed_providers=("nobody",))
    refused = await way.chat(**ON)
    assert (refused.status, status(refused)) == (404, None)


async def test_what_nobody_may_serve_now_is_not_told_again_either(way: Road) -> None:
    assert status(await way.chat(**ON)) == "MISS"
    way.gateway.index = Index(way.gateway.catalogue, lambda provider: False)
    refused = await way.chat(**ON)
    assert (refused.status, status(refused)) == (404, None)
    assert len((await way.books()).charges) == 1


async def test_errors_are_not_kept(way: Road) -> None:
    body = {"max_tokens": 10**9}
    assert [(await way.chat(**ON, **body)).status for _ in range(2)] == [404, 404]
    assert (len(way.gateway.shelf), len(way.gateway.flights)) == (0, 0)


async def test_an_answer_that_is_larger_than_may_be_kept_is_given_and_not_kept(
    tmp_path: Path,
) -> None:
    async with road(tmp_path / "home", cache_answer_bytes_max=200) as way:
        for _ in range(2):
            reply = await way.chat("long " * 50, **ON)
            assert (reply.status, status(reply)) == (200, "MISS")
        assert (len(way.gateway.shelf), len(way.gateway.flights)) == (0, 0)


async def test_the_operator_can_switch_the_cache_off(tmp_path: Path) -> None:
    async with road(tmp_path / "home", cache_bytes_max=0) as way:
        assert [status(await way.chat(**ON)) for _ in range(2)] == [None, None]
    with pytest.raises(SettingsError, match="cache_bytes_max"):
        Settings(home=tmp_path, cache_bytes_max=-1).check()


ROUTES: list[tuple[str, dict[str, Any], str]] = [
    ("completions", {"prompt": "Hello there"}, ""),
    ("responses", {"input": "Hello there"}, ""),
    ("messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}, ""),
    ("generate_content", {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}, ":"),
]


@pytest.mark.parametrize(("operation", "body", "gemini"), ROUTES)
@pytest.mark.parametrize("stream", [False, True])
async def test_every_dialect_is_kept_and_told_again_free(
    way: Road, operation: str, body: dict[str, Any], gemini: str, stream: bool
) -> None:
    path = "/api/v1/x"
    if gemini:
        method = "streamGenerateContent" if stream else "generateContent"
        path = f"/v1beta/models/tollway/echo:{method}"
    else:
        body = {"model": "tollway/echo", "stream": stream, **body}
    first, second = [await way.post(operation, body, path=path, **ON) for _ in range(2)]
    assert (first.status, status(first), status(second)) == (200, "MISS", "HIT")
    own = second.headers["x-generation-id"].encode()
    assert own in second.body
    assert first.headers["x-generation-id"].encode() not in second.body
    assert (await way.books()).charges[-1] == 0


async def test_metrics_tell_hits_from_misses(way: Road) -> None:
    for _ in range(3):
        await way.chat(**ON)
    page = way.gateway.metrics.page().decode()
    assert 'tollway_response_cache_total{result="miss"} 1.0' in page
    assert 'tollway_response_cache_total{result="hit"} 2.0' in page
    assert "tollway_response_cache_entries 1.0" in page


# ---- presets, explanations -------------------------------------------------------------------------


async def preset(way: Road, **config: Any) -> None:
    body = {"model": "tollway/echo", "messages": [{"role": "user", "content": "x"}], **config}
    url = "/api/v1/presets/kept/chat/completions"
    made = await way.control("POST", url, key=way.key, json=body)
    assert made.status == 200, made.body


async def test_a_preset_switches_the_cache_on_and_its_false_beats_the_header(way: Road) -> None:
    await preset(way, cache_enabled=True, cache_ttl_seconds=77)
    by_name = {"model": "@preset/kept"}
    first, second = [await way.chat(**by_name) for _ in range(2)]
    assert (status(first), first.headers["x-openrouter-cache-ttl"]) == ("MISS", "77")
    assert status(second) == "HIT"
    id = second.headers["x-generation-id"]
    data = (await way.control("GET", f"/api/v1/generation?id={id}", key=way.key)).json()["data"]
    assert data["preset_id"]
    off = await way.chat(**by_name, x_openrouter_cache="false")
    assert status(off) is None
    await preset(way, cache_enabled=False)
    assert status(await way.chat(**by_name, **ON)) is None


async def test_a_new_version_of_a_preset_is_another_question(way: Road) -> None:
    by_name = {"model": "@preset/kept", **ON}
    await preset(way, temperature=0.1)
    assert [status(await way.chat(**by_name)) for _ in range(2)] == ["MISS", "HIT"]
    await preset(way, temperature=0.9)
    assert status(await way.chat(**by_name)) == "MISS"


async def test_a_hit_has_no_routing_to_explain(way: Road) -> None:
    explained = {**ON, "x_openrouter_metadata": "enabled"}
    first, second = [(await way.chat(**explained)).json() for _ in range(2)]
    assert first["openrouter_metadata"]["attempt"] == 1
    assert "openrouter_metadata" not in second
    assert "openrouter_metadata" not in (await way.chat(**ON)).json()
