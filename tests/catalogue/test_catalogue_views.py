"""Models, endpoints and providers in OpenRouter's shapes, read back by its own SDK."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openrouter import components, operations

from tollway.catalogue import views
from tollway.catalogue.entries import Catalogue, Endpoint, Model, Provider
from tollway.catalogue.load import load
from tollway.money import Override, Price, Rates


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load()


MODEL = Model("acme/one", "One", "acme", context_length=1000, output_tokens_max=100)


def endpoint(tag: str = "shop", **changed: Any) -> Endpoint:
    price = changed.pop("price", Price(Rates(prompt=2_000_000, completion=4_000_000)))
    return Endpoint(
        f"acme/one@{tag}", "acme/one", tag.split("/")[0], tag, "one", price, "", **changed
    )


def catalogue(*endpoints: Endpoint, model: Model = MODEL) -> Catalogue:
    providers = {
        "shop": Provider("shop", "The Shop", datacenters=("DE",), headquarters="US"),
        "off": Provider("off", "Off", enabled=False),
    }
    return Catalogue(providers, {model.id: model}, {model.id: endpoints}, {}, {})


def test_every_shipped_model_and_endpoint_parses_with_the_official_sdk(shipped: Catalogue) -> None:
    for model in shipped.models.values():
        view = views.model_view(shipped, model)
        parsed = components.Model.model_validate_json(msgspec.json.encode(view))
        assert (parsed.id, parsed.pricing.prompt) == (model.id, view["pricing"]["prompt"])
        found = views.endpoints_view(shipped, model)
        listed = components.ListEndpointsResponse.model_validate_json(msgspec.json.encode(found))
        assert len(listed.endpoints) == len(views.enabled(shipped, model.id))
    for provider in shipped.providers.values():
        assert operations.ListProvidersData.model_validate(views.provider_view(provider))


def test_a_well_known_model_reads_as_it_should(shipped: Catalogue) -> None:
    view = views.model_view(shipped, shipped.models["openai/gpt-4o-mini"])
    assert (view["name"], view["context_length"], view["created"]) == (
        "GPT-4o-mini",
        128_000,
        1_721_260_800,
    )
    assert view["pricing"]["prompt"] == "0.00000015"
    assert view["architecture"]["modality"] == "text+image+file->text"
    assert view["architecture"]["tokenizer"] == "GPT"
    assert view["description"] == (
        "GPT-4o-mini by openai: 128,000 tokens of context; text, image, file in, text out; tools."
    )
    assert "tools" in view["supported_parameters"]
    assert view["links"] == {"details": "/api/v1/models/openai/gpt-4o-mini/endpoints"}


def test_the_price_of_a_model_is_its_cheapest_ordinary_endpoint() -> None:
    dear = endpoint("shop/a", price=Price(Rates(prompt=9, completion=9)))
    cheap = endpoint("shop/b", price=Price(Rates(prompt=5, completion=5)))
    flex = endpoint("shop/flex", price=Price(Rates(prompt=1, completion=1)), service_tier="flex")
    trial = endpoint("shop/t", price=Price(Rates(prompt=0, completion=0)), free_trial=True)
    unknown = endpoint("shop/u", price=Price(Rates(prompt=1)))
    off = endpoint("off", price=Price(Rates(prompt=1, completion=1)))
    offers = catalogue(dear, flex, trial, unknown, off, cheap)
    assert views.top_endpoint(views.enabled(offers, "acme/one")) == cheap
    assert views.top_endpoint([trial, flex]) == trial
    assert views.top_endpoint([flex]) == flex
    assert views.top_endpoint([]) is None


def test_the_margin_is_in_the_price_and_rounded_up_to_a_pico_usd() -> None:
    one = endpoint(price=Price(Rates(prompt=1_000_001, completion=2_000_000, web_search=10**10)))
    view = views.model_view(catalogue(one), MODEL, margin_ppm=55_000)
    assert view["pricing"] == {
        "prompt": "0.000001055002",
        "completion": "0.00000211",
        "web_search": "0.01055",
    }


def test_overrides_keep_their_conditions() -> None:
    price = Price(
        Rates(prompt=2_000_000, completion=0),
        (
            Override(Rates(prompt=4_000_000), min_prompt_tokens=200_000),
            Override(Rates(prompt=1_000_000), utc_start=1630, utc_end=30, weekdays=(1, 7)),
        ),
    )
    view = views.endpoint_view(catalogue(endpoint(price=price)), endpoint(price=price))
    assert view["pricing"] == {
        "prompt": "0.000002",
        "completion": "0",
        "overrides": [
            {"prompt": "0.000004", "min_prompt_tokens": 200_000},
            {
                "prompt": "0.000001",
                "utc_start": 1630,
                "utc_end": 30,
                "utc_days": ["monday", "sunday"],
            },
        ],
    }


def test_an_unknown_token_price_is_never_shown_as_free() -> None:
    half = Price(Rates(prompt=1_000_000))
    assert views.pricing(MODEL, half) == {"prompt": "0.000001", "completion": "-1"}
    embedder = msgspec.structs.replace(MODEL, type="embedding")
    assert views.pricing(embedder, half) == {"prompt": "0.000001", "completion": "0"}
    assert views.model_view(catalogue(), MODEL)["pricing"] == {"prompt": "-1", "completion": "-1"}


def test_health_numbers_are_shown_when_given_and_null_otherwise() -> None:
    offers = catalogue(endpoint())
    silent = views.endpoint_view(offers, endpoint())
    names = ("uptime_last_5m", "uptime_last_30m", "uptime_last_1d", "latency_last_30m")
    assert [silent[n] for n in (*names, "throughput_last_30m")] == [None] * 5
    assert silent["status"] == 0
    p = {"p50": 210.0, "p75": 300.0, "p90": 400.0, "p99": 900.0}
    numbers = {"status": -2, "uptime_last_5m": 99.5, "latency_last_30m": p}
    spoken = views.endpoints_view(offers, MODEL, health={"acme/one@shop": numbers})["endpoints"][0]
    assert (spoken["status"], spoken["uptime_last_5m"], spoken["latency_last_30m"]) == (-2, 99.5, p)
    assert components.PublicEndpoint.model_validate(spoken).latency_last_30m.p99 == 900.0


def test_context_and_end_come_from_the_endpoints() -> None:
    small = endpoint("shop/a", context_length=500, retires="2027-01-01")
    large = endpoint("shop/b", context_length=2000, retires="2027-03-01")
    view = views.model_view(catalogue(small, large), MODEL)
    assert (view["context_length"], view["expiration_date"]) == (2000, "2027-03-01")
    endless = views.model_view(catalogue(small, endpoint("shop/b")), MODEL)
    assert (endless["context_length"], endless["expiration_date"]) == (1000, None)


def test_parameters_are_implied_by_capabilities_where_no_source_lists_them() -> None:
    model = msgspec.structs.replace(MODEL, capabilities=("tools", "reasoning"))
    assert views.supported_parameters(model) == [
        "include_reasoning",
        "max_tokens",
        "reasoning",
        "tool_choice",
        "tools",
    ]
    listed = msgspec.structs.replace(model, params=("seed",))
    assert views.supported_parameters(listed) == ["seed"]


def test_reasoning_is_described_only_for_models_that_reason() -> None:
    assert "reasoning" not in views.model_view(catalogue(), MODEL)
    thinker = msgspec.structs.replace(
        MODEL, capabilities=("reasoning",), efforts=("low", "high"), thinking_budget={"min": 1024}
    )
    assert views.model_view(catalogue(), thinker)["reasoning"] == {
        "mandatory": False,
        "supported_efforts": ["high", "low"],
        "supports_max_tokens": True,
    }


def test_a_provider_is_shown_with_its_countries() -> None:
    view = views.provider_view(catalogue().providers["shop"])
    assert (view["name"], view["slug"], view["headquarters"], view["datacenters"]) == (
        "The Shop",
        "shop",
        "US",
        ["DE"],
    )
