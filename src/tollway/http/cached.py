"""A request that may be answered from the cache: a hit, a wait for one, or the road.

Not here: whether and under which key (`caching.wanted`), what is kept (`caching.tape`). Rules. A hit
holds nothing and is written down before its first byte, so that a client finds its record. Whoever
leads a flight lands it, however its road ends; the answer is handed on after its settlement is
queued, so that what is told again has been paid. While a stream waits, keep-alive comments flow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from .. import caching, errors
from ..caching import Kept, Wanted
from ..caching.flights import Flight, Turn
from ..flow import Call
from ..gateway import Gateway
from ..routing.plan import refusal

if TYPE_CHECKING:
    from .inference import Reply

Walk = Callable[[Call, "Reply"], Awaitable[None]]


async def answer(
    gateway: Gateway, call: Call, reply: Reply, wish: Wanted, key: bytes, walk: Walk
) -> None:
    """Answer `call` from what is kept under `key`, or `walk` the road and keep what it brings."""
    if not call.plan.attempts:  # what may not be asked for now is not told again either
        raise refusal(call.plan, gateway.index)
    shelf, flights = gateway.shelf, gateway.flights
    if wish.clear:
        shelf.drop(key)
        await _lead(gateway, call, reply, wish, key, flights.begin(key), walk)
        return
    found: Kept | Turn | None = shelf.get(key, gateway.clock())
    flight = None if found is not None else flights.find(key)
    waited = flight is not None
    if flight is not None:
        found = await _wait(gateway, call, flight)
    if isinstance(found, Kept):
        await _tell(gateway, call, reply, found, coalesced=waited)
    elif found is Turn.ALONE:
        await _lead(gateway, call, reply, wish, key, None, walk)
    else:
        await _lead(gateway, call, reply, wish, key, flight or flights.begin(key), walk)


async def _wait(gateway: Gateway, call: Call, flight: Flight) -> Kept | Turn:
    """Wait for somebody else's answer, within the request's own deadline."""
    settings = gateway.settings
    left_s = call.started_s + settings.total_timeout_s - gateway.clock()
    found = await gateway.flights.wait(flight, min(settings.cache_wait_s, max(left_s, 0)))
    if isinstance(found, Turn) and gateway.stopping:
        if found is Turn.LEAD:
            gateway.flights.failed(flight, counts=False)
        raise errors.shutting_down()
    return found


async def _lead(
    gateway: Gateway,
    call: Call,
    reply: Reply,
    wish: Wanted,
    key: bytes,
    flight: Flight | None,
    walk: Walk,
) -> None:
    """Walk the road and keep its answer; a flight is landed whatever happens. Without a flight
    nobody waits, and one in the air keeps its own answer."""
    shelf, flights = gateway.shelf, gateway.flights
    call.tape_bytes = gateway.settings.cache_answer_bytes_max
    reply.more = (_MISS, (_TTL, b"%d" % wish.ttl_s))
    gateway.metrics.cached("miss")
    kept: Kept | None = None
    try:
        await walk(call, reply)
    finally:
        whole = call.progress_made == "whole"
        if whole:
            relay = None if call.current is None else call.current.relay
            kept = caching.kept(relay, call.id, call.started_s, gateway.clock(), wish.ttl_s)
        if flight is None:
            newest = flights.find(key) is None
        elif kept is not None:
            newest = flights.landed(flight, kept)
        elif whole:
            newest = False
            flights.released(flight)
        else:
            newest = False
            flights.failed(flight, counts=not call.client_left)
        if kept is not None and newest:
            shelf.put(key, kept)


async def _tell(
    gateway: Gateway, call: Call, reply: Reply, found: Kept, *, coalesced: bool
) -> None:
    """Tell a kept answer again, under this call's id, for nothing."""
    request, now_s = call.request, gateway.clock()
    reply.entered = True
    reply.more = (
        _HIT,
        (_AGE, b"%d" % found.age_s(now_s)),
        (_TTL, b"%d" % found.ttl_s),
        (_SOURCE, found.source_id.encode()),
        *((_COALESCED,) if coalesced else ()),
    )
    gateway.record(
        caching.record(
            found,
            request,
            id=call.id,
            workspace=call.caller.workspace,
            key_id=call.caller.key_id,
            started_ms=int(call.started_s * 1000),
            ended_ms=int(now_s * 1000),
            coalesced=coalesced,
            notes=call.notes,
        )
    )
    gateway.metrics.cached("coalesced" if coalesced else "hit")
    gateway.metrics.request(found.model, "", 200)
    created = int(call.started_s)
    *pieces, last = caching.replay(found, request, call.id, created)  # nobody was routed to
    for piece in pieces:
        slow = reply.write(piece)
        await (asyncio.sleep(0) if slow is None else slow)
    slow = reply.end(last)
    if slow is not None:
        await slow


_HIT = (b"x-openrouter-cache-status", b"HIT")
_MISS = (b"x-openrouter-cache-status", b"MISS")
_AGE = b"x-openrouter-cache-age"
_TTL = b"x-openrouter-cache-ttl"
_SOURCE = b"x-openrouter-cache-source-id"
_COALESCED = (b"x-tollway-cache-coalesced", b"true")
