"""`ScriptedProvider`: an HTTP/1.1 provider on the loopback that does, per request, what a test says.

An oracle for failover, disconnects and deadlines: it records every request, every socket, what it
delivered and when the other side hung up. It speaks `openai_chat` only through the helpers at the
end; what goes over the wire is the script's. It knows nothing of the code under test.

    async with ScriptedProvider(lambda seen: Reply(steps=chat_events("Hello there"))) as provider:
        provider.base_url                      # http://127.0.0.1:<port>/v1
        provider.seen[0].json["model"]
"""

from __future__ import annotations

import asyncio
import enum
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httptools


class Break(enum.Enum):
    """How a script ends an exchange before its time."""

    RESET = "reset"
    """RST: what is still in flight is lost."""
    CLOSE = "close"
    """FIN after what was written."""
    HALF_CLOSE = "half close"
    """FIN, but the socket stays open for reading."""
    STALL = "stall"
    """Silence until the other side hangs up."""


Step = bytes | float | asyncio.Event | Break | Callable[[], Awaitable[None]]
"""Bytes are written (one chunk, one write); a number sleeps, an event or a call is awaited."""


@dataclass(frozen=True)
class Reply:
    """What one request gets. `framing`: `chunked`, `length` (the sum of the bytes in `steps`, or
    `length`), `eof` (neither; the end is the end of the connection) or `raw` (no head is written;
    the steps are all there is)."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/event-stream"),)
    steps: Sequence[Step] = ()
    before_head: Sequence[Step] = ()
    framing: str = "chunked"
    length: int | None = None


@dataclass
class Seen:
    """One request as it arrived, and what became of its answer."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float
    """`time.monotonic`, as every time here."""
    connection: int
    """Number of the socket it came over, from 0."""
    delivered: list[bytes] = field(default_factory=list)
    whole: bool = False
    closed_s: float | None = None
    """When the other side's close was noticed, while this exchange was open."""

    @property
    def json(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.body))

    @property
    def tokens(self) -> int:
        """Content pieces delivered so far (one word each, with `chat_events`)."""
        return sum(
            piece.count(b'"content":"') - piece.count(b'"content":""') for piece in self.delivered
        )


Script = Callable[[Seen], Reply]


class ScriptedProvider:
    """Listens while its context is open. `script` may be replaced at any time."""

    def __init__(self, script: Script | Reply) -> None:
        self.script: Script = script if callable(script) else lambda _: script
        self.seen: list[Seen] = []
        self.connections_total = 0
        self.open: set[_Connection] = set()
        self.port = 0

    async def __aenter__(self) -> ScriptedProvider:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in tuple(self.open):
            connection.cut()
        await self._server.wait_closed()
        await asyncio.sleep(0)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def connections_open(self) -> int:
        return len(self.open)

    async def until(self, condition: Callable[[], bool], within_s: float = 5.0) -> float:
        """Waits until `condition` holds; returns how long it took. Raises TimeoutError."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > within_s:
                raise TimeoutError(f"not within {within_s} s")
            await asyncio.sleep(0.002)
        return time.monotonic() - began


class _Connection(asyncio.Protocol):
    def __init__(self, provider: ScriptedProvider) -> None:
        self.provider = provider
        self.number = provider.connections_total
        provider.connections_total += 1
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: list[Seen] = []
        self.task: asyncio.Task[None] | None = None
        self.now: Seen | None = None
        self.path = ""
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.writable = asyncio.Event()
        self.writable.set()

    # ---- asyncio and httptools call these --------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.provider.open.add(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.provider.open.discard(self)
        if self.now is not None and not self.now.whole:
            self.now.closed_s = time.monotonic()
        if self.task is not None:
            self.task.cancel()

    def on_message_begin(self) -> None:
        self.headers, self.body, self.path = {}, bytearray(), ""

    def on_url(self, url: bytes) -> None:
        self.path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        seen = Seen(
            self.parser.get_method().decode(),
            self.path,
            self.headers,
            bytes(self.body),
            time.monotonic(),
            self.number,
        )
        self.provider.seen.append(seen)
        self.waiting.append(seen)
        if self.task is None or self.task.done():
            self.task = asyncio.ensure_future(self._answer_all())

    # ---- answering -------------------------------------------------------------------------------

    async def _answer_all(self) -> None:
        while self.waiting:
            self.now = seen = self.waiting.pop(0)
            await self._answer(seen, self.provider.script(seen))

    async def _answer(self, seen: Seen, reply: Reply) -> None:
        for step in reply.before_head:
            await self._step(seen, step, "raw")
        if reply.framing != "raw":
            self.transport.write(_head(reply))
        for step in reply.steps:
            await self._step(seen, step, reply.framing)
        seen.whole = True
        if reply.framing == "chunked":
            self.transport.write(b"0\r\n\r\n")
        elif reply.framing == "eof":
            self.transport.close()

    async def _step(self, seen: Seen, step: Step, framing: str) -> None:
        if isinstance(step, bytes):
            await self.writable.wait()
            seen.delivered.append(step)
            chunked = framing == "chunked"
            self.transport.write(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)
        elif isinstance(step, int | float):
            await asyncio.sleep(step)
        elif isinstance(step, asyncio.Event):
            await step.wait()
        elif isinstance(step, Break):
            await self._break(step)
        else:
            await step()

    async def _break(self, how: Break) -> None:
        if how is Break.RESET:
            self.cut()
        elif how is Break.CLOSE:
            self.transport.close()
        elif how is Break.HALF_CLOSE:
            self.transport.write_eof()
        await asyncio.Event().wait()  # until the connection is lost

    def cut(self) -> None:
        """Resets the connection. Not noted as the other side's close."""
        if self.now is not None:
            self.now.whole = True
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def _head(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} Scripted"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    if reply.framing == "chunked":
        lines.append("transfer-encoding: chunked")
    elif reply.framing == "length":
        length = reply.length
        if length is None:
            length = sum(len(step) for step in reply.steps if isinstance(step, bytes))
        lines.append(f"content-length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


# ---- openai_chat, as a plain provider speaks it --------------------------------------------------


def event(value: dict[str, Any] | str) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"


DONE = event("[DONE]")


def chat_events(
    text: str, *, model: str = "scripted", finish: str = "stop", usage: dict[str, Any] | None = None
) -> list[bytes]:
    """A whole stream: role, one event a word, finish, usage, [DONE]. The usage counts one token a
    word and 10 of prompt unless given; `{}` leaves it out."""
    words = [f"{word} " for word in text.split()]
    if usage is None:
        n = len(words)
        usage = {"prompt_tokens": 10, "completion_tokens": n, "total_tokens": 10 + n}
    chunks = [chat_chunk({"role": "assistant", "content": ""}, model=model)]
    chunks += [chat_chunk({"content": word}, model=model) for word in words]
    chunks.append(chat_chunk({}, model=model, finish=finish))
    if usage:
        chunks.append(
            event({**_frame(model, "chat.completion.chunk"), "choices": [], "usage": usage})
        )
    return [*chunks, DONE]


def chat_chunk(
    delta: dict[str, Any], *, model: str = "scripted", finish: str | None = None
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({**_frame(model, "chat.completion.chunk"), "choices": [choice]})


def chat_body(
    text: str, *, model: str = "scripted", finish: str = "stop", usage: dict[str, Any] | None = None
) -> bytes:
    """A whole answer that is not streamed; usage as in `chat_events`."""
    if usage is None:
        n = len(text.split())
        usage = {"prompt_tokens": 10, "completion_tokens": n, "total_tokens": 10 + n}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {**_frame(model, "chat.completion"), "choices": [choice]}
    return json.dumps({**body, "usage": usage} if usage else body, separators=(",", ":")).encode()


def chat_reply(text: str, **more: Any) -> Reply:
    """A whole JSON answer with status 200."""
    return Reply(
        headers=(("content-type", "application/json"),),
        steps=[chat_body(text, **more)],
        framing="length",
    )


def error_reply(
    status: int,
    message: str = "Scripted failure",
    headers: tuple[tuple[str, str], ...] = (),
    **more: Any,
) -> Reply:
    body = json.dumps({"error": {"message": message, "type": "scripted", **more}}).encode()
    return Reply(
        status=status,
        headers=(("content-type", "application/json"), *headers),
        steps=[body],
        framing="length",
    )


def _frame(model: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 1_700_000_000, "model": model}
