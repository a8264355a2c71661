"""What the control routes take and give, as types; the OpenAPI document is made from them.

Not here: where the values come from (the pages), models and endpoints (catalogue.listing). Money is
in USD as JSON numbers, times are ISO 8601 in UTC, as the API contract has it. `null` means that
there is none.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..ledger.entries import Reset
from .decided import TollwayView
from .workspace_shapes import UpdateWorkspaceRequest, WorkspaceResponse, WorkspacesResponse

Amount = float | int | str
"""USD as a JSON number, or as a decimal string where a client wants it exact."""


class CreateKeyRequest(msgspec.Struct):
    name: str
    limit: Amount | None = None
    limit_reset: Reset | None = None
    include_byok_in_limit: bool = False
    expires_at: str | None = None
    """ISO 8601 with seconds and offset; cannot be changed later."""
    workspace_id: str | None = None
    creator_user_id: str | None = None
    external: ExternalUser | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    """Requests the key may make; null = any number. Days are UTC."""


class ExternalUser(msgspec.Struct):
    user: str
    api_key: str | None = None


class UpdateKeyRequest(msgspec.Struct):
    name: str | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    limit: Amount | msgspec.UnsetType | None = msgspec.UNSET
    limit_reset: Reset | msgspec.UnsetType | None = msgspec.UNSET
    include_byok_in_limit: bool | msgspec.UnsetType = msgspec.UNSET
    workspace_id: str | msgspec.UnsetType = msgspec.UNSET
    requests_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET
    requests_per_day: int | msgspec.UnsetType | None = msgspec.UNSET


class KeyView(msgspec.Struct):
    hash: str
    label: str
    name: str
    disabled: bool
    limit: float | None
    limit_remaining: float | None
    limit_reset: Reset | None
    include_byok_in_limit: bool
    usage: float
    usage_daily: float
    usage_weekly: float
    usage_monthly: float
    byok_usage: float
    byok_usage_daily: float
    byok_usage_weekly: float
    byok_usage_monthly: float
    created_at: str
    updated_at: str | None
    last_used_at: str | None
    expires_at: str | None
    creator_user_id: str | None
    workspace_id: str
    external_user: str | None
    is_management_key: bool
    requests_per_minute: int | None
    requests_per_day: int | None


class KeyResponse(msgspec.Struct):
    data: KeyView


class KeysResponse(msgspec.Struct):
    data: list[KeyView]


class CreateKeyResponse(msgspec.Struct):
    data: KeyView
    key: str
    """Shown this once."""


class DeleteKeyResponse(msgspec.Struct):
    deleted: Literal[True] = True


class Budget(msgspec.Struct):
    scope: Literal["key_limit"]
    limit_usd: float
    spend_usd: float
    remaining_usd: float
    reset_interval: Reset | None
    resets_at: str | None
    include_byok: bool
    guardrail_id: str | None = None
    budget_id: str | None = None


class FreeModelDailyRequests(msgspec.Struct):
    """-1 = not limited."""

    used: int = 0
    limit: int = -1
    remaining: int = -1


class RateLimit(msgspec.Struct):
    """The key's own limit, the one by the minute where it has both; -1 where it has none."""

    requests: int = -1
    interval: str = "10s"
    note: str = "Not limited. Kept for older clients."


class CurrentKey(msgspec.Struct):
    label: str
    name: str
    limit: float | None
    limit_remaining: float | None
    limit_reset: Reset | None
    include_byok_in_limit: bool
    usage: float
    usage_daily: float
    usage_weekly: float
    usage_monthly: float
    byok_usage: float
    byok_usage_daily: float
    byok_usage_weekly: float
    byok_usage_monthly: float
    is_management_key: bool
    is_provisioning_key: bool
    creator_user_id: str | None
    workspace_id: str
    expires_at: str | None
    budgets: list[Budget]
    effective_budget: Budget | None
    organization_id: str | None = None
    is_free_tier: bool = False
    allowed_data_regions: list[str] = msgspec.field(default_factory=lambda: ["global"])
    free_model_daily_requests: FreeModelDailyRequests = msgspec.field(
        default_factory=FreeModelDailyRequests
    )
    rate_limit: RateLimit = msgspec.field(default_factory=RateLimit)


class CurrentKeyResponse(msgspec.Struct):
    data: CurrentKey


class Credits(msgspec.Struct):
    total_credits: float
    total_usage: float


class CreditsResponse(msgspec.Struct):
    data: Credits


class ProviderResponse(msgspec.Struct):
    status: int | None
    provider_name: str
    endpoint_id: str
    model_permaslug: str
    is_byok: bool = False
    latency: float | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType = msgspec.UNSET
    routed_service_tier: str | msgspec.UnsetType = msgspec.UNSET


class GenerationView(msgspec.Struct, kw_only=True):
    id: str
    created_at: str
    model: str
    total_cost: float
    usage: float
    is_byok: bool = False
    origin: str
    upstream_inference_cost: float | None = None
    cache_discount: float | None = None
    provider_name: str | None
    provider_responses: list[ProviderResponse] | None
    upstream_id: str | None
    api_type: str | None
    streamed: bool | None
    cancelled: bool | None
    finish_reason: str | None
    native_finish_reason: str | None
    latency: int | None
    generation_time: int | None
    moderation_latency: int | None = None
    tokens_prompt: int | None
    tokens_completion: int | None
    native_tokens_prompt: int | None
    native_tokens_completion: int | None
    native_tokens_reasoning: int | None
    native_tokens_cached: int | None
    native_tokens_completion_images: int | None
    num_media_prompt: int | None
    num_media_completion: int | None
    num_input_audio_prompt: int | None = None
    num_search_results: int | None = None
    num_fetches: int | None = None
    web_search_engine: str | None = None
    http_referer: str | None
    user_agent: str | None
    app_id: int | None = None
    external_user: str | None = None
    router: str | None = None
    preset_id: str | None = None
    service_tier: str | None
    data_region: str = "global"
    workspace_id: str | None
    request_id: str | None
    session_id: str | None
    response_cache_source_id: str | None = None
    tollway: TollwayView
    """What OpenRouter does not tell: what was decided, dropped, held and doubted."""


class GenerationResponse(msgspec.Struct):
    data: GenerationView


class ActivityRow(msgspec.Struct, omit_defaults=True):
    date: str
    model: str
    model_permaslug: str
    endpoint_id: str
    provider_name: str
    usage: float
    byok_usage_inference: float
    requests: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    workspace_id: str | msgspec.UnsetType = msgspec.UNSET


class ActivityResponse(msgspec.Struct):
    data: list[ActivityRow]


class PresetVersionView(msgspec.Struct):
    id: str
    preset_id: str
    version: int
    """1 is the first."""
    config: dict[str, Any]
    """Fields of a chat completion, whatever the preset was made from."""
    system_prompt: str | None
    creator_id: str
    created_at: str
    updated_at: str


class PresetView(msgspec.Struct, kw_only=True):
    id: str
    slug: str
    name: str
    description: str | None
    status: Literal["active", "disabled", "archived"]
    status_updated_at: str | None
    creator_user_id: str | None
    workspace_id: str | None
    designated_version_id: str | None
    created_at: str
    updated_at: str


class PresetWithVersion(PresetView, kw_only=True):
    designated_version: PresetVersionView | None


class ListPresetsResponse(msgspec.Struct):
    data: list[PresetView]
    total_count: int


class GetPresetResponse(msgspec.Struct):
    data: PresetWithVersion


class CreatePresetFromInferenceResponse(msgspec.Struct):
    data: PresetWithVersion


class ListPresetVersionsResponse(msgspec.Struct):
    data: list[PresetVersionView]
    total_count: int


class GetPresetVersionResponse(msgspec.Struct):
    data: PresetVersionView


class Count(msgspec.Struct):
    count: int


class ModelsCountResponse(msgspec.Struct):
    data: Count


class Health(msgspec.Struct):
    status: Literal["ok", "unavailable"]
    problems: list[str] = []


class Welcome(msgspec.Struct):
    name: str
    version: str
    api: str
    models: str
    openapi: str


class ErrorDetail(msgspec.Struct):
    """What every error carries; `error_type` and `availability.code` are stable."""

    code: int
    message: str
    error_type: str
    metadata: dict[str, Any]
    availability: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class ErrorResponse(msgspec.Struct):
    error: ErrorDetail


REQUESTS: tuple[type, ...] = (CreateKeyRequest, UpdateKeyRequest, UpdateWorkspaceRequest)
ANSWERS: tuple[type, ...] = (
    KeyResponse,
    KeysResponse,
    CreateKeyResponse,
    DeleteKeyResponse,
    CurrentKeyResponse,
    CreditsResponse,
    GenerationResponse,
    ActivityResponse,
    ListPresetsResponse,
    GetPresetResponse,
    CreatePresetFromInferenceResponse,
    ListPresetVersionsResponse,
    GetPresetVersionResponse,
    ModelsCountResponse,
    Health,
    Welcome,
    WorkspaceResponse,
    WorkspacesResponse,
    ErrorResponse,
)
