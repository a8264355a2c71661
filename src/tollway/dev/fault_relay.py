"""Within the fault proxy: one client's connection and its exchanges, one after another.

Sockets only, as `fault_proxy`, which accepts and counts; what is done to the bytes is decided by
`fault_plan`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from . import fault_control
from .fault_http import (
    HEAD_BYTES_MAX,
    LAST_CHUNK,
    Head,
    NotHttp,
    body,
    chunk,
    head_bytes,
    read_head,
)
from .fault_plan import Changed, End, Injection, Step, Stream, Wait, before, garbage

if TYPE_CHECKING:
    from .fault_proxy import FaultProxy

CONNECT_TIMEOUT_S: Final = 10.0


class Reader(asyncio.StreamReader):
    """Knows that its peer has left before anybody reads that far."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)
        self.left = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.left.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.left.set()


class _Over(Exception):
    """Not an error: the rules end the exchange here."""

    def __init__(self, by: Injection) -> None:
        super().__init__(by.rule.text)
        self.by = by


class Client:
    """One connection of a client: exchanges one after another, until a fault or a side ends it."""

    def __init__(self, proxy: FaultProxy, reader: Reader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.reader = reader
        self.writer = writer
        # A drain then waits until all has left: a reset behind it takes nothing of ours along.
        writer.transport.set_write_buffer_limits(high=0)

    async def serve(self) -> None:
        try:
            with suppress(OSError, EOFError, NotHttp):
                await self._unless_left(self._all())
        except _Over as over:
            await self._unless_left(self._end(over.by.rule.kind, over.by))
        finally:
            self.writer.close()
            with suppress(OSError):
                await self.writer.wait_closed()

    async def _unless_left(self, work: Any) -> None:
        """Do the work, or stop doing it when the client has left."""
        doing = asyncio.ensure_future(work)
        left = asyncio.ensure_future(self.reader.left.wait())
        try:
            await asyncio.wait((doing, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            if not doing.done():
                doing.cancel()
                with suppress(asyncio.CancelledError, OSError, EOFError, NotHttp, _Over):
                    await doing
        if not doing.cancelled():
            doing.result()

    async def _all(self) -> None:
        connected = _Exchange(self, "", "")
        await connected.steps(before(self.proxy.faults.connection(), "connect"), self.raw)
        while True:
            try:
                head = await read_head(self.reader)
            except NotHttp as problem:
                await self.reply(400, {"error": {"message": f"fault-proxy: {problem}."}})
                return
            if head is None or not await self._one(head):
                return

    async def _one(self, head: Head) -> bool:
        """One exchange; whether another may follow it on this connection."""
        method, target, version = head.line
        path = target.partition("?")[0]
        if path == fault_control.PATH:
            return await self._control(head, method)
        if not target.startswith("/") or version not in ("HTTP/1.1", "HTTP/1.0"):
            problem = "fault-proxy: expected a path, and HTTP/1.1."
            await self.reply(400, {"error": {"message": problem}})
            return False
        exchange = _Exchange(self, method, path)
        injections = self.proxy.faults.request(method, path)
        try:
            await exchange.steps(before(injections, "request"), self.raw)
        except _Over as over:
            if over.by.rule.kind != "reset":  # unread bytes would turn a close into a reset
                async for _ in self.asked(head):
                    pass
            if over.by.rule.kind != "status":
                raise
            return await self._refuse(over.by, head)
        return await exchange.forward(head, injections)

    async def _refuse(self, by: Injection, head: Head) -> bool:
        rule = by.rule
        more = [] if rule.retry_after_s is None else [("retry-after", str(rule.retry_after_s))]
        error = {"message": f"Injected by the fault proxy: {rule.text}", "type": "injected_fault"}
        await self.reply(rule.status, {"error": error}, more, closes=head.closes)
        return not head.closes

    async def _control(self, head: Head, method: str) -> bool:
        sent = b""
        async for piece in self.asked(head):
            sent += piece
            if len(sent) > fault_control.BODY_BYTES_MAX:
                break
        peer = self.writer.get_extra_info("peername")
        status, value = fault_control.answer(
            self.proxy.faults, method, sent, peer=peer[0] if peer else "", host=head.values("host")
        )
        await self.reply(status, value)
        return False

    async def asked(self, head: Head) -> AsyncIterator[bytes]:
        """The body of a request."""
        if any("100-continue" in value.lower() for value in head.values("expect")):
            await self.raw(b"HTTP/1.1 100 Continue\r\n\r\n")
        async for piece in body(self.reader, head):
            yield piece

    async def reply(
        self,
        status: int,
        value: Any,
        more: Iterable[tuple[str, str]] = (),
        *,
        closes: bool = True,
    ) -> None:
        """An answer of the proxy's own."""
        data = json.dumps(value).encode() + b"\n"
        headers = [("content-type", "application/json"), ("content-length", str(len(data))), *more]
        if closes:
            headers.append(("connection", "close"))
        await self.raw(head_bytes(f"HTTP/1.1 {status} {_reason(status)}", headers) + data)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def _end(self, kind: str, by: Injection) -> None:
        """Leave the connection as a fault says; it is closed in any case after this."""
        with suppress(OSError):
            if kind == "reset":
                sock = self.writer.get_extra_info("socket")
                if sock is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.writer.transport.abort()
            elif kind == "halfclose":
                self.writer.write_eof()
                await asyncio.Event().wait()  # until the client leaves
            elif kind == "garbage":
                await self.raw(garbage(by))


class _Exchange:
    """One request and its answer, or the moment after a connection was accepted."""

    def __init__(self, client: Client, method: str, path: str) -> None:
        self._client = client
        self._proxy = client.proxy
        self._noted: set[int] = set()
        if method:
            self._proxy.requests += 1
        self._about = {"request": self._proxy.requests, "method": method, "path": path}
        if not method:
            self._about = {}

    async def forward(self, head: Head, injections: list[Injection]) -> bool:
        """Ask the upstream and pass its answer on; whether the connection can go on."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await self._connect()
        except (OSError, TimeoutError) as error:
            why = f"the upstream cannot be reached: {type(error).__name__} {error}".strip()
            self._failed(why)
            await self._client.reply(502, {"error": {"message": f"fault-proxy: {why}"}})
            return False
        sending = asyncio.ensure_future(self._send(head, writer))
        try:
            keeps = await self._answer(head, reader, injections)
            return keeps and sending.done()
        except (OSError, EOFError, NotHttp) as error:
            if self._client.reader.left.is_set():
                raise
            self._failed(f"the upstream broke off: {type(error).__name__} {error}".strip())
            return False
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError, EOFError, NotHttp):
                await sending
            writer.transport.abort()

    async def steps(self, steps: Iterable[Step], write: Callable[[bytes], Awaitable[None]]) -> None:
        """Raises _Over where the rules end the exchange."""
        for step in steps:
            match step:
                case bytes():
                    await write(step)
                case Wait(seconds, by):
                    self._note(by, {"seconds": seconds})
                    if seconds is None:
                        await asyncio.Event().wait()  # until the client leaves
                    else:
                        await self._proxy.sleep(seconds)
                case Changed(by):
                    self._note(by, {})
                case End(by):
                    self._note(by, {})
                    raise _Over(by)

    # ---- towards the upstream --------------------------------------------------------------------

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        to, tls = self._proxy.to, self._proxy.tls
        reader, writer = await asyncio.open_connection(
            to.host,
            to.port,
            ssl=tls,
            server_hostname=to.host if tls else None,
            limit=HEAD_BYTES_MAX,
        )
        writer.transport.set_write_buffer_limits(high=0)
        return reader, writer

    async def _send(self, head: Head, writer: asyncio.StreamWriter) -> None:
        to = self._proxy.to
        method, target, _ = head.line
        headers = [h for h in head.passed_on() if h[0].lower() not in ("host", "expect")]
        headers = [("host", to.name), *headers, ("connection", "close")]
        if head.chunked:
            headers = [h for h in headers if h[0].lower() != "content-length"]
            headers.append(("transfer-encoding", "chunked"))
        writer.write(head_bytes(f"{method} {to.path}{target} HTTP/1.1", headers))
        async for piece in self._client.asked(head):
            writer.write(chunk(piece) if head.chunked else piece)
            await writer.drain()
        if head.chunked:
            writer.write(LAST_CHUNK)
        await writer.drain()

    # ---- towards the client ----------------------------------------------------------------------

    async def _answer(
        self, asked: Head, reader: asyncio.StreamReader, injections: list[Injection]
    ) -> bool:
        head = await self._final_head(reader)
        status = head.line[1]
        bodiless = asked.line[0] == "HEAD" or status in ("204", "304")
        chunks = not bodiless and head.chunked and asked.line[2] != "HTTP/1.0"
        framed = bodiless or chunks or (not head.chunked and head.length is not None)
        keeps = framed and not asked.closes
        headers = head.passed_on()
        if head.chunked:
            headers = [h for h in headers if h[0].lower() != "content-length"]
        if chunks:
            headers.append(("transfer-encoding", "chunked"))
        if not keeps:
            headers.append(("connection", "close"))
        raw, framing = self._client.raw, _chunked if chunks else _plain

        async def write(piece: bytes) -> None:
            await raw(framing(piece))

        in_head, in_body = Stream(injections, head=True), Stream(injections)
        await self.steps(in_head.begin(), raw)
        line = f"HTTP/1.1 {status} {head.line[2]}".rstrip()
        await self.steps(in_head.feed(head_bytes(line, headers)), raw)
        try:
            await self.steps(in_body.begin(), write)
            if not bodiless:
                async for piece in body(reader, head, until_eof=True):
                    await self.steps(in_body.feed(piece), write)
        except _Over as over:
            if over.by.rule.kind == "truncate":
                if chunks:
                    await raw(LAST_CHUNK)
                return False
            raise
        if chunks:
            await raw(LAST_CHUNK)
        return keeps

    async def _final_head(self, reader: asyncio.StreamReader) -> Head:
        while True:
            head = await read_head(reader)
            if head is None:
                raise EOFError("no answer")
            if not head.line[0].startswith("HTTP/1.") or len(head.line[1]) != 3:
                raise NotHttp(f"not an answer: {head.line[0][:40]!r}")
            if not head.line[1].startswith("1"):
                return head

    # ---- the log ---------------------------------------------------------------------------------

    def _note(self, by: Injection, more: dict[str, Any]) -> None:
        """Once for a rule and an exchange, however many pieces it delays."""
        if by.number in self._noted:
            return
        self._noted.add(by.number)
        self._proxy.faults.happened(by)
        rule = by.rule
        self._proxy.say(
            {"event": "fault", **self._about, "fault": rule.kind, "at": rule.at}
            | {"rule": by.number, "text": rule.text, **more}
        )

    def _failed(self, why: str) -> None:
        self._proxy.say({"event": "upstream", **self._about, "problem": why})


def _chunked(piece: bytes) -> bytes:
    return chunk(piece)


def _plain(piece: bytes) -> bytes:
    return piece


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Injected"
