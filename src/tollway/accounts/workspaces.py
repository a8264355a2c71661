"""Workspaces: who owns a wallet and keys. Each function runs inside a store's read or write."""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec

from .. import errors
from ..store.queries import load_queries

DEFAULT = "default"
_SQL = load_queries(Path(__file__).with_name("queries.sql"))


class Workspace(msgspec.Struct, frozen=True):
    id: str
    name: str
    created_ms: int


def make(connection: apsw.Connection, workspace: Workspace) -> None:
    """Make it, unless there is one with this id."""
    connection.execute(_SQL["workspace_insert"], msgspec.structs.asdict(workspace))


def every(connection: apsw.Connection) -> list[Workspace]:
    """All, oldest first."""
    return [Workspace(*row) for row in connection.execute(_SQL["workspaces_all"])]


def require(connection: apsw.Connection, workspace_id: str) -> None:
    """Raises a 404 CallerError for a workspace that does not exist."""
    if connection.execute(_SQL["workspace_exists"], {"id": workspace_id}).get is None:
        raise errors.not_found(f"The workspace {workspace_id[:128]!r}")
