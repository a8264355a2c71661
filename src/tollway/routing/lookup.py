"""Lookup: from the slug a caller wrote to a model of the catalogue, or a helpful refusal."""

from __future__ import annotations

from difflib import get_close_matches

from .. import errors
from ..catalogue.entries import Catalogue
from .slugs import CATALOGUE_VARIANTS, parse_slug

CLOSE_MAX = 3
"""Suggestions for a slug that does not exist."""

SLUG_CHARS_MAX = 256
"""A longer text is no misspelt slug; comparing it with every slug would cost a second."""


def lookup(catalogue: Catalogue, slug: str) -> tuple[str, tuple[str, ...]]:
    """(model id, routing variants). The slug as a whole is looked up first, so a catalogue may
    hold an id with any suffix.

    Raises CallerError: model_not_found (with close matches), model_deprecated (with successors),
    free_variant_ended when only the paid model is left, wrong_endpoint for batch prices, or a plain
    400 for two suffixes that exclude each other.
    """
    whole = catalogue.resolve(slug)
    if whole is not None:
        return whole, ()
    base, variants = parse_slug(slug)
    model_id = catalogue.resolve(base)
    if model_id is not None:
        return model_id, variants
    for spelling in (slug.lower(), base):
        if spelling in catalogue.retired:
            raise errors.model_deprecated(slug, catalogue.retired[spelling])
    plain, *suffixes = base.split(":")
    several = [suffix for suffix in suffixes if suffix in CATALOGUE_VARIANTS]
    if len(several) > 1:
        raise errors.two_catalogue_variants(slug, several)
    ordinary = catalogue.resolve(plain)
    if ordinary is not None and suffixes == ["free"]:
        raise errors.free_variant_ended(slug, ordinary)
    if ordinary is not None and suffixes == ["batch"]:
        sold = any(e.service_tier == "batch" for e in catalogue.endpoints.get(ordinary, ()))
        raise errors.batch_only(slug, ordinary, sold=sold)
    raise errors.model_not_found(slug, close_slugs(catalogue, base))


def close_slugs(catalogue: Catalogue, slug: str) -> list[str]:
    """Slugs a caller may have meant: the same name under another author first, then spellings."""
    if not slug or len(slug) > SLUG_CHARS_MAX:
        return []
    name = slug.rpartition("/")[2].partition(":")[0]
    slugs = (*catalogue.models, *catalogue.latest)
    same_name = [known for known in slugs if known.rpartition("/")[2] == name]
    if "/" in slug:
        similar = get_close_matches(slug, slugs, CLOSE_MAX, 0.75)
    else:
        by_name = {known.rpartition("/")[2]: known for known in slugs}
        similar = [by_name[m] for m in get_close_matches(name, by_name, CLOSE_MAX, 0.75)]
    return list(dict.fromkeys([*same_name, *similar]))[:CLOSE_MAX]
