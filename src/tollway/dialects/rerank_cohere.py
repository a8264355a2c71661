"""Cohere's rerank (v2) on the provider's side, and the many that follow it (Jina, vLLM, hosts).

Rules: documents go as texts; those with images only to who takes them as objects (Jina, a router
with this same contract).
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Raw

from ..canon import Event, Request
from ..routing.entries import Attempt
from . import Outbound
from .cohere_faults import parse_fault
from .options import extra_options
from .ranking import documents_of, has_images, ranking, results_decoder, texts_of, used
from .translated import Parser
from .whole import WholeParser

__all__ = ["parse_fault", "parser", "render_request"]

PATH = "/rerank"


def render_request(request: Request, attempt: Attempt, output_tokens_max: int) -> Outbound:
    """`output_tokens_max` is 0: a ranking has no output tokens."""
    documents = documents_of(request)
    dropped: tuple[str, ...] = ()
    body: dict[str, object] = {"model": attempt.endpoint.id, "query": request.fields["query"]}
    objects = attempt.provider.id in _OBJECTS
    if has_images(documents) and objects:
        body["documents"] = documents
    else:
        body["documents"] = texts_of(documents)
        dropped = ("document images",) if has_images(documents) else ()
    if "top_n" in request.fields:
        body["top_n"] = request.fields["top_n"]
    body.update(extra_options(request.preferences.options, attempt, _REFUSED))
    headers = (("Content-Type", "application/json"),)
    return Outbound(PATH, msgspec.json.encode(body), headers, dropped)


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    return RankingParser()


class RankingParser(WholeParser):
    """`results[]{index, relevance_score}`; some hosts say `score`."""

    def take(self, fields: dict[str, Raw]) -> list[Event]:
        self.meter.usage = used(fields)
        results = results_decoder.decode(fields["results"])
        score = "score" if results and "relevance_score" not in results[0] else "relevance_score"
        return [ranking(results, score)]


_OBJECTS = frozenset({"jina", "openrouter"})
_REFUSED = frozenset({"model", "query", "documents", "top_n", "max_chunks_per_doc"})
"""What `provider.options` may not set: more chunks a document are more units than were held."""
