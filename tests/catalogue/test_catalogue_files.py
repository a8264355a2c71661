"""A bad catalogue file is refused with file, line, field and what was expected."""

from __future__ import annotations

import pytest

from tollway.catalogue.compile import overlaid
from tollway.catalogue.entries import Catalogue
from tollway.catalogue.files import CatalogueError, Source, line_of

EMPTY = Catalogue({}, {}, {}, {}, {})

GOOD = """\
id = "mock"
name = "Mock"
dialect = "openai_chat"
base_url = "https://mock.example/v1"
auth = { scheme = "bearer", env = "MOCK_API_KEY" }

[[endpoints]]
model = "openai/gpt-4o-mini"
id = "gpt-4o-mini"
pricing = { prompt = "0.00000015", completion = "0.0000006" }

[[endpoints]]
model = "openai/gpt-4o"
id = "gpt-4o"
[endpoints.pricing]
prompt = "0.0000025"
completion = "0.00001"
"""

BAD = {
    "syntax": ("id = ", "id ", 1, "", "not valid TOML"),
    "unknown key of the provider": (
        'name = "Mock"',
        'nmae = "Mock"',
        2,
        "nmae",
        "no such field; known are id, name",
    ),
    "wrong type of the provider": ('name = "Mock"', "name = 3", 2, "name", "expected str"),
    "bad provider id": ('id = "mock"', 'id = "Mock AI"', 1, "id", "expected a lower-case id"),
    "no id": ('id = "mock"\n', "", None, "id", "found none"),
    "unknown dialect": (
        '"openai_chat"',
        '"openai-chat"',
        3,
        "dialect",
        "expected one of anthropic_messages",
    ),
    "plain http": (
        "https://mock",
        "http://mock",
        4,
        "base_url",
        "only `private_network = true` allows http",
    ),
    "loopback": (
        "https://mock.example",
        "https://127.0.0.1",
        4,
        "base_url",
        "loopback or private address",
    ),
    "private IPv6": (
        "https://mock.example",
        "https://[fd00::1]",
        4,
        "base_url",
        "loopback or private address",
    ),
    "localhost": (
        "https://mock.example",
        "https://localhost",
        4,
        "base_url",
        "loopback or private address",
    ),
    "no scheme": ("https://mock", "mock", 4, "base_url", "expected a URL like"),
    "credentials in the URL": (
        "https://mock",
        "https://u:p@mock",
        4,
        "base_url",
        "credentials belong in `auth`",
    ),
    "placeholder without variable": (
        "https://mock.",
        "https://{region}.",
        4,
        "base_url",
        "{region} needs an entry in `variables`",
    ),
    "unknown auth scheme": (
        '"bearer"',
        '"barer"',
        5,
        "auth.scheme",
        "expected one of bearer, header, none",
    ),
    "unknown auth key": ("env =", "environment =", 5, "auth.environment", "no such field"),
    "header format without key": (
        '"bearer", ',
        '"header", format = "Token", ',
        5,
        "auth.format",
        "{key}",
    ),
    "model without author": (
        '"openai/gpt-4o"',
        '"gpt-4o"',
        13,
        "endpoints[1].model",
        "a lower-case slug like author/name",
    ),
    "unknown key of an endpoint": (
        'id = "gpt-4o"',
        'id = "gpt-4o"\nmax_tokens = 5',
        15,
        "endpoints[1].max_tokens",
        "no such field; known are model, id, pricing",
    ),
    "endpoint without id": ('id = "gpt-4o"\n', "", 12, "endpoints[1].id", "found none"),
    "float price": (
        '"0.0000025"',
        "0.0000025",
        16,
        "endpoints[1].pricing.prompt",
        "expected a decimal string of USD, got float",
    ),
    "negative price": (
        '"0.00000015"',
        '"-1"',
        10,
        "endpoints[0].pricing.prompt",
        "must be zero or more",
    ),
    "misspelt price": (
        "completion =",
        "completions =",
        10,
        "endpoints[0].pricing.completions",
        "no such price",
    ),
    "price in USD per million": (
        '"0.00001"',
        '"10000000"',
        17,
        "endpoints[1].pricing.completion",
        "cannot be right",
    ),
    "the same endpoint twice": (
        '"openai/gpt-4o"',
        '"openai/gpt-4o-mini"',
        12,
        "endpoints[1]",
        "give one of the two a `tag`",
    ),
    "foreign tag": (
        'id = "gpt-4o"',
        'id = "gpt-4o"\ntag = "groq"',
        15,
        "endpoints[1].tag",
        "expected 'mock' or 'mock/…'",
    ),
    "bad date": (
        'id = "gpt-4o"',
        'id = "gpt-4o"\nretires = "soon"',
        15,
        "endpoints[1].retires",
        "YYYY-MM-DD",
    ),
    "unknown quantization": (
        'id = "gpt-4o"',
        'id = "gpt-4o"\nquantization = "q4"',
        15,
        "endpoints[1].quantization",
        "expected one of int4, int8",
    ),
    "context of nothing": (
        'id = "gpt-4o"',
        'id = "gpt-4o"\ncontext_length = 0',
        15,
        "endpoints[1].context_length",
        "expected int >= 1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_names_file_line_field_and_what_was_expected(case: str) -> None:
    old, new, line, field, problem = BAD[case]
    assert old in GOOD
    with pytest.raises(CatalogueError) as caught:
        overlaid(EMPTY, [Source("mock.toml", GOOD.replace(old, new, 1))])
    error = caught.value
    assert (error.file, error.line, error.field) == ("mock.toml", line, field)
    assert problem in error.problem
    assert str(error).startswith("mock.toml")


def test_the_good_file_is_good() -> None:
    catalogue = overlaid(EMPTY, [Source("mock.toml", GOOD)])
    assert [e.key for found in catalogue.endpoints.values() for e in found] == [
        "openai/gpt-4o-mini@mock",
        "openai/gpt-4o@mock",
    ]


def test_an_override_inside_a_price_is_found_by_its_path() -> None:
    bad = GOOD.replace(
        'completion = "0.0000006" }',
        'completion = "0.0000006", overrides = [{ min_prompt_tokens = 10, prompt = "x" }] }',
    )
    with pytest.raises(CatalogueError) as caught:
        overlaid(EMPTY, [Source("mock.toml", bad)])
    assert caught.value.field == "endpoints[0].pricing.overrides[0].prompt"
    assert caught.value.line == 10


def test_private_network_allows_what_is_refused_otherwise() -> None:
    local = GOOD.replace("https://mock.example", "http://127.0.0.1:9100") + ""
    local = local.replace('name = "Mock"', "private_network = true")
    catalogue = overlaid(EMPTY, [Source("mock.toml", local)])
    assert catalogue.providers["mock"].base_url == "http://127.0.0.1:9100/v1"
    assert catalogue.providers["mock"].name == "mock"


def test_lines_are_found_in_tables_arrays_and_inline_tables() -> None:
    assert line_of(GOOD, ("auth", "env")) == 5
    assert line_of(GOOD, ("endpoints", 0, "id")) == 9
    assert line_of(GOOD, ("endpoints", 1)) == 12
    assert line_of(GOOD, ("endpoints", 1, "pricing")) == 15
    assert line_of(GOOD, ("endpoints", 1, "pricing", "completion")) == 17
    assert line_of(GOOD, ("nowhere",)) is None
