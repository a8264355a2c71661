"""What the catalogue holds: providers, models, endpoints, and the immutable index over them.

Frozen values, no I/O. Files are read by `load`, live credentials are matched by `wiring`.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal

import msgspec

from ..money import Price

ModelType = Literal[
    "chat",
    "completion",
    "embedding",
    "rerank",
    "image",
    "transcription",
    "speech",
    "video",
    "realtime",
    "ocr",
    "moderation",
    "classifier",
]

_DIALECTS = """
openai_chat openai_completions openai_responses openai_decisions openai_chat_gateway
anthropic_messages gemini vertex_gemini vertex_anthropic vertex_mistral vertex_openai
bedrock_converse bedrock_invoke azure_openai azure_ai_inference mistral cohere_v2 watsonx
ollama sagemaker replicate fal_queue systemone
embed_openai embed_cohere embed_nomic rerank_cohere rerank_voyage rerank_tei moderation_openai
image_openai image_async image_stability video_async realtime_openai
stt_openai stt_assemblyai stt_deepgram stt_soniox tts_openai tts_elevenlabs tts_fish
"""
DIALECTS: frozenset[str] = frozenset(_DIALECTS.split())
"""Every wire format a fact may name, whether or not this version can speak it."""


class Auth(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a provider wants its credential. `scheme`: `header` (with `header` and `format`),
    `none`, or a scheme that needs its own generator (`aws-sigv4`, `oauth2-bearer`, …)."""

    scheme: str = "header"
    env: tuple[str, ...] = ()
    """Environment variables; the first is the key, further ones belong to the scheme."""
    header: str = "Authorization"
    format: str = "Bearer {key}"
    service: str | None = None
    """The service name an `aws-sigv4` signature covers."""


class DataPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a provider does with prompts. `None` = unknown, read as the worst case. `basis`:
    `v` published by OpenRouter, `a` third-party audit, `k` own knowledge."""

    trains_on_data: bool | None = None
    retains_days: int | None = None
    basis: str | None = None

    @property
    def trains(self) -> bool:
        return self.trains_on_data is not False

    @property
    def retains(self) -> bool:
        return self.retains_days != 0


class Provider(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who sells inference, where, and how it is spoken to."""

    id: str
    name: str
    dialect: str = "openai_chat"
    base_url: str | None = None
    """May hold `{placeholders}`, filled from the environment variables in `variables`."""
    variables: dict[str, str] = {}
    """Placeholder name to environment variable."""
    auth: Auth = Auth()
    kind: str = "host"
    enabled: bool = True
    """False: shipped but switched off because a fact it needs is unconfirmed; `disabled_because`
    says which. An operator's file switches it on by naming the id with `enabled = true`."""
    disabled_because: str | None = None
    private_network: bool = False
    cancels: bool = True
    """Closing the connection stops generation and billing there (reference 2.18)."""
    quirks: tuple[str, ...] = ()
    """Names in `dialects/quirks.py`, `name` or `name=value`."""
    headers: dict[str, str] = {}
    """Fixed request headers."""
    dialects: dict[str, str] = {}
    """Other dialects it speaks, each with its base URL."""
    regions: dict[str, str] = {}
    """Base URLs that keep data in a region, by the region's name."""
    data_policy: DataPolicy = DataPolicy()
    headquarters: str | None = None
    datacenters: tuple[str, ...] = ()
    docs: str | None = None
    models_path: str | None = None
    aliases: tuple[str, ...] = ()
    checked: str | None = None
    """Date the facts were last looked at, YYYY-MM-DD."""
    source: tuple[str, ...] = ()


class Model(msgspec.Struct, frozen=True, omit_defaults=True):
    """One public slug: what it can do, whoever serves it."""

    id: str
    name: str
    author: str
    type: ModelType = "chat"
    created: str | None = None
    """YYYY-MM-DD."""
    context_length: int | None = None
    output_tokens_max: int | None = None
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    capabilities: tuple[str, ...] = ()
    params: tuple[str, ...] | None = None
    """`supported_parameters`; None = no source says, so nothing is dropped."""
    no_sampling: bool = False
    efforts: tuple[str, ...] = ()
    thinking_budget: dict[str, int] | None = None
    dimensions: tuple[int, ...] = ()
    knowledge_cutoff: str | None = None
    open_weights: bool | None = None
    hugging_face_id: str | None = None
    canonical_slug: str | None = None


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model at one provider: the unit that is routed to, measured and priced."""

    key: str
    """Unique and stable: `model@tag`; health and generations refer to it."""
    model: str
    provider: str
    tag: str
    """Public name within the model: `groq`, `deepinfra/turbo`, `google-vertex/us-east5`."""
    id: str
    """The provider's own name for the model."""
    price: Price
    price_version: str
    """Short digest of the price, stored with each generation."""
    dialect: str = "openai_chat"
    context_length: int | None = None
    output_tokens_max: int | None = None
    quantization: str = "unknown"
    region: str | None = None
    variant: str | None = None
    service_tier: str | None = None
    free_trial: bool = False
    retires: str | None = None
    params: tuple[str, ...] | None = None
    """`supported_parameters` here, where this endpoint takes fewer than its model; None = as its
    model."""
    source: tuple[str, ...] = ()
    own: bool = False
    """From a file of the operator, who answers for its price and owns its capacity."""


Task = Literal[
    "agent",
    "code",
    "math",
    "reasoning",
    "extraction",
    "translation",
    "summary",
    "writing",
    "media",
    "document",
    "chat",
]
"""Kinds of work the automatic router tells apart, and a benchmark may speak for."""


class Benchmark(msgspec.Struct, frozen=True, omit_defaults=True):
    """One published comparison of models: the higher the score, the better. Only the order of its
    scores is read, so any scale will do."""

    name: str
    source: str
    checked: str
    """Date the scores were read, YYYY-MM-DD."""
    scores: dict[str, float]
    """By the catalogue's own slug."""
    tasks: tuple[Task, ...] = ()
    """Kinds of work it says something about; none = about all of them."""


class Family(msgspec.Struct, frozen=True, omit_defaults=True):
    """Models that follow one another, known by a `~author/family-latest` slug. Both fields are
    regular expressions over a slug's part behind the author."""

    name: str
    models: str
    excluded: str | None = None


class Catalogue(msgspec.Struct, frozen=True):
    """All facts, indexed. Immutable: a changed catalogue is a new value, swapped whole.

    `models` keeps the order of the files; `endpoints` maps a model slug to its endpoints;
    `aliases` maps other spellings (dated slugs, old names) to a slug; `retired` maps a slug that is
    gone to its successors.
    """

    providers: dict[str, Provider]
    models: dict[str, Model]
    endpoints: dict[str, tuple[Endpoint, ...]]
    aliases: dict[str, str]
    retired: dict[str, tuple[str, ...]]
    provider_names: dict[str, str] = {}
    """Lower-cased id, alias or display name to provider id; see `provider_names_of`."""
    benchmarks: tuple[Benchmark, ...] = ()

    families: dict[str, Family] = {}
    """`~author/family-latest` to what belongs to it."""
    latest: dict[str, str] = {}
    """The same slugs to the model each means now; filled by `families.with_latest`."""

    def resolve(self, slug: str) -> str | None:
        """The catalogue's own slug for any accepted spelling, or None. Case is folded."""
        slug = slug.lower()
        if slug in self.models:
            return slug
        return self.aliases.get(slug) or self.latest.get(slug)

    def provider_slug(self, name: str) -> str:
        """A provider's id from id, alias or display name (`Moonshot AI`); unknown names pass
        through lower-cased, so they simply match nothing."""
        return self.provider_names.get(name.lower(), name.lower())


def provider_names_of(providers: Iterable[Provider]) -> dict[str, str]:
    names: dict[str, str] = {}
    for provider in providers:
        for spelling in (*provider.aliases, provider.name, provider.id):
            names[spelling.lower()] = provider.id
    return names


def price_version(price: Price) -> str:
    """Equal prices, equal versions: 12 hex digits of a digest over the price's fields."""
    packed = msgspec.msgpack.encode(price)
    return blake2b(packed, digest_size=6).hexdigest()
