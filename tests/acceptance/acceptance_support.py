"""What the acceptance tests share: money as integers, tools, a raw look at one answer."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from support.server import Server
from support.upstream import Script, ScriptedProvider

SANDBOX, SANDBOX_B = "Tollway Sandbox", "Tollway Sandbox B"
MB = 1_000_000
PATH = "/api/v1/chat/completions"
HI: dict[str, Any] = {"model": "tollway/echo", "messages": [{"role": "user", "content": "Hi"}]}
HELLO = [{"role": "user", "content": "Hello there, world"}]

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


def tool(name: str = "get_weather") -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "description": "What it is like.", "parameters": CITY},
    }


def nano(usd: float | str) -> int:
    """USD as it left the server to nano-USD. Fails for an amount finer than the books."""
    exact = Decimal(str(usd)) * 10**9
    assert exact == int(exact), f"{usd} USD is finer than a nano-USD"
    return int(exact)


def settled_balance(server: Server, generation_id: str) -> int:
    """The wallet in nano-USD, once this generation is in the books."""
    status, body, _ = server.ask("GET", f"/generation?id={generation_id}")
    assert status == 200, body
    return server.balance_nano()


def events(text: str) -> list[Any]:
    """The data of a stream's events, decoded; `[DONE]` stays text."""
    found: list[Any] = []
    for line in text.split("\n"):
        if line.startswith("data: "):
            data = line[6:]
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


def open_holds(server: Server) -> int:
    """What the running server itself says it has not settled."""
    _, text, _ = server.ask("GET", "/metrics", key=None)
    line = next(x for x in text.split("\n") if x.startswith("tollway_holds_open "))
    return int(float(line.split()[1]))


class Quiet:
    """A server must come out of a block of tests as it went in: nothing charged, nothing held,
    books clean, still answering."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.before = server.balance_nano()

    def check(self) -> None:
        server = self.server
        assert server.ask("GET", "/health/ready", key=None)[0] == 200
        assert open_holds(server) == 0
        shown = json.loads(server.tollway("credits", "show", "--json"))
        assert shown["held_usd"] == "0", "a hold was left open"
        assert nano(shown["balance_usd"]) == self.before, "something was charged"
        server.assert_books()
        log = server.log().splitlines()
        assert [line for line in log if " ERROR " in line or "Traceback" in line] == []


@contextmanager
def unharmed(server: Server) -> Iterator[None]:
    """The same for one test, as far as the server can tell at once."""
    before = used_nano(server)
    yield
    assert server.ask("GET", "/health/ready", key=None)[0] == 200
    assert open_holds(server) == 0
    assert used_nano(server) == before


def connect(server: Server, timeout_s: float = 30) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)


def raw(
    server: Server,
    first: bytes,
    *,
    drip: bytes = b"",
    every_s: float = 0.1,
    read: bool = True,
    to_the_end: bool = False,
    timeout_s: float = 10,
) -> tuple[int, bytes]:
    """Send bytes as they are, then `drip` one byte at a time, and read one answer, or all there is
    until the server closes: (status, body). (0, b"") when it closes without a word."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout_s) as wire:
        wire.sendall(first)
        if not read:
            return 0, b""
        for at in range(len(drip)):
            if select.select([wire], [], [], every_s)[0]:
                break
            wire.sendall(drip[at : at + 1])
        found = b""
        while piece := wire.recv(65_536):
            found += piece
            head, end, body = found.partition(b"\r\n\r\n")
            length = _LENGTH.search(head) if end else None
            if head.startswith(b"HTTP/1.1 100 ") and not to_the_end:
                break
            if not to_the_end and length is not None and len(body) >= int(length[1]):
                break
    if not found:
        return 0, b""
    head, _, body = found.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), body


_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")


def used_nano(server: Server) -> int:
    return nano(server.ask("GET", "/credits")[1]["data"]["total_usage"])


def refused(answer: tuple[int, Any, dict[str, str]], status: int) -> dict[str, Any]:
    """The `error` of an answer that must have this status and the shape every error has."""
    got, body, headers = answer
    assert got == status, body
    assert headers["content-type"] == "application/json"
    error: dict[str, Any] = body["error"]
    assert error["code"] == status
    assert error["message"] and error["error_type"] == error["metadata"]["error_type"]
    return error


@contextmanager
def scripted(script: Script) -> Iterator[ScriptedProvider]:
    """A scripted provider on a loop of its own, for tests whose client waits for each answer."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    one = ScriptedProvider(script)

    def run(work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(10)

    run(one.__aenter__())
    try:
        yield one
    finally:
        run(one.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
