"""Digests: what one process measured, packed for the others of the same home and for a restart.

Pure. Not here: writing and reading them (`store.health`), what health makes of them (`health`).
Times are absolute, so a digest ages by itself: what is older than its window counts for nothing.
A body of another format, or one that cannot be read, is None, never an error.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable
from typing import Final

import msgspec

from .records import (
    DAY_MINUTES,
    LISTED_WINDOW_S,
    RECENT,
    TOOL_SLOT_S,
    TOOL_SLOTS,
    WINDOW_S,
    Record,
    Ring,
    Tally,
    verdict_of,
)

FORMAT: Final = 1
SAMPLES_TOLD: Final = 64
"""Of each ring: half of what is kept, so that a busy home writes half."""
ENDPOINTS_TOLD: Final = 512
"""The most recently called ones; about a kilobyte each."""
TOLD_S: Final = 86_400.0
"""What was not called for a day has no uptime left to tell."""

Filled = list[tuple[int, int, int]]


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """One endpoint's record. Rings are 32-bit floats: seconds before `Digest.at_s`, then figures."""

    touched_s: float
    latency: bytes
    speed: bytes
    recent: bytes
    sick: bytes
    run: int
    minute: int
    day: bytes
    """Compressed."""
    minutes: Filled
    tools: Filled | None


class Digest(msgspec.Struct, frozen=True, array_like=True):
    format: int
    at_s: float
    records: dict[str, Piece]
    outage: dict[str, float]
    resting: dict[str, float]
    cooling: dict[str, float]
    ejections: dict[str, tuple[float, int, float, bool]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Digest)


def packed(digest: Digest) -> bytes:
    return _encoder.encode(digest)


def unpacked(body: bytes) -> Digest | None:
    try:
        digest = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return digest if digest.format == FORMAT else None


def pieces(records: Iterable[tuple[str, Record]], at_s: float) -> dict[str, Piece]:
    """The records worth telling, the latest called ones."""
    kept = [(key, r) for key, r in records if r.touched_s > at_s - TOLD_S]
    if len(kept) > ENDPOINTS_TOLD:
        kept = sorted(kept, key=lambda pair: pair[1].touched_s)[-ENDPOINTS_TOLD:]
    return {key: _piece(record, at_s) for key, record in kept}


def absorb(record: Record, piece: Piece, at_s: float, now_s: float) -> None:
    """Add to a record what a piece of a digest of `at_s` tells. Raises ValueError for a piece that
    makes no sense."""
    _absorb_ring(record.latency, piece.latency, at_s)
    _absorb_ring(record.speed, piece.speed, at_s)
    fresh = record.recent_count == 0
    told = list(zip(_times(piece.recent, at_s), piece.sick, strict=True))
    own = [(at, bool(ill)) for at, ill in zip(record.recent, record.sick, strict=True) if at > 0]
    record.recent_count = 0
    for at, ill in sorted([*own, *((at, bool(ill)) for at, ill in told)])[-RECENT:]:
        record.remember(at, ill)
    if fresh:
        record.run = piece.run
    _absorb_day(record, piece, int(now_s // 60))
    if piece.tools is not None:
        if record.tools is None:
            record.tools = Tally(TOOL_SLOTS, TOOL_SLOT_S)
        record.tools.absorb(piece.tools)
    record.touched_s = max(record.touched_s, piece.touched_s)
    record.stale()


def _piece(record: Record, at_s: float) -> Piece:
    recent = [
        (at, ill)
        for at, ill in zip(record.recent, record.sick, strict=True)
        if at > at_s - WINDOW_S
    ]
    return Piece(
        touched_s=record.touched_s,
        latency=_ring(record.latency, at_s),
        speed=_ring(record.speed, at_s),
        recent=array("f", [at_s - at for at, _ in recent]).tobytes(),
        sick=bytes(ill for _, ill in recent),
        run=record.run,
        minute=record.minutes.slot,
        day=zlib.compress(record.day, 1),
        minutes=record.minutes.filled(),
        tools=None if record.tools is None else record.tools.filled(),
    )


def _ring(ring: Ring, at_s: float) -> bytes:
    pairs = ring.latest(at_s - LISTED_WINDOW_S, SAMPLES_TOLD)
    return array("f", [at_s - at for at, _ in pairs] + [value for _, value in pairs]).tobytes()


def _times(body: bytes, at_s: float) -> list[float]:
    ages = array("f")
    ages.frombytes(body)
    return [at_s - age for age in ages]


def _absorb_ring(ring: Ring, body: bytes, at_s: float) -> None:
    figures = array("f")
    figures.frombytes(body)
    half = len(figures) // 2
    told = [(at_s - age, value) for age, value in zip(figures[:half], figures[half:], strict=True)]
    own = list(zip(ring.at, ring.value, strict=True))
    ring.clear()
    for at, value in sorted([*own, *told]):
        ring.add(value, at)


def _absorb_day(record: Record, piece: Piece, minute: int) -> None:
    """Verdicts of minutes of the last day; a minute that was down for one of two was down."""
    try:
        day = bytearray(zlib.decompressobj().decompress(piece.day, DAY_MINUTES))
    except zlib.error as error:
        raise ValueError("a day that cannot be read") from error
    if len(day) != DAY_MINUTES:
        raise ValueError("a day has 1,440 minutes")
    record.turn(max(minute, piece.minute))
    if piece.minute < record.minutes.slot:  # it was running there, here it is over
        for slot, calls, bad in piece.minutes:
            if slot == piece.minute:
                day[slot % DAY_MINUTES] = verdict_of(calls, bad)
    first = record.minutes.slot - DAY_MINUTES + 1
    for told in range(max(first, piece.minute - DAY_MINUTES + 1), piece.minute + 1):
        place = told % DAY_MINUTES
        if said := day[place]:
            record.day[place] = min(record.day[place] or said, said)
    record.minutes.absorb(piece.minutes)
