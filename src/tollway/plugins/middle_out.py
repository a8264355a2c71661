"""Middle-out: which entries of a history stay, and which of their texts are cut, so that it fits.

Pure choice over sizes; not here: reading and writing JSON (`threads`). Models attend to the ends of
a prompt and lose its middle (Liu et al., "Lost in the Middle", 2023), so the middle goes first.

Rules: system entries always stay. What goes, goes in exchanges: a question with everything up to
the next one, so that calls keep their results, reasoning keeps its place and roles keep
alternating. The first and the last exchange stay. Where they alone are too long their longest texts
lose their middles; and where a tool loop without reasoning is still too long, its middle steps
(calls with their results) go. What cannot be made to fit that way is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from .threads import CUT_LEAST, Entry

Texts = Callable[[int], list[int]]
"""Sizes of an entry's texts that may be cut, by its place. Called for few entries."""


class Room(msgspec.Struct, frozen=True):
    size: int
    """Bytes all entries may have together."""
    entries: int
    """How many there may be."""


class Unit(msgspec.Struct, frozen=True):
    """Entries that stand or fall together, by their places."""

    places: tuple[int, ...]
    size: int
    sealed: bool


Kept = dict[int, int | None]
"""Places that stay, each with the bytes its texts may have; None = as it is."""


def middle_out(
    entries: Sequence[Entry], sizes: Sequence[int], room: Room, texts: Texts
) -> Kept | None:
    """What stays; None when nothing can be made to fit."""
    fixed = [n for n, entry in enumerate(entries) if entry.role == "system"]
    left = Room(room.size - sum(sizes[n] for n in fixed), room.entries - len(fixed))
    if left.size <= 0 or left.entries <= 0:
        return None
    last_asked = max((n for n, entry in enumerate(entries) if entry.role == "user"), default=-1)
    closed = _closed(entries)
    exchanges = _exchanges(entries, sizes, closed)
    steps: list[Unit] | None = None
    for least in (PART_LEAST, CUT_LEAST):
        for finer in (False, True):
            if finer and steps is None:
                steps = [s for unit in exchanges for s in _steps(entries, sizes, closed, unit)]
            units = steps if finer and steps is not None else exchanges
            kept = _both_ends(entries, units, left, texts, last_asked, least)
            if kept is not None:
                kept.update(dict.fromkeys(fixed))
                return {n: kept[n] for n in sorted(kept)}
    return None


PART_LEAST = 1_000
"""Bytes that should be left of a text that is cut: below this whole steps go, if any can."""


# ---- what stands or falls together ---------------------------------------------------------------


def _closed(entries: Sequence[Entry]) -> set[int]:
    """Places before which a call is still open: nothing may be parted there. An id that is used
    again belongs to the latest call that made it."""
    open_calls: dict[str, list[int]] = {}
    reaches: list[tuple[int, int]] = []
    for n, entry in enumerate(entries):
        for name in entry.answers:
            if open_calls.get(name):
                reaches.append((open_calls[name].pop(), n))
        for name in entry.calls:
            open_calls.setdefault(name, []).append(n)
    closed: set[int] = set()
    edge = 0
    for made, answered in sorted(reaches):
        closed.update(range(max(made + 1, edge), answered + 1))
        edge = max(edge, answered + 1)
    return closed


def _exchanges(entries: Sequence[Entry], sizes: Sequence[int], closed: set[int]) -> list[Unit]:
    """Each begins where somebody asks."""
    groups: list[list[int]] = []
    for n, entry in enumerate(entries):
        if entry.role == "system":
            continue
        if not groups or (entry.role == "user" and n not in closed):
            groups.append([])
        groups[-1].append(n)
    return [_unit(entries, sizes, places) for places in groups]


def _unit(entries: Sequence[Entry], sizes: Sequence[int], places: list[int]) -> Unit:
    if len(places) == 1:
        return Unit((places[0],), sizes[places[0]], entries[places[0]].sealed)
    sealed = any(entries[n].sealed for n in places)
    return Unit(tuple(places), sum(sizes[n] for n in places), sealed)


def _steps(
    entries: Sequence[Entry], sizes: Sequence[int], closed: set[int], unit: Unit
) -> list[Unit]:
    """An exchange in its parts: the question, and each answer with the results of its calls. One
    with reasoning is not parted: providers check what follows what."""
    if unit.sealed or len(unit.places) == 1:
        return [unit]
    steps: list[list[int]] = []
    for n in unit.places:
        if not steps or (entries[n].role in ("user", "assistant") and n not in closed):
            steps.append([])
        steps[-1].append(n)
    return [_unit(entries, sizes, places) for places in steps]


# ---- from both ends inwards ----------------------------------------------------------------------


def _both_ends(
    entries: Sequence[Entry],
    units: Sequence[Unit],
    room: Room,
    texts: Texts,
    last_asked: int,
    least: int,
) -> Kept | None:
    """Both ends (and the last question), then inwards as far as there is room, from the side that
    has less so far."""
    if not units:
        return None
    ends = {0, len(units) - 1}
    ends |= {n for n, unit in enumerate(units) if last_asked in unit.places}
    kept = _fitting(entries, [units[n] for n in sorted(ends)], room, texts, least)
    if kept is None and least <= CUT_LEAST and len(ends) > 1:
        ends.discard(0)
        kept = _fitting(entries, [units[n] for n in sorted(ends)], room, texts, least)
    if kept is None or any(most is not None for most in kept.values()):
        return kept
    size = room.size - sum(units[n].size for n in ends)
    count = room.entries - len(kept)
    middle = [unit for n, unit in enumerate(units) if n not in ends]
    low, high = 0, len(middle) - 1
    weights, stuck = [0.0, 0.0], [False, False]
    while low <= high and not all(stuck):
        side = 0 if stuck[1] or (not stuck[0] and weights[0] <= weights[1]) else 1
        unit = middle[high if side else low]
        if unit.size > size or len(unit.places) > count:
            stuck[side] = True
            continue
        low, high = (low, high - 1) if side else (low + 1, high)
        size, count = size - unit.size, count - len(unit.places)
        weights[side] += max(unit.size / room.size, len(unit.places) / room.entries)
        kept.update(dict.fromkeys(unit.places))
    for unit in {high: middle[high], low: middle[low]}.values() if low <= high else ():
        # What is left of the room goes to a part of one of the two at which it ended.
        part = _fitting(entries, [unit], Room(size, count), texts, PART_LEAST)
        if part is not None:
            kept.update(part)
            break
    return kept


def _fitting(
    entries: Sequence[Entry],
    units: Sequence[Unit],
    room: Room,
    texts: Texts,
    least: int,
) -> Kept | None:
    """All of these units, their longest texts cut to one level where they do not fit; None when
    the level would be below `least` bytes."""
    places = [n for unit in units for n in unit.places]
    over = sum(unit.size for unit in units) - room.size
    if len(places) > room.entries:
        return None
    if over <= 0:
        return dict.fromkeys(places)
    last = len(entries) - 1
    found: dict[int, list[int]] = {}
    for unit in units:
        for n in unit.places:
            said = entries[n].role == "assistant"
            # The last entry of a model is the beginning of the answer: it goes on from there.
            if not (said and (unit.sealed or n == last)):
                found[n] = texts(n)
    most = level([size for each in found.values() for size in each], over)
    if most is None or most < least:
        return None
    return {n: most if any(s > most for s in found.get(n, ())) else None for n in places}


def level(sizes: Sequence[int], over: int) -> int | None:
    """The level to which the largest are cut so that all together lose `over`; None when they do
    not have that much."""
    falling = sorted(sizes, reverse=True)
    total = 0
    for n, size in enumerate(falling, start=1):
        total += size
        below = falling[n] if n < len(falling) else 0
        if total - n * below >= over:
            return (total - over) // n
    return None
