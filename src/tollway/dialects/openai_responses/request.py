"""A Responses request: the caller's body to `canon.Request`.

Not here: what goes upstream (render), the shapes (schema). Rules: the API is stateless here, so
whatever would need an earlier response, a stored item or a later poll is refused with the path of
the field; what passes keeps the caller's own JSON in `fields`, minus top-level nulls. Input items
of the API's kinds that are not read here are kept: a provider of the same dialect gets them as they
came. A kind that is none of the API's is refused, and so is an input that says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ... import errors
from ...canon import Request
from ..openai_chat_request import (
    AUDIO_BYTES_PER_TOKEN,
    AUDIO_BYTES_PER_TOKEN_OTHER,
    FILE_BYTES_PER_TOKEN,
    FILE_TOKENS_LEAST,
    FILE_TOKENS_MOST,
    FILE_TOKENS_URL,
    IMAGE_TOKENS,
    IMAGE_TOKENS_HIGH,
    TEXT_FILE_BYTES_PER_TOKEN,
    VIDEO_BYTES_PER_TOKEN,
    VIDEO_TOKENS_MOST,
    VIDEO_TOKENS_URL,
    check_reasoning,
    models_of,
    output_limit,
    params_of,
)
from ..plugins import plugins
from ..preferences import preferences
from ..problems import bad_request
from . import schema

NAME = "openai_responses"

LOGPROBS = "message.output_text.logprobs"
"""The value of `include` that asks for log probabilities."""

ENCRYPTED = "reasoning.encrypted_content"


class ResponsesRequest(Request, frozen=True):
    """A Request that remembers what its input contains of the things that are changed for some
    providers, so that items are decoded again only there."""

    traits: frozenset[str] = frozenset()
    """`reasoning`: an earlier reasoning item; `cache`: a cache breakpoint on a part."""


def parse_request(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Request:
    """Raises CallerError (400). `headers` have lower-case names; only x-session-id is read."""
    try:
        asked = schema.asked_decoder.decode(body)
        fields = schema.fields_decoder.decode(body)
        body.decode()
        seen = _Seen()
        if isinstance(asked.input, str):
            seen.says_something = bool(asked.input)
        else:
            for n, (raw, item) in enumerate(items_of(asked.input)):
                seen.item(n, raw, item)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None
    if b"null" in body:
        fields = {name: raw for name, raw in fields.items() if raw != _NULL}
    _check_stateless(asked)
    if not seen.says_something:
        raise errors.bad_field(
            "input", "says nothing: expected text, or an item beside reasoning that has content"
        )
    _check(asked)
    raw_bytes = sum(len(fields[name]) for name in _READ if name in fields)
    return ResponsesRequest(
        dialect=NAME,
        models=models_of(asked),
        stream=asked.stream is True,
        fields=fields,
        params=_params(fields, asked),
        modalities=frozenset({"text", *seen.modalities}),
        output_tokens_max=asked.max_output_tokens or output_limit(asked),
        prompt_bytes=max(0, raw_bytes - seen.inline_bytes),
        media_tokens=seen.media_tokens,
        images=seen.images,
        cache_marked="cache" in seen.traits or asked.cache_control is not None,
        preferences=preferences(asked.provider),
        plugins=plugins(asked.plugins, asked.transforms),
        session_id=asked.session_id or headers.get("x-session-id", "")[:256] or None,
        user=asked.user,
        traits=frozenset(seen.traits),
    )


def items_of(items: Sequence[Raw]) -> list[tuple[Raw, schema.Item | str]]:
    """Each input item with its typed form, or with its type's name where there is none. Raises
    msgspec.ValidationError with the path from the top of the body."""
    found: list[tuple[Raw, schema.Item | str]] = []
    for n, raw in enumerate(items):
        try:
            kind = schema.kind_decoder.decode(raw)
            name = kind.type or ("message" if kind.role is not None else "")
            decoder = schema.item_decoders.get(name)
            found.append((raw, name if decoder is None else decoder.decode(raw)))
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(_placed(str(error), f"input[{n}]")) from None
    return found


def hosted_search(tool_type: str) -> bool:
    """All the dated spellings of OpenAI's web search."""
    return tool_type.startswith("web_search")


# ---- what a request contains ---------------------------------------------------------------------

_NULL = Raw(b"null")
_READ = ("input", "instructions", "tools", "text")


class _Seen:
    """What the input items contain, gathered in one walk."""

    def __init__(self) -> None:
        self.traits: set[str] = set()
        self.modalities: set[str] = set()
        self.media_tokens = self.inline_bytes = self.images = 0
        self.says_something = False
        """Any item is more than earlier reasoning or a message without content."""

    def item(self, n: int, raw: Raw, item: schema.Item | str) -> None:
        match item:
            case schema.Message(content=content):
                self.says_something = self.says_something or bool(content)
            case schema.Reasoning():
                pass
            case _:
                self.says_something = True
        match item:
            case schema.Message(content=list(parts)) | schema.FunctionOutput(output=list(parts)):
                self._parts(parts, f"input[{n}]")
            case schema.Reasoning():
                self.traits.add("reasoning")
            case "":
                raise errors.bad_field(f"input[{n}].type", "is required, unless there is a role")
            case "item_reference":
                raise errors.bad_field(
                    f"input[{n}]",
                    "an item_reference cannot be resolved: nothing is stored. Send the item itself",
                )
            case str() if item not in schema.PASSED and not item.startswith("openrouter:"):
                known = ", ".join(sorted({*schema.item_decoders, *schema.PASSED}))
                raise errors.bad_field(f"input[{n}].type", f"{item[:64]!r} is not one of {known}")

    def _parts(self, parts: Sequence[schema.Part], path: str) -> None:
        for part in parts:
            match part:
                case schema.InputImage():
                    self._image(part, path)
                case schema.InputFile():
                    self._file(part)
                case schema.InputAudio(audio):
                    self._audio(audio)
                case schema.InputVideo(url):
                    self._video(url)
                case schema.InputText() | schema.OutputText() | schema.RefusalPart():
                    pass
            if getattr(part, "prompt_cache_breakpoint", None) is not None:
                self.traits.add("cache")

    def _image(self, image: schema.InputImage, path: str) -> None:
        if image.image_url is None and image.file_id is None:
            raise errors.bad_field(f"{path}.image_url", "is required, unless file_id is given")
        self.modalities.add("image")
        self.images += 1
        high = image.detail in ("high", "original")
        self.media_tokens += IMAGE_TOKENS_HIGH if high else IMAGE_TOKENS
        self.inline_bytes += _inline(image.image_url or "")

    def _file(self, file: schema.InputFile) -> None:
        self.modalities.add("file")
        data = file.file_data or ""
        if not data:
            self.media_tokens += FILE_TOKENS_URL
            return
        self.inline_bytes += len(data)
        decoded = len(data) * 3 // 4
        if "application/pdf" in data[:64] or (file.filename or "").lower().endswith(".pdf"):
            estimate = min(decoded // FILE_BYTES_PER_TOKEN, FILE_TOKENS_MOST)
            self.media_tokens += max(estimate, FILE_TOKENS_LEAST)
        else:
            self.media_tokens += decoded // TEXT_FILE_BYTES_PER_TOKEN

    def _audio(self, audio: schema.AudioData) -> None:
        self.modalities.add("audio")
        size = len(audio.data)
        per_token = AUDIO_BYTES_PER_TOKEN.get(audio.format or "", AUDIO_BYTES_PER_TOKEN_OTHER)
        self.media_tokens += size * 3 // 4 // per_token + 1
        self.inline_bytes += size

    def _video(self, url: str) -> None:
        self.modalities.add("video")
        size = _inline(url)
        self.inline_bytes += size
        estimate = size * 3 // 4 // VIDEO_BYTES_PER_TOKEN if size else VIDEO_TOKENS_URL
        self.media_tokens += min(estimate, VIDEO_TOKENS_MOST)


def _inline(url: str) -> int:
    return len(url) if url[:5].lower() == "data:" else 0


def _placed(text: str, path: str) -> str:
    """msgspec's message with the path of the item put before the path inside it."""
    if "`$" in text:
        return text.replace("`$", f"`$.{path}")
    return f"{text} - at `$.{path}`"


def _check_stateless(asked: schema.Asked) -> None:
    if asked.store:
        raise errors.bad_field("store", "only false is accepted: responses are not stored")
    if asked.background:
        raise errors.bad_field("background", "only false is accepted: responses are not stored")
    for name in ("previous_response_id", "conversation"):
        if getattr(asked, name) is not None:
            raise errors.bad_field(
                name, "is not supported: responses are not stored. Send the whole history as input"
            )
    if asked.prompt is not None:
        raise errors.bad_field("prompt", "is not supported: there are no stored prompts here")


def _check(asked: schema.Asked) -> None:
    """Rules between fields."""
    check_reasoning(asked)
    if (asked.n or 1) > 1:
        raise errors.bad_field("n", "a response is one answer; send several requests")
    for n, tool in enumerate(asked.tools or ()):
        if tool.type in ("function", "custom") and not tool.name:
            raise errors.bad_field(f"tools[{n}].name", "is required")
    choice = asked.tool_choice
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        raise errors.bad_field("tool_choice", "expected none, auto, required or an object")
    if isinstance(choice, schema.NamedChoice) and choice.type == "function" and not choice.name:
        raise errors.bad_field("tool_choice.name", "is required")
    wanted = asked.text.format if asked.text is not None else None
    if wanted is not None and wanted.type == "json_schema":
        for name in ("name", "schema"):
            if getattr(wanted, name) is None:
                raise errors.bad_field(f"text.format.{name}", "is required")


def _params(fields: Mapping[str, Raw], asked: schema.Asked) -> frozenset[str]:
    """In the vocabulary of `supported_parameters`."""
    params = params_of(fields)
    text = asked.text
    if text is not None:
        if text.verbosity is not None:
            params.add("verbosity")
        if text.format is not None and text.format.type != "text":
            params.add("response_format")
            if text.format.type == "json_schema":
                params.add("structured_outputs")
    if LOGPROBS in (asked.include or ()):
        params.add("logprobs")
    if any(hosted_search(tool.type) for tool in asked.tools or ()):
        params.add("web_search_options")
        if all(hosted_search(tool.type) for tool in asked.tools or ()):
            params -= {"tools", "tool_choice"}
    return frozenset(params)


def decoded(fields: Mapping[str, Raw], name: str, kind: Any) -> Any:
    """A field that parse_request has checked, typed; None when it is not there."""
    raw = fields.get(name)
    return None if raw is None else msgspec.json.decode(raw, type=kind)
