"""Families: which concrete model `~author/family-latest` means today.

Pure: the catalogue, the live providers and the day go in, a catalogue whose `latest` is filled
comes out. What belongs to a family is data (`data/families.toml`).

The newest member is the one with the latest `created`, then the highest version number in its
name. Only models that can be had count: an endpoint at an enabled provider, not retired, at an
ordinary tier. Of those the ones that can be called from here come first, so that a server with
one provider's key is not sent to a model that only others sell. A preview stands behind a stable
model that is as new or newer, or of the same version. Variants (`:free`) are models of their own and no members.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

import msgspec

from .entries import Catalogue, Endpoint, Family, Model

PREVIEW = re.compile(r"-(preview|exp|beta|rc)\b")


def with_latest(catalogue: Catalogue, live: Container[str], today: str) -> Catalogue:
    """The catalogue with every family that has a member resolved. `live` holds provider ids,
    `today` is YYYY-MM-DD in UTC."""
    by_author: dict[str, list[Model]] = {}
    for model in catalogue.models.values():
        by_author.setdefault(model.id.partition("/")[0], []).append(model)
    latest: dict[str, str] = {}
    for slug, family in catalogue.families.items():
        author = slug.removeprefix("~").partition("/")[0]
        members = [model for model in by_author.get(author, ()) if belongs(model, family)]
        had = [m for m in members if _served(catalogue, m, None, today)]
        callable_here = [m for m in had if _served(catalogue, m, live, today)]
        newest = newest_of(callable_here or had)
        if newest is not None:
            latest[slug] = newest.id
    return msgspec.structs.replace(catalogue, latest=latest)


def belongs(model: Model, family: Family) -> bool:
    name = model.id.partition("/")[2]
    if ":" in name or re.fullmatch(family.models, name) is None:
        return False
    return family.excluded is None or re.fullmatch(family.excluded, name) is None


def newest_of(models: Iterable[Model]) -> Model | None:
    """None of no models. Of equals the shorter name: it is the line's, not a dated copy of it."""
    stable: Model | None = None
    preview: Model | None = None
    for model in models:
        if PREVIEW.search(model.id):
            preview = model if preview is None or _order(model) > _order(preview) else preview
        else:
            stable = model if stable is None or _order(model) > _order(stable) else stable
    if stable is None or preview is None:
        return stable or preview
    later = _age(preview) > _age(stable) and _age(preview)[1] != _age(stable)[1]
    return preview if later else stable


def _age(model: Model) -> tuple[str, tuple[int, ...]]:
    """Grows with the day it appeared (unknown = long ago), then with its version."""
    name = model.id.partition("/")[2]
    return model.created or "", tuple(int(number) for number in _VERSION.findall(name))


def _order(model: Model) -> tuple[str, tuple[int, ...], int, str]:
    created, version = _age(model)
    dated = version[:-1] if version and _DATED.search(model.id) else version
    return created, dated, -len(model.id), model.id


_VERSION = re.compile(r"\d+")
_DATED = re.compile(r"-\d{4,8}$")


def _served(catalogue: Catalogue, model: Model, live: Container[str] | None, today: str) -> bool:
    """An endpoint can be had; with `live`, one that can be called from here."""
    return any(
        _ordinary(endpoint, today)
        and catalogue.providers[endpoint.provider].enabled
        and (live is None or endpoint.provider in live)
        for endpoint in catalogue.endpoints.get(model.id, ())
    )


def _ordinary(endpoint: Endpoint, today: str) -> bool:
    return endpoint.service_tier is None and (endpoint.retires is None or endpoint.retires >= today)
