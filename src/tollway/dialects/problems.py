"""A failed validation in words for callers: `messages[2].content: expected a string, got null`.

msgspec's messages are precise but speak of its own types; this is their translation, on the cold
path only. Nothing here decides what is valid.
"""

from __future__ import annotations

import re

import msgspec

from .. import errors


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
        return errors.bad_json("the body must be one JSON object")
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
        return errors.bad_field(path, f"{value[1]} is not one of the accepted values")
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
