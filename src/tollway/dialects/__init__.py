"""Dialects: pure translation between wire formats and the vocabulary of `canon`.

No sockets, no clock, no environment. Each module or package here is one dialect and its name is
its registration. Of the caller's side it has

    parse_request(body, headers={}, path="") -> Request       raises CallerError
    conversation(request) -> Conversation                     for providers of another dialect
    relay(head, outbound, quirks=(), request=None) -> Relay   passthrough, or parser and renderer
    render_error(error) -> bytes

    count_tokens(body, headers={}, path="") -> Counted        where clients can ask for it
    MODEL_IN_PATH = True                                      where clients name the model there

and of the provider's side

    render_request(request, attempt, output_tokens_max) -> Outbound
    parse_fault(status, headers, body, *, now_s=None, quirks=()) -> Fault      never raises
    parser(stream, quirks=()) -> translated.Parser

What flows between a provider and a caller is a `Relay`: provider bytes in, caller bytes out, and a
`Meter` that knows what passed. Where both sides speak the same dialect the relay rewrites bytes;
otherwise it parses events and renders them. The road (`flow`) cannot tell which.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import msgspec

from ..canon import Fault, FinishReason, Request, Usage
from ..conversation import Conversation
from ..errors import TollwayError
from .toolcalls import ToolCalls


class Head(msgspec.Struct, frozen=True):
    """What every chunk of an answer to the caller begins with."""

    id: str
    """gen-…"""
    model: str
    """Slug of the model that answered."""
    provider: str
    """Display name of the provider that answered."""
    created: int
    """Unix seconds."""
    stream: bool
    replayed: bool = False
    """Told again from the cache: nothing is used, so what a provider counted is not shown."""


class Bill(msgspec.Struct, frozen=True):
    """What the caller is told about money at the end of an answer; amounts in nano-USD."""

    usage: Usage
    charge_nano: int
    prompt_nano: int
    completion_nano: int
    is_byok: bool = False
    service_tier: str | None = None
    """The tier that really served, `default` for the ordinary one; None = nobody said."""
    extra: dict[str, Any] = {}
    """Further top-level fields of the last chunk or body (router metadata)."""


class Outbound(msgspec.Struct, frozen=True):
    """What a dialect wants sent: path below the provider's base URL, headers, body."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    """What of the caller's request this dialect cannot carry, by name: reported, never silent."""


class Counted(NamedTuple):
    """The answer to who only wants a prompt's tokens counted."""

    models: tuple[str, ...]
    """Slugs it was asked for; none where the dialect lets that be."""
    body: bytes


class Meter:
    """What has passed through a relay so far. Mutable: one per attempt, owned by its relay."""

    __slots__ = (
        "calls",
        "choices",
        "ended",
        "fault",
        "finish",
        "native_finish",
        "notes",
        "opaque",
        "reasoning_bytes",
        "service_tier",
        "spoke",
        "text_bytes",
        "upstream_id",
        "usage",
    )

    def __init__(self) -> None:
        self.spoke = False
        """A content event was seen: from here on there is no failing over."""
        self.ended = False
        """The dialect's own end of stream was seen, or a whole body parsed."""
        self.choices = 0
        """Answers of a whole answer, where the dialect can have several; 0 = not counted."""
        self.opaque = False
        """The answer carried state that only its provider can read: signed or encrypted reasoning."""
        self.finish: FinishReason | None = None
        self.native_finish: str | None = None
        self.notes: tuple[dict[str, Any], ...] = ()
        """What was done to the answer on its way: entries of OpenRouter's metadata pipeline."""
        self.usage: Usage | None = None
        """As the provider reported it, None when it did not."""
        self.fault: Fault | None = None
        self.text_bytes = 0
        """UTF-8 bytes of answer text and tool arguments delivered."""
        self.reasoning_bytes = 0
        self.upstream_id: str | None = None
        self.service_tier: str | None = None
        self.calls: ToolCalls | None = None
        """Where the road wants to know what was called; None and nothing is collected."""

    @property
    def said_everything(self) -> bool:
        """The answer had its finish reason and no fault: what is missing is the terminator."""
        return self.finish is not None and self.finish != "error" and self.fault is None

    def usage_or_estimate(self, prompt_tokens_likely: int) -> Usage:
        """The reported usage within bounds, or our own count marked estimated. Of an answer that
        was cut off a report is only a beginning: what is more of it and our own count is taken."""
        said = self.usage
        if said is not None and (self.ended or self.said_everything):
            return said.checked()
        reasoning = -(-self.reasoning_bytes // 4)
        counted = -(-self.text_bytes // 4) + reasoning
        if said is None:
            return Usage(
                prompt_tokens=prompt_tokens_likely,
                completion_tokens=counted,
                reasoning_tokens=reasoning,
                estimated=True,
            ).checked()
        said = said.checked()
        if said.prompt_tokens and said.completion_tokens >= counted:
            return said
        return msgspec.structs.replace(
            said,
            prompt_tokens=said.prompt_tokens or prompt_tokens_likely,
            completion_tokens=max(said.completion_tokens, counted),
            estimated=True,
        )


class Relay(Protocol):
    """One answer on its way from a provider to a caller."""

    meter: Meter

    def feed(self, data: bytes) -> bytes:
        """Provider bytes, cut anywhere, to caller bytes (possibly none). Never raises for what a
        provider sends: what is wrong becomes `meter.fault`, and nothing after it is rendered."""

    def finish(self) -> bytes:
        """The provider closed its body. Sets `meter.fault` when the answer is not complete."""

    def ending(self, bill: Bill) -> bytes:
        """After a complete answer: usage and terminator, or the whole body when not streamed."""

    def failure(self, error: TollwayError) -> bytes:
        """After `spoke`: one error event, no terminator."""


def dialect(name: str) -> ModuleType:
    """The module of a dialect. Raises KeyError for one that does not exist."""
    if name not in _modules:
        try:
            _modules[name] = import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            raise KeyError(name) from error
    return _modules[name]


def relay(request: Request, head: Head, outbound: str, quirks: Collection[str]) -> Relay:
    """From a provider that speaks `outbound` to the caller of `request`. The one place where a
    relay is made, for an answer and for its replay. Raises KeyError for an unknown dialect."""
    made: Relay = dialect(request.dialect).relay(head, outbound, quirks, request)
    return made


def conversation(request: Request) -> Conversation:
    """What a request says, in no dialect's shape. Only for a provider of another dialect. Where no
    tool is left that another dialect knows, nothing is left to choose from: providers refuse a
    choice without tools. One that mattered is named."""
    said: Conversation = dialect(request.dialect).conversation(request)
    choice = said.tool_choice
    if said.tools or (choice is None and said.parallel_calls is None):
        return said
    extras = dict(said.extras)
    if choice is not None and choice.kind in ("required", "named"):
        extras["tool_choice"] = msgspec.Raw(b"null")
    return msgspec.structs.replace(said, tool_choice=None, parallel_calls=None, extras=extras)


def for_kind(dialect: str, kind: str, model: str = "") -> str:
    """The dialect that a provider of `dialect` speaks when it is asked for an embedding or a
    ranking: chat dialects have their own for it, the others are it already. `model` is the
    provider's own name for it; behind one door of Bedrock every vendor has its own body."""
    if dialect == "bedrock_invoke" and kind == "embedding" and "cohere." in model:
        return "bedrock_embed_cohere"
    return _FOR_KIND.get((dialect, kind), dialect)


_FOR_KIND: dict[tuple[str, str], str] = {
    ("openai_chat", "embedding"): "embed_openai",
    ("mistral", "embedding"): "embed_openai",
    ("azure_openai", "embedding"): "embed_openai",
    ("cohere_v2", "embedding"): "embed_cohere",
    ("gemini", "embedding"): "gemini_embeddings",
    ("vertex_gemini", "embedding"): "vertex_embeddings",
    ("ollama", "embedding"): "ollama_embeddings",
    ("bedrock_invoke", "embedding"): "bedrock_embed_one",
    ("bedrock_invoke", "rerank"): "bedrock_rerank",
    ("openai_chat", "rerank"): "rerank_cohere",
    ("cohere_v2", "rerank"): "rerank_cohere",
    ("embed_openai", "rerank"): "rerank_cohere",
}


ONE_ANSWER: frozenset[str] = frozenset(
    {
        "anthropic_messages",
        "bedrock_converse",
        "cohere_v2",
        "ollama",
        "openai_responses",
        "vertex_anthropic",
    }
)
"""Dialects whose requests ask for exactly one answer: `n` above 1 has no place in them."""


def carried(dialect: str, modalities: frozenset[str]) -> frozenset[str]:
    """What of a model's input modalities a dialect can bring to it. Two that no model lists are
    about embeddings: `tokens` (text that the caller has tokenized) is known to one dialect alone,
    `batch` (several inputs at once) to all but one."""
    if dialect != "bedrock_embed_one":
        modalities |= {"batch"}
    if dialect == "embed_openai":
        return modalities | {"tokens"}
    most = _CARRIES.get(dialect)
    return modalities if most is None else modalities & (most | {"batch"})


_TEXT = frozenset({"text"})
_CARRIES: dict[str, frozenset[str]] = {
    "openai_responses": frozenset({"text", "image", "file"}),
    "embed_cohere": frozenset({"text", "image"}),
    "gemini_embeddings": frozenset({"text", "image", "file"}),
    "vertex_embeddings": _TEXT,
    "ollama_embeddings": _TEXT,
    "bedrock_embed_cohere": frozenset({"text", "image"}),
    "bedrock_embed_one": _TEXT,
    "bedrock_rerank": _TEXT,
    "rerank_voyage": _TEXT,
    "rerank_tei": _TEXT,
}

OUTBOUND: frozenset[str] = frozenset(
    {
        "openai_chat",
        "gemini",
        "vertex_gemini",
        "openai_responses",
        "anthropic_messages",
        "azure_ai_inference",
        "azure_openai",
        "bedrock_converse",
        "vertex_anthropic",
        "vertex_mistral",
        "vertex_openai",
        "cohere_v2",
        "mistral",
        "ollama",
        "embed_openai",
        "embed_cohere",
        "gemini_embeddings",
        "vertex_embeddings",
        "ollama_embeddings",
        "bedrock_embed_cohere",
        "bedrock_embed_one",
        "bedrock_rerank",
        "rerank_cohere",
        "rerank_voyage",
        "rerank_tei",
    }
)
"""Dialects in which a provider can be called today; endpoints of others are listed, not served."""

_modules: dict[str, ModuleType] = {}
