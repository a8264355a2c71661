"""Whether what a workspace is to impose makes sense: every name must mean something.

Pure. A misspelt name in a list of the allowed shuts everybody out, one in a list of the ignored
lets everybody in, so both are refused, with what was meant as far as that can be guessed. What
passes is kept as the catalogue spells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from .. import errors
from ..catalogue.entries import Catalogue
from ..routing.filters import resolved
from ..routing.lookup import close_slugs, lookup

NAMES_MAX = 1_000
"""Per list. More than there are providers, and most of the models."""


def checked_routing(fields: Mapping[str, object], catalogue: Catalogue) -> dict[str, object]:
    """The fields of `Routing` to replace. Raises CallerError."""
    found = dict(fields)
    for name, value in fields.items():
        if not isinstance(value, tuple | list):
            continue
        path = f"routing.{name}"
        if not value and name.startswith("allowed"):
            raise errors.bad_field(path, "an empty list would allow nothing; null allows all")
        if len(value) > NAMES_MAX:
            raise errors.bad_field(path, f"expected at most {NAMES_MAX} names")
        names = [str(one) for one in value]
        if name.endswith("_providers"):
            names = [_provider(n, f"{path}[{k}]", catalogue) for k, n in enumerate(names)]
        elif name.endswith("_models"):
            names = [_model(n, f"{path}[{k}]", catalogue) for k, n in enumerate(names)]
        found[name] = tuple(dict.fromkeys(names)) or None
    return found


def checked_default_model(slug: str, catalogue: Catalogue) -> str:
    """A slug as a request may name it, variants and `~latest` included. Raises CallerError."""
    try:
        lookup(catalogue, slug)
    except errors.CallerError as error:
        raise errors.bad_field("default_text_model", error.message) from None
    return slug


def _provider(name: str, path: str, catalogue: Catalogue) -> str:
    slug = resolved(name, catalogue.provider_slug)
    base = slug.partition("/")[0]
    if base not in catalogue.providers:
        close = get_close_matches(base, catalogue.providers, 1, 0.6)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise errors.bad_field(path, f"{name[:128]!r} is not a provider of this catalogue{hint}")
    if slug != base and not any(
        endpoint.tag == slug for offers in catalogue.endpoints.values() for endpoint in offers
    ):
        raise errors.bad_field(path, f"no endpoint of {base} has the tag {slug[:128]!r}")
    return slug


def _model(name: str, path: str, catalogue: Catalogue) -> str:
    slug = name.lower()
    author, _, rest = slug.partition("/")
    if rest == "*":
        if not any(known.partition("/")[0] == author for known in catalogue.models):
            raise errors.bad_field(path, f"this catalogue has no model of {author[:128]!r}")
        return slug
    if slug in catalogue.models or slug in catalogue.aliases:
        return catalogue.aliases.get(slug, slug)
    if slug in catalogue.latest:
        raise errors.bad_field(path, f"{slug} changes its meaning; name models, or {author[1:]}/*")
    close = ", ".join(close_slugs(catalogue, slug))
    hint = f"; did you mean {close}?" if close else "; name a model, or author/* for all of one"
    raise errors.bad_field(path, f"{name[:128]!r} is not a model of this catalogue{hint}")
