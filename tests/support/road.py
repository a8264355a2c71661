"""A whole gateway in this process, with a clock that the test moves: the inference door over the
sandbox provider, the real ledger, the real store. For what a real server would have to wait for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import apsw

from support.asgi import Client, Reply
from tollway.accounts import keys
from tollway.gateway import Gateway
from tollway.http.app import SPEAKS
from tollway.http.control import control_app
from tollway.http.inference import Inference
from tollway.ledger.audit import audit
from tollway.settings import Settings
from tollway.wiring import gateway as wired

NOON = 1_795_780_800.0
"""2026-11-27T12:00:00 UTC."""


class Clock:
    def __init__(self) -> None:
        self.now_s = NOON

    def __call__(self) -> float:
        return self.now_s


class Road:
    def __init__(self, gateway: Gateway, clock: Clock, home: Path) -> None:
        self.gateway = gateway
        self.clock = clock
        self.home = home
        self.key = gateway.first_key or ""
        self.inference = Inference(gateway)
        self.control = Client(control_app(gateway))

    async def post(
        self,
        operation: str,
        body: Any,
        *,
        key: str | None = None,
        path: str = "/api/v1/x",
        **headers: str,
    ) -> Reply:
        """One inference request; `headers` with `_` for `-`."""
        name, action = SPEAKS[operation]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.inference.serve(name, action, scope, receive, send)

        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = {"body": body} if isinstance(body, bytes) else {"json": body}
        return await Client(app)("POST", path, key=key or self.key, headers=sent, **raw)

    async def chat(self, text: str = "Hello there", **more: Any) -> Reply:
        """A chat request; what begins with `x_` is a header, the rest goes into the body."""
        headers = {n: str(more.pop(n)) for n in [*more] if n.startswith(("x_", "http_", "user_"))}
        key = more.pop("key", None)
        body = {"model": "tollway/echo", "messages": [{"role": "user", "content": text}], **more}
        return await self.post("chat_completions", body, key=key, **headers)

    async def new_key(self, **fields: Any) -> str:
        new = keys.NewKey(**{"name": "made", **fields})
        _, text = await keys.create_key(
            self.gateway.store,
            self.gateway.keys.pepper,
            new,
            now_ms=int(self.clock() * 1000),
            entropy=Random(repr(new) + str(id(new))).randbytes(32),
        )
        await self.gateway.keys.refresh()
        return text

    async def books(self) -> Books:
        """What is on the disk, once everything queued is; every invariant holds."""
        await self.gateway.ledger.barrier()
        assert await self.gateway.store.read(audit) == []
        return await self.gateway.store.read(_read)


class Books:
    def __init__(self, wallet: int, held: int, holds: int, open_holds: int, charges: list[int]):
        self.wallet, self.held, self.holds, self.open_holds = wallet, held, holds, open_holds
        self.charges = charges
        """Of every generation, in the order they were written."""


def _read(connection: apsw.Connection) -> Books:
    def one(sql: str) -> int:
        found: int = connection.execute(sql).get
        return found

    return Books(
        one("SELECT posted FROM account WHERE kind = 'wallet'"),
        one("SELECT held FROM account WHERE kind = 'wallet'"),
        one("SELECT count(*) FROM hold"),
        one("SELECT count(*) FROM hold WHERE state = 'open'"),
        [row[0] for row in connection.execute("SELECT charge_nano FROM generation ORDER BY seq")],
    )


@asynccontextmanager
async def road(home: Path, **settings: Any) -> AsyncIterator[Road]:
    clock = Clock()
    async with wired(Settings(home=home, **settings), clock=clock, random=Random(7)) as gateway:
        yield Road(gateway, clock, home)
        await asyncio.sleep(0)
