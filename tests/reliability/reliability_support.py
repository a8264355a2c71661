"""What the reliability tests share: seeds, a client on raw sockets, provider files, the books.

The client is raw on purpose: it can stop at any byte, reset, read slowly, and it counts what it was
sent. The books are read beside the running server, on a read-only connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import apsw

from support.server import Server
from tollway.ledger.audit import audit

SEED = int(os.environ.get("TOLLWAY_TEST_SEED") or secrets.randbits(32))
LONG = bool(os.environ.get("TOLLWAY_TEST_LONG"))
CHAT = "/api/v1/chat/completions"


def seeded(name: str) -> Random:
    """A generator of its own for one test; printed, so that a failure can be replayed."""
    print(f"{name}: TOLLWAY_TEST_SEED={SEED}")
    return Random(f"{SEED}/{name}")


def provider(
    id: str,
    base_url: str,
    *,
    model: str = "acme/one",
    prompt: str = "0.000001",
    completion: str = "0.000002",
    cancels: bool = True,
) -> str:
    """A provider file. Prices are USD per token."""
    return f"""
id = "{id}"
name = "{id.title()}"
dialect = "openai_chat"
base_url = "{base_url}"
auth = {{ scheme = "none" }}
private_network = true
cancels = {str(cancels).lower()}

[[endpoints]]
model = "{model}"
id = "{id}-native"
context_length = 128000
output_tokens_max = 4096
pricing = {{ prompt = "{prompt}", completion = "{completion}" }}
"""


def ask(
    text: str = "Hello", *, model: str = "acme/one", stream: bool = False, **more: Any
) -> bytes:
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": messages, "stream": stream, **more}).encode()


def words(n: int, start: int = 0) -> str:
    """`n` different words, so that a repeated or a spliced one shows."""
    return " ".join(f"w{k:05d}" for k in range(start, start + n))


# ---- a client --------------------------------------------------------------------------------


class Exchange:
    """One request on a connection of its own. Body bytes are counted as they are read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.over = False
        self._chunked = False
        self._left = 0

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int | None = None) -> Exchange:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return cls(*await asyncio.open_connection(sock=sock, limit=2**20))

    @classmethod
    async def open(
        cls, server: Server, body: bytes, *, key: str | None = None, path: str = CHAT, **more: str
    ) -> Exchange:
        """Connect and send the whole request."""
        exchange = await cls.connect(server.port)
        exchange.writer.write(head(server, len(body), key=key, path=path, **more) + body)
        await exchange.writer.drain()
        return exchange

    async def begin(self) -> int:
        """Read the head; the status. Raises IncompleteReadError or OSError when there is none."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        pairs = (line.partition(":") for line in lines[1:] if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        self._left = int(self.headers.get("content-length", 0))
        return self.status

    async def read(self) -> bytes:
        """The next piece of the body; b"" at its end. Raises when it is cut short."""
        if self.over:
            return b""
        if self._chunked:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = (await self.reader.readexactly(size + 2))[:-2]
            self.over = size == 0
        else:
            data = await self.reader.readexactly(self._left)
            self.over, self._left = True, 0
        self.body += data
        return data

    async def until(self, mark: bytes) -> None:
        """Read until the body holds `mark`."""
        while mark not in self.body:
            if not await self.read():
                raise AssertionError(f"{mark!r} never came: {self.body[-500:]!r}")

    async def rest(self) -> Exchange:
        """Read head and body to their end, and close."""
        try:
            if not self.status:
                await self.begin()
            while await self.read():
                pass
        finally:
            self.close()
        return self

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """RST, as from a client that crashed or was unplugged politely."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    # ---- what it was sent ----

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def generation(self) -> str:
        return self.headers.get("x-generation-id", "")

    @property
    def events(self) -> list[str]:
        """Payloads of whole events, `[DONE]` included."""
        *whole, _ = self.body.decode().split("\n\n")
        return [e.removeprefix("data: ") for e in whole if e.startswith("data: ")]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def done(self) -> bool:
        return "[DONE]" in self.events

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [chunk["error"] for chunk in self.chunks if "error" in chunk]

    @property
    def usage(self) -> dict[str, Any] | None:
        found = [chunk["usage"] for chunk in self.chunks if chunk.get("usage")]
        assert len(found) <= 1, f"usage was told {len(found)} times"
        return found[0] if found else None

    @property
    def text(self) -> str:
        """The content delivered, of a stream or of a whole body."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            deltas = [c["delta"] for chunk in self.chunks for c in chunk["choices"]]
            return "".join(delta.get("content") or "" for delta in deltas)
        choices = self.json().get("choices") or [] if self.over and self.body else []
        return "".join(c["message"]["content"] or "" for c in choices)


def head(
    server: Server, length: int | None, *, key: str | None = None, path: str = CHAT, **more: str
) -> bytes:
    """A request head. `key` None is the server's own; `length` None leaves the framing out."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: tollway",
        "content-type: application/json",
        f"authorization: Bearer {server.key if key is None else key}",
    ]
    if length is not None:
        lines.append(f"content-length: {length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def whole(server: Server, body: bytes, **more: Any) -> Exchange:
    """One request and its whole answer."""
    return await (await Exchange.open(server, body, **more)).rest()


async def eventually(
    condition: Callable[[], bool], within_s: float = 5.0, what: str = "it", every_s: float = 0.01
) -> float:
    """Wait until `condition` holds; returns how long it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"{what}: not within {within_s} s")
        await asyncio.sleep(every_s)
    return time.monotonic() - began


async def at_rate(
    per_second: float, count: int, work: Callable[[int], Awaitable[None]]
) -> list[BaseException]:
    """Start `work(n)` at a fixed rate, whatever becomes of the earlier ones; what they raised."""
    loop = asyncio.get_running_loop()
    began, tasks = loop.time(), []
    for n in range(count):
        await asyncio.sleep(max(0.0, began + n / per_second - loop.time()))
        tasks.append(asyncio.ensure_future(work(n)))
    done = await asyncio.gather(*tasks, return_exceptions=True)
    return [failed for failed in done if failed is not None]


async def tollway(server: Server, *arguments: str) -> str:
    """The command line, without stopping this loop."""
    return await asyncio.to_thread(server.tollway, *arguments)


async def until_idle(server: Server, books: Books, within_s: float = 5.0) -> float:
    """Until every hold has ended."""
    return await eventually(lambda: books.open_holds == 0, within_s, "open holds are gone")


# ---- the process, from outside -------------------------------------------------------------------


def sockets(pid: int) -> int:
    """Open sockets of a process. Its files are few and opened when first needed."""
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found += str(entry.readlink()).startswith("socket:")
    return found


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {field}")


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


# ---- the books -----------------------------------------------------------------------------------


class Books:
    """The database of a home, read-only. One question, one snapshot."""

    def __init__(self, home: Path) -> None:
        self._path = home / "tollway.db"
        self._connection: apsw.Connection | None = None

    def rows(self, sql: str, *bound: Any) -> list[tuple[Any, ...]]:
        if self._connection is None:
            flags = apsw.SQLITE_OPEN_READONLY
            self._connection = apsw.Connection(str(self._path), flags=flags)
            self._connection.set_busy_timeout(5_000)
        return list(self._connection.execute(sql, bound))

    def one(self, sql: str, *bound: Any) -> Any:
        ((value,),) = self.rows(sql, *bound)
        return value

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def open_holds(self) -> int:
        count: int = self.one("SELECT count(*) FROM hold WHERE state = 'open'")
        return count

    @property
    def wallet_nano(self) -> int:
        nano: int = self.one(
            "SELECT posted FROM account WHERE kind = 'wallet' AND workspace = 'default'"
        )
        return nano

    @property
    def charged_nano(self) -> int:
        nano: int = self.one("SELECT coalesce(sum(charge_nano), 0) FROM generation")
        return nano

    def generation(self, id: str) -> dict[str, Any]:
        """The one record of a generation."""
        names = (
            "status",
            "charge_nano",
            "prompt_tokens",
            "completion_tokens",
            "estimated",
            "provider",
            "finish_reason",
        )
        found = self.rows(f"SELECT {', '.join(names)} FROM generation WHERE id = ?", id)  # noqa: S608
        assert len(found) == 1, f"{id} has {len(found)} records"
        return dict(zip(names, found[0], strict=True))

    def check(self, deep: bool = False) -> None:
        """Every invariant of the ledger holds, now."""
        self.rows("SELECT 1 FROM meta")
        assert self._connection is not None
        found = audit(self._connection)
        assert not found, found
        if deep:
            assert self.one("PRAGMA integrity_check") == "ok"
