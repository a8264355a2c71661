"""Validity of tool calls: JSON, a known name, the caller's schema by draft 7, and its bounds."""

import json
import socket
from typing import Any

import msgspec
import pytest

from tollway.canon import Request
from tollway.dialects import dialect, toolcheck
from tollway.dialects.toolcalls import BYTES_MAX, ToolCalls
from tollway.dialects.toolcheck import valid

OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def asked(*tools: Any, field: str = "tools", dialect: str = "openai_chat") -> Request:
    raw = {field: msgspec.Raw(json.dumps(tools).encode())}
    return Request(dialect=dialect, models=("acme/one",), stream=False, fields=raw)


def chat(name: str = "f", schema: Any = None) -> dict[str, Any]:
    function = {"name": name} if schema is None else {"name": name, "parameters": schema}
    return {"type": "function", "function": function}


def called(*calls: tuple[str, str]) -> ToolCalls:
    found = ToolCalls()
    for n, (name, text) in enumerate(calls):
        found.add(n, name, text)
    return found


def holds(schema: Any, value: Any) -> bool | None:
    return valid(asked(chat("f", schema)), called(("f", json.dumps(value))))


@pytest.mark.parametrize(
    ("calls", "is_valid"),
    [
        ([("f", '{"a":1}')], True),
        ([("f", '{"a":1')], False),
        ([("f", '{"a":1}{"a":1}')], False),
        ([("f", "{'a':1}")], False),
        ([("f", '{"a":NaN}')], False),
        ([("f", '{"a":"1"}')], False),
        ([("f", "{}")], False),
        ([("f", "")], False),
        ([("g", "")], True),
        ([("g", "null")], True),
        ([("h", "{}")], False),
        ([("", "{}")], False),
        ([("f", '{"a":1}'), ("g", '{"x":[]}')], True),
        ([("f", '{"a":1}'), ("g", "oops")], False),
        ([("f", "[" * 5_000)], False),
    ],
)
def test_one_invalid_call_makes_the_answer_invalid(calls, is_valid) -> None:
    assert valid(asked(chat("f", OBJECT), chat("g")), called(*calls)) is is_valid


def test_nothing_is_said_of_an_answer_without_calls_or_too_many() -> None:
    assert valid(asked(chat()), ToolCalls()) is None
    assert valid(asked(chat()), called(("f", "x" * (BYTES_MAX + 1)))) is None


DRAFT_7: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "integer"}, [1, 1.0, -3], ["1", 1.5, None, True]),
    ({"type": ["string", "null"]}, ["", None], [1, {}]),
    ({"enum": ["a", 1, None]}, ["a", 1, None], ["b", 2, False]),
    ({"const": {"a": [1]}}, [{"a": [1]}], [{"a": [2]}, {}]),
    ({"minimum": 1, "exclusiveMaximum": 3}, [1, 2.9], [0, 3]),
    ({"multipleOf": 0.5}, [1, 1.5], [1.3]),
    ({"minLength": 2, "maxLength": 3}, ["ab", "äöü"], ["a", "abcd"]),
    ({"pattern": "^a+$"}, ["aaa", 5], ["ab", ""]),
    ({"items": {"type": "string"}}, [[], ["a"]], [["a", 1]]),
    ({"items": [{"type": "string"}], "additionalItems": False}, [["a"], []], [["a", 1], [1]]),
    ({"minItems": 1, "maxItems": 2, "uniqueItems": True}, [[1, 2]], [[], [1, 1], [1, 2, 3]]),
    ({"contains": {"const": 1}}, [[0, 1]], [[0], []]),
    ({"properties": {"a": {"type": "null"}}}, [{}, {"a": None}, {"b": 1}], [{"a": 1}]),
    ({"properties": {"a": True}, "additionalProperties": False}, [{"a": 1}], [{"b": 1}]),
    ({"patternProperties": {"^x": {"type": "integer"}}}, [{"x1": 1, "y": ""}], [{"x1": ""}]),
    ({"propertyNames": {"maxLength": 2}}, [{"ab": 1}], [{"abc": 1}]),
    ({"required": ["a", "b"]}, [{"a": 1, "b": 2}], [{"a": 1}]),
    ({"dependencies": {"a": ["b"]}}, [{}, {"b": 1}, {"a": 1, "b": 1}], [{"a": 1}]),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, 2], [0, 3]),
    ({"anyOf": [{"type": "string"}, {"minimum": 5}]}, ["a", 6], [4]),
    ({"oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]}, [2, 3], [6, 5]),
    ({"not": {"type": "string"}}, [1], ["a"]),
    ({"if": {"const": 1}, "then": False, "else": True}, [2], [1]),
    (False, [], [1, {}]),
    (
        {
            "definitions": {"p": {"type": "integer"}},
            "properties": {"a": {"$ref": "#/definitions/p"}},
        },
        [{"a": 1}],
        [{"a": "1"}],
    ),
    (
        {"$defs": {"a/b": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/a~1b"}}},
        [{"a": 1}],
        [{"a": "1"}],
    ),
    (
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        [{"next": {"next": {}}}],
        [{"next": {"next": 1}}],
    ),
    ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}, [{}], [1]),
]


@pytest.mark.parametrize(("schema", "good", "bad"), DRAFT_7)
def test_arguments_are_held_to_draft_7(schema, good, bad) -> None:
    assert [holds(schema, value) for value in good] == [True] * len(good)
    assert [holds(schema, value) for value in bad] == [False] * len(bad)


def chain(length: int) -> dict[str, Any]:
    """A schema whose references, followed, double with each definition."""
    definitions: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/definitions/d{n + 1}"}] * 2} for n in range(length)
    }
    definitions[f"d{length}"] = {"type": "string"}
    return {"definitions": definitions, "$ref": "#/definitions/d0"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objct"},
        {"type": "string", "pattern": "(?=a)b"},
        {"type": "string", "pattern": "("},
        {"type": "string", "allOf": [{"$ref": "https://127.0.0.1:9/schema.json"}]},
        {"type": "string", "allOf": [{"$ref": "file:///etc/passwd"}]},
        {"type": "string", "allOf": [{"$ref": "#/definitions/none"}]},
        {"type": "string", "allOf": [{"$ref": "#anchor"}]},
        {"type": "string", "allOf": [{"$id": "https://a.example/b", "$ref": "#"}]},
        {"type": "string", "description": "x" * toolcheck.SCHEMA_BYTES_MAX},
        {"type": "string", "allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "string", "enum": ["a"] * toolcheck.NODES_MAX},
        chain(30),
        '{"type":"string"}',
        7,
        [],
        "type",
    ],
)
def test_a_schema_that_cannot_be_used_counts_as_kept(schema, monkeypatch) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    assert holds(schema, 1) is True


def test_a_chain_of_references_is_followed_while_it_is_short() -> None:
    assert (holds(chain(5), "a"), holds(chain(5), 1)) == (True, False)


def test_a_pattern_that_would_take_for_ever_elsewhere_is_matched_in_linear_time() -> None:
    text = "a" * 20_000 + "!"
    assert holds({"type": "string", "pattern": "^(a+)+$"}, text) is False


def test_the_work_is_bounded_by_schema_and_arguments_together() -> None:
    schema = {"type": "array", "items": {"enum": list(range(9_000))}}
    assert holds(schema, [-1] * 10) is False
    assert holds(schema, [-1] * 1_000) is True  # too much to look at


def test_schemas_are_compiled_once(monkeypatch) -> None:
    toolcheck._compiled.cache_clear()
    for _ in range(5):
        holds(OBJECT, {"a": 1})
    assert toolcheck._compiled.cache_info().misses == 1


# ---- the tools of each dialect -------------------------------------------------------------------

GEMINI = {
    "functionDeclarations": [
        {
            "name": "f",
            "parameters": {
                "type": "OBJECT",
                "properties": {"a": {"type": "INTEGER", "nullable": True}},
                "required": ["a"],
            },
        },
        {"name": "g", "parametersJsonSchema": OBJECT},
    ]
}


@pytest.mark.parametrize(
    "request_",
    [
        asked(chat("f", OBJECT), chat("g", OBJECT)),
        asked({"name": "f", "parameters": OBJECT}, chat("g", OBJECT), field="functions"),
        asked(*({"name": n, "input_schema": OBJECT} for n in "fg"), dialect="anthropic_messages"),
        asked(
            *({"type": "function", "name": n, "parameters": OBJECT} for n in "fg"),
            dialect="openai_responses",
        ),
        asked(GEMINI, {"google_search": {}}, dialect="gemini"),
    ],
    ids=["chat", "functions", "messages", "responses", "gemini"],
)
def test_the_tools_of_every_dialect_are_known(request_) -> None:
    for name in "fg":
        assert valid(request_, called((name, '{"a":1}'))) is True
        assert valid(request_, called((name, '{"a":"x"}'))) is False
        assert valid(request_, called((name, "{}"))) is False


def test_a_tool_of_the_providers_own_is_known_by_name_or_leaves_the_list_open() -> None:
    bash = asked({"type": "bash_20250124", "name": "bash"}, dialect="anthropic_messages")
    assert valid(bash, called(("bash", '{"command":"ls"}'))) is True
    assert valid(bash, called(("sh", "{}"))) is False
    mixed = asked(chat("f", OBJECT), {"type": "mcp", "server_label": "x"})
    assert valid(mixed, called(("anything", "{}"))) is True
    assert valid(mixed, called(("f", "{}"))) is False


def test_what_parsing_makes_of_a_request_is_what_is_checked() -> None:
    body = {
        "model": "acme/one",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [chat("f", OBJECT)],
    }
    request = dialect("openai_chat").parse_request(json.dumps(body).encode())
    assert "tools" in request.params
    assert valid(request, called(("f", '{"a":1}'))) is True
    assert valid(request, called(("f", '{"a":null}'))) is False
