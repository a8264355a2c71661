from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw
from presets_support import DIALECTS, merged

from tollway.errors import CallerError
from tollway.presets.tools import captured, key, spoken, united

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def function(name: str, about: str = "") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": about or name}}


def server(kind: str, name: str | None = None, **more: Any) -> dict[str, Any]:
    given = {**({} if name is None else {"name": name}), **more}
    return {"type": kind, **({"parameters": given} if given else {})}


ADVISOR, SUBAGENT = "openrouter:advisor", "openrouter:subagent"

# What the preset has, what the request has, and what is sent, by position: `p` and `r`.
UNION = {
    "functions of different names are both there": ([function("a")], [function("b")], "p0 r0"),
    "a function of the same name is the request's": (
        [function("a", "old"), function("b")],
        [function("a", "new")],
        "p1 r0",
    ),
    "names of functions are not folded": ([function("A")], [function("a")], "p0 r0"),
    "a server tool is there once, by its type": (
        [server("openrouter:web_search", max_results=1)],
        [server("openrouter:web_search", max_results=9)],
        "r0",
    ),
    "a server tool's name makes no second one": (
        [server("openrouter:web_search", "x")],
        [server("openrouter:web_search", "y")],
        "r0",
    ),
    "server tools of different types are both there": (
        [server("openrouter:web_search")],
        [server("openrouter:datetime")],
        "p0 r0",
    ),
    "two dates of a vendor's tool are one": (
        [server("web_search_20250305")],
        [server("web_search_20260209")],
        "r0",
    ),
    "advisors of different names are both there": (
        [server(ADVISOR, "law")],
        [server(ADVISOR, "tax")],
        "p0 r0",
    ),
    "an advisor of the same name is the request's": (
        [server(ADVISOR, "law", model="a/b"), server(ADVISOR, "tax")],
        [server(ADVISOR, " law ", model="c/d")],
        "p1 r0",
    ),
    "an advisor without a name is another than one with": (
        [server(ADVISOR), server(ADVISOR, "law")],
        [server(ADVISOR, model="c/d")],
        "p1 r0",
    ),
    "a subagent and an advisor of one name are two": (
        [server(SUBAGENT, "law")],
        [server(ADVISOR, "law")],
        "p0 r0",
    ),
    "a subagent of the same name is the request's": (
        [server(SUBAGENT, "law")],
        [server(SUBAGENT, "law", model="x/y")],
        "r0",
    ),
    "a function is no server tool of its name": (
        [function("openrouter:datetime")],
        [server("openrouter:datetime")],
        "p0 r0",
    ),
    "an empty list of the request adds nothing": ([function("a")], [], "p0"),
}


@pytest.mark.parametrize("case", UNION)
def test_tools_are_united(case: str) -> None:
    preset, request, expected = UNION[case]
    sides = {"p": preset, "r": request}
    wanted = [sides[place[0]][int(place[1:])] for place in expected.split()]
    body, used, _ = merged("openai_chat", {"tools": request}, {"tools": preset})
    assert body["tools"] == wanted
    assert used.dropped == ()


def test_a_request_that_overrides_every_tool_keeps_its_bytes() -> None:
    mine = [Raw(b'{"type":"function","function":{"name":"a",  "parameters":{"x":1.50}}}')]
    assert united("openai_chat", mine, [function("a")], "openai_chat") == (None, [])


def test_a_function_is_said_in_every_dialect() -> None:
    tool = function("w", "Weather")
    tool["function"] |= {"parameters": SCHEMA, "strict": True}
    tool["cache_control"] = {"type": "ephemeral"}
    said = {name: spoken(name, tool, "openai_chat") for name in DIALECTS}
    plain = {"name": "w", "description": "Weather"}
    assert said == {
        "openai_chat": tool,
        "openai_completions": tool,
        "openai_responses": {"type": "function", **plain, "parameters": SCHEMA, "strict": True},
        "anthropic_messages": {
            **plain,
            "input_schema": SCHEMA,
            "strict": True,
            "cache_control": {"type": "ephemeral"},
        },
        "gemini": {**plain, "parametersJsonSchema": SCHEMA},
    }


def test_a_function_without_parameters_takes_none() -> None:
    empty = {"type": "object", "properties": {}}
    said = spoken("anthropic_messages", {"type": "function", "function": {"name": "f"}}, "")
    assert said == {"name": "f", "input_schema": empty}


@pytest.mark.parametrize("name", ["openai_responses", "anthropic_messages"])
def test_what_is_captured_is_said_again_as_it_was(name: str) -> None:
    tool: dict[str, Any] = {"name": "w", "description": "Weather", "strict": True}
    if name == "openai_responses":
        tool = {"type": "function", **tool, "parameters": SCHEMA}
    else:
        tool = {**tool, "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}
    assert spoken(name, captured(name, tool), name) == tool


def test_a_tool_of_one_vendor_stays_in_its_dialect() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search"}
    assert spoken("anthropic_messages", tool, "anthropic_messages") == tool
    body, used, _ = merged("openai_chat", {}, {"tools": [tool]}, made_in="anthropic_messages")
    assert "tools" not in body
    assert used.dropped == ("tools.web_search_20250305",)


def test_the_routers_own_tools_go_everywhere_but_to_gemini() -> None:
    tool = server("openrouter:web_search", max_results=3)
    said = {name: spoken(name, tool, "openai_chat") == tool for name in DIALECTS}
    assert [name for name, same in said.items() if not same] == ["gemini"]


def test_functions_of_gemini_are_united_by_declaration() -> None:
    mine = {"functionDeclarations": [{"name": "a", "description": "mine"}]}
    body, used, _ = merged(
        "gemini",
        {"tools": [mine, {"googleSearch": {}}]},
        {"tools": [function("a"), function("b"), server("openrouter:datetime")]},
    )
    added = {"functionDeclarations": [{"name": "b", "description": "b"}]}
    assert body["tools"] == [added, mine, {"googleSearch": {}}]
    assert used.dropped == ("tools.openrouter:datetime",)


def test_a_legacy_completion_gets_no_tools_because_it_cannot_show_a_call() -> None:
    body, used, _ = merged(
        "openai_completions", {"prompt": "x"}, {"tools": [function("a")], "tool_choice": "auto"}
    )
    assert body == {"prompt": "x", "model": "acme/kept"}
    assert set(used.dropped) == {"tools", "tool_choice"}


def test_responses_functions_and_custom_tools_share_their_names() -> None:
    custom = {"type": "custom", "name": "patch"}
    assert key("openai_responses", custom) == key("openai_chat", function("patch"))


@pytest.mark.parametrize("wrong", ['"x"', "3"])
def test_tools_that_are_no_list_are_refused(wrong: str) -> None:
    with pytest.raises(CallerError, match=r"^tools: expected an array"):
        merged("openai_chat", {"tools": json.loads(wrong)}, {"tools": [function("a")]})
