"""A generateContent request: path, headers and body to `canon.Request`.

Not here: what goes upstream (render), the shapes (schema). Rules: a body that breaks the contract
is refused with the path of the field; what passes keeps the caller's own JSON in `fields`, minus
top-level nulls. Model and method stand in the path; a bare model name is one of Google's, as it is
for this API. `tools` of Google's own (search, code execution) pass to Google only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
from msgspec import Raw

from ... import errors
from ...canon import Request
from .. import Counted
from .. import openai_chat_request as measure
from ..plugins import plugins
from ..preferences import preferences
from ..problems import bad_request
from . import schema
from .spelling import has_snake_case, respelled

METHODS = frozenset({"generateContent", "streamGenerateContent", "countTokens"})
ALT_HEADER = "x-tollway-alt"
"""The query's `alt`, put among the headers by the door: `sse`, or a JSON array when absent."""


class GeminiRequest(Request, frozen=True):
    """A Request that remembers how the caller wants its stream framed and whether it wants to see
    thoughts."""

    sse: bool = True
    shows_thoughts: bool = False


class Target(NamedTuple):
    slug: str
    method: str


def target(path: str, methods: Collection[str] = METHODS) -> Target:
    """Model and method of `/v1beta/models/google/gemini-2.5-pro:generateContent`. A slug may hold
    slashes and colons. Raises CallerError (404) for a path of another form."""
    plain = unquote(path.partition("?")[0])
    _, _, rest = plain.partition("/models/")
    slug, _, method = rest.rpartition(":")
    if not slug or method not in methods:
        raise errors.no_route(plain[:300])
    publisher = plain.partition("/models/")[0].rpartition("/publishers/")[2]
    if "/" not in slug:
        author = publisher if publisher and "/" not in publisher else "google"
        slug = f"{author}/{slug}"
    if len(slug) > 256:
        raise errors.bad_field("model", "expected at most 256 characters")
    return Target(slug, method)


def parse_request(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Request:
    """Raises CallerError (400; 404 for a path that names no method). `headers` have lower-case
    names; only x-session-id and `ALT_HEADER` are read."""
    slug, method = target(path)
    body, given = _decoded(body)
    fields = {name: raw for name, raw in schema.fields_decoder.decode(body).items() if raw != _NULL}
    seen = _Seen()
    for n, content in enumerate(given.contents):
        seen.content(content, f"contents[{n}]")
    if given.system_instruction is not None:
        seen.content(given.system_instruction, "systemInstruction")
    config = given.generation_config or schema.Config()
    _check(given, config)
    if given.service_tier is not None:
        tier = given.service_tier.lower().removeprefix("service_tier_")
        fields["service_tier"] = Raw(msgspec.json.encode(tier))
    thinking = config.thinking_config
    return GeminiRequest(
        dialect="gemini",
        models=tuple(dict.fromkeys((slug, *(given.models or ())))),
        stream=method == "streamGenerateContent",
        fields=fields,
        params=_params(given, config, fields),
        modalities=frozenset(seen.modalities | {"text"}) if seen.modalities else _TEXT_ONLY,
        output_tokens_max=config.max_output_tokens,
        choices=config.candidate_count or 1,
        prompt_bytes=max(0, _text_bytes(fields) - seen.inline_bytes),
        media_tokens=seen.media_tokens,
        images=seen.images,
        cache_marked=given.cached_content is not None,
        preferences=preferences(given.provider),
        plugins=plugins(given.plugins, given.transforms),
        session_id=given.session_id or headers.get("x-session-id", "")[:256] or None,
        user=given.user,
        sse=headers.get(ALT_HEADER, "") == "sse",
        shows_thoughts=thinking is not None and thinking.include_thoughts is True,
    )


def count_tokens(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Counted:
    """The answer to countTokens: our own estimate, about 4 bytes a token, marked by nothing because
    the contract has no place for it. Raises CallerError."""
    target(path)
    try:
        asked = msgspec.json.decode(respelled(body), type=schema.Count)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None
    inner = asked.generate_content_request
    whole = bytes(inner) if schema.is_given(inner) else body
    model = path.partition(":countTokens")[0] + ":generateContent"
    request = parse_request(whole, headers, model)
    counted = msgspec.json.encode({"totalTokens": request.prompt_tokens_likely})
    return Counted(request.models, counted)


# ---- decoding ------------------------------------------------------------------------------------

_NULL = Raw(b"null")
_TEXT_ONLY = frozenset({"text"})


def _decoded(body: bytes) -> tuple[bytes, schema.Generate]:
    """The body in the one spelling, and typed. Snake case and single values where lists belong are
    mended only where they are met."""
    try:
        body.decode()
        if has_snake_case(body):
            body = respelled(body)
        try:
            return body, schema.generate_decoder.decode(body)
        except msgspec.ValidationError:
            mended = respelled(body)
            return mended, schema.generate_decoder.decode(mended)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None


def _text_bytes(fields: Mapping[str, Raw]) -> int:
    """Bytes of what the model reads. The configuration counts whole for the schema inside it."""
    names = ("contents", "systemInstruction", "tools", "generationConfig")
    return sum(len(fields[name]) for name in names if name in fields)


def _check(given: schema.Generate, config: schema.Config) -> None:
    """Rules between fields."""
    thinking = config.thinking_config
    if thinking is not None and thinking.thinking_level and thinking.thinking_budget is not None:
        path = "generationConfig.thinkingConfig"
        raise errors.bad_field(path, "thinkingLevel and thinkingBudget exclude each other")
    if config.logprobs is not None and config.response_logprobs is not True:
        raise errors.bad_field("generationConfig.logprobs", "needs responseLogprobs to be true")
    if config.response_schema is not None and schema.is_given(config.response_json_schema):
        path = "generationConfig.responseJsonSchema"
        raise errors.bad_field(path, "excludes responseSchema")
    _check_object(config.response_json_schema, "generationConfig.responseJsonSchema")
    for n, tool in enumerate(given.tools or ()):
        for m, function in enumerate(tool.function_declarations or ()):
            path = f"tools[{n}].functionDeclarations[{m}].parametersJsonSchema"
            if function.parameters is not None and schema.is_given(function.parameters_json_schema):
                raise errors.bad_field(path, "excludes parameters")
            _check_object(function.parameters_json_schema, path)


def _check_object(raw: Raw, path: str) -> None:
    """Other dialects' providers are given these schemas as objects only."""
    if schema.is_given(raw) and bytes(memoryview(raw)[:1]) != b"{":
        raise errors.bad_field(path, "expected an object")


# ---- what a request contains ---------------------------------------------------------------------


class _Seen:
    """What the contents hold, gathered in one walk."""

    __slots__ = ("images", "inline_bytes", "media_tokens", "modalities")

    def __init__(self) -> None:
        self.modalities: set[str] = set()
        self.media_tokens = self.inline_bytes = self.images = 0

    def content(self, content: schema.Content, path: str) -> None:
        for n, part in enumerate(content.parts):
            if part.is_empty:
                raise errors.bad_field(f"{path}.parts[{n}]", "says nothing: text, inlineData, …")
            if part.inline_data is not None:
                self._inline(part.inline_data)
            if part.file_data is not None:
                self._file(part.file_data, f"{path}.parts[{n}].fileData.fileUri")
            answer = part.function_response
            for inner in (answer.parts or ()) if answer is not None else ():
                if inner.inline_data is not None:
                    self._inline(inner.inline_data)
                if inner.file_data is not None:
                    inside = f"{path}.parts[{n}].functionResponse.parts"
                    self._file(inner.file_data, inside)

    def _inline(self, blob: schema.Blob) -> None:
        size = len(blob.data)
        decoded = size * 3 // 4
        self.inline_bytes += size
        kind = self._kind(blob.mime_type)
        if kind == "image":
            self._image()
        elif kind == "audio":
            form = blob.mime_type.partition("/")[2]
            per_token = measure.AUDIO_BYTES_PER_TOKEN.get(form, measure.AUDIO_BYTES_PER_TOKEN_OTHER)
            self.media_tokens += decoded // per_token + 1
        elif kind == "video":
            estimate = decoded // measure.VIDEO_BYTES_PER_TOKEN
            self.media_tokens += min(estimate, measure.VIDEO_TOKENS_MOST)
        elif blob.mime_type == "application/pdf":
            estimate = min(decoded // measure.FILE_BYTES_PER_TOKEN, measure.FILE_TOKENS_MOST)
            self.media_tokens += max(estimate, measure.FILE_TOKENS_LEAST)
        else:
            self.media_tokens += decoded // measure.TEXT_FILE_BYTES_PER_TOKEN

    def _file(self, file: schema.FileData, path: str) -> None:
        if not file.file_uri.startswith(("https://", "http://")):
            # A bucket would be read with the operator's rights, not the caller's.
            raise errors.bad_field(path, "expected an https address")
        kind = self._kind(media_type_of(file))
        if kind == "image":
            self._image()
        elif kind == "video":
            self.media_tokens += measure.VIDEO_TOKENS_URL
        else:
            self.media_tokens += measure.FILE_TOKENS_URL

    def _image(self) -> None:
        self.images += 1
        self.media_tokens += measure.IMAGE_TOKENS

    def _kind(self, media_type: str) -> str:
        kind = kind_of(media_type)
        self.modalities.add(kind)
        return kind


def kind_of(media_type: str) -> str:
    """image, audio, video or, for anything else, file."""
    kind = media_type.partition("/")[0].lower()
    return kind if kind in ("image", "audio", "video") else "file"


def media_type_of(file: schema.FileData) -> str:
    """As given, or by the address: YouTube holds videos."""
    if file.mime_type:
        return file.mime_type
    if _YOUTUBE.intersection(file.file_uri.split("/")[2:3]):
        return "video/mp4"
    ending = file.file_uri.partition("?")[0].rpartition(".")[2].lower()
    return MEDIA_TYPES.get(ending, "application/pdf")


_YOUTUBE = {"youtube.com", "www.youtube.com", "youtu.be", "m.youtube.com"}

MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "html": "text/html",
    "csv": "text/csv",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "m4a": "audio/m4a",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "mpeg": "video/mpeg",
}
"""By the ending of a name. The API wants to be told."""


# Names of fields to names in `supported_parameters`.
_PARAMS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "stop_sequences": "stop",
    "response_logprobs": "logprobs",
    "logprobs": "top_logprobs",
    "thinking_config": "reasoning",
}


def _params(
    given: schema.Generate, config: schema.Config, fields: Mapping[str, Raw]
) -> frozenset[str]:
    params = {known for name, known in _PARAMS.items() if getattr(config, name) is not None}
    if config.response_mime_type not in (None, "text/plain"):
        params.add("response_format")
        if config.response_schema is not None or schema.is_given(config.response_json_schema):
            params.add("structured_outputs")
    if any(tool.function_declarations for tool in given.tools or ()):
        params.add("tools")
        if given.tool_config is not None and given.tool_config.function_calling_config is not None:
            params.add("tool_choice")
    if "tools" in fields and searches(fields["tools"]):
        params.add("web_search_options")
    return frozenset(params)


SEARCH_TOOLS = frozenset({"googleSearch", "googleSearchRetrieval", "enterpriseWebSearch"})


def searches(tools: Raw) -> bool:
    """One of Google's own tools that are billed by the search is asked for."""
    plain = bytes(tools)
    if b"earch" not in plain:
        return False
    return any(SEARCH_TOOLS & tool.keys() for tool in schema.tools_decoder.decode(tools))
