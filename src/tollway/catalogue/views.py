"""Models, endpoints and providers as the public API shows them: OpenRouter's shapes.

Pure: entries in, JSON-ready dicts out. Which rows a list holds and in what order is in `listing`.
Rules: what no source says is null or absent, never a guess; the exceptions are fields the contract
requires to be values (`created` and an endpoint's `context_length` are 0 then, switches false). Prices are
what the caller pays, so the operator's margin is in them. Unit prices that OpenRouter's object has
no key for (pages, seconds, characters, rerank queries) are shown under our own names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from ..money import PPM, RATE_NAMES, Override, Price, Rates, usd_text
from .entries import Catalogue, Endpoint, Model, Provider

View = dict[str, Any]


def model_view(
    catalogue: Catalogue,
    model: Model,
    endpoints: Sequence[Endpoint] | None = None,
    *,
    margin_ppm: int = 0,
    base: str = "/api/v1",
) -> View:
    """OpenRouter's `Model`. `endpoints`: those the reader may use; None = all that are enabled.
    `base` is the prefix of `links.details`."""
    if endpoints is None:
        endpoints = enabled(catalogue, model.id)
    top = top_endpoint(endpoints)
    view: View = {
        "id": model.id,
        "canonical_slug": model.canonical_slug or model.id,
        "hugging_face_id": model.hugging_face_id,
        "name": model.name,
        "created": created_s(model),
        "description": description(model),
        "context_length": context_length(model, endpoints),
        "architecture": architecture(model),
        "pricing": pricing(model, top.price, margin_ppm) if top else dict(_UNKNOWN),
        "top_provider": {
            "context_length": (top.context_length or model.context_length) if top else None,
            "max_completion_tokens": (
                (top.output_tokens_max or model.output_tokens_max) if top else None
            ),
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": supported_parameters(model),
        "default_parameters": None,
        "supported_voices": None,
        "knowledge_cutoff": model.knowledge_cutoff,
        "expiration_date": expiration(endpoints),
        "links": {"details": f"{base}/models/{model.id}/endpoints"},
    }
    if (reasoning := _reasoning(model)) is not None:
        view["reasoning"] = reasoning
    return view


def alias_view(catalogue: Catalogue, slug: str, view: View, *, base: str = "/api/v1") -> View:
    """The view of the model that `~author/family-latest` means now, under the alias's own id and
    name; `alias_target` says which it is."""
    return {
        **view,
        "id": slug,
        "name": catalogue.families[slug].name,
        "alias_target": {"name": view["name"], "slug": view["id"]},
        "links": {"details": f"{base}/models/{slug}/endpoints"},
    }


def endpoint_view(
    catalogue: Catalogue,
    endpoint: Endpoint,
    health: Mapping[str, Any] | None = None,
    *,
    margin_ppm: int = 0,
) -> View:
    """OpenRouter's `PublicEndpoint`. `health` may give `status`, `uptime_last_5m`,
    `uptime_last_30m`, `uptime_last_1d` (percent), `latency_last_30m` (ms) and
    `throughput_last_30m` (tokens/s) as `{p50, p75, p90, p99}`, and `tool_call_success_last_2h`
    (percent, a field of ours); what it lacks is null."""
    model = catalogue.models[endpoint.model]
    provider = catalogue.providers[endpoint.provider]
    numbers = health or {}
    params = supported_parameters(model)
    if endpoint.params is not None:
        params = [name for name in params if name in endpoint.params]
    tools = "tools" in params
    return {
        "name": f"{provider.name} | {endpoint.id}",
        "model_id": model.id,
        "model_name": model.name,
        "provider_name": provider.name,
        "tag": endpoint.tag,
        "context_length": endpoint.context_length or model.context_length or 0,
        "max_prompt_tokens": None,
        "max_completion_tokens": endpoint.output_tokens_max or model.output_tokens_max,
        "quantization": endpoint.quantization,
        "pricing": pricing(model, endpoint.price, margin_ppm),
        "service_tier": endpoint.service_tier,
        "supported_parameters": params,
        "supports_tool_choice": {
            "none": tools,
            "auto": tools,
            "required": tools and "tool_choice" in params,
            "function": tools and "tool_choice" in params,
        },
        "supports_implicit_caching": (
            endpoint.price.base.input_cache_read is not None
            and endpoint.price.base.input_cache_write is None
        ),
        "supports_voice_cloning": False,
        "supports_multiple_audio_references": False,
        "supports_image_reference": False,
        "supports_diarization": False,
        "native_tools": {},
        "status": numbers.get("status", 0),
        "uptime_last_5m": numbers.get("uptime_last_5m"),
        "uptime_last_30m": numbers.get("uptime_last_30m"),
        "uptime_last_1d": numbers.get("uptime_last_1d"),
        "latency_last_30m": numbers.get("latency_last_30m"),
        "throughput_last_30m": numbers.get("throughput_last_30m"),
        "tool_call_success_last_2h": numbers.get("tool_call_success_last_2h"),
    }


def endpoints_view(
    catalogue: Catalogue,
    model: Model,
    endpoints: Sequence[Endpoint] | None = None,
    health: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    margin_ppm: int = 0,
) -> View:
    """`data` of `/models/{author}/{slug}/endpoints`. `health` is by endpoint key."""
    if endpoints is None:
        endpoints = enabled(catalogue, model.id)
    numbers = health or {}
    return {
        "id": model.id,
        "name": model.name,
        "created": created_s(model),
        "description": description(model),
        "architecture": architecture(model),
        "endpoints": [
            endpoint_view(catalogue, e, numbers.get(e.key), margin_ppm=margin_ppm)
            for e in endpoints
        ],
    }


def provider_view(provider: Provider) -> View:
    """A row of `/providers`."""
    return {
        "name": provider.name,
        "slug": provider.id,
        "privacy_policy_url": None,
        "terms_of_service_url": None,
        "status_page_url": None,
        "headquarters": provider.headquarters,
        "datacenters": list(provider.datacenters) or None,
    }


# ---- choices -------------------------------------------------------------------------------------


def enabled(catalogue: Catalogue, slug: str) -> tuple[Endpoint, ...]:
    """A model's endpoints at providers that are not switched off, in the order of the files."""
    return tuple(
        e for e in catalogue.endpoints.get(slug, ()) if catalogue.providers[e.provider].enabled
    )


def top_endpoint(endpoints: Sequence[Endpoint]) -> Endpoint | None:
    """The endpoint whose price stands for the model: the cheapest ordinary one (no service tier,
    no trial terms, prompt and output priced), else whatever there is."""
    ordinary = [e for e in endpoints if e.service_tier is None]
    paid = [e for e in ordinary if not e.free_trial]
    return min(paid or ordinary or endpoints, key=_cheapness, default=None)


def _cheapness(endpoint: Endpoint) -> tuple[bool, int]:
    base = endpoint.price.base
    unknown = base.prompt is None or base.completion is None
    return unknown, 3 * (base.prompt or 0) + (base.completion or 0)


def context_length(model: Model, endpoints: Sequence[Endpoint]) -> int | None:
    """The largest of its endpoints; one that says nothing has the model's own."""
    known = [e.context_length or model.context_length for e in endpoints] or [model.context_length]
    return max((k for k in known if k is not None), default=None)


def expiration(endpoints: Sequence[Endpoint]) -> str | None:
    """The date the last endpoint goes; None while one of them has no end."""
    ends = [e.retires for e in endpoints]
    if not ends or None in ends:
        return None
    return max(end for end in ends if end is not None)


def created_s(model: Model) -> int:
    """Unix seconds of the day it was released or first seen, UTC; 0 when nobody says."""
    if model.created is None:
        return 0
    return (date.fromisoformat(model.created).toordinal() - _EPOCH_DAY) * 86_400


_EPOCH_DAY = date(1970, 1, 1).toordinal()


# ---- parts ---------------------------------------------------------------------------------------


def pricing(model: Model, price: Price, margin_ppm: int = 0) -> View:
    """Decimal strings of USD per unit; `prompt` and `completion` are always there: "-1" where a
    model that is paid per token has no known price, "0" where tokens are not what is paid."""
    absent = _UNKNOWN if model.type in ("chat", "completion") else _UNPRICED
    view: View = {**absent, **_rates(price.base, margin_ppm)}
    if price.overrides:
        view["overrides"] = [_override(o, margin_ppm) for o in price.overrides]
    return view


_UNKNOWN = {"prompt": "-1", "completion": "-1"}
_UNPRICED = {"prompt": "0", "completion": "0"}
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _rates(rates: Rates, margin_ppm: int) -> dict[str, str]:
    return {
        name: usd_text(-(-rate * (PPM + margin_ppm) // PPM))
        for name in RATE_NAMES
        if (rate := getattr(rates, name)) is not None
    }


def _override(override: Override, margin_ppm: int) -> View:
    view: View = _rates(override.rates, margin_ppm)
    for name in ("min_prompt_tokens", "utc_start", "utc_end"):
        if (value := getattr(override, name)) is not None:
            view[name] = value
    if override.weekdays:
        view["utc_days"] = [_DAYS[day - 1] for day in override.weekdays]
    return view


def architecture(model: Model) -> View:
    inputs, outputs = list(model.input_modalities), list(model.output_modalities)
    return {
        "modality": f"{'+'.join(inputs)}->{'+'.join(outputs)}",
        "input_modalities": inputs,
        "output_modalities": outputs,
        "tokenizer": tokenizer(model),
        "instruct_type": None,
    }


_TOKENIZERS = (
    ("google/gemini", "Gemini"),
    ("google/gemma", "Gemma"),
    ("meta-llama/llama-2", "Llama2"),
    ("meta-llama/llama-3", "Llama3"),
    ("meta-llama/llama-4", "Llama4"),
    ("qwen/qwen3", "Qwen3"),
    ("qwen/", "Qwen"),
    ("openai/", "GPT"),
    ("anthropic/", "Claude"),
    ("x-ai/", "Grok"),
    ("cohere/", "Cohere"),
    ("amazon/nova", "Nova"),
    ("deepseek/", "DeepSeek"),
    ("mistralai/", "Mistral"),
)


def tokenizer(model: Model) -> str:
    """The tokenizer's family by author and name; `Media` for models that write no text."""
    if "text" not in model.output_modalities:
        return "Media"
    return next((family for start, family in _TOKENIZERS if model.id.startswith(start)), "Other")


_IMPLIED = {
    "tools": ("tools", "tool_choice"),
    "parallel_tool_calls": ("parallel_tool_calls",),
    "structured_outputs": ("response_format", "structured_outputs"),
    "reasoning": ("reasoning", "include_reasoning"),
    "temperature": ("temperature", "top_p"),
    "web_search": ("web_search_options",),
}


def supported_parameters(model: Model) -> list[str]:
    """As the sources list them; where none does, what the model's capabilities imply."""
    if model.params is not None:
        return list(model.params)
    if "text" not in model.output_modalities or model.type not in ("chat", "completion"):
        return []
    implied = {name for c in model.capabilities for name in _IMPLIED.get(c, ())}
    return sorted({"max_tokens"} | implied)


def _reasoning(model: Model) -> View | None:
    if "reasoning" not in model.capabilities:
        return None
    efforts = [e for e in _EFFORTS if e in model.efforts]
    return {
        "mandatory": False,
        "supported_efforts": efforts or None,
        "supports_max_tokens": model.thinking_budget is not None,
    }


_EFFORTS = ("max", "xhigh", "high", "medium", "low", "minimal", "none")
"""In the order the contract lists them: descending."""


def description(model: Model) -> str:
    """One sentence of facts: nobody's advertising is carried."""
    facts = [f"{', '.join(model.input_modalities)} in, {', '.join(model.output_modalities)} out"]
    if model.context_length:
        facts.insert(0, f"{model.context_length:,} tokens of context")
    if "reasoning" in model.capabilities:
        facts.append("reasoning")
    if "tools" in model.capabilities:
        facts.append("tools")
    if model.open_weights:
        facts.append("open weights")
    return f"{model.name} by {model.author}: {'; '.join(facts)}."
