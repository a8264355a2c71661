"""The sandbox's directives: `[[word word=value …]]` inside a user's message.

Pure. It says which words there are, reads them, and decides whether a directive holds for an
attempt; what they do is the business of `sandbox_models` (what is said) and `sandbox_play` (how it
breaks). Rules. A word that is not in the table is an error that names it: a misspelt fault must not
pass for a healthy answer. `docs/sandbox.md` is the public text of this table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from random import Random

import msgspec

BEFORE = -1
"""The point before the head, as `die=before` and `stall=before` say it."""

SECONDS_MAX = 3600.0
COUNT_MAX = 10**6


class Directive(msgspec.Struct, frozen=True):
    """One pair of brackets. `text` is what stood in it: it names its counters."""

    text: str
    values: Mapping[str, object]

    @property
    def selects(self) -> bool:
        return any(word in self.values for word in SELECTORS)


class GrammarError(ValueError):
    """The message is fit for the user."""


def parse(text: str) -> tuple[list[Directive], str]:
    """The directives in a text, and the text without them. Raises GrammarError."""
    found: list[Directive] = []
    for inside in _DIRECTIVE.findall(text):
        values: dict[str, object] = {}
        for token in inside.split():
            word, equals, value = token.partition("=")
            reader = WORDS.get(word)
            if reader is None:
                raise GrammarError(f"Unknown word {word!r} in [[{inside}]]. Known: {_KNOWN}.")
            try:
                values[word] = reader(value if equals else None)
            except ValueError as error:
                raise GrammarError(f"{token!r} in [[{inside}]]: {error}.") from None
        found.append(Directive(" ".join(inside.split()), values))
    clean = _DIRECTIVE.sub("", text).strip() if found else text
    return found, clean


def holds(directive: Directive, provider: str, endpoint: str, seen: int, drawn: int) -> bool:
    """Whether a directive holds for an attempt. `seen`: how often it was asked before for the same
    conversation at a place that `at` names; `drawn`: how often for any conversation.

    `times=n` holds n times, lets one attempt pass, and begins again: a repeated request sees the
    same. `p` draws from a generator seeded by `seed` and the count.
    """
    values = directive.values
    if not is_at(directive, provider, endpoint):
        return False
    share = values.get("p")
    if isinstance(share, float):
        dice = Random(f"{values.get('seed', 0)}:{drawn}")
        if dice.random() >= share:
            return False
    times = values.get("times")
    return not isinstance(times, int) or seen % (times + 1) < times


def is_at(directive: Directive, provider: str, endpoint: str) -> bool:
    """`at` names a provider, an endpoint, or both as `provider/endpoint`."""
    at = directive.values.get("at")
    return at is None or at in (provider, endpoint, f"{provider}/{endpoint}")


# ---- the words -----------------------------------------------------------------------------------

Reader = Callable[[str | None], object]


def _flag(value: str | None) -> bool:
    if value is not None:
        raise ValueError("takes no value")
    return True


def _number(value: str | None, most: float, what: str) -> float:
    try:
        number = float(value or "")
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise ValueError(f"takes {what} from 0 to {most:g}")
    return number


def _seconds(value: str | None) -> float:
    return _number(value, SECONDS_MAX, "seconds")


def _share(value: str | None) -> float:
    return _number(value, 1, "a share")


def _rate(value: str | None) -> float:
    rate = _number(value, COUNT_MAX, "tokens a second")
    if rate == 0:
        raise ValueError("takes more than 0 tokens a second")
    return rate


def _count(value: str | None) -> int:
    if value is None or not value.isascii() or not value.isdigit() or int(value) > COUNT_MAX:
        raise ValueError(f"takes a whole number from 0 to {COUNT_MAX}")
    return int(value)


def _event(value: str | None) -> int:
    number = _count(value)
    if number == 0:
        raise ValueError("takes the number of an event, from 1")
    return number


def _point(value: str | None) -> int:
    return BEFORE if value == "before" else _count(value)


def _status(value: str | None) -> int:
    if value is None or not re.fullmatch(r"[45][0-9]{2}", value):
        raise ValueError("takes an HTTP status from 400 to 599")
    return int(value)


def _word(value: str | None) -> str:
    if not value:
        raise ValueError("takes a word")
    return value


WORDS: dict[str, Reader] = {
    # what is said
    "tokens": _count,
    "rate": _rate,
    "reasoning": _count,
    "cached": _count,
    "parallel": _flag,
    # how it breaks
    "fault": _flag,
    "status": _status,
    "code": _word,
    "retry_after": _seconds,
    "slow_headers": _seconds,
    "delay": _seconds,
    "die": _point,
    "stall": _point,
    "bad_json": _event,
    "error_after": _count,
    "html": _flag,
    "empty": _flag,
    "no_usage": _flag,
    "no_done": _flag,
    "negative_usage": _flag,
    "huge_usage": _flag,
    "finish": _word,
    # where and how often
    "at": _word,
    "times": _count,
    "p": _share,
    "seed": _count,
    "id": _word,
}

SELECTORS = frozenset({"at", "times", "p"})

_KNOWN = ", ".join(WORDS)
_DIRECTIVE = re.compile(r"\[\[([^\[\]]*)\]\]")
