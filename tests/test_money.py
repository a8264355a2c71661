from __future__ import annotations

import json
import os
import random
from datetime import UTC, datetime
from fractions import Fraction
from math import ceil
from typing import Any

import pytest

from tollway.canon import TOKENS_MAX, Usage
from tollway.dialects.openai_usage import parse_usage
from tollway.money import (
    AMOUNT_MAX_NANO,
    Rates,
    charge_nano,
    cost,
    parse_price,
    parse_rate,
    parse_usd,
    usd_text,
    usd_text_nano,
)

WEDNESDAY = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)

PRICE = parse_price(
    {
        "prompt": "0.000003",
        "completion": "0.000015",
        "request": "0.001",
        "input_cache_read": "0.0000003",
        "input_cache_write": "0.00000375",
        "input_cache_write_1h": "0.000006",
        "internal_reasoning": "0.00002",
        "audio": "0.00001",
        "audio_output": "0.00004",
        "input_audio_cache": "0.000001",
        "image": "0.002",
        "image_token": "0.000005",
        "image_output_token": "0.00003",
        "web_search": "0.01",
        "search_unit": "0.002",
    }
)

GOLDEN = [
    ("nothing but the request fee", Usage(), 0, 1_000_000),
    ("plain tokens", Usage(1000, 100), 0, 1_000_000 + 3_000_000 + 1_500_000),
    ("cached tokens", Usage(1000, 0, cached_tokens=400), 0, 1_000_000 + 1_800_000 + 120_000),
    (
        "cached audio",
        Usage(1000, 0, cached_tokens=400, cached_audio_tokens=100),
        0,
        1_000_000 + 1_800_000 + 90_000 + 100_000,
    ),
    (
        "cache writes of both lives",
        Usage(1000, 0, cache_write_tokens=200, cache_write_1h_tokens=100),
        0,
        1_000_000 + 2_100_000 + 750_000 + 600_000,
    ),
    (
        "audio and image input",
        Usage(1000, 0, audio_tokens=300, image_tokens=200),
        0,
        1_000_000 + 1_500_000 + 3_000_000 + 1_000_000,
    ),
    (
        "reasoning, audio and image output",
        Usage(0, 1000, reasoning_tokens=600, audio_output_tokens=100, image_output_tokens=50),
        0,
        1_000_000 + 250 * 15_000 + 600 * 20_000 + 100 * 40_000 + 50 * 30_000,
    ),
    ("images and searches", Usage(images=3, web_searches=2), 0, 1_000_000 + 6_000_000 + 20_000_000),
    ("units of a rerank", Usage(search_units=3), 0, 1_000_000 + 6_000_000),
    ("a margin of 5.5 %", Usage(1000, 100), 55_000, 5_802_500),
]


@pytest.mark.parametrize(("what", "usage", "margin", "nano"), GOLDEN, ids=[g[0] for g in GOLDEN])
def test_a_usage_costs_what_the_price_list_says(
    what: str, usage: Usage, margin: int, nano: int
) -> None:
    assert usage.checked() is usage
    assert charge_nano(cost(PRICE.base, usage).total_pico, margin) == nano


def test_units_without_a_price_of_their_own_cost_what_their_total_costs() -> None:
    rates = Rates(prompt=100, completion=1000)
    mixed = Usage(90, 30, 10, 5, 10, 10, 10, 10, 10, 5, 5, images=2, web_searches=3)
    assert cost(rates, mixed).total_pico == 90 * 100 + 30 * 1000


def test_the_discount_of_a_cache_may_be_negative_when_writing() -> None:
    assert cost(PRICE.base, Usage(100, cached_tokens=100)).cache_discount_pico == 270_000_000
    assert cost(PRICE.base, Usage(100, cache_write_tokens=100)).cache_discount_pico == -75_000_000


def test_an_unknown_price_is_refused_and_never_zero() -> None:
    for rates in (Rates(), Rates(prompt=1), Rates(completion=1)):
        with pytest.raises(ValueError, match="unknown"):
            cost(rates, Usage(1, 1))


def test_a_charge_is_rounded_up_once() -> None:
    assert charge_nano(0) == 0
    assert charge_nano(1) == charge_nano(999) == charge_nano(1000) == 1
    assert charge_nano(1001) == 2
    assert charge_nano(1000, 1) == 2
    assert charge_nano(10**9 * 1000, 55_000) == 1_055_000_000
    with pytest.raises(ValueError, match="negative"):
        charge_nano(-1)


# ---- overrides -----------------------------------------------------------------------------------

LONG = parse_price(
    {
        "prompt": "0.000001",
        "completion": "0.000002",
        "overrides": [
            {"min_prompt_tokens": 200_000, "prompt": "0.000003"},
            {"min_prompt_tokens": 400_000, "prompt": "0.000005", "completion": "0.000009"},
        ],
    }
)


@pytest.mark.parametrize(
    ("tokens", "prompt", "completion"),
    [
        (0, 1_000_000, 2_000_000),
        (200_000, 1_000_000, 2_000_000),
        (200_001, 3_000_000, 2_000_000),
        (400_000, 3_000_000, 2_000_000),
        (400_001, 5_000_000, 9_000_000),
    ],
)
def test_a_long_prompt_is_dearer_only_above_its_threshold(
    tokens: int, prompt: int, completion: int
) -> None:
    rates = LONG.rates(tokens, WEDNESDAY.timestamp())
    assert (rates.prompt, rates.completion) == (prompt, completion)


def at(day: int, clock: str) -> datetime:
    """November 2026: the 23rd is a Monday."""
    hour, minute = map(int, clock.split(":"))
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def windowed(**condition: Any) -> Any:
    return parse_price(
        {
            "prompt": "0.000002",
            "completion": "0.000002",
            "overrides": [{"prompt": "0.000001", **condition}],
        }
    )


@pytest.mark.parametrize(
    ("condition", "moment", "cheap"),
    [
        ({"utc_start": 1630, "utc_end": 1830}, at(25, "16:29"), False),
        ({"utc_start": 1630, "utc_end": 1830}, at(25, "16:30"), True),
        ({"utc_start": 1630, "utc_end": 1830}, at(25, "18:29"), True),
        ({"utc_start": 1630, "utc_end": 1830}, at(25, "18:30"), False),
        ({"utc_start": 1630, "utc_end": 30}, at(25, "23:59"), True),
        ({"utc_start": 1630, "utc_end": 30}, at(26, "00:29"), True),
        ({"utc_start": 1630, "utc_end": 30}, at(26, "00:30"), False),
        ({"utc_start": 900, "utc_end": 900}, at(25, "03:00"), True),
        ({"weekdays": [6, 7]}, at(27, "23:59"), False),
        ({"weekdays": [6, 7]}, at(28, "00:00"), True),
        ({"weekdays": [6, 7]}, at(29, "23:59"), True),
        ({"weekdays": [1], "utc_start": 0, "utc_end": 100}, at(23, "00:59"), True),
        ({"weekdays": [1], "utc_start": 0, "utc_end": 100}, at(24, "00:59"), False),
        ({"weekdays": [1], "min_prompt_tokens": 10}, at(23, "00:59"), False),
    ],
)
def test_a_price_by_the_clock_holds_from_its_start_to_before_its_end(
    condition: dict[str, Any], moment: datetime, cheap: bool
) -> None:
    assert windowed(**condition).rates(10, moment.timestamp()).prompt == (
        1_000_000 if cheap else 2_000_000
    )


def test_a_ceiling_assumes_the_dearest_of_every_unit() -> None:
    ceiling = LONG.ceiling_rates()
    assert (ceiling.prompt, ceiling.completion, ceiling.image) == (5_000_000, 9_000_000, None)
    assert windowed(weekdays=[1]).ceiling_rates().prompt == 2_000_000


# ---- text ----------------------------------------------------------------------------------------


def test_published_prices_are_exact_in_pico_usd() -> None:
    assert parse_rate("0.00000015") == 150_000
    assert parse_rate("1e-12") == 1
    assert parse_rate(0) == 0
    assert usd_text(150_000) == "0.00000015"
    assert usd_text_nano(-500_000_000) == "-0.5"


@pytest.mark.parametrize("text", [0.1, True, None, "", "x", "-1", "NaN", "1e999", "1e-13", "10001"])
def test_what_is_not_a_price_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        parse_rate(text)


def test_amounts_of_usd_are_exact_to_a_nano() -> None:
    assert parse_usd("5") == 5 * 10**9
    assert parse_usd(0.1) == 10**8
    assert parse_usd("9223372036.854775807") == AMOUNT_MAX_NANO
    for wrong in (
        "9223372036.854775808",
        "0.0000000001",
        "-1",
        float("nan"),
        float("inf"),
        True,
        "x",
    ):
        with pytest.raises(ValueError):
            parse_usd(wrong)


# ---- R8: a million usages ------------------------------------------------------------------------

USAGES, REPORTS = 950_000, 50_000
NUMBERS = [*range(0, 4000, 7), 10**6, TOKENS_MAX - 1, TOKENS_MAX, TOKENS_MAX + 1]
HOSTILE = [-1, -(2**63), 2**63, 2**63 - 1, 2**64, 10**30, -5]
JSON_HOSTILE = [
    "NaN",
    "1e999",
    "-Infinity",
    "true",
    "false",
    "1.5",
    "-1",
    '"12"',
    "null",
    "[]",
    "{}",
]


def exact_pico(rates: Rates, u: Usage) -> int:
    """Every token once, at its own price or its total's, written as one list of products."""
    prompt, completion = rates.prompt or 0, rates.completion or 0
    read = prompt if rates.input_cache_read is None else rates.input_cache_read
    write = prompt if rates.input_cache_write is None else rates.input_cache_write
    sold = (
        (u.cached_tokens - u.cached_audio_tokens, read),
        (
            u.cached_audio_tokens,
            read if rates.input_audio_cache is None else rates.input_audio_cache,
        ),
        (u.cache_write_tokens, write),
        (
            u.cache_write_1h_tokens,
            write if rates.input_cache_write_1h is None else rates.input_cache_write_1h,
        ),
        (u.audio_tokens, prompt if rates.audio is None else rates.audio),
        (u.image_tokens, prompt if rates.image_token is None else rates.image_token),
        (
            u.reasoning_tokens,
            completion if rates.internal_reasoning is None else rates.internal_reasoning,
        ),
        (u.audio_output_tokens, completion if rates.audio_output is None else rates.audio_output),
        (
            u.image_output_tokens,
            completion if rates.image_output_token is None else rates.image_output_token,
        ),
        (u.images, rates.image or 0),
        (u.web_searches, rates.web_search or 0),
        (u.search_units, rates.search_unit or 0),
        (1, rates.request or 0),
    )
    inputs = sum(n for n, _ in sold[:6])
    outputs = sum(n for n, _ in sold[6:9])
    rest = (u.prompt_tokens - inputs) * prompt + (u.completion_tokens - outputs) * completion
    return rest + sum(n * rate for n, rate in sold)


def some_rates(rng: random.Random) -> Rates:
    names = [name for name in Rates.__struct_fields__ if rng.random() < 0.5]
    known = {name: rng.choice((0, 1, 150_000, 37_500, 10**7, 10**9)) for name in names}
    return Rates(**{"prompt": rng.randrange(10**7), "completion": rng.randrange(10**8), **known})


def check(rates: Rates, usage: Usage, margin: int, by_fraction: bool) -> None:
    checked = usage.checked()
    found = cost(rates, checked)
    charge = charge_nano(found.total_pico, margin)
    exact = exact_pico(rates, checked)
    assert found.total_pico == exact
    assert found.prompt_pico >= 0 and found.completion_pico >= 0 and found.other_pico >= 0
    # the smallest whole number of nano-USD that is not below the exact price
    assert charge >= 0 and (charge - 1) * 10**9 < exact * (10**6 + margin) <= charge * 10**9
    if by_fraction:
        price = Fraction(exact, 1000) * (1 + Fraction(margin, 10**6))
        assert charge == ceil(price)
        assert 0 <= charge - price < 1


def test_a_million_usages_cost_exactly_their_fraction_rounded_up() -> None:
    seed = int(os.environ.get("MONEY_SEED", random.randrange(10**9)))
    print(f"R8 seed {seed}")
    rng = random.Random(seed)
    prices = [some_rates(rng) for _ in range(500)]
    pool = rng.choices(NUMBERS + HOSTILE, k=8191)
    tame = rng.choices(NUMBERS[:400], k=8191)
    fields = len(Usage.__struct_fields__) - 2
    doubted = 0
    for n in range(USAGES):
        source = pool if n % 3 == 0 else tame
        start = n * 17 % (8191 - fields)
        usage = Usage(*source[start : start + fields])
        check(prices[n % 500], usage, n % 7 * 12_345, n % 50 == 0)
        doubted += bool(usage.checked().doubts) if n % 50 == 0 else 0
    refused = 0
    for n in range(REPORTS):
        report = json.loads(a_report(rng))
        usage_or_none = parse_usage(report)
        if usage_or_none is None:
            refused += 1
        else:
            check(prices[n % 500], usage_or_none, 55_000, True)
    print(f"R8: {USAGES + REPORTS} usages, {refused} reports not believed, 0 wrong charges")
    assert 0 < refused < REPORTS
    assert doubted > 0


def a_report(rng: random.Random) -> str:
    """A provider's usage as JSON text: hostile values, duplicate keys, aliases, parts above totals."""

    def value() -> str:
        if rng.random() < 0.2:
            return rng.choice(JSON_HOSTILE)
        return str(rng.choice(NUMBERS if rng.random() < 0.9 else HOSTILE))

    keys = rng.choices(
        ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens",
         "cached_tokens", "prompt_cache_hit_tokens"),
        k=rng.randint(0, 6),
    )  # fmt: skip
    parts = [f'"{key}": {value()}' for key in ("prompt_tokens", "completion_tokens", *keys)]
    inside = ", ".join(
        f'"{k}": {value()}' for k in ("cached_tokens", "audio_tokens", "cached_tokens")
    )
    outside = ", ".join(f'"{k}": {value()}' for k in ("reasoning_tokens", "audio_tokens"))
    parts += [
        f'"prompt_tokens_details": {{{inside}}}',
        f'"completion_tokens_details": {{{outside}}}',
    ]
    rng.shuffle(parts)
    return "{" + ", ".join(parts) + "}"


def test_a_corrected_usage_is_within_bounds_and_says_what_was_doubted() -> None:
    wild = Usage(
        100, 50, cached_tokens=80, cache_write_tokens=40, reasoning_tokens=-3, images=10**6
    )
    fixed = wild.checked()
    assert (fixed.prompt_tokens, fixed.completion_tokens) == (100, 50)
    assert (fixed.cached_tokens, fixed.cache_write_tokens) == (80, 20)
    assert (fixed.reasoning_tokens, fixed.images) == (0, 10_000)
    assert fixed.doubts == ("cache_write_tokens", "reasoning_tokens", "images")
    assert fixed.checked().doubts == fixed.doubts
