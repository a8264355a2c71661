"""Pages of the catalogue: models, endpoints, providers. Public; a key adds measured speeds.

Not here: filters, sorts and shapes (catalogue.listing), which slug means which model
(routing.lookup).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from .. import errors
from ..accounts.keys import KeyRecord
from ..catalogue import listing
from ..catalogue.entries import Catalogue, Endpoint, Model
from ..catalogue.routers import Router, picks, router_endpoints_view, router_of, router_view
from ..catalogue.rows import Row
from ..gateway import Gateway
from ..routing.lookup import lookup
from ..routing.slugs import parse_slug
from .replies import JSON, json_reply
from .shapes import Count, ModelsCountResponse

RSS = "application/rss+xml; charset=utf-8"
_SPEEDS = ("latency_last_30m", "throughput_last_30m")
"""Shown only to those who have a key."""


async def list_models(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    query = dict(request.query_params)
    margin = gateway.policy.margin_ppm
    if query.get("use_rss") == "true":
        feed = listing.rss(
            gateway.catalogue,
            query,
            now_s=gateway.clock(),
            site=_site(gateway),
            margin_ppm=margin,
        )
        return Response(feed, media_type=RSS)
    body = listing.models_body(
        gateway.catalogue,
        query,
        now_s=gateway.clock(),
        path=request.url.path,
        health=_by_model(gateway, query.get("sort")),
        margin_ppm=margin,
        base=_base(request),
    )
    return Response(body, media_type=JSON)


async def list_user_models(
    gateway: Gateway, request: Request, caller: KeyRecord | None
) -> Response:
    allowed = ("output_modalities", "sort", "offset", "limit")
    query = {name: request.query_params[name] for name in allowed if name in request.query_params}
    live = frozenset(gateway.reach)
    rows, _ = listing.list_models(gateway.catalogue, {}, now_s=gateway.clock(), live=live)
    if not rows:
        raise errors.not_found("A model that can be called here (no provider has a credential)")
    body = listing.models_body(
        gateway.catalogue,
        query,
        now_s=gateway.clock(),
        path=request.url.path,
        live=live,
        health=_by_model(gateway, query.get("sort")),
        margin_ppm=gateway.policy.margin_ppm,
        base=_base(request),
    )
    return Response(body, media_type=JSON)


async def count_models(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    count = listing.count_models(gateway.catalogue, dict(request.query_params))
    return json_reply(ModelsCountResponse(Count(count)))


async def get_model(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    return json_reply({"data": _model_view(gateway, request)})


async def retrieve_model(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    view = _model_view(gateway, request)
    owner = view["id"].partition("/")[0].removeprefix("~")
    return json_reply({**view, "object": "model", "owned_by": owner})


async def list_endpoints(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    catalogue: Catalogue = gateway.catalogue
    slug = _slug(request)
    if (router := router_of(slug)) is not None:
        return json_reply({"data": router_endpoints_view(router, _picks(gateway, request, router))})
    endpoints: Iterable[Endpoint] | None = None
    try:
        model = _model(catalogue, slug)
    except errors.CallerError:
        base = slug.partition(":")[0]
        if base == slug:
            raise
        model, endpoints = _model(catalogue, base), ()  # an unknown variant: nobody serves it
    view = listing.endpoints_view(
        catalogue,
        model,
        None if endpoints is None else tuple(endpoints),
        {
            endpoint.key: _health(gateway, endpoint, caller is not None)
            for endpoint in catalogue.endpoints.get(model.id, ())
        },
        margin_ppm=gateway.policy.margin_ppm,
    )
    return json_reply({"data": view})


async def list_zdr_endpoints(
    gateway: Gateway, request: Request, caller: KeyRecord | None
) -> Response:
    catalogue, margin_ppm = gateway.catalogue, gateway.policy.margin_ppm
    kept = _zdr_kept.get(margin_ppm)
    if kept is None or kept[0] is not catalogue:
        rows = listing.zdr_endpoints(catalogue, margin_ppm=margin_ppm)
        kept = _zdr_kept[margin_ppm] = (catalogue, msgspec.json.encode({"data": rows}))
    return Response(kept[1], media_type=JSON)


_zdr_kept: dict[int, tuple[Catalogue, bytes]] = {}
"""Two megabytes that anyone may ask for take 27 ms to write; by margin, for the last catalogue."""


async def list_providers(gateway: Gateway, request: Request, caller: KeyRecord | None) -> Response:
    providers = gateway.catalogue.providers.values()
    return json_reply({"data": [listing.provider_view(provider) for provider in providers]})


HANDLERS = {
    "list_models": list_models,
    "list_user_models": list_user_models,
    "count_models": count_models,
    "get_model": get_model,
    "retrieve_model": retrieve_model,
    "list_endpoints": list_endpoints,
    "list_zdr_endpoints": list_zdr_endpoints,
    "list_providers": list_providers,
}


# ---- helpers -------------------------------------------------------------------------------------


def _model_view(gateway: Gateway, request: Request) -> dict[str, Any]:
    catalogue, slug, base = gateway.catalogue, _slug(request), _base(request)
    if (router := router_of(slug)) is not None:
        return router_view(router, _picks(gateway, request, router), base)
    model = _model(catalogue, slug)
    margin = gateway.policy.margin_ppm
    view = listing.model_view(catalogue, model, margin_ppm=margin, base=base)
    alias = parse_slug(slug)[0]
    return (
        listing.alias_view(catalogue, alias, view, base=base) if alias in catalogue.latest else view
    )


def _picks(gateway: Gateway, request: Request, router: Router) -> Sequence[Row]:
    """What a router may pick from, wherever there is a credential for it."""
    margin, base = gateway.policy.margin_ppm, _base(request)
    return picks(router, listing.listing(gateway.catalogue, None, margin, base).models)


def _model(catalogue: Catalogue, slug: str) -> Model:
    """Raises a 404 CallerError: here a wrong slug is a wrong address, not a wrong request."""
    try:
        model_id, _ = lookup(catalogue, slug)
    except errors.CallerError as error:
        error.status, error.error_type = 404, "not_found"
        raise
    return catalogue.models[model_id]


def _slug(request: Request) -> str:
    return f"{request.path_params['author']}/{request.path_params['slug']}"


def _base(request: Request) -> str:
    """The prefix the caller uses, for links below it."""
    return "/v1" if request.url.path.startswith("/v1/") else "/api/v1"


def _site(gateway: Gateway) -> str:
    """Where this server listens. What clients call it from outside is not known here, and what
    their Host header says is not to be believed."""
    return f"http://{gateway.settings.host}:{gateway.settings.port}"


def _health(gateway: Gateway, endpoint: Endpoint, speeds: bool) -> dict[str, Any]:
    seen: dict[str, Any] = gateway.health.snapshot_for(
        endpoint.key, gateway.clock(), endpoint.provider
    )
    return seen if speeds else {k: v for k, v in seen.items() if k not in _SPEEDS}


def _by_model(gateway: Gateway, sort: str | None) -> dict[str, dict[str, float]] | None:
    """The best measured endpoint of each model, for the sorts that ask for it; the others need
    not pay for the reading."""
    if sort not in ("throughput-high-to-low", "latency-low-to-high"):
        return None
    found: dict[str, dict[str, float]] = {}
    for model_id, endpoints in gateway.catalogue.endpoints.items():
        figures: dict[str, float] = {}
        for endpoint in endpoints:
            if endpoint.provider not in gateway.reach:
                continue
            seen = _health(gateway, endpoint, True)
            if seen["throughput_last_30m"]:
                speed = seen["throughput_last_30m"]["p50"]
                figures["throughput"] = max(speed, figures.get("throughput", 0.0))
            if seen["latency_last_30m"]:
                latency = seen["latency_last_30m"]["p50"] / 1000
                figures["latency"] = min(latency, figures.get("latency", latency))
        if figures:
            found[model_id] = figures
    return found
