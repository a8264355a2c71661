"""Voyage's rerank on the provider's side: `top_k`, and results under `data`."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Raw

from ..canon import Event, Request
from ..routing.entries import Attempt
from . import Outbound
from .faults import parse_fault
from .options import extra_options
from .ranking import documents_of, ranking, results_decoder, texts_of, used
from .translated import Parser
from .whole import WholeParser

__all__ = ["parse_fault", "parser", "render_request"]

PATH = "/rerank"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a ranking has no output tokens."""
    body: dict[str, object] = {
        "model": attempt.endpoint.id,
        "query": request.fields["query"],
        "documents": texts_of(documents_of(request)),
    }
    if "top_n" in request.fields:
        body["top_k"] = request.fields["top_n"]
    body.update(extra_options(request.preferences.options, attempt, _REFUSED))
    headers = (("Content-Type", "application/json"),)
    return Outbound(PATH, msgspec.json.encode(body), headers)


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return RankingParser()


class RankingParser(WholeParser):
    """`data[]{index, relevance_score}`."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        self.meter.usage = used(fields)
        return [ranking(results_decoder.decode(fields["data"]), "relevance_score")]


_REFUSED = frozenset({"model", "query", "documents", "top_k"})
"""What `provider.options` may not set."""
