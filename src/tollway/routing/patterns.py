"""Patterns: which of many model ids fit any of many wildcard patterns.

Pure. `*` stands for any text, everything else for itself. A caller may send a thousand patterns of
a thousand characters, so nothing here backtracks, a pattern looks only at the ids that hold its
longest literal piece, and all looks together are bounded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

LOOKS_MAX = 50_000
"""Ids compared with patterns for one request: a few hundredths of a second. A thousand ordinary
patterns need some thousand."""


class TooCostly(ValueError):
    """The patterns fit nearly everything, a thousand times over."""


class Ids:
    """Model ids, prepared for being searched: lower case, each once."""

    __slots__ = ("_joined", "_sorted", "_starts")

    def __init__(self, ids: Iterable[str]) -> None:
        self._sorted = sorted(ids)
        self._joined = "\n".join(self._sorted)
        self._starts = []
        start = 0
        for id in self._sorted:
            self._starts.append(start)
            start += len(id) + 1

    def matching(self, patterns: Iterable[str]) -> frozenset[str]:
        """The ids that fit at least one pattern (lower case). Raises TooCostly."""
        found, looks = set[str](), 0
        for pattern in patterns:
            pieces = pieces_of(pattern)
            if len(pieces) > 1 and not any(pieces):
                return frozenset(self._sorted)
            for id in self._holding(max(pieces, key=len)):
                looks += 1
                if looks > LOOKS_MAX:
                    raise TooCostly
                if id not in found and fits(id, pieces):
                    found.add(id)
        return frozenset(found)

    def _holding(self, piece: str) -> Iterator[str]:
        """The ids that hold a piece of text, each once."""
        at = self._joined.find(piece)
        while at >= 0:
            n = bisect_right(self._starts, at) - 1
            yield self._sorted[n]
            if n + 1 == len(self._starts):
                return
            at = self._joined.find(piece, self._starts[n + 1])


def pieces_of(pattern: str) -> list[str]:
    """What stands between the stars; several in a row are one.

    >>> pieces_of("openai/**mini")
    ['openai/', 'mini']
    """
    head, *rest = pattern.split("*")
    return [head, *filter(None, rest[:-1]), rest[-1]] if rest else [head]


def fits(id: str, pieces: Sequence[str]) -> bool:
    """Whether the pieces stand in `id` in order, the first at its beginning, the last at its end."""
    if len(pieces) == 1:
        return id == pieces[0]
    head, *inner, tail = pieces
    if not id.startswith(head):
        return False
    start = len(head)
    for piece in inner:
        at = id.find(piece, start)
        if at < 0:
            return False
        start = at + len(piece)
    return len(id) - len(tail) >= start and id.endswith(tail)
