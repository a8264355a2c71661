"""dialects/openai_usage.py"""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialect_support import BILL
from msgspec import Raw

from tollway.canon import Usage
from tollway.dialects import Bill
from tollway.dialects.openai_usage import parse_usage, read_usage, render_usage

SHAPES: list[tuple[str, Any, Usage | None]] = [
    (
        "OpenAI",
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "total_tokens": 150,
            "prompt_tokens_details": {
                "cached_tokens": 40,
                "cache_write_tokens": 10,
                "audio_tokens": 5,
                "image_tokens": 6,
            },
            "completion_tokens_details": {
                "reasoning_tokens": 20,
                "audio_tokens": 3,
                "image_tokens": 4,
                "accepted_prediction_tokens": 1,
            },
        },
        Usage(
            prompt_tokens=100,
            completion_tokens=50,
            cached_tokens=40,
            cache_write_tokens=10,
            audio_tokens=5,
            image_tokens=6,
            reasoning_tokens=20,
            audio_output_tokens=3,
            image_output_tokens=4,
        ),
    ),
    (
        "cached audio is counted once",
        {
            "prompt_tokens": 100,
            "completion_tokens": 1,
            "prompt_tokens_details": {
                "cached_tokens": 40,
                "audio_tokens": 30,
                "cached_tokens_details": {"audio_tokens": 10},
            },
        },
        Usage(
            prompt_tokens=100,
            completion_tokens=1,
            cached_tokens=40,
            cached_audio_tokens=10,
            audio_tokens=20,
        ),
    ),
    (
        "DeepSeek",
        {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "prompt_cache_hit_tokens": 8,
            "prompt_cache_miss_tokens": 2,
        },
        Usage(prompt_tokens=10, completion_tokens=2, cached_tokens=8),
    ),
    (
        "Moonshot",
        {"prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 7},
        Usage(prompt_tokens=10, completion_tokens=2, cached_tokens=7),
    ),
    (
        "Anthropic-compatible host",
        {
            "prompt_tokens": 10,
            "completion_tokens": 2,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 4,
        },
        Usage(prompt_tokens=10, completion_tokens=2, cached_tokens=3, cache_write_tokens=4),
    ),
    (
        "searches",
        {"prompt_tokens": 1, "completion_tokens": 2, "num_search_queries": 3},
        Usage(prompt_tokens=1, completion_tokens=2, web_searches=3),
    ),
    (
        "null details",
        {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": None},
        Usage(prompt_tokens=1, completion_tokens=2),
    ),
    ("zeros are zeros", {"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
    (
        "whole floats",
        {"prompt_tokens": 3.0, "completion_tokens": 2},
        Usage(prompt_tokens=3, completion_tokens=2),
    ),
    (
        "only a total",
        {"prompt_tokens": 3, "total_tokens": 5},
        Usage(prompt_tokens=3, completion_tokens=2),
    ),
    (
        "a part that is no count",
        {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": -1},
            "completion_tokens_details": {"reasoning_tokens": True},
        },
        Usage(prompt_tokens=3, completion_tokens=2, doubts=("cached_tokens", "reasoning_tokens")),
    ),
    ("nothing", {}, None),
    ("null", None, None),
    ("a list", [1], None),
    ("no completion", {"prompt_tokens": 5}, None),
    ("negative", {"prompt_tokens": -5, "completion_tokens": 5}, None),
    ("a fraction", {"prompt_tokens": 5, "completion_tokens": 1.5}, None),
    ("a boolean", {"prompt_tokens": True, "completion_tokens": 5}, None),
    ("a string", {"prompt_tokens": "5", "completion_tokens": 5}, None),
    ("absurd", {"prompt_tokens": 5, "completion_tokens": 10**12}, None),
    ("infinite", {"prompt_tokens": 5, "completion_tokens": float("inf")}, None),
    (
        "bad completion with a total",
        {"prompt_tokens": 5, "completion_tokens": -1, "total_tokens": 9},
        None,
    ),
]


@pytest.mark.parametrize("row", SHAPES, ids=[row[0] for row in SHAPES])
def test_usage_is_read_from_every_shape_it_comes_in(row: tuple[str, Any, Usage | None]) -> None:
    _, report, expected = row
    assert parse_usage(report) == expected
    if report != {"prompt_tokens": 5, "completion_tokens": float("inf")}:
        assert read_usage(Raw(json.dumps(report).encode())) == expected


def test_xai_leaves_reasoning_out_of_the_completion() -> None:
    report = {
        "prompt_tokens": 1,
        "completion_tokens": 10,
        "completion_tokens_details": {"reasoning_tokens": 90},
    }
    quirks = ("completion_tokens_exclude_reasoning_in_chat",)
    assert parse_usage(report, quirks) == Usage(1, 100, reasoning_tokens=90)
    assert read_usage(Raw(json.dumps(report).encode()), quirks) == Usage(
        1, 100, reasoning_tokens=90
    )
    assert parse_usage(report) == Usage(1, 10, reasoning_tokens=90)


def test_the_caller_gets_tokens_and_money() -> None:
    assert render_usage(BILL) == {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "cost": 0.0000015,
        "is_byok": False,
        "prompt_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            "audio_tokens": 0,
            "video_tokens": 0,
        },
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": 0.0000005,
            "upstream_inference_completions_cost": 0.000001,
        },
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "image_tokens": 0,
        },
    }


def test_on_the_callers_own_key_the_providers_price_is_told() -> None:
    usage = Usage(
        10, 5, cached_tokens=4, cache_write_tokens=1, cache_write_1h_tokens=2, web_searches=3
    )
    body = render_usage(Bill(usage, 0, 2_000, 3_000, is_byok=True))
    assert body["cost_details"]["upstream_inference_cost"] == 0.000005
    assert body["prompt_tokens_details"]["cache_write_tokens"] == 3
    assert body["server_tool_use"] == body["server_tool_use_details"] == {"web_search_requests": 3}
