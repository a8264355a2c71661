"""The route table as an OpenAPI 3.1 document.

Not here: any fact about a route; they are in the table (routes) and in the types (shapes). Only
the canonical prefix of each route is described, `/api/v1` or the root; the others are aliases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from .. import __version__
from .routes import ROUTES, Auth, Param, Route
from .shapes import ANSWERS, REQUESTS

_REF = "#/components/schemas/{name}"

STATUS_WORDS = {
    200: "Done.",
    201: "Made.",
    400: "The request is wrong; the message names the field.",
    401: "No key, or one that is unknown, disabled or expired.",
    402: "Not enough credit.",
    403: "This key may not do this, or its limit is used up.",
    404: "Not found.",
    408: "The request did not arrive in time.",
    409: "The state of the thing does not allow it.",
    413: "The body is too large.",
    415: "The content encoding is not accepted.",
    429: "Every endpoint is at its limit; see Retry-After.",
    500: "Our own fault; masked.",
    502: "The provider failed.",
    503: "Not available now; see Retry-After.",
    504: "The provider did not answer in time.",
}

_OPEN_OBJECT = {"type": "object", "additionalProperties": True}


def _list_of(about: str) -> dict[str, Any]:
    rows = {"type": "array", "items": {**_OPEN_OBJECT, "description": about}}
    return {"type": "object", "required": ["data"], "properties": {"data": rows}}


def _one_of_model() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["id", "name", "created", "pricing", "architecture"],
        "properties": {
            "id": {"type": "string", "description": "The slug to put into `model`."},
            "name": {"type": "string"},
            "created": {"type": "integer", "description": "Unix seconds."},
            "context_length": {"type": ["integer", "null"]},
            "architecture": _OPEN_OBJECT,
            "pricing": {
                "type": "object",
                "description": "USD per unit, as decimal strings.",
                "additionalProperties": True,
            },
            "supported_parameters": {"type": "array", "items": {"type": "string"}},
        },
        "additionalProperties": True,
    }


# Bodies whose types live elsewhere (dialects, catalogue.listing): what a generated client needs.
_OPEN_SCHEMAS: dict[str, dict[str, Any]] = {
    "Model": _one_of_model(),
    "OpenAIModel": {
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {"type": "string"},
        },
        "additionalProperties": True,
    },
    "ModelsListResponse": {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {"type": "array", "items": {"$ref": _REF.format(name="Model")}},
            "total_count": {"type": "integer"},
            "links": _OPEN_OBJECT,
        },
    },
    "ModelResponse": {
        "type": "object",
        "required": ["data"],
        "properties": {"data": {"$ref": _REF.format(name="Model")}},
    },
    "ListEndpointsResponse": {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "object",
                "required": ["id", "name", "endpoints"],
                "properties": {
                    "id": {"type": "string"},
                    "name": {"type": "string"},
                    "endpoints": {"type": "array", "items": _OPEN_OBJECT},
                },
                "additionalProperties": True,
            }
        },
    },
    "ListEndpointsZdrResponse": _list_of("An endpoint."),
    "ListProvidersResponse": _list_of("A provider: `name`, `slug`, links, places."),
    "ChatRequest": {
        "type": "object",
        "required": ["messages"],
        "properties": {
            "model": {"type": "string"},
            "models": {"type": "array", "items": {"type": "string"}},
            "messages": {"type": "array", "items": _OPEN_OBJECT, "minItems": 1},
            "stream": {"type": "boolean"},
            "max_tokens": {"type": "integer", "minimum": 1},
            "provider": _OPEN_OBJECT,
        },
        "additionalProperties": True,
    },
    "ChatResult": _OPEN_OBJECT,
    "AnyRequest": _OPEN_OBJECT,
    "AnyResult": _OPEN_OBJECT,
    "CompletionRequest": {
        "type": "object",
        "required": ["model", "prompt"],
        "properties": {
            "model": {"type": "string"},
            "prompt": {"type": ["string", "array"]},
            "stream": {"type": "boolean"},
        },
        "additionalProperties": True,
    },
    "CompletionResult": _OPEN_OBJECT,
}


def document(routes: Iterable[Route] = ROUTES) -> dict[str, Any]:
    """The document as a value."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.paths[0], {})[route.method.lower()] = _operation(route)
    _, schemas = msgspec.json.schema_components([*REQUESTS, *ANSWERS], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tollway",
            "version": __version__,
            "description": "One API endpoint for every model. Routes under `/api/v1` answer under "
            "`/v1` as well.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Wherever this document came from."}],
        "paths": paths,
        "components": {
            "schemas": {**_OPEN_SCHEMAS, **schemas},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


@cache
def document_json() -> bytes:
    return msgspec.json.encode(document())


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.about,
        "description": f"Authentication: {route.auth.value}.",
        "parameters": [*_path_parameters(route), *map(_query_parameter, route.params)],
        "responses": {str(route.success): _success(route), **_errors(route)},
        "security": _security(route.auth),
    }
    if route.body is not None:
        schema = {"$ref": _REF.format(name=route.body)}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _operation_id(route: Route) -> str:
    """Unique: two paths of one operation are told apart by their last segment."""
    same = [other for other in ROUTES if other.operation == route.operation]
    if len(same) == 1:
        return route.operation
    words = re.findall(r"\w+", route.path)
    return f"{route.operation}__{'_'.join(words)}"


def _security(auth: Auth) -> list[dict[str, list[str]]]:
    keys: list[dict[str, list[str]]] = [{"key": []}, {"x-api-key": []}]
    return [{}, *keys] if auth in (Auth.NONE, Auth.OPERATOR) else keys


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    about = {
        "author": "The part of the slug before the first `/`.",
        "slug": "The rest of the slug; may hold `:` and `/`.",
        "hash": "The key's public id.",
        "version": "Number of the version; 1 is the first.",
        "id": "The workspace's id.",
    }
    if "{author}" not in route.path:
        about["slug"] = "The preset's slug."
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": about[name],
            "schema": {"type": "string"},
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameter(param: Param) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": param.type}
    if param.choices:
        schema["enum"] = list(param.choices)
    return {
        "name": param.name,
        "in": "query",
        "required": param.required,
        "description": param.about,
        "schema": schema,
    }


def _success(route: Route) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=route.answer)} if route.answer else {}
    if route.media_type != "application/json":
        schema = {"type": "string"}
    content: dict[str, Any] = {route.media_type: {"schema": schema}}
    if route.door == "inference":
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": STATUS_WORDS[route.success], "content": content}


def _errors(route: Route) -> dict[str, Any]:
    """Statuses a route declares; a 503 of a health check is a Health, not an error."""
    body = "Health" if route.answer == "Health" else "ErrorResponse"
    content = {"application/json": {"schema": {"$ref": _REF.format(name=body)}}}
    return {
        str(status): {"description": STATUS_WORDS[status], "content": content}
        for status in route.errors
    }
