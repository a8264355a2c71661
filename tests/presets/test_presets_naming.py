from __future__ import annotations

import json
from typing import Any

import pytest
from presets_support import DIALECTS, PATH, SAYS

from tollway.dialects import dialect
from tollway.presets.naming import base_of, model_in, names_preset, with_model

PLAIN = "/v1beta/models/acme/one:generateContent"


def named(name: str, path: str, **body: Any) -> bool:
    whole = {**SAYS[name], **body}
    request = dialect(name).parse_request(json.dumps(whole).encode(), {}, path)
    return names_preset(request.models, request.fields)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_parsed_request_tells_whether_it_names_a_preset(name: str) -> None:
    own: dict[str, Any] = {} if name == "gemini" else {"model": "acme/one"}
    assert not named(name, PLAIN, **own)
    assert not named(name, PLAIN, **own, user="@preset/p")
    assert named(name, PLAIN, **own, preset="p")
    assert named(name, PLAIN, **own, models=["acme/two", "acme/three@preset/p"])
    if name == "gemini":
        assert named(name, PATH)
    else:
        assert named(name, PLAIN, model="@preset/p")
        assert named(name, PLAIN, model="acme/one:nitro@preset/p")


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (PLAIN, "acme/one"),
        (PATH, "@preset/p"),
        ("/v1/models/a/b%3Afree@preset/p:streamGenerateContent", "a/b:free@preset/p"),
        ("/v1beta/models/@preset/p:nitro:generateContent", "@preset/p:nitro"),
    ],
)
def test_the_model_of_a_path_is_read_and_replaced(path: str, model: str) -> None:
    assert model_in(path) == model
    method = path.rpartition(":")[2]
    assert with_model(path, "x/y:free").endswith(f"/models/x/y:free:{method}")
    assert model_in(with_model(path, "x/ü y")) == "x/ü y"


def test_the_base_of_a_model_is_what_stands_before_the_preset() -> None:
    assert [base_of(m) for m in ("a/b@preset/p", "@preset/p", "a/b")] == ["a/b", "", "a/b"]
    assert base_of("a/b:free@preset/p:nitro:online") == "a/b:free:nitro:online"
    assert base_of("@preset/p:nitro") == ""
