"""Gemini's `Schema`, an OpenAPI 3.0 subset, as JSON Schema.

One way only: what is sent to Gemini goes in `parametersJsonSchema` and `responseJsonSchema`, which
take JSON Schema as it is. Rules: names of types become lower case, `nullable` becomes a type; what
JSON Schema knows by the same name stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COUNTS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)


def json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` is decoded JSON of any depth that decodes; property names are left alone."""
    written: dict[str, Any] = {}
    for name, value in schema.items():
        match name:
            case "type" if isinstance(value, str):
                if value != "TYPE_UNSPECIFIED":
                    written["type"] = value.lower()
            case "nullable" | "propertyOrdering" | "example":
                pass
            case "items" | "additionalProperties" | "not" if isinstance(value, Mapping):
                written[name] = json_schema(value)
            case "properties" | "defs" | "$defs" if isinstance(value, Mapping):
                written[name] = {key: _schema(inner) for key, inner in value.items()}
            case "anyOf" | "oneOf" | "allOf" | "prefixItems" if isinstance(value, list):
                written[name] = [_schema(inner) for inner in value]
            case "format" if value == "enum":
                pass
            case _ if name in _COUNTS and isinstance(value, str) and value.isdecimal():
                written[name] = int(value)  # int64 is a string in protobuf's JSON
            case _:
                written[name] = value
    if schema.get("nullable") is True:
        _allow_null(written)
    return written


def _schema(value: Any) -> Any:
    return json_schema(value) if isinstance(value, Mapping) else value


def _allow_null(written: dict[str, Any]) -> None:
    kind = written.get("type")
    if isinstance(kind, str):
        written["type"] = [kind, "null"]
    elif "anyOf" in written:
        written["anyOf"] = [*written["anyOf"], {"type": "null"}]
    enum = written.get("enum")
    if isinstance(enum, list) and None not in enum:
        written["enum"] = [*enum, None]
