"""Rules of the fault proxy as text, and the public page about them."""

import re
from pathlib import Path

import pytest

from tollway.dev.fault_grammar import KINDS, OPTIONS, POINTS, GrammarError, Rule, parse

PAGE = (Path(__file__).parents[2] / "docs" / "fault-proxy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("delay=2s", Rule("delay=2s", "delay", "head", seconds=2.0)),
        (
            "  delay=150ms@chunk   jitter=.5 p=0.1 ",
            Rule(
                "delay=150ms@chunk jitter=.5 p=0.1",
                "delay",
                "chunk",
                seconds=0.15,
                jitter_s=0.5,
                p=0.1,
            ),
        ),
        ("drop@bytes=512", Rule("drop@bytes=512", "drop", "bytes", n=512)),
        ("drop@head=20", Rule("drop@head=20", "drop", "head", n=20)),
        ("reset@event=3 every=2", Rule("reset@event=3 every=2", "reset", "event", n=3, every=2)),
        ("stall", Rule("stall", "stall", "request")),
        ("stall=forever@head", Rule("stall=forever@head", "stall", "head")),
        ("stall=1m@connect", Rule("stall=1m@connect", "stall", "connect", seconds=60.0)),
        ("throttle=2k/s", Rule("throttle=2k/s", "throttle", "bytes", bytes_per_s=2048)),
        (
            "corrupt=hex:00ff@bytes=9",
            Rule("corrupt=hex:00ff@bytes=9", "corrupt", "bytes", n=9, put=b"\x00\xff"),
        ),
        ("corrupt share=0.5", Rule("corrupt share=0.5", "corrupt", "bytes", share=0.5)),
        (
            "status=429 retry_after=7 first=5 after=1 path=/v1/chat method=post",
            Rule(
                "status=429 retry_after=7 first=5 after=1 path=/v1/chat method=post",
                "status",
                "request",
                status=429,
                retry_after_s=7,
                first=5,
                after=1,
                path="/v1/chat",
                method="POST",
            ),
        ),
    ],
)
def test_a_rule_is_read(text: str, rule: Rule) -> None:
    assert parse(text) == rule


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_is_a_rule(kind: str) -> None:
    assert parse(KINDS[kind].example).kind == kind


@pytest.mark.parametrize(
    ("text", "column", "problem"),
    [
        ("", 1, "a fault is expected"),
        ("   ", 1, "a fault is expected"),
        ("dleay=2s", 1, "'dleay' is no fault"),
        (" delay", 7, "takes a value, as in delay=2s"),
        ("delay=", 7, "takes a value"),
        ("delay=2q", 7, "'2q': expected a time"),
        ("delay=25h", 7, "a day at most"),
        ("delay=٣s", 7, "expected a time"),
        ("delay=2s@tail", 10, "delay happens at connect, request, head, bytes, event, chunk"),
        ("drop=3", 6, "drop takes no value"),
        ("drop@bytes=-1", 12, "'-1': expected a number of bytes"),
        ("drop@request=3", 14, "takes no number"),
        ("drop@event", 11, "which event?"),
        ("drop@event=0", 12, "whole number from 1"),
        ("truncate", 9, "takes a point"),
        ("status=99", 8, "an HTTP status"),
        ("throttle=0", 10, "more than 0 bytes"),
        ("corrupt=hex:0g", 9, "'hex:0g'"),
        ("corrupt@head share=0.1", 1, "goes with @bytes"),
        ("delay=2s p=1.5", 12, "'1.5': expected a share"),
        ("delay=2s p=nan", 12, "expected a share"),
        ("delay=2s p", 11, "p takes a value"),
        ("delay=2s p=0.1 p=0.2", 16, "'p' is given twice"),
        ("drop jitter=1s", 6, "'jitter' is no option of drop"),
        ("drop every=0", 12, "whole number from 1"),
        ("drop path=v1", 11, "the beginning of a path"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, column: int, problem: str) -> None:
    with pytest.raises(GrammarError) as caught:
        parse(text)
    assert problem in str(caught.value)
    assert caught.value.column == column
    *_, shown, caret = str(caught.value).split("\n")
    assert shown[2:] == text
    assert caret.index("^") == 2 + column - 1


def test_the_page_lists_every_fault_every_point_and_every_option() -> None:
    faults, points, options = (
        re.findall(r"^\| `(\w+)", PAGE.split(f"## {title}")[1].split("\n## ")[0], re.M)
        for title in ("Faults", "Points", "Which requests")
    )
    assert faults == list(KINDS)
    assert points == list(POINTS)
    assert options == list(OPTIONS)


def test_every_rule_of_the_page_can_be_written() -> None:
    rules = re.findall(r"^\| `([^`]+)` \|", PAGE.split("## Recipes")[1], re.M)
    rules += re.findall(r"--fault '([^']+)'", PAGE)
    assert len(rules) >= 10
    for rule in rules:
        assert parse(rule).text == rule
