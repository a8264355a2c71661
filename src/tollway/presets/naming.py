"""Which preset a request names, and the request without that name.

`model: "@preset/slug"`, `model: "author/name@preset/slug"`, the same in `models`, `fallbacks` and
the path of a Gemini request, and `preset: "slug"`. A request has one preset: two are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec
from msgspec import Raw

from .. import errors

MARK = "@preset/"
SPEAKS = frozenset(
    {"openai_chat", "openai_completions", "openai_responses", "anthropic_messages", "gemini"}
)
"""Dialects whose requests may use a preset."""


class Named(NamedTuple):
    """A request that names a preset, taken apart."""

    slug: str
    """Lower case; it may be that of no preset."""
    fields: dict[str, Raw]
    """Top-level fields without the name. `model` is absent where only the preset was named."""
    alone: bool
    """`model` (of Gemini: the path) was the preset and nothing else."""
    models: tuple[str, ...] | None
    """The caller's list; entries that are nothing but the preset are empty."""


def names_preset(models: tuple[str, ...], fields: Mapping[str, Raw]) -> bool:
    """Whether a parsed request names a preset: what every request pays."""
    if "preset" in fields:
        return True
    for model in models:  # noqa: SIM110  a generator costs three times as much
        if MARK in model:
            return True
    return False


def named(dialect: str, fields: Mapping[str, Raw], path: str) -> Named | None:
    """None where no preset is named. Raises CallerError (400)."""
    found: dict[str, None] = {}
    rest = {name: raw for name, raw in fields.items() if bytes(memoryview(raw)[:4]) != b"null"}
    if "preset" in rest:
        given = _text(rest.pop("preset"))
        if given is None:
            raise errors.bad_field("preset", "expected the slug of a preset")
        found[given.lower().removeprefix(MARK)] = None
    alone = False
    if dialect == "gemini":
        model: str | None = model_in(path)
    else:
        model = _text(rest["model"]) if "model" in rest else None
    if model is not None and MARK in model:
        base, slug = _split(model)
        found[slug] = None
        alone = not base
        if dialect != "gemini":
            del rest["model"]
            if base:
                rest["model"] = _raw(base)
    models = _models(rest, found)
    if not found:
        return None
    if len(found) > 1:
        slugs = " and ".join(found)
        raise errors.bad_field("preset", f"the request names {slugs}; it can use one preset")
    return Named(next(iter(found)), rest, alone, models)


def model_in(path: str) -> str:
    """The model in the path of a Gemini request, as it is written there."""
    plain = unquote(path.partition("?")[0])
    return plain.partition("/models/")[2].rpartition(":")[0]


def with_model(path: str, model: str) -> str:
    """A Gemini path that names `model` instead."""
    head, _, rest = path.partition("/models/")
    return f"{head}/models/{quote(model, safe='/:')}:{rest.rpartition(':')[2]}"


def base_of(model: str) -> str:
    """A model without the preset behind it; empty where it is nothing but the preset."""
    return model.partition(MARK)[0]


def _split(model: str) -> tuple[str, str]:
    base, _, slug = model.partition(MARK)
    return base, slug.lower()


def _models(rest: dict[str, Raw], found: dict[str, None]) -> tuple[str, ...] | None:
    """The bases of the caller's list; the list itself is mended where it named the preset."""
    for field in ("models", "fallbacks"):
        raw = rest.get(field)
        if raw is None:
            continue
        entries = _entries(raw, field)
        if not entries:
            continue
        if any(MARK in entry for entry in entries):
            bases = []
            for entry in entries:
                base, slug = _split(entry)
                if MARK in entry:
                    found[slug] = None
                bases.append(base)
            entries = bases
        return tuple(entries)
    return None


def _entries(raw: Raw, field: str) -> list[str]:
    try:
        if field == "models":
            return msgspec.json.decode(raw, type=list[str])
        return [entry.model for entry in msgspec.json.decode(raw, type=list[_Fallback])]
    except msgspec.ValidationError:
        shape = "strings" if field == "models" else 'objects {"model": …}'
        raise errors.bad_field(field, f"expected an array of {shape}") from None


class _Fallback(msgspec.Struct, forbid_unknown_fields=True):
    model: str


def _text(raw: Raw) -> str | None:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        return None


def _raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))
