"""`GET /models`: filters, sorts, pages and the feed."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ElementTree
from typing import Any

import msgspec
import pytest
from openrouter import components

from tollway.catalogue import listing
from tollway.catalogue.entries import (
    Catalogue,
    DataPolicy,
    Endpoint,
    Model,
    Provider,
    provider_names_of,
)
from tollway.catalogue.filters import CATEGORIES
from tollway.catalogue.load import load
from tollway.errors import CallerError
from tollway.money import Price, Rates

DAY_S = 86_400
NOW_S = 1_767_225_600.0  # 2026-01-01


def small() -> Catalogue:
    providers = {
        "safe": Provider(
            "safe", "Safe House", data_policy=DataPolicy(False, 0), datacenters=("DE",)
        ),
        "open": Provider(
            "open",
            "Open House",
            regions={"us": "https://us.open.example"},
            data_policy=DataPolicy(trains_on_data=True, retains_days=0),
        ),
        "off": Provider("off", "Off", enabled=False),
    }
    models = {
        m.id: m
        for m in (
            Model("a/old", "Old Chat", "a", created="2024-01-01", context_length=8_000),
            Model(
                "a/new",
                "New Chat",
                "a",
                created="2025-12-30",
                context_length=200_000,
                input_modalities=("text", "image"),
                params=("tools", "seed"),
            ),
            Model("openai/gpt", "GPT", "openai", params=("seed",)),
            Model("b/ears", "Ears", "b", "embedding", output_modalities=("embeddings",)),
            Model("b/gone", "Gone", "b"),
        )
    }

    def at(slug: str, provider: str, prompt: int, completion: int) -> Endpoint:
        price = Price(Rates(prompt=prompt * 10**6, completion=completion * 10**6))
        return Endpoint(f"{slug}@{provider}", slug, provider, provider, "x", price, "")

    endpoints = {
        "a/old": (at("a/old", "safe", 5, 5),),
        "a/new": (at("a/new", "open", 1, 9), at("a/new", "safe", 9, 9)),
        "openai/gpt": (at("openai/gpt", "open", 2, 2),),
        "b/ears": (at("b/ears", "open", 1, 0),),
        "b/gone": (at("b/gone", "off", 1, 1),),
    }
    return Catalogue(providers, models, endpoints, {}, {}, provider_names_of(providers.values()))


SMALL = small()


def ids(catalogue: Catalogue = SMALL, **query: Any) -> list[str]:
    """Of models: the router that picks from them is left out."""
    health = query.pop("health", None)
    live = query.pop("live", None)
    rows, _ = listing.list_models(
        catalogue, {k: str(v) for k, v in query.items()}, now_s=NOW_S, health=health, live=live
    )
    found = [msgspec.json.decode(row)["id"] for row in rows]
    return [id for id in found if id != "tollway/auto"]


def test_the_default_is_models_that_write_text_newest_first_undated_last() -> None:
    assert ids() == ["a/new", "a/old", "openai/gpt"]


FILTERED = [
    ({"output_modalities": "all"}, ["a/new", "a/old", "openai/gpt", "b/ears"]),
    ({"output_modalities": "embeddings"}, ["b/ears"]),
    ({"output_modalities": "text,embeddings"}, ["a/new", "a/old", "openai/gpt", "b/ears"]),
    ({"input_modalities": "image"}, ["a/new"]),
    ({"input_modalities": "image,text"}, ["a/new"]),
    ({"input_modalities": "audio"}, []),
    ({"supported_parameters": "seed"}, ["a/new", "openai/gpt"]),
    ({"supported_parameters": "seed,tools"}, ["a/new"]),
    ({"q": "chat new"}, ["a/new"]),
    ({"q": "GPT"}, ["openai/gpt"]),
    ({"q": "nothing like it"}, []),
    ({"context": 8000}, ["a/new", "a/old"]),
    ({"context": 8001}, ["a/new"]),
    ({"max_price": 2}, ["a/new", "openai/gpt"]),
    ({"min_price": "1.5", "max_price": 5}, ["a/old", "openai/gpt"]),
    ({"max_output_price": 5}, ["a/old", "openai/gpt"]),
    ({"min_output_price": 5.5}, ["a/new"]),
    ({"arch": "gpt"}, ["openai/gpt"]),
    ({"model_authors": "a"}, ["a/new", "a/old"]),
    ({"model_authors": "openai,b"}, ["openai/gpt"]),
    ({"providers": "Safe House"}, ["a/new", "a/old"]),
    ({"providers": "open"}, ["a/new", "openai/gpt"]),
    ({"zdr": "true"}, ["a/new", "a/old"]),
    ({"region": "eu"}, ["a/new", "a/old"]),
    ({"region": "us"}, ["a/new", "openai/gpt"]),
    ({"max_age_days": 2}, ["a/new"]),
    ({"max_age_days": 1}, []),
    ({"min_age_days": 2}, ["a/new", "a/old"]),
    ({"min_age_days": 3}, ["a/old"]),
    ({"category": "programming"}, []),
    ({"distillable": "true"}, []),
    ({"min_intelligence_index": 10}, []),
    ({"max_tool_success_rate": 1}, []),
    ({"q": ""}, ["a/new", "a/old", "openai/gpt"]),
    ({"not_a_filter": "x"}, ["a/new", "a/old", "openai/gpt"]),
]


@pytest.mark.parametrize(("query", "expected"), FILTERED)
def test_a_filter_leaves_what_the_facts_say(query: dict[str, Any], expected: list[str]) -> None:
    assert ids(**query) == expected


HEALTH = {
    "a/old": {"throughput": 90.0, "latency": 0.9, "requests": 1.0},
    "openai/gpt": {"throughput": 40.0, "latency": 0.1, "requests": 7.0},
}
SORTED = [
    ("newest", ["a/new", "a/old", "openai/gpt"]),
    ("pricing-low-to-high", ["openai/gpt", "a/new", "a/old"]),
    ("pricing-high-to-low", ["a/old", "a/new", "openai/gpt"]),
    ("context-high-to-low", ["a/new", "a/old", "openai/gpt"]),
    ("throughput-high-to-low", ["a/old", "openai/gpt", "a/new"]),
    ("latency-low-to-high", ["openai/gpt", "a/old", "a/new"]),
    ("most-popular", ["openai/gpt", "a/old", "a/new"]),
    ("top-weekly", ["openai/gpt", "a/old", "a/new"]),
    ("coding-high-to-low", ["a/new", "a/old", "openai/gpt"]),
    ("design-arena-elo-high-to-low", ["a/new", "a/old", "openai/gpt"]),
]


@pytest.mark.parametrize(("sort", "expected"), SORTED)
def test_a_sort_puts_what_is_not_known_last(sort: str, expected: list[str]) -> None:
    assert ids(sort=sort, health=HEALTH) == expected


BAD = [
    ("sort", "cheapest", "expected one of newest"),
    ("output_modalities", "smell", "got 'smell'"),
    ("input_modalities", "text,smell", "got 'smell'"),
    ("category", "cooking", "expected one of programming"),
    ("context", "big", "expected a number of zero or more, got 'big'"),
    ("max_price", "-1", "expected a number"),
    ("min_price", "nan", "expected a number"),
    ("max_age_days", "inf", "expected a number"),
    ("min_coding_index", "x", "expected a number"),
    ("distillable", "maybe", "expected one of true, false"),
    ("zdr", "yes", "expected one of true"),
    ("region", "mars", "expected one of eu, us"),
    ("limit", "0", "expected a whole number from 1 to 1000"),
    ("limit", "1001", "expected a whole number from 1 to 1000"),
    ("limit", "ten", "expected a whole number"),
    ("offset", "-1", "expected a whole number from 0"),
]


@pytest.mark.parametrize(("name", "value", "problem"), BAD)
def test_a_bad_value_is_a_400_that_names_the_parameter(name: str, value: str, problem: str) -> None:
    with pytest.raises(CallerError) as caught:
        ids(**{name: value})
    assert caught.value.status == 400
    assert caught.value.metadata == {"field": name}
    assert problem in caught.value.message


def test_every_category_of_the_contract_is_accepted() -> None:
    assert [ids(category=name) for name in CATEGORIES] == [[]] * 12


def test_only_what_is_live_is_listed_when_asked_and_priced_by_it() -> None:
    assert ids(live=frozenset({"safe"})) == ["a/new", "a/old"]
    rows, _ = listing.list_models(SMALL, {}, now_s=NOW_S, live=frozenset({"safe"}))
    assert msgspec.json.decode(rows[0])["pricing"]["prompt"] == "0.000009"
    assert ids(live=frozenset()) == []


def body(**query: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(listing.models_body(SMALL, query, now_s=NOW_S))
    return found


def test_pages_follow_one_another_to_the_end() -> None:
    whole = body()
    assert (whole["total_count"], whole["links"]) == (4, {"next": None})
    first = body(limit="2", sort="pricing-low-to-high")
    assert [m["id"] for m in first["data"]] == ["openai/gpt", "a/new"]
    assert first["total_count"] == 4
    assert first["links"]["next"] == "/api/v1/models?limit=2&sort=pricing-low-to-high&offset=2"
    second = body(limit="2", sort="pricing-low-to-high", offset="2")
    assert [m["id"] for m in second["data"]] == ["a/old", "tollway/auto"]
    assert second["links"] == {"next": None}
    assert body(offset="9")["data"] == []


def test_the_count_asks_for_modalities_alone() -> None:
    assert listing.count_models(SMALL, {}) == 4
    assert listing.count_models(SMALL, {"output_modalities": "all", "q": "x"}) == 5


def test_endpoints_that_keep_nothing() -> None:
    found = listing.zdr_endpoints(SMALL)
    assert [(e["model_id"], e["tag"]) for e in found] == [("a/old", "safe"), ("a/new", "safe")]


def test_a_listing_is_rendered_once_and_never_for_another_catalogue() -> None:
    assert listing.listing(SMALL) is listing.listing(SMALL)
    other = small()
    assert listing.listing(other).catalogue is other
    for n in range(9):
        listing.listing(SMALL, margin_ppm=n)
    assert len(listing._kept) <= 4


def test_the_feed_is_rss_with_dates_and_escaped_text() -> None:
    models = dict(SMALL.models)
    models["a/old"] = msgspec.structs.replace(models["a/old"], name="Old <Chat> & Co")
    catalogue = msgspec.structs.replace(SMALL, models=models)
    text = listing.rss(catalogue, {"sort": "newest"}, now_s=NOW_S, site="https://t.example")
    items = ElementTree.fromstring(text).findall("channel/item")
    assert [i.findtext("guid") for i in items] == ["a/new", "a/old", "openai/gpt"]
    assert items[1].findtext("title") == "Old <Chat> & Co"
    assert items[0].findtext("pubDate") == "Tue, 30 Dec 2025 00:00:00 +0000"
    assert items[2].find("pubDate") is None
    assert items[0].findtext("link") == "https://t.example/a/new"
    chat = listing.rss(
        SMALL, {"use_rss_chat_links": "true", "limit": "1"}, now_s=NOW_S, site="https://t.example"
    )
    links = [i.findtext("link") for i in ElementTree.fromstring(chat).findall("channel/item")]
    assert links == ["https://t.example/chat?models=a/new"]


def test_the_whole_shipped_list_parses_with_the_official_sdk_and_is_quick() -> None:
    catalogue = load()
    listing.listing(catalogue)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        answer = listing.models_body(catalogue, {}, now_s=NOW_S)
        times.append(time.perf_counter() - started)
    parsed = components.ModelsListResponse.model_validate_json(answer)
    print(f"{parsed.total_count} rows, {len(answer):,} bytes, {min(times) * 1e3:.2f} ms")
    assert parsed.total_count == len(parsed.data) > 850
    assert min(times) < 0.05
    tools = listing.models_body(
        catalogue, {"supported_parameters": "tools", "limit": "3"}, now_s=NOW_S
    )
    assert len(components.ModelsListResponse.model_validate_json(tools).data) == 3
