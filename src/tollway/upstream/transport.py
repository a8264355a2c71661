"""HTTP to providers: `HttpTransport`, a pool of HTTP/1.1 connections, one per process.

Not the wire (`http1`), not names (`resolve`), not wording (`faults`), not credentials (`auth`).
Rules. No redirects, no proxies, no cookies, no decompression: what a provider answers is what the
dialect sees. Nothing but `AttemptFailed` leaves by this door, save cancellation. The event loop may
be replaced between calls; connections of a loop that is gone are forgotten.

HTTP/2 is left out on purpose: one reset stream there has poisoned its siblings in other gateways.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import lru_cache, partial
from math import inf
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from .. import __version__
from . import AttemptFailed, faults
from .http1 import Connection, HttpAnswer, Limits
from .resolve import Resolver

CONNECT_TIMEOUT_S = 3.0
"""Name, TCP and TLS together, over all addresses of the name."""

IDLE_CONNECTIONS_MAX = 512
"""Kept per origin. More than this are in use at once only under load, and are closed after it."""

SICK_S = 10.0
"""An origin that closed a new connection as well, without an answer, is not closing old ones but
failing: nothing is sent to it twice for so long. Else a storm would double here, unseen by the
retry budget."""

Origin = tuple[str, str, int]
"""Scheme, host, port."""


class HttpTransport:
    """Implements `upstream.Transport` for `http:` and `https:` URLs; methods GET and POST."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        resolver: Callable[[], Resolver] = Resolver,
    ) -> None:
        """`tls` replaces the default context (system's certificate authorities, names checked);
        `resolver` makes what decides, one a loop, to which addresses a name leads."""
        self._tls = tls
        self._new_resolver = resolver
        self._connect_timeout_s = connect_timeout_s
        self._closed = False
        self._bind(None)

    @property
    def connections(self) -> int:
        """Open sockets, idle ones included."""
        return len(self._all)

    async def open(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        total_timeout_s: float,
        idle_timeout_s: float,
        on_sent: Callable[[], None] | None = None,
    ) -> HttpAnswer:
        """`total_timeout_s` runs from here to the last byte; `idle_timeout_s` is the longest
        silence, before the head as well: for an answer that is not streamed give it as much as
        the total. Raises AttemptFailed."""
        loop = asyncio.get_running_loop()
        if self._closed:
            raise AttemptFailed(faults.cannot_send("the server is shutting down"))
        if loop is not self._loop:
            self._bind(loop)
        began_s = loop.time()
        limits = Limits(total_timeout_s, idle_timeout_s)
        target = _target(url)
        head = _head(method, target, headers, body)
        again = False
        while True:
            connection = None if again else self._take(target.origin, began_s)
            if connection is None:
                connection = await self._connect(target, began_s + total_timeout_s)
            answer = connection.send(head, body, began_s, limits)
            if on_sent is not None:
                on_sent()
            heard = False
            try:
                await answer.head()
                heard = True
                return answer
            except AttemptFailed:
                now_s = loop.time()
                if again:
                    self._sick[target.origin] = now_s
                if not answer.stale or now_s < self._sick.get(target.origin, -inf) + SICK_S:
                    raise
                again = True
            finally:
                if not heard:  # also cancelled between the head's arrival and this line
                    connection.abort()
            # The connection was closing as we wrote: once more, on a new one, which is never stale.

    async def close(self) -> None:
        """Closes every socket, in use or not. No request can be opened afterwards."""
        self._closed = True
        if self._loop is asyncio.get_running_loop():
            for connection in tuple(self._all):
                connection.abort()
            await asyncio.sleep(0)  # the loop closes sockets in its next round
        self._bind(None)

    # ---- the pool --------------------------------------------------------------------------------

    def _bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop
        self._resolver = self._new_resolver()
        self._all: set[Connection] = set()
        self._idle: dict[Origin, list[Connection]] = {}
        self._sick: dict[Origin, float] = {}

    def _take(self, origin: Origin, now_s: float) -> Connection | None:
        """The connection used last, so that the others grow old and close by themselves."""
        pool = self._idle.get(origin)
        while pool:
            connection = pool.pop()
            if now_s < connection.idle_until_s:
                return connection
            connection.abort()
        return None

    def _freed(self, origin: Origin, connection: Connection) -> None:
        pool = self._idle.setdefault(origin, [])
        if connection in self._all and len(pool) < IDLE_CONNECTIONS_MAX:
            pool.append(connection)
        else:
            connection.abort()

    def _lost(self, origin: Origin, connection: Connection) -> None:
        self._all.discard(connection)
        pool = self._idle.get(origin)
        if pool is not None and connection in pool:
            pool.remove(connection)

    # ---- connecting ------------------------------------------------------------------------------

    async def _connect(self, target: Target, total_at_s: float) -> Connection:
        now_s = asyncio.get_running_loop().time()
        limit_s = min(self._connect_timeout_s, total_at_s - now_s)
        try:
            async with asyncio.timeout_at(now_s + limit_s):
                connection = await self._dial(target, now_s + limit_s)
        except TimeoutError as error:
            raise AttemptFailed(faults.connect_timed_out(limit_s)) from error
        except OSError as error:
            raise AttemptFailed(faults.connect_failed(error)) from error
        self._all.add(connection)
        return connection

    async def _dial(self, target: Target, until_s: float) -> Connection:
        """One address after another, each with an even share of the time that is left, so that a
        black hole in front (IPv6, mostly) does not hide a way that works."""
        loop = asyncio.get_running_loop()
        scheme, host, port = origin = target.origin
        tls = self._tls_context() if scheme == "https" else None
        factory = partial(
            Connection, loop, partial(self._freed, origin), partial(self._lost, origin)
        )
        addresses = await self._resolver.addresses(host, port, loop.time())
        failed: OSError = TimeoutError()
        for tried, address in enumerate(addresses):
            now_s = loop.time()
            share_s = (until_s - now_s) / (len(addresses) - tried)
            try:
                async with asyncio.timeout_at(now_s + share_s):
                    _, connection = await loop.create_connection(
                        factory, address, port, ssl=tls, server_hostname=host if tls else None
                    )
                    return connection
            except OSError as error:  # TimeoutError is one
                failed = error
        raise failed

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context()  # 20 to 40 ms, once, and only for who needs it
        return self._tls


def tls_context(cafile: Path | None = None) -> ssl.SSLContext:
    """Certificates and names checked against the system's authorities, or those in `cafile`."""
    context = ssl.create_default_context(cafile=cafile)
    context.set_alpn_protocols(["http/1.1"])
    return context


class Target(msgspec.Struct, frozen=True):
    """A URL taken apart once. `host` is the value of the Host header."""

    origin: Origin
    host: str
    path: str


@lru_cache(maxsize=4096)
def _target(url: str) -> Target:
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.hostname
        port = parts.port or (443 if scheme == "https" else 80)
        name = f"[{host}]" if host and ":" in host else (host or "").encode("idna").decode("ascii")
    except ValueError as error:
        raise AttemptFailed(faults.cannot_send(f"the URL is not valid: {error}")) from error
    if scheme not in ("http", "https") or not host or parts.username is not None:
        raise AttemptFailed(faults.cannot_send("the URL is not http(s)://host/…"))
    if any(c <= " " or c == "\x7f" for c in host):
        raise AttemptFailed(faults.cannot_send("the URL's host is not valid"))
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    if parts.query:
        path += "?" + quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    default = port == (443 if scheme == "https" else 80)
    return Target((scheme, host, port), name if default else f"{name}:{port}", path)


_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of the connection, not of the request: written here and nowhere else."""


def _head(method: str, target: Target, headers: list[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"{method} {target.path} HTTP/1.1", f"host: {target.host}"]
    lines.append("accept-encoding: identity")
    agent = False
    for name, value in headers:
        lower = name.lower()
        if lower in _OURS:
            continue
        agent = agent or lower == "user-agent"
        lines.append(f"{name}: {value}")
    if not agent:
        lines.append(f"user-agent: tollway/{__version__}")
    if body or method != "GET":
        lines.append(f"content-length: {len(body)}")
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\r") != breaks or text.count("\n") != breaks or "\0" in text:
        raise AttemptFailed(faults.cannot_send("a header holds a line break or NUL"))
    try:
        return text.encode("latin-1") + b"\r\n\r\n"
    except UnicodeEncodeError:
        return text.encode() + b"\r\n\r\n"
