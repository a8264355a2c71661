"""Workspaces: who owns a wallet and keys, and what is imposed on their requests.

Not here: whether what is imposed makes sense in the catalogue (policy_check), how it is met with a
request (routing.policy). The functions that take a connection are the transactions and run inside
a store's read or write. Other processes see a change within a second through
`workspaces_revision` (policies).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import apsw
import msgspec
from msgspec import UNSET, UnsetType

from .. import errors
from ..catalogue.regions import Region
from ..routing.slugs import Sort
from ..store.queries import load_queries
from ..store.sqlite import Store

DEFAULT = "default"
NAME_LENGTH_MAX, DESCRIPTION_LENGTH_MAX = 100, 500
_SQL = load_queries(Path(__file__).with_name("queries.sql"))


class Routing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a workspace imposes. None = no such list. Names of providers are ids or full tags, of
    models slugs or `author/*`, all as the catalogue spells them."""

    allowed_providers: tuple[str, ...] | None = None
    ignored_providers: tuple[str, ...] | None = None
    allowed_models: tuple[str, ...] | None = None
    ignored_models: tuple[str, ...] | None = None
    allowed_data_regions: tuple[Region, ...] | None = None
    zdr: bool = False
    data_collection: Literal["allow", "deny"] = "allow"
    prevent_overrides: bool = False


class Workspace(msgspec.Struct, frozen=True):
    """Times are Unix milliseconds."""

    id: str
    name: str
    created_ms: int
    description: str | None = None
    default_text_model: str | None = None
    default_provider_sort: Sort | None = None
    routing: Routing = Routing()
    updated_ms: int | None = None


class WorkspaceChange(msgspec.Struct, frozen=True):
    """What of a workspace may change. UNSET = stays; None is a value of its own."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    default_text_model: str | UnsetType | None = UNSET
    default_provider_sort: Sort | UnsetType | None = UNSET
    routing: dict[str, object] | UnsetType = UNSET
    """Fields of `Routing` to replace, each whole."""


# ---- through a store -----------------------------------------------------------------------------


async def get_workspace(store: Store, workspace_id: str) -> Workspace:
    """Raises a 404 CallerError, Unavailable."""
    return await store.read(one, workspace_id)


async def list_workspaces(store: Store) -> list[Workspace]:
    """All, oldest first. Raises Unavailable."""
    return await store.read(every)


async def update_workspace(
    store: Store, workspace_id: str, change: WorkspaceChange, *, now_ms: int
) -> Workspace:
    """Raises CallerError (404, 400), Unavailable."""
    return await store.write(update, workspace_id, change, now_ms)


# ---- the transactions ----------------------------------------------------------------------------


def make(connection: apsw.Connection, workspace: Workspace) -> None:
    """Make it, unless there is one with this id."""
    values = {"id": workspace.id, "name": workspace.name, "created_ms": workspace.created_ms}
    connection.execute(_SQL["workspace_insert"], values)


def update(
    connection: apsw.Connection, workspace_id: str, change: WorkspaceChange, now_ms: int
) -> Workspace:
    old = one(connection, workspace_id)
    changed = {
        name: value
        for name in change.__struct_fields__
        if (value := getattr(change, name)) is not UNSET
    }
    if change.routing is not UNSET:
        changed["routing"] = msgspec.structs.replace(old.routing, **change.routing)
    new = msgspec.structs.replace(old, **changed, updated_ms=now_ms)
    _check(new)
    values = msgspec.structs.asdict(new)
    values["routing"] = msgspec.json.encode(new.routing).decode()
    connection.execute(_SQL["workspace_update"], values)
    return new


def require(connection: apsw.Connection, workspace_id: str) -> None:
    """Raises a 404 CallerError for a workspace that does not exist."""
    if connection.execute(_SQL["workspace_exists"], {"id": workspace_id}).get is None:
        raise errors.not_found(f"The workspace {workspace_id[:128]!r}")


# ---- reads ---------------------------------------------------------------------------------------


def one(connection: apsw.Connection, workspace_id: str) -> Workspace:
    for row in connection.execute(_SQL["workspace_by_id"], {"id": workspace_id}):
        return _workspace(row)
    raise errors.not_found(f"The workspace {workspace_id[:128]!r}")


def every(connection: apsw.Connection) -> list[Workspace]:
    """All, oldest first."""
    return [_workspace(row) for row in connection.execute(_SQL["workspaces_all"])]


def snapshot(connection: apsw.Connection) -> tuple[int, list[Workspace]]:
    """The revision and every workspace, of one moment: a store's read is one snapshot."""
    return revision(connection), every(connection)


def revision(connection: apsw.Connection) -> int:
    """A number that moves whenever a workspace does."""
    for (number,) in connection.execute(_SQL["workspaces_revision"]):
        return int(number)
    raise errors.store_unavailable()


def _workspace(row: tuple[object, ...]) -> Workspace:
    fields = dict(zip(Workspace.__struct_fields__, row, strict=True))
    fields["routing"] = msgspec.json.decode(str(fields["routing"]), type=Routing)
    return msgspec.convert(fields, Workspace)


def _check(workspace: Workspace) -> None:
    name, about = workspace.name, workspace.description
    if not name.strip() or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise errors.bad_field("name", f"expected 1 to {NAME_LENGTH_MAX} printable characters")
    if about is not None and len(about) > DESCRIPTION_LENGTH_MAX:
        problem = f"expected at most {DESCRIPTION_LENGTH_MAX} characters"
        raise errors.bad_field("description", problem)
