"""The rerank of Hugging Face's text-embeddings-inference on the provider's side.

Rules: it ranks everything (the caller's `top_n` is applied to the answer), has one model and
reports no usage. Too many documents are refused with 413 there, which another endpoint may take.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Raw

from ..canon import Event, Request
from ..routing.entries import Attempt
from . import Outbound
from .faults import parse_fault
from .ranking import documents_of, ranking, results_decoder, texts_of
from .translated import Parser
from .whole import WholeParser

__all__ = ["parse_fault", "parser", "render_request"]

PATH = "/rerank"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a ranking has no output tokens."""
    body = {"query": request.fields["query"], "texts": texts_of(documents_of(request))}
    headers = (("Content-Type", "application/json"),)
    return Outbound(PATH, msgspec.json.encode(body), headers)


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return RankingParser()


class RankingParser(WholeParser):
    """An array of `{index, score}`."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        return [ranking(results_decoder.decode(fields["array"]), "score")]
