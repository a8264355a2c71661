"""What the inference door alone knows of its client; the whole road is walked in tests/reliability."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from support.road import Road as Way
from support.road import road
from tollway.http.body import ClientGone
from tollway.http.inference import _Watched
from tollway.http.wire import AsgiWire


class Road:
    """Stands in for a call."""

    left = False

    def leave(self) -> None:
        self.left = True


def test_a_client_that_left_before_it_was_Watched_is_not_carried_further() -> None:
    road, wire = Road(), AsgiWire(None)
    wire.gone = True
    with pytest.raises(ClientGone), _Watched(cast(Any, road), wire):
        raise AssertionError("the road was entered")
    assert wire.on_left is None


def test_a_client_that_leaves_while_it_is_Watched_is_told_to_the_call() -> None:
    road, wire = Road(), AsgiWire(None)
    with _Watched(cast(Any, road), wire):
        assert wire.on_left is not None
        wire.on_left()
    assert (road.left, wire.on_left) == (True, None)


# ---- which answers can be looked up --------------------------------------------------------------


@pytest.fixture
async def way(tmp_path: Path) -> AsyncIterator[Way]:
    async with road(tmp_path / "home") as opened:
        yield opened


REFUSED: dict[int, dict[str, Any]] = {
    400: {"temperature": "hot"},
    402: {"max_tokens": 30_000, "n": 128},
    403: {"max_tokens": 4_000},
    404: {"provider": {"only": ["nobody"]}},
    429: {},
}


@pytest.mark.parametrize("status", REFUSED)
async def test_a_refusal_before_the_hold_names_no_generation(way: Way, status: int) -> None:
    keys = {403: {"limit_nano": 1_000}, 429: {"requests_per_minute": 1}}
    key = await way.new_key(**keys[status]) if status in keys else way.key
    if status == 429:
        assert (await way.chat(key=key)).status == 200
    before = await way.books()
    reply = await way.chat(key=key, **REFUSED[status])
    assert (reply.status, "x-generation-id" in reply.headers) == (status, False), reply.body
    after = await way.books()
    assert (after.holds, after.charges) == (before.holds, before.charges)


async def test_every_generation_that_is_named_is_found(way: Way) -> None:
    cached = {"x_openrouter_cache": "true"}
    for headers in ({}, cached, cached):  # without the cache, a miss, a hit
        reply = await way.chat(**headers)
        assert reply.status == 200
        await found(way, reply.headers["x-generation-id"], "stop")
    reply = await way.chat("[[status=503]]", model="tollway/fault", provider={"only": ["tollway"]})
    assert reply.status == 503
    await found(way, reply.headers["x-generation-id"], "error")


async def found(way: Way, id: str, finish: str) -> None:
    looked_up = await way.control("GET", f"/api/v1/generation?id={id}", key=way.key)
    assert looked_up.status == 200, id
    assert looked_up.json()["data"]["finish_reason"] == finish
