"""Golden repairs, what is left alone, and the time that hostile texts may take."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.plugins import mending
from tollway.plugins.mending import mended, parses

GOLDEN: list[tuple[str, Any]] = [
    ('{"a": 1', {"a": 1}),
    ('{"a": [1, {"b": 2', {"a": [1, {"b": 2}]}),
    ('{"a": 1,}', {"a": 1}),
    ('{"a": [1, 2,],\n}', {"a": [1, 2]}),
    ("[1, 2,", [1, 2]),
    ('```json\n{"a": 1}\n```', {"a": 1}),
    ('```\n{"a": 1,}\n```\nThat is all.', {"a": 1}),
    ('```json\n{"code": "```py\\nx\\n```"', {"code": "```py\nx\n```"}),
    ('Here you are: {"a": [1, 2]} I hope it helps.', {"a": [1, 2]}),
    ('Sure!\n\n{"a": {"b": "c"}}', {"a": {"b": "c"}}),
    ("{a: 1, b: 'two'}", {"a": 1, "b": "two"}),
    ("{'a': 'it''s'}", None),
    ('{"a": True, "b": None, "c": False}', {"a": True, "b": None, "c": False}),
    ('{"a": "one" "b": 2}', {"a": "one", "b": 2}),
    ("{a: [1, 2], b: 3", {"a": [1, 2], "b": 3}),
    ("{a: [1, 2]} as I said, b", {"a": [1, 2]}),
    ('{"a": 1, // why\n "b": 2}', {"a": 1, "b": 2}),
    ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
    ('{"a": "she said "hi" to me"}', {"a": 'she said "hi" to me'}),
    ('{"a": 1}}', {"a": 1}),
    ('{"a": "unfinished', {"a": "unfinished"}),
    ('{"ü": "😀",}', {"ü": "😀"}),
    ('{"a": 12345678901234567890123,}', None),
]


@pytest.mark.parametrize(("text", "value"), GOLDEN, ids=[text[:24] for text, _ in GOLDEN])
def test_what_models_get_wrong_is_mended(text: str, value: Any) -> None:
    assert not parses(text)
    whole = mended(text)
    if value is None:  # the library may do what it likes, if what comes out is JSON
        assert whole is None or parses(whole)
    else:
        assert whole is not None and json.loads(whole) == value


@pytest.mark.parametrize(
    "text", ["", "Sorry, I cannot.", "{", "[", "((((((({", "} ]", "null,", "a: 1"]
)
def test_what_holds_no_value_is_left(text: str) -> None:
    assert mended(text) is None


def test_the_value_in_other_text_keeps_its_own_bytes() -> None:
    assert mended('Well: {"a":  1.50, "b": 1e2} so') == '{"a":  1.50, "b": 1e2}'
    assert mended('```json\n{ "z": 1, "a": "\\u00e9" }\n```') == '{ "z": 1, "a": "\\u00e9" }'


HOSTILE = {
    "unquoted keys": "{a: b, ",
    "quotes": '"',
    "single quotes": "'",
    "ticks": "`",
    "one word": "a",
    "inner quotes": 'x"y ',
    "brackets": "[",
    "objects": '{"a":',
    "parens": "[(",
    "comments": "{/*",
    "escapes": "\\",
    "pairs": '{"k": "v" "',
    "fences": "```{",
    "numbers": "1,",
    "updates": '{"a":1}',
    "slashes": "{//",
    "surrogates": '{"\\ud800":',
}


@pytest.mark.parametrize("size", [5_000, 16_000, 64_000, 199_000, 499_000])
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_takes_long(kind: str, size: int) -> None:
    piece = HOSTILE[kind]
    text = '{"a": ' + piece * (size // len(piece))
    began = time.process_time()
    whole = mended(text)
    took_s = time.process_time() - began
    assert whole is None or parses(whole)
    assert took_s < 1.0, "alone on a machine it is a quarter of that"


def test_the_work_is_what_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{a: 1, b: 'two', c: [x, y, {z: 3}]}"
    assert mended(text) is not None
    monkeypatch.setattr(mending, "WORK_MAX", 50)
    assert mended(text) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(value=st.dictionaries(st.text(min_size=1, max_size=6), json_values, min_size=1, max_size=4))
def test_a_value_without_its_closing_brackets_is_the_same_value(value: dict[str, Any]) -> None:
    text = json.dumps(value)
    cut = text.rstrip("}]")
    if cut.endswith(("{", "[", ":")) or cut == text:
        return
    whole = mended(cut)
    assert whole is not None and json.loads(whole) == value


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="{}[]\",:'`ab1 \n\\/", max_size=60))
def test_whatever_comes_out_parses(text: str) -> None:
    whole = mended(text)
    assert whole is None or parses(whole)
