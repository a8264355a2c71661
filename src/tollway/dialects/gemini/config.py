"""`generationConfig` of a provider's request: made of a Conversation, or the caller's own changed.

Rules: what the caller did not say is not sent; the output limit always is; a parameter the endpoint
does not support is taken out, one the API does not have is named in `dropped`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ...conversation import Conversation, Sampling, Thinking
from ...routing.entries import Attempt
from ..reasoning import Wanted
from . import schema
from .models import LEVELS, takes_budget, takes_level
from .writing import Pen

STOPS_MAX = 5
SEED_BITS = 31

CONFIG_OF = {
    "temperature": ("temperature",),
    "top_p": ("topP",),
    "top_k": ("topK",),
    "presence_penalty": ("presencePenalty",),
    "frequency_penalty": ("frequencyPenalty",),
    "seed": ("seed",),
    "stop": ("stopSequences",),
    "logprobs": ("responseLogprobs", "logprobs"),
    "top_logprobs": ("logprobs",),
    "response_format": ("responseMimeType", "responseSchema", "responseJsonSchema"),
    "structured_outputs": ("responseSchema", "responseJsonSchema"),
    "reasoning": ("thinkingConfig",),
}
"""Names in `supported_parameters` to fields of the configuration."""

SAMPLING = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty")


def without(attempt: Attempt) -> frozenset[str]:
    """Fields that this endpoint is not sent."""
    names = (*attempt.dropped_params, *(SAMPLING if attempt.model.no_sampling else ()))
    return frozenset(field for name in names for field in CONFIG_OF.get(name, ()))


def own(
    given: Mapping[str, Raw], removed: Collection[str], output_tokens_max: int
) -> dict[str, object]:
    """The caller's own `generationConfig` with what must change."""
    config: dict[str, object] = {}
    if "generationConfig" in given:
        fields = schema.fields_decoder.decode(given["generationConfig"])
        config.update((name, raw) for name, raw in fields.items() if name not in removed)
    config["maxOutputTokens"] = output_tokens_max
    return config


def written(
    spoken: Conversation, attempt: Attempt, output_tokens_max: int, choices: int, pen: Pen
) -> dict[str, object]:
    config = _sampling(spoken.sampling, pen)
    if choices > 1:
        config["candidateCount"] = choices
    if spoken.format is not None:
        config["responseMimeType"] = "application/json"
        if spoken.format.schema is not None:
            config["responseJsonSchema"] = spoken.format.schema
    thinking = _thinking(spoken.thinking, attempt, output_tokens_max, pen)
    if thinking:
        config["thinkingConfig"] = thinking
    if set(spoken.output_modalities) - {"text"}:
        config["responseModalities"] = [kind.upper() for kind in spoken.output_modalities]
    _extras(spoken, config, pen)
    removed = without(attempt)
    config = {name: value for name, value in config.items() if name not in removed}
    config["maxOutputTokens"] = output_tokens_max
    return config


def _sampling(asked: Sampling, pen: Pen) -> dict[str, object]:
    config: dict[str, object] = {}
    for name, field in _SAMPLING.items():
        value = getattr(asked, name)
        if value is not None:
            config[field] = value
    if asked.seed is not None and not -(2**SEED_BITS) <= asked.seed < 2**SEED_BITS:
        del config["seed"]
        pen.drop("seed (beyond 32 bits)")
    if asked.stop:
        config["stopSequences"] = asked.stop[:STOPS_MAX]
        if len(asked.stop) > STOPS_MAX:
            pen.drop(f"stop (beyond {STOPS_MAX})")
    for name in ("min_p", "top_a", "repetition_penalty", "logit_bias"):
        if getattr(asked, name) is not None:
            pen.drop(name)
    if asked.logprobs is False:
        config.pop("responseLogprobs")
    if "responseLogprobs" not in config:
        config.pop("logprobs", None)
    return config


_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "seed": "seed",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}


def _thinking(
    asked: Thinking, attempt: Attempt, output_tokens_max: int, pen: Pen
) -> dict[str, object]:
    """`thinkingConfig`. Thoughts are asked for where the caller wants to see them; models that only
    know a level get the nearest, an explicit budget is passed to those too."""
    if asked.on is None:
        return {}
    model, name = attempt.model, attempt.endpoint.id
    wanted = Wanted(asked.on, asked.effort, asked.budget, asked.exclude)
    config: dict[str, object] = {}
    if takes_level(model, name):
        if asked.on and asked.budget is not None and asked.effort is None:
            config["thinkingBudget"] = min(asked.budget, output_tokens_max)
        else:
            level = wanted.effort_for(model.efforts or LEVELS, output_tokens_max)
            if level is not None and level not in ("none", "off", "max"):
                config["thinkingLevel"] = level.upper()
            elif level == "max":
                config["thinkingLevel"] = "XHIGH"
    elif takes_budget(model, name):
        config["thinkingBudget"] = _budget(wanted, model.thinking_budget or {}, output_tokens_max)
    else:
        pen.drop("reasoning")
        return {}
    if asked.on:
        config["includeThoughts"] = not asked.exclude
    if asked.summary is not None:
        pen.drop("reasoning.summary")
    return config


def _budget(wanted: Wanted, bounds: Mapping[str, int], output_tokens_max: int) -> int:
    """Tokens within the model's own bounds. Zero is off, where the model can be off; -1 leaves it
    to the model."""
    least, most = bounds.get("min", 0), bounds.get("max", 24_576)
    if not wanted.on:
        return least
    if wanted.effort is None and wanted.budget is None:
        return -1
    tokens = wanted.budget_for(output_tokens_max)
    return max(least, min(most, output_tokens_max - 1 if tokens is None else tokens))


def _extras(spoken: Conversation, config: dict[str, object], pen: Pen) -> None:
    if spoken.parallel_calls is False:
        pen.drop("parallel_tool_calls")
    if spoken.verbosity is not None:
        pen.drop("verbosity")
    if spoken.cache is not None:
        pen.drop("cache_control")
    for name, raw in spoken.extras.items():
        if name == "image_config":
            config["imageConfig"] = _image_config(raw)
        elif name == "audio" and "audio" in spoken.output_modalities:
            config["speechConfig"] = _speech(raw)
        elif name not in _SILENT:
            pen.drop(name)


_SILENT = frozenset({"metadata", "safety_identifier", "prompt_cache_options", "stream_options"})
"""Say nothing to the model."""


def _image_config(raw: Raw) -> dict[str, Any]:
    """OpenRouter's names are the API's in snake case."""
    given = msgspec.json.decode(raw)
    fields = given if isinstance(given, dict) else {}
    known = {"aspect_ratio": "aspectRatio", "image_size": "imageSize"}
    return {known[name]: value for name, value in fields.items() if name in known}


def _speech(raw: Raw) -> dict[str, Any]:
    given = msgspec.json.decode(raw)
    voice = given.get("voice") if isinstance(given, dict) else None
    if not isinstance(voice, str):
        return {}
    return {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}}
