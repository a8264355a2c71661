"""`provider.options`: the caller's extra fields for one provider or endpoint.

Not here: which fields a dialect refuses (each dialect). Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..routing.entries import Attempt


def extra_options(
    options: Mapping[str, dict[str, object]] | None, attempt: Attempt, refused: Collection[str]
) -> dict[str, object]:
    """What is said for this provider, then for this endpoint, less what would break the hold."""
    merged: dict[str, object] = {}
    for slug in (attempt.provider.id, attempt.endpoint.tag) if options else ():
        for name, value in (options or {}).get(slug.lower(), {}).items():
            if name not in refused:
                merged[name] = value
    return merged
