"""Where kept answers lie: a table in memory, bounded in entries and bytes. Pure; time is an argument.

Rules. What was asked for longest ago goes first. An answer whose time is over is never given, and
is let go when it is met or swept: contents do not stay longer than they were asked to.
"""

from __future__ import annotations

from collections import OrderedDict

from .tape import Kept


class Shelf:
    def __init__(self, entries_max: int, bytes_max: int) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.bytes = 0
        """Taken now, overheads included."""

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes, now_s: float) -> Kept | None:
        found = self._kept.get(key)
        if found is None:
            return None
        if found.stale(now_s):
            self.drop(key)
            return None
        self._kept.move_to_end(key)
        return found

    def put(self, key: bytes, kept: Kept) -> None:
        """Keep an answer, unless it is larger than the shelf, or what is there was asked for later
        (by a caller that wanted a fresh one)."""
        known = self._kept.get(key)
        if known is not None and known.asked_s > kept.asked_s:
            return
        self.drop(key)
        if kept.size > self._bytes_max or self._entries_max < 1:
            return
        self._kept[key] = kept
        self.bytes += kept.size
        while self.bytes > self._bytes_max or len(self._kept) > self._entries_max:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= oldest.size

    def drop(self, key: bytes) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self.bytes -= found.size

    def clear(self) -> None:
        self._kept.clear()
        self.bytes = 0

    def sweep(self, now_s: float) -> None:
        """Let go of everything whose time is over."""
        for key in [key for key, kept in self._kept.items() if kept.stale(now_s)]:
            self.drop(key)
