"""Values for JSON Schemas, checked by pydantic, which made the schemas."""

import enum
import json
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, RootModel

from tollway.upstream.sandbox_schema import example


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


class Place(BaseModel):
    city: str = Field(min_length=3, max_length=5)
    country: Literal["DE", "FR"]
    at: datetime
    day: date
    site: AnyUrl
    key: UUID


class Order(BaseModel):
    place: Place
    unit: Unit | None
    count: int = Field(ge=3, le=9)
    even: int = Field(gt=3, multiple_of=4)
    share: float = Field(gt=0, lt=0.5)
    below: float = Field(lt=-2)
    tags: list[str] = Field(min_length=2, max_length=3)
    pairs: dict[str, int]
    either: int | str
    both: tuple[int, str]
    on: bool
    nothing: None


class Tree(BaseModel):
    name: str
    children: list["Tree"]
    left: "Tree | None"


@pytest.mark.parametrize("model", [Place, Order, Tree, RootModel[list[int]], RootModel[bool]])
def test_the_value_is_valid_for_the_schemas_own_maker(model: type[BaseModel]) -> None:
    value = example(model.model_json_schema())
    model.model_validate(value)
    assert value == example(model.model_json_schema())


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, "text"),
        (True, "text"),
        ({"type": "string"}, "text"),
        ({"type": ["null", "integer"]}, 1),
        ({"const": 5}, 5),
        ({"type": "string", "pattern": "^a$", "default": "a"}, "a"),
        ({"type": "string", "examples": ["e"]}, "e"),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMinimum": 1.5}, 3),
        ({"type": "number", "minimum": 0.25}, 0.25),
        ({"type": "integer", "minimum": 10, "multipleOf": 7}, 14),
        ({"type": "number", "minimum": 1e300, "multipleOf": 1e-310}, 1e300),
        ({"type": "array", "maxItems": 0, "items": {}}, []),
        (
            {"type": "array", "minItems": 3, "uniqueItems": True, "items": {"enum": [3, 4, 5]}},
            [3, 4, 5],
        ),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]},
            {"a": 1, "b": 2},
        ),
        ({"type": "object", "required": ["x"]}, {"x": "x"}),
        ({"type": "object", "properties": {"q": {"type": "string"}}}, {"q": "q"}),
        ({"$ref": "#/$defs/gone"}, "text"),
        ({"$ref": "https://elsewhere.example/schema"}, "text"),
    ],
)
def test_a_value_for_each_keyword(schema: Any, value: object) -> None:
    assert example(schema) == value


@pytest.mark.parametrize("required", [[], ["a", "b", "c", "d"]])
def test_a_schema_that_holds_itself_many_times_over_ends_soon(required: list[str]) -> None:
    schema = {
        "type": "object",
        "properties": {name: {"$ref": "#"} for name in "abcd"},
        "required": required,
    }
    assert "a" in example(schema) and len(repr(example(schema))) < 100_000
    lists: dict[str, Any] = {"type": "array", "minItems": 10**9, "items": {"$ref": "#"}}
    assert len(repr(example(lists))) < 100_000


NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False))
KEYWORDS = [
    "type",
    "properties",
    "required",
    "items",
    "prefixItems",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "enum",
    "const",
    "default",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.sampled_from(["object", "array", "integer", "number", "#", "#/a", "date"]),
)
SCHEMAS = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*KEYWORDS, "a"]), inner, max_size=5),
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None, print_blob=True)
@given(SCHEMAS)
def test_nonsense_for_a_schema_gives_some_json(schema: Any) -> None:
    json.dumps(example(schema), allow_nan=False)
    msgspec.json.encode(example(schema))
