"""A model's text that should be JSON, as JSON: what a reader would take it for, and no more.

Pure and bounded: what is longer, or takes more work, than the limits here is left as it is. The cheap
ways come first: a whole value inside a code fence or in the middle of prose is taken out by its own
bytes, commas and brackets at the end are counted. Then the `json-repair` library: quotes, unquoted
keys, comments, whatever else. It is superlinear for some inputs (ten kilobytes can take seconds), so it reads
through a text that counts what is read of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

FOUND_CHARS_MAX = 500_000
"""Of a text in which a whole value is looked for, and STARTS_MAX of the places in it at which one
may begin: each costs a pass at the speed of C, a few tens of milliseconds at the very worst."""
STARTS_MAX = 4

CLOSED_CHARS_MAX = 200_000
"""Of a text whose brackets are counted: half a microsecond each, where it is nothing but brackets."""

REPAIRED_CHARS_MAX, WORK_MAX = 16_000, 60_000
"""Of a text that is repaired character by character, and how many of its characters a repair may
look at: a tenth of a second, during which nobody else is served. A repair that goes well looks at
each a few times."""


class Hopeless(Exception):
    """The text cannot be repaired within the limits."""


def parses(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def mended(text: str) -> str | None:
    """JSON text of the object or array that `text` (which does not parse) holds; None when there is
    none to be seen. The caller checks that it is the kind of value that was asked for."""
    if len(text) > FOUND_CHARS_MAX or not _START.search(text):
        return None
    for value in _whole(text):
        return value
    body = _body(text)
    cut = body[: max(body.rfind("}"), body.rfind("]")) + 1]
    # Behind the last bracket stands a sentence, or the last members of something unfinished.
    return _closed(body) or _closed(cut) or _repaired(cut if cut and _balanced(cut) else body)


# ---- a whole value in other text -----------------------------------------------------------------

_START = re.compile(r"[{\[]")
_FENCE = re.compile(r"```[a-zA-Z0-9_-]*[ \t]*\r?\n?(.*?)```", re.DOTALL)
_decoder = json.JSONDecoder()


def _whole(text: str) -> Iterator[str]:
    """What a fence holds, else the longest value that begins at one of the first brackets."""
    for n, fence in enumerate(_FENCE.finditer(text)):
        if n == STARTS_MAX:
            break
        inner = fence[1].strip()
        if inner[:1] in ("{", "[") and parses(inner):
            yield inner
    found = ""
    at, tries = 0, 0
    while tries < STARTS_MAX and (start := _START.search(text, at)):
        tries += 1
        at = start.start()
        try:
            _, end = _decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        if end - at > len(found) and parses(text[at:end]):
            found = text[at:end]
        at = end
    # `[1]` in a sentence is a footnote, and the value inside a broken one is only a part of it.
    if found and _beside_is_prose(text, found):
        yield found


def _beside_is_prose(text: str, found: str) -> bool:
    before, _, after = text.partition(found)
    return len(found) > 4 and not _START.search(before) and not _CLOSING.search(after)


_CLOSING = re.compile(r"[}\]{\[]")


# ---- only its end is wrong -----------------------------------------------------------------------


def _body(text: str) -> str:
    """The text from its first bracket to the end of the fence it stands in, if it does."""
    start = _START.search(text)
    assert start is not None
    before, body = text[: start.start()], text[start.start() :]
    if "```" not in before:
        return body
    inside, _, after = body.rpartition("```")
    return inside if inside and '"' not in after else body


_MARKS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]|,(?=\s*(?:[}\]]|\Z))', re.DOTALL)
_CLOSES = {"{": "}", "[": "]"}


def _closed(body: str) -> str | None:
    """Without commas before closing brackets, and with the brackets that are missing at the end."""
    if len(body) > CLOSED_CHARS_MAX:
        return None
    pieces: list[str] = []
    wanted: list[str] = []
    at = 0
    for mark in _MARKS.finditer(body):
        kind = body[mark.start()]
        if kind in _CLOSES:
            wanted.append(_CLOSES[kind])
        elif kind == ",":
            pieces.append(body[at : mark.start()])
            at = mark.end()
        elif kind != '"' and (not wanted or wanted.pop() != kind):
            return None
    pieces.append(body[at:])
    pieces += reversed(wanted)
    whole = "".join(pieces)
    return whole if len(whole) > 2 and parses(whole) else None


def _balanced(body: str) -> bool:
    marks = [body[mark.start()] for mark in _MARKS.finditer(body[:CLOSED_CHARS_MAX])]
    return sum(m in "{[" for m in marks) <= sum(m in "}]" for m in marks)


# ---- character by character ----------------------------------------------------------------------


def _repaired(body: str) -> str | None:
    if len(body) > REPAIRED_CHARS_MAX:
        return None
    try:
        value = _parser()(_Counted.of(body, [WORK_MAX]), None, False).parse()
    except (Hopeless, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    if not isinstance(value, dict | list) or not value:
        return None
    try:
        written = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        written.encode()
    except (ValueError, RecursionError, TypeError):
        return None
    return written if parses(written) else None


@cache
def _parser() -> Any:
    """Imported when the first answer is repaired: most servers never need it."""
    from json_repair.json_parser import JSONParser

    return JSONParser


class _Counted(str):
    """A text that raises Hopeless once too much has been read of it. The parser replaces its text
    by slices and sums of it, which count on."""

    __slots__ = ("_left",)
    _left: list[int]

    @classmethod
    def of(cls, text: str, left: list[int]) -> _Counted:
        made = cls(text)
        made._left = left
        return made

    def __getitem__(self, key: Any) -> Any:
        left = self._left
        found = str.__getitem__(self, key)
        if isinstance(key, int):
            left[0] -= 1
        else:
            left[0] -= 1 + len(found) // 64
            found = _Counted.of(found, left)
        if left[0] < 0:
            raise Hopeless
        return found

    def __add__(self, other: str) -> _Counted:
        return _Counted.of(str.__add__(self, other), self._left)

    def __radd__(self, other: str) -> _Counted:
        return _Counted.of(other + str(self), self._left)
