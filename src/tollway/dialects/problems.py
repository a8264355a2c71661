"""A failed validation in words for callers: `messages[2].content: expected a string, got null`.

msgspec's messages are precise but speak of its own types; this is their translation, on the cold
path only. Nothing here decides what is valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_args

import msgspec

from .. import errors
from . import openai_chat_schema as schema


def bad_request(error: Exception) -> errors.CallerError:
    """The CallerError for what decoding a body raised: ValidationError (well-formed JSON that
    breaks a rule), DecodeError, UnicodeDecodeError or RecursionError."""
    if isinstance(error, msgspec.ValidationError):
        return _validation(str(error))
    if isinstance(error, RecursionError):
        return errors.bad_json("it is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return errors.bad_json("it is not UTF-8")
    text = str(error).removeprefix("JSON is malformed: ")
    return errors.bad_json("it ends too early" if "truncated" in text else text)


def _validation(text: str) -> errors.CallerError:
    problem, _, place = text.partition(" - at ")
    path = place.strip("`").removeprefix("$").removeprefix(".")
    if problem == "Expected `object`" or (not path and problem.startswith("Expected `object`")):
        return errors.not_an_object()
    unknown = _UNKNOWN.fullmatch(problem)
    if unknown:
        return errors.bad_field(_join(path, unknown[1]), "there is no such field")
    missing = _MISSING.fullmatch(problem)
    if missing:
        return errors.bad_field(_join(path, missing[1]), "is required")
    got = _EXPECTED.fullmatch(problem)
    if got:
        return errors.bad_field(path, f"expected {_types(got[1])}, got {_type(got[2])}")
    bound = _BOUND.fullmatch(problem)
    if bound:
        return errors.bad_field(path, _bounded(bound[1], bound[2], bound[3]))
    pattern = _PATTERN.fullmatch(problem)
    if pattern:
        return errors.bad_field(path, "expected 1 to 64 characters of a-z, A-Z, 0-9, _ and -")
    value = _VALUE.fullmatch(problem)
    if value:
        known = _ACCEPTED.get(path.rpartition(".")[2].partition("[")[0])
        accepted = ", ".join(known) if known else "the accepted values"
        return errors.bad_field(path, f"{value[1]} is not one of {accepted}")
    return errors.bad_field(path, problem[:1].lower() + problem[1:].replace("`", ""))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _types(names: str) -> str:
    kinds = [_type(name) for name in names.split(" | ") if name != "null"]
    return " or ".join(dict.fromkeys(kinds))


def _type(name: str) -> str:
    return _KINDS.get(name.strip("`"), name.strip("`"))


def _bounded(kind: str, relation: str, bound: str) -> str:
    number = bound.removesuffix(".0")
    if relation.startswith("of length"):
        unit = "characters" if kind == "str" else "entries"
        if relation.endswith(">="):
            return "must not be empty" if number == "1" else f"expected at least {number} {unit}"
        return f"expected at most {number} {unit}"
    return f"expected {_type(kind)} {_RELATIONS[relation]} {number}"


_ACCEPTED: Mapping[str, tuple[str, ...]] = {
    "role": ("system", "developer", "user", "assistant", "tool"),
    "effort": get_args(schema.Effort),
    "reasoning_effort": get_args(schema.Effort),
    "sort": get_args(schema.Sort),
    "by": get_args(schema.Sort),
    "partition": ("model", "none"),
    "quantizations": get_args(schema.Quantization),
    "data_collection": ("allow", "deny"),
    "detail": ("auto", "low", "high", "original"),
    "modalities": ("text", "image", "audio"),
}
"""By the last name of the path; `type` means something else in each place."""

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_EXPECTED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_BOUND = re.compile(r"Expected `([^`]*)` (of length <=|of length >=|<=|>=|<|>) (\S+)")
_PATTERN = re.compile(r"Expected `str` matching regex .*", re.DOTALL)
_VALUE = re.compile(r"Invalid (?:enum )?value (.*)", re.DOTALL)
_RELATIONS = {"<=": "of at most", ">=": "of at least", "<": "below", ">": "above"}
_KINDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
