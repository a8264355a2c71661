"""Whether a value keeps a caller's JSON Schema, within bounds of time.

The schema and, through the prompt, the value are the caller's, so both may be meant to be slow. The
validator fetches nothing and its patterns are linear (`RegexOptions`), but references that fan out
can still double the work with every level. So the work is bounded before it is begun; a schema that
may take too much, or is none, is kept by no value here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

WORK_MAX = 2_000_000
"""Applications of a schema to a value: a few tenths of a second at the very worst."""

SCHEMA_BYTES_MAX = 256_000


class _Heavy(Exception):
    """It may take more than WORK_MAX."""


def keeps(value: Any, schema: bytes) -> bool:
    """`schema` is the JSON of one. False also where that cannot be found out."""
    if len(schema) > SCHEMA_BYTES_MAX:
        return False
    import jsonschema_rs  # a tenth of a second, which most servers never need

    try:
        rules = msgspec.json.decode(schema)
        nodes, depth = _extent(value)
        if work(rules, depth) * nodes > WORK_MAX:
            return False
        validator = jsonschema_rs.validator_for(
            rules, offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
        return validator.is_valid(value)
    except (_Heavy, RecursionError, ValueError, msgspec.DecodeError):
        return False


def work(schema: Any, depth: int) -> int:
    """Most applications of any part of `schema` to one place of a value that is `depth` deep. Raises
    _Heavy."""
    return _Work(schema).at(schema, depth)


_SAME = ("allOf", "anyOf", "oneOf")
_SAME_ONE = ("not", "if", "then", "else")
_SAME_NAMED = ("dependentSchemas", "dependencies")
_INSIDE = (
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "items",
    "additionalItems",
    "unevaluatedItems",
    "contains",
)
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


class _Work:
    """Work by part of a schema and levels left below it, each worked out once."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole
        self._known: dict[tuple[int, int], int] = {}
        self._open: set[tuple[int, int]] = set()

    def at(self, schema: Any, depth: int) -> int:
        if not isinstance(schema, dict):
            return 1
        key = (id(schema), depth)
        if key in self._known:
            return self._known[key]
        if key in self._open or len(self._known) > WORK_MAX // 100:
            raise _Heavy  # a part that contains itself, at the same place of the value
        self._open.add(key)
        found = 1 + sum(self.at(each, depth) for each in self._beside(schema))
        if depth:
            found += self._below(schema, depth - 1)
        if found > WORK_MAX:
            raise _Heavy
        self._open.discard(key)
        self._known[key] = found
        return found

    def _beside(self, schema: dict[str, Any]) -> Iterator[Any]:
        """What is applied to the same place of the value."""
        for name in _SAME:
            yield from _list(schema.get(name))
        for name in _SAME_ONE:
            if name in schema:
                yield schema[name]
        for name in _SAME_NAMED:
            yield from _named(schema.get(name))
        for name in _REFERENCES:
            if isinstance(schema.get(name), str):
                yield self._target(schema[name])

    def _below(self, schema: dict[str, Any], depth: int) -> int:
        """What is applied to a place inside it: of the properties one has its name, patterns may
        all match, and so with items."""
        found = max((self.at(each, depth) for each in _named(schema.get("properties"))), default=0)
        found += sum(self.at(each, depth) for each in _named(schema.get("patternProperties")))
        found += max((self.at(each, depth) for each in _list(schema.get("prefixItems"))), default=0)
        for name in _INSIDE:
            inner = schema.get(name)
            found += sum(self.at(each, depth) for each in _list(inner) or [inner] if each)
        return found

    def _target(self, reference: str) -> Any:
        """Only what stands in the schema itself: `#`, `#/$defs/name`. Names given by `$id` and
        `$anchor` are not looked for: what they cost is not known."""
        if not reference.startswith("#") or (len(reference) > 1 and reference[1] != "/"):
            raise _Heavy
        at = self._whole
        for step in reference[2:].split("/") if len(reference) > 1 else ():
            name = step.replace("~1", "/").replace("~0", "~")
            at = at.get(name) if isinstance(at, dict) else None
        if at is None:
            raise _Heavy
        return at


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _named(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _extent(value: Any) -> tuple[int, int]:
    """How many places a value has, and how deep it is."""
    nodes, depth, level = 0, -1, [value]
    while level:
        nodes += len(level)
        depth += 1
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = inner
    return nodes, depth
