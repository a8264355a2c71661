"""Router slugs in the lists of models: OpenRouter's shape, no price, nothing of their own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openrouter import components

from tollway.catalogue import listing
from tollway.catalogue.check import check
from tollway.catalogue.entries import Catalogue, Endpoint, Model, Provider, provider_names_of
from tollway.catalogue.load import load
from tollway.catalogue.routers import (
    AUTO,
    BY_SLUG,
    FREE,
    ROUTERS,
    picks,
    router_endpoints_view,
    router_of,
    router_view,
)
from tollway.money import Price, Rates

PAID, NOTHING, UNKNOWN = Rates(prompt=1, completion=1), Rates(prompt=0, completion=0), Rates()


def catalogue(*rows: tuple[Model, Rates]) -> Catalogue:
    shop = Provider("shop", "Shop")
    endpoints = {
        model.id: (Endpoint(f"{model.id}@shop", model.id, "shop", "shop", "x", Price(rates), ""),)
        for model, rates in rows
    }
    providers = {"shop": shop}
    models = {model.id: model for model, _ in rows}
    return Catalogue(providers, models, endpoints, {}, {}, provider_names_of([shop]))


SEES = Model(
    "a/sees",
    "Sees",
    "a",
    context_length=9_000,
    input_modalities=("text", "image"),
    params=("tools", "seed"),
)
SMALL = catalogue(
    (SEES, PAID),
    (Model("a/free:free", "Free", "a", context_length=7_000, params=("seed", "top_p")), NOTHING),
    (Model("a/unpriced", "Unpriced", "a", context_length=99_000), UNKNOWN),
    (Model("a/vector", "Vector", "a", "embedding", output_modalities=("embeddings",)), PAID),
    (Model("tollway/echo", "Echo", "tollway", context_length=88_000), NOTHING),
)


def rows(of: Catalogue, **query: str) -> dict[str, dict[str, Any]]:
    found, _ = listing.list_models(of, query, now_s=0.0)
    decoded = [msgspec.json.decode(row) for row in found]
    return {row["id"]: row for row in decoded}


def test_routers_are_listed_last_without_a_price_as_the_sdk_reads_them() -> None:
    listed = rows(SMALL)
    assert list(listed)[-2:] == ["tollway/auto", "tollway/free"]
    auto, free = listed["tollway/auto"], listed["tollway/free"]
    for row in (auto, free):
        components.Model.model_validate(row)
        assert row["pricing"] == {"prompt": "-1", "completion": "-1"}
        assert "reasoning" not in row
        assert row["links"]["details"] == f"/api/v1/models/{row['id']}/endpoints"
    assert auto["architecture"]["modality"] == "text+image->text"
    assert (auto["context_length"], auto["supported_parameters"]) == (
        9_000,
        ["seed", "tools", "top_p"],
    )
    assert (free["context_length"], free["supported_parameters"]) == (7_000, ["seed", "top_p"])
    assert free["architecture"]["input_modalities"] == ["text"]


def test_a_router_with_nothing_to_pick_is_not_listed() -> None:
    assert "tollway/free" not in rows(catalogue((SEES, PAID)))
    assert list(rows(catalogue((Model("tollway/echo", "Echo", "tollway"), PAID)))) == [
        "tollway/echo"
    ]
    live = listing.listing(SMALL, frozenset())
    assert live.rows == ()


def test_routers_are_filtered_and_counted_like_models() -> None:
    assert "tollway/auto" in rows(SMALL, input_modalities="image")
    assert "tollway/free" not in rows(SMALL, input_modalities="image")
    assert "tollway/auto" not in rows(SMALL, max_price="1000000")
    assert "tollway/auto" in rows(SMALL, q="auto router")
    assert list(rows(SMALL, supported_parameters="tools")) == ["a/sees", "tollway/auto"]
    assert listing.count_models(SMALL, {}) == len(rows(SMALL)) == 6


@pytest.mark.parametrize("slug", [*BY_SLUG, "OpenRouter/Auto", "tollway/free:nitro"])
def test_every_name_leads_to_its_router(slug: str) -> None:
    found = router_of(slug)
    assert found is not None
    assert found.id == ("tollway/free" if "free" in slug else "tollway/auto")


def test_a_beta_name_has_a_plugin_of_its_own() -> None:
    plugins = {slug: found.plugin for slug, found in BY_SLUG.items() if found.kind == "auto"}
    assert plugins == {
        "tollway/auto": "auto-router",
        "openrouter/auto": "auto-router",
        "openrouter/auto-beta": "auto-beta-router",
    }


def test_a_router_has_no_endpoints_of_its_own() -> None:
    models = listing.listing(SMALL).models
    for router in ROUTERS:
        view = router_endpoints_view(router, picks(router, models))
        assert (view["id"], view["endpoints"]) == (router.id, [])
        components.ListEndpointsResponse.model_validate(view)
        components.ModelResponse.model_validate({"data": router_view(router, [])})


def test_the_catalogue_itself_knows_nothing_of_routers() -> None:
    shipped = load()
    assert not BY_SLUG.keys() & shipped.models.keys()
    assert not BY_SLUG.keys() & shipped.aliases.keys()
    assert check(shipped).counts["models"] == len(shipped.models)
    listed = rows(shipped)
    assert {AUTO.id, FREE.id} <= listed.keys()
