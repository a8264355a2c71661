"""What callers of the control side send: small JSON bodies and query parameters, made typed.

Every problem is a 400 that names the field as the caller wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import TypeVar

import msgspec
from starlette.requests import Request

from .. import errors
from ..money import parse_usd

BODY_LIMIT_BYTES = 65_536
"""A key's fields fit a hundred times over."""

T = TypeVar("T")
_WHERE = re.compile(r"^(?P<problem>.*) - at `(?:key in )?\$\.?(?P<path>[^`]*)`$", re.DOTALL)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


async def body(request: Request, shape: type[T]) -> T:
    """The JSON body as `shape`; unknown fields are ignored. Raises CallerError (400, 413)."""
    try:
        return msgspec.json.decode(await data(request, BODY_LIMIT_BYTES), type=shape)
    except msgspec.ValidationError as error:
        found = _WHERE.match(str(error))
        if found is None and str(error).startswith("Expected `object`"):
            raise errors.not_an_object() from None
        if found is None:
            raise errors.bad_field("", str(error)) from None
        raise errors.bad_field(found["path"], found["problem"]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.bad_json(str(error)) from None
    except RecursionError:
        raise errors.bad_json("it is nested too deeply") from None


async def data(request: Request, limit_bytes: int) -> bytes:
    """The body as it came. Raises CallerError (413)."""
    whole = bytearray()
    async for piece in request.stream():
        whole += piece
        if len(whole) > limit_bytes:
            raise errors.too_large(limit_bytes)
    return bytes(whole)


def limit(amount: float | int | str | None) -> int | None:
    """`limit` in USD to nano-USD; null = none. Raises CallerError."""
    if amount is None:
        return None
    try:
        return parse_usd(amount, "limit")
    except ValueError as error:
        raise errors.bad_field("limit", str(error).removeprefix("limit: ")) from None


def expiry(text: str | None, now_ms: int) -> int | None:
    """`expires_at` to Unix milliseconds. Raises CallerError when it lacks seconds or offset, or
    lies in the past."""
    if text is None:
        return None
    problem = f"expected a time with seconds and offset such as 2027-01-31T00:00:00Z, got {text!r}"
    if not _INSTANT.fullmatch(text):
        raise errors.bad_field("expires_at", problem)
    try:
        at_ms = int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise errors.bad_field("expires_at", problem) from None
    if at_ms <= now_ms:
        raise errors.bad_field("expires_at", "lies in the past")
    return at_ms


def flag(query: Mapping[str, str], name: str) -> bool:
    """`true` or `false`, absent = false. Raises CallerError."""
    text = query.get(name, "false").lower()
    if text not in ("true", "false"):
        raise errors.bad_field(name, f"expected true or false, got {text!r}")
    return text == "true"


def offset(query: Mapping[str, str]) -> int:
    """Rows to skip, absent = 0. Raises CallerError."""
    text = query.get("offset") or "0"
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise errors.bad_field("offset", f"expected a whole number of zero or more, got {text!r}")
    return int(text)


def limit_rows(query: Mapping[str, str], *, default: int, most: int) -> int:
    """Rows to return. Raises CallerError."""
    text = query.get("limit") or str(default)
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= most:
        raise errors.bad_field("limit", f"expected a whole number of 1 to {most:,}, got {text!r}")
    return int(text)


def day(query: Mapping[str, str], name: str) -> date | None:
    """A date YYYY-MM-DD. Raises CallerError."""
    text = query.get(name)
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise errors.bad_field(name, f"expected a date YYYY-MM-DD, got {text!r}") from None
