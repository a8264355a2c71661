"""What an answer is written to: the socket of our own server, or any ASGI server's `send`.

A writing method returns None when the bytes were taken, or something to await when the client is
slow to read: the road waits only where there is something to wait for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case."""


class Wire(Protocol):
    on_left: Callable[[], None] | None
    """Called once if the client leaves before its answer is complete."""
    gone: bool
    """The client has left."""

    def body_here(self) -> bytes | None:
        """Takes the request's body if all of it has come already; else None."""

    def whole(self, status: int, headers: Headers, body: bytes) -> Awaitable[object] | None:
        """A complete answer; `headers` tell its length."""

    def begin(self, status: int, headers: Headers, data: bytes) -> Awaitable[object] | None:
        """The head of a stream and its first piece."""

    def write(self, data: bytes) -> Awaitable[object] | None:
        """The next piece of a stream."""

    def end(self, data: bytes) -> Awaitable[object] | None:
        """The last piece of a stream, perhaps empty."""


class AsgiWire:
    """Implements `Wire` over ASGI's `send`, for other servers than ours and for tests. It cannot
    know whether the client is there: who reads ASGI's messages has to tell it."""

    def __init__(self, send: Any) -> None:
        self.on_left: Callable[[], None] | None = None
        self.gone = False
        self._send = send

    def body_here(self) -> None:
        return None

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        await self._start(status, headers)
        await self.end(body)

    async def begin(self, status: int, headers: Headers, data: bytes) -> None:
        await self._start(status, headers)
        await self.write(data)

    async def write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data})

    async def _start(self, status: int, headers: Headers) -> None:
        start = {"type": "http.response.start", "status": status, "headers": list(headers)}
        await self._send(start)
