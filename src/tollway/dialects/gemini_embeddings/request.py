"""An embedContent or batchEmbedContents request: path, headers and body to `canon.Request`.

Rules: what breaks the contract is refused with the path of the field. `fields` are those of
OpenAI's route (`embeddings`); the caller's own requests are kept beside them for a provider of this
dialect. The parts of one content are embedded together. What may differ between the requests of a
batch here and nowhere else is told to nobody else, and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from ... import errors
from ...canon import Request
from .. import openai_chat_schema as shared
from ..embeddings import (
    AudioPart,
    EmbeddingRequest,
    FilePart,
    ImagePart,
    Input,
    Media,
    Mixed,
    Part,
    TextPart,
    Url,
    VideoPart,
)
from ..gemini import schema
from ..gemini.request import kind_of, media_type_of, target
from ..gemini.spelling import has_snake_case, respelled
from ..openai_embeddings.request import Seen
from ..preferences import preferences
from ..problems import bad_request

BATCH_MAX = 2_048
"""As many inputs as OpenAI's route takes; Google's own limit is lower."""

PURPOSES = {
    "query": "RETRIEVAL_QUERY",
    "search_query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "passage": "RETRIEVAL_DOCUMENT",
    "search_document": "RETRIEVAL_DOCUMENT",
    "similarity": "SEMANTIC_SIMILARITY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "question_answering": "QUESTION_ANSWERING",
    "fact_verification": "FACT_VERIFICATION",
    "code": "CODE_RETRIEVAL_QUERY",
}

_MEANT = {
    "RETRIEVAL_QUERY": "query",
    "RETRIEVAL_DOCUMENT": "document",
    **{own: word for word, own in PURPOSES.items() if not own.startswith("RETRIEVAL_")},
}
"""The way back: `taskType` to `input_type`."""


class GeminiEmbeddingRequest(EmbeddingRequest, frozen=True):
    """A Request that remembers how it was asked."""

    requests: tuple[dict[str, object], ...] = ()
    """The caller's own, one an input, without the model."""
    batch: bool = False


class Config(Struct, rename="camel"):
    task_type: str | None = None
    title: str | None = None
    output_dimensionality: shared.Positive | None = None
    auto_truncate: bool | None = None
    document_ocr: bool | None = None
    audio_track_extraction: bool | None = None


class One(Config, kw_only=True, rename="camel"):
    """One content to embed. Clients of Vertex write the configuration one level deeper."""

    content: schema.Content
    embed_content_config: Config | None = None


class Around(Struct):
    """The router's own fields of either body."""

    models: Annotated[list[shared.Slug], Meta(max_length=shared.MODELS_MAX)] | None = None
    provider: shared.Provider | None = None
    session_id: shared.Tag | None = None
    user: shared.Tag | None = None


class Batch(Struct):
    requests: Annotated[list[One], Meta(min_length=1, max_length=BATCH_MAX)]


def parse_request(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Request:
    """Raises CallerError (400; 404 for a path that names no method). `headers` have lower-case
    names; only x-session-id is read."""
    slug, method = target(path, METHODS)
    batch = method == "batchEmbedContents"
    around, asked, contents = _decoded(body, batch)
    places = [f"requests[{n}]." if batch else "" for n in range(len(asked))]
    inputs = [_input(one.content, place) for one, place in zip(asked, places, strict=True)]
    said = [_Said(one, place) for one, place in zip(asked, places, strict=True)]
    fields, unsaid = _fields(inputs, said, places)
    seen = Seen(inputs)
    titles = tuple(one.title for one in said)
    return GeminiEmbeddingRequest(
        dialect="gemini_embeddings",
        models=tuple(dict.fromkeys((slug, *(around.models or ())))),
        stream=False,
        fields=fields,
        kind="embedding",
        modalities=frozenset(seen.modalities),
        prompt_bytes=sum(seen.sizes) + sum(len((title or "").encode()) for title in titles),
        window_bytes=max(seen.sizes),
        media_tokens=seen.media_tokens,
        images=seen.images,
        preferences=preferences(around.provider),
        session_id=around.session_id or headers.get("x-session-id", "")[:256] or None,
        user=around.user,
        titles=titles if any(titles) else (),
        unsaid=tuple(unsaid),
        requests=tuple(one.own(raw) for one, raw in zip(said, contents, strict=True)),
        batch=batch,
    )


METHODS = frozenset({"embedContent", "batchEmbedContents"})


# ---- decoding ------------------------------------------------------------------------------------


def _decoded(body: bytes, batch: bool) -> tuple[Around, list[One], list[Raw]]:
    """The router's fields, the requests, and the JSON of their contents. Snake case and single
    values where lists belong are mended only where they are met."""
    try:
        body.decode()
        if has_snake_case(body):
            body = respelled(body)
        try:
            return _typed(body, batch)
        except msgspec.ValidationError:
            return _typed(respelled(body), batch)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None


def _typed(body: bytes, batch: bool) -> tuple[Around, list[One], list[Raw]]:
    around = _around.decode(body)
    if not batch:
        return around, [_one.decode(body)], [_content.decode(body).content]
    asked = _batch.decode(body).requests
    return around, asked, [each.content for each in _contents.decode(body).requests]


class _Content(Struct):
    content: Raw


class _Contents(Struct):
    requests: list[_Content]


_around = msgspec.json.Decoder(Around)
_one = msgspec.json.Decoder(One)
_batch = msgspec.json.Decoder(Batch)
_content = msgspec.json.Decoder(_Content)
_contents = msgspec.json.Decoder(_Contents)


# ---- what is embedded ----------------------------------------------------------------------------


def _input(content: schema.Content, place: str) -> Input:
    """Texts alone are one text; with media they are an input of several parts."""
    path = f"{place}content.parts"
    if not content.parts:
        raise errors.bad_field(path, "must not be empty")
    parts = [_part(part, f"{path}[{n}]") for n, part in enumerate(content.parts)]
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    return "\n".join(texts) if len(texts) == len(parts) else Mixed(parts)


def _part(part: schema.Part, path: str) -> Part:
    if part.inline_data is not None:
        blob = part.inline_data
        return _media(blob.mime_type, f"data:{blob.mime_type};base64,{blob.data}", blob.data)
    if part.file_data is not None:
        file = part.file_data
        if not file.file_uri.startswith(("https://", "http://")):
            # A bucket would be read with the operator's rights, not the caller's.
            raise errors.bad_field(f"{path}.fileData.fileUri", "expected an https address")
        return _media(media_type_of(file), file.file_uri, file.file_uri)
    if part.text is None:
        raise errors.bad_field(path, "expected text, inlineData or fileData")
    return TextPart(part.text)


def _media(media_type: str, url: str, data: str) -> Part:
    form = media_type.partition("/")[2]
    match kind_of(media_type):
        case "image":
            return ImagePart(Url(url))
        case "audio":
            return AudioPart(Media(data, form))
        case "video":
            return VideoPart(Media(data, form))
    return FilePart(Media(url))


# ---- how -----------------------------------------------------------------------------------------


class _Said:
    """The configuration of one request, from either level."""

    __slots__ = ("dimensions", "place", "task", "title", "unsaid")

    def __init__(self, one: One, place: str) -> None:
        deeper = one.embed_content_config or Config()
        self.place = place
        self.task = one.task_type or deeper.task_type
        if self.task == "TASK_TYPE_UNSPECIFIED":
            self.task = None
        if self.task is not None and self.task not in _MEANT:
            known = ", ".join(_MEANT)
            raise errors.bad_field(f"{place}taskType", f"{self.task!r} is not one of {known}")
        self.title = one.title or deeper.title
        self.dimensions = one.output_dimensionality or deeper.output_dimensionality
        self.unsaid = [
            spelled
            for name, spelled in _GOOGLES.items()
            if getattr(one, name) is not None or getattr(deeper, name) is not None
        ]

    def own(self, content: Raw) -> dict[str, object]:
        """As it goes to a provider of this dialect."""
        said = {
            "taskType": self.task,
            "title": self.title,
            "outputDimensionality": self.dimensions,
        }
        return {"content": content} | {n: v for n, v in said.items() if v is not None}


_GOOGLES = {
    "auto_truncate": "autoTruncate",
    "document_ocr": "documentOcr",
    "audio_track_extraction": "audioTrackExtraction",
}
"""What only Vertex knows: said to nobody."""


def _fields(
    inputs: Sequence[Input], said: Sequence[_Said], places: Sequence[str]
) -> tuple[dict[str, Raw], dict[str, None]]:
    """The fields of OpenAI's route, and what could not be said in them."""
    if any(isinstance(one, Mixed) for one in inputs):
        inputs = [Mixed([TextPart(one)]) if isinstance(one, str) else one for one in inputs]
    fields = {"input": Raw(msgspec.json.encode(inputs))}
    unsaid: dict[str, None] = dict.fromkeys(name for one in said for name in one.unsaid)
    for one in said:
        if one.dimensions != said[0].dimensions:
            path = f"{one.place}outputDimensionality"
            raise errors.bad_field(path, "must be the same in all requests of a batch")
    if said[0].dimensions is not None:
        fields["dimensions"] = Raw(msgspec.json.encode(said[0].dimensions))
    tasks = {one.task for one in said}
    if len(tasks) > 1:
        unsaid["input_type"] = None
    elif said[0].task is not None:
        fields["input_type"] = Raw(msgspec.json.encode(_MEANT[said[0].task]))
    return fields, unsaid
