import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openrouter import components, operations

from support.control import House, house
from tollway.accounts import workspaces
from tollway.accounts.workspaces import Workspace
from tollway.ledger.entries import Transfer


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


async def team(home: House, nano: int = 1_000_000_000) -> None:
    """A second workspace with money."""
    await home.store.write(workspaces.make, Workspace("team", "Team", home.now_ms))
    grant = Transfer("t", "team", "payments_clearing", "wallet", nano, "grant", home.now_ms)
    await home.gateway.ledger.transfer(grant)


# ---- credits -------------------------------------------------------------------------------------


async def test_credit_is_what_was_granted_and_what_was_used(home: House) -> None:
    record, key = await home.key()
    _, management = await home.key(management=True)
    await home.spend(record, 1_250_000_000)
    for asking in (key, management):
        reply = await home.client("GET", "/api/v1/credits", key=asking)
        seen = operations.GetCreditsResponse.model_validate(reply.json()).data
        assert (seen.total_credits, seen.total_usage) == (5.0, 1.25)


async def test_credit_and_activity_include_answers_that_have_just_ended(home: House) -> None:
    record, _ = await home.key()
    _, management = await home.key(management=True)
    for n in range(1, 11):
        await home.spend(record, 1_000_000, id=f"gen-{n}")  # queued, not yet on the disk
        reply = await home.client("GET", "/api/v1/credits", key=management)
        assert reply.json()["data"]["total_usage"] == (2 * n - 1) / 1_000
        await home.spend(record, 1_000_000, id=f"gen-{n}-b", model=f"acme/{n}")
        home.clock.now_s += DAY_S
        rows = (await home.client("GET", "/v1/activity", key=management)).json()["data"]
        home.clock.now_s -= DAY_S
        assert f"acme/{n}" in {row["model"] for row in rows}


async def test_only_a_management_key_sees_the_credit_of_another_workspace(home: House) -> None:
    await team(home)
    _, management = await home.key(management=True)
    target = "/api/v1/credits?workspace_id=team"
    seen = await home.client("GET", target, key=management)
    assert seen.json() == {"data": {"total_credits": 1.0, "total_usage": 0.0}}
    assert (await home.client("GET", target, key=home.first_key)).status == 403
    own = "/api/v1/credits?workspace_id=default"
    assert (await home.client("GET", own, key=home.first_key)).status == 200
    nowhere = "/api/v1/credits?workspace_id=nowhere"
    assert (await home.client("GET", nowhere, key=management)).status == 404


# ---- generations ---------------------------------------------------------------------------------

DETAIL = {
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "images": 2},
    "cost": {"provider": 5, "cache_discount_pico": 12_000},
    "attempts": [
        {
            "provider_name": "Beta AI",
            "endpoint_id": "acme/small@beta",
            "model_permaslug": "acme/small",
            "status": 503,
            "error_type": "provider_overloaded",
        },
        {
            "provider_name": "Alpha",
            "endpoint_id": "acme/small@alpha",
            "model_permaslug": "acme/small",
            "status": 200,
        },
    ],
    "native_finish_reason": "end_turn",
    "upstream_id": "chatcmpl-7",
    "http_referer": "https://app.example",
    "user_agent": "test/1",
    "drops": [{"reason": "not_live"}],
}


async def test_a_generation_is_shown_as_the_sdk_reads_it(home: House) -> None:
    record, key = await home.key()
    await home.spend(record, 1_200_000, detail=json.dumps(DETAIL).encode())
    reply = await home.client("GET", "/api/v1/generation?id=gen-1", key=key)
    seen = components.GenerationResponse.model_validate(reply.json()).data
    assert (seen.id, seen.model, seen.created_at) == (
        "gen-1",
        "acme/small",
        "2026-11-22T19:06:54.000Z",
    )
    assert (seen.total_cost, seen.usage, seen.cache_discount) == (0.0012, 0.0012, 1.2e-8)
    assert (seen.tokens_prompt, seen.tokens_completion) == (1000, 100)
    assert (seen.native_tokens_reasoning, seen.native_tokens_cached) == (7, 50)
    assert (seen.provider_name, seen.upstream_id) == ("Alpha", "chatcmpl-7")
    assert (seen.finish_reason, seen.native_finish_reason) == ("stop", "end_turn")
    assert (seen.latency, seen.generation_time, seen.streamed) == (120, 900, True)
    assert (seen.cancelled, seen.is_byok, seen.api_type) == (False, False, "completions")
    assert (seen.origin, seen.http_referer, seen.user_agent) == (
        "https://app.example",
        "https://app.example",
        "test/1",
    )
    assert [(r.provider_name, r.status) for r in seen.provider_responses or []] == [
        ("Beta AI", 503),
        ("Alpha", 200),
    ]


@pytest.mark.parametrize("detail", [b"{}", b"not json", b'{"usage": 5}'])
async def test_a_generation_is_shown_even_when_its_details_are_gone(
    home: House, detail: bytes
) -> None:
    record, key = await home.key()
    await home.spend(record, 1_000, detail=detail, provider="", finish_reason=None, streamed=False)
    reply = await home.client("GET", "/api/v1/generation?id=gen-1", key=key)
    seen = components.GenerationResponse.model_validate(reply.json()).data
    assert (seen.provider_name, seen.provider_responses, seen.cache_discount) == (None, [], None)


DECIDED = {
    "requested": ["acme/small", "acme/big"],
    "strategy": "fallback",
    "hold": {"granted": 2_500_000, "output_tokens_max": 700},
    "order": ["acme/small@beta", "acme/small@alpha"],
    "drops": [{"reason": "ignored_providers", "model": "acme/small", "tag": "gamma"}],
    "pipeline": [{"type": "routing", "name": "hedge"}],
    "sticky": {"endpoint": "acme/small@alpha", "provider": "alpha", "pinned": True},
    "hedge": {"endpoint_id": "acme/small@beta", "charge": 1_234, "usage": None},
    "preset": {"id": "p1", "slug": "mine", "version": 3, "dropped": ["top_k"]},
    "dropped": ["top_k"],
    "dropped_params": ["seed"],
    "usage": {"prompt_tokens": 1000, "doubts": ["cached_tokens"]},
    "attempts": [
        {**DETAIL["attempts"][0], "error": "Overloaded."},  # type: ignore[index]
        DETAIL["attempts"][1],  # type: ignore[index]
    ],
}

NOTHING = {
    "requested": [],
    "strategy": None,
    "sort": None,
    "order": [],
    "drops": [],
    "pipeline": [],
    "sticky": None,
    "hedge": None,
    "preset": None,
    "attempts": [],
    "dropped": [],
    "dropped_params": [],
    "hold": None,
    "estimated": False,
    "doubts": [],
    "price_version": "v1",
}


async def looked_up(home: House, detail: bytes, **fields: Any) -> Any:
    record, key = await home.key()
    await home.spend(record, 1_000, detail=detail, **fields)
    reply = await home.client("GET", "/api/v1/generation?id=gen-1", key=key)
    return reply.json()["data"]["tollway"]


async def test_a_generation_tells_what_was_decided_beside_openrouter_s_fields(home: House) -> None:
    told = await looked_up(home, json.dumps(DECIDED).encode(), estimated=True)
    tried = {"provider_name": "", "endpoint_id": "", "model_permaslug": "acme/small"}
    assert told == {
        **{name: DECIDED[name] for name in ("requested", "strategy", "order", "pipeline")},
        "sort": "price_weighted",
        "drops": [
            {
                "reason": "ignored_providers",
                "excluded_by": "allowed_providers",
                "model": "acme/small",
                "provider": None,
                "tag": "gamma",
            }
        ],
        "sticky": {"endpoint": "acme/small@alpha", "pinned": True},
        "hedge": {"endpoint_id": "acme/small@beta", "charge_usd": 0.000001234},
        "preset": {
            "id": "p1",
            "slug": "mine",
            "version": 3,
            "cache_enabled": None,
            "cache_ttl_seconds": None,
            "dropped": ["top_k"],
        },
        "attempts": [
            {
                **tried,
                "provider_name": "Beta AI",
                "endpoint_id": "acme/small@beta",
                "status": 503,
                "error_type": "provider_overloaded",
                "error": "Overloaded.",
            },
            {
                **tried,
                "provider_name": "Alpha",
                "endpoint_id": "acme/small@alpha",
                "status": 200,
                "error_type": None,
                "error": None,
            },
        ],
        "dropped": ["top_k"],
        "dropped_params": ["seed"],
        "hold": {"granted_usd": 0.0025, "output_tokens_max": 700},
        "estimated": True,
        "doubts": ["cached_tokens"],
        "price_version": "v1",
    }


@pytest.mark.parametrize("detail", [b"{}", b"not json", b'{"hold": 5}'])
async def test_what_was_decided_has_every_field_when_its_details_are_gone(
    home: House, detail: bytes
) -> None:
    assert await looked_up(home, detail) == NOTHING


async def test_a_sort_that_was_asked_for_is_told_by_its_name(home: House) -> None:
    told = await looked_up(home, b'{"order": ["a@b"], "sort": "price"}', price_version="")
    assert told == {**NOTHING, "order": ["a@b"], "sort": "price", "price_version": None}


async def test_a_lookup_right_after_the_call_finds_the_generation(home: House) -> None:
    record, key = await home.key()
    for n in range(20):
        await home.spend(record, 1_000, id=f"gen-{n}")  # queued, not yet on the disk
        reply = await home.client("GET", f"/v1/generation?id=gen-{n}", key=key)
        assert reply.status == 200, n


async def test_a_lookup_waits_for_a_call_that_is_just_ending(home: House) -> None:
    record, key = await home.key()
    home.gateway.calls["gen-1"] = None  # type: ignore[assignment]

    async def end() -> None:
        await asyncio.sleep(0.02)
        await home.spend(record, 1_000)
        del home.gateway.calls["gen-1"]

    reply, _ = await asyncio.gather(home.client("GET", "/v1/generation?id=gen-1", key=key), end())
    assert reply.status == 200


async def test_generations_of_others_do_not_exist(home: House) -> None:
    await team(home)
    theirs, their_key = await home.key(workspace_id="team")
    await home.spend(theirs, 1_000)
    target = "/api/v1/generation?id=gen-1"
    assert (await home.client("GET", target, key=their_key)).status == 200
    for id in ("gen-1", "gen-unknown", "x" * 5_000):
        reply = await home.client("GET", f"/api/v1/generation?id={id}", key=home.first_key)
        assert reply.status == 404
        assert reply.error["error_type"] == "not_found"
        assert len(reply.error["message"]) < 200


async def test_a_lookup_without_an_id_is_400(home: House) -> None:
    for query in ("", "?id="):
        reply = await home.client("GET", f"/api/v1/generation{query}", key=home.first_key)
        assert (reply.status, reply.error["metadata"]["field"]) == (400, "id")


# ---- activity ------------------------------------------------------------------------------------

DAY_S = 86_400


async def busy(home: House) -> tuple[Any, Any, str]:
    """Two keys in two workspaces spend on Sunday and Monday; it is Tuesday."""
    await team(home)
    ours, _ = await home.key(name="ours", creator_user_id="ann")
    theirs, _ = await home.key(name="theirs", workspace_id="team", creator_user_id="bob")
    _, management = await home.key(management=True)
    await home.spend(ours, 1_000_000, id="gen-1")
    await home.spend(ours, 2_000_000, id="gen-2", status="cancelled")
    await home.spend(theirs, 4_000_000, id="gen-3")
    home.clock.now_s += DAY_S
    await home.spend(ours, 8_000_000, id="gen-4", model="acme/big", endpoint="acme/big@beta")
    home.clock.now_s += DAY_S
    await home.spend(ours, 16_000_000, id="gen-5")  # today: not completed
    return ours, theirs, management


async def test_activity_is_summed_by_day_model_and_endpoint(home: House) -> None:
    _, _, management = await busy(home)
    reply = await home.client("GET", "/api/v1/activity", key=management)
    rows = components.ActivityResponse.model_validate(reply.json()).data
    assert [(r.date_, r.model, r.endpoint_id, r.requests, r.usage) for r in rows] == [
        ("2026-11-23", "acme/big", "acme/big@beta", 1, 0.008),
        ("2026-11-22", "acme/small", "acme/small@alpha", 3, 0.007),
    ]
    assert (rows[1].prompt_tokens, rows[1].completion_tokens) == (3_000, 300)
    assert (rows[1].reasoning_tokens, rows[1].cached_tokens) == (21, 150)
    assert rows[1].provider_name == "Alpha"
    assert "workspace_id" not in reply.json()["data"][0]


async def test_activity_is_filtered(home: House) -> None:
    ours, theirs, management = await busy(home)

    async def spent(query: str) -> list[float]:
        reply = await home.client("GET", f"/api/v1/activity?{query}", key=management)
        assert reply.status == 200, query
        return [row["usage"] for row in reply.json()["data"]]

    assert await spent("date=2026-11-22") == [0.007]
    assert await spent("date=2026-11-21") == []
    assert await spent(f"api_key_hash={theirs.hash}") == [0.004]
    assert await spent("api_key_hash=" + "0" * 64) == []
    assert await spent("workspace_id=default") == [0.008, 0.003]
    assert await spent("user_id=bob") == [0.004]
    assert await spent(f"user_id=bob&api_key_hash={ours.hash}") == []
    assert await spent("user_id=nobody") == []


async def test_activity_can_be_told_apart_by_workspace(home: House) -> None:
    _, _, management = await busy(home)
    reply = await home.client("GET", "/api/v1/activity?group_by=workspace", key=management)
    rows = reply.json()["data"]
    assert [(r["date"], r["workspace_id"], r["usage"]) for r in rows] == [
        ("2026-11-23", "default", 0.008),
        ("2026-11-22", "default", 0.003),
        ("2026-11-22", "team", 0.004),
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("date=yesterday", "date"),
        ("date=2026-11-24", "date"),  # today
        ("date=2026-10-24", "date"),  # 31 days ago
        ("group_by=model", "group_by"),
    ],
)
async def test_a_wrong_question_about_activity_is_400(home: House, query: str, field: str) -> None:
    home.clock.now_s += 2 * DAY_S
    _, management = await home.key(management=True)
    reply = await home.client("GET", f"/api/v1/activity?{query}", key=management)
    assert (reply.status, reply.error["metadata"]["field"]) == (400, field)
