"""Every dialect a client may speak against every dialect a provider may speak.

The cells come from the registry: a new dialect is in the matrix by being there. What a cell cannot
carry must be named by the dialect itself (`Outbound.dropped`); docs/dialects.md lists these names
and is compared with what is found here; with WRITE_DOCS=1 in the environment it is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple

import pytest
from dialect_support import attempt

from support.conversations import (
    FORMATS,
    answer,
    asking,
    conversations,
    differences,
    kit,
    not_found,
    told,
    unexplained,
)
from tollway import canon, dialects
from tollway.conversation import Conversation
from tollway.dialects import Bill, Head, dialect

SEED = 20_261_122
COUNT = 40
"""Conversations a cell; each prints its own seed when it fails."""

DOC = Path(__file__).parents[2] / "docs" / "dialects.md"


def _names() -> Iterator[str]:
    for module in iter_modules(dialects.__path__):
        if module.ispkg or module.name == "openai_chat":
            yield module.name


def _speaks(name: str, *parts: str) -> bool:
    return all(hasattr(dialect(name), part) for part in parts)


def _of_chat(name: str) -> bool:
    return not any(word in name for word in ("embed", "rerank"))


OUTBOUND = sorted(name for name in dialects.OUTBOUND if _of_chat(name))
INBOUND = sorted(
    name
    for name in OUTBOUND
    if _speaks(name, "parse_request", "conversation", "relay", "render_request")
)
CELLS = [(given, target) for given in INBOUND for target in OUTBOUND]

THINKER = attempt(
    capabilities=("tools", "reasoning", "structured_outputs", "vision"),
    efforts=("low", "medium", "high"),
    output_tokens_max=64_000,
)
LIMIT = 32_000


# ---- requests ------------------------------------------------------------------------------------


class Passed(NamedTuple):
    """One conversation through one cell."""

    seed: int
    dropped: tuple[str, ...]
    lost: dict[str, str]
    """What is missing at the other end, and is not spoken of by `dropped`."""


def _as_said(spoken: Conversation, name: str) -> canon.Request:
    """`spoken` as a client of dialect `name` would send it, parsed."""
    with kit(spoken):
        out = dialect(name).render_request(asking(), THINKER, LIMIT)
    return _parsed(name, out)


def _parsed(name: str, out: dialects.Outbound) -> canon.Request:
    request: canon.Request = dialect(name).parse_request(
        out.body, {n.lower(): v for n, v in out.headers}, out.path
    )
    return request


def _through(given: str, target: str, seed: int, spoken: Conversation) -> Passed:
    request = _as_said(spoken, given)
    heard = dialects.conversation(request)
    out = dialect(target).render_request(request, THINKER, LIMIT)
    if target in INBOUND:
        lost = differences(heard, dialects.conversation(_parsed(target, out)))
    else:
        lost = not_found(heard, json.dumps(json.loads(out.body), ensure_ascii=False))
    return Passed(seed, out.dropped, unexplained(lost, out.dropped))


@cache
def _requests(given: str, target: str) -> tuple[Passed, ...]:
    format = FORMATS.get(target, FORMATS.get(given, "anthropic-claude-v1"))
    spoken = conversations(SEED, COUNT, format)
    return tuple(_through(given, target, seed, one) for seed, one in spoken)


@pytest.mark.parametrize(("given", "target"), CELLS)
def test_a_request_keeps_its_meaning_or_the_loss_is_named(given: str, target: str) -> None:
    for passed in _requests(given, target):
        assert passed.lost == {}, f"seed {passed.seed}, dropped {passed.dropped}"


@pytest.mark.parametrize("name", INBOUND)
def test_what_is_passed_on_unchanged_loses_nothing_a_client_of_that_dialect_says(name: str) -> None:
    """What a dialect cannot say itself is no loss of a cell; all else comes back."""
    for seed, spoken in conversations(SEED, COUNT, FORMATS.get(name, "anthropic-claude-v1")):
        with kit(spoken):
            out = dialect(name).render_request(asking(), THINKER, LIMIT)
        found = differences(spoken, dialects.conversation(_parsed(name, out)))
        assert unexplained(found, out.dropped) == {}, f"seed {seed}, dropped {out.dropped}"


# ---- answers -------------------------------------------------------------------------------------

WRITERS = [name for name in OUTBOUND if name in INBOUND]
"""Dialects whose wire can be written here, because clients are answered in it."""


def _wire(name: str, events: list[canon.Event], stream: bool) -> bytes:
    """`events` as a provider of dialect `name` sends them."""
    with kit(events=events):
        way = dialect(name).relay(_head(stream), "kit", (), None)
        out = way.feed(b"x") + way.finish()
        return bytes(out + way.ending(_bill(events)))


def _head(stream: bool) -> Head:
    return Head("gen-1", "acme/one", "Acme", 1_700_000_001, stream)


def _bill(events: list[canon.Event]) -> Bill:
    used = next(event.usage for event in events if isinstance(event, canon.Used))
    return Bill(used, 1_500, 500, 1_000)


def _read(name: str, data: bytes, stream: bool) -> dict[str, Any]:
    reader = dialect(name).parser(stream, ())
    events = reader.feed(data)
    return told(events + ([] if reader.meter.ended else reader.finish()))


class Answered(NamedTuple):
    seed: int
    stream: bool
    lost: dict[str, str]


def _answered(given: str, target: str, seed: int, stream: bool) -> Answered:
    events = answer(seed, FORMATS.get(target, FORMATS.get(given, "anthropic-claude-v1")))
    data = _wire(target, events, stream)
    way = dialect(given).relay(_head(stream), target, (), None)
    out = b"".join(way.feed(data[n : n + 97]) for n in range(0, len(data), 97))
    out += b"" if way.meter.ended else way.finish()
    assert way.meter.fault is None, f"seed {seed}: {way.meter.fault}"
    usage = way.meter.usage
    assert usage is not None, f"seed {seed}: no usage was read"
    out += way.ending(Bill(usage, 1_500, 500, 1_000))
    before, after = told(events), _read(given, out, stream)
    lost = {k: f"{v!r} became {after[k]!r}" for k, v in before.items() if after[k] != v}
    return Answered(seed, stream, lost)


@cache
def _answers(given: str, target: str) -> tuple[Answered, ...]:
    return tuple(
        _answered(given, target, seed, stream)
        for seed in range(SEED, SEED + COUNT)
        for stream in (True, False)
    )


def _may_lose(given: str, target: str) -> set[str]:
    """A client's own dialect may have no place for the opaque state of another provider."""
    return set() if FORMATS.get(given) in (None, FORMATS.get(target)) else {"signature"}


@pytest.mark.parametrize(("given", "target"), [c for c in CELLS if c[1] in WRITERS])
def test_an_answer_keeps_its_meaning(given: str, target: str) -> None:
    for answered in _answers(given, target):
        lost = {k: v for k, v in answered.lost.items() if k not in _may_lose(given, target)}
        assert lost == {}, f"seed {answered.seed}, stream {answered.stream}"


# ---- the page ------------------------------------------------------------------------------------

BEGIN, END = "<!-- matrix -->", "<!-- end of matrix -->"


def _cell(given: str, target: str) -> str:
    if given == target:
        return "bytes are passed on"
    names = sorted({name for passed in _requests(given, target) for name in passed.dropped})
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _back(given: str, target: str) -> str:
    if given == target:
        return "bytes are passed on"
    if target not in WRITERS:
        return "–"
    names = sorted({kind for one in _answers(given, target) for kind in one.lost})
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def page() -> str:
    """The generated part of the page."""
    rows = [
        "| client speaks | provider speaks | request loses | answer loses |",
        "|---|---|---|---|",
    ]
    rows += [f"| {g} | {t} | {_cell(g, t)} | {_back(g, t)} |" for g, t in CELLS]
    return "\n".join([BEGIN, "", *rows, "", END])


def test_the_page_says_what_is_lost() -> None:
    text = DOC.read_text(encoding="utf-8")
    if "WRITE_DOCS" in os.environ:
        text = text.partition(BEGIN)[0] + page() + text.partition(END)[2]
        DOC.write_text(text, encoding="utf-8")
    assert page() in text, "run this test with WRITE_DOCS=1"
