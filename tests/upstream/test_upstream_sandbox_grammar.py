"""Directives as text, and the public page about them."""

import re
from pathlib import Path

import pytest

from tollway.upstream.sandbox_grammar import BEFORE, WORDS, GrammarError, parse
from tollway.upstream.sandbox_models import MODELS

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_a_text_without_directives_is_left_as_it_is() -> None:
    assert parse("  a [b] [ [c] ] \n") == ([], "  a [b] [ [c] ] \n")


def test_directives_are_read_and_taken_out() -> None:
    found, clean = parse("Say [[ die=before  p=0.5 ]]hello[[stall=3 at=x/y html]] ")
    assert clean == "Say hello"
    assert [(d.text, d.values, d.selects) for d in found] == [
        ("die=before p=0.5", {"die": BEFORE, "p": 0.5}, True),
        ("stall=3 at=x/y html", {"stall": 3, "at": "x/y", "html": True}, True),
    ]
    assert not parse("[[status=500]]")[0][0].selects


@pytest.mark.parametrize(
    "text", ["[[die=١]]", "[[status=5000]]", "[[tokens=-1]]", "[[=]]", "[[at=]]"]
)
def test_values_outside_their_range_are_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        parse(text)


def test_the_page_lists_every_word_and_every_model() -> None:
    words = re.findall(r"^\| `(\w+)", PAGE.split("## Directives")[1].split("## Recipes")[0], re.M)
    assert sorted(words) == sorted(WORDS)
    assert re.findall(r"^\| `tollway/(\w+)`", PAGE, re.M) == list(MODELS)


def test_every_example_on_the_page_is_understood() -> None:
    for example in re.findall(r"\[\[[^\]]*=[^\]]*\]\]", PAGE):
        if "…" not in example:
            assert parse(example)[0]
    for word in re.findall(r"^\| (`[^|]*`) \|", PAGE.split("How it breaks")[1], re.M):
        for one in re.findall(r"`([^`\[]+)`", word):
            assert parse(f"[[{one}]]")[0]
