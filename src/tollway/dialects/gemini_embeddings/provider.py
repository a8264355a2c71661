"""Gemini's embeddings (AI Studio), on the provider's side: always as a batch of requests.

Rules: one request of the batch per input; the answer has a vector for each, in order. A caller of
this dialect has its own requests sent. The API reports no usage for texts, so our own count is
charged where it does not.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event, Request
from ...conversation import source_of
from ...routing.entries import Attempt
from .. import Outbound
from ..embeddings import (
    FilePart,
    ImagePart,
    Input,
    Mixed,
    TextPart,
    dimensions_of,
    inputs_of,
    mapped,
    purpose_of,
)
from ..translated import Parser
from ..whole import WholeParser, tokens
from .request import PURPOSES, GeminiEmbeddingRequest


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a vector has no output tokens."""
    model = f"models/{attempt.endpoint.id.removeprefix('models/')}"
    dropped: set[str] = set()
    if isinstance(request, GeminiEmbeddingRequest):
        requests = [{**own, "model": model} for own in request.requests]
        dropped.update(name for name in request.unsaid if name != "input_type")
    else:
        requests = _requests(request, model, dropped)
    body = msgspec.json.encode({"requests": requests})
    headers = (("Content-Type", "application/json"),)
    return Outbound(f"/{model}:batchEmbedContents", body, headers, tuple(sorted(dropped)))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return EmbeddingParser()


def _requests(request: Request, model: str, dropped: set[str]) -> list[dict[str, Any]]:
    common: dict[str, object] = {"model": model}
    purpose = purpose_of(request)
    task = mapped(purpose, PURPOSES)
    if task is not None:
        common["taskType"] = task
    elif purpose is not None:
        dropped.add("input_type")
    dimensions = dimensions_of(request)
    if dimensions is not None:
        common["outputDimensionality"] = dimensions
    return [{**common, "content": {"parts": _parts(one, dropped)}} for one in inputs_of(request)]


class EmbeddingParser(WholeParser):
    """`embeddings[]{values}`, or a single `embedding`."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        report: Any = msgspec.json.decode(fields.get("usageMetadata", Raw(b"null")))
        if isinstance(report, dict):
            self.meter.usage = tokens(report.get("promptTokenCount"))
        if "embeddings" in fields:
            vectors = _vectors.decode(fields["embeddings"])
        else:
            vectors = [msgspec.json.decode(fields["embedding"], type=_Vector)]
        return [canon.Extra("embedding", one.values, n) for n, one in enumerate(vectors)]


class _Vector(msgspec.Struct):
    values: Raw


_vectors = msgspec.json.Decoder(list[_Vector])


def _parts(one: Input, dropped: set[str]) -> list[dict[str, object]]:
    if not isinstance(one, Mixed):
        return [{"text": one if isinstance(one, str) else ""}]
    parts: list[dict[str, object]] = []
    for part in one.content:
        if isinstance(part, TextPart):
            parts.append({"text": part.text})
            continue
        if isinstance(part, ImagePart):
            url, otherwise = part.image_url.url, "image/png"
        elif isinstance(part, FilePart):
            url, otherwise = part.input_file.data, "application/pdf"
        else:
            dropped.add("input media")
            continue
        source = source_of(url)
        if source.data is not None:
            data = {"mimeType": source.media_type or otherwise, "data": source.data}
            parts.append({"inlineData": data})
        else:
            parts.append({"fileData": {"mimeType": otherwise, "fileUri": url}})
    return parts
