"""Rerank on Bedrock (InvokeModel): Cohere's body without a model, with a version. Texts only.

Rules: units are not in the answer, so our own count is charged.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ..canon import Request
from ..routing.entries import Attempt
from . import Outbound
from .bedrock_converse.faults import parse_fault
from .bedrock_embed_cohere import JSON, invoke_path
from .ranking import documents_of, texts_of
from .rerank_cohere import RankingParser
from .translated import Parser

__all__ = ["parse_fault", "parser", "render_request"]

API_VERSION = 2


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a ranking has no output tokens."""
    body: dict[str, object] = {
        "query": request.fields["query"],
        "documents": texts_of(documents_of(request)),
    }
    if "cohere" in attempt.endpoint.id:
        body["api_version"] = API_VERSION
    if "top_n" in request.fields:
        body["top_n"] = request.fields["top_n"]
    return Outbound(invoke_path(attempt), msgspec.json.encode(body), JSON)


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return RankingParser()
