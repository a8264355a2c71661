"""Wildcard patterns: the same as a plain matcher, and never slow."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from random import Random

import pytest

from tollway.catalogue.load import load
from tollway.routing.patterns import LOOKS_MAX, Ids, TooCostly

IDS = ("anthropic/claude-a", "openai/gpt-4", "openai/gpt-4-mini", "openai/o1", "x/gpt-4:free")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("openai/gpt-4", {"openai/gpt-4"}),
        ("openai/gpt", set()),
        ("openai/*", {"openai/gpt-4", "openai/gpt-4-mini", "openai/o1"}),
        ("*gpt-4*", {"openai/gpt-4", "openai/gpt-4-mini", "x/gpt-4:free"}),
        ("*gpt-4", {"openai/gpt-4"}),
        ("*:free", {"x/gpt-4:free"}),
        ("o*-*i", {"openai/gpt-4-mini"}),
        ("*", set(IDS)),
        ("***", set(IDS)),
        ("", set()),
        ("openai/gpt-4\nopenai/gpt-4-mini", set()),
        ("openai/[go]*", set()),
        ("gpt-4*gpt-4", set()),
    ],
)
def test_a_star_is_any_text_and_the_rest_is_itself(pattern: str, expected: set[str]) -> None:
    assert Ids(IDS).matching([pattern]) == expected


def test_it_agrees_with_a_plain_matcher_on_random_patterns() -> None:
    random = Random(seed := 20_261_128)
    ids = {"".join(random.choices("ab/-", k=random.randint(1, 8))) for _ in range(60)}
    for _ in range(2_000):
        pattern = "".join(random.choices("ab/-**", k=random.randint(1, 6)))
        expected = {id for id in ids if fnmatchcase(id, pattern)}
        assert Ids(ids).matching([pattern]) == expected, (seed, pattern)


def test_a_thousand_ordinary_patterns_are_no_work_and_a_thousand_that_fit_all_are_refused() -> None:
    ids = Ids(load().models)
    authors = {id.partition("/")[0] for id in load().models}
    ordinary = [f"{author}/*" for author in authors] + [f"*claude-{n}*" for n in range(700)]
    assert len(ids.matching(ordinary)) == len(load().models)
    hostile = [f"*{'*e' * (n % 20)}*a*{'*' * (n % 30)}q{n}z" for n in range(1024)]
    began = time.thread_time()
    assert ids.matching(hostile) == frozenset()
    with pytest.raises(TooCostly):
        ids.matching(["*".join(f"*a{n:04}q".replace("0", "e")) for n in range(1024)])
    took_s = time.thread_time() - began
    print(f"{LOOKS_MAX:,} looks and 2,048 hostile patterns: {took_s * 1e3:.0f} ms")
    assert took_s < 1.0
