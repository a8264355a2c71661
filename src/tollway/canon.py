"""The vocabulary of the road: what a request asks, what an answer says, what it used.

Frozen values without I/O, without provider names, without a wire format. Dialects turn bytes into
these and back; routing, metering and money read them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

TOKENS_MAX = 10**9
"""Upper bound of any token counter a provider may report."""

UNITS_MAX = 10_000
"""…and of what is counted in pieces: images, searches."""

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens and units of one generation, by the serving model's own count.

    `cached_tokens`, `cache_write_tokens`, `cache_write_1h_tokens`, `audio_tokens` and
    `image_tokens` are disjoint subsets of `prompt_tokens` (`cached_audio_tokens` of
    `cached_tokens`); `reasoning_tokens`, `audio_output_tokens` and `image_output_tokens` of
    `completion_tokens`. `estimated`: counted by us because the provider reported nothing.
    `doubts` names what a provider reported and we had to correct.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cached_audio_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    reasoning_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    images: int = 0
    web_searches: int = 0
    search_units: int = 0
    """What rerankers count in: by Cohere's definition a query over at most 100 documents."""
    estimated: bool = False
    doubts: tuple[str, ...] = ()

    @property
    def _sound(self) -> bool:
        """Nothing to correct: the usual case, decided without building anything."""
        inside = (
            self.cached_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
            + self.audio_tokens
            + self.image_tokens
        )
        outside = self.reasoning_tokens + self.audio_output_tokens + self.image_output_tokens
        least = min(
            self.cached_tokens,
            self.cached_audio_tokens,
            self.cache_write_tokens,
            self.cache_write_1h_tokens,
            self.audio_tokens,
            self.image_tokens,
            self.reasoning_tokens,
            self.audio_output_tokens,
            self.image_output_tokens,
            self.images,
            self.web_searches,
            self.search_units,
        )
        return (
            least >= 0
            and inside <= self.prompt_tokens <= TOKENS_MAX
            and outside <= self.completion_tokens <= TOKENS_MAX
            and self.cached_audio_tokens <= self.cached_tokens
            and self.images <= UNITS_MAX
            and self.web_searches <= UNITS_MAX
            and self.search_units <= UNITS_MAX
        )

    def checked(self) -> Usage:
        """The same usage within bounds: every counter in 0…10^9 and no subset larger than its
        total. What had to be corrected is named in `doubts`; the correction never lowers a total.
        """
        if self._sound:
            return self
        doubts: list[str] = []
        fixed: dict[str, int] = {}

        def bounded(name: str, most: int) -> int:
            value: int = getattr(self, name)
            if 0 <= value <= most:
                return value
            doubts.append(name)
            return 0 if value < 0 else most

        for total, parts in _SUBSETS:
            left = bounded(total, TOKENS_MAX) if total in _TOTALS else fixed[total]
            fixed[total] = left
            for part in parts:
                fixed[part] = bounded(part, left)
                left -= fixed[part]
        for unit in ("images", "web_searches", "search_units"):
            fixed[unit] = bounded(unit, UNITS_MAX)
        return msgspec.structs.replace(self, **fixed, doubts=tuple(doubts))

    def within(
        self, prompt_most: int, completion_most: int, units_most: int = 0, searches_most: int = 0
    ) -> Usage:
        """The same with totals (and search units, and searches) that no honest count of this
        request can exceed, and the subsets cut to them. What was cut is named in `doubts`. For a
        usage that was checked."""
        if (
            self.prompt_tokens <= prompt_most
            and self.completion_tokens <= completion_most
            and self.search_units <= units_most
            and self.web_searches <= searches_most
        ):
            return self
        cut = msgspec.structs.replace(
            self,
            prompt_tokens=min(self.prompt_tokens, prompt_most),
            completion_tokens=min(self.completion_tokens, completion_most),
            search_units=min(self.search_units, units_most),
            web_searches=min(self.web_searches, searches_most),
        ).checked()
        bounded = (*_TOTALS, "search_units", "web_searches")
        totals = tuple(t for t in bounded if getattr(cut, t) != getattr(self, t))
        doubts = tuple(dict.fromkeys((*self.doubts, *totals, *cut.doubts)))
        return msgspec.structs.replace(cut, doubts=doubts)


_TOTALS = ("prompt_tokens", "completion_tokens")
_SUBSETS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "prompt_tokens",
        (
            "cached_tokens",
            "cache_write_tokens",
            "cache_write_1h_tokens",
            "audio_tokens",
            "image_tokens",
        ),
    ),
    ("cached_tokens", ("cached_audio_tokens",)),
    ("completion_tokens", ("reasoning_tokens", "audio_output_tokens", "image_output_tokens")),
)


class MaxPrice(msgspec.Struct, frozen=True):
    """`provider.max_price` in pico-USD per unit (the API speaks of USD per million tokens)."""

    prompt: int | None = None
    completion: int | None = None
    request: int | None = None
    image: int | None = None
    audio: int | None = None


class HedgeWish(msgspec.Struct, frozen=True):
    """`provider.hedge`: ask a second endpoint when the first is silent for too long."""

    after_s: float | None
    """None = the first endpoint's own 95th percentile."""
    max_cost_nano: int | None = None
    """The most the endpoint that loses may cost the caller."""


class Preferences(msgspec.Struct, frozen=True):
    """The caller's `provider` object, parsed. Slugs are lower case; `None` = not said."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False
    data_collection: Literal["allow", "deny"] = "allow"
    zdr: bool = False
    enforce_distillable_text: bool = False
    quantizations: tuple[str, ...] = ()
    sort: Literal["price", "throughput", "latency", "exacto"] | None = None
    partition: Literal["model", "none"] = "model"
    max_price: MaxPrice | None = None
    preferred_min_throughput: dict[str, float] | None = None
    """Percentile name (`p50` …) to output tokens per second."""
    preferred_max_latency: dict[str, float] | None = None
    """Percentile name to seconds before the first token."""
    options: dict[str, dict[str, object]] | None = None
    """Provider slug to extra top-level fields, sent to that provider alone."""
    hedge: HedgeWish | None = None


NO_PREFERENCES = Preferences()


class UsedPreset(msgspec.Struct, frozen=True):
    """The preset a request used, and what of it is not a field of the request."""

    id: str
    slug: str
    version: int
    cache_enabled: bool | None = None
    """Of the response cache; None = the preset does not say."""
    cache_ttl_seconds: int | None = None
    dropped: tuple[str, ...] = ()
    """Fields of the preset that have no place in the caller's dialect."""


class PluginOptions(msgspec.Struct, frozen=True):
    """Options that the plugin itself reads: the caller's object, and where it stands in the body
    (`plugins[0]`)."""

    path: str
    raw: dict[str, Any]


class Plugins(msgspec.Struct, frozen=True):
    """The caller's `plugins`, parsed."""

    compression: bool | None = None
    """Context compression on, off, or not said: then it is on for small windows only."""
    healing: bool = False
    options: dict[str, PluginOptions] = {}
    """Of routers that were named and not switched off, by their id."""


NO_PLUGINS = Plugins()


class Request(msgspec.Struct, frozen=True):
    """One inference request as routing, admission and metering see it.

    `fields` are the caller's own top-level fields, untouched JSON: a dialect that serves the same
    dialect sends them on as they came. Everything else here is derived from them once.
    """

    dialect: str
    """Of the caller: `openai_chat`, `openai_completions`, …"""
    models: tuple[str, ...]
    """Slugs in the order to try. Empty only as parsed, for a caller who leaves it to the workspace
    (`routing.policy.with_default_model`)."""
    stream: bool
    fields: dict[str, msgspec.Raw]
    kind: Literal["chat", "embedding", "rerank"] = "chat"
    params: frozenset[str] = frozenset()
    """Parameters that were sent, in the vocabulary of `supported_parameters`."""
    modalities: frozenset[str] = frozenset({"text"})
    """What the input contains: text, image, file, audio, video."""
    output_tokens_max: int | None = None
    """The caller's limit over all its spellings; None = none given."""
    choices: int = 1
    """`n`: how many answers are generated and paid."""
    prompt_bytes: int = 0
    """Bytes of everything the model reads as text (messages, tools, schema)."""
    media_tokens: int = 0
    """Upper estimate for images, files, audio and video in the input."""
    images: int = 0
    search_units: int = 0
    """Upper estimate of what a reranker counts in (`Usage.search_units`)."""
    window_bytes: int | None = None
    """Bytes of the longest text that must fit a context window by itself, where the prompt is read
    in pieces (embeddings, rerank); None = all of it."""
    cache_marked: bool = False
    """The caller placed cache breakpoints, so cache writes may be billed."""
    preferences: Preferences = NO_PREFERENCES
    plugins: Plugins = NO_PLUGINS
    session_id: str | None = None
    user: str | None = None
    preset: UsedPreset | None = None
    """What was merged into `fields` before they were parsed; None = no preset was named."""

    @property
    def prompt_tokens_max(self) -> int:
        """What a hold assumes for the input: a token for every 2 bytes, twice what ordinary text
        needs, and a constant for the framing of the messages. Text that is denser still (long
        runs of emoji) can exceed it; the ledger then takes the rest from what is available and
        the platform bears what is not (docs/billing.md)."""
        return self.prompt_bytes // 2 + self.media_tokens + 64

    @property
    def prompt_tokens_likely(self) -> int:
        """About 4 bytes a token: what is billed (marked estimated) when nobody reported usage."""
        return self.prompt_bytes // 4 + self.media_tokens + 1


# ---- what an answer says, piece by piece ---------------------------------------------------------
# A dialect's parser yields these; a renderer writes them. `choice` is the index of the answer.


class Text(msgspec.Struct, frozen=True, tag=True):
    """A piece of answer text."""

    text: str
    choice: int = 0


class Reasoning(msgspec.Struct, frozen=True, tag=True):
    """A piece of visible reasoning; `details` are opaque blocks to be returned unchanged
    (signatures, encrypted content), as `reasoning_details` entries."""

    text: str = ""
    details: tuple[msgspec.Raw, ...] = ()
    choice: int = 0


class Refusal(msgspec.Struct, frozen=True, tag=True):
    text: str
    choice: int = 0


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """A fragment of a tool call. The first fragment of an `index` carries `id` and `name`; all
    carry a (possibly empty) piece of the arguments' JSON text."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    choice: int = 0


class Extra(msgspec.Struct, frozen=True, tag=True):
    """Parts that are carried whole under their public name: images, audio, annotations, logprobs."""

    name: str
    value: msgspec.Raw
    choice: int = 0


class Finish(msgspec.Struct, frozen=True, tag=True):
    reason: FinishReason
    native: str | None = None
    choice: int = 0


class Used(msgspec.Struct, frozen=True, tag=True):
    usage: Usage


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The provider said, inside its answer, that it failed."""

    fault: Fault


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The dialect's own end of stream was seen ([DONE], message_stop, …)."""


Retry = Literal["elsewhere", "cool", "never", "larger"]
"""What a fault allows: try another endpoint at once; the same but rest this credential; nothing,
the request itself is wrong; only an endpoint with a larger context window."""


class Fault(msgspec.Struct, frozen=True):
    """Why an attempt failed, in our words. `message` is fit for the caller; `raw` is the
    provider's own text, kept for metadata, cut to a sane length."""

    status: int
    error_type: str
    message: str
    retry: Retry = "elsewhere"
    retry_after_s: float | None = None
    provider_code: str | None = None
    raw: str | None = None
    local: bool = False
    """Ours (DNS, no route, deadline of our own): counts against nobody's health."""
    geo: bool = False
    """The provider does not serve the country this server calls from."""


Event = Text | Reasoning | Refusal | ToolCall | Extra | Finish | Used | Failed | Ended
