"""Cohere's embeddings (v2), on the provider's side.

Rules: `input_type` is required there; a caller who does not say what the texts are for gets
`search_document`, Cohere's own default before it was required. Vectors are asked for in the
caller's encoding.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from .. import canon
from ..canon import Event, Request
from ..routing.entries import Attempt
from . import Outbound
from .cohere_faults import parse_fault
from .embeddings import (
    ImagePart,
    Mixed,
    TextPart,
    dimensions_of,
    inputs_of,
    mapped,
    purpose_of,
    texts_of,
    untold,
    wants_base64,
)
from .options import extra_options
from .translated import Parser
from .whole import WholeParser, tokens

__all__ = ["parse_fault", "parser", "render_request"]

PATH = "/embed"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a vector has no output tokens."""
    body, dropped = body_of(request)
    body = {"model": attempt.endpoint.id, **body}
    body.update(extra_options(request.preferences.options, attempt, _REFUSED))
    headers = (("Content-Type", "application/json"),)
    return Outbound(PATH, msgspec.json.encode(body), headers, dropped)


def body_of(request: Request) -> tuple[dict[str, object], tuple[str, ...]]:
    """The body without its model, and what it cannot carry."""
    inputs = inputs_of(request)
    texts = texts_of(inputs)
    dropped: set[str] = {*untold(request)}
    body: dict[str, object] = {}
    if texts is not None:
        body["texts"] = texts
    else:
        body["inputs"] = [_content(one, dropped) for one in inputs]
    purpose = purpose_of(request)
    body["input_type"] = mapped(purpose, _PURPOSES) or "search_document"
    if purpose is not None and mapped(purpose, _PURPOSES) is None:
        dropped.add("input_type")
    body["embedding_types"] = ["base64" if wants_base64(request) else "float"]
    dimensions = dimensions_of(request)
    if dimensions is not None:
        body["output_dimension"] = dimensions
    return body, tuple(sorted(dropped))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return EmbeddingParser()


class EmbeddingParser(WholeParser):
    """`embeddings.float` or `embeddings.base64`, in the order of the inputs."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        self.meter.usage = billed(fields.get("meta"))
        by_type = _by_type.decode(fields["embeddings"])
        vectors = by_type.float if by_type.float is not None else by_type.base64
        if vectors is None:
            raise ValueError("no vectors of a type that was asked for")
        return [canon.Extra("embedding", vector, n) for n, vector in enumerate(vectors)]


def billed(meta: Raw | None) -> canon.Usage | None:
    """`meta.billed_units`: what Cohere charges for. Image tokens are a part of the input."""
    decoded: Any = msgspec.json.decode(meta) if meta is not None else None
    units = decoded.get("billed_units") if isinstance(decoded, dict) else None
    if not isinstance(units, dict):
        return None
    used = tokens(units.get("input_tokens"), units.get("search_units"))
    images = tokens(units.get("image_tokens"))
    if images is None or not images.prompt_tokens:
        return used
    text = used or canon.Usage()
    return msgspec.structs.replace(
        text,
        prompt_tokens=text.prompt_tokens + images.prompt_tokens,
        image_tokens=images.prompt_tokens,
    )


class _ByType(msgspec.Struct):
    float: list[Raw] | None = None
    base64: list[Raw] | None = None


_by_type = msgspec.json.Decoder(_ByType)
_REFUSED = frozenset({"model", "texts", "images", "inputs", "embedding_types"})
_PURPOSES = {
    "query": "search_query",
    "document": "search_document",
    "passage": "search_document",
    "search_query": "search_query",
    "search_document": "search_document",
    "classification": "classification",
    "clustering": "clustering",
    "image": "image",
}


def _content(one: str | list[int] | Mixed, dropped: set[str]) -> dict[str, object]:
    if isinstance(one, str):
        return {"content": [{"type": "text", "text": one}]}
    parts = []
    for part in one.content if isinstance(one, Mixed) else ():
        if isinstance(part, TextPart | ImagePart):
            parts.append(part)
        else:
            dropped.add("input media")
    return {"content": parts}
