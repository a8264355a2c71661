"""A value that satisfies a JSON Schema: what the sandbox's models answer with.

Pure and deterministic; not a validator. It knows what tool parameters and response formats use:
types, enums, nested objects and arrays, references, unions, bounds, common string formats. `pattern`
is not solved; a `default`, `const`, `enum` or example beside it is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DEPTH_MAX = 6
"""Of nesting; below it only what is required is filled in, so that recursive schemas end."""

VALUES_MAX = 2000
"""Of one example; from here on objects and arrays stay empty. Schemas come from callers, and one
that requires itself twice over would never end."""

_FORMATS = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "duration": "PT1S",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "time": "03:04:05Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: Any, name: str = "text") -> Any:
    """A value for `schema`; strings without a format say `name` (of the property they are in)."""
    return _value(schema, _Root(schema), name, 0)


class _Root:
    """Where references start, and how many values were made."""

    __slots__ = ("made", "schema")

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.made = 0

    def is_full(self, depth: int) -> bool:
        return self.made >= VALUES_MAX or depth >= 8 * DEPTH_MAX


def _value(schema: Any, root: _Root, name: str, depth: int) -> Any:
    root.made += 1
    if not isinstance(schema, Mapping):
        return name  # true, false, or not a schema: anything goes
    schema = _resolved(schema, root)
    for keyword in ("const", "default"):
        if keyword in schema:
            return schema[keyword]
    for keyword in ("enum", "examples"):
        choices = schema.get(keyword)
        if isinstance(choices, list) and choices:
            return choices[0]
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if isinstance(options, list) and options:
            rest = {key: value for key, value in schema.items() if key != keyword}
            return _value(_merged(rest, _simplest(options, depth)), root, name, depth)
    match _type(schema):
        case "object":
            return _object(schema, root, depth)
        case "array":
            return _array(schema, root, name, depth)
        case "integer":
            return int(_number(schema, step=1))
        case "number":
            return _number(schema, step=0)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema, name)


def _resolved(schema: Mapping[str, Any], root: _Root) -> Mapping[str, Any]:
    """References followed and `allOf` folded in; a reference that leads nowhere is dropped."""
    for _ in range(DEPTH_MAX):
        if "$ref" in schema:
            target = _target(root.schema, schema["$ref"])
            schema = _merged({k: v for k, v in schema.items() if k != "$ref"}, target)
        elif isinstance(schema.get("allOf"), list):
            parts = schema["allOf"]
            schema = {key: value for key, value in schema.items() if key != "allOf"}
            for part in parts:
                schema = _merged(schema, part)
        else:
            break
    return schema


def _target(root: Any, reference: Any) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return {}
    found = root
    for step in reference[1:].split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found


def _merged(schema: Mapping[str, Any], more: Any) -> dict[str, Any]:
    merged = dict(schema)
    for key, value in more.items() if isinstance(more, Mapping) else ():
        if key == "properties" and isinstance(merged.get(key), Mapping):
            merged[key] = {**merged[key], **value}
        elif key == "required" and isinstance(merged.get(key), list):
            merged[key] = [*merged[key], *value]
        else:
            merged.setdefault(key, value)
    return merged


def _simplest(options: list[Any], depth: int) -> Any:
    """The first option; deep down one that ends, if there is one."""
    if depth >= DEPTH_MAX:
        for option in options:
            if isinstance(option, Mapping) and _type(option) not in ("object", "array", None):
                return option
    return options[0]


def _type(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    if "$ref" in schema:
        return None
    return "number" if "minimum" in schema or "maximum" in schema else "string"


def _object(schema: Mapping[str, Any], root: _Root, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    names = [n for n in required if isinstance(n, str)] if isinstance(required, list) else []
    if depth < DEPTH_MAX:
        names = list(dict.fromkeys([*properties, *names]))
    made: dict[str, Any] = {}
    for n in names:
        if not root.is_full(depth):
            made[n] = _value(properties.get(n, {}), root, n, depth + 1)
    return made


def _array(schema: Mapping[str, Any], root: _Root, name: str, depth: int) -> list[Any]:
    first = schema.get("prefixItems")
    first = first if isinstance(first, list) else []
    values = [_value(item, root, name, depth + 1) for item in first]
    least = _whole(schema.get("minItems"), 0)
    most = _whole(schema.get("maxItems"), max(least, 1))
    wanted = least if depth >= DEPTH_MAX else max(least, min(1, most))
    item = schema.get("items", {})
    unique = schema.get("uniqueItems") is True
    while len(values) < wanted and not root.is_full(depth):
        value = _value(item, root, name, depth + 1)
        values.append(_another(item, value, len(values)) if unique else value)
    return values


def _another(item: Any, value: Any, n: int) -> Any:
    """A different value for each place of an array that wants them unique, where that is easy."""
    choices = item.get("enum") if isinstance(item, Mapping) else None
    if isinstance(choices, list) and n < len(choices):
        return choices[n]
    if n and isinstance(value, str):
        return f"{value}{n}"
    return value + n if n and type(value) in (int, float) else value


def _number(schema: Mapping[str, Any], step: int) -> float:
    """The smallest value within the bounds, from 1 where nothing is said."""
    low, high = _bound(schema, "minimum"), _bound(schema, "maximum")
    above, below = _bound(schema, "exclusiveMinimum"), _bound(schema, "exclusiveMaximum")
    multiple = _bound(schema, "multipleOf") or step
    value = 1.0
    if low is not None:
        value = low
    if above is not None and (low is None or above >= low):
        value = above + (multiple or 1)
        if below is not None and value >= below:
            value = (above + below) / 2
        elif high is not None and value > high:
            value = (above + high) / 2
    if low is None and above is None:
        if high is not None:
            value = min(value, high)
        if below is not None:
            value = min(value, below - (multiple or 1))
    if multiple and math.isfinite(value / multiple):
        value = math.ceil(value / multiple) * multiple
        if high is not None and value > high:
            value = math.floor(high / multiple) * multiple
    return int(value) if value == int(value) else value


def _string(schema: Mapping[str, Any], name: str) -> str:
    text = _FORMATS.get(str(schema.get("format")), name)
    least = min(_whole(schema.get("minLength"), 0), 100_000)
    if len(text) < least:
        text = (text or "x") * math.ceil(least / max(len(text), 1))
        text = text[:least]
    return text[: _whole(schema.get("maxLength"), len(text))]


def _bound(schema: Mapping[str, Any], keyword: str) -> float | None:
    value = schema.get(keyword)
    return value if type(value) in (int, float) else None


def _whole(value: Any, otherwise: int) -> int:
    return value if type(value) is int and value >= 0 else otherwise
