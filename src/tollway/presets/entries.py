"""What a preset is, and how large it may be."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from .. import errors

CONFIG_BYTES_MAX = 131_072
"""Of one version, system prompt included: a long prompt and fifty tools fit. Every process keeps
the versions in force in memory."""
PRESETS_MAX = 500
"""Of a workspace: more are data, not settings."""
VERSIONS_MAX = 1_000
"""Of a preset; a version a day for years."""
WORKSPACE_BYTES_MAX = 64 * 1024 * 1024
"""Of all versions of a workspace together: any ordinary key may add to them."""
TTL_MOST_S = 86_400
"""Longest `cache_ttl_seconds`, as for the header of the same meaning."""

SLUG_RULE = "expected 1 to 64 characters of a-z, 0-9, '.', '_' and '-', not '.' or '-' at the ends"
_SLUG = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,62}[a-z0-9_])?")

Status = Literal["active", "disabled", "archived"]


class Version(msgspec.Struct, frozen=True):
    """One state of a preset. `config` holds fields of a chat completion; fields that only
    `dialect` knows (the one it was made in) stand beside them under their own names and are used
    in that dialect alone."""

    id: str
    preset_id: str
    number: int
    dialect: str
    config: dict[str, Any]
    system_prompt: str | None
    creator_id: str
    created_ms: int


class Preset(msgspec.Struct, frozen=True):
    """A preset and the version that is in force. Times are Unix milliseconds."""

    id: str
    workspace_id: str
    slug: str
    name: str
    description: str | None
    status: Status
    status_updated_ms: int | None
    creator_user_id: str | None
    created_ms: int
    updated_ms: int
    version_id: str
    """Of the version in force: its `designated_version_id`."""


def slug_of(text: str) -> str:
    """A preset's slug, in lower case. Raises CallerError (400)."""
    slug = text.lower()
    if not _SLUG.fullmatch(slug):
        raise errors.bad_field("slug", SLUG_RULE)
    return slug
