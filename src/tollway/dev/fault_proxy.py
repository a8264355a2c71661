"""`tollway dev fault-proxy`: an HTTP/1.1 proxy in front of one provider that breaks what it is told to.

Sockets only: which rules hold and what they do to bytes is `fault_plan`, their text
`fault_grammar`, one connection `fault_relay`, framing `fault_http`, the endpoint that changes rules
`fault_control`. Rules. Bytes go on as they
come, one piece in hand; a slow client slows the upstream. Each exchange has an upstream connection
of its own, so that no fault is ever one that nobody asked for (a pooled connection going stale). A
client that leaves ends its exchange, on both sides. What the upstream itself breaks is broken to
the client in the same way.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from .fault_http import HEAD_BYTES_MAX
from .fault_plan import Faults
from .fault_relay import Client, Reader

CONNECTIONS_MAX: Final = 1_000
"""A client over it is closed without a word: each may hold a few hundred kB of buffers."""

Say = Callable[[dict[str, Any]], None]
"""Takes one event of the log: a fault injected, or an upstream that failed by itself."""


class Upstream(msgspec.Struct, frozen=True):
    """Where everything goes. `path` is put before the path of each request."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def name(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


_PORTS = {"http": 80, "https": 443}


def upstream(url: str) -> Upstream:
    """Raises ValueError, fit for the user."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not http://host[:port][/path] or https://…")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{url!r} holds more than scheme, host, port and path")
    port = parts.port or _PORTS[parts.scheme]
    return Upstream(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


class FaultProxy:
    """Listens between `start` and `close`."""

    def __init__(
        self,
        faults: Faults,
        to: Upstream,
        *,
        say: Say,
        tls: ssl.SSLContext | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`tls` checks an https upstream; without one the system's authorities do."""
        self.faults = faults
        self.to = to
        self.say = say
        self.sleep = sleep
        self.tls = (tls or ssl.create_default_context()) if to.scheme == "https" else None
        self.requests = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """The port that was bound. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._protocol, host, port, backlog=512)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(Reader(limit=HEAD_BYTES_MAX), self._accept)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, Reader)
        if len(self._tasks) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.ensure_future(Client(self, reader, writer).serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
