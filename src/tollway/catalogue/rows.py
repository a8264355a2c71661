"""What a list of models asks of each: the encoded view, and the figures filters and sorts read.

Pure. One row a model, made once a catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from .entries import Catalogue, Endpoint, Model
from .regions import COUNTRIES
from .views import (
    alias_view,
    context_length,
    created_s,
    description,
    enabled,
    model_view,
    supported_parameters,
    top_endpoint,
)


class Row(NamedTuple):
    """A model with everything a filter or sort asks, and its encoded view."""

    model: Model
    endpoints: tuple[Endpoint, ...]
    raw: msgspec.Raw
    created_s: int
    context: int
    params: frozenset[str]
    prompt_pico: int | None
    completion_pico: int | None
    weighted_pico: int | None
    search_text: str
    providers: frozenset[str]
    zdr: bool
    regions: frozenset[str]
    alias: str | None = None
    """The `~author/family-latest` slug under which this row shows its model a second time."""


def row_of(
    catalogue: Catalogue, model: Model, live: frozenset[str] | None, margin_ppm: int, base: str
) -> Row | None:
    """The row of a model, or None when no endpoint of it is left."""
    endpoints = enabled(catalogue, model.id)
    if live is not None:
        endpoints = tuple(e for e in endpoints if e.provider in live)
    if not endpoints:
        return None
    view = model_view(catalogue, model, endpoints, margin_ppm=margin_ppm, base=base)
    top = top_endpoint(endpoints)
    rates = top.price.base if top else None
    prompt = rates.prompt if rates else None
    completion = rates.completion if rates else None
    weighted = None
    if rates and prompt is not None and completion is not None:
        unit_fees = (rates.request or 0) + (rates.web_search or 0)
        weighted = 3 * prompt + completion + unit_fees // 1_000
    return Row(
        model=model,
        endpoints=endpoints,
        raw=msgspec.Raw(msgspec.json.encode(view)),
        created_s=created_s(model),
        context=context_length(model, endpoints) or 0,
        params=frozenset(supported_parameters(model)),
        prompt_pico=prompt,
        completion_pico=completion,
        weighted_pico=weighted,
        search_text=f"{model.id} {model.name} {description(model)}".lower(),
        providers=frozenset(e.provider for e in endpoints),
        zdr=any(keeps_nothing(catalogue, e) for e in endpoints),
        regions=frozenset(
            region for e in endpoints for region in ("eu", "us") if _in(catalogue, e, region)
        ),
    )


def alias_rows(catalogue: Catalogue, rows: Iterable[Row], base: str) -> list[Row]:
    """A row for each `~author/family-latest` slug whose model is among `rows`."""
    by_model = {row.model.id: row for row in rows} if catalogue.latest else {}
    found = []
    for slug, model_id in catalogue.latest.items():
        row = by_model.get(model_id)
        if row is not None:
            view = alias_view(catalogue, slug, msgspec.json.decode(row.raw), base=base)
            text = f"{slug} {view['name']} {row.search_text}".lower()
            raw = msgspec.Raw(msgspec.json.encode(view))
            found.append(row._replace(alias=slug, raw=raw, search_text=text))
    return found


def keeps_nothing(catalogue: Catalogue, endpoint: Endpoint) -> bool:
    """Its provider is known to keep no prompts and to train on none."""
    policy = catalogue.providers[endpoint.provider].data_policy
    return not policy.retains and not policy.trains


def _in(catalogue: Catalogue, endpoint: Endpoint, region: str) -> bool:
    """The endpoint is bound to the region, or its provider has a door or all its houses there."""
    provider = catalogue.providers[endpoint.provider]
    if endpoint.region == region or region in provider.regions:
        return True
    return bool(provider.datacenters) and set(provider.datacenters) <= COUNTRIES[region]
