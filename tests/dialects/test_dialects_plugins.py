"""The `plugins` array, in every dialect that carries it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollway.canon import NO_PLUGINS, PluginOptions, Plugins, Request
from tollway.dialects import dialect
from tollway.dialects.plugins import KNOWN, NOT_OFFERED, plugins
from tollway.errors import CallerError

BODIES: dict[str, dict[str, Any]] = {
    "openai_chat": {"model": "a/b", "messages": [{"role": "user", "content": "hi"}]},
    "openai_completions": {"model": "a/b", "prompt": "hi"},
    "openai_responses": {"model": "a/b", "input": "hi"},
    "anthropic_messages": {
        "model": "a/b",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "hi"}],
    },
    "gemini": {"contents": [{"parts": [{"text": "hi"}]}]},
}
everywhere = pytest.mark.parametrize("name", BODIES)


def read(name: str, **fields: Any) -> Request:
    body = json.dumps({**BODIES[name], **fields}).encode()
    request: Request = dialect(name).parse_request(body, {}, "/models/a/b:generateContent")
    return request


def problem(*given: Any, transforms: Any = None) -> str:
    with pytest.raises(CallerError) as raised:
        plugins(given, transforms)
    assert raised.value.status == 400
    return f"{raised.value.metadata['field']} | {raised.value.message}"


@everywhere
def test_every_dialect_carries_plugins_and_the_old_field(name: str) -> None:
    assert read(name).plugins is NO_PLUGINS
    both = [{"id": "context-compression", "engine": "middle-out"}, {"id": "response-healing"}]
    assert read(name, plugins=both).plugins == Plugins(compression=True, healing=True)
    assert read(name, transforms=["middle-out"]).plugins == Plugins(compression=True)
    assert read(name, transforms=[]).plugins == Plugins(compression=False)
    with pytest.raises(CallerError, match="not offered here yet"):
        read(name, plugins=[{"id": "web"}])
    with pytest.raises(CallerError, match="expected an object"):
        read(name, plugins=["context-compression"])


def test_the_array_has_the_last_word_over_the_old_field() -> None:
    off = {"id": "context-compression", "enabled": False}
    assert plugins([off], ["middle-out"]).compression is False
    assert plugins([{"id": "context-compression"}], []).compression is True
    assert plugins([{"id": "response-healing", "enabled": None}]).healing is True
    assert plugins([{"id": "response-healing", "enabled": False}]) == NO_PLUGINS


def test_options_of_routers_are_carried_as_they_came() -> None:
    raw = {"id": "auto-router", "allowed_models": ["x/*"], "cost_tier": 7}
    made = plugins([{"id": "response-healing"}, raw, {"id": "auto-beta-router", "enabled": False}])
    assert made.options == {"auto-router": PluginOptions("plugins[1]", raw)}


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_what_is_not_run_here_is_said_so_unless_it_is_switched_off(name: str) -> None:
    said = problem({"id": name, "max_results": 5})
    assert said.startswith("plugins[0].id | ") and "not offered here yet" in said
    assert all(known in said for known in KNOWN)
    assert plugins([{"id": name, "enabled": False, "max_results": 5}]) == NO_PLUGINS


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"id": "webb"}, "plugins[0].id", "'webb' is not one of context-compression"),
        ({}, "plugins[0].id", "is required"),
        ({"id": None}, "plugins[0].id", "is required"),
        ({"id": 7}, "plugins[0].id", "expected a string"),
        ({"id": "response-healing", "enabled": 1}, "plugins[0].enabled", "expected a boolean"),
        ({"id": "response-healing", "mode": "x"}, "plugins[0].mode", "no such option"),
        ({"id": "context-compression", "engine": "zip"}, "plugins[0].engine", "middle-out"),
        ({"id": "context-compression", "engine": ["middle-out"]}, "plugins[0].engine", "middle-out"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_path(given: Any, field: str, words: str) -> None:
    said = problem(given)
    assert said.startswith(f"{field} | ") and words in said


def test_the_same_plugin_twice_and_unknown_transforms_are_refused() -> None:
    healing = {"id": "response-healing"}
    assert "plugins[1].id | " in problem(healing, healing)
    assert "given twice" in problem(
        {"id": "web", "enabled": False}, {"id": "web", "enabled": False}
    )
    assert problem(transforms=["middle-out", "zip"]).startswith("transforms[1] | ")
