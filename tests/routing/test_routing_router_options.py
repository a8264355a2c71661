"""The options of the automatic router, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from tollway.errors import CallerError
from tollway.routing.router_options import BANDS, NO_OPTIONS, Options, auto_router_options


def options(**plugin: Any) -> Options:
    return auto_router_options({"id": "auto-router", **plugin}, "plugins[0]")


def test_nothing_said_is_the_default_and_the_cheapest_band() -> None:
    assert options() == NO_OPTIONS
    assert options(
        enabled=None,
        allowed_models=None,
        excluded_models=[],
        cost_tier=None,
        cost_quality_tradeoff=None,
        pin_model=None,
    ) == Options(allowed=(), excluded=(), band="low", pin=False, enabled=True)


def test_patterns_are_folded_trimmed_and_kept_once_in_order() -> None:
    read = options(allowed_models=["OpenAI/*", " b/c ", "openai/*"], excluded_models=["*:Free"])
    assert (read.allowed, read.excluded) == (("openai/*", "b/c"), ("*:free",))


@pytest.mark.parametrize("band", BANDS)
def test_every_band_has_its_name(band: str) -> None:
    assert options(cost_tier=band).band == band


def test_the_old_dial_runs_from_quality_to_cost_in_fifths() -> None:
    bands = [options(cost_quality_tradeoff=n).band for n in range(11)]
    assert bands == ["max"] * 3 + ["xhigh"] * 2 + ["high"] * 2 + ["medium"] * 2 + ["low"] * 2


def test_the_band_wins_over_the_old_dial() -> None:
    assert options(cost_quality_tradeoff=0, cost_tier="low").band == "low"


def test_switches() -> None:
    assert options(pin_model=True).pin
    assert not options(enabled=False).enabled


BAD = [
    ({"cost_tier": "cheap"}, "plugins[0].cost_tier", "expected one of low, medium, high"),
    ({"cost_tier": 1}, "plugins[0].cost_tier", "expected one of"),
    ({"cost_quality_tradeoff": 11}, "plugins[0].cost_quality_tradeoff", "from 0 to 10"),
    ({"cost_quality_tradeoff": -1}, "plugins[0].cost_quality_tradeoff", "from 0 to 10"),
    ({"cost_quality_tradeoff": 5.0}, "plugins[0].cost_quality_tradeoff", "whole number"),
    ({"cost_quality_tradeoff": True}, "plugins[0].cost_quality_tradeoff", "whole number"),
    ({"cost_quality_tradeoff": 99, "cost_tier": "low"}, "plugins[0].cost_quality_tradeoff", "from"),
    ({"pin_model": 1}, "plugins[0].pin_model", "expected true or false"),
    ({"enabled": "no"}, "plugins[0].enabled", "expected true or false"),
    ({"allowed_models": "a/*"}, "plugins[0].allowed_models", "expected a list"),
    ({"allowed_models": ["a", "b", "c", 7]}, "plugins[0].allowed_models[3]", "expected a model"),
    ({"excluded_models": ["a", ""]}, "plugins[0].excluded_models[1]", "expected a model"),
    ({"excluded_models": ["a" * 1025]}, "plugins[0].excluded_models[0]", "at most 1,024 char"),
    ({"allowed_models": ["a"] * 1025}, "plugins[0].allowed_models", "at most 1,024 patterns"),
    ({"allowed_models": ["a" * 1000] * 66}, "plugins[0].allowed_models", "at most 65,536"),
    ({"allowed_model": ["a/*"]}, "plugins[0].allowed_model", "no such option; known are"),
]


@pytest.mark.parametrize(("plugin", "field", "problem"), BAD)
def test_a_bad_option_is_named(plugin: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(CallerError) as caught:
        options(**plugin)
    assert (caught.value.status, caught.value.metadata) == (400, {"field": field})
    assert problem in caught.value.message


def test_what_is_just_within_the_limits_is_taken() -> None:
    assert len(options(allowed_models=[f"a/{n}" for n in range(1024)]).allowed) == 1024
    assert options(excluded_models=["a" * 1024] * 64).excluded == ("a" * 1024,)
