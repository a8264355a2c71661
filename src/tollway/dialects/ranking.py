"""What a rerank request says, read from its fields: for providers of every dialect.

An event of an answer is `canon.Extra("ranking", …)`: an array of `{index, relevance_score}`, best
first. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from .. import canon
from ..canon import Request, Usage
from .embed_cohere import billed
from .whole import tokens


class Document(Struct, omit_defaults=True):
    text: str | None = None
    image: str | None = None
    """A URL, which may be a `data:` URL."""


Documents = Annotated[list[str | Document], Meta(min_length=1)]


class Ranked(Struct):
    index: int
    relevance_score: float


def documents_of(request: Request) -> list[str | Document]:
    return _documents.decode(request.fields["documents"])


def texts_of(documents: Sequence[str | Document]) -> list[str]:
    return [one if isinstance(one, str) else one.text or "" for one in documents]


def has_images(documents: Sequence[str | Document]) -> bool:
    return any(isinstance(one, Document) and one.image is not None for one in documents)


def ranking(results: Sequence[Mapping[str, Any]], score: str) -> canon.Extra:
    """Results of any provider, sorted. Raises ValueError (or LookupError) for what is none."""
    ranked = []
    for one in results:
        index, value = one["index"], one[score]
        if not isinstance(index, int) or isinstance(value, bool):
            raise ValueError("a result without index or score")
        if not isinstance(value, int | float):
            raise ValueError("a score that is no number")
        ranked.append(Ranked(index, float(value)))
    ranked.sort(key=lambda one: -one.relevance_score)
    return canon.Extra("ranking", Raw(msgspec.json.encode(ranked)))


def used(fields: Mapping[str, Raw]) -> Usage | None:
    """`meta.billed_units` (Cohere), `usage` (Jina, Voyage) or `meta.tokens` (several hosts)."""
    found = billed(fields.get("meta"))
    if found is not None:
        return found
    for name, inner in (("usage", None), ("meta", "tokens")):
        report: Any = msgspec.json.decode(fields.get(name, Raw(b"null")))
        if inner is not None and isinstance(report, dict):
            report = report.get(inner)
        if isinstance(report, dict):
            for counter in ("total_tokens", "prompt_tokens", "input_tokens"):
                if counter in report:
                    return tokens(report[counter], report.get("search_units"))
    return None


_documents = msgspec.json.Decoder(Documents)
results_decoder = msgspec.json.Decoder(list[dict[str, Any]])
