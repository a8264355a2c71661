import re
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openrouter import components, operations

from support.control import House, house
from tollway.routing.health import Outcome


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


ALL = ["acme/deep/er:free", "acme/big", "acme/small", "tollway/auto"]  # newest first


async def test_models_are_listed_as_the_sdk_reads_them(home: House) -> None:
    reply = await home.client("GET", "/api/v1/models")
    assert reply.headers["content-type"] == "application/json"
    parsed = components.ModelsListResponse.model_validate(reply.json())
    assert [model.id for model in parsed.data] == ALL
    small = parsed.data[2]
    assert (small.pricing.prompt, small.pricing.completion) == ("0.000001", "0.000002")
    assert reply.json()["total_count"] == 4
    assert reply.json()["links"] == {"next": None}


async def test_models_are_filtered_sorted_and_paged(home: House) -> None:
    async def ids(query: str) -> list[str]:
        reply = await home.client("GET", f"/api/v1/models?{query}")
        return [row["id"] for row in reply.json()["data"]]

    assert await ids("q=big") == ["acme/big"]
    assert await ids("providers=beta") == ["acme/big", "acme/small"]
    assert await ids("offset=1&limit=1") == ["acme/big"]
    first = (await home.client("GET", "/v1/models?limit=2")).json()
    assert first["links"]["next"] == "/v1/models?limit=2&offset=2"
    bad = await home.client("GET", "/api/v1/models?sort=nicest")
    assert bad.status == 400
    assert bad.error["metadata"]["field"] == "sort"


async def test_links_use_the_callers_prefix_and_never_the_host_header(home: House) -> None:
    for prefix in ("/api/v1", "/v1"):
        reply = await home.client("GET", f"{prefix}/models")
        assert (
            reply.json()["data"][2]["links"]["details"] == f"{prefix}/models/acme/small/endpoints"
        )
        assert b"evil.example" not in reply.body
    feed = await home.client("GET", "/api/v1/models?use_rss=true")
    assert b"evil.example" not in feed.body


async def test_models_come_as_a_feed_when_asked(home: House) -> None:
    reply = await home.client("GET", "/api/v1/models?use_rss=true")
    assert reply.headers["content-type"] == "application/rss+xml; charset=utf-8"
    titles = [item.findtext("title") or "" for item in ET.fromstring(reply.body).iter("item")]
    assert len(titles) == 3, "a router is no news"
    assert any("Small" in title for title in titles)


async def test_sorting_by_speed_uses_what_was_measured(home: House) -> None:
    small = home.gateway.catalogue.endpoints["acme/small"][0]
    for _ in range(20):
        home.gateway.health.note(small, Outcome.answered(0.2, 100, 1.2), home.clock())
    for sort in ("throughput-high-to-low", "latency-low-to-high"):
        rows = (await home.client("GET", f"/api/v1/models?sort={sort}")).json()["data"]
        assert [row["id"] for row in rows] == ["acme/small", *ALL[:2], "tollway/auto"]


async def test_models_are_counted(home: House) -> None:
    reply = await home.client("GET", "/api/v1/models/count")
    assert components.ModelsCountResponse.model_validate(reply.json()).data.count == 4
    audio = await home.client("GET", "/api/v1/models/count?output_modalities=audio")
    assert audio.json() == {"data": {"count": 0}}
    assert (await home.client("GET", "/v1/models/count?output_modalities=smell")).status == 400


async def test_the_models_of_a_user_are_those_with_a_live_endpoint(home: House) -> None:
    reply = await home.client("GET", "/api/v1/models/user", key=home.first_key)
    parsed = components.ModelsListResponse.model_validate(reply.json())
    assert [model.id for model in parsed.data] == [ALL[0], "acme/small", "tollway/auto"]
    home.gateway.reach = {}
    none = await home.client("GET", "/api/v1/models/user", key=home.first_key)
    assert none.status == 404


@pytest.mark.parametrize(
    ("slug", "id"),
    [
        ("acme/small", "acme/small"),
        ("ACME/Small", "acme/small"),
        ("acme/small:nitro", "acme/small"),
        ("acme/small-2026-01-01", "acme/small"),
        ("acme/deep/er:free", "acme/deep/er:free"),
    ],
)
async def test_one_model_by_any_of_its_spellings(home: House, slug: str, id: str) -> None:
    reply = await home.client("GET", f"/api/v1/model/{slug}")
    assert components.ModelResponse.model_validate(reply.json()).data.id == id
    openai = (await home.client("GET", f"/v1/models/{slug}")).json()
    assert (openai["id"], openai["object"], openai["owned_by"]) == (id, "model", "acme")
    assert isinstance(openai["created"], int)


@pytest.mark.parametrize("path", ["model/{}", "models/{}", "models/{}/endpoints"])
async def test_an_unknown_model_is_404_with_what_may_have_been_meant(
    home: House, path: str
) -> None:
    reply = await home.client("GET", f"/api/v1/{path.format('acme/smal')}")
    assert reply.status == 404
    assert reply.error["error_type"] == "not_found"
    assert reply.error["availability"]["code"] == "model_not_found"
    assert "acme/small" in reply.error["availability"]["fallback_models"]
    gone = await home.client("GET", f"/api/v1/{path.format('acme/old')}")
    assert (gone.status, gone.error["availability"]["code"]) == (404, "model_deprecated")


async def test_endpoints_are_listed_as_the_sdk_reads_them(home: House) -> None:
    reply = await home.client("GET", "/api/v1/models/acme/small/endpoints")
    listed = components.ListEndpointsResponse.model_validate(reply.json()["data"])
    assert [(e.tag, str(e.provider_name)) for e in listed.endpoints] == [
        ("alpha", "Alpha"),
        ("beta", "Beta AI"),
    ]
    operations.ListEndpointsResponse.model_validate(reply.json())


async def test_speeds_are_shown_to_those_who_have_a_key(home: House) -> None:
    small = home.gateway.catalogue.endpoints["acme/small"][0]
    for _ in range(20):
        home.gateway.health.note(small, Outcome.answered(0.2, 100, 1.2), home.clock())
    target = "/api/v1/models/acme/small/endpoints"
    for key in (None, "sk-wrong"):
        row = (await home.client("GET", target, key=key)).json()["data"]["endpoints"][0]
        assert (row["latency_last_30m"], row["throughput_last_30m"]) == (None, None)
        assert row["status"] == 0
    row = (await home.client("GET", target, key=home.first_key)).json()["data"]["endpoints"][0]
    assert row["latency_last_30m"]["p50"] == pytest.approx(200, rel=0.2)
    assert row["throughput_last_30m"]["p50"] == pytest.approx(100, rel=0.2)


async def test_an_unknown_variant_has_no_endpoints(home: House) -> None:
    for variant in ("free", "batch", "nonsense"):
        reply = await home.client("GET", f"/api/v1/models/acme/small:{variant}/endpoints")
        assert reply.status == 200
        assert reply.json()["data"]["id"] == "acme/small"
        assert reply.json()["data"]["endpoints"] == []


async def test_zdr_endpoints_are_those_that_keep_nothing(home: House) -> None:
    reply = await home.client("GET", "/api/v1/endpoints/zdr")
    parsed = operations.ListEndpointsZdrResponse.model_validate(reply.json())
    assert {e.tag for e in parsed.data} == {"alpha"}
    assert len(parsed.data) == 2


async def test_providers_are_listed_as_the_sdk_reads_them(home: House) -> None:
    reply = await home.client("GET", "/api/v1/providers")
    parsed = operations.ListProvidersResponse.model_validate(reply.json())
    assert [(p.slug, p.name) for p in parsed.data] == [("alpha", "Alpha"), ("beta", "Beta AI")]
    assert re.search(rb'"headquarters":"US"', reply.body)
