"""Who may be picked, which price band a model is in, and in which order a band stands."""

from __future__ import annotations

from typing import Any

import pytest
from routing_builders import index, model, offered

from tollway.catalogue.entries import Benchmark, Model
from tollway.money import Price, Rates
from tollway.routing.candidates import Candidate, Pool, in_band
from tollway.routing.classify import Needs
from tollway.routing.entries import Offer
from tollway.routing.router_options import BANDS, Band, Options

TEXT = frozenset({"text"})
PLAIN = Needs(TEXT, TEXT, frozenset())


def able(id: str, **facts: Any) -> Model:
    """A general model: takes tools, its date and window are known."""
    facts.setdefault("capabilities", ("tools",))
    facts.setdefault("created", "2026-01-01")
    facts.setdefault("context_length", 100_000)
    return model(id, **facts)


def sold(
    id: str, dollars: float = 1.0, *, tag: str = "alpha", live: bool = True, **of: Any
) -> Offer:
    return offered(tag, of=able(id, **of), dollars=dollars, live=live)


def pool(*offers: Offer, **facts: Any) -> Pool:
    return Pool(index(*offers, **facts))


def cut(made: Pool, needs: Needs = PLAIN, **options: Any) -> list[str]:
    free = options.pop("free", False)
    found = made.cut(needs, Options(**options), free=free)
    return [c.model.id for c in (*found.general, *found.others)]


def order(made: Pool, task: Any = "chat") -> list[str]:
    places = made.place(task)
    return sorted(places, key=lambda id: places[id])


# ---- who -----------------------------------------------------------------------------------------


def test_candidates_are_chat_models_that_can_be_called_at_a_known_price_cheapest_first() -> None:
    unpriced = offered("alpha", of=able("a/unpriced"), price=Price(Rates(prompt=1)))
    made = pool(
        sold("a/dear", 5),
        sold("a/cheap", 1),
        sold("a/dead", 1, tag="dead", live=False),
        sold("a/vector", type="embedding"),
        unpriced,
    )
    assert [c.model.id for c in made.all] == ["a/cheap", "a/dear"]


def test_the_price_is_the_cheapest_ordinary_endpoint() -> None:
    one = able("a/one")
    made = pool(
        offered("alpha", of=one, dollars=3),
        offered("beta", of=one, dollars=2),
        offered("gamma", of=one, dollars=1, service_tier="flex"),
        offered("delta", of=one, dollars=0, free_trial=True),
    )
    assert [c.price_pico for c in made.all] == [2 * 4_000 * 10**6]


NEEDS = [
    (PLAIN, ["a/plain", "a/sees", "a/thinks", "a/lists"]),
    (Needs(frozenset({"text", "image"}), TEXT, frozenset()), ["a/sees"]),
    (Needs(TEXT, frozenset({"text", "image"}), frozenset()), ["a/draws"]),
    (Needs(TEXT, TEXT, frozenset({"reasoning"})), ["a/thinks"]),
    (Needs(TEXT, TEXT, frozenset({"structured_outputs"})), ["a/lists"]),
    (Needs(TEXT, TEXT, frozenset({"response_format", "tools"})), ["a/lists"]),
    (Needs(frozenset({"text", "audio"}), TEXT, frozenset()), []),
]


@pytest.mark.parametrize(("needs", "expected"), NEEDS)
def test_a_need_is_met_by_who_is_known_to_meet_it(needs: Needs, expected: list[str]) -> None:
    made = pool(
        sold("a/plain", 1),
        sold("a/sees", 2, input_modalities=("text", "image")),
        sold("a/draws", 3, output_modalities=("text", "image")),
        sold("a/thinks", 4, capabilities=("tools", "reasoning")),
        sold("a/lists", 5, capabilities=(), params=("tools", "structured_outputs")),
    )
    assert cut(made, needs) == expected


def test_what_is_no_assistant_is_only_there_when_nothing_else_is() -> None:
    guard = sold("a/guard", 1, capabilities=())
    undated = sold("a/undated", 1, created=None)
    found = pool(guard, undated, sold("a/one", 2)).cut(PLAIN, Options())
    assert [c.model.id for c in found.general] == ["a/one"]
    assert [c.model.id for c in found.others] == ["a/guard", "a/undated"]


def test_patterns_leave_what_they_allow_and_take_what_they_exclude() -> None:
    made = pool(
        sold("a/one", 1), sold("a/two", 2), sold("b/one", 3), sold("b/odd", 4, created=None)
    )
    assert cut(made, allowed=("a/*",)) == ["a/one", "a/two"]
    assert cut(made, allowed=("*/o*",)) == ["a/one", "b/one", "b/odd"]
    assert cut(made, excluded=("a/*",)) == ["b/one", "b/odd"]
    assert cut(made, allowed=("*",), excluded=("*two", "b/odd")) == ["a/one", "b/one"]
    assert cut(made, allowed=("c/*",)) == []


def test_free_variants_and_the_sandbox_are_taken_only_by_their_name() -> None:
    free = Price(Rates(prompt=0, completion=0))
    made = pool(
        offered("alpha", of=able("a/one:free"), price=free),
        sold("tollway/echo", 1),
        sold("a/one", 2),
    )
    assert cut(made) == ["a/one"]
    assert cut(made, allowed=("*",)) == ["a/one"]
    assert cut(made, allowed=("a/*",)) == ["a/one"]
    assert cut(made, allowed=("a/*:free",)) == ["a/one:free"]
    assert cut(made, allowed=("tollway/*",)) == ["tollway/echo"]
    assert cut(made, free=True) == ["a/one:free"]


def test_a_model_that_only_trials_serve_is_taken_only_by_its_name() -> None:
    made = pool(offered("alpha", of=able("a/one"), dollars=0, free_trial=True), sold("a/two"))
    assert cut(made) == ["a/two"]
    assert cut(made, allowed=("a/*",)) == ["a/two"]
    assert cut(made, allowed=("a/one", "a/two")) == ["a/one", "a/two"]


def test_free_is_what_has_no_price_at_all() -> None:
    zero = Rates(prompt=0, completion=0)
    fee = Rates(prompt=0, completion=0, request=1)
    thought = Rates(prompt=0, completion=0, internal_reasoning=1)
    made = pool(
        offered("alpha", of=able("a/free"), price=Price(zero)),
        offered("alpha", of=able("a/fee"), price=Price(fee)),
        offered("alpha", of=able("a/thought"), price=Price(thought)),
    )
    assert cut(made, free=True) == ["a/free"]


def test_the_same_question_is_answered_once_and_answers_do_not_pile_up() -> None:
    made = pool(sold("a/one"))
    assert made.cut(PLAIN, Options()) is made.cut(PLAIN, Options())
    for n in range(600):
        made.cut(PLAIN, Options(allowed=(f"a/{n}",)))
    assert len(made._cuts) == 256


# ---- bands ---------------------------------------------------------------------------------------


def priced(*dollars: float) -> list[Candidate]:
    return list(pool(*(sold(f"a/m{n:02}", price) for n, price in enumerate(dollars))).all)


BANDED: list[tuple[list[float], dict[Band, list[int]]]] = [
    ([1], {"low": [0], "medium": [0], "high": [0], "xhigh": [0], "max": [0]}),
    ([1, 2], {"low": [0], "medium": [0], "high": [0], "xhigh": [1], "max": [1]}),
    ([1, 2, 3], {"low": [0], "medium": [1], "high": [1], "xhigh": [1], "max": [2]}),
    ([1, 2, 3, 4, 5], {"low": [0], "medium": [1], "high": [2], "xhigh": [3], "max": [4]}),
    (
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        {"low": [0, 1], "medium": [2, 3], "high": [4, 5], "xhigh": [6, 7], "max": [8, 9, 10]},
    ),
    ([2, 2, 2], {band: [0, 1, 2] for band in BANDS}),
    ([1, 2, 2, 2], {"low": [0], "medium": [1, 2, 3], "max": [1, 2, 3]}),
    ([1, 1, 1, 1, 9], {"low": [0, 1, 2, 3], "medium": [0, 1, 2, 3], "max": [4]}),
]


@pytest.mark.parametrize(("dollars", "expected"), BANDED)
def test_a_band_is_a_fifth_of_the_percentiles(
    dollars: list[float], expected: dict[Band, list[int]]
) -> None:
    models = priced(*dollars)
    for band, places in expected.items():
        held = [int(c.model.id[-2:]) for c in in_band(models, band)]
        assert held == places, band


def test_bands_follow_their_definition_and_never_hold_nobody() -> None:
    """Against the sentence: a percentile is the share of the others that are cheaper."""
    from random import Random

    random = Random(seed := 7)
    for _ in range(200):
        dollars = sorted(random.choices((1, 2, 3, 5, 8, 13, 21), k=random.randint(1, 14)))
        models = priced(*dollars)
        at = {
            c.model.id: sum(o.price_pico < c.price_pico for o in models) / max(1, len(models) - 1)
            for c in models
        }
        for n, band in enumerate(BANDS):
            expected = [
                c
                for c in models
                if n / 5 <= at[c.model.id] + 1e-12
                and (at[c.model.id] < (n + 1) / 5 - 1e-12 or n == 4)
            ]
            held = in_band(models, band)
            assert held, (seed, dollars, band)
            if expected:
                assert held == expected, (seed, dollars, band)
    assert in_band([], "low") == []


# ---- order ---------------------------------------------------------------------------------------


def test_without_benchmarks_the_newer_half_year_is_first_then_more_endpoints_then_the_day() -> None:
    wide = able("a/wide", created="2026-05-01")
    made = pool(
        sold("a/older", created="2024-01-01", context_length=1_000_000),
        sold("a/narrow", created="2026-05-02"),
        offered("alpha", of=wide),
        offered("beta", of=wide),
        sold("a/undated", created=None),
    )
    assert order(made) == ["a/wide", "a/narrow", "a/older", "a/undated"]
    old = able("a/old", created="2025-01-01")
    older = [offered(tag, of=old) for tag in ("alpha", "beta", "gamma")]
    assert order(pool(*older, sold("a/new", created="2026-05-01"))) == ["a/new", "a/old"]


def test_work_that_wants_thought_goes_to_who_can_think() -> None:
    made = pool(
        sold("a/new", created="2026-06-01"),
        sold("a/thinks", created="2024-01-01", capabilities=("tools", "reasoning")),
    )
    for task in ("agent", "code", "math", "reasoning"):
        assert order(made, task) == ["a/thinks", "a/new"], task
    for task in ("chat", "translation", "writing", "extraction", "media", "summary", "document"):
        assert order(made, task) == ["a/new", "a/thinks"], task


def test_work_that_is_reading_goes_to_large_windows() -> None:
    made = pool(
        sold("a/new", created="2026-06-01", context_length=32_000),
        sold("a/large", created="2024-01-01", context_length=200_000),
    )
    assert order(made, "document") == order(made, "summary") == ["a/large", "a/new"]
    assert order(made, "chat") == ["a/new", "a/large"]


def benchmark(name: str, scores: dict[str, float], *tasks: Any) -> Benchmark:
    return Benchmark(name, "https://example.com", "2026-11-01", scores, tasks)


def test_benchmarks_go_before_dates_and_speak_for_their_work_only() -> None:
    offers = [
        sold("a/new", created="2026-06-01"),
        sold("a/good", created="2024-01-01"),
        sold("a/better", created="2023-01-01"),
    ]
    code = benchmark("code", {"a/good": 50, "a/better": 60}, "code")
    general = benchmark("all", {"a/good": 3, "a/better": 1})
    made = pool(*offers, benchmarks=(code, general))
    assert order(made, "code") == ["a/better", "a/good", "a/new"]
    assert order(made, "chat") == ["a/good", "a/better", "a/new"]
    assert order(pool(*offers, benchmarks=(code,)), "chat") == ["a/new", "a/good", "a/better"]


def test_scales_of_several_benchmarks_do_not_matter() -> None:
    offers = [sold("a/one"), sold("a/two"), sold("a/three")]
    big = benchmark("elo", {"a/one": 1500, "a/two": 1200, "a/three": 1100})
    small = benchmark("share", {"a/one": 0.2, "a/two": 0.9, "a/three": 0.8})
    assert order(pool(*offers, benchmarks=(big, small))) == ["a/two", "a/one", "a/three"]
