"""One HTTP/1.1 client connection on httptools, and the answers that come over it.

Not a pool and not a dialer (`transport` is). Rules. One exchange at a time. Bytes are handed on as
the socket gives them: what one read of the socket brought is one `read()` of the answer. A reader
that is slower than the provider stops the socket, not the process. Cancelling a `read` loses
nothing and closes nothing; `close` does. Every wait ends: silence and the total deadline are
watched by one coarse timer per connection, so that a request starts no timer of its own.

Why not a library: of those that were measured one keeps the socket of a cancelled request open
until the provider answers, the others cost several times as much a request (docs/decisions).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import httptools
import msgspec

from ..canon import Fault
from . import AttemptFailed, Pour, faults

BUFFER_BYTES_MAX = 256 * 1024
"""Unread body bytes at which the socket is paused; one socket read may overshoot it once."""

HEAD_BYTES_MAX = 128 * 1024
"""Of a response head; the largest heads in the wild are a tenth of it."""

TIMER_S_MAX = 15.0
"""A connection looks at its deadlines at least this often, so a deadline that moves nearer (a
pooled connection's, mostly) need not move the timer."""

IDLE_S_MAX = 60.0
"""How long an unused connection is kept. Most providers keep theirs for 60 s or more."""

STALE_S = 1.0
"""A reused connection that is closed this soon, without a byte, was already closing when we wrote:
the request is sent again on a new one. Later it may have been worked on, and is not repeated."""

LINGER_S = 0.05
"""A dialect's own end ([DONE]) often comes a packet before HTTP's. An answer that is closed with
nothing unread waits this long for it, so that the connection lives on; any further body byte says
the provider is still generating and closes the socket at once."""

ONE_WRITE_BYTES = 64 * 1024
"""Up to here copying the body behind its head is cheaper than a second write."""


class Limits(msgspec.Struct, frozen=True):
    """How long one exchange may take, and how long it may be silent."""

    total_s: float
    idle_s: float


class HttpAnswer:
    """Implements `upstream.Answer`. `headers` joins repeated names with a comma (RFC 9110 5.3)."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_into",
        "_size",
        "_waiter",
        "arrived",
        "complete",
        "fault",
        "head_bytes",
        "headers",
        "heard_s",
        "limits",
        "stale",
        "status",
        "total_at_s",
        "until_eof",
    )

    def __init__(
        self, connection: Connection, now_s: float, began_s: float, limits: Limits
    ) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.arrived = False
        self.complete = False
        self.until_eof = False
        self.fault: Fault | None = None
        self.stale = False
        self.head_bytes = 0
        self.heard_s = now_s
        self.limits = limits
        self.total_at_s = began_s + limits.total_s
        self._connection = connection
        self._chunks: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[Awaitable[object] | None] | None = None
        self._into: Pour | None = None
        """Who is given the pieces as they come, while somebody waits in `pour`."""

    async def head(self) -> None:
        """Until status and headers are there. Raises AttemptFailed."""
        while not self.arrived:
            if self.fault is not None:
                raise AttemptFailed(self.fault)
            await self._wait()

    async def read(self) -> bytes:
        chunks = self._chunks
        while not chunks:
            if self.fault is not None:
                raise AttemptFailed(self.fault)
            if self.complete:
                return b""
            await self._wait()
        return self._taken()

    async def pour(self, into: Pour) -> Awaitable[object] | None:
        """As `Answer.pour`; what comes while it waits goes to `into` in the turn of the event loop
        that read it from the socket, and wakes no task."""
        while data := await self.read():
            slow = into(data)
            if slow is None and not self.complete and self.fault is None:
                self._into = into
                try:
                    slow = await self._wait()
                finally:
                    self._into = None
            if slow is not None:
                return slow
        return None

    async def close(self) -> None:
        if not self.complete:
            self._connection.hang_up(self, unread=bool(self._chunks))

    def take(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)

    @property
    def is_full(self) -> bool:
        return self._size > BUFFER_BYTES_MAX

    def wake(self) -> None:
        """Something has happened: tell who waits, or pour out what has come."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._into is None:
            waiter.set_result(None)
            return
        try:
            slow = self._into(self._taken()) if self._chunks else None
        except Exception as error:  # noqa: BLE001  whoever waits in `pour` gets it
            waiter.set_exception(error)
            waiter.exception()  # who waits may have been cancelled in this very turn
            return
        if slow is not None or self.complete or self.fault is not None:
            waiter.set_result(slow)

    def _taken(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if self._size > BUFFER_BYTES_MAX and not self.complete:
            self._connection.resume(self)
        self._size = 0
        return data

    async def _wait(self) -> Awaitable[object] | None:
        self._waiter = self._connection.loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None


class Connection(asyncio.Protocol):
    """A socket to one origin. `on_free(self)` is called when it can carry the next request,
    `on_lost(self)` once when it is gone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_free: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.loop = loop
        self.idle_until_s = 0.0
        self.lost = False
        self._on_free = on_free
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: HttpAnswer | None = None
        self._headers: dict[str, str] = {}
        self._used = False
        self._keep = False
        self._paused = False
        self._spoiled = False
        self._lingering = False
        self._linger_until_s = 0.0
        self._sent_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0

    def send(self, head: bytes, body: bytes, began_s: float, limits: Limits) -> HttpAnswer:
        """Writes one request; its answer's head is still to be awaited. `began_s` (the loop's
        clock) is when the total deadline started to run."""
        now_s = self.loop.time()
        answer = HttpAnswer(self, now_s, began_s, limits)
        transport = self._transport
        if transport is None or self.lost:
            answer.stale = self._used
            answer.fault = faults.closed_early(None, spoke=False)
            return answer
        self._answer = answer
        self._sent_s = now_s
        if len(body) <= ONE_WRITE_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        self._watch(now_s)
        return answer

    def abort(self) -> None:
        """Closes the socket at once; what was not sent is dropped."""
        if self._transport is not None:
            self._transport.abort()
            self._forget()

    def hang_up(self, answer: HttpAnswer, *, unread: bool) -> None:
        """Nobody reads on: close the socket, at once or within `LINGER_S`."""
        if answer is not self._answer or self._lingering:
            return
        if unread or self._paused or not answer.arrived or answer.until_eof:
            self.abort()
            return
        self._lingering = True
        now_s = self.loop.time()
        self._linger_until_s = now_s + LINGER_S
        self._watch(now_s)

    def resume(self, answer: HttpAnswer) -> None:
        if self._paused and answer is self._answer and self._transport is not None:
            self._paused = False
            answer.heard_s = self.loop.time()
            self._transport.resume_reading()

    # ---- asyncio calls these ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by shape only

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            self.abort()  # nobody asked: the next request could take this for its answer
            return
        if not answer.arrived:
            answer.head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(answer, faults.not_http(str(error)))
            return
        if answer.arrived:  # a head that drips, or early hints without end, are no sign of life
            answer.heard_s = self.loop.time()
        if answer.complete:
            self._end(answer)
        elif self._lingering:
            self.abort()
            return
        answer.wake()
        if answer.complete:
            return
        if answer.is_full and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        elif answer.head_bytes > HEAD_BYTES_MAX and not answer.arrived:
            self._fail(answer, faults.not_http(f"a head of more than {HEAD_BYTES_MAX} bytes"))

    def connection_lost(self, error: Exception | None) -> None:
        answer = self._answer
        self._forget()
        if answer is None or answer.complete:
            return
        if answer.until_eof and answer.arrived and error is None:
            answer.complete = True
        elif answer.fault is None:
            soon = self.loop.time() - self._sent_s < STALE_S
            answer.stale = self._used and soon and answer.head_bytes == 0
            answer.fault = faults.closed_early(error, spoke=answer.arrived)
        answer.wake()

    # ---- httptools calls these -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        answer = self._answer
        if answer is None or answer.complete:
            self._spoiled = True  # a second answer to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        if answer is None or answer.arrived:
            return  # a trailer
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        before = self._headers.get(key)
        self._headers[key] = text if before is None else f"{before}, {text}"

    def on_headers_complete(self) -> None:
        answer = self._answer
        if answer is None or answer.complete:
            return
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, {}
        if status < 200:
            return  # 1xx: the real head follows (RFC 9110 15.2)
        bodiless = status in (204, 304)
        answer.until_eof = not (
            bodiless or "content-length" in headers or "transfer-encoding" in headers
        )
        self._keep = not answer.until_eof and self._parser.should_keep_alive()
        answer.status = status
        answer.headers = headers
        answer.arrived = True

    def on_body(self, body: bytes) -> None:
        answer = self._answer
        if answer is not None and not answer.complete:
            answer.take(body)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is not None and answer.arrived:
            answer.complete = True

    # ---- ends and deadlines ----------------------------------------------------------------------

    def _end(self, answer: HttpAnswer) -> None:
        """The answer is whole: give the connection back, unless something is left in it."""
        self._answer = None
        self._lingering = False
        transport = self._transport
        if (
            self._keep
            and not self._spoiled
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        ):
            if self._paused:
                self._paused = False
                transport.resume_reading()
            self._used = True
            self.idle_until_s = answer.heard_s + IDLE_S_MAX
            self._on_free(self)
        else:
            self.abort()

    def _fail(self, answer: HttpAnswer, fault: Fault) -> None:
        answer.fault = fault
        self.abort()
        answer.wake()

    def _forget(self) -> None:
        if self.lost:
            return
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_lost(self)

    def _watch(self, now_s: float) -> None:
        due_s = min(self._due_s(), now_s + TIMER_S_MAX)
        if self._timer is not None:
            if self._timer_at_s <= due_s:
                return
            self._timer.cancel()
        self._timer_at_s = due_s
        self._timer = self.loop.call_at(due_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = self.loop.time()
        answer = self._answer
        if now_s < self._due_s() - 0.002:  # a loop's clock may be a millisecond early
            self._watch(now_s)
        elif answer is None or self._lingering:
            self.abort()
        elif now_s >= answer.total_at_s - 0.002:
            self._fail(answer, faults.out_of_time(answer.limits.total_s, spoke=answer.arrived))
        else:
            self._fail(answer, faults.silent(answer.limits.idle_s))

    def _due_s(self) -> float:
        answer = self._answer
        if answer is None:
            return self.idle_until_s
        if self._lingering:
            return self._linger_until_s
        if self._paused:  # we are the slow side
            return answer.total_at_s
        return min(answer.total_at_s, answer.heard_s + answer.limits.idle_s)
