"""What the routes of workspaces take and give; see shapes.

The names are OpenRouter's. Its routing rules hang on guardrails; here a workspace has them itself,
in `routing`, under the same names.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..catalogue.regions import Region
from ..routing.slugs import Sort

Names = list[Annotated[str, Meta(min_length=1, max_length=256)]]


class RoutingView(msgspec.Struct):
    """`null` = no such list. Providers are slugs (all endpoints) or full tags (one), models are
    slugs or `author/*`."""

    allowed_providers: Names | None = None
    ignored_providers: Names | None = None
    allowed_models: Names | None = None
    ignored_models: Names | None = None
    allowed_data_regions: list[Region] | None = None
    """`global` allows every region."""
    zdr: bool = False
    data_collection: Literal["allow", "deny"] = "allow"
    prevent_overrides: bool = False
    """`default_provider_sort` stands whatever a request says."""


class RoutingChange(msgspec.Struct, forbid_unknown_fields=True):
    """Absent fields stay, lists are replaced whole. A name that nothing bears is refused."""

    allowed_providers: Names | UnsetType | None = UNSET
    ignored_providers: Names | UnsetType | None = UNSET
    allowed_models: Names | UnsetType | None = UNSET
    ignored_models: Names | UnsetType | None = UNSET
    allowed_data_regions: list[Region] | UnsetType | None = UNSET
    zdr: bool | UnsetType = UNSET
    data_collection: Literal["allow", "deny"] | UnsetType = UNSET
    prevent_overrides: bool | UnsetType = UNSET


class UpdateWorkspaceRequest(msgspec.Struct):
    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    default_text_model: str | UnsetType | None = UNSET
    """Used by a request that names no model; variants and `~author/family-latest` are fine."""
    default_provider_sort: Sort | UnsetType | None = UNSET
    routing: RoutingChange | UnsetType = UNSET
    default_image_model: UnsetType | None = UNSET
    disabled_server_tools: UnsetType | None = UNSET
    is_data_discount_logging_enabled: Literal[False] | UnsetType = UNSET
    is_observability_broadcast_enabled: Literal[False] | UnsetType = UNSET
    is_observability_io_logging_enabled: Literal[False] | UnsetType = UNSET


class WorkspaceView(msgspec.Struct):
    """What this server does not have (logging of contents, image defaults, server tools) is off."""

    id: str
    slug: str
    name: str
    description: str | None
    default_text_model: str | None
    default_provider_sort: Sort | None
    routing: RoutingView
    created_at: str
    updated_at: str | None
    default_guardrail_id: str
    """Follows from the workspace's id, as OpenRouter has it; its rules are `routing`."""
    created_by: str | None = None
    default_image_model: str | None = None
    disabled_server_tools: list[str] | None = None
    io_logging_api_key_ids: list[int] | None = None
    io_logging_sampling_rate: float = 1.0
    is_data_discount_logging_enabled: bool = False
    is_observability_broadcast_enabled: bool = False
    is_observability_io_logging_enabled: bool = False


class WorkspaceResponse(msgspec.Struct):
    data: WorkspaceView


class WorkspacesResponse(msgspec.Struct):
    data: list[WorkspaceView]
    total_count: int


def said(change: msgspec.Struct) -> dict[str, Any]:
    """The fields that a change names."""
    fields = {name: getattr(change, name) for name in change.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not UNSET}
