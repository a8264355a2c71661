"""Slugs and their variants."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.canon import Preferences
from tollway.routing.slugs import ROUTING_VARIANTS, join_slug, parse_slug, sort_of


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("openai/gpt-4o", ("openai/gpt-4o", ())),
        ("OpenAI/GPT-4o:Nitro", ("openai/gpt-4o", ("nitro",))),
        ("a/b:free:nitro", ("a/b:free", ("nitro",))),
        ("a/b:nitro:free", ("a/b:free", ("nitro",))),
        ("a/b:floor:nitro", ("a/b", ("floor", "nitro"))),
        ("a/b:thinking", ("a/b:thinking", ())),
        ("a/b:exacto", ("a/b", ("exacto",))),
        ("a/b:online:free:floor", ("a/b:free", ("online", "floor"))),
        ("a/b:", ("a/b:", ())),
        ("", ("", ())),
    ],
)
def test_routing_variants_are_taken_off_and_the_rest_is_the_id(text, parsed) -> None:
    assert parse_slug(text) == parsed


@given(
    st.text("abc/-:", max_size=12), st.lists(st.sampled_from(sorted(ROUTING_VARIANTS)), max_size=3)
)
def test_joining_is_the_opposite_of_parsing(base, variants) -> None:
    assert parse_slug(join_slug(base, tuple(variants))) == (base, tuple(variants))


@pytest.mark.parametrize(
    ("sort", "variants", "in_force"),
    [
        (None, (), None),
        (None, ("nitro",), "throughput"),
        (None, ("nitro", "floor"), "price"),
        (None, ("floor", "exacto", "online"), "exacto"),
        (None, ("online",), None),
        ("latency", ("floor",), "latency"),
    ],
)
def test_the_requests_own_sort_beats_variants_and_the_last_variant_wins(
    sort, variants, in_force
) -> None:
    assert sort_of(Preferences(sort=sort), variants) == in_force
