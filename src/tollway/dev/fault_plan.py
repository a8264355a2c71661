"""What the fault proxy's rules do to one exchange: which hold, and how they change its bytes.

Pure but for counters; bytes in, steps out. The same seed and the same requests in the same order
give the same faults: a rule draws from a generator of its own for each request, so that neither
other rules nor the order in which exchanges run move it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

import msgspec

from .fault_grammar import Rule, parse

SLICES_PER_S: Final = 10
"""A throttled answer leaves in so many pieces a second, or a byte at a time."""

RULES_MAX: Final = 100

BYTES_NEVER: Final = 2**62


class Injection(msgspec.Struct, frozen=True):
    """A rule that holds for an exchange (or a connection), with its dice."""

    rule: Rule
    number: int
    """The rule's place in the list, from 1."""
    dice: Random

    def pause_s(self) -> float:
        rule = self.rule
        return (rule.seconds or 0.0) + (self.dice.random() * rule.jitter_s if rule.jitter_s else 0)


class Wait(msgspec.Struct, frozen=True):
    """Send nothing for so long; None = until the other side leaves."""

    seconds: float | None
    by: Injection


class End(msgspec.Struct, frozen=True):
    """Leave the exchange as the rule's kind says."""

    by: Injection


class Changed(msgspec.Struct, frozen=True):
    """The bytes that follow are not those of the upstream."""

    by: Injection


Step = bytes | Wait | End | Changed


class Faults:
    """The rules in force with their counters. One per proxy, replaced by `set`."""

    def __init__(self, texts: Sequence[str] = (), seed: int = 0) -> None:
        self.seed = seed
        self.set(texts)

    def set(self, texts: Sequence[str], seed: int | None = None) -> None:
        """New rules, all counters at zero. Raises GrammarError, and then nothing has changed."""
        if len(texts) > RULES_MAX:
            raise ValueError(f"{len(texts)} faults are more than {RULES_MAX}")
        self.rules = tuple(parse(text) for text in texts)
        self.seed = self.seed if seed is None else seed
        self.seen = [0] * len(self.rules)
        self.injected = [0] * len(self.rules)

    def connection(self) -> list[Injection]:
        """What holds for a connection that was accepted now."""
        return [*self._holding(lambda rule: rule.at == "connect")]

    def request(self, method: str, path: str) -> list[Injection]:
        """What holds for a request that has arrived now."""
        return [
            *self._holding(
                lambda rule: (
                    rule.at != "connect"
                    and path.startswith(rule.path)
                    and rule.method in ("", method)
                )
            )
        ]

    def _holding(self, meant: Callable[[Rule], bool]) -> Iterator[Injection]:
        for place, rule in enumerate(self.rules):
            if not meant(rule):
                continue
            n = self.seen[place]
            self.seen[place] += 1
            dice = Random(f"{self.seed}/{place}/{rule.text}/{n}")
            if holds(rule, n, dice):
                yield Injection(rule, place + 1, dice)

    def happened(self, by: Injection) -> None:
        """Count an injection. One of a rule that was replaced meanwhile counts for nobody."""
        place = by.number - 1
        if place < len(self.rules) and self.rules[place] is by.rule:
            self.injected[place] += 1


def holds(rule: Rule, n: int, dice: Random) -> bool:
    """Whether a rule holds for the n-th request (from 0) that it is meant for: `after` are let
    pass, of the rest each `every`-th is chosen, of those the `first`, and of those the share `p`."""
    n -= rule.after
    if n < 0 or (n + 1) % rule.every:
        return False
    if rule.first is not None and n // rule.every >= rule.first:
        return False
    return rule.p >= 1 or dice.random() < rule.p


def before(injections: Sequence[Injection], point: str) -> Iterator[Step]:
    """The steps at a point that has no bytes: `connect` or `request`."""
    for by in injections:
        if by.rule.at == point:
            yield _step(by)
            if by.rule.ends:
                return


def _step(by: Injection) -> Wait | End:
    match by.rule.kind:
        case "delay":
            return Wait(by.pause_s(), by)
        case "stall":
            return Wait(by.rule.seconds, by)
        case _:
            return End(by)


class Stream:
    """The faults within an answer's head, or within its body: `feed` bytes, do the steps.

    A step at `n` comes when the first n bytes (or events) have gone, before any further one. After
    an End nothing more is to be fed.
    """

    def __init__(self, injections: Sequence[Injection], *, head: bool = False) -> None:
        points = ("head",) if head else ("bytes", "event")
        mine = [by for by in injections if by.rule.at in points]
        paced = [by for by in mine if by.rule.kind == "throttle"]
        self._pace = min(paced, key=lambda by: by.rule.bytes_per_s, default=None)
        self._corrupt = [_Corruption(by) for by in mine if by.rule.kind == "corrupt"]
        cuts = [by for by in mine if by.rule.kind not in ("throttle", "corrupt")]
        self._at_bytes = sorted(
            (by for by in cuts if by.rule.at != "event"), key=lambda by: by.rule.n
        )
        self._at_events = sorted(
            (by for by in cuts if by.rule.at == "event"), key=lambda by: by.rule.n
        )
        counting = self._at_events or any(c.by.rule.at == "event" for c in self._corrupt)
        self._events = _EventEnds() if counting else None
        self._each = [by for by in injections if by.rule.at == "chunk" and not head]
        self._sent = 0

    def begin(self) -> Iterator[Step]:
        """What happens before the first byte."""
        while self._at_bytes and self._at_bytes[0].rule.n == 0:
            yield _step(self._at_bytes.pop(0))

    def feed(self, data: bytes) -> Iterator[Step]:
        """`data` is one piece as the upstream sent it, not empty."""
        for by in self._each:
            yield Wait(by.pause_s(), by)
        start = self._sent
        self._sent = end = start + len(data)
        event_ends = self._events.feed(data, start) if self._events else ()
        for corruption in self._corrupt:
            data, changed = corruption.apply(data, start, event_ends)
            if changed:
                yield Changed(corruption.by)
        done = start
        for at, by in self._cuts(end, event_ends):
            yield from self._paced(data[done - start : at - start])
            done = at
            yield _step(by)
        yield from self._paced(data[done - start :])

    def _cuts(self, end: int, event_ends: Sequence[tuple[int, int]]) -> list[tuple[int, Injection]]:
        """(offset, what happens there), in order, of the bytes up to `end`."""
        found: list[tuple[int, Injection]] = []
        while self._at_bytes and self._at_bytes[0].rule.n <= end:
            by = self._at_bytes.pop(0)
            found.append((by.rule.n, by))
        for number, at in event_ends:
            while self._at_events and self._at_events[0].rule.n <= number:
                found.append((at, self._at_events.pop(0)))
        found.sort(key=lambda cut: cut[0])
        return found

    def _paced(self, data: bytes) -> Iterator[Step]:
        if not data:
            return
        by = self._pace
        if by is None:
            yield data
            return
        rate = by.rule.bytes_per_s
        size = max(1, rate // SLICES_PER_S)
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            yield piece
            yield Wait(len(piece) / rate, by)


class _EventEnds:
    """Finds the ends of server-sent events in any slicing of the bytes."""

    def __init__(self) -> None:
        self._number = 0
        self._blank = True
        """Nothing stands in the current line so far."""
        self._filled = False
        """The current event has a line."""
        self._after_cr = False

    def feed(self, data: bytes, start: int) -> list[tuple[int, int]]:
        """(number from 1, absolute offset behind the event) of each event that ends in `data`."""
        found: list[tuple[int, int]] = []
        at = 0
        for line_end in _LINE_END.finditer(data):
            text = line_end.start() > at
            split = self._after_cr and line_end.start() == 0 and line_end.group() == b"\n"
            at = line_end.end()
            if split:
                self._after_cr = False
                continue  # the second half of a CRLF cut in two
            self._after_cr = line_end.group() == b"\r" and at == len(data)
            if text or not self._blank:
                self._filled = True
            elif self._filled:
                self._filled = False
                self._number += 1
                found.append((self._number, start + at))
            self._blank = True
        if at < len(data):
            self._blank = self._after_cr = False
        return found


_LINE_END = re.compile(rb"\r\n|\r|\n")


class _Corruption:
    """One `corrupt` rule within one answer."""

    def __init__(self, by: Injection) -> None:
        self.by = by
        rule = by.rule
        self._put = rule.put
        self._next: int | None = None if rule.at == "event" else rule.n
        if rule.share is not None:
            self._next = rule.n + self._skip()

    def apply(
        self, data: bytes, start: int, event_ends: Sequence[tuple[int, int]]
    ) -> tuple[bytes, bool]:
        """The bytes with this rule's damage, as many as before; and whether any was done."""
        end = start + len(data)
        if self._next is None:
            for number, at in event_ends:
                if number == self.by.rule.n:
                    self._next = at
        if self._next is None or self._next >= end:
            return data, False
        if self._put:
            return self._overwrite(data, start)
        broken = bytearray(data)
        while self._next is not None and self._next < end:
            broken[self._next - start] ^= 1 << self.by.dice.randrange(8)
            if self.by.rule.share is not None:
                self._next += 1 + self._skip()
            else:
                self._next = BYTES_NEVER
        return bytes(broken), True

    def _overwrite(self, data: bytes, start: int) -> tuple[bytes, bool]:
        """Write what is left of the replacement over the bytes from `_next`."""
        assert self._next is not None
        at = self._next - start
        piece = self._put[: len(data) - at]
        self._put = self._put[len(piece) :]
        self._next = self._next + len(piece) if self._put else BYTES_NEVER
        return data[:at] + piece + data[at + len(piece) :], True

    def _skip(self) -> int:
        """How many bytes stay whole before the next broken one (geometric)."""
        share = self.by.rule.share or 0.0
        if not 0 < share < 1:
            return 0 if share else BYTES_NEVER
        return int(math.log(1 - self.by.dice.random()) / math.log1p(-share))


def garbage(by: Injection) -> bytes:
    """Bytes that no HTTP parser takes for a head: they begin as a TLS alert does."""
    return b"\x15\x03\x01\x00\x02" + by.dice.randbytes(64)
