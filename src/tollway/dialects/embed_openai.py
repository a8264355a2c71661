"""The dialect of OpenAI's embeddings on the provider's side, and of the many that follow it.

Rules: the caller's own fields are sent but for the router's own. Fields beyond OpenAI's go only to
who is known to take them, under the provider's own name (quirks `input_type_param`, `task_param`,
`output_dimension_param`); the rest is named in `dropped`. `encoding_format: "float"` is everyone's
default and some refuse the word, so only `base64` is sent; the answer is read in either.
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
from .embeddings import dimensions_of, mapped, purpose_of, untold, wants_base64
from .faults import parse_fault
from .options import extra_options
from .translated import Parser
from .whole import WholeParser, tokens

__all__ = ["parse_fault", "parser", "render_request"]

PATH = "/embeddings"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a vector has no output tokens."""
    provider, quirks = attempt.provider.id, attempt.provider.quirks
    routes = "usage_cost_field" in quirks  # a router with this same contract
    body: dict[str, object] = {"model": attempt.endpoint.id, "input": request.fields["input"]}
    dropped: list[str] = [*untold(request)]
    dimensions = dimensions_of(request)
    if dimensions is not None:
        renamed = provider == "mistral" or "output_dimension_param" in quirks
        body["output_dimension" if renamed else "dimensions"] = dimensions
    purpose = purpose_of(request)
    if purpose is not None:
        if routes or "input_type_param" in quirks:
            body["input_type"] = mapped(purpose, _VOYAGE) or purpose
        elif "task_param" in quirks:
            body["task"] = mapped(purpose, _JINA) or purpose
        elif provider == "nvidia":
            body["input_type"] = mapped(purpose, _NVIDIA) or purpose
        else:
            dropped.append("input_type")
    if wants_base64(request):
        body["embedding_type" if "task_param" in quirks else "encoding_format"] = "base64"
    body.update(extra_options(request.preferences.options, attempt, _REFUSED))
    headers = (("Content-Type", "application/json"),)
    return Outbound(PATH, msgspec.json.encode(body), headers, tuple(dropped))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return EmbeddingParser()


class EmbeddingParser(WholeParser):
    """`data[]{index, embedding}`; an index that is missing is the position."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        if "usage" in fields:
            report: Any = msgspec.json.decode(fields["usage"])
            if isinstance(report, dict):
                prompt = report.get("prompt_tokens")
                self.meter.usage = tokens(report.get("total_tokens") if prompt is None else prompt)
        return [
            canon.Extra("embedding", one.embedding, n if one.index is None else one.index)
            for n, one in enumerate(_data.decode(fields["data"]))
        ]


class _Vector(msgspec.Struct):
    embedding: Raw
    index: int | None = None


_data = msgspec.json.Decoder(list[_Vector])
_REFUSED = frozenset({"model", "input", "stream", "user"})
_VOYAGE = {
    "query": "query",
    "document": "document",
    "passage": "document",
    "search_query": "query",
    "search_document": "document",
}
_JINA = {
    "query": "retrieval.query",
    "search_query": "retrieval.query",
    "document": "retrieval.passage",
    "passage": "retrieval.passage",
    "search_document": "retrieval.passage",
    "similarity": "text-matching",
    "classification": "classification",
    "clustering": "separation",
}
_NVIDIA = {
    "query": "query",
    "search_query": "query",
    "document": "passage",
    "search_document": "passage",
    "passage": "passage",
}
