"""A chat completion request: the caller's body to `canon.Request`.

Not here: what goes upstream (openai_chat_render), the shapes (openai_chat_schema). Rules: a body
that breaks the contract is refused with the path of the field; what passes keeps the caller's own
JSON in `fields`, minus top-level nulls, which mean "not given". The body is decoded twice by the
same parser, once typed and once raw, so what was checked is what is sent: of a key given twice the
last counts in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from .. import errors
from ..canon import Request
from . import openai_chat_schema as schema
from .plugins import plugins
from .preferences import preferences
from .problems import bad_request


class ChatRequest(Request, frozen=True):
    """A Request that remembers what its messages contain of the things some providers refuse, so
    that they are decoded again only where a provider needs them changed."""

    traits: frozenset[str] = frozenset()
    """Of `TRAITS`."""


TRAITS = frozenset(
    {
        "developer",  # a developer message
        "reasoning",  # reasoning in an assistant message
        "router_fields",  # `model`, `images`, `annotations`, `configuration_update`
        "cache_control",  # Anthropic's cache marker on a part or tool
        "cache_breakpoint",  # OpenAI's
        "calls",  # tool calls or their results
        "parts",  # content that is not a plain string
        "original",  # image detail `original`
        "deferred",  # `defer_loading` on a tool
    }
)


def parse_request(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Request:
    """Raises CallerError (400). `headers` have lower-case names; only x-session-id is read. The
    path says nothing here."""
    try:
        chat = schema.chat_decoder.decode(body)
        fields = schema.fields_decoder.decode(body)
        if not body.isascii():
            body.decode()  # strings that are skipped are not checked by the decoder
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None
    if b"null" in body:
        fields = {name: raw for name, raw in fields.items() if raw != _NULL}
    seen = _Seen(chat.messages)
    if chat.tools:
        _look_at_tools(chat.tools, seen)
    _check(chat)
    return ChatRequest(
        dialect="openai_chat",
        models=models_of(chat),
        stream=chat.stream is True,
        fields=fields,
        params=_params(fields, chat),
        modalities=frozenset(seen.modalities) if seen.modalities else _TEXT_ONLY,
        output_tokens_max=output_limit(chat),
        choices=chat.n or 1,
        prompt_bytes=max(0, text_bytes(fields) - seen.inline_bytes),
        media_tokens=seen.media_tokens,
        images=seen.images,
        cache_marked="cache_control" in seen.traits
        or "cache_breakpoint" in seen.traits
        or chat.cache_control is not None,
        preferences=preferences(chat.provider),
        plugins=plugins(chat.plugins, chat.transforms),
        session_id=chat.session_id or headers.get("x-session-id", "")[:256] or None,
        user=chat.user,
        traits=frozenset(seen.traits) if seen.traits else _NO_TRAITS,
    )


def text_bytes(fields: Mapping[str, msgspec.Raw]) -> int:
    """Bytes a provider may put before its model. Not the messages alone: hosts have fields of
    their own that end up in the prompt (documents, predictions, templates), and all but the names
    of models are sent to them."""
    names = len(fields.get("model", b"")) + len(fields.get("models", b""))
    return sum(map(len, fields.values())) - names


def models_of(request: schema.Common) -> tuple[str, ...]:
    """`model`, then `models`, each once; empty when neither is there, which leaves the choice to
    the workspace (`routing.policy`)."""
    if not request.models:
        return () if request.model is None else (request.model,)
    first = () if request.model is None else (request.model,)
    return tuple(dict.fromkeys((*first, *request.models)))


def output_limit(request: schema.Common) -> int | None:
    """The larger of the two spellings; None when neither is given."""
    if request.max_tokens is None or request.max_completion_tokens is None:
        return request.max_tokens or request.max_completion_tokens
    return max(request.max_tokens, request.max_completion_tokens)


def check_reasoning(request: schema.Common) -> None:
    """Contradictions between the three ways to speak of reasoning. Raises CallerError."""
    wanted = request.reasoning
    if wanted is None:
        return
    if wanted.effort is not None and wanted.max_tokens is not None:
        raise errors.bad_field("reasoning", "effort and max_tokens exclude each other")
    effort = request.reasoning_effort
    if effort is not None and wanted.effort is not None and effort != wanted.effort:
        raise errors.bad_field("reasoning_effort", "contradicts reasoning.effort")
    if wanted.enabled is False and (effort or wanted.effort or "none") != "none":
        raise errors.bad_field("reasoning.enabled", "is false, yet an effort is asked for")


# ---- what a request contains ---------------------------------------------------------------------

_NULL = Raw(b"null")
_TEXT_ONLY = frozenset({"text"})
_NO_TRAITS: frozenset[str] = frozenset()

IMAGE_TOKENS = 1_600
"""Upper estimate for an image at `low` or `auto` detail: what Anthropic bills for the largest one
it does not shrink, and above OpenAI's and Gemini's for ordinary sizes."""
IMAGE_TOKENS_HIGH = 4_800
"""At `high` or `original`: three times that, the newest models' limit for large images."""
FILE_TOKENS_URL = 30_000
"""A document by reference, of unknown size: ten pages."""
FILE_TOKENS_LEAST, FILE_TOKENS_MOST = 3_000, 300_000
"""One page, and a hundred, at 3,000 tokens a page (text and rendered image)."""
FILE_BYTES_PER_TOKEN = 16
"""Of a PDF: between a scan (a page of 100 kB is 3,000 tokens) and compressed text."""
TEXT_FILE_BYTES_PER_TOKEN = 2
"""Of any other inline file: as for ordinary prompt text."""
AUDIO_BYTES_PER_TOKEN = {"wav": 500, "pcm16": 500, "flac": 250}
"""16 kHz 16-bit mono is 32,000 bytes a second at Gemini's 32 tokens a second, with a reserve."""
AUDIO_BYTES_PER_TOKEN_OTHER = 64
"""Compressed speech goes down to 2,000 bytes a second."""
VIDEO_BYTES_PER_TOKEN = 128
"""300 tokens a second (Gemini) at 38 kB a second."""
VIDEO_TOKENS_URL, VIDEO_TOKENS_MOST = 180_000, 1_000_000
"""A video by reference counts as ten minutes; none counts as more than the largest window."""


class _Seen:
    """What the messages contain, gathered in one walk."""

    __slots__ = ("images", "inline_bytes", "media_tokens", "modalities", "traits")

    def __init__(self, messages: list[schema.Message]) -> None:
        self.traits: set[str] = set()
        self.modalities: set[str] = set()
        self.media_tokens = self.inline_bytes = self.images = 0
        for message in messages:
            if isinstance(message.content, list):
                self._parts(message.content)
            if isinstance(message, schema.User):
                continue
            if isinstance(message, schema.Assistant):
                self._assistant(message)
            elif isinstance(message, schema.Tool):
                self.traits.add("calls")
            else:
                if message.configuration_update is not None:
                    self.traits.add("router_fields")
                if isinstance(message, schema.Developer):
                    self.traits.add("developer")
        if self.modalities:
            self.modalities.add("text")

    def _assistant(self, message: schema.Assistant) -> None:
        traits = self.traits
        if message.tool_calls:
            traits.add("calls")
        if message.reasoning or message.reasoning_content or message.reasoning_details:
            traits.add("reasoning")
        if message.model or message.images or message.annotations:
            traits.add("router_fields")

    def _parts(self, parts: Sequence[schema.Part]) -> None:
        self.traits.add("parts")
        for part in parts:
            if isinstance(part, schema.RefusalPart):
                continue
            if part.cache_control is not None:
                self.traits.add("cache_control")
            match part:
                case schema.Text():
                    if part.prompt_cache_breakpoint is not None:
                        self.traits.add("cache_breakpoint")
                case schema.Image():
                    self._image(part.image_url)
                case schema.Audio():
                    self._audio(part.input_audio)
                case schema.File():
                    self._file(part.file)
                case schema.Video() | schema.LegacyVideo():
                    self._video(part.video_url)

    def _image(self, image: schema.ImageUrl) -> None:
        self.modalities.add("image")
        self.images += 1
        if image.detail == "original":
            self.traits.add("original")
        high = image.detail in ("high", "original")
        self.media_tokens += IMAGE_TOKENS_HIGH if high else IMAGE_TOKENS
        self.inline_bytes += _inline(image.url)

    def _audio(self, audio: schema.AudioData) -> None:
        self.modalities.add("audio")
        size = len(audio.data)
        per_token = AUDIO_BYTES_PER_TOKEN.get(audio.format or "", AUDIO_BYTES_PER_TOKEN_OTHER)
        self.media_tokens += size * 3 // 4 // per_token + 1
        self.inline_bytes += size

    def _file(self, file: schema.FileData) -> None:
        self.modalities.add("file")
        data = file.file_data or file.file_url or ""
        size = _inline(data)
        if not size:
            self.media_tokens += FILE_TOKENS_URL
            return
        self.inline_bytes += size
        decoded = size * 3 // 4
        if data.startswith("data:application/pdf"):
            estimate = min(decoded // FILE_BYTES_PER_TOKEN, FILE_TOKENS_MOST)
            self.media_tokens += max(estimate, FILE_TOKENS_LEAST)
        else:
            self.media_tokens += decoded // TEXT_FILE_BYTES_PER_TOKEN

    def _video(self, video: schema.VideoUrl) -> None:
        self.modalities.add("video")
        size = _inline(video.url)
        self.inline_bytes += size
        estimate = size * 3 // 4 // VIDEO_BYTES_PER_TOKEN if size else VIDEO_TOKENS_URL
        self.media_tokens += min(estimate, VIDEO_TOKENS_MOST)


def _inline(url: str) -> int:
    """Length of a data URL; 0 for a reference."""
    return len(url) if url[:5].lower() == "data:" else 0


def _look_at_tools(tools: list[schema.ToolDefinition], seen: _Seen) -> None:
    for n, tool in enumerate(tools):
        if tool.type == "function" and tool.function is None:
            raise errors.bad_field(f"tools[{n}].function", "is required")
        if tool.cache_control is not None:
            seen.traits.add("cache_control")
        if tool.defer_loading is not None:
            seen.traits.add("deferred")


def _check(chat: schema.Chat) -> None:
    """Rules between fields."""
    check_reasoning(chat)
    choice = chat.tool_choice
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        raise errors.bad_field("tool_choice", "expected none, auto, required or an object")
    if isinstance(choice, schema.NamedChoice) and choice.type == "function" and not choice.function:
        raise errors.bad_field("tool_choice.function", "is required")
    wanted = chat.response_format
    if wanted is not None and wanted.type == "json_schema" and wanted.json_schema is None:
        raise errors.bad_field("response_format.json_schema", "is required")
    if chat.top_logprobs and chat.logprobs is False:
        raise errors.bad_field("top_logprobs", "needs logprobs to be true")


# Names of fields to names in `supported_parameters`. Not in it, so never dropped for a model that
# does not list them: limits (hard filters of their own), `n`, and what shapes the request itself.
_PARAMS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "top_a": "top_a",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repetition_penalty": "repetition_penalty",
    "seed": "seed",
    "stop": "stop",
    "logit_bias": "logit_bias",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "response_format": "response_format",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "reasoning": "reasoning",
    "reasoning_effort": "reasoning",
    "include_reasoning": "include_reasoning",
    "verbosity": "verbosity",
    "web_search_options": "web_search_options",
}


def params_of(fields: Mapping[str, Raw]) -> set[str]:
    return {_PARAMS[name] for name in fields if name in _PARAMS}


def _params(fields: Mapping[str, Raw], chat: schema.Chat) -> frozenset[str]:
    params = params_of(fields)
    wanted = chat.response_format
    if wanted is not None:
        if wanted.type == "text":
            params.discard("response_format")
        elif wanted.type == "json_schema":
            params.add("structured_outputs")
    return frozenset(params)
