"""One lookup per name, whoever asks and whoever is cancelled meanwhile."""

import asyncio
import socket
from typing import Any

import pytest

from tollway.upstream.resolve import KEPT_S, Resolver


class Names:
    """Stands in for the loop's getaddrinfo."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, list[str]] = {"a.test": ["192.0.2.1", "192.0.2.2", "192.0.2.1"]}
        self.gate = asyncio.Event()
        self.gate.set()
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self._ask, raising=False)

    async def _ask(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        await self.gate.wait()
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(0, 0, 0, "", (address, port)) for address in self.answers[host]]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


async def test_a_name_is_asked_once_in_half_a_minute(names: Names) -> None:
    resolver = Resolver()
    for now_s in (0.0, 1.0, KEPT_S - 0.1):
        assert await resolver.addresses("a.test", 443, now_s) == ("192.0.2.1", "192.0.2.2")
    assert names.asked == ["a.test"]
    names.answers["a.test"] = ["192.0.2.9"]
    assert await resolver.addresses("a.test", 443, KEPT_S) == ("192.0.2.9",)


async def test_many_connections_at_once_share_one_lookup_even_if_the_first_gives_up(
    names: Names,
) -> None:
    resolver = Resolver()
    names.gate.clear()
    asking = [asyncio.ensure_future(resolver.addresses("a.test", 443, 0)) for _ in range(50)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    names.gate.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert set(found[1:]) == {("192.0.2.1", "192.0.2.2")}
    assert names.asked == ["a.test"]


async def test_a_failed_lookup_is_not_remembered(names: Names) -> None:
    resolver = Resolver()
    with pytest.raises(socket.gaierror):
        await resolver.addresses("b.test", 443, 0)
    names.answers["b.test"] = ["192.0.2.3"]
    assert await resolver.addresses("b.test", 443, 0) == ("192.0.2.3",)


async def test_an_address_is_its_own_name(names: Names) -> None:
    assert await Resolver().addresses("127.0.0.1", 80, 0) == ("127.0.0.1",)
    assert await Resolver().addresses("::1", 80, 0) == ("::1",)
    assert names.asked == []
