"""Cohere's embeddings on Bedrock (InvokeModel): Cohere's body without a model.

Rules: vectors are asked for as numbers. The token count is in a header of the answer, so our own
is charged.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import quote

import msgspec
from msgspec import Raw

from .. import canon
from ..canon import Event, Request
from ..routing.entries import Attempt
from . import Outbound, embed_cohere
from .bedrock_converse.faults import parse_fault
from .translated import Parser

__all__ = ["parse_fault", "parser", "render_request"]


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a vector has no output tokens."""
    body, dropped = embed_cohere.body_of(request)
    body["embedding_types"] = ["float"]
    return Outbound(invoke_path(attempt), msgspec.json.encode(body), JSON, dropped)


def invoke_path(attempt: Attempt) -> str:
    return f"/model/{quote(attempt.endpoint.id, safe='')}/invoke"


JSON = (("Content-Type", "application/json"), ("Accept", "application/json"))


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return EmbeddingParser()


class EmbeddingParser(embed_cohere.EmbeddingParser):
    """As Cohere's; the oldest models give a bare array of vectors."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        if bytes(memoryview(fields["embeddings"])[:1]) != b"[":
            return super().take(fields)
        vectors = msgspec.json.decode(fields["embeddings"], type=list[Raw])
        return [canon.Extra("embedding", vector, n) for n, vector in enumerate(vectors)]
