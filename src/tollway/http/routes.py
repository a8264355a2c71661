"""The table of routes: every path this server answers, who may call it, and what it promises.

One row per operation. Doors read it and nothing else: dispatch, authorisation, the OpenAPI
document and the check of `docs/api.md` come from here, so a route that is not in the table does
not exist. A row without a policy cannot be written.

Not here: what a route does (the handlers, by `operation` name).
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

import msgspec


class Auth(Enum):
    """Who may call a route. What is not granted is denied."""

    NONE = "none"
    """Anyone. A valid key, if sent, may widen the answer; an invalid one is ignored."""
    KEY = "key"
    """An ordinary API key; a management key is refused with 403."""
    MANAGEMENT = "management"
    """A management key; an ordinary key is refused with 403."""
    ANY_KEY = "any key"
    """Either kind."""
    OPERATOR = "operator"
    """A management key, or anyone on the machine itself (a loopback peer that asks for a loopback
    host, without Origin or a proxy's header, at a server that is not public): figures about the
    business, and scrapers that should need no key at home. Pages in a browser are kept out."""


Door = Literal["control", "inference"]
"""`control` answers are small JSON and go through Starlette; `inference` is bare ASGI."""


class Param(msgspec.Struct, frozen=True):
    """A query parameter."""

    name: str
    about: str
    type: Literal["string", "integer", "number", "boolean"] = "string"
    required: bool = False
    choices: tuple[str, ...] = ()


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is relative to each of `prefixes`; `{author}` is one path segment, `{slug}` is the
    rest of a model's slug, which may hold `:` and `/`. `operation` names the handler."""

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    auth: Auth
    operation: str
    about: str
    prefixes: tuple[str, ...] = ("/api/v1", "/v1")
    door: Door = "control"
    params: tuple[Param, ...] = ()
    body: str | None = None
    """Name of the request's schema."""
    answer: str | None = None
    """Name of the answer's schema."""
    success: int = 200
    errors: tuple[int, ...] = ()
    media_type: str = "application/json"

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(prefix + self.path for prefix in self.prefixes)


API = ("/api/v1", "/v1")
API_AND_ROOT = ("/api/v1", "/v1", "")

_MODALITIES = Param(
    "output_modalities", "Comma list of what the model can produce, or `all`. Default `text`."
)
_OFFSET = Param("offset", "Rows to skip. Default 0.", "integer")
_LIMIT = Param(
    "limit", "Rows to return, 1 to 1000; 500 with `offset` alone. Default: all.", "integer"
)
_SORTS = (
    "most-popular",
    "newest",
    "top-weekly",
    "pricing-low-to-high",
    "pricing-high-to-low",
    "context-high-to-low",
    "throughput-high-to-low",
    "latency-low-to-high",
    "intelligence-high-to-low",
    "coding-high-to-low",
    "agentic-high-to-low",
    "design-arena-elo-high-to-low",
)
_SORT = Param("sort", "Order of the rows; models without the datum come last.", choices=_SORTS)
_MODEL_FILTERS = (
    Param("category", "Use-case category."),
    Param("supported_parameters", "Comma list; every one must be supported."),
    _MODALITIES,
    Param("input_modalities", "Comma list of what the model must accept."),
    _SORT,
    Param("q", "Words to find in slug and name."),
    Param("context", "Least context length, tokens.", "integer"),
    Param("min_price", "USD per million prompt tokens.", "number"),
    Param("max_price", "USD per million prompt tokens.", "number"),
    Param("min_output_price", "USD per million completion tokens.", "number"),
    Param("max_output_price", "USD per million completion tokens.", "number"),
    Param("arch", "Architecture (tokenizer family)."),
    Param("model_authors", "Comma list of authors."),
    Param("providers", "Comma list of providers."),
    Param("distillable", "Whether outputs may be used for training.", choices=("true", "false")),
    Param("zdr", "Only models with an endpoint that retains nothing.", choices=("true",)),
    Param("region", "Only models with an endpoint there.", choices=("eu", "us")),
    Param("min_age_days", "Days since the model appeared.", "integer"),
    Param("max_age_days", "Days since the model appeared.", "integer"),
    *(
        Param(f"{end}_{index}", "Published benchmark figure.", "number")
        for index in ("intelligence_index", "coding_index", "agentic_index", "tool_success_rate")
        for end in ("min", "max")
    ),
    _OFFSET,
    _LIMIT,
    Param("use_rss", "`true`: an RSS feed instead of JSON.", choices=("true", "false")),
    Param("use_rss_chat_links", "`true`: feed items link to a chat.", choices=("true", "false")),
)

_PRESET_PAGE = (_OFFSET, Param("limit", "Rows to return, 1 to 1000. Default 50.", "integer"))

INFERENCE = ("/api/v1", "/v1", "/openai/v1", "/anthropic/v1")
"""Where clients of each vendor expect the API below a base URL."""

GEMINI = ("/v1beta", "/api/v1beta", "/v1", "/api/v1")

_INFERENCE_ERRORS = (400, 401, 402, 403, 404, 408, 413, 415, 429, 500, 502, 503, 504)

ROUTES: tuple[Route, ...] = (
    # ---- inference -------------------------------------------------------------------------------
    Route(
        method="POST",
        path="/chat/completions",
        auth=Auth.KEY,
        operation="chat_completions",
        about="Answer a conversation, whole or as a stream of server-sent events.",
        prefixes=INFERENCE,
        door="inference",
        body="ChatRequest",
        answer="ChatResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/completions",
        auth=Auth.KEY,
        operation="completions",
        about="Continue a prompt (the older form of the same).",
        prefixes=INFERENCE,
        door="inference",
        body="CompletionRequest",
        answer="CompletionResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/responses",
        auth=Auth.KEY,
        operation="responses",
        about="The same in OpenAI's Responses dialect, stateless.",
        prefixes=INFERENCE,
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/messages",
        auth=Auth.KEY,
        operation="messages",
        about="The same in Anthropic's Messages dialect.",
        prefixes=INFERENCE,
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/messages/count_tokens",
        auth=Auth.KEY,
        operation="messages_count_tokens",
        about="An estimate of a message's input tokens; free.",
        prefixes=INFERENCE,
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/models/{author}/{slug}:generateContent",
        auth=Auth.KEY,
        operation="generate_content",
        about="The same in Gemini's dialect; the model is named in the path.",
        prefixes=GEMINI,
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/models/{author}/{slug}:streamGenerateContent",
        auth=Auth.KEY,
        operation="stream_generate_content",
        about="The same as a stream: server-sent events with `alt=sse`, else a JSON array.",
        prefixes=GEMINI,
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        params=(Param("alt", "`sse`: server-sent events.", choices=("sse", "json")),),
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/models/{author}/{slug}:countTokens",
        auth=Auth.KEY,
        operation="count_tokens",
        about="An estimate of a request's input tokens, for Gemini's clients; free.",
        prefixes=GEMINI,
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/models/{author}/{slug}:embedContent",
        auth=Auth.KEY,
        operation="embed_content",
        about="The vector of one content, in Gemini's dialect.",
        prefixes=GEMINI,
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/models/{author}/{slug}:batchEmbedContents",
        auth=Auth.KEY,
        operation="batch_embed_contents",
        about="The vectors of several contents, in Gemini's dialect.",
        prefixes=GEMINI,
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/embeddings",
        auth=Auth.KEY,
        operation="embeddings",
        about="Vectors of texts, as floats or base64.",
        prefixes=INFERENCE,
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/rerank",
        auth=Auth.KEY,
        operation="rerank",
        about="Documents in the order of their relevance to a query.",
        prefixes=(*INFERENCE, "/v2"),
        door="inference",
        body="AnyRequest",
        answer="AnyResult",
        errors=_INFERENCE_ERRORS,
    ),
    Route(
        method="POST",
        path="/route/explain",
        auth=Auth.KEY,
        operation="explain_route",
        about="The plan for a request without sending it: endpoints in order, what was left out "
        "and why, and the most it can cost; free.",
        door="inference",
        params=(
            Param(
                "api",
                "In which API the body is written. Default `chat`.",
                choices=(
                    "chat",
                    "completions",
                    "responses",
                    "messages",
                    "gemini",
                    "embeddings",
                    "gemini_embed",
                    "gemini_batch_embed",
                    "rerank",
                ),
            ),
            Param("model", "The model, for the APIs that have it in their path: Gemini's."),
        ),
        body="AnyRequest",
        answer="AnyResult",
        errors=(400, 401, 403, 413, 415, 503),
    ),
    # ---- the catalogue ---------------------------------------------------------------------------
    Route(
        method="GET",
        path="/models",
        auth=Auth.NONE,
        operation="list_models",
        prefixes=INFERENCE,
        about="The models of the catalogue, filtered and sorted; as RSS with `use_rss=true`.",
        params=_MODEL_FILTERS,
        answer="ModelsListResponse",
        errors=(400,),
    ),
    Route(
        method="GET",
        path="/models/count",
        auth=Auth.NONE,
        operation="count_models",
        about="How many models there are.",
        params=(_MODALITIES,),
        answer="ModelsCountResponse",
        errors=(400,),
    ),
    Route(
        method="GET",
        path="/models/user",
        auth=Auth.ANY_KEY,
        operation="list_user_models",
        about="The models that can be called here now: at least one live endpoint.",
        params=(_MODALITIES, _SORT, _OFFSET, _LIMIT),
        answer="ModelsListResponse",
        errors=(400, 401, 404, 503),
    ),
    Route(
        method="GET",
        path="/models/{author}/{slug}/endpoints",
        auth=Auth.NONE,
        operation="list_endpoints",
        about="Who serves a model: price, limits, uptime. Speeds are null without a key. "
        "An unknown variant of a known model is an empty list.",
        answer="ListEndpointsResponse",
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/models/{author}/{slug}",
        auth=Auth.NONE,
        operation="retrieve_model",
        about="One model in the shape of OpenAI's `models.retrieve`.",
        answer="OpenAIModel",
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/model/{author}/{slug}",
        auth=Auth.NONE,
        operation="get_model",
        about="One model; aliases and variants are resolved.",
        answer="ModelResponse",
        errors=(404,),
    ),
    Route(
        method="GET",
        path="/endpoints/zdr",
        auth=Auth.NONE,
        operation="list_zdr_endpoints",
        about="The endpoints that a request with `provider.zdr` may reach.",
        answer="ListEndpointsZdrResponse",
    ),
    Route(
        method="GET",
        path="/providers",
        auth=Auth.NONE,
        operation="list_providers",
        about="The providers of the catalogue.",
        answer="ListProvidersResponse",
    ),
    # ---- money and records -----------------------------------------------------------------------
    Route(
        method="GET",
        path="/generation",
        auth=Auth.ANY_KEY,
        operation="get_generation",
        about="What one generation was and cost. Waits for what is being written, so it finds the "
        "generation of an answer that has just ended.",
        params=(Param("id", "The `gen-…` id of the answer.", required=True),),
        answer="GenerationResponse",
        errors=(400, 401, 404, 503),
    ),
    Route(
        method="GET",
        path="/credits",
        auth=Auth.ANY_KEY,
        operation="get_credits",
        about="Credit granted to and used by the key's workspace. Ordinary keys are served too.",
        params=(
            Param("workspace_id", "Another workspace than the key's own; management keys only."),
        ),
        answer="CreditsResponse",
        errors=(401, 403, 404, 503),
    ),
    Route(
        method="GET",
        path="/activity",
        auth=Auth.MANAGEMENT,
        operation="get_activity",
        about="Use per day, model and endpoint over the last 30 completed UTC days.",
        params=(
            Param("date", "One of those days, YYYY-MM-DD."),
            Param("api_key_hash", "Only this key."),
            Param("user_id", "Only keys this user created."),
            Param("workspace_id", "Only this workspace."),
            Param("group_by", "Rows per workspace as well.", choices=("workspace",)),
        ),
        answer="ActivityResponse",
        errors=(400, 401, 403, 503),
    ),
    # ---- keys ------------------------------------------------------------------------------------
    Route(
        method="GET",
        path="/key",
        auth=Auth.ANY_KEY,
        operation="get_current_key",
        about="The key that asks: limit, what is left of it, use.",
        answer="CurrentKeyResponse",
        errors=(401, 503),
    ),
    Route(
        method="GET",
        path="/auth/key",
        auth=Auth.ANY_KEY,
        operation="get_current_key",
        about="Older name of `/key`.",
        answer="CurrentKeyResponse",
        errors=(401, 503),
    ),
    Route(
        method="GET",
        path="/keys",
        auth=Auth.MANAGEMENT,
        operation="list_keys",
        about="The keys of a workspace, newest first, 100 a page.",
        params=(
            Param("offset", "Keys to skip. Default 0.", "integer"),
            Param("include_disabled", "Default false.", "boolean"),
            Param("include_expired", "Default false.", "boolean"),
            Param("workspace_id", "Default: the workspace `default`."),
        ),
        answer="KeysResponse",
        errors=(400, 401, 403, 404, 503),
    ),
    Route(
        method="POST",
        path="/keys",
        auth=Auth.MANAGEMENT,
        operation="create_key",
        about="Make a key. `key` in the answer is shown this once.",
        body="CreateKeyRequest",
        answer="CreateKeyResponse",
        success=201,
        errors=(400, 401, 403, 404, 413, 503),
    ),
    Route(
        method="GET",
        path="/keys/{hash}",
        auth=Auth.MANAGEMENT,
        operation="get_key",
        about="One key.",
        answer="KeyResponse",
        errors=(401, 403, 404, 503),
    ),
    Route(
        method="PATCH",
        path="/keys/{hash}",
        auth=Auth.MANAGEMENT,
        operation="update_key",
        about="Change a key. Absent fields stay; unknown fields are ignored; a body without any "
        "known field is refused.",
        body="UpdateKeyRequest",
        answer="KeyResponse",
        errors=(400, 401, 403, 404, 413, 503),
    ),
    Route(
        method="DELETE",
        path="/keys/{hash}",
        auth=Auth.MANAGEMENT,
        operation="delete_key",
        about="Delete a key. Its generations and what it spent stay in the books.",
        answer="DeleteKeyResponse",
        errors=(401, 403, 404, 503),
    ),
    # ---- presets ---------------------------------------------------------------------------------
    Route(
        method="GET",
        path="/presets",
        auth=Auth.KEY,
        operation="list_presets",
        about="The presets of the key's workspace, newest first.",
        params=_PRESET_PAGE,
        answer="ListPresetsResponse",
        errors=(400, 401, 403, 503),
    ),
    *(
        Route(
            method="POST",
            path=f"/presets/{{slug}}{path}",
            auth=Auth.KEY,
            operation=f"create_preset_from_{operation}",
            about=f"Make a preset, or its next version, of the settings of a request to `{path}`.",
            body=body,
            answer="CreatePresetFromInferenceResponse",
            errors=(400, 401, 403, 404, 409, 413, 503),
        )
        for path, operation, body in (
            ("/chat/completions", "chat", "ChatRequest"),
            ("/messages", "messages", "AnyRequest"),
            ("/responses", "responses", "AnyRequest"),
        )
    ),
    Route(
        method="GET",
        path="/presets/{slug}/versions",
        auth=Auth.KEY,
        operation="list_preset_versions",
        about="The versions of a preset, oldest first.",
        params=_PRESET_PAGE,
        answer="ListPresetVersionsResponse",
        errors=(400, 401, 403, 404, 503),
    ),
    Route(
        method="GET",
        path="/presets/{slug}/versions/{version}",
        auth=Auth.KEY,
        operation="get_preset_version",
        about="One version of a preset, by its number.",
        answer="GetPresetVersionResponse",
        errors=(400, 401, 403, 404, 503),
    ),
    Route(
        method="GET",
        path="/presets/{slug}",
        auth=Auth.KEY,
        operation="get_preset",
        about="A preset and the version in force.",
        answer="GetPresetResponse",
        errors=(401, 403, 404, 503),
    ),
    # ---- workspaces ------------------------------------------------------------------------------
    Route(
        method="GET",
        path="/workspaces",
        auth=Auth.MANAGEMENT,
        operation="list_workspaces",
        about="The workspaces of this server, oldest first, with what each imposes.",
        params=(
            Param("offset", "Workspaces to skip. Default 0.", "integer"),
            Param("limit", "Workspaces to return, 1 to 100. Default 50.", "integer"),
        ),
        answer="WorkspacesResponse",
        errors=(400, 401, 403, 503),
    ),
    Route(
        method="GET",
        path="/workspaces/{id}",
        auth=Auth.MANAGEMENT,
        operation="get_workspace",
        about="One workspace.",
        answer="WorkspaceResponse",
        errors=(401, 403, 404, 503),
    ),
    Route(
        method="PATCH",
        path="/workspaces/{id}",
        auth=Auth.MANAGEMENT,
        operation="update_workspace",
        about="Change a workspace's name, defaults and routing rules. Absent fields stay; lists are "
        "replaced whole; a name in `routing` that nothing bears is refused.",
        body="UpdateWorkspaceRequest",
        answer="WorkspaceResponse",
        errors=(400, 401, 403, 404, 413, 503),
    ),
    # ---- the server itself -----------------------------------------------------------------------
    Route(
        method="GET",
        path="/",
        auth=Auth.NONE,
        operation="welcome",
        about="Where the API is.",
        prefixes=("",),
        answer="Welcome",
    ),
    Route(
        method="GET",
        path="/api",
        auth=Auth.NONE,
        operation="welcome_api",
        about="The same; coding agents ask for its head before they begin.",
        prefixes=("",),
        answer="Welcome",
    ),
    *(
        Route(
            method="GET",
            path=path,
            auth=Auth.NONE,
            operation="health_live",
            about="The process runs and its event loop turns.",
            prefixes=API_AND_ROOT,
            answer="Health",
        )
        for path in ("/health/live", "/health/liveliness")
    ),
    *(
        Route(
            method="GET",
            path=path,
            auth=Auth.NONE,
            operation="health_ready",
            about="Requests can be served: the books can be written and the keys are loaded.",
            prefixes=API_AND_ROOT,
            answer="Health",
            errors=(503,),
        )
        for path in ("/health/ready", "/health/readiness")
    ),
    Route(
        method="GET",
        path="/metrics",
        auth=Auth.OPERATOR,
        operation="metrics",
        about="Counters and histograms in Prometheus' text format.",
        prefixes=API_AND_ROOT,
        errors=(401, 403),
        media_type="text/plain",
    ),
    Route(
        method="GET",
        path="/openapi.json",
        auth=Auth.NONE,
        operation="openapi",
        about="This table as an OpenAPI 3.1 document.",
        prefixes=API_AND_ROOT,
    ),
)
