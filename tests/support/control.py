"""A gateway with a real store, a small catalogue and a clock that stands still."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, cast

from tollway.accounts import keys
from tollway.accounts.first_run import ensure_default
from tollway.accounts.keyring import KeyRing
from tollway.accounts.keys import KeyRecord, NewKey
from tollway.accounts.pepper import PEPPER_BYTES, load_pepper
from tollway.catalogue.entries import (
    Catalogue,
    DataPolicy,
    Endpoint,
    Model,
    Provider,
    provider_names_of,
)
from tollway.gateway import Gateway, Reach
from tollway.http.control import control_app
from tollway.ledger.entries import Generation, Hold, Settle
from tollway.ledger.sqlite import Ledger
from tollway.metrics import Metrics
from tollway.money import NANO_PER_USD, parse_price
from tollway.routing.offers import Index
from tollway.settings import Settings
from tollway.store.sqlite import Store

from .asgi import Client

NOW_S = 1_795_374_414.0
"""Sunday, 22 November 2026, 19:06:54 UTC."""

PRICE = parse_price({"prompt": "0.000001", "completion": "0.000002"})
PARAMS = ("max_tokens", "temperature", "tools", "response_format")


class Clock:
    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def _endpoint(model: str, provider: str) -> Endpoint:
    return Endpoint(
        key=f"{model}@{provider}",
        model=model,
        provider=provider,
        tag=provider,
        id=model.partition("/")[2],
        price=PRICE,
        price_version="v1",
        context_length=128_000,
        output_tokens_max=16_384,
    )


def small_catalogue() -> Catalogue:
    providers = {
        "alpha": Provider(
            id="alpha",
            name="Alpha",
            data_policy=DataPolicy(trains_on_data=False, retains_days=0),
            headquarters="US",
            datacenters=("US",),
        ),
        "beta": Provider(id="beta", name="Beta AI"),
    }
    rows = [
        ("acme/small", "Acme: Small", ("alpha", "beta")),
        ("acme/big", "Acme: Big", ("beta",)),
        ("acme/deep/er:free", "Acme: Deeper", ("alpha",)),
    ]
    return Catalogue(
        providers=providers,
        models={
            id: Model(
                id=id,
                name=name,
                author="acme",
                created=f"2026-0{n + 1}-01",
                context_length=128_000,
                params=PARAMS,
            )
            for n, (id, name, _) in enumerate(rows)
        },
        endpoints={id: tuple(_endpoint(id, p) for p in sellers) for id, _, sellers in rows},
        aliases={"acme/small-2026-01-01": "acme/small"},
        retired={"acme/old": ("acme/small",)},
        provider_names=provider_names_of(providers.values()),
    )


class House:
    """Everything a test of the control side needs."""

    def __init__(self, gateway: Gateway, clock: Clock, pepper: bytes, first_key: str) -> None:
        self.gateway = gateway
        self.clock = clock
        self.pepper = pepper
        self.first_key = first_key
        self.app = control_app(gateway)
        self.client = Client(self.app)

    @property
    def store(self) -> Store:
        return self.gateway.store

    async def key(self, **fields: Any) -> tuple[KeyRecord, str]:
        """A new key, known to the running ring."""
        new = NewKey(**{"name": "made", **fields})
        made = await keys.create_key(
            self.store, self.pepper, new, now_ms=self.now_ms, entropy=os.urandom(32)
        )
        await self.gateway.keys.refresh()
        return made

    @property
    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    async def spend(
        self, key: KeyRecord, nano: int, id: str = "gen-1", detail: bytes = b"{}", **fields: Any
    ) -> Generation:
        """One settled generation of 1,000 prompt and 100 completion tokens."""
        asked = Hold(
            id=id,
            workspace=key.workspace_id,
            key_id=key.hash,
            wanted_nano=nano,
            least_nano=nano,
            at_ms=self.now_ms,
            deadline_ms=self.now_ms + 60_000,
            provider="alpha",
        )
        await self.gateway.ledger.hold(asked)
        made = Generation(
            **{
                "id": id,
                "at_ms": self.now_ms,
                "workspace": key.workspace_id,
                "key_id": key.hash,
                "model": "acme/small",
                "provider": "Alpha",
                "endpoint": "acme/small@alpha",
                "status": "completed",
                "charge_nano": nano,
                "prompt_tokens": 1_000,
                "completion_tokens": 100,
                "reasoning_tokens": 7,
                "cached_tokens": 50,
                "estimated": False,
                "streamed": True,
                "finish_reason": "stop",
                "latency_ms": 120,
                "duration_ms": 900,
                "price_version": "v1",
                "detail": detail,
                **fields,
            }
        )
        self.gateway.ledger.settle(Settle(id, nano, nano, "alpha", self.now_ms, made))
        return made


@asynccontextmanager
async def house(home: Path, grant_nano: int = 5 * NANO_PER_USD) -> AsyncIterator[House]:
    """An open gateway in `home`, without providers to call and without inference."""
    clock = Clock()
    store = Store.open(home / "tollway.db")
    store.start(asyncio.get_running_loop())
    ledger = Ledger(store, clock_ms=lambda: int(clock() * 1000))
    try:
        await ledger.start()
        pepper = load_pepper(home, os.urandom(PEPPER_BYTES))
        first_key = await ensure_default(
            store,
            ledger,
            pepper,
            grant_nano=grant_nano,
            now_ms=int(clock() * 1000),
            entropy=os.urandom(32),
        )
        ring = KeyRing(store, pepper, clock)
        await ring.refresh()
        catalogue = small_catalogue()
        gateway = Gateway(
            settings=Settings(home=home),
            catalogue=catalogue,
            index=Index(catalogue, lambda provider: provider.id == "alpha"),
            reach={"alpha": Reach("http://127.0.0.1:9", ())},
            store=store,
            ledger=ledger,
            keys=ring,
            upstream=cast(Any, None),
            metrics=Metrics(catalogue),
            clock=clock,
            random=Random(1),
        )
        await gateway.policies.refresh()
        yield House(gateway, clock, pepper, first_key or "")
    finally:
        await ledger.close()
        await store.close()
