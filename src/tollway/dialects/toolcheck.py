"""Are an answer's tool calls valid? By OpenRouter's rule, for the quality of an endpoint.

A request is invalid if the arguments of any of its calls are not JSON, if a name is not one of its
tools, or if arguments break the schema the caller gave, by JSON Schema draft 7. A schema that is
missing, cannot be compiled, would have to be fetched, or costs too much to follow counts as kept.
Nothing here changes an answer. Reads the tools of every dialect a caller may speak.

Bounds: patterns are matched in linear time, and the work of a check is bounded before it is begun,
because a schema is the caller's and a few hundred bytes of references can mean 2^30 visits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import msgspec

from ..canon import Request
from .gemini.openapi import json_schema
from .toolcalls import ToolCalls

SCHEMA_BYTES_MAX: Final = 64 * 1024
WORK_MAX: Final = 20_000_000
"""Visits of a schema's nodes by an argument's bytes: a tenth of a second, far above honest tools."""
NODES_MAX: Final = 20_000
"""…and nodes of a schema alone, references followed: it is compiled in a few milliseconds."""
SCHEMAS_KEPT: Final = 256
"""Compiled schemas; an application sends the same ones with every request."""
DEPTH_MAX: Final = 64


def valid(request: Request, calls: ToolCalls) -> bool | None:
    """Whether all calls are; None when nothing can be said."""
    if calls.overflowed or not len(calls):
        return None
    try:
        known, closed = declared(request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return all(_call_is_valid(name, text, known, closed) for name, text in calls.whole())


def declared(request: Request) -> tuple[dict[str, bytes | None], bool]:
    """The tools of a request: the schema's JSON by name, and whether there are no others. Raises
    what decoding raises."""
    known: dict[str, bytes | None] = {}
    closed = True
    for field in ("tools", "functions"):
        raw = request.fields.get(field)
        tools = msgspec.json.decode(raw) if raw is not None else None
        for name, schema in _named(tools):
            if name is None:
                closed = False
            else:
                known[name] = None if schema is None else msgspec.json.encode(schema)
    return known, closed


def _named(tools: object) -> Iterator[tuple[str | None, object]]:
    """(name, schema or None) of each tool; the name None for one that may bring calls of any."""
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            yield None, None
            continue
        functions = tool.get("functionDeclarations", tool.get("function_declarations"))
        if isinstance(functions, list):
            for function in functions:
                yield _gemini(function)
            continue
        function = tool.get("function")
        said = function if isinstance(function, dict) else tool
        name = said.get("name")
        schema = said.get("parameters", said.get("input_schema"))
        yield (name, schema) if isinstance(name, str) and "tools" not in tool else (None, None)


def _gemini(function: object) -> tuple[str | None, object]:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return None, None
    schema = function.get("parametersJsonSchema", function.get("parameters_json_schema"))
    if schema is None and isinstance(function.get("parameters"), dict):
        schema = json_schema(function["parameters"])
    return function["name"], schema


def _call_is_valid(name: str, text: str, known: dict[str, bytes | None], closed: bool) -> bool:
    try:
        arguments = msgspec.json.decode(text) if text.strip() else {}
    except (msgspec.DecodeError, RecursionError):
        return False
    if name not in known:
        return not closed
    schema = known[name]
    if schema is None or len(schema) > SCHEMA_BYTES_MAX:
        return True
    checked = _compiled(schema)
    if checked is None or checked.visits * max(len(text), 1) > WORK_MAX:
        return True
    try:
        return checked.holds(arguments)
    except (ValueError, RecursionError, OverflowError):
        return True


class _Checked(msgspec.Struct, frozen=True):
    holds: Callable[[Any], bool]
    visits: int
    """Nodes of the schema with every reference followed."""


@lru_cache(SCHEMAS_KEPT)
def _compiled(schema_json: bytes) -> _Checked | None:
    """None for a schema that nothing can be held to."""
    import jsonschema_rs  # 4 MB that most processes never need

    schema = msgspec.json.decode(schema_json)
    if not isinstance(schema, dict | bool):
        return None
    visits = _visits(schema)
    if visits is None:
        return None
    try:
        validator = jsonschema_rs.Draft7Validator(
            schema,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=1_000_000),
            offline=True,  # what a reference names elsewhere is never fetched
        )
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None
    return _Checked(validator.is_valid, visits)


# ---- how much work a schema is -------------------------------------------------------------------

_COMBINING: Final = frozenset(
    {
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "contains",
        "dependencies",
        "patternProperties",
        "propertyNames",
    }
)
"""Keywords by which more than one schema can apply to the same value."""


def _visits(schema: object) -> int | None:
    """Nodes to visit with every local reference followed. None = too many, or a reference that
    leads elsewhere, or a recursion that may branch: two references back and a keyword that applies
    several schemas to one value are enough for 2^depth visits."""
    walk = _Walk(schema)
    try:
        total = walk.count(schema, 0)
    except LookupError:
        return None
    if walk.backward > 1 and walk.combines:
        return None
    return total if total <= NODES_MAX else None


class _Walk:
    def __init__(self, root: object) -> None:
        self._root = root
        self._known: dict[str, int] = {}
        self._open: set[str] = set()
        self.backward = 0
        self.combines = False

    def count(self, node: object, depth: int) -> int:
        """Raises LookupError for what is not followed."""
        if depth > DEPTH_MAX:
            raise LookupError("too deep")
        if isinstance(node, list):
            return 1 + sum(self.count(item, depth + 1) for item in node)
        if not isinstance(node, dict):
            return 1
        if not self.combines and not _COMBINING.isdisjoint(node):
            self.combines = True
        total = 1 + sum(self.count(value, depth + 1) for value in node.values())
        if depth and isinstance(node.get("$id"), str):
            raise LookupError("a schema within the schema has references of its own")
        target = node.get("$ref")
        if isinstance(target, str):
            total += self._behind(target, depth + 1)
        return min(total, NODES_MAX + 1)

    def _behind(self, target: str, depth: int) -> int:
        if target in self._open:
            self.backward += 1
            return 1
        if target not in self._known:
            self._open.add(target)
            self._known[target] = self.count(self._at(target), depth)
            self._open.discard(target)
        return self._known[target]

    def _at(self, target: str) -> object:
        if target != "#" and not target.startswith("#/"):
            raise LookupError(target)
        node: Any = self._root
        for part in target[1:].split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and part.isdecimal():
                node = node[int(part)]
            elif isinstance(node, dict):
                node = node[part]
            else:
                raise LookupError(target)
        return node
