"""A request that is being completed: raw fields of the caller, and what the preset puts beside them.

A place is a path of at most two names: `("temperature",)`, `("generationConfig", "topP")`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from .. import errors

Path = tuple[str, ...]


class Draft:
    """A request being completed: its own fields as they came, and holders (objects one level down)
    opened only where something is put into them."""

    def __init__(self, fields: dict[str, Raw]) -> None:
        self.fields: dict[str, Any] = dict(fields)
        """`Raw` is the caller's, anything else the preset's."""
        self._open: dict[str, dict[str, Any]] = {}

    def has(self, path: Path) -> bool:
        """Whether the request says something there; null says nothing."""
        if len(path) == 1:
            return path[0] in self.fields
        return path[1] in self._holder(path[0])

    def get(self, path: Path) -> Any:
        """The value there, decoded; None where there is none."""
        holder = self.fields if len(path) == 1 else self._holder(path[0])
        value = holder.get(path[-1])
        return msgspec.json.decode(value) if isinstance(value, Raw) else value

    def put(self, path: Path, value: Any) -> None:
        if len(path) == 1:
            self.fields[path[0]] = value
            return
        holder = self._holder(path[0])
        holder[path[1]] = value
        self.fields[path[0]] = holder

    def listed(self, name: str) -> list[Raw]:
        """The entries of one of the caller's own lists; empty where it is not given. One value may
        stand for a list of one where the dialect allows that; others refuse it later."""
        raw = self.fields.get(name)
        if not isinstance(raw, Raw):
            return []
        try:
            return msgspec.json.decode(raw, type=list[Raw])
        except msgspec.ValidationError:
            if bytes(memoryview(raw)[:1]) == b"{" and name in _SINGLE:
                return [raw]
            raise errors.bad_field(name, "expected an array") from None

    def _holder(self, name: str) -> dict[str, Any]:
        if name not in self._open:
            raw = self.fields.get(name)
            given: dict[str, Any] = {}
            if isinstance(raw, Raw):
                try:
                    given = msgspec.json.decode(raw, type=dict[str, Raw])
                except msgspec.ValidationError:
                    raise errors.bad_field(name, "expected an object") from None
            elif isinstance(raw, dict):
                given = raw
            self._open[name] = {n: v for n, v in given.items() if v != _NULL}
        return self._open[name]


_NULL = Raw(b"null")
_SINGLE = frozenset({"contents", "tools"})
"""Of Gemini, whose JSON is protobuf's."""
