"""The server's HTTP protocol: uvicorn's on httptools, with bounds on what a client may make us wait
for and keep.

uvicorn's keep-alive timer restarts with every byte, so a client that sends one byte now and then
holds a connection for ever. Here a head and a body each have an absolute deadline. A request that
arrives whole in one read never starts a timer. A client that does not read what we have written is
dropped, whatever was being answered. The protocol also tells a running request that its client is
gone (`scope["tollway.on_disconnect"]`), which saves a waiting task per request; one that is not yet
on the road finds it out by `scope["tollway.gone"]`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from .. import errors

HEAD_LIMIT_BYTES = 64 * 1024
"""Request line and headers together; nginx and Node stop at 8 to 32 KiB."""


DISCARD_EVERY_S = 0.02
"""What a client sends on after it was refused is read, so that it gets to read the answer, but a
packet at a time: a few of them at full speed would take the loop from everybody else."""

FRAMING_PER_BYTE = 8
"""Bytes around a byte of a chunked body: chunks of a single byte have five. Beyond this, and a head's
worth more, a body is made of trailers or chunk extensions, which nobody reads."""


JOINED_BYTES = 64 * 1024
"""Larger pieces are written as they are, not copied behind what came before."""


class Corked:
    """A transport whose writes of one turn of the event loop leave together: a head goes out with
    its body or its first event, an ending with its terminator. Half the system calls, and no small
    packet for the network to wait over."""

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if len(data) > JOINED_BYTES:  # a copy for each of many slow readers of a large page
            self._flush()
            self._transport.write(data)
            return
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._parts.clear()
        self._transport.abort()

    def _flush(self) -> None:
        parts = self._parts
        if parts:
            self._parts = []
            self._transport.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def protocol(
    head_timeout_s: float, body_timeout_s: float, stalled_client_s: float
) -> type[HttpToolsProtocol]:
    """A protocol class with these deadlines, for `uvicorn.Config(http=…)`. Every
    `stalled_client_s` a client must have read something of what waits for it."""

    class DeadlineProtocol(HttpToolsProtocol):
        _deadline: asyncio.TimerHandle | None = None
        _stall: asyncio.TimerHandle | None = None
        _receiving = False
        _in_body = False
        _head_bytes = 0
        _head_tail = b""
        """The last bytes of what came before: the end of a head may be cut in two."""
        _framing_bytes = 0
        _earlier: tuple[RequestResponseCycle, ...] = ()
        """Unfinished requests before `cycle`, of a client that does not wait for answers."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]
            self._arm(head_timeout_s)

        def data_received(self, data: bytes) -> None:
            if not (self._receiving and self._in_body):
                ends_at = (self._head_tail + data).find(b"\r\n\r\n")
                head = len(data) if ends_at < 0 else ends_at + 4 - len(self._head_tail)
                self._head_bytes += head
                self._head_tail = data[-3:]
                if self._head_bytes > HEAD_LIMIT_BYTES:
                    self._refuse(431, errors.head_too_large(HEAD_LIMIT_BYTES))
                    return
            elif self._receiving:
                self._framing_bytes += len(data)
            if b"pgrade" in data and not (self._receiving and self._in_body):
                data = _without_upgrade(data)
            super().data_received(data)
            if self._framing_bytes > HEAD_LIMIT_BYTES:
                self._refuse(431, errors.head_too_large(HEAD_LIMIT_BYTES))
                return
            if not self._receiving:
                self._disarm()
            elif self._deadline is None:
                self._arm(body_timeout_s if self._in_body else head_timeout_s)

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            self._unwatch()
            cycle = self.cycle
            for earlier in self._earlier:
                earlier.disconnected = not earlier.response_complete
                earlier.message_event.set()
                _leave(earlier)
            super().connection_lost(exc)
            if cycle is not None:
                _leave(cycle)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch(self.transport.get_write_buffer_size())

        def resume_writing(self) -> None:
            super().resume_writing()
            self._unwatch()

        def on_message_begin(self) -> None:
            self._receiving, self._in_body = True, False
            self._framing_bytes = 0
            super().on_message_begin()
            scope: Any = self.scope
            scope["tollway.on_disconnect"] = None

        def on_header(self, name: bytes, value: bytes) -> None:
            if not self._in_body:  # else a trailer
                super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_body = True
            self._disarm()
            if self.cycle is not None and not self.cycle.response_complete:
                running = (c for c in self._earlier if not c.response_complete)
                self._earlier = (*running, self.cycle)
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._framing_bytes -= (1 + FRAMING_PER_BYTE) * len(body)
            if not self.cycle.response_complete:
                super().on_body(body)
            elif not self.flow.read_paused:
                self.flow.pause_reading()
                self.loop.call_later(DISCARD_EVERY_S, self._discard_more)

        def _discard_more(self) -> None:
            if not self.transport.is_closing():
                self.flow.resume_reading()

        def on_message_complete(self) -> None:
            self._receiving = False
            self._head_bytes, self._head_tail = 0, b""
            super().on_message_complete()

        def _arm(self, seconds: float) -> None:
            self._deadline = self.loop.call_later(seconds, self._too_slow, seconds)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _watch(self, waiting: int) -> None:
            self._stall = self.loop.call_later(stalled_client_s, self._look, waiting)

        def _unwatch(self) -> None:
            if self._stall is not None:
                self._stall.cancel()
                self._stall = None

        def _look(self, waiting: int) -> None:
            """Closing would wait for the client to read: the connection is cut."""
            now = self.transport.get_write_buffer_size()
            if now < waiting:
                self._watch(now)
            else:
                self.transport.abort()

        def timeout_keep_alive_handler(self) -> None:
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            else:
                super().timeout_keep_alive_handler()

        def _too_slow(self, seconds: float) -> None:
            self._deadline = None
            if self.transport.is_closing():
                return
            cycle = self.cycle
            answered = self._in_body and cycle is not None and cycle.response_started
            if self._receiving and not answered:
                self._refuse(408, errors.request_timeout(seconds))
            self.transport.close()

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, errors.bad_http())

        def _refuse(self, status: int, error: errors.TollwayError) -> None:
            """Answer below the application: it has not seen this request, or never will."""
            body = msgspec.json.encode(error.body())
            self.transport.write(
                b"%scontent-type: application/json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%s" % (STATUS_LINE[status], len(body), body)
            )
            self.transport.close()

    return DeadlineProtocol


def _leave(cycle: RequestResponseCycle) -> None:
    if cycle.response_complete:
        return
    scope: Any = cycle.scope
    scope["tollway.gone"] = True
    leave = scope.get("tollway.on_disconnect")
    if leave is not None:
        leave()


def _without_upgrade(data: bytes) -> bytes:
    """A server may ignore `Upgrade` (RFC 9110, 7.8), and this one upgrades to nothing. The parser
    cannot ignore it: it would drop the body, and Java's own client asks for h2c when it posts."""
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(rb"\1X-Upgrade:", head) + end + rest


_UPGRADE = re.compile(rb"(?i)(\r\n)upgrade:")
