"""A ranking on its way to the caller: results best first, each with its document.

Rules: an index outside the documents, or one given twice, is a broken answer; `top_n` holds
whatever the provider did with it. Where a provider reports nothing, both ways in which a ranking
is sold are counted here, marked estimated; the price decides which of them costs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from ... import canon
from ...canon import Request, Usage
from ...errors import TollwayError
from ...money import usd_from_nano
from .. import Bill, Head, Meter, Relay, dialect, faults
from ..ranking import Ranked, documents_of
from ..translated import Parser
from .request import UNIT_DOCUMENTS, RerankRequest


def relay(
    head: Head, outbound: str, quirks: Collection[str] = (), request: Request | None = None
) -> Relay:
    """From a provider that speaks `outbound`. Raises KeyError for a dialect that there is not."""
    parser: Parser = dialect(outbound).parser(False, quirks)
    asked = request if isinstance(request, RerankRequest) else None
    return _Ranking(head, parser, asked)


class RankingMeter(Meter):
    """A meter that knows how many documents were ranked."""

    __slots__ = ("documents",)

    def __init__(self, documents: int) -> None:
        super().__init__()
        self.documents = documents

    def usage_or_estimate(self, prompt_tokens_likely: int) -> Usage:
        """What was not reported of tokens and units is filled in: a provider counts only what it
        charges for, and its price need not be ours."""
        said = (self.usage or Usage()).checked()
        filled = msgspec.structs.replace(
            said,
            prompt_tokens=said.prompt_tokens or prompt_tokens_likely,
            search_units=said.search_units or -(-self.documents // UNIT_DOCUMENTS),
        )
        silent = not (said.prompt_tokens or said.search_units)
        return msgspec.structs.replace(filled, estimated=True) if silent else filled


class _Ranking:
    """See `dialects.Relay`."""

    def __init__(self, head: Head, parser: Parser, request: RerankRequest | None) -> None:
        self.meter: Meter = RankingMeter(request.documents if request else 0)
        parser.meter = self.meter
        self._head = head
        self._parser = parser
        self._request = request
        self._results: list[Ranked] = []

    def feed(self, data: bytes) -> bytes:
        self._parser.feed(data)
        return b""

    def finish(self) -> bytes:
        for said in self._parser.finish():
            match said:
                case canon.Extra("ranking", ranked):
                    self._results = msgspec.json.decode(ranked, type=list[Ranked])
        most = self._request.documents if self._request else None
        places = [one.index for one in self._results]
        outside = any(n < 0 or (most is not None and n >= most) for n in places)
        if self.meter.fault is None and (outside or len(set(places)) < len(places) or not places):
            self.meter.fault = faults.broken("The provider's ranking does not fit the documents.")
            self.meter.ended = self.meter.spoke = False
        return b""

    def ending(self, bill: Bill) -> bytes:
        usage = bill.usage
        asked = self._request
        body: dict[str, Any] = {
            "id": self._head.id,
            "model": self._head.model,
            "provider": self._head.provider,
            "results": self._shown(),
            "usage": {
                "search_units": usage.search_units,
                "total_tokens": usage.prompt_tokens,
                "cost": usd_from_nano(bill.charge_nano),
            },
            **bill.extra,
        }
        if asked is not None and asked.cohere:
            units = {"search_units": usage.search_units}
            body["meta"] = {"api_version": {"version": "2"}, "billed_units": units}
        return msgspec.json.encode(body)

    def failure(self, error: TollwayError) -> bytes:
        return msgspec.json.encode(error.body())

    def _shown(self) -> list[dict[str, Any]]:
        asked = self._request
        documents = documents_of(asked) if asked is not None else []
        shown = []
        for one in self._results[: asked.top_n if asked is not None else None]:
            entry: dict[str, Any] = {"index": one.index, "relevance_score": one.relevance_score}
            if documents:
                document = documents[one.index]
                entry["document"] = {"text": document} if isinstance(document, str) else document
            shown.append(entry)
        return shown
