"""Which preset a request names, and the request without that name.

`model: "@preset/slug"`, `model: "author/name@preset/slug"`, the same in `models`, `fallbacks` and
the path of a Gemini request, and `preset: "slug"`. A request has one preset: two are refused.
Suffixes behind the preset (`@preset/slug:nitro`) are those of the model it stands for: which of them
there are is the catalogue's and routing's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


class Suffixes(NamedTuple):
    """What stands behind a preset, as it is written: empty, or `:nitro`, `:free:online`."""

    text: str

    def of(self, models: Iterable[str]) -> list[str]:
        """The models of the preset with them."""
        return [model + self.text for model in models]


class Named(NamedTuple):
    """A request that names a preset, taken apart."""

    slug: str
    """Lower case; it may be that of no preset."""
    fields: dict[str, Raw]
    """Top-level fields without the name. `model` is absent where only the preset was named."""
    alone: Suffixes | None
    """`model` (of Gemini: the path) was the preset and nothing else, with these behind it."""
    models: tuple[str | Suffixes, ...] | None
    """The caller's list; of entries that are nothing but the preset, what stands behind it."""


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
    alone = None
    if dialect == "gemini":
        model: str | None = model_in(path)
    else:
        model = _text(rest["model"]) if "model" in rest else None
    if model is not None and MARK in model:
        base, slug, suffixes = _split(model)
        found[slug] = None
        alone = None if base else suffixes
        if dialect != "gemini":
            del rest["model"]
            if base:
                rest["model"] = _raw(base + suffixes.text)
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
    """A model without the preset behind it, suffixes and all; empty where it is nothing but the
    preset."""
    base, _, suffixes = _split(model)
    return base and base + suffixes.text


def _split(model: str) -> tuple[str, str, Suffixes]:
    base, _, named = model.partition(MARK)
    slug, colon, suffixes = named.partition(":")
    return base, slug.lower(), Suffixes(colon + suffixes)


def _models(rest: dict[str, Raw], found: dict[str, None]) -> tuple[str | Suffixes, ...] | None:
    """The bases of the caller's list; the list itself is mended where it named the preset."""
    for field in ("models", "fallbacks"):
        raw = rest.get(field)
        if raw is None:
            continue
        entries = _entries(raw, field)
        if not entries:
            continue
        listed: list[str | Suffixes] = []
        for entry in entries:
            if MARK not in entry:
                listed.append(entry)
                continue
            base, slug, suffixes = _split(entry)
            found[slug] = None
            listed.append(base + suffixes.text if base else suffixes)
        return tuple(listed)
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
