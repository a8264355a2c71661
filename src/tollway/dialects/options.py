"""`provider.options`: the caller's extra fields for one provider or endpoint.

Not here: which fields a dialect refuses (each dialect). Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..routing.entries import Attempt


def extra_options(
    options: Mapping[str, dict[str, object]] | None, attempt: Attempt, refused: Collection[str]
) -> dict[str, object]:
    """What is said for this provider, by display name or slug, then for this endpoint, less what
    would break the hold. What is said for others goes to nobody."""
    merged: dict[str, object] = {}
    if not options:
        return merged
    provider = attempt.provider
    for slug in (provider.name, provider.id, attempt.endpoint.tag):
        for name, value in options.get(slug.lower(), {}).items():
            if name not in refused:
                merged[name] = value
    return merged
