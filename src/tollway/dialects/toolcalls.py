"""Tool calls of an answer as it passes, kept for one look at its end (`toolcheck`).

Nothing is kept unless the request has tools. Pieces of arguments are kept as the strings they were
decoded to; what is larger than an honest answer is forgotten and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ..canon import Event, ToolCall

CALLS_MAX: Final = 128
"""Of one answer; OpenAI allows as many tools."""
BYTES_MAX: Final = 256 * 1024
"""Characters of all arguments together."""
_CHOICE: Final = 1 << 16
"""Index of a call and of its answer as one number."""
_UNINDEXED: Final = 1 << 15


class ToolCalls:
    """Calls by answer and index, their arguments in pieces."""

    __slots__ = ("_calls", "_size", "_unindexed", "overflowed")

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._size = 0
        self._unindexed = 0
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, index: int | None, name: str | None, arguments: str, choice: int = 0) -> None:
        """A piece of a call, or a whole one. Without an index a name begins the next call."""
        if self.overflowed:
            return
        if index is None:
            self._unindexed += bool(name)
            index = _UNINDEXED + self._unindexed
        key = choice * _CHOICE + index
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call()
        if name and not call.name:
            call.name = name
        if arguments:
            call.pieces.append(arguments)
            self._size += len(arguments)
        if self._size > BYTES_MAX or len(self._calls) > CALLS_MAX:
            self.overflowed = True
            self._calls.clear()

    def see(self, events: Iterable[Event]) -> None:
        """The calls among the events of a translated answer."""
        for event in events:
            if type(event) is ToolCall:
                self.add(event.index, event.name, event.arguments, event.choice)

    def whole(self) -> Iterator[tuple[str, str]]:
        """(name, arguments as JSON text) of each call."""
        for call in self._calls.values():
            yield call.name, "".join(call.pieces)


class _Call:
    __slots__ = ("name", "pieces")

    def __init__(self) -> None:
        self.name = ""
        self.pieces: list[str] = []
