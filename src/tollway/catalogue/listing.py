"""`GET /models`: which rows, in which order, and how they are written.

Pure: no clock (`now_s` is an argument), no health of its own (numbers are arguments). The filters
and sorts are OpenRouter's. A filter on something no fact answers (benchmarks, categories, tool
success) leaves nothing, rather than rows it knows nothing about; a sort puts such rows last. A bad
value is a 400 that names the parameter.

Rows are rendered once per catalogue and kept as encoded JSON, so a list costs a filter, a sort and
a join.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlencode

import msgspec

from .. import errors
from .entries import Catalogue
from .feed import feed
from .filters import FILTERS, Health, boolean, in_order, output_modalities
from .routers import router_rows
from .rows import Row, alias_rows, keeps_nothing, row_of
from .views import View, alias_view, endpoint_view, endpoints_view, model_view, provider_view

__all__ = [
    "Listing",
    "alias_view",
    "count_models",
    "endpoint_view",
    "endpoints_view",
    "list_models",
    "listing",
    "model_view",
    "models_body",
    "provider_view",
    "rss",
    "zdr_endpoints",
]

PAGE_DEFAULT = 500
PAGE_MAX = 1000


class Listing:
    """The rendered rows of one catalogue for one set of live providers and one margin."""

    def __init__(
        self,
        catalogue: Catalogue,
        live: frozenset[str] | None = None,
        margin_ppm: int = 0,
        base: str = "/api/v1",
    ) -> None:
        self.catalogue = catalogue
        self.live = live
        self.margin_ppm = margin_ppm
        self.models = tuple(
            row
            for model in catalogue.models.values()
            if (row := row_of(catalogue, model, live, margin_ppm, base)) is not None
        )
        aliases = alias_rows(catalogue, self.models, base)
        self.rows = (*self.models, *aliases, *router_rows(self.models, base))
        """The models, the names that lead to the newest of a family, the routers that pick."""


def listing(
    catalogue: Catalogue,
    live: frozenset[str] | None = None,
    margin_ppm: int = 0,
    base: str = "/api/v1",
) -> Listing:
    """The listing of that catalogue, rendered on first use and kept while it is among the last
    four asked for. `live`: only models with an endpoint at one of these providers; None = all
    enabled ones."""
    key = (id(catalogue), live, margin_ppm, base)
    found = _kept.get(key)
    if found is None:
        while len(_kept) >= _KEPT_MAX:
            del _kept[next(iter(_kept))]
        found = _kept[key] = Listing(catalogue, live, margin_ppm, base)
    return found


# A kept listing keeps its catalogue alive, so the id in its key cannot come to mean another one.
_kept: dict[tuple[int, frozenset[str] | None, int, str], Listing] = {}
_KEPT_MAX = 4
"""A catalogue before and after a reload, each for everybody and for what is live."""


def list_models(
    catalogue: Catalogue,
    query: Mapping[str, str],
    *,
    now_s: float,
    live: frozenset[str] | None = None,
    health: Health | None = None,
    margin_ppm: int = 0,
    base: str = "/api/v1",
) -> tuple[list[msgspec.Raw], int]:
    """One page of encoded `Model`s, and how many there are in all. Raises CallerError."""
    rows = _selected(listing(catalogue, live, margin_ppm, base), query, now_s, health or {})
    start, stop = _page(query, len(rows))
    return [row.raw for row in rows[start:stop]], len(rows)


def models_body(
    catalogue: Catalogue,
    query: Mapping[str, str],
    *,
    now_s: float,
    path: str = "/api/v1/models",
    live: frozenset[str] | None = None,
    health: Health | None = None,
    margin_ppm: int = 0,
    base: str = "/api/v1",
) -> bytes:
    """The whole answer: `{data, total_count, links: {next}}`. Raises CallerError."""
    rows, total = list_models(
        catalogue, query, now_s=now_s, live=live, health=health, margin_ppm=margin_ppm, base=base
    )
    body = {
        "data": rows,
        "total_count": total,
        "links": {"next": _next_link(query, path, total)},
    }
    return msgspec.json.encode(body)


def count_models(
    catalogue: Catalogue, query: Mapping[str, str], live: frozenset[str] | None = None
) -> int:
    """`/models/count`: only `output_modalities` counts. Raises CallerError."""
    asked = {name: query[name] for name in ("output_modalities",) if name in query}
    return len(_selected(listing(catalogue, live), asked, 0.0, {}))


def rss(
    catalogue: Catalogue,
    query: Mapping[str, str],
    *,
    now_s: float,
    site: str,
    live: frozenset[str] | None = None,
    margin_ppm: int = 0,
) -> bytes:
    """The same list as an RSS 2.0 feed. `site` is the public origin, without a slash at its end.
    Raises CallerError."""
    found = _selected(listing(catalogue, live, margin_ppm), query, now_s, {})
    # Neither a second name of a model that a reader has seen, nor a router, is news.
    rows = [row for row in found if row.alias is None and row.endpoints]
    start, stop = _page(query, len(rows))
    chat_links = boolean(query, "use_rss_chat_links") is True
    return feed(
        [(r.model, msgspec.json.decode(r.raw), r.created_s) for r in rows[start:stop]],
        site,
        chat_links,
    )


def zdr_endpoints(
    catalogue: Catalogue, live: frozenset[str] | None = None, margin_ppm: int = 0
) -> list[View]:
    """`data` of `/endpoints/zdr`: endpoints whose provider keeps nothing and trains on nothing."""
    return [
        endpoint_view(catalogue, endpoint, margin_ppm=margin_ppm)
        for row in listing(catalogue, live, margin_ppm).rows
        if row.alias is None
        for endpoint in row.endpoints
        if keeps_nothing(catalogue, endpoint)
    ]


# ---- what is asked -------------------------------------------------------------------------------


def _selected(
    listing: Listing, query: Mapping[str, str], now_s: float, health: Health
) -> Sequence[Row]:
    """The rows that pass every filter, sorted. The default: models that write text, newest first."""
    tests = [output_modalities(query.get("output_modalities") or "text")]
    for name, text in query.items():
        if name in FILTERS and text != "":
            tests.append(FILTERS[name](listing.catalogue, name, text, now_s))
    rows: Iterable[Row] = listing.rows
    for test in tests:
        rows = filter(test, rows)
    return in_order(rows, query.get("sort") or "newest", health)


def _page(query: Mapping[str, str], total: int) -> tuple[int, int]:
    """Pages are opt-in: without `offset` and `limit` everything is one page."""
    if not query.get("offset") and not query.get("limit"):
        return 0, total
    start = _whole(query, "offset", 0, 0, 10**9)
    return start, start + _whole(query, "limit", PAGE_DEFAULT, 1, PAGE_MAX)


def _next_link(query: Mapping[str, str], path: str, total: int) -> str | None:
    _, stop = _page(query, total)
    if stop >= total:
        return None
    following = {**query, "offset": str(stop), "limit": query.get("limit") or str(PAGE_DEFAULT)}
    return f"{path}?{urlencode(following)}"


def _whole(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name) or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise errors.bad_field(name, f"expected a whole number from {least} to {most}")
    return int(text)
