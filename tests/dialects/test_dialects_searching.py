"""`:online` in the words of each dialect."""

import json

import pytest
from dialect_support import attempt as made_attempt

from routing.routing_builders import endpoint, model, offered, planned, request
from tollway.dialects import Outbound, dialect
from tollway.dialects.searching import SEARCHES_MAX, searches, with_search
from tollway.money import Price, Rates

PRICED = Price(Rates(prompt=1, completion=1, web_search=10_000_000_000))
UNPRICED = Price(Rates(prompt=1, completion=1))
ABLE = model(capabilities=("web_search",))
LISTED = model(params=("web_search_options", "max_tokens"))


@pytest.mark.parametrize(
    ("of", "dialect", "price", "yes"),
    [
        (LISTED, "openai_chat", UNPRICED, True),
        (ABLE, "openai_chat", PRICED, False),
        (ABLE, "anthropic_messages", PRICED, True),
        (ABLE, "vertex_gemini", PRICED, True),
        (ABLE, "openai_responses", PRICED, True),
        (ABLE, "openai_responses", UNPRICED, False),
        (model(), "anthropic_messages", PRICED, False),
        (ABLE, "bedrock_converse", PRICED, False),
    ],
)
def test_who_can_be_told_to_search(of, dialect, price, yes) -> None:
    assert searches(of, endpoint("alpha", dialect=dialect, price=price)) is yes


def sent(body: dict, dialect: str) -> dict:
    return json.loads(with_search(Outbound("/x", json.dumps(body).encode()), dialect).body)


ANTHROPIC = {"type": "web_search_20250305", "name": "web_search", "max_uses": SEARCHES_MAX}


@pytest.mark.parametrize(
    ("dialect", "body", "after"),
    [
        ("openai_chat", {"model": "m"}, {"model": "m", "web_search_options": {}}),
        (
            "openai_chat",
            {"web_search_options": {"search_context_size": "low"}},
            {"web_search_options": {"search_context_size": "low"}},
        ),
        ("anthropic_messages", {"a": 1.50}, {"a": 1.50, "tools": [ANTHROPIC]}),
        (
            "anthropic_messages",
            {"tools": [{"name": "f", "input_schema": {}}]},
            {"tools": [{"name": "f", "input_schema": {}}, ANTHROPIC]},
        ),
        (
            "anthropic_messages",
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        ),
        ("gemini", {}, {"tools": [{"googleSearch": {}}]}),
        ("vertex_gemini", {"tools": [{"googleSearch": {}}]}, {"tools": [{"googleSearch": {}}]}),
        ("openai_responses", {}, {"tools": [{"type": "web_search"}]}),
    ],
)
def test_a_search_is_asked_for_once(dialect, body, after) -> None:
    assert sent(body, dialect) == after


def test_a_tool_that_only_speaks_of_searching_is_no_search() -> None:
    mine = {"name": "lookup", "description": 'calls "web_searcher"', "input_schema": {}}
    assert sent({"tools": [mine]}, "anthropic_messages")["tools"] == [mine, ANTHROPIC]


def test_online_keeps_who_searches_and_holds_for_the_searches() -> None:
    can = offered("alpha", of=ABLE, dialect="anthropic_messages", price=PRICED)
    cannot = offered("beta", of=ABLE)
    from random import Random

    from tollway.routing.entries import Policy
    from tollway.routing.health import Health
    from tollway.routing.plan import plan

    made = plan(
        request("acme/one:online"),
        {"acme/one:online": [can, cannot]},
        Health(),
        Policy(),
        now_s=0.0,
        random=Random(1),
    )
    assert [(a.endpoint.tag, a.online) for a in made.attempts] == [("alpha", True)]
    assert [(d.tag, d.reason) for d in made.drops] == [("beta", "online")]
    plain = planned(request(), can).attempts[0]
    assert not plain.online
    assert made.attempts[0].fixed_pico - plain.fixed_pico == SEARCHES_MAX * 10_000_000_000


def test_every_dialect_that_is_told_can_be_rendered_first() -> None:
    ask = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
    parsed = dialect("openai_chat").parse_request(ask)
    for name in ("openai_chat", "anthropic_messages", "gemini", "openai_responses"):
        outbound = dialect(name).render_request(parsed, made_attempt(), 100)
        body = json.loads(with_search(outbound, name).body)
        assert "web_search_options" in body or body["tools"], name
