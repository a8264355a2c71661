import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.control import House, house
from tollway.http import openapi
from tollway.http.routes import ROUTES, Auth

DOCUMENT: dict[str, Any] = json.loads(openapi.document_json())
METHODS = {"get", "post", "patch", "delete"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def walk(node: Any) -> Iterator[Any]:
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from walk(child)


def test_the_document_has_what_openapi_requires() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert set(DOCUMENT["info"]) >= {"title", "version"}
    for path, method, operation in operations():
        assert path.startswith("/")
        assert method in METHODS
        assert operation["responses"], path
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[2-5]\d\d", status)
            assert response["description"]


def test_every_reference_leads_somewhere() -> None:
    wanted = {n["$ref"] for n in walk(DOCUMENT) if isinstance(n, dict) and "$ref" in n}
    schemas = DOCUMENT["components"]["schemas"]
    assert wanted
    assert {ref.rpartition("/")[2] for ref in wanted} <= set(schemas)
    assert {ref.rpartition("/")[0] for ref in wanted} == {"#/components/schemas"}


def test_path_parameters_are_exactly_those_in_the_path_and_names_are_unique() -> None:
    for path, _, operation in operations():
        params = operation["parameters"]
        in_path = [p["name"] for p in params if p["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", path)
        assert all(p["required"] for p in params if p["in"] == "path")
        assert len({(p["in"], p["name"]) for p in params}) == len(params)
        assert all(p["schema"]["type"] for p in params)


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))


def test_every_row_of_the_table_is_described_once() -> None:
    described = {(path, method.upper()) for path, method, _ in operations()}
    assert described == {(route.paths[0], route.method) for route in ROUTES}


def test_security_follows_the_policy_of_the_row() -> None:
    keys = [{"key": []}, {"x-api-key": []}]
    for route in ROUTES:
        operation = DOCUMENT["paths"][route.paths[0]][route.method.lower()]
        open_to_all = route.auth in (Auth.NONE, Auth.OPERATOR)
        assert operation["security"] == ([{}, *keys] if open_to_all else keys)
    assert set(DOCUMENT["components"]["securitySchemes"]) == {"key", "x-api-key"}


def test_types_have_their_fields() -> None:
    create = DOCUMENT["components"]["schemas"]["CreateKeyRequest"]
    assert create["required"] == ["name"]
    assert set(create["properties"]) >= {"limit", "limit_reset", "expires_at", "workspace_id"}


# ---- what is served agrees with what is described ------------------------------------------------


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


def fits(value: Any, schema: dict[str, Any], at: str = "$") -> list[str]:
    """What is wrong with a value; only the keywords that the document uses."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return [] if any(not fits(value, one, at) for one in schema["anyOf"]) else [f"{at}: none"]
    if "const" in schema and value != schema["const"]:
        return [f"{at}: not {schema['const']!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at}: {value!r} not in {schema['enum']}"]
    kinds = schema.get("type")
    if kinds and not any(isinstance(value, _PYTHON[k]) for k in _list(kinds)):
        return [f"{at}: {value!r} is no {kinds}"]
    wrong = []
    if isinstance(value, dict):
        known = schema.get("properties", {})
        wrong += [
            f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value
        ]
        if schema.get("title"):  # generated from a type: it names every field there is
            wrong += [
                f"{at}.{name} is not described" for name in value if known and name not in known
            ]
        for name, child in known.items():
            if name in value:
                wrong += fits(value[name], child, f"{at}.{name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for n, child in enumerate(value):
            wrong += fits(child, schema["items"], f"{at}[{n}]")
    return wrong


def _list(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


_PYTHON: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def test_the_check_itself_sees_a_wrong_answer() -> None:
    schema = {"$ref": "#/components/schemas/CreditsResponse"}
    assert fits({"data": {"total_credits": 1.0, "total_usage": 0.5}}, schema) == []
    assert fits({"data": {"total_credits": "1"}}, schema) == [
        "$.data.total_usage is missing",
        "$.data.total_credits: '1' is no number",
    ]


async def test_what_is_served_fits_what_is_described(home: House) -> None:
    record, key = await home.key(limit_nano=5_000_000)
    _, management = await home.key(management=True)
    await home.spend(record, 1_000_000)
    home.clock.now_s += 86_400
    targets = {"{author}": "acme", "{slug}": "small", "{hash}": record.hash, "{version}": "1"}
    targets["{id}"] = "default"
    checked = 0
    for route in ROUTES:
        if route.door != "control" or route.method == "DELETE" or route.media_type == "text/plain":
            continue
        path = route.paths[0]
        for name, value in targets.items():
            path = path.replace(name, value)
        path += "?id=gen-1" if route.operation == "get_generation" else ""
        own = route.auth is Auth.KEY or route.operation in ("get_generation", "get_current_key")
        caller = key if own else management
        body = {"name": "x"} if route.body else None
        reply = await home.client(route.method, path, key=caller, json=body)
        assert reply.status == route.success, (path, reply.body)
        described = DOCUMENT["paths"][route.paths[0]][route.method.lower()]["responses"]
        schema = described[str(reply.status)]["content"]["application/json"]["schema"]
        assert fits(reply.json(), schema) == [], path
        checked += 1
    assert checked >= 20


async def test_errors_fit_what_is_described(home: House) -> None:
    schema = {"$ref": "#/components/schemas/ErrorResponse"}
    for target in ("/nothing", "/v1/key", "/v1/models?sort=x", "/v1/model/acme/smal"):
        assert fits((await home.client("GET", target)).json(), schema) == []


async def test_the_document_is_served_under_every_prefix(home: House) -> None:
    for prefix in ("", "/v1", "/api/v1"):
        reply = await home.client("GET", f"{prefix}/openapi.json")
        assert reply.headers["content-type"] == "application/json"
        assert reply.json() == DOCUMENT
