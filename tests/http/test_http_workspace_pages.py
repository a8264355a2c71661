"""Workspaces over HTTP: shown, changed, and in force at once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openrouter import components

from support.control import House, house


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


@pytest.fixture
async def management(home: House) -> str:
    return (await home.key(name="boss", management=True))[1]


async def patched(home: House, key: str, body: Any) -> Any:
    return await home.client("PATCH", "/api/v1/workspaces/default", json=body, key=key)


async def test_a_workspace_is_what_the_sdk_reads(home: House, management: str) -> None:
    reply = await home.client("GET", "/api/v1/workspaces/default", key=management)
    seen = components.GetWorkspaceResponse.model_validate(reply.json()).data
    assert (seen.id, seen.slug, seen.default_text_model) == ("default", "default", None)
    listed = (await home.client("GET", "/api/v1/workspaces", key=management)).json()
    assert (listed["total_count"], listed["data"]) == (1, [reply.json()["data"]])
    assert reply.json()["data"]["routing"] == {
        "allowed_providers": None,
        "ignored_providers": None,
        "allowed_models": None,
        "ignored_models": None,
        "allowed_data_regions": None,
        "zdr": False,
        "data_collection": "allow",
        "prevent_overrides": False,
    }


async def test_a_change_keeps_what_it_does_not_name_and_is_in_force_at_once(
    home: House, management: str
) -> None:
    first = await patched(
        home,
        management,
        {
            "default_text_model": "acme/small:nitro",
            "default_provider_sort": "price",
            "routing": {"allowed_providers": ["Beta AI", "ALPHA"], "zdr": True},
        },
    )
    assert first.status == 200, first.json()
    second = await patched(
        home,
        management,
        {
            "name": "Lab",
            "routing": {"allowed_models": ["acme/*", "acme/small-2026-01-01"], "zdr": False},
        },
    )
    data = second.json()["data"]
    assert (data["name"], data["default_provider_sort"]) == ("Lab", "price")
    assert data["updated_at"] is not None
    assert data["routing"]["allowed_providers"] == ["beta", "alpha"]
    assert data["routing"]["allowed_models"] == ["acme/*", "acme/small"]
    assert data["routing"]["zdr"] is False
    policy = home.gateway.policies.get("default")
    assert policy is not None
    assert (policy.only, policy.allowed_models) == (("beta", "alpha"), ("acme/*", "acme/small"))
    assert (policy.sort, policy.default_model) == ("price", "acme/small:nitro")
    gone = await patched(
        home, management, {"default_text_model": None, "routing": {"allowed_providers": None}}
    )
    assert gone.json()["data"]["routing"]["allowed_providers"] is None
    policy = home.gateway.policies.get("default")
    assert policy is not None
    assert (policy.only, policy.default_model) == ((), None)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "nothing to change"),
        ({"colour": "red"}, "nothing to change"),
        ({"name": " "}, "name: expected 1 to 100"),
        ({"description": "x" * 501}, "description: expected at most 500"),
        ({"default_provider_sort": "luck"}, "default_provider_sort"),
        ({"default_text_model": "acme/smal"}, "default_text_model: acme/smal is not a model"),
        ({"is_observability_io_logging_enabled": True}, "is_observability_io_logging_enabled"),
        ({"routing": {"zrd": True}}, "zrd"),
        ({"routing": {"allowed_data_regions": ["mars"]}}, "routing.allowed_data_regions"),
        ({"routing": {"allowed_models": []}}, "routing.allowed_models: an empty list"),
        (
            {"routing": {"ignored_models": ["acme/smal"]}},
            "routing.ignored_models[0]: 'acme/smal' is not a model of this catalogue; did you "
            "mean acme/small?",
        ),
        ({"routing": {"ignored_models": ["nobody/*"]}}, "no model of 'nobody'"),
        ({"routing": {"ignored_providers": ["alpa"]}}, "did you mean alpha?"),
        ({"routing": {"ignored_providers": ["alpha/turbo"]}}, "no endpoint of alpha has the tag"),
    ],
)
async def test_what_means_nothing_is_refused_by_its_path(
    home: House, management: str, body: Any, told: str
) -> None:
    before = home.gateway.policies.get("default")
    reply = await patched(home, management, body)
    assert reply.status == 400
    assert told in reply.json()["error"]["message"]
    assert home.gateway.policies.get("default") == before


async def test_only_management_keys_see_or_change_workspaces(home: House) -> None:
    _, ordinary = await home.key()
    for method, path in (("GET", ""), ("GET", "/default"), ("PATCH", "/default")):
        reply = await home.client(method, f"/api/v1/workspaces{path}", json={}, key=ordinary)
        assert reply.status == 403


async def test_a_workspace_that_does_not_exist_is_404(home: House, management: str) -> None:
    for method in ("GET", "PATCH"):
        body = {"name": "x"}
        reply = await home.client(method, "/api/v1/workspaces/nowhere", json=body, key=management)
        assert reply.status == 404
