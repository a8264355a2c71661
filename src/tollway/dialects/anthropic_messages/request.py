"""A Messages request: the caller's body to `canon.Request`.

Not here: what goes upstream (render), the shapes (schema). Rules: a body that breaks the contract
is refused with the path of the field; what passes keeps the caller's own JSON in `fields`, minus
top-level nulls. Both API versions and the router's own fields are accepted. Vendor tools whose
price depends on something nobody reports (another model, machine time) are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from ... import errors
from ...canon import Request
from .. import Counted
from ..openai_chat_request import (
    FILE_BYTES_PER_TOKEN,
    FILE_TOKENS_LEAST,
    FILE_TOKENS_MOST,
    FILE_TOKENS_URL,
    IMAGE_TOKENS,
    TEXT_FILE_BYTES_PER_TOKEN,
)
from ..plugins import plugins
from ..preferences import preferences
from ..problems import bad_request
from . import schema
from .opaque import is_native

VERSION, VERSION_NEWEST = "2023-06-01", "2026-10-21"
EFFORTS = ("low", "medium", "high", "xhigh", "max")


class MessagesRequest(Request, frozen=True):
    """A Request that remembers what of it concerns this dialect's own providers."""

    version: str = VERSION
    """`anthropic-version` of the caller."""
    betas: tuple[str, ...] = ()
    """`anthropic-beta` (or `x-anthropic-beta`) of the caller."""
    foreign_thinking: bool = False
    """Thinking blocks in the history that no provider of this dialect made."""
    formatted: bool = False
    """A structured answer is asked for."""


def parse_request(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Request:
    """Raises CallerError (400). `headers` have lower-case names; read are anthropic-version,
    anthropic-beta, x-anthropic-beta and x-session-id. `path` says nothing in this dialect."""
    try:
        asked = schema.messages_decoder.decode(body)
        fields = schema.fields_decoder.decode(body)
        body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None
    if b"null" in body:
        fields = {name: raw for name, raw in fields.items() if raw != _NULL}
    seen = _Seen(asked)
    _check(asked)
    wanted = asked.output_config.format if asked.output_config else None
    user = asked.user or (asked.metadata.user_id if asked.metadata else None)
    return MessagesRequest(
        dialect="anthropic_messages",
        models=_models(asked),
        stream=asked.stream is True,
        fields=fields,
        params=_params(fields, asked),
        modalities=frozenset({"text", *seen.modalities}),
        output_tokens_max=asked.max_tokens,
        prompt_bytes=_prompt_bytes(fields, seen),
        media_tokens=seen.media_tokens,
        images=seen.images,
        cache_marked=seen.cache_marked or asked.cache_control is not None,
        preferences=preferences(asked.provider),
        plugins=plugins(asked.plugins, asked.transforms),
        session_id=asked.session_id or headers.get("x-session-id", "")[:256] or None,
        user=user[:256] if user else None,
        version=headers.get("anthropic-version", VERSION),
        betas=_betas(headers),
        foreign_thinking=seen.foreign_thinking,
        formatted=wanted is not None,
    )


def count_tokens(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Counted:
    """`{"input_tokens": n}` by our own estimate: a token for every 4 bytes of text, tools and
    schema, and the media estimates of a request. No provider is asked, so it is the same for every
    model. Raises CallerError (400)."""
    try:
        asked = schema.counted_decoder.decode(body)
        fields = schema.fields_decoder.decode(body)
        body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None
    seen = _Seen(asked)
    tokens = _prompt_bytes(fields, seen) // 4 + seen.media_tokens + 1
    return Counted(_named(asked), msgspec.json.encode({"input_tokens": tokens}))


_NULL = Raw(b"null")


def _prompt_bytes(fields: Mapping[str, Raw], seen: _Seen) -> int:
    read = ("messages", "system", "tools", "output_config")
    total = sum(len(fields[name]) for name in read if name in fields)
    return max(0, total - seen.inline_bytes)


def _models(asked: schema.Messages) -> tuple[str, ...]:
    models = _named(asked)
    if not models:
        raise errors.bad_field("model", "is required")
    return models


def _named(asked: schema.Counted) -> tuple[str, ...]:
    if asked.models is not None and asked.fallbacks is not None:
        raise errors.bad_field("fallbacks", "and models exclude each other")
    more = asked.models or [fallback.model for fallback in asked.fallbacks or ()]
    first = () if asked.model is None else (asked.model,)
    return tuple(dict.fromkeys((*first, *more)))


def _betas(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Names only: letters, digits, `-`, `_` and `.`; anything else could end the header."""
    said = f"{headers.get('anthropic-beta', '')},{headers.get('x-anthropic-beta', '')}"[:4_096]
    names = (name.strip() for name in said.split(","))
    return tuple(dict.fromkeys(name for name in names if name and _is_token(name)))


def _is_token(name: str) -> bool:
    return name.isascii() and name.translate(_PUNCTUATION).isalnum()


_PUNCTUATION = str.maketrans("", "", "-_.")


# ---- what a request contains ---------------------------------------------------------------------


class _Seen:
    """What messages, system and tools contain, gathered (and checked) in one walk."""

    __slots__ = (
        "cache_marked",
        "foreign_thinking",
        "images",
        "inline_bytes",
        "media_tokens",
        "modalities",
    )

    def __init__(self, asked: schema.Counted) -> None:
        self.cache_marked = self.foreign_thinking = False
        self.images = self.inline_bytes = self.media_tokens = 0
        self.modalities: set[str] = set()
        if isinstance(asked.system, list):
            self._blocks(asked.system, "system")
            for n, block in enumerate(asked.system):
                if block.type != "text":
                    raise errors.bad_field(f"system[{n}].type", "expected text")
        for n, message in enumerate(asked.messages):
            if message.role not in ("user", "assistant", "system"):
                problem = f"{message.role[:40]!r} is not one of user, assistant, system"
                raise errors.bad_field(f"messages[{n}].role", problem)
            if isinstance(message.content, list):
                self._blocks(message.content, f"messages[{n}].content")
        for n, tool in enumerate(asked.tools or ()):
            _check_tool(tool, f"tools[{n}]")
            self._cache(tool.cache_control, f"tools[{n}]")
        self._cache(asked.cache_control, "")

    def _blocks(self, blocks: Sequence[schema.Block], path: str) -> None:
        for n, block in enumerate(blocks):
            self._block(block, f"{path}[{n}]")

    def _block(self, block: schema.Block, path: str) -> None:
        for name in schema.NEEDED.get(block.type, ()):
            if getattr(block, name) is None:
                raise errors.bad_field(f"{path}.{name}", "is required")
        self._cache(block.cache_control, path)
        match block.type:
            case "image" | "document":
                self._media(block, path)
            case "thinking":
                self.foreign_thinking |= not is_native(block.signature)
            case "redacted_thinking":
                self.foreign_thinking |= not is_native(block.data)
            case "tool_use" if bytes(block.input)[:1] != b"{":
                raise errors.bad_field(f"{path}.input", "expected an object")
            case "tool_result" | "search_result" if isinstance(block.content, list):
                self._blocks(block.content, f"{path}.content")

    def _cache(self, mark: schema.CacheControl | None, path: str) -> None:
        if mark is None:
            return
        self.cache_marked = True
        if mark.type != "ephemeral":
            where = f"{path}.cache_control.type" if path else "cache_control.type"
            raise errors.bad_field(where, "expected ephemeral")

    def _media(self, block: schema.Block, path: str) -> None:
        source = block.source
        if not isinstance(source, schema.Source):
            raise errors.bad_field(f"{path}.source", "expected an object")
        if source.type not in schema.SOURCE_NEEDED:
            known = ", ".join(schema.SOURCE_NEEDED)
            raise errors.bad_field(f"{path}.source.type", f"is not one of {known}")
        for name in schema.SOURCE_NEEDED[source.type]:
            if getattr(source, name) is None:
                raise errors.bad_field(f"{path}.source.{name}", "is required")
        if block.type == "image":
            self.modalities.add("image")
            self.images += 1
            self.media_tokens += IMAGE_TOKENS
            self.inline_bytes += len(source.data or "")
        else:
            self._document(source, path)

    def _document(self, source: schema.Source, path: str) -> None:
        """A document of text counts as text and needs no model that reads files."""
        if isinstance(source.content, list):
            self._blocks(source.content, f"{path}.source.content")
        if source.type in ("text", "content"):
            return
        self.modalities.add("file")
        if source.data is None:
            self.media_tokens += FILE_TOKENS_URL
            return
        size = len(source.data)
        self.inline_bytes += size
        if source.media_type == "application/pdf":
            estimate = min(size * 3 // 4 // FILE_BYTES_PER_TOKEN, FILE_TOKENS_MOST)
            self.media_tokens += max(estimate, FILE_TOKENS_LEAST)
        else:
            self.media_tokens += size * 3 // 4 // TEXT_FILE_BYTES_PER_TOKEN


UNPRICED = ("advisor_", "code_execution_", "mcp_toolset")
"""Tools that run another model, or a machine, at a price no usage report lets us work out."""


def _check_tool(tool: schema.Tool, path: str) -> None:
    kind = tool.type or "custom"
    if kind.startswith(UNPRICED):
        raise errors.bad_field(f"{path}.type", f"{kind[:80]!r} is not supported")
    if kind == "custom":
        if not tool.name:
            raise errors.bad_field(f"{path}.name", "is required")
        if len(tool.name) > 128 or not _is_token(tool.name):
            problem = "expected 1 to 128 characters of a-z, A-Z, 0-9, _ and -"
            raise errors.bad_field(f"{path}.name", problem)
        if tool.input_schema is None:
            raise errors.bad_field(f"{path}.input_schema", "is required")


def _check(asked: schema.Messages) -> None:
    """Rules between fields, and words that are one of a few."""
    choice = asked.tool_choice
    if choice is not None:
        if choice.type not in ("auto", "any", "none", "tool"):
            raise errors.bad_field("tool_choice.type", "is not one of auto, any, none, tool")
        if choice.type == "tool" and not choice.name:
            raise errors.bad_field("tool_choice.name", "is required")
    thinking = asked.thinking
    if thinking is not None:
        if thinking.type not in ("enabled", "adaptive", "disabled", "between_tools"):
            known = "enabled, adaptive, disabled, between_tools"
            raise errors.bad_field("thinking.type", f"is not one of {known}")
        if thinking.type == "enabled":
            budget = thinking.budget_tokens
            if budget is None:
                raise errors.bad_field("thinking.budget_tokens", "is required")
            if asked.max_tokens is not None and budget >= asked.max_tokens and not asked.tools:
                # With tools and the interleaved beta the budget spans several turns.
                raise errors.bad_field("thinking.budget_tokens", "must be below max_tokens")
    wanted = asked.output_config
    if wanted is None:
        return
    if wanted.effort is not None and wanted.effort not in EFFORTS:
        raise errors.bad_field("output_config.effort", f"is not one of {', '.join(EFFORTS)}")
    if wanted.format is not None:
        if wanted.format.type != "json_schema":
            raise errors.bad_field("output_config.format.type", "expected json_schema")
        if wanted.format.schema is None:
            raise errors.bad_field("output_config.format.schema", "is required")


_PARAMS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
    "tools": "tools",
    "tool_choice": "tool_choice",
}
"""Names of fields to names in `supported_parameters`."""


def _params(fields: Mapping[str, Raw], asked: schema.Messages) -> frozenset[str]:
    params = {_PARAMS[name] for name in fields if name in _PARAMS}
    if asked.thinking is not None and asked.thinking.type != "disabled":
        params.add("reasoning")
    if asked.output_config is not None:
        if asked.output_config.effort is not None:
            params.add("reasoning")
        if asked.output_config.format is not None:
            params |= {"response_format", "structured_outputs"}
    if any((tool.type or "").startswith("web_search") for tool in asked.tools or ()):
        params.add("web_search_options")
    return frozenset(params)
