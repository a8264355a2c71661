"""Google's embeddings on Vertex, on the provider's side: `:predict` with an instance per text.

Rules: texts only. gemini-embedding-001 takes one instance a call and refuses more with a 400,
which moves a request on to the next endpoint. Statistics count the tokens.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import zip_longest

import msgspec
from msgspec import Raw

from .. import canon
from ..canon import Event, Request
from ..routing.entries import Attempt
from . import Outbound
from .embeddings import (
    EmbeddingRequest,
    dimensions_of,
    inputs_of,
    mapped,
    purpose_of,
    texts_of,
    untold,
)
from .faults import parse_fault
from .gemini_embeddings import PURPOSES
from .translated import Parser
from .whole import WholeParser, tokens

__all__ = ["parse_fault", "parser", "render_request"]


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a vector has no output tokens."""
    texts = texts_of(inputs_of(request)) or []  # routing sends nothing else here
    dropped = [name for name in untold(request) if name != "title"]
    purpose = purpose_of(request)
    task = mapped(purpose, PURPOSES)
    if purpose is not None and task is None:
        dropped.append("input_type")
    titles = request.titles if isinstance(request, EmbeddingRequest) else ()
    body: dict[str, object] = {
        "instances": [
            {"content": text}
            | ({"task_type": task} if task else {})
            | ({"title": title} if title else {})
            for text, title in zip_longest(texts, titles)
        ]
    }
    dimensions = dimensions_of(request)
    if dimensions is not None:
        body["parameters"] = {"outputDimensionality": dimensions}
    headers = (("Content-Type", "application/json"),)
    path = f"/publishers/google/models/{attempt.endpoint.id}:predict"
    return Outbound(path, msgspec.json.encode(body), headers, tuple(dropped))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return EmbeddingParser()


class EmbeddingParser(WholeParser):
    """`predictions[]{embeddings{values, statistics{token_count}}}`."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        found = [one.embeddings for one in _predictions.decode(fields["predictions"])]
        counts = [one.statistics.token_count if one.statistics else None for one in found]
        known = [count for count in counts if count is not None]
        if known and len(known) == len(found):
            self.meter.usage = tokens(sum(known))
        return [canon.Extra("embedding", one.values, n) for n, one in enumerate(found)]


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Vector(msgspec.Struct):
    values: Raw
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Vector


_predictions = msgspec.json.Decoder(list[_Prediction])
