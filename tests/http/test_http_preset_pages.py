from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.asgi import Reply
from support.control import House, house
from tollway.accounts.workspaces import Workspace, make


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


async def post(home: House, slug: str, key: str | None = None, **body: Any) -> Reply:
    path = f"/api/v1/presets/{slug}/chat/completions"
    reply = await home.client("POST", path, key=key or home.first_key, json=body)
    home.clock.now_s += 1
    return reply


async def get(home: House, path: str, key: str | None = None) -> Reply:
    return await home.client("GET", f"/api/v1/presets{path}", key=key or home.first_key)


async def test_a_preset_is_made_and_is_in_force_when_it_is_answered(home: House) -> None:
    system = {"role": "system", "content": "Be brief."}
    reply = await post(home, "Brief", model="acme/small", messages=[system], temperature=0.5)
    made = reply.json()["data"]
    version = made.pop("designated_version")
    assert made == {
        "id": made["id"],
        "slug": "brief",
        "name": "brief",
        "description": None,
        "status": "active",
        "status_updated_at": None,
        "creator_user_id": None,
        "workspace_id": "default",
        "designated_version_id": version["id"],
        "created_at": "2026-11-22T19:06:54.000Z",
        "updated_at": "2026-11-22T19:06:54.000Z",
    }
    assert version == {
        "id": version["id"],
        "preset_id": made["id"],
        "version": 1,
        "config": {"model": "acme/small", "temperature": 0.5},
        "system_prompt": "Be brief.",
        "creator_id": home.gateway.keys.identify(f"Bearer {home.first_key}", None).hash,
        "created_at": "2026-11-22T19:06:54.000Z",
        "updated_at": "2026-11-22T19:06:54.000Z",
    }
    kept = home.gateway.presets.find("default", "brief")
    assert kept is not None and kept[1].id == version["id"]
    assert (await get(home, "/brief")).json()["data"] == {**made, "designated_version": version}
    assert (await get(home, "/BRIEF/versions/1")).json()["data"] == version


async def test_lists_have_pages_and_a_count(home: House) -> None:
    for slug in ("a", "b", "a"):
        assert (await post(home, slug, seed=1)).status == 200
    listed = (await get(home, "")).json()
    assert [(row["slug"], "designated_version" in row) for row in listed["data"]] == [
        ("b", False),
        ("a", False),
    ]
    assert listed["total_count"] == 2
    page = (await get(home, "?offset=1&limit=1")).json()
    assert ([row["slug"] for row in page["data"]], page["total_count"]) == (["a"], 2)
    versions = (await get(home, "/a/versions")).json()
    assert [row["version"] for row in versions["data"]] == [1, 2]
    assert versions["total_count"] == 2


async def test_every_dialect_makes_a_version_of_the_same_preset(home: House) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "chat/completions": {"stop": "X", "max_completion_tokens": 9},
        "messages": {"stop_sequences": ["X"], "max_tokens": 9, "system": "P"},
        "responses": {"stop": ["X"], "max_output_tokens": 9, "instructions": "P", "input": "Hi"},
    }
    found = []
    for path, body in bodies.items():
        target = f"/v1/presets/p/{path}"
        reply = await home.client("POST", target, key=home.first_key, json=body)
        assert reply.status == 200, reply.body
        version = reply.json()["data"]["designated_version"]
        found.append((version["version"], version["config"], version["system_prompt"]))
    assert found == [
        (1, {"stop": "X", "max_tokens": 9}, None),
        (2, {"stop": ["X"], "max_tokens": 9}, "P"),
        (3, {"stop": ["X"], "max_tokens": 9}, "P"),
    ]


async def test_presets_belong_to_the_workspace_of_the_key(home: House) -> None:
    await home.store.write(make, Workspace("other", "Other", 1))
    _, theirs = await home.key(workspace_id="other")
    _, colleague = await home.key()
    await post(home, "mine", seed=1)
    assert (await get(home, "/mine", colleague)).status == 200
    assert (await get(home, "/mine", theirs)).status == 404
    assert (await get(home, "", theirs)).json() == {"data": [], "total_count": 0}
    assert (await post(home, "mine", theirs, seed=2)).json()["data"]["workspace_id"] == "other"
    assert (await get(home, "/mine/versions")).json()["total_count"] == 1


async def test_the_creator_is_the_user_of_the_key_where_it_has_one(home: House) -> None:
    _, key = await home.key(creator_user_id="user-7")
    made = (await post(home, "p", key, seed=1)).json()["data"]
    assert (made["creator_user_id"], made["designated_version"]["creator_id"]) == ("user-7",) * 2


async def test_management_keys_are_refused(home: House) -> None:
    _, boss = await home.key(management=True)
    assert (await get(home, "", boss)).status == 403
    assert (await post(home, "p", boss, seed=1)).status == 403


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/nothing", 404, "There is no preset 'nothing' in this workspace."),
        ("/breif", 404, "There is no preset 'breif' in this workspace. Did you mean brief?"),
        ("/brief/versions/2", 404, "Version 2 of the preset brief was not found."),
        ("/brief/versions/x", 400, "version: expected a number, got 'x'"),
        ("?limit=0", 400, "limit: expected a whole number of 1 to 1,000, got '0'"),
        ("?limit=x", 400, "limit: expected a whole number of 1 to 1,000, got 'x'"),
        ("?offset=-1", 400, "offset: expected a whole number of zero or more, got '-1'"),
        ("/a/b", 404, "There is no preset 'a/b' in this workspace."),
    ],
)
async def test_what_is_not_there_is_said(home: House, path: str, status: int, message: str) -> None:
    await post(home, "brief", seed=1)
    reply = await get(home, path)
    assert (reply.status, reply.error["message"]) == (status, message)


async def test_bodies_and_slugs_that_are_refused_leave_nothing(home: House) -> None:
    assert (await post(home, "-x", seed=1)).error["metadata"]["field"] == "slug"
    assert (await post(home, "x", temperature=9)).error["metadata"]["field"] == "temperature"
    target = "/api/v1/presets/x/chat/completions"
    huge = await home.client("POST", target, key=home.first_key, body=b" " * (4 * 2**20 + 1))
    assert huge.status == 413
    assert (await get(home, "")).json()["total_count"] == 0
