"""The fault proxy's rules as text: `delay=2s@chunk jitter=500ms p=0.1`.

Pure: text in, frozen `Rule` out. What a rule does to bytes is the business of `fault_plan`, sockets
that of `fault_proxy`.

    kind[=value][@point[=n]] [option=value …]

Rules. What is not in the tables is an error that names its position: a misspelt fault must not pass
for a healthy provider. `docs/fault-proxy.md` is the public text of these tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

SECONDS_MAX: Final = 86_400.0
BYTES_MAX: Final = 2**40
COUNT_MAX: Final = 10**9


class Rule(msgspec.Struct, frozen=True):
    """One fault: what (`kind` and its value), at which point of an exchange, and how often."""

    text: str
    """As it was written, with single spaces."""
    kind: str
    at: str
    """One of POINTS."""
    n: int = 0
    """Bytes or events after which it happens, at `head`, `bytes` and `event`."""
    seconds: float | None = None
    """Of `delay` and `stall`; None for a stall is for ever."""
    jitter_s: float = 0.0
    bytes_per_s: int = 0
    status: int = 0
    retry_after_s: int | None = None
    put: bytes = b""
    """What `corrupt` writes over the answer; nothing = it flips a bit."""
    share: float | None = None
    """Of the body's bytes that `corrupt` flips a bit of; None = of one byte."""
    p: float = 1.0
    first: int | None = None
    every: int = 1
    after: int = 0
    path: str = ""
    method: str = ""

    @property
    def ends(self) -> bool:
        return self.kind in ENDS


class GrammarError(ValueError):
    """The message is fit for the user; `column` counts from 1 within `text`."""

    def __init__(self, text: str, column: int, problem: str) -> None:
        self.text, self.column, self.problem = text, column, problem
        super().__init__(f"{problem} (column {column})\n  {text}\n  {' ' * (column - 1)}^")


def parse(text: str) -> Rule:
    """Raises GrammarError."""
    tokens = [(found.group(), found.start()) for found in re.finditer(r"\S+", text)]
    if not tokens:
        raise GrammarError(text, 1, f"a fault is expected: one of {_names(KINDS)}")
    values = _fault(text, *tokens[0])
    for token, start in tokens[1:]:
        name, value = _option(text, token, start, values["kind"])
        if name in values:
            raise GrammarError(text, start + 1, f"{token.partition('=')[0]!r} is given twice")
        values[name] = value
    if values["kind"] == "corrupt" and "share" in values and values["at"] != "bytes":
        raise GrammarError(text, 1, "share= is of the body's bytes and goes with @bytes")
    return Rule(text=" ".join(text.split()), **values)


def _fault(text: str, token: str, start: int) -> dict[str, Any]:
    """The first word: kind, value, point."""
    head, at, point = token.partition("@")
    name, equals, value = head.partition("=")
    kind = KINDS.get(name)
    if kind is None:
        raise GrammarError(text, start + 1, f"{name!r} is no fault; there are {_names(KINDS)}")
    values: dict[str, Any] = {"kind": name}
    value_column = start + len(name) + len(equals) + 1
    if equals and kind.value is None:
        raise GrammarError(text, value_column, f"{name} takes no value")
    if kind.needs_value and not value:
        raise GrammarError(text, value_column, f"{name} takes a value, as in {kind.example}")
    if equals and kind.value is not None:
        field, read = kind.value
        values[field] = _read(text, value_column, read, value)
    if not at:
        if kind.point is None:
            column = start + len(token) + 1
            raise GrammarError(text, column, f"{name} takes a point, as in {kind.example}")
        return {**values, "at": kind.point}
    column = start + len(head) + 2
    where, equals, count = point.partition("=")
    if where not in kind.points:
        raise GrammarError(text, column, f"{name} happens at {_names(kind.points)}, not {where!r}")
    values["at"] = where
    count_column = column + len(where) + len(equals)
    if equals and where not in COUNTED:
        raise GrammarError(text, count_column, f"the point {where!r} takes no number")
    if where == "event" and not equals:
        raise GrammarError(text, count_column, "which event? as in @event=3")
    if equals:
        values["n"] = _read(text, count_column, _event if where == "event" else _size, count)
    return values


def _option(text: str, token: str, start: int, kind: str) -> tuple[str, Any]:
    name, equals, value = token.partition("=")
    known = {**KINDS[kind].options, **OPTIONS}
    if name not in known:
        raise GrammarError(
            text, start + 1, f"{name!r} is no option of {kind}; there are {_names(known)}"
        )
    if not equals or not value:
        raise GrammarError(text, start + len(name) + 1, f"{name} takes a value")
    field, read = known[name]
    return field, _read(text, start + len(name) + 2, read, value)


def _read(text: str, column: int, read: Reader, value: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise GrammarError(text, column, f"{value!r}: {error}") from None


def _names(names: Any) -> str:
    return ", ".join(names)


# ---- values --------------------------------------------------------------------------------------

Reader = Callable[[str], Any]


def _duration(value: str) -> float:
    """Seconds, or with a unit: 150ms, 2s, 1.5m, 1h."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ms|s|m|h)?", value, re.ASCII)
    if not found:
        raise ValueError("expected a time, as in 150ms, 2s or 1m")
    seconds = float(found[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[found[2] or "s"]
    if seconds > SECONDS_MAX:
        raise ValueError("expected a day at most")
    return seconds


def _time_or_ever(value: str) -> float | None:
    return None if value == "forever" else _duration(value)


def _size(value: str) -> int:
    found = re.fullmatch(r"([0-9]+)([kKmM]?)", value, re.ASCII)
    if not found:
        raise ValueError("expected a number of bytes, as in 512 or 64k")
    size = int(found[1]) * {"": 1, "k": 1024, "m": 1024**2}[found[2].lower()]
    if size > BYTES_MAX:
        raise ValueError(f"expected {BYTES_MAX} at most")
    return size


def _rate(value: str) -> int:
    rate = _size(value.removesuffix("/s"))
    if rate == 0:
        raise ValueError("expected more than 0 bytes a second; a stall sends nothing")
    return rate


def _count(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", value, re.ASCII) or int(value) > COUNT_MAX:
        raise ValueError("expected a whole number")
    return int(value)


def _event(value: str) -> int:
    number = _count(value)
    if number == 0:
        raise ValueError("expected a whole number from 1")
    return number


def _status(value: str) -> int:
    if not re.fullmatch(r"[2-5][0-9]{2}", value, re.ASCII):
        raise ValueError("expected an HTTP status from 200 to 599")
    return int(value)


def _share(value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ValueError("expected a share from 0 to 1")
    return share


def _replacement(value: str) -> bytes:
    if value == "flip":
        return b""
    kind, colon, rest = value.partition(":")
    if not colon or kind not in ("hex", "text") or not rest:
        raise ValueError("expected flip, hex:00ff or text:abc")
    return bytes.fromhex(rest) if kind == "hex" else rest.encode()


def _path(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError("expected the beginning of a path, as in /v1/chat")
    return value


# ---- the tables ----------------------------------------------------------------------------------

POINTS = ("connect", "request", "head", "chunk", "bytes", "event")
COUNTED = ("head", "bytes", "event")
_ANY = ("connect", "request", "head", "bytes", "event")

ENDS = frozenset({"drop", "reset", "halfclose", "truncate", "garbage", "status"})
"""After these nothing more of the exchange happens."""


class Kind(NamedTuple):
    """What may be written for a fault. `value` and `options` name a field of Rule and its reader;
    `point` is where it happens when nothing is said, None = must be said."""

    example: str
    points: tuple[str, ...]
    point: str | None
    value: tuple[str, Reader] | None = None
    needs_value: bool = False
    options: dict[str, tuple[str, Reader]] = {}  # noqa: RUF012  a default that nobody changes


KINDS: dict[str, Kind] = {
    "delay": Kind(
        "delay=2s",
        (*_ANY, "chunk"),
        "head",
        ("seconds", _duration),
        True,
        {"jitter": ("jitter_s", _duration)},
    ),
    "drop": Kind("drop@bytes=512", _ANY, "request"),
    "reset": Kind("reset@event=3", _ANY, "request"),
    "halfclose": Kind("halfclose@bytes=512", _ANY, "request"),
    "stall": Kind("stall=30s@event=3", _ANY, "request", ("seconds", _time_or_ever)),
    "throttle": Kind("throttle=2k", ("head", "bytes"), "bytes", ("bytes_per_s", _rate), True),
    "corrupt": Kind(
        "corrupt=hex:00ff@bytes=100",
        ("head", "bytes", "event"),
        "bytes",
        ("put", _replacement),
        False,
        {"share": ("share", _share)},
    ),
    "status": Kind(
        "status=503",
        ("request",),
        "request",
        ("status", _status),
        True,
        {"retry_after": ("retry_after_s", _count)},
    ),
    "garbage": Kind("garbage", ("connect", "request"), "request"),
    "truncate": Kind("truncate@event=3", ("bytes", "event"), None),
}

OPTIONS: dict[str, tuple[str, Reader]] = {
    "p": ("p", _share),
    "first": ("first", _count),
    "every": ("every", _event),
    "after": ("after", _count),
    "path": ("path", _path),
    "method": ("method", str.upper),
}
"""What every fault takes."""
