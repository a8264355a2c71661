"""Schemas are kept or not, and what may take too long is not begun."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tollway.plugins.checking import WORK_MAX, keeps, work

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"l": {"$ref": "#/$defs/node"}, "r": {"$ref": "#/$defs/node"}},
            "required": ["v"],
        }
    },
    "$ref": "#/$defs/node",
}


def check(value: Any, schema: Any) -> bool:
    return keeps(value, json.dumps(schema).encode())


def test_a_schema_is_kept_or_not() -> None:
    assert check({"x": 1}, POINT) and check({"x": 1, "y": 2}, POINT)
    assert not check({"x": "1"}, POINT) and not check({}, POINT)
    assert check(5, True) and not check(5, False)
    assert check(["a"], {"type": "array", "items": {"enum": ["a", "b"]}})


def test_recursion_over_the_value_is_ordinary() -> None:
    value: Any = {"v": 1}
    for _ in range(40):
        value = {"v": 1, "l": value}
    for _ in range(5):
        value = {"v": 1, "l": value, "r": value}
    assert check(value, TREE)
    del value["v"]
    assert not check(value, TREE)


def fan(levels: int) -> dict[str, Any]:
    twice = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**twice, f"a{levels}": {}}, "$ref": "#/$defs/a0"}


nested: Any = 1
for _ in range(60):
    nested = {"a": nested}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, fan(40)),
        (nested, {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}),
        (1, {"$ref": "#"}),
        (1, {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        (1, {"$ref": "http://127.0.0.1:9/schema"}),
        (1, {"$ref": "file:///etc/passwd"}),
        (1, {"$ref": "#/$defs/none"}),
        (1, {"$ref": "#anchor"}),
        (1, {"type": "nonsense"}),
        ("aab", {"pattern": "(?=a)"}),
        ("a" * 200_000 + "!", {"pattern": "^(a+)+$"}),
        ("a", {"pattern": "((a{1,1000}){1,1000}){1,1000}"}),
        (list(range(50_000)), {"items": {"enum": list(range(60_000, 70_000))}}),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_too_much_or_no_schema_is_kept_by_nothing(value: Any, schema: Any) -> None:
    began = time.process_time()
    assert not check(value, schema)
    assert time.process_time() - began < 1.0


def test_work_is_an_upper_bound_of_the_parts_that_see_one_place() -> None:
    assert work(True, 3) == 1
    assert work(POINT, 0) == 1
    assert work(POINT, 1) == 2
    assert work({"allOf": [{}, {}]}, 5) == 3
    assert [work(fan(n), 0) for n in (1, 2, 10)] == [6, 14, 4094]
    assert work(fan(10), 0) < WORK_MAX
