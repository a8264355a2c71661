"""The request of Anthropic's Messages as typed values: shapes, ranges, enumerations.

Validation only; what is sent on is the caller's own JSON. A content block is one type with all the
fields that a rule of ours reads, because new kinds of block appear every few months and must pass
to the vendor unread; which fields a known kind needs stands in `NEEDED`. Unknown fields are
ignored, except inside `provider`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from ..openai_chat_schema import MODELS_MAX, Positive, Provider, Slug, Tag, Unit

NOTHING = Raw(b"")
FALLBACKS_MAX = 3


class CacheControl(Struct):
    type: str
    ttl: str | None = None


class Source(Struct):
    """Of an image or a document: base64, url, text, content or file."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: str | list[Block] | None = None


class Block(Struct):
    """A content block of any kind. `source` is a plain string in search results; `content` an
    object in some results of the vendor's own tools."""

    type: str
    text: str | None = None
    source: Source | str | None = None
    title: str | None = None
    cache_control: CacheControl | None = None
    citations: Raw = NOTHING
    id: str | None = None
    name: str | None = None
    input: Raw = NOTHING
    tool_use_id: str | None = None
    content: str | list[Block] | dict[str, Any] | None = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


NEEDED: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "tool_use": ("id", "name"),
    "tool_result": ("tool_use_id",),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
}
SOURCE_NEEDED: Mapping[str, tuple[str, ...]] = {
    "base64": ("media_type", "data"),
    "url": ("url",),
    "text": ("data",),
    "content": ("content",),
    "file": ("file_id",),
}


class Message(Struct):
    role: str
    content: str | list[Block]


class Tool(Struct):
    """A function of the caller (`custom`, or no type at all) or one of the vendor's tools."""

    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Raw] | None = None
    cache_control: CacheControl | None = None
    strict: bool | None = None


class ToolChoice(Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct):
    type: str
    budget_tokens: Annotated[int, Meta(ge=1_024, le=2**31 - 1)] | None = None
    display: str | None = None


class Format(Struct):
    type: str
    schema: dict[str, Raw] | None = None


class OutputConfig(Struct):
    effort: str | None = None
    format: Format | None = None


class Metadata(Struct):
    user_id: str | None = None


class Fallback(Struct, forbid_unknown_fields=True):
    model: Slug


class Counted(Struct):
    """What is read of a request whose tokens are only counted."""

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: Slug | None = None
    models: Annotated[list[Slug], Meta(max_length=MODELS_MAX)] | None = None
    fallbacks: Annotated[list[Fallback], Meta(max_length=FALLBACKS_MAX)] | None = None
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    cache_control: CacheControl | None = None


class Messages(Counted, kw_only=True):
    max_tokens: Positive | None = None
    route: str | None = None
    provider: Provider | None = None
    plugins: list[dict[str, Any]] | None = None
    transforms: list[str] | None = None
    preset: str | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Unit | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=8_192)] | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
    speed: str | None = None
    session_id: Tag | None = None
    user: Tag | None = None
    trace: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None


messages_decoder = msgspec.json.Decoder(Messages)
counted_decoder = msgspec.json.Decoder(Counted)
fields_decoder = msgspec.json.Decoder(dict[str, Raw])
turns_decoder = msgspec.json.Decoder(list[Message])
tools_decoder = msgspec.json.Decoder(list[Tool])
listed_decoder = msgspec.json.Decoder(list[Raw])
