"""`tollway/auto` and `tollway/free` on a real server, with the unmodified SDKs: which provider is
really called, what the answer says, what it costs, and that a conversation keeps its model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest
from acceptance_support import nano, tool
from google import genai
from google.genai import types

from support.server import Server
from support.upstream import (
    Reply,
    ScriptedProvider,
    Seen,
    chat_events,
    chat_reply,
    error_reply,
)

HEAD = """
id = "{id}"
name = "{name}"
base_url = "{url}"
auth = {{ scheme = "bearer", env = "NOBODYS_KEY" }}
private_network = true
"""
MODEL = """
[[models]]
id = "{id}"
created = "{created}"
context_length = 100000
capabilities = [{capabilities}]
input_modalities = [{inputs}]
[[endpoints]]
model = "{id}"
id = "{id}"
pricing = {{ prompt = "{price}", completion = "{price}" }}
"""


def sells(id: str, price: str, created: str, *capabilities: str, sees: bool = False) -> str:
    def listed(*names: str) -> str:
        return ", ".join(f'"{name}"' for name in names)

    return MODEL.format(
        id=id,
        price=price,
        created=created,
        capabilities=listed("tools", *capabilities),
        inputs=listed("text", "image") if sees else listed("text"),
    )


ALPHA = (
    sells("acme/cheap", "0.000001", "2026-03-01")
    + sells("acme/thinker", "0.000001", "2025-01-01", "reasoning")
    + sells("acme/gift:free", "0", "2026-01-01")
    + sells("acme/present:free", "0", "2026-01-02")
)
BETA = sells("other/dear", "0.00005", "2026-02-01") + sells(
    "other/eyes", "0.00002", "2026-02-02", sees=True
)


def answers(seen: Seen) -> Reply:
    """The model that was asked for says its own name."""
    body = seen.json
    model = body["model"]
    return Reply(steps=chat_events(model)) if body.get("stream") else chat_reply(model)


class Town:
    """A server with two providers; `alpha` and `beta` may be given other scripts."""

    def __init__(self, alpha: ScriptedProvider, beta: ScriptedProvider, server: Server) -> None:
        self.alpha, self.beta, self.server = alpha, beta, server
        self.openai = openai.AsyncOpenAI(
            base_url=server.url, api_key=server.key, max_retries=0, timeout=20
        )

    async def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        method = "GET" if body is None else "POST"
        status, answer, _ = await asyncio.to_thread(
            self.server.ask, method, path, body, headers=headers
        )
        return status, answer

    async def auto(self, text: str = "Hello", **more: Any) -> Any:
        return await self.openai.chat.completions.create(
            model=more.pop("model", "tollway/auto"),
            messages=more.pop("messages", [{"role": "user", "content": text}]),
            extra_body=more,
        )

    async def record(self, id: str) -> dict[str, Any]:
        status, body = await self.ask(f"/generation?id={id}")
        assert status == 200
        found: dict[str, Any] = body["data"]
        return found


@asynccontextmanager
async def town() -> AsyncIterator[Town]:
    async with ScriptedProvider(answers) as alpha, ScriptedProvider(answers) as beta:
        files = {
            "alpha": HEAD.format(id="alpha", name="Alpha", url=alpha.base_url) + ALPHA,
            "beta": HEAD.format(id="beta", name="Beta", url=beta.base_url) + BETA,
        }
        server = Server(providers=files, env={"NOBODYS_KEY": "secret"})
        await asyncio.to_thread(server.__enter__)
        try:
            yield Town(alpha, beta, server)
            await asyncio.to_thread(server.assert_books)
        finally:
            await asyncio.to_thread(server.__exit__, None, None, None)


def plugin(**options: Any) -> list[dict[str, Any]]:
    return [{"id": "auto-router", **options}]


async def test_the_answer_says_which_model_it_is_and_costs_what_that_costs() -> None:
    async with town() as here:
        answer = await here.auto()
        assert answer.model == answer.choices[0].message.content == "acme/cheap"
        assert nano(answer.usage.cost) == (10 + 1) * 1_000
        record = await here.record(answer.id)
        assert (record["model"], record["router"]) == ("acme/cheap", "tollway/auto")
        dear = await here.auto(model="openrouter/auto", plugins=plugin(cost_tier="max"))
        assert dear.model == "other/dear"
        code = await here.auto("Please debug my python function")
        assert code.model == "acme/thinker"
        plain = await here.auto(model="acme/cheap")
        assert (await here.record(plain.id))["router"] is None
        for seen in (*here.alpha.seen, *here.beta.seen):
            assert "plugins" not in seen.json


async def test_a_stream_is_routed_too() -> None:
    async with town() as here:
        stream = await here.openai.chat.completions.create(
            model="tollway/auto", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        chunks = [chunk async for chunk in stream]
        assert {chunk.model for chunk in chunks} == {"acme/cheap"}
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text.strip() == "acme/cheap"


async def test_needs_wishes_and_patterns_decide_who_is_called() -> None:
    async with town() as here:
        picture = [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        ]
        seen = await here.auto(messages=[{"role": "user", "content": picture}])
        assert seen.model == "other/eyes"
        only = await here.auto(provider={"only": ["beta"]})
        assert only.model == "other/eyes"
        kept = await here.auto(plugins=plugin(allowed_models=["other/d*"]))
        assert kept.model == "other/dear"
        thought = await here.auto(reasoning={"effort": "high"}, tools=[tool()])
        assert thought.model == "acme/thinker"
        with pytest.raises(openai.NotFoundError) as caught:
            await here.auto(plugins=plugin(allowed_models=["nobody/*"]))
        assert "allowed_models" in caught.value.message
        with pytest.raises(openai.BadRequestError) as wrong:
            await here.auto(plugins=plugin(cost_tier="cheap"))
        assert "plugins[0].cost_tier" in wrong.value.message


async def test_a_conversation_keeps_its_model_and_a_failure_moves_it() -> None:
    async with town() as here:
        first = await here.auto("Hello", session_id="s1")
        second = await here.auto("Please debug my python function", session_id="s1")
        apart = await here.auto("Please debug my python function", session_id="s2")
        assert [a.model for a in (first, second, apart)] == [
            "acme/cheap",
            "acme/cheap",
            "acme/thinker",
        ]
        talk = [
            {"role": "user", "content": "Hello again"},
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": "Please debug my python function"},
        ]
        assert (await here.auto(messages=talk[:1])).model == "acme/cheap"
        assert (await here.auto(messages=talk)).model == "acme/cheap"
        pinned = [talk[0], {**talk[1], "model": "acme/thinker"}, talk[2]]
        reused = await here.auto(messages=pinned, plugins=plugin(pin_model=True))
        assert reused.model == "acme/thinker"

        def cheap_fails(seen: Seen) -> Reply:
            down = seen.json["model"] == "acme/cheap"
            return error_reply(503) if down else answers(seen)

        here.alpha.script = cheap_fails
        moved = await here.auto("And now?", session_id="s1")
        assert moved.model == "acme/thinker"
        here.alpha.script = answers
        assert (await here.auto("And then?", session_id="s1")).model == "acme/thinker"


async def test_a_list_of_models_may_hold_a_router() -> None:
    async with town() as here:
        here.beta.script = lambda _: error_reply(500)
        body = {
            "models": ["other/dear", "tollway/auto"],
            "messages": [{"role": "user", "content": "Hi"}],
        }
        status, answer = await here.ask("/chat/completions", body)
        assert (status, answer["model"]) == (200, "acme/cheap")
        assert (await here.record(answer["id"]))["router"] == "tollway/auto"


async def test_every_dialect_is_routed() -> None:
    async with town() as here:
        root = here.server.url.removesuffix("/v1")
        answer = await here.openai.responses.create(model="tollway/auto", input="Hello")
        assert (answer.model, answer.output_text) == ("acme/cheap", "acme/cheap")
        claude = anthropic.AsyncAnthropic(base_url=root, api_key=here.server.key, max_retries=0)
        said = await claude.messages.create(
            model="tollway/auto", max_tokens=50, messages=[{"role": "user", "content": "Hello"}]
        )
        assert said.model == "acme/cheap"
        options = types.HttpOptions(base_url=root, api_version="v1beta")
        google = genai.Client(api_key=here.server.key, http_options=options)
        told = await google.aio.models.generate_content(model="tollway/auto", contents="Hello")
        assert (told.text or "").strip() == "acme/cheap"
        status, refused = await here.ask("/completions", {"model": "tollway/auto", "prompt": "x"})
        assert (status, refused["error"]["metadata"]["field"]) == (400, "prompt")
        status, refused = await here.ask("/embeddings", {"model": "tollway/auto", "input": "x"})
        assert (status, refused["error"]["availability"]["code"]) == (400, "wrong_endpoint")


async def test_the_free_router_costs_nothing_and_draws() -> None:
    async with town() as here:
        met = set()
        for n in range(24):
            answer = await here.auto(f"Hello {n}", model="openrouter/free")
            assert nano(answer.usage.cost) == 0
            met.add(answer.model)
        assert met == {"acme/gift:free", "acme/present:free"}
        kept = {
            (await here.auto("x", model="tollway/free", session_id="s")).model for _ in range(8)
        }
        assert len(kept) == 1


async def test_the_choice_is_explained_before_and_after() -> None:
    async with town() as here:
        body = {"model": "tollway/auto", "messages": [{"role": "user", "content": "Hi"}]}
        status, answer = await here.ask(
            "/chat/completions", body, **{"X-OpenRouter-Metadata": "enabled"}
        )
        assert status == 200
        told = answer["openrouter_metadata"]
        assert (told["strategy"], told["requested"]) == ("auto", "tollway/auto")
        (note,) = told["pipeline"]
        assert (note["type"], note["name"]) == ("plugin", "auto-router")
        assert note["data"]["task_type"] == "chat"
        assert note["data"]["chosen"][0] == "acme/cheap"
        status, plan = await here.ask("/route/explain", body)
        assert (status, plan["data"]["strategy"]) == (200, "auto")
        assert plan["data"]["pipeline"][0]["data"]["cost_tier"] == "low"
        assert plan["data"]["order"][0]["model"] == "acme/cheap"


async def test_routers_are_listed_where_models_are() -> None:
    async with town() as here:
        for path in ("/models", "/models/user"):
            _, listed = await here.ask(path)
            rows = {row["id"]: row for row in listed["data"]}
            for id in ("tollway/auto", "tollway/free"):
                assert rows[id]["pricing"] == {"prompt": "-1", "completion": "-1"}
        _, one = await here.ask("/model/openrouter/auto")
        assert one["data"]["id"] == "tollway/auto"
        _, endpoints = await here.ask("/models/tollway/auto/endpoints")
        assert (endpoints["data"]["id"], endpoints["data"]["endpoints"]) == ("tollway/auto", [])
        retrieved = await here.openai.models.retrieve("tollway/auto")
        assert retrieved.owned_by == "tollway"


async def test_without_a_credential_there_is_nothing_to_pick() -> None:
    with Server() as bare:
        status, body, _ = await asyncio.to_thread(bare.chat, "tollway/auto")
        assert (status, body["error"]["availability"]["code"]) == (404, "no_endpoints")
        assert "credential" in body["error"]["message"]
        _, listed, _ = await asyncio.to_thread(bare.ask, "GET", "/models/user")
        assert not {"tollway/auto", "tollway/free"} & {row["id"] for row in listed["data"]}
        named = {"plugins": plugin(allowed_models=["tollway/*"])}
        status, body, _ = await asyncio.to_thread(bare.chat, "tollway/auto", "Hi", **named)
        assert status == 200, json.dumps(body)
        assert body["model"].startswith("tollway/")
