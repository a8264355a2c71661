"""What the inference door alone knows of its client; the whole road is walked in tests/reliability."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from support.road import Road as Way
from support.road import road
from tollway.http.body import ClientGone
from tollway.http.inference import EXPLAINED, _Watched
from tollway.http.routes import ROUTES
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


# ---- plans that are explained --------------------------------------------------------------------

SAID = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
EXPLAIN = "/api/v1/route/explain?api="


async def test_a_plan_is_explained_for_a_body_of_gemini(way: Way) -> None:
    body = {**SAID, "generationConfig": {"maxOutputTokens": 77}, "models": ["tollway/lorem"]}
    for model in ("tollway/echo", "models/tollway/echo", "tollway%2Fecho"):
        path = f"{EXPLAIN}gemini&model={model}"
        told = (await way.post("explain_route", body, path=path)).json()["data"]
        assert told["requested"] == ["tollway/echo", "tollway/lorem"]
        assert [each["model"] for each in told["order"]][:1] == ["tollway/echo"]
        assert told["order"][0]["output_tokens_max"] == 77
        assert told["refusal"] is None
    assert (await way.books()).holds == 0


async def test_what_gemini_would_be_refused_is_explained_with_its_status(way: Way) -> None:
    path = f"{EXPLAIN}gemini&model=gemini-none:nitro"
    told = (await way.post("explain_route", SAID, path=path)).json()["data"]
    assert told["requested"] == ["google/gemini-none:nitro"]
    assert told["refusal"]["error"]["code"] == 404
    asked = {**SAID, "provider": {"only": ["nobody"]}}
    path = f"{EXPLAIN}gemini&model=tollway/echo"
    told = (await way.post("explain_route", asked, path=path)).json()["data"]
    assert told["refusal"]["error"]["code"] == 404


async def test_a_body_of_gemini_is_explained_for_a_model_only(way: Way) -> None:
    for query in ("gemini", "gemini&model=", "gemini_embed&model=models/"):
        reply = await way.post("explain_route", SAID, path=EXPLAIN + query)
        assert (reply.status, reply.error["metadata"]["field"]) == (400, "model")
    wrong = {"contents": "Hello"}
    reply = await way.post("explain_route", wrong, path=f"{EXPLAIN}gemini&model=tollway/echo")
    assert reply.status == 400


async def test_a_plan_is_explained_for_embeddings_of_gemini(way: Way) -> None:
    one = {"content": {"parts": [{"text": "Hello"}]}}
    batch = {"requests": [{"model": "models/x", **one}, one]}
    for api, body in (("gemini_embed", one), ("gemini_batch_embed", batch)):
        path = f"{EXPLAIN}{api}&model=gemini-embedding-001"
        told = (await way.post("explain_route", body, path=path)).json()["data"]
        assert told["requested"] == ["google/gemini-embedding-001"]
        assert {drop["reason"] for drop in told["drops"]} == {"not_live"}
        path = f"{EXPLAIN}{api}&model=tollway/echo"
        told = (await way.post("explain_route", body, path=path)).json()["data"]
        assert {drop["reason"] for drop in told["drops"]} == {"model_type"}


def test_every_api_that_is_explained_is_in_the_table_of_routes() -> None:
    (row,) = [route for route in ROUTES if route.operation == "explain_route"]
    assert row.params[0].choices == tuple(EXPLAINED)
