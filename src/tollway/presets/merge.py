"""A preset under a request: what the request says stands, what it leaves open the preset says.

Works on the raw top-level fields, before the dialect parses them, so that everything the preset
does not touch reaches a provider of the same dialect as the caller wrote it. The merge is shallow,
as OpenRouter's: `provider` or `response_format` of the request replace the preset's whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from .. import errors
from ..canon import Request, UsedPreset
from ..catalogue.entries import Model
from ..dialects.gemini.spelling import has_snake_case, respelled
from ..dialects.openai_chat_request import text_bytes
from ..dialects.problems import bad_request
from . import prompts, tools
from .draft import Draft
from .entries import Preset, Version
from .naming import Named, Suffixes, base_of, model_in, named, with_model
from .spelling import KNOWN, complete, own_fields

Find = Callable[[str], Model | None]
"""A model of the catalogue by any spelling of its slug, None for one that is not there."""


class Merged(NamedTuple):
    """What the dialect parses instead of what the caller sent."""

    body: bytes
    path: str
    used: UsedPreset


_fields = msgspec.json.Decoder(dict[str, Raw])


def read(dialect: str, body: bytes, path: str) -> Named | None:
    """The preset that a body (or a Gemini path) names. Raises CallerError (400)."""
    try:
        if dialect == "gemini" and has_snake_case(body):
            body = respelled(body)
        return named(dialect, _fields.decode(body), path)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None


def merge(
    dialect: str, asked: Named, path: str, preset: Preset, version: Version, find: Find
) -> Merged:
    """Raises CallerError (400) for fields of the request that cannot be merged with."""
    draft = Draft(asked.fields)
    path = _models(draft, dialect, asked, path, version)
    model = find(_first_model(draft, dialect, path))
    lost = _tools(draft, dialect, version)
    lost += complete(draft, dialect, version.config, model)
    if version.system_prompt is not None:
        prompts.put(draft, dialect, version.system_prompt)
    if own_fields(dialect, version.dialect):
        for name, value in version.config.items():
            if name not in KNOWN:
                draft.fields.setdefault(name, value)
    used = UsedPreset(
        id=preset.id,
        slug=preset.slug,
        version=version.number,
        cache_enabled=version.config.get("cache_enabled"),
        cache_ttl_seconds=version.config.get("cache_ttl_seconds"),
        dropped=tuple(dict.fromkeys(lost)),
    )
    return Merged(msgspec.json.encode(draft.fields), path, used)


def finished(request: Request, used: UsedPreset, version: Version) -> Request:
    """A parsed request with the preset it used. A legacy completion gets its system prompt here:
    its own fields have no place for one, the chat it became has."""
    changes: dict[str, Any] = {"preset": used}
    if request.dialect == "openai_completions" and version.system_prompt is not None:
        said = prompts.before(request.fields["messages"], version.system_prompt)
        fields = {**request.fields, "messages": said}
        changes |= {"fields": fields, "prompt_bytes": text_bytes(fields)}
    return msgspec.structs.replace(request, **changes)


# ---- models --------------------------------------------------------------------------------------


def _models(draft: Draft, dialect: str, asked: Named, path: str, version: Version) -> str:
    """Models of the request, then of the preset, as `model` and `models` (of Gemini: the path, which
    is given back). A list of the request replaces the preset's list, and its model too unless the
    preset alone was asked for: what a caller lists is not put behind something else. Suffixes
    behind the preset are for the models in whose place it stands."""
    config = version.config
    model, models = _listed(config.get("model")), _listed(config.get("models"))
    if asked.alone is not None:
        model, models = asked.alone.of(model), asked.alone.of(models)
    if asked.models is not None:
        kept = [*_listed(config.get("model")), *_listed(config.get("models"))]
        models = []
        for entry in asked.models:
            models += entry.of(kept) if isinstance(entry, Suffixes) else [entry]
        models = list(dict.fromkeys(models))
    if asked.models is not None and "fallbacks" in draft.fields:
        draft.fields["fallbacks"] = [{"model": each} for each in models]
    elif asked.models is not None or models:
        draft.fields["models"] = models
    if dialect == "gemini":
        return _path_with_model(asked, path, [*model, *models])
    first = asked.alone is not None or asked.models is None
    if "model" not in draft.fields and model and first:
        draft.fields["model"] = model[0]
    if "model" not in draft.fields and not models:
        raise _no_model(asked)
    return path


def _path_with_model(asked: Named, path: str, models: Sequence[str]) -> str:
    if asked.alone is None:
        return with_model(path, base_of(model_in(path)))
    if not models:
        raise _no_model(asked)
    return with_model(path, models[0])


def _no_model(asked: Named) -> errors.CallerError:
    return errors.bad_field("model", f"is required: the preset {asked.slug!r} names no model")


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _first_model(draft: Draft, dialect: str, path: str) -> str:
    """The model that a field's form is fitted to: the first that will be tried."""
    if dialect == "gemini":
        slug = model_in(path)
        return slug if "/" in slug else f"google/{slug}"
    first = draft.get(("model",)) or draft.get(("models",)) or draft.get(("fallbacks",))
    if isinstance(first, list) and first:
        first = first[0]
    if isinstance(first, Mapping):
        first = first.get("model")
    return first if isinstance(first, str) else ""


# ---- tools ---------------------------------------------------------------------------------------


def _tools(draft: Draft, dialect: str, version: Version) -> list[str]:
    kept = version.config.get("tools")
    if not kept:
        return []
    if dialect == "openai_completions":
        return ["tools"]  # a completion cannot show a call
    mine = draft.listed("tools")
    together, lost = tools.united(dialect, mine, kept, version.dialect)
    if together is not None:
        draft.fields["tools"] = together
    return lost
