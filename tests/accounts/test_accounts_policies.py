"""Workspaces' policies: one snapshot, refreshed when any process has changed one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from tollway import errors
from tollway.accounts import workspaces
from tollway.accounts.policies import Policies, policy_of
from tollway.accounts.workspaces import Routing, Workspace, WorkspaceChange
from tollway.routing.entries import Policy
from tollway.store.migrate import FOLDER, migrate
from tollway.store.sqlite import Store

BASE = Policy(margin_ppm=50_000, output_tokens_default=99, attempts_per_model=2)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(tmp_path / "t.db")
    opened.start(asyncio.get_running_loop())
    await opened.write(workspaces.make, Workspace("default", "Default", 1))
    yield opened
    await opened.close()


async def change(store: Store, workspace: str = "default", **fields) -> Workspace:
    return await workspaces.update_workspace(store, workspace, WorkspaceChange(**fields), now_ms=7)


async def test_a_change_by_anybody_is_seen_at_the_next_refresh_and_only_then(store: Store) -> None:
    policies = Policies(store, BASE)
    assert not policies.loaded
    assert await policies.refresh()
    assert policies.loaded and policies.get("default") == BASE
    assert not await policies.refresh()
    await change(store, routing={"zdr": True, "allowed_providers": ("alpha",)})
    assert policies.get("default") == BASE
    assert await policies.refresh()
    policy = policies.get("default")
    assert policy is not None
    assert (policy.zdr, policy.only, policy.margin_ppm) == (True, ("alpha",), 50_000)


async def test_a_workspace_that_is_not_in_the_snapshot_is_looked_up_not_let_through(
    store: Store,
) -> None:
    policies = Policies(store, BASE)
    await policies.refresh()
    await store.write(workspaces.make, Workspace("lab", "Lab", 2))
    await change(store, "lab", routing={"zdr": True})
    assert policies.get("lab") is None
    assert (await policies.find("lab")).zdr
    with pytest.raises(errors.CallerError) as error:
        await policies.find("nowhere")
    assert error.value.status == 404


async def test_fields_that_a_change_does_not_name_stay(store: Store) -> None:
    await change(store, name="Lab", default_provider_sort="price", routing={"zdr": True})
    found = await change(store, routing={"ignored_models": ("acme/*",)})
    assert found == Workspace(
        "default",
        "Lab",
        1,
        default_provider_sort="price",
        routing=Routing(ignored_models=("acme/*",), zdr=True),
        updated_ms=7,
    )
    assert await workspaces.get_workspace(store, "default") == found
    assert await workspaces.list_workspaces(store) == [found]


def test_every_rule_of_a_workspace_reaches_the_policy() -> None:
    routing = Routing(
        allowed_providers=("a",),
        ignored_providers=("b",),
        allowed_models=("c/d",),
        ignored_models=("e/*",),
        allowed_data_regions=("us",),
        zdr=True,
        data_collection="deny",
        prevent_overrides=True,
    )
    one = Workspace(
        "w", "W", 1, default_text_model="x/y", default_provider_sort="latency", routing=routing
    )
    assert policy_of(one, BASE) == Policy(
        margin_ppm=50_000,
        output_tokens_default=99,
        attempts_per_model=2,
        only=("a",),
        ignore=("b",),
        zdr=True,
        data_collection="deny",
        allowed_models=("c/d",),
        ignored_models=("e/*",),
        data_regions=frozenset({"us"}),
        sort="latency",
        prevent_overrides=True,
        default_model="x/y",
    )
    assert policy_of(Workspace("w", "W", 1), BASE) == BASE


def test_a_database_from_before_policies_gets_them(tmp_path: Path) -> None:
    old = tmp_path / "migrations"
    old.mkdir()
    for file in FOLDER.glob("000[12]_*.sql"):
        (old / file.name).write_text(file.read_text())
    connection = apsw.Connection(":memory:")
    migrate(connection, old)
    connection.execute("INSERT INTO workspace (id, name, created_ms) VALUES ('w', 'W', 5)")
    migrate(connection)
    assert workspaces.every(connection) == [Workspace("w", "W", 5)]
    before = workspaces.revision(connection)
    workspaces.update(connection, "w", WorkspaceChange(routing={"zdr": True}), 6)
    assert workspaces.revision(connection) == before + 1
    assert workspaces.one(connection, "w").routing.zdr
