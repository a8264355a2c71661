"""The request of a chat completion as typed values: shapes, ranges, enumerations.

Validation only; what is sent on is the caller's own JSON. Fields that no rule of ours reads are
typed as loosely as their contract allows; unknown fields are ignored, except inside `provider`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

Unit = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Tag = Annotated[str, Meta(max_length=256)]
Slug = Annotated[str, Meta(min_length=1, max_length=256)]
Effort = Literal["max", "xhigh", "high", "medium", "low", "minimal", "none"]

MODELS_MAX = 64
"""A fallback list longer than this is a mistake; each entry costs planning."""


# ---- content parts -------------------------------------------------------------------------------


class Text(Struct, tag="text", tag_field="type"):
    text: str
    cache_control: CacheControl | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None


class RefusalPart(Struct, tag="refusal", tag_field="type"):
    refusal: str


class ImageUrl(Struct):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class Image(Struct, tag="image_url", tag_field="type"):
    image_url: ImageUrl
    cache_control: CacheControl | None = None


class AudioData(Struct):
    data: str
    format: str | None = None


class Audio(Struct, tag="input_audio", tag_field="type"):
    input_audio: AudioData
    cache_control: CacheControl | None = None


class FileData(Struct):
    filename: str | None = None
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None


class File(Struct, tag="file", tag_field="type"):
    file: FileData
    cache_control: CacheControl | None = None


class VideoUrl(Struct):
    url: str
    processing: str | None = None


class Video(Struct, tag="video_url", tag_field="type"):
    video_url: VideoUrl
    cache_control: CacheControl | None = None


class LegacyVideo(Struct, tag="input_video", tag_field="type"):
    video_url: VideoUrl
    cache_control: CacheControl | None = None


class CacheControl(Struct):
    type: Literal["ephemeral"]
    ttl: str | None = None


Part = Text | Image | Audio | File | Video | LegacyVideo | RefusalPart


# ---- messages ------------------------------------------------------------------------------------


class System(Struct, tag="system", tag_field="role"):
    content: str | list[Text]
    name: str | None = None
    configuration_update: dict[str, Any] | None = None


class Developer(Struct, tag="developer", tag_field="role"):
    content: str | list[Text]
    name: str | None = None
    configuration_update: dict[str, Any] | None = None


class User(Struct, tag="user", tag_field="role"):
    content: str | list[Part]
    name: str | None = None


class CalledFunction(Struct):
    name: str
    arguments: str = ""


class Call(Struct):
    id: str
    function: CalledFunction | None = None
    type: str = "function"


class ReasoningDetail(Struct):
    """One entry of `reasoning_details`. Only the types of what is read are checked."""

    type: str | None = None
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    id: str | None = None
    format: str | None = None
    index: int | None = None


class Assistant(Struct, tag="assistant", tag_field="role"):
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[ReasoningDetail] | None = None
    audio: dict[str, Any] | None = None
    images: list[Any] | None = None
    annotations: list[Any] | None = None
    model: str | None = None


class Tool(Struct, tag="tool", tag_field="role"):
    content: str | list[Part]
    tool_call_id: str
    name: str | None = None


Message = System | Developer | User | Assistant | Tool


# ---- tools, formats, switches --------------------------------------------------------------------


class Function(Struct):
    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Raw] | None = None
    strict: bool | None = None


class ToolDefinition(Struct):
    type: str
    function: Function | None = None
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None


class FunctionName(Struct):
    name: str


class NamedChoice(Struct):
    type: str
    function: FunctionName | None = None


class JsonSchema(Struct):
    name: Name
    schema: dict[str, Raw] | None = None
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(Struct):
    type: Literal["text", "json_object", "json_schema", "grammar", "python"]
    json_schema: JsonSchema | None = None
    grammar: str | None = None


class Reasoning(Struct):
    effort: Effort | None = None
    max_tokens: Positive | None = None
    exclude: bool | None = None
    enabled: bool | None = None
    summary: str | None = None
    mode: str | None = None
    context: str | None = None


# ---- provider ------------------------------------------------------------------------------------

Sort = Literal["price", "throughput", "latency", "exacto"]
Quantization = Literal[
    "int4",
    "int8",
    "fp4",
    "mxfp4",
    "nvfp4",
    "fp6",
    "fp8",
    "mxfp8",
    "fp16",
    "bf16",
    "fp32",
    "unknown",
]
Usd = str | float
Cut = Annotated[float, Meta(ge=0)]


class SortBy(Struct, forbid_unknown_fields=True):
    by: Sort | None = None
    partition: Literal["model", "none"] | None = None


class PriceCaps(Struct, forbid_unknown_fields=True):
    prompt: Usd | None = None
    completion: Usd | None = None
    request: Usd | None = None
    image: Usd | None = None
    audio: Usd | None = None


class Cuts(Struct, forbid_unknown_fields=True):
    p50: Cut | None = None
    p75: Cut | None = None
    p90: Cut | None = None
    p99: Cut | None = None


class Hedge(Struct, forbid_unknown_fields=True):
    after: str | Annotated[float, Meta(gt=0, le=600)] = "p95"
    max_cost: Usd | None = None


class Provider(Struct, forbid_unknown_fields=True):
    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None
    enforce_distillable_text: bool | None = None
    quantizations: list[Quantization] | None = None
    sort: Sort | SortBy | None = None
    max_price: PriceCaps | None = None
    preferred_min_throughput: Cuts | Cut | None = None
    preferred_max_latency: Cuts | Cut | None = None
    options: dict[str, dict[str, Raw]] | None = None
    hedge: Hedge | None = None


# ---- the request ---------------------------------------------------------------------------------


class Common(Struct):
    """What chat and legacy completions share."""

    model: Slug | None = None
    models: Annotated[list[Slug], Meta(max_length=MODELS_MAX)] | None = None
    route: str | None = None
    provider: Provider | None = None
    plugins: list[dict[str, Any]] | None = None
    preset: str | None = None
    transforms: list[str] | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: Positive | None = None
    max_completion_tokens: Positive | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    min_p: Unit | None = None
    top_a: Unit | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(ge=0, le=2)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    service_tier: str | None = None
    prompt_cache_key: str | None = None
    session_id: Tag | None = None
    user: Tag | None = None
    metadata: (
        Annotated[
            dict[
                Annotated[str, Meta(max_length=64)],
                Annotated[str, Meta(max_length=512)],
            ],
            Meta(max_length=16),
        ]
        | None
    ) = None
    trace: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None


class Chat(Common, kw_only=True):
    messages: Annotated[list[Message], Meta(min_length=1)]
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    prediction: dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: bool | None = None
    tools: list[ToolDefinition] | None = None
    tool_choice: str | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Meta(ge=0, le=30)] | None = None
    verbosity: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    modalities: list[Literal["text", "image", "audio"]] | None = None
    audio: dict[str, Any] | None = None
    image_config: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    cache_control: CacheControl | None = None
    prompt_cache_options: dict[str, Any] | None = None
    debug: dict[str, Any] | None = None


class Completion(Common, kw_only=True):
    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=1)]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | bool | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Meta(ge=1, le=1)] | None = None


chat_decoder = msgspec.json.Decoder(Chat)
completion_decoder = msgspec.json.Decoder(Completion)
fields_decoder = msgspec.json.Decoder(dict[str, Raw])
