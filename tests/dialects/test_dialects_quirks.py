"""dialects/quirks.py and reasoning.py"""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialect_support import attempt

from tollway.dialects.openai_chat import parse_request, render_request
from tollway.dialects.reasoning import Wanted, nearest, wanted

EFFORTS = ("minimal", "low", "medium", "high")
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def changed(fields: dict[str, Any], *quirks: str, limit: int = 10_000, **model: Any) -> Any:
    """The fields that a provider with these quirks is sent, less the unavoidable ones."""
    body = {"model": "a/b", "messages": [{"role": "user", "content": "x"}], **fields}
    request = parse_request(json.dumps(body).encode())
    sent = json.loads(render_request(request, attempt(quirks, **model), limit).body)
    for name in ("model", "messages", "max_tokens", "stream_options", "stream"):
        sent.pop(name, None)
    return sent


HIGH = {"reasoning": {"effort": "high"}}
BUDGET = {"reasoning": {"max_tokens": 2_000}}
ON = {"reasoning": {"enabled": True}}
OFF = {"reasoning": {"enabled": False}}
NONE = {"reasoning_effort": "none"}

THINKING: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (HIGH, "openai", {"reasoning_effort": "high"}),
    (ON, "openai", {"reasoning_effort": "medium"}),
    (OFF, "openai", {"reasoning_effort": "none"}),
    (BUDGET, "openai", {"reasoning_effort": "low"}),
    ({"reasoning_effort": "xhigh"}, "openai", {"reasoning_effort": "xhigh"}),
    ({}, "openai", {}),
    ({"reasoning": {}}, "openai", {}),
    ({"include_reasoning": False}, "openai", {}),
    (HIGH, "unheard_of", {"reasoning_effort": "high"}),
    (HIGH, "openrouter", {"reasoning": {"effort": "high"}}),
    (BUDGET, "openrouter", {"reasoning": {"max_tokens": 2_000}}),
    (NONE, "openrouter", {"reasoning": {"effort": "none"}}),
    ({"include_reasoning": False}, "openrouter", {"reasoning": {"exclude": True}}),
    (HIGH, "deepseek", {"thinking": {"type": "enabled"}}),
    (OFF, "deepseek", {"thinking": {"type": "disabled"}}),
    (NONE, "zai", {"thinking": {"type": "disabled"}}),
    ({}, "zai", {}),
    (HIGH, "qwen", {"enable_thinking": True, "thinking_budget": 8_000}),
    (ON, "qwen", {"enable_thinking": True}),
    (OFF, "qwen", {"enable_thinking": False}),
    (HIGH, "together", {"reasoning": {"enabled": True}}),
    (OFF, "together", {"reasoning": {"enabled": False}}),
    (OFF, "tmpl", {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
    (
        {**HIGH, "chat_template_kwargs": {"thinking": "deep", "x": 1}},
        "tmpl",
        {"chat_template_kwargs": {"enable_thinking": True, "thinking": "deep", "x": 1}},
    ),
    (HIGH, "anthropic", {"thinking": {"type": "enabled", "budget_tokens": 8_000}}),
    (BUDGET, "anthropic", {"thinking": {"type": "enabled", "budget_tokens": 2_000}}),
    (OFF, "anthropic", {"thinking": {"type": "disabled"}}),
]


@pytest.mark.parametrize("row", THINKING, ids=lambda row: f"{row[1]} {json.dumps(row[0])}")
def test_the_reasoning_switch_has_the_providers_shape(
    row: tuple[dict[str, Any], str, dict[str, Any]],
) -> None:
    fields, shape, expected = row
    assert changed(fields, f"thinking={shape}") == expected


def test_an_effort_goes_beside_the_switch_where_the_model_has_several() -> None:
    expected = {"thinking": {"type": "enabled"}, "reasoning_effort": "max"}
    fields = {"reasoning_effort": "xhigh"}
    assert changed(fields, "thinking=deepseek", efforts=("none", "high", "max")) in (
        expected,
        {**expected, "reasoning_effort": "high"},
    )
    assert changed(HIGH, "thinking=together", efforts=EFFORTS) == {
        "reasoning": {"enabled": True},
        "reasoning_effort": "high",
    }


@pytest.mark.parametrize(
    ("level", "levels", "expected"),
    [
        ("high", (), "high"),
        ("high", EFFORTS, "high"),
        ("xhigh", EFFORTS, "high"),
        ("max", ("low", "high"), "high"),
        ("none", EFFORTS, "minimal"),
        ("none", ("off", "high"), "off"),
        ("medium", ("low", "high"), "low"),
        ("minimal", ("medium", "high"), "medium"),
        ("high", ("sideways",), "high"),
    ],
)
def test_an_effort_becomes_the_nearest_the_model_has(
    level: str, levels: tuple[str, ...], expected: str
) -> None:
    assert nearest(level, levels) == expected


@pytest.mark.parametrize(
    ("asked", "limit", "budget"),
    [
        (Wanted(True, "high"), 10_000, 8_000),
        (Wanted(True, "xhigh"), 1_000_000, 128_000),
        (Wanted(True, "minimal"), 2_000, 1_024),
        (Wanted(True, "high"), 1_024, None),
        (Wanted(True, "high"), 1_025, 1_024),
        (Wanted(True, None, 5), 10_000, 1_024),
        (Wanted(True, None, 50_000), 10_000, 9_999),
        (Wanted(True), 10_000, 5_000),
        (Wanted(False), 10_000, None),
        (Wanted(), 10_000, None),
    ],
)
def test_a_budget_is_a_share_of_the_limit_within_bounds_and_below_it(
    asked: Wanted, limit: int, budget: int | None
) -> None:
    assert asked.budget_for(limit) == budget


@pytest.mark.parametrize(
    ("share", "effort"),
    [
        (0.05, "minimal"),
        (0.12, "minimal"),
        (0.2, "low"),
        (0.5, "medium"),
        (0.8, "high"),
        (1, "xhigh"),
    ],
)
def test_a_budget_becomes_the_effort_with_the_nearest_share(share: float, effort: str) -> None:
    assert Wanted(True, None, int(share * 10_000)).effort_for((), 10_000) == effort


def test_hiding_reasoning_is_read_from_either_spelling() -> None:
    def hides(**fields: Any) -> bool:
        body = {"model": "a", "messages": [{"role": "user", "content": "x"}], **fields}
        return wanted(parse_request(json.dumps(body).encode()).fields).exclude

    assert hides(reasoning={"exclude": True})
    assert hides(include_reasoning=False)
    assert not hides(include_reasoning=True)
    assert not hides(include_reasoning=False, reasoning={"exclude": False})
    assert not hides()


PENALTIES = {"frequency_penalty": 1, "presence_penalty": 1, "repetition_penalty": 1}
REASONS = {"capabilities": ("reasoning",)}
PARAMETERS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # quirk, model facts, sent by the caller, expected upstream
    ("no_penalties", {}, PENALTIES, {}),
    ("no_logprobs", {}, {"logprobs": True, "top_logprobs": 2}, {}),
    ("no_logit_bias", {}, {"logit_bias": {"1": 1}}, {}),
    ("n=1_only", {}, {"n": 3}, {}),
    ("no_tools", {}, {"tools": TOOLS, "tool_choice": "auto"}, {}),
    ("no_store", {}, {"metadata": {"a": "b"}}, {}),
    ("temperature_max=1", {}, {"temperature": 1.5}, {"temperature": 1.0}),
    ("temperature_max=1", {}, {"temperature": 0.5}, {"temperature": 0.5}),
    ("temperature_max=1", {}, {}, {}),
    ("seed_field=random_seed", {}, {"seed": 5}, {"random_seed": 5}),
    ("tool_choice_required=any", {}, {"tool_choice": "required"}, {"tool_choice": "any"}),
    ("tool_choice_required=any", {}, {"tool_choice": "auto"}, {"tool_choice": "auto"}),
    (
        "tool_choice_required_unsupported",
        {},
        {"tool_choice": "required"},
        {"tool_choice": "auto"},
    ),
    ("tool_choice_auto_only", {}, {"tools": TOOLS, "tool_choice": "none"}, {}),
    ("tool_choice_auto_only", {}, {"tools": TOOLS, "tool_choice": "required"}, {"tools": TOOLS}),
    ("no_penalties_or_stop_on_reasoning", {}, {"stop": "x"}, {"stop": "x"}),
    ("no_penalties_or_stop_on_reasoning", REASONS, {"stop": "x", "presence_penalty": 1}, {}),
    ("reasoning_format=parsed|raw|hidden", {}, {}, {}),
    ("reasoning_format=parsed|raw|hidden", REASONS, {}, {"reasoning_format": "parsed"}),
    (
        "reasoning_format=parsed|raw|hidden",
        REASONS,
        {"include_reasoning": False},
        {"reasoning_format": "hidden"},
    ),
    (
        "reasoning_format=parsed|raw|hidden",
        REASONS,
        {"reasoning_format": "raw"},
        {"reasoning_format": "raw"},
    ),
    ("tool_stream_flag", {}, {"tools": TOOLS}, {"tools": TOOLS}),
    (
        "tool_stream_flag",
        {},
        {"tools": TOOLS, "stream": True},
        {"tools": TOOLS, "tool_stream": True},
    ),
    ("separate_reasoning_flag", REASONS, {}, {"separate_reasoning": True}),
    ("parse_reasoning_flag", REASONS, {}, {"parse_reasoning": True}),
    ("reasoning_split_flag", REASONS, {}, {"reasoning_split": True}),
    ("reasoning_split_flag", {}, {}, {}),
    ("off_peak_pricing", {}, {"seed": 1}, {"seed": 1}),
]


@pytest.mark.parametrize("row", PARAMETERS, ids=lambda row: f"{row[0]} {json.dumps(row[2])}")
def test_a_quirk_changes_what_it_names(row: tuple[str, Any, Any, Any]) -> None:
    quirk, model, fields, expected = row
    assert changed(fields, quirk, **model) == expected


def test_a_session_is_named_in_the_header_the_provider_reads() -> None:
    body = {"model": "a", "messages": [{"role": "user", "content": "x"}], "session_id": "s\n1"}
    request = parse_request(json.dumps(body).encode())
    to = attempt(("session_affinity_header=x-session-affinity",))
    assert render_request(request, to, 5).headers[1:] == (("x-session-affinity", "s1"),)
    assert render_request(request, attempt(), 5).headers == (("Content-Type", "application/json"),)
