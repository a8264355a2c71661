"""The server's HTTP/1.1: connections on httptools, with bounds on what a client may make us wait
for and keep. Runs under uvicorn's server, which owns the listener and the shut-down.

Rules. A head and a body each have an absolute deadline, so a client that sends a byte now and then
holds nothing; a request that arrives whole in one read starts no timer. A client that does not read
what we have written is dropped, whatever was being answered. Requests that a client sends without
waiting are answered one after the other. A running request is told at once that its client is gone.

Why not uvicorn's own protocol: half of a streamed chunk's cost was spent between it and the socket
(docs/decisions).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Generator
from math import inf
from typing import Any, ClassVar, Final, cast
from urllib.parse import unquote

import httptools
import msgspec
import uvicorn
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from .. import errors
from .exchange import STATUS_LINES, Exchange

log = logging.getLogger("tollway")

HEAD_LIMIT_BYTES: Final = 64 * 1024
"""Request line and headers together; nginx and Node stop at 8 to 32 KiB."""

DISCARD_EVERY_S: Final = 0.02
"""What a client sends on after it was refused is read, so that it gets to read the answer, but a
packet at a time: a few of them at full speed would take the loop from everybody else."""

FRAMING_PER_BYTE: Final = 8
"""Bytes around a byte of a chunked body: chunks of a single byte have five. Beyond this, and a head's
worth more, a body is made of trailers or chunk extensions, which nobody reads."""


WAITING_MAX: Final = 8
"""Requests of a client that does not wait for answers. With more of them the socket is not read,
and then it cannot be seen that the client leaves."""


class Deadlines(msgspec.Struct, frozen=True):
    """In seconds. `stalled`: so often a client must have read something of what waits for it."""

    head: float
    body: float
    keep_alive: float
    stalled: float


class _Writable(asyncio.Event):
    """Awaited by whoever wants to; a coroutine would have to be."""

    def __await__(self) -> Generator[Any, None, object]:
        return self.wait().__await__()


class Connection(asyncio.Protocol):
    """`uvicorn.Config(http=partial(Connection, deadlines))`; the other arguments are uvicorn's."""

    _date: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")

    def __init__(
        self,
        deadlines: Deadlines,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self._app: Any = config.loaded_app
        self._state = server_state
        self._deadlines = deadlines
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that closes the connection is not parsed; that is no error.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._addresses: tuple[Any, Any, str] = (None, None, "http")
        self._exchanges: list[Exchange] = []
        """Not answered yet, in order: the first is being answered."""
        # The request that is arriving.
        self._receiving = False
        self._in_body = False
        self._exchange: Exchange | None = None
        """From the end of its head on."""
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._continues = False
        self._head_bytes = 0
        self._head_tail = b""
        """The last bytes of what came before: the end of a head may be cut in two."""
        self._framing_bytes = 0
        # Flow and time.
        self._read_paused = False
        self._writable: _Writable | None = None
        """While the client is slow to read; set when it has caught up."""
        self._fresh = True
        """No head has come yet."""
        self._due_s = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = inf
        self._stall: asyncio.TimerHandle | None = None

    # ---- the socket ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = made = cast(asyncio.Transport, transport)  # uvloop's is one by shape only
        self._state.connections.add(cast(Any, self))
        scheme = "https" if is_ssl(made) else "http"
        self._addresses = get_local_addr(made), get_remote_addr(made), scheme
        self._due(self._deadlines.head)

    def data_received(self, data: bytes) -> None:
        in_body = self._receiving and self._in_body
        if in_body:
            self._framing_bytes += len(data)
        else:
            seen = self._head_tail + data
            ends_at = seen.find(b"\r\n\r\n")
            head = len(data) if ends_at < 0 else ends_at + 4 - len(self._head_tail)
            self._head_bytes += head
            self._head_tail = seen[-3:]
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self._refuse(errors.head_too_large(HEAD_LIMIT_BYTES))
                return
            if data.find(b"pgrade") >= 0:
                data = _UPGRADE.sub(rb"\1X-Upgrade", data[:head]) + data[head:]
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(errors.bad_http())
            return
        if self._framing_bytes > HEAD_LIMIT_BYTES:
            self._refuse(errors.head_too_large(HEAD_LIMIT_BYTES))
        elif self._receiving and self._due_s == inf:
            self._due(self._deadlines.body if self._in_body else self._deadlines.head)

    def pause_writing(self) -> None:
        self._writable = _Writable()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self._unwatch()
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    def eof_received(self) -> None:
        self._close()

    def connection_lost(self, error: Exception | None) -> None:
        self._state.connections.discard(cast(Any, self))
        self.resume_writing()
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for exchange in self._exchanges:
            exchange.leave()
        # Nothing that leads back here is kept: the collector comes by rarely.
        self._exchanges, self._exchange = [], None
        del self._parser

    def shutdown(self) -> None:
        """The server stops: what is being answered is finished."""
        for exchange in self._exchanges:
            exchange.keep_alive = False
        if not self._exchanges:
            self._close()

    # ---- the parser ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._receiving, self._in_body, self._exchange = True, False, None
        self._framing_bytes = 0
        self._url, self._headers, self._continues = b"", [], False
        if not self._fresh:
            self._due_s = inf

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._continues = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_body, self._fresh = True, False
        self._due_s = inf
        parser = self._parser
        if parser.should_upgrade():  # it was hidden from us, and would hide the body
            raise ValueError("an upgrade")
        version = parser.get_http_version()
        path, query = _path_and_query(self._url)
        server, client, scheme = self._addresses
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "scheme": scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": path.encode("ascii"),
            "query_string": query,
            "root_path": "",
            "headers": self._headers,
            "server": server,
            "client": client,
        }
        exchange = Exchange(
            self,
            scope,
            bodiless=scope["method"] == "HEAD",
            chunks=version != "1.0",
            keep_alive=version != "1.0" and parser.should_keep_alive(),
        )
        scope["tollway.wire"] = exchange
        exchange.awaits_continue = self._continues and version != "1.0"
        self._exchange = exchange
        self._exchanges.append(exchange)
        if self.transport.is_closing():
            return  # it came with the end of a body that was refused
        if len(self._exchanges) == 1:
            self._run(exchange)
        elif len(self._exchanges) > WAITING_MAX:
            self._pause_reading()

    def on_body(self, body: bytes) -> None:
        self._framing_bytes -= (1 + FRAMING_PER_BYTE) * len(body)
        exchange = self._exchange
        assert exchange is not None
        if exchange.complete:
            if not self._read_paused:
                self._pause_reading()
                self.loop.call_later(DISCARD_EVERY_S, self.read_on)
        elif exchange.take(body):
            self._pause_reading()

    def on_message_complete(self) -> None:
        self._receiving = False
        self._head_bytes, self._head_tail = 0, b""
        self._due_s = inf
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        exchange.body_over()
        if exchange.complete and not exchange.keep_alive:
            self._close()
        elif not self._exchanges:
            self._due(self._deadlines.keep_alive)

    # ---- exchanges -------------------------------------------------------------------------------

    def server_headers(self) -> bytes:
        """The lines that every answer has: its date. uvicorn makes a new list for each second."""
        headers, joined = Connection._date
        if headers is not self._state.default_headers:
            headers = self._state.default_headers
            joined = b"".join([b"%b: %b\r\n" % header for header in headers])
            Connection._date = headers, joined
        return joined

    def writable(self) -> Awaitable[object] | None:
        """None, or something to await until the client has caught up."""
        return self._writable

    def read_on(self) -> None:
        many = len(self._exchanges) > WAITING_MAX
        if self._read_paused and not many and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    def answered(self, exchange: Exchange) -> None:
        """Its answer is complete: the next one's turn."""
        self._exchanges.remove(exchange)
        self._state.total_requests += 1
        if self.transport.is_closing():
            return
        arrives = exchange is self._exchange and not exchange.withheld
        if not (exchange.keep_alive or arrives):
            self._close()
            return
        self.read_on()
        if self._exchanges:
            self._run(self._exchanges[0])
            if self._receiving:
                self._due(self._deadlines.body)  # it may have waited, with the socket not read
        elif not self._receiving:
            self._due(self._deadlines.keep_alive)

    def _run(self, exchange: Exchange) -> None:
        scope = exchange.scope
        exchange.scope = None  # which knows the exchange
        task = self.loop.create_task(self._answer(exchange, scope))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _answer(self, exchange: Exchange, scope: Any) -> None:
        failure: Callable[[], errors.TollwayError] = errors.Internal
        try:
            if self._writable is not None:  # a client that does not read gets one answer, not many
                await self._writable
            if not exchange.gone:
                await self._app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            failure = errors.shutting_down
            raise
        except Exception:
            log.exception("a request failed by our own fault")
        else:
            if not (exchange.complete or exchange.gone):
                log.error("the answer to %s has no end", scope["path"])
        finally:
            if not (exchange.complete or exchange.gone):
                if exchange.unsaid:
                    self._say(failure())
                self._close()

    def _pause_reading(self) -> None:
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def _refuse(self, error: errors.TollwayError) -> None:
        """Answer what is arriving below the application, which has not seen it, and close. Where an
        answer has begun, or another one is on its way, closing has to say it."""
        arriving = self._exchange if self._receiving else None
        alone = all(exchange is arriving for exchange in self._exchanges)
        if alone and (arriving is None or arriving.unsaid):
            self._say(error)
        self._close()

    def _say(self, error: errors.TollwayError) -> None:
        body = msgspec.json.encode(error.body())
        self.transport.write(
            b"%bcontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (STATUS_LINES[error.status], len(body), body)
        )

    # ---- time ------------------------------------------------------------------------------------

    def _due(self, seconds: float) -> None:
        """Something must have happened `seconds` from now; what it is, is known when it has not."""
        self._due_s = due_s = self.loop.time() + seconds
        if self._timer is not None:
            if self._timer_at_s <= due_s:
                return  # it looks again when it fires
            self._timer.cancel()
        self._timer, self._timer_at_s = self.loop.call_at(due_s, self._look), due_s

    def _look(self) -> None:
        self._timer = None
        if self.transport.is_closing() or self._due_s == inf:
            return
        left_s = self._due_s - self.loop.time()
        if left_s > 0.002:  # a loop's clock may be a millisecond early
            self._due(left_s)
        elif not self._receiving:
            if self.transport.get_write_buffer_size():
                self.transport.abort()
            else:
                self.transport.close()
        elif self._read_paused and not (self._exchange and self._exchange.complete):
            self._due(self._deadlines.body)  # its turn has not come
        else:
            waited_s = self._deadlines.body if self._in_body else self._deadlines.head
            self._refuse(errors.request_timeout(waited_s))

    def _close(self) -> None:
        """Once the client has read what is written; it may not take for ever."""
        self.transport.close()
        waiting = self.transport.get_write_buffer_size()
        if waiting and self._stall is None:
            self._watch(waiting)

    def _watch(self, waiting: int) -> None:
        self._unwatch()
        self._stall = self.loop.call_later(self._deadlines.stalled, self._look_at_reader, waiting)

    def _unwatch(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _look_at_reader(self, waiting: int) -> None:
        """Closing would wait for the client to read: the connection is cut."""
        now = self.transport.get_write_buffer_size()
        if now < waiting:
            self._watch(now)
        else:
            self.transport.abort()


_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


HASH: Final = 35
"""As a number: a byte is found five times faster than bytes of length one."""


def _path_and_query(url: bytes) -> tuple[str, bytes]:
    """Of a request's target, which proxies' clients send with scheme and host."""
    if url[:1] != b"/" or HASH in url:
        parsed = httptools.parse_url(url)
        return (parsed.path or b"/").decode("ascii"), parsed.query or b""
    path, _, query = url.partition(b"?")
    return path.decode("ascii"), query


_UPGRADE: Final = re.compile(rb"(?i)(\r\n(?:connection:[^\r]*)?)upgrade(?![\w-])")
"""A server may ignore `Upgrade` (RFC 9110, 7.8), and this one upgrades to nothing. The parser cannot
ignore it: it would take the body for the next request, and Java's own client asks for h2c when it
posts. It wants both headers, and a head that is cut in two hides but one of them."""
