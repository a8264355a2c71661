"""Amazon's own embeddings on Bedrock (InvokeModel): Titan and Nova, one input a call.

Rules: routing sends no request with several inputs here. Titan reports its tokens, Nova does not.
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
from .bedrock_converse.faults import parse_fault
from .bedrock_embed_cohere import JSON, invoke_path
from .embeddings import dimensions_of, inputs_of, mapped, purpose_of, texts_of, untold
from .translated import Parser
from .whole import WholeParser, tokens

__all__ = ["parse_fault", "parser", "render_request"]


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a vector has no output tokens."""
    text = (texts_of(inputs_of(request)) or [""])[0]
    dimensions, purpose = dimensions_of(request), purpose_of(request)
    dropped: list[str] = [*untold(request)]
    if "nova" in attempt.endpoint.id:
        one: dict[str, Any] = {
            "embeddingPurpose": mapped(purpose, _PURPOSES) or "GENERIC_INDEX",
            "text": {"truncationMode": "NONE", "value": text},
        }
        if dimensions is not None:
            one["embeddingDimension"] = dimensions
        body: dict[str, Any] = {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": one}
        purpose = purpose if mapped(purpose, _PURPOSES) is None else None
    else:
        body = {"inputText": text}
        if dimensions is not None and "image" in attempt.endpoint.id:
            body["embeddingConfig"] = {"outputEmbeddingLength": dimensions}
        elif dimensions is not None and "v1" in attempt.endpoint.id:
            dropped.append("dimensions")
        elif dimensions is not None:
            body["dimensions"] = dimensions
    if purpose is not None:
        dropped.append("input_type")
    return Outbound(invoke_path(attempt), msgspec.json.encode(body), JSON, tuple(dropped))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return EmbeddingParser()


class EmbeddingParser(WholeParser):
    """Titan: `embedding`, `inputTextTokenCount`. Nova: `embeddings[]{embedding}`."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        if "embedding" in fields:
            count = fields.get("inputTextTokenCount", Raw(b"null"))
            self.meter.usage = tokens(msgspec.json.decode(count))
            return [canon.Extra("embedding", fields["embedding"], 0)]
        (one,) = msgspec.json.decode(fields["embeddings"], type=list[_Vector])
        return [canon.Extra("embedding", one.embedding, 0)]


class _Vector(msgspec.Struct):
    embedding: Raw


_PURPOSES = {
    "document": "GENERIC_INDEX",
    "passage": "GENERIC_INDEX",
    "search_document": "GENERIC_INDEX",
    "query": "TEXT_RETRIEVAL",
    "search_query": "TEXT_RETRIEVAL",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
