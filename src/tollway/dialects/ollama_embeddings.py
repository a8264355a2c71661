"""Ollama's own embeddings (`/api/embed`), on the provider's side. Texts only."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Raw

from .. import canon
from ..canon import Event, Request
from ..routing.entries import Attempt
from . import Outbound
from .embeddings import dimensions_of, inputs_of, purpose_of, texts_of, untold
from .faults import parse_fault
from .translated import Parser
from .whole import WholeParser, tokens

__all__ = ["parse_fault", "parser", "render_request"]

PATH = "/api/embed"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a vector has no output tokens."""
    texts = texts_of(inputs_of(request)) or []  # routing sends nothing else here
    dropped: list[str] = [*untold(request)]
    if purpose_of(request) is not None:
        dropped.append("input_type")
    body: dict[str, object] = {"model": attempt.endpoint.id, "input": texts}
    dimensions = dimensions_of(request)
    if dimensions is not None:
        body["dimensions"] = dimensions
    headers = (("Content-Type", "application/json"),)
    return Outbound(PATH, msgspec.json.encode(body), headers, tuple(dropped))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return EmbeddingParser()


class EmbeddingParser(WholeParser):
    """`embeddings`, an array of vectors in the order of the texts."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        self.meter.usage = tokens(
            msgspec.json.decode(fields.get("prompt_eval_count", Raw(b"null")))
        )
        vectors = msgspec.json.decode(fields["embeddings"], type=list[Raw])
        return [canon.Extra("embedding", vector, n) for n, vector in enumerate(vectors)]
