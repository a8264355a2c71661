"""Tools of a preset in the dialect of a caller, and united with the caller's own.

Kept are tools as chat completions have them. A function can be said in every dialect; the router's
own server tools (`openrouter:…`) are the same in all but Gemini's; a tool of any other kind belongs
to the dialect that the preset was made in.

The union is OpenRouter's: functions are the same by name, advisors and subagents by type and name,
every other server tool by type; where both have one, the request's is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

Tool = dict[str, Any]
Key = tuple[str, ...]

ROUTER_TOOLS = ("openrouter:", "tollway:")
_NAMED = ("advisor", "subagent")
"""Server tools of which a request may have several, told apart by `parameters.name`."""

_DATED = re.compile(r"(_preview)?(_\d{8}|_\d{4}_\d\d_\d\d)?$")
"""Vendors date their tools; two dates of one tool are still one."""

CHATS = frozenset({"openai_chat", "openai_completions"})
"""Callers whose requests have the fields of a chat completion."""


def captured(dialect: str, tool: Tool) -> Tool:
    """A tool of a checked request as it is kept. Opposite: `spoken`."""
    if dialect == "openai_responses" and tool.get("type") == "function":
        names = ("name", "description", "parameters", "strict")
        function = {name: tool[name] for name in names if tool.get(name) is not None}
        return {"type": "function", "function": function}
    if dialect == "anthropic_messages" and tool.get("type") in (None, "custom"):
        function = {"name": tool["name"]}
        if tool.get("description") is not None:
            function["description"] = tool["description"]
        function["parameters"] = tool["input_schema"]
        if tool.get("strict") is not None:
            function["strict"] = tool["strict"]
        kept: Tool = {"type": "function", "function": function}
        if tool.get("cache_control") is not None:
            kept["cache_control"] = tool["cache_control"]
        return kept
    return tool


def spoken(dialect: str, tool: Tool, made_in: str) -> Tool | None:
    """A kept tool as a request in `dialect` says it; None where it has no place there. Functions
    of Gemini are declarations, which `united` puts together."""
    if tool.get("type") != "function":
        router = str(tool.get("type", "")).startswith(ROUTER_TOOLS) and dialect != "gemini"
        return tool if router or dialect == made_in else None
    function = tool["function"]
    match dialect:
        case "openai_responses":
            said = {"type": "function", **function}
            said.setdefault("parameters", dict(_NO_PARAMETERS))
            return said
        case "anthropic_messages":
            said = {"name": function["name"]}
            if "description" in function:
                said["description"] = function["description"]
            said["input_schema"] = function.get("parameters") or dict(_NO_PARAMETERS)
            for name, holder in (("strict", function), ("cache_control", tool)):
                if holder.get(name) is not None:
                    said[name] = holder[name]
            return said
        case "gemini":
            said = {"name": function["name"]}
            if "description" in function:
                said["description"] = function["description"]
            if "parameters" in function:
                said["parametersJsonSchema"] = function["parameters"]
            return said
    return tool


_NO_PARAMETERS = {"type": "object", "properties": {}}


def key(dialect: str, tool: Tool) -> Key:
    """What makes two tools the same."""
    kind = tool.get("type")
    if dialect == "anthropic_messages" and kind in (None, "custom"):
        return "function", str(tool.get("name"))
    if kind in ("function", "custom"):
        inner = tool.get("function") or tool.get("custom")
        holder = inner if isinstance(inner, dict) else tool
        return "function", str(holder.get("name"))
    kind = str(kind)
    if kind.rpartition(":")[2] in _NAMED:
        given = tool.get("parameters")
        name = given.get("name") if isinstance(given, dict) else None
        return kind, str(name or "").strip()
    return (_DATED.sub("", kind),)


def united(
    dialect: str, mine: Sequence[Raw], kept: Sequence[Tool], made_in: str
) -> tuple[list[Any] | None, list[str]]:
    """The `tools` of a request with those of a preset, and the names of what could not be said.

    The preset's come first, so that providers find the same beginning in every request that uses
    it; the request's follow as the caller wrote them. None where the preset adds nothing.
    """
    if dialect == "gemini":
        return _declared(mine, kept)
    taken = {key(dialect, tool) for tool in map(_read, mine)}
    added: list[Any] = []
    lost: list[str] = []
    for tool in kept:
        said = spoken(dialect, tool, made_in)
        if said is None:
            lost.append(f"tools.{str(tool.get('type'))[:64]}")
        elif key(dialect, said) not in taken:
            added.append(said)
    return ([*added, *mine] if added else None), lost


def _declared(mine: Sequence[Raw], kept: Iterable[Tool]) -> tuple[list[Any] | None, list[str]]:
    """Gemini has one list of declarations a tool; the preset's are a tool of their own."""
    taken: set[str] = set()
    for tool in map(_read, mine):
        functions = tool.get("functionDeclarations")
        for function in functions if isinstance(functions, list) else ():
            if isinstance(function, dict):
                taken.add(str(function.get("name")))
    added: list[Tool] = []
    lost: list[str] = []
    for tool in kept:
        said = spoken("gemini", tool, "")
        if said is None:
            lost.append(f"tools.{str(tool.get('type'))[:64]}")
        elif said["name"] not in taken:
            added.append(said)
    return ([{"functionDeclarations": added}, *mine] if added else None), lost


def _read(raw: Raw) -> Tool:
    """Empty for what is no object: the dialect refuses that with its path."""
    try:
        return msgspec.json.decode(raw, type=Tool)
    except msgspec.ValidationError:
        return {}
