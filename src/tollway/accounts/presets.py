"""Presets in the database: made, versioned, read, taken out of force, deleted.

Not here: what a version holds (presets.capture), what a running process knows of them (presetbook).

Rules. A version is never changed: a change is the next version, which is then the one in force. All
functions are the transactions of a store's `read` or `write`. Other processes see a change within a
second through `presets_revision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import apsw
import msgspec

from .. import errors
from ..presets.entries import (
    PRESETS_MAX,
    VERSIONS_MAX,
    WORKSPACE_BYTES_MAX,
    Preset,
    Status,
    Version,
)
from ..store.queries import load_queries
from . import workspaces

CLOSE_MAX = 3
"""Suggestions for a slug that does not exist."""

_SQL = load_queries(Path(__file__).with_name("presets.sql"))


class NewVersion(msgspec.Struct, frozen=True):
    """What a version is made from. The ids are fresh; the preset's is used for a new slug only."""

    workspace_id: str
    slug: str
    preset_id: str
    version_id: str
    dialect: str
    config: dict[str, Any]
    system_prompt: str | None
    creator_user_id: str | None
    creator_id: str


# ---- changes -------------------------------------------------------------------------------------


def add(connection: apsw.Connection, new: NewVersion, now_ms: int) -> tuple[Preset, Version]:
    """The preset `slug` with this version in force; made when there was none. Raises CallerError:
    404 (workspace), 409 (archived), 400 (too many, too much)."""
    workspaces.require(connection, new.workspace_id)
    preset = _find(connection, new.workspace_id, new.slug)
    if preset is None:
        preset = _insert(connection, new, now_ms)
    elif preset.status == "archived":
        raise errors.preset_archived(new.slug)
    last = _number(connection, "version_last", preset_id=preset.id)
    if _number(connection, "versions_count", preset_id=preset.id) >= VERSIONS_MAX:
        raise errors.bad_field(
            "slug", f"{new.slug} has {VERSIONS_MAX:,} versions already; begin another preset"
        )
    config = msgspec.json.encode(new.config).decode()
    size = len(config) + len((new.system_prompt or "").encode())
    if _number(connection, "presets_bytes", workspace_id=new.workspace_id) + size > (
        WORKSPACE_BYTES_MAX
    ):
        raise errors.bad_field(
            "",
            f"the presets of this workspace fill their {WORKSPACE_BYTES_MAX:,} bytes; "
            "delete some with `tollway presets delete`",
        )
    values = {
        "id": new.version_id,
        "preset_id": preset.id,
        "number": last + 1,
        "dialect": new.dialect,
        "config": config,
        "system_prompt": new.system_prompt,
        "bytes": size,
        "creator_id": new.creator_id,
        "created_ms": now_ms,
    }
    connection.execute(_SQL["version_insert"], values)
    return _designate(connection, preset, new.version_id, now_ms)


def designate(
    connection: apsw.Connection, workspace_id: str, slug: str, number: int, now_ms: int
) -> tuple[Preset, Version]:
    """Put an earlier (or later) version in force. Raises a 404 CallerError."""
    version = version_of(connection, workspace_id, slug, number)
    preset = by_slug(connection, workspace_id, slug)
    return _designate(connection, preset, version.id, now_ms)


def set_status(
    connection: apsw.Connection, workspace_id: str, slug: str, status: Status, now_ms: int
) -> Preset:
    """Raises a 404 CallerError."""
    preset = by_slug(connection, workspace_id, slug)
    values = {"id": preset.id, "status": status, "updated_ms": now_ms}
    connection.execute(_SQL["preset_status"], values)
    return by_slug(connection, workspace_id, slug)


def delete(connection: apsw.Connection, workspace_id: str, slug: str) -> None:
    """With all its versions. Raises a 404 CallerError."""
    preset = by_slug(connection, workspace_id, slug)
    connection.execute(_SQL["preset_versions_delete"], {"id": preset.id})
    connection.execute(_SQL["preset_delete"], {"id": preset.id})


def _insert(connection: apsw.Connection, new: NewVersion, now_ms: int) -> Preset:
    if _number(connection, "presets_count", workspace_id=new.workspace_id) >= PRESETS_MAX:
        raise errors.bad_field(
            "slug", f"this workspace has {PRESETS_MAX} presets already; delete one, or reuse it"
        )
    preset = Preset(
        id=new.preset_id,
        workspace_id=new.workspace_id,
        slug=new.slug,
        name=new.slug,
        description=None,
        status="active",
        status_updated_ms=None,
        creator_user_id=new.creator_user_id,
        created_ms=now_ms,
        updated_ms=now_ms,
        version_id=new.version_id,
    )
    connection.execute(_SQL["preset_insert"], msgspec.structs.asdict(preset))
    return preset


def _designate(
    connection: apsw.Connection, preset: Preset, version_id: str, now_ms: int
) -> tuple[Preset, Version]:
    values = {"id": preset.id, "version_id": version_id, "updated_ms": now_ms}
    connection.execute(_SQL["preset_designate"], values)
    changed = by_slug(connection, preset.workspace_id, preset.slug)
    return changed, in_force(connection, changed)


# ---- reads ---------------------------------------------------------------------------------------


def by_slug(connection: apsw.Connection, workspace_id: str, slug: str) -> Preset:
    """Raises a 404 CallerError that names close slugs."""
    preset = _find(connection, workspace_id, slug)
    if preset is None:
        rows = connection.execute(_SQL["preset_slugs"], {"workspace_id": workspace_id})
        raise errors.preset_not_found(slug, close_slugs(slug, [known for (known,) in rows]))
    return preset


def with_version(
    connection: apsw.Connection, workspace_id: str, slug: str
) -> tuple[Preset, Version]:
    """A preset and the version in force. Raises a 404 CallerError."""
    preset = by_slug(connection, workspace_id, slug)
    return preset, in_force(connection, preset)


def page(
    connection: apsw.Connection, workspace_id: str, *, offset: int, limit: int
) -> tuple[list[Preset], int]:
    """Presets of a workspace, newest first, and how many there are."""
    values = {"workspace_id": workspace_id, "offset": offset, "limit": limit}
    found = [_preset(row) for row in connection.execute(_SQL["presets_of_workspace"], values)]
    return found, _number(connection, "presets_count", workspace_id=workspace_id)


def versions(
    connection: apsw.Connection, workspace_id: str, slug: str, *, offset: int, limit: int
) -> tuple[list[Version], int]:
    """Versions of a preset, oldest first, and how many there are. Raises a 404 CallerError."""
    preset = by_slug(connection, workspace_id, slug)
    values = {"preset_id": preset.id, "offset": offset, "limit": limit}
    found = [_version(row) for row in connection.execute(_SQL["versions_of_preset"], values)]
    return found, _number(connection, "versions_count", preset_id=preset.id)


def version_of(connection: apsw.Connection, workspace_id: str, slug: str, number: int) -> Version:
    """Raises a 404 CallerError for the preset or the version."""
    preset = by_slug(connection, workspace_id, slug)
    values = {"preset_id": preset.id, "number": number}
    for row in connection.execute(_SQL["version_by_number"], values):
        return _version(row)
    raise errors.not_found(f"Version {number} of the preset {slug}")


def in_force(connection: apsw.Connection, preset: Preset) -> Version:
    for row in connection.execute(_SQL["version_by_id"], {"id": preset.version_id}):
        return _version(row)
    raise errors.store_unavailable()


def snapshot(
    connection: apsw.Connection, known: Mapping[str, Version]
) -> tuple[int, list[tuple[Preset, Version]]]:
    """The revision and every preset with its version in force, of one moment. Versions never
    change, so those in `known` (by id) are not read again."""
    found = []
    for row in connection.execute(_SQL["presets_all"]).fetchall():
        preset = _preset(row)
        version = known.get(preset.version_id) or in_force(connection, preset)
        found.append((preset, version))
    return revision(connection), found


def revision(connection: apsw.Connection) -> int:
    """A number that moves whenever a preset does."""
    for (number,) in connection.execute(_SQL["presets_revision"]):
        return int(number)
    raise errors.store_unavailable()


def close_slugs(slug: str, known: list[str]) -> list[str]:
    """Slugs a caller may have meant; a text too long to be one is not compared."""
    return get_close_matches(slug, known, CLOSE_MAX, 0.6) if len(slug) <= 128 else []


def _find(connection: apsw.Connection, workspace_id: str, slug: str) -> Preset | None:
    values = {"workspace_id": workspace_id, "slug": slug}
    for row in connection.execute(_SQL["preset_by_slug"], values):
        return _preset(row)
    return None


def _number(connection: apsw.Connection, query: str, **values: Any) -> int:
    for (number,) in connection.execute(_SQL[query], values):
        return int(number)
    raise errors.store_unavailable()


def _preset(row: tuple[Any, ...]) -> Preset:
    return Preset(*row)


def _version(row: tuple[Any, ...]) -> Version:
    id_, preset_id, number, dialect, config, system_prompt, creator_id, created_ms = row
    decoded = msgspec.json.decode(config, type=dict[str, Any])
    return Version(id_, preset_id, number, dialect, decoded, system_prompt, creator_id, created_ms)
