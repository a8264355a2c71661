"""Money: units, prices, and what a usage costs.

Not here: balances, holds, transfers (ledger), where prices come from (catalogue).

Rules. Books are nano-USD, prices are pico-USD per unit, both Python integers; a float never
touches money. Prices are parsed from decimal strings. A cost is summed exactly in pico-USD and
rounded *up* to a nano-USD once per request. An unknown price is refused, never read as zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import msgspec

from .canon import Usage

NANO_PER_USD = 10**9
PICO_PER_USD = 10**12
PICO_PER_NANO = 1_000
PPM = 1_000_000

RATE_MAX_PICO = 10_000 * PICO_PER_USD
"""No unit of anything costs 10,000 USD; a price above this is a typing error."""

AMOUNT_MAX_NANO = 2**63 - 1
"""The books are signed 64-bit integers."""


class Rates(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pico-USD per unit. `None` = this provider publishes no such price.

    Names are OpenRouter's pricing keys; the last six are per rerank query, second of audio or
    video input, character, page and second of video output.
    """

    prompt: int | None = None
    completion: int | None = None
    request: int | None = None
    input_cache_read: int | None = None
    input_cache_write: int | None = None
    input_cache_write_1h: int | None = None
    internal_reasoning: int | None = None
    audio: int | None = None
    audio_output: int | None = None
    input_audio_cache: int | None = None
    image: int | None = None
    image_token: int | None = None
    image_output: int | None = None
    image_output_token: int | None = None
    web_search: int | None = None
    search_unit: int | None = None
    second_in: int | None = None
    character_in: int | None = None
    page: int | None = None
    video_second: int | None = None


RATE_NAMES: tuple[str, ...] = Rates.__struct_fields__


class Override(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rates that replace the base ones while every condition of the entry holds.

    `min_prompt_tokens` is strict (more than). `utc_start`/`utc_end` are HHMM, half open, may wrap
    midnight, equal = all day. `weekdays`: 1 = Monday; empty = every day.
    """

    rates: Rates
    min_prompt_tokens: int | None = None
    utc_start: int | None = None
    utc_end: int | None = None
    weekdays: tuple[int, ...] = ()

    def holds(self, prompt_tokens: int, at: datetime) -> bool:
        if self.min_prompt_tokens is not None and prompt_tokens <= self.min_prompt_tokens:
            return False
        if self.weekdays and at.isoweekday() not in self.weekdays:
            return False
        if self.utc_start is None or self.utc_end is None or self.utc_start == self.utc_end:
            return True
        clock = at.hour * 100 + at.minute
        if self.utc_start < self.utc_end:
            return self.utc_start <= clock < self.utc_end
        return clock >= self.utc_start or clock < self.utc_end


class Price(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one endpoint charges: base rates and their overrides, later matching entries win."""

    base: Rates
    overrides: tuple[Override, ...] = ()

    def rates(self, prompt_tokens: int, at_s: float) -> Rates:
        """The rates in force for a request of that size at that moment (Unix seconds)."""
        if not self.overrides:
            return self.base
        chosen, at = self.base, utc(at_s)
        for override in self.overrides:
            if override.holds(prompt_tokens, at):
                chosen = _overlay(chosen, override.rates)
        return chosen

    def ceiling_rates(self) -> Rates:
        """The dearest each unit can become under any override: what a hold must assume."""
        if not self.overrides:
            return self.base
        dearest: dict[str, int | None] = {}
        for name in RATE_NAMES:
            known = [
                rate
                for rates in (self.base, *(o.rates for o in self.overrides))
                if (rate := getattr(rates, name)) is not None
            ]
            dearest[name] = max(known, default=None)
        return Rates(**dearest)


class Cost(msgspec.Struct, frozen=True):
    """What a usage costs at one price, exact, in pico-USD, before margin and rounding."""

    prompt_pico: int
    completion_pico: int
    other_pico: int
    cache_discount_pico: int
    """What caching saved against the plain prompt price; negative when writes cost more."""

    @property
    def total_pico(self) -> int:
        return self.prompt_pico + self.completion_pico + self.other_pico


def cost(rates: Rates, usage: Usage) -> Cost:
    """Price a usage. Every token is counted once: cached, written, audio and reasoning tokens are
    taken out of their total before the remainder is priced.

    `usage` must have passed `Usage.checked()`, so no remainder is negative.
    Raises ValueError when the prompt or completion rate is unknown.
    """
    if rates.prompt is None or rates.completion is None:
        raise ValueError("the price of a prompt or completion token is unknown")
    prompt, completion = rates.prompt, rates.completion
    # A part without a price of its own costs what the whole does.
    read = prompt if (rate := rates.input_cache_read) is None else rate
    read_audio = read if (rate := rates.input_audio_cache) is None else rate
    write = prompt if (rate := rates.input_cache_write) is None else rate
    write_1h = write if (rate := rates.input_cache_write_1h) is None else rate
    audio = prompt if (rate := rates.audio) is None else rate
    image = prompt if (rate := rates.image_token) is None else rate
    reasoning = completion if (rate := rates.internal_reasoning) is None else rate
    audio_output = completion if (rate := rates.audio_output) is None else rate
    image_output = completion if (rate := rates.image_output_token) is None else rate
    cached_text = usage.cached_tokens - usage.cached_audio_tokens
    plain = (
        usage.prompt_tokens
        - usage.cached_tokens
        - usage.cache_write_tokens
        - usage.cache_write_1h_tokens
        - usage.audio_tokens
        - usage.image_tokens
    )
    prompt_pico = (
        plain * prompt
        + cached_text * read
        + usage.cached_audio_tokens * read_audio
        + usage.cache_write_tokens * write
        + usage.cache_write_1h_tokens * write_1h
        + usage.audio_tokens * audio
        + usage.image_tokens * image
    )
    text_output = (
        usage.completion_tokens
        - usage.reasoning_tokens
        - usage.audio_output_tokens
        - usage.image_output_tokens
    )
    completion_pico = (
        text_output * completion
        + usage.reasoning_tokens * reasoning
        + usage.audio_output_tokens * audio_output
        + usage.image_output_tokens * image_output
    )
    other_pico = (
        (rates.request or 0)
        + usage.images * (rates.image or 0)
        + usage.web_searches * (rates.web_search or 0)
        + usage.search_units * (rates.search_unit or 0)
    )
    discount = (
        cached_text * (prompt - read)
        + usage.cache_write_tokens * (prompt - write)
        + usage.cache_write_1h_tokens * (prompt - write_1h)
    )
    return Cost(prompt_pico, completion_pico, other_pico, discount)


def charge_nano(total_pico: int, margin_ppm: int = 0) -> int:
    """Cost plus margin, rounded up to a nano-USD. The one place where money is rounded."""
    if total_pico < 0:
        raise ValueError("a cost is never negative")
    return -(-total_pico * (PPM + margin_ppm) // (PPM * PICO_PER_NANO))


def parse_rate(text: object, name: str = "price") -> int:
    """A decimal string of USD per unit to pico-USD per unit.

    Raises ValueError for floats, negative, non-finite or absurd values, and for prices finer than
    a pico-USD. Integers are accepted because TOML writes `0` without quotes.
    """
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise ValueError(f"{name}: expected a decimal string of USD, got {type(text).__name__}")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{name}: expected a decimal string of USD, got {text!r}") from None
    if not value.is_finite() or value < 0:
        raise ValueError(f"{name}: must be zero or more, got {text!r}")
    pico = value * PICO_PER_USD
    if pico > RATE_MAX_PICO:
        raise ValueError(f"{name}: {text} USD per unit cannot be right")
    if pico != pico.to_integral_value():
        raise ValueError(f"{name}: {text} is finer than a pico-USD")
    return int(pico)


def parse_price(table: Mapping[str, object]) -> Price:
    """A `pricing` table (OpenRouter's keys, decimal strings, `overrides`) to a Price.

    Raises ValueError naming the key. Unknown keys are errors: a misspelt price is a wrong bill.
    """
    base = _parse_rates(table, skip={"overrides"})
    overrides: list[Override] = []
    entries = table.get("overrides", ())
    if not isinstance(entries, list | tuple):
        raise ValueError("overrides: expected an array of tables")
    for n, entry in enumerate(entries):
        conditions = {k: entry[k] for k in _CONDITIONS if k in entry}
        rates = _parse_rates(entry, skip=_CONDITIONS, at=f"overrides[{n}].")
        try:
            override = msgspec.convert({**conditions, "rates": rates}, Override)
        except msgspec.ValidationError as error:
            raise ValueError(f"overrides[{n}]: {error}") from None
        if (override.utc_start is None) != (override.utc_end is None):
            raise ValueError(f"overrides[{n}]: utc_start and utc_end come together")
        overrides.append(override)
    return Price(base, tuple(overrides))


def parse_usd(text: object, name: str = "amount") -> int:
    """A decimal amount of USD (string, or JSON number) to nano-USD.

    Raises ValueError when it is negative, not finite, or finer than a nano-USD. JSON numbers come
    in as float; their shortest decimal spelling is what the caller typed.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float | Decimal):
        raise ValueError(f"{name}: expected an amount of USD")
    if isinstance(text, float) and not math.isfinite(text):
        raise ValueError(f"{name}: must be finite")
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        raise ValueError(f"{name}: expected an amount of USD, got {text!r}") from None
    if not value.is_finite() or value < 0:
        raise ValueError(f"{name}: must be zero or more, got {text!r}")
    nano = value * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise ValueError(f"{name}: {text} is finer than a nano-USD")
    if nano > AMOUNT_MAX_NANO:
        raise ValueError(f"{name}: {text} USD is more than the books can hold")
    return int(nano)


def usd_from_nano(nano: int) -> float:
    """Nano-USD as the JSON number clients expect; exact to 2^53 nano-USD (9 million USD)."""
    return nano / NANO_PER_USD


def usd_text(rate_pico: int) -> str:
    """Pico-USD per unit as the decimal string of the public API: `0.00000015`, `0`."""
    return _plain(Decimal(rate_pico) / PICO_PER_USD)


def usd_text_nano(nano: int) -> str:
    """Nano-USD as a decimal string without exponent: `4.999999`, `-0.5`."""
    return _plain(Decimal(nano) / NANO_PER_USD)


def utc(at_s: float) -> datetime:
    """Unix seconds to an aware UTC datetime."""
    return datetime.fromtimestamp(at_s, UTC)


_CONDITIONS = {"min_prompt_tokens", "utc_start", "utc_end", "weekdays"}


def _parse_rates(table: Mapping[str, object], skip: set[str], at: str = "") -> Rates:
    unknown = sorted(set(table) - set(RATE_NAMES) - skip)
    if unknown:
        raise ValueError(f"{at}{unknown[0]}: no such price; known are {', '.join(RATE_NAMES)}")
    return Rates(
        **{
            name: parse_rate(table[name], at + name)
            for name in RATE_NAMES
            if table.get(name) is not None
        }
    )


def _overlay(under: Rates, over: Rates) -> Rates:
    changed = {n: rate for n in RATE_NAMES if (rate := getattr(over, n)) is not None}
    return msgspec.structs.replace(under, **changed)


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
