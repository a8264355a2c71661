"""An embeddings request: the caller's body to `canon.Request`.

Rules as in openai_chat_request: what breaks the contract is refused with the path of the field,
what passes keeps the caller's own JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from ... import errors
from ...canon import Request
from .. import embeddings
from .. import openai_chat_schema as schema
from ..openai_chat_request import IMAGE_TOKENS
from ..preferences import preferences
from ..problems import bad_request


class Asked(Struct):
    input: embeddings.Inputs
    model: schema.Slug | None = None
    models: Annotated[list[schema.Slug], Meta(max_length=schema.MODELS_MAX)] | None = None
    dimensions: schema.Positive | None = None
    encoding_format: Literal["float", "base64"] | None = None
    input_type: schema.Tag | None = None
    provider: schema.Provider | None = None
    user: schema.Tag | None = None
    session_id: schema.Tag | None = None
    trace: dict[str, Any] | None = None


def parse_request(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Request:
    """Raises CallerError (400). `headers` have lower-case names; only x-session-id is read."""
    try:
        asked = _decoder.decode(body)
        fields = schema.fields_decoder.decode(body)
        body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None
    try:
        inputs = embeddings.listed(asked.input)
    except ValueError as error:
        raise errors.bad_field("input", str(error)) from None
    if any(not one for one in inputs if isinstance(one, list)):
        raise errors.bad_field("input", "an array of tokens must not be empty")
    seen = Seen(inputs)
    return Request(
        dialect="openai_embeddings",
        models=models_of(asked.model, asked.models),
        stream=False,
        fields={name: raw for name, raw in fields.items() if raw != _NULL},
        kind="embedding",
        modalities=frozenset(seen.modalities) or frozenset({"text"}),
        prompt_bytes=sum(seen.sizes),
        window_bytes=max(seen.sizes),
        media_tokens=seen.media_tokens,
        images=seen.images,
        preferences=preferences(asked.provider),
        session_id=asked.session_id or headers.get("x-session-id", "")[:256] or None,
        user=asked.user,
    )


def models_of(model: str | None, models: Sequence[str] | None) -> tuple[str, ...]:
    """`model`, then `models`, each once. Raises CallerError when neither is there."""
    named = dict.fromkeys((*(() if model is None else (model,)), *(models or ())))
    if not named:
        raise errors.bad_field("model", "is required, unless models is given")
    return tuple(named)


MEDIA_TOKENS = 30_000
"""Upper estimate for a part whose size is not known: ten pages, a quarter of an hour of sound."""
TOKEN_BYTES = 4
"""A token that is given as a number counts as this much text."""

_NULL = Raw(b"null")
_decoder = msgspec.json.Decoder(Asked)


class Seen:
    """What the inputs contain, gathered in one walk. `sizes` in bytes of text, one an input."""

    def __init__(self, inputs: Sequence[embeddings.Input]) -> None:
        self.modalities: set[str] = set()
        self.media_tokens = self.images = 0
        self.sizes = [self._size(one) for one in inputs]
        if len(inputs) > 1:
            self.modalities.add("batch")

    def _size(self, one: embeddings.Input) -> int:
        if isinstance(one, str):
            self.modalities.add("text")
            return len(one.encode())
        if isinstance(one, list):
            self.modalities.add("tokens")
            return TOKEN_BYTES * len(one)
        return sum(self._part(part) for part in one.content)

    def _part(self, part: embeddings.Part) -> int:
        if isinstance(part, embeddings.TextPart):
            self.modalities.add("text")
            return len(part.text.encode())
        if isinstance(part, embeddings.ImagePart):
            self.modalities.add("image")
            self.images += 1
            self.media_tokens += IMAGE_TOKENS
            return 0
        kinds: Mapping[type, str] = {
            embeddings.AudioPart: "audio",
            embeddings.VideoPart: "video",
            embeddings.FilePart: "file",
        }
        self.modalities.add(kinds[type(part)])
        self.media_tokens += MEDIA_TOKENS
        return 0
