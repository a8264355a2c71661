"""One request and its answer on a connection of our own server.

The inference door writes through it as a `wire.Wire`; the control door sees ASGI's `receive` and
`send`. Not here: deadlines, and which exchange's turn it is (`protocol`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from .wire import Headers

if TYPE_CHECKING:
    from .protocol import Connection

BODY_WAITS_BYTES: Final = 64 * 1024
"""Of a body that nobody has asked for yet; beyond it the socket is not read on."""

LF, CR = 10, 13

JOINED_BYTES: Final = 64 * 1024
"""Up to here copying a body behind its head is cheaper than a second write."""


class Exchange:
    """Implements `wire.Wire`. Of the many of one connection only the first is being answered."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_body_told",
        "_chunked",
        "_chunks",
        "_connection",
        "_due_bytes",
        "_head",
        "_mute",
        "_news",
        "awaits_continue",
        "body_complete",
        "complete",
        "gone",
        "keep_alive",
        "on_left",
        "scope",
        "started",
        "withheld",
    )

    def __init__(
        self,
        connection: Connection,
        scope: dict[str, Any],
        *,
        bodiless: bool,
        chunks: bool,
        keep_alive: bool,
    ) -> None:
        """`bodiless`: only the answer's head is asked for; `chunks`: the client reads them."""
        self.scope: dict[str, Any] | None = scope
        """Until it is this exchange's turn."""
        self.keep_alive = keep_alive
        self.awaits_continue = False
        """The client sends its body when it is told to."""
        self.withheld = False
        """The client was not told to, and may leave the body out: what follows is unknown."""
        self.body_complete = False
        self.started = False
        self.complete = False
        """The answer is written to its end."""
        self.gone = False
        """The client left before that."""
        self.on_left: Callable[[], None] | None = None
        self._connection = connection
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._body_told = False
        self._news: asyncio.Event | None = None
        self._head = b""
        """Leaves with what follows it: a client's first packet holds the first event."""
        self._mute = bodiless
        """A head without a body, whatever the application says."""
        self._chunks = chunks
        self._chunked = False
        self._due_bytes: int | None = None
        """What is missing of the announced length; None where none was announced."""

    # ---- what the connection tells ---------------------------------------------------------------

    def take(self, body: bytes) -> bool:
        """A piece of the body has come. True = enough, until somebody asks for it."""
        self.awaits_continue = False
        self._body.append(body)
        self._body_bytes += len(body)
        self._wake()
        return self._body_bytes > BODY_WAITS_BYTES

    def body_over(self) -> None:
        self.body_complete = True
        self._wake()

    def leave(self) -> None:
        """The connection is lost."""
        if self.complete or self.gone:
            return
        self.gone, self.scope = True, None
        self._wake()
        if self.on_left is not None:
            self.on_left()

    @property
    def unsaid(self) -> bool:
        """Nothing of the answer is on its way."""
        return not self.started or bool(self._head)

    # ---- wire.Wire -------------------------------------------------------------------------------

    def body_here(self) -> bytes | None:
        if not self.body_complete or self.gone:
            return None
        self._body_told = True
        self._connection.read_on()  # or nobody sees the client leave
        return self._taken()

    def whole(self, status: int, headers: Headers, body: bytes) -> Awaitable[object] | None:
        self._start(status, headers)
        return self._write(body, last=True)

    def begin(self, status: int, headers: Headers, data: bytes) -> Awaitable[object] | None:
        self._start(status, headers)
        return self._write(data)

    def write(self, data: bytes) -> Awaitable[object] | None:
        return self._write(data)

    def end(self, data: bytes) -> Awaitable[object] | None:
        return self._write(data, last=True)

    # ---- ASGI ------------------------------------------------------------------------------------

    async def receive(self) -> dict[str, Any]:
        while not (self.gone or self.complete):
            if self._body or (self.body_complete and not self._body_told):
                self._body_told = self.body_complete
                more = not self.body_complete
                if not more:
                    self._connection.read_on()  # or nobody sees the client leave
                return {"type": "http.request", "body": self._taken(), "more_body": more}
            if self.awaits_continue:
                self.awaits_continue = False
                self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._connection.read_on()
            if self._news is None:
                self._news = asyncio.Event()
            self._news.clear()
            await self._news.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
            return
        slow = self._write(message.get("body", b""), last=not message.get("more_body", False))
        if slow is not None:
            await slow

    # ---- bytes -----------------------------------------------------------------------------------

    def _start(self, status: int, headers: Headers) -> None:
        if self.started:
            raise RuntimeError("the head of this answer is written already")
        own = self._connection.server_headers()
        lines = [_status_line(status), own]
        closes = False
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
            if name == b"content-length":
                self._due_bytes = int(value)
            elif name == b"transfer-encoding":
                self._chunked = value.lower() == b"chunked"
            elif name == b"connection":
                closes = b"close" in value.lower()
        if self.awaits_continue and not self.body_complete:
            self.keep_alive, self.withheld = False, True
        self._mute = self._mute or status in (204, 304)
        if not self._mute and self._due_bytes is None and not self._chunked:
            if self._chunks:
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.keep_alive = False  # the end of the connection is that of the body
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        breaks = len(lines) - 1 + own.count(LF)
        if head.count(LF) != breaks or head.count(CR) != breaks or 0 in head:
            raise RuntimeError("a header of the answer has a line break or NUL in it")
        self._head = head
        self.started, self.awaits_continue = True, False

    def _write(self, data: bytes, *, last: bool = False) -> Awaitable[object] | None:
        if self.gone:
            return None
        if not self.started or self.complete:
            raise RuntimeError("a body begins after its head and ends once")
        if self._chunked and not self._mute:
            end = b"0\r\n\r\n" if last else b""
            data = b"%x\r\n%b\r\n%b" % (len(data), data, end) if data else end
        elif self._mute:
            data = b""
        elif self._due_bytes is not None:
            self._due_bytes -= len(data)
            if self._due_bytes < 0 or (last and self._due_bytes):
                raise RuntimeError("a body is as long as its head says")
        connection = self._connection
        if self._head:
            if len(data) <= JOINED_BYTES:
                data = self._head + data
            else:
                connection.transport.write(self._head)
            self._head = b""
        if data:
            connection.transport.write(data)
        if last:
            self.complete = True
            self._wake()
            connection.answered(self)
            return None
        return connection.writable()

    def _taken(self) -> bytes:
        body = self._body
        whole = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self._body_bytes = 0
        return whole

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()


def _status_line(status: int) -> bytes:
    line = STATUS_LINES.get(status)
    return b"HTTP/1.1 %d \r\n" % status if line is None else line


STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode())
    for status in HTTPStatus
}
