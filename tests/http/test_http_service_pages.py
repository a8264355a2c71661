from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.control import House, house
from tollway import __version__


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


async def test_the_root_says_where_the_api_is_without_believing_the_host_header(
    home: House,
) -> None:
    reply = await home.client("GET", "/")
    assert reply.json()["api"] == "/api/v1"
    assert reply.json()["version"] == __version__
    assert b"evil.example" not in reply.body


PREFIXES = ("", "/v1", "/api/v1")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_healthy_server_is_live_and_ready(home: House, prefix: str) -> None:
    for name in ("live", "liveliness", "ready", "readiness"):
        reply = await home.client("GET", f"{prefix}/health/{name}")
        assert (reply.status, reply.json()) == (200, {"status": "ok", "problems": []})


async def test_a_server_that_stops_is_live_but_not_ready(home: House) -> None:
    home.gateway.stopping = True
    assert (await home.client("GET", "/health/live")).status == 200
    reply = await home.client("GET", "/health/ready")
    assert reply.status == 503
    assert reply.headers["retry-after"] == "1"
    assert reply.json() == {"status": "unavailable", "problems": ["the server is shutting down"]}


async def test_a_server_without_its_database_is_live_but_not_ready(home: House) -> None:
    await home.store.close()
    assert (await home.client("GET", "/health/live")).status == 200
    reply = await home.client("GET", "/health/ready")
    assert (reply.status, reply.json()["problems"]) == (503, ["the database cannot be written"])


async def test_metrics_are_served_in_prometheus_text(home: House) -> None:
    _, management = await home.key(management=True)
    home.gateway.metrics.request("acme/small", "alpha", 200)
    reply = await home.client("GET", "/metrics", key=management)
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    line = b'tollway_requests_total{model="acme/small",provider="alpha",status="200"} 1.0'
    assert line in reply.body.split(b"\n")
