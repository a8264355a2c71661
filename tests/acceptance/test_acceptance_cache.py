"""The response cache and limits in number through unmodified SDKs and a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from acceptance_support import HELLO, nano, open_holds, settled_balance

from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen

ON = {"X-OpenRouter-Cache": "true"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running
        running.assert_books()


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0, default_headers=ON)


def test_openai_s_sdk_gets_a_hit_for_nothing(client: openai.OpenAI, server: Server) -> None:
    def ask() -> Any:
        return client.chat.completions.with_raw_response.create(
            model="tollway/echo", messages=[{"role": "user", "content": "once"}]
        )

    first = ask()
    paid = settled_balance(server, first.headers["x-generation-id"])
    second = ask()
    assert first.headers["x-openrouter-cache-status"] == "MISS"
    assert second.headers["x-openrouter-cache-status"] == "HIT"
    assert second.headers["x-openrouter-cache-source-id"] == first.headers["x-generation-id"]
    was, told = first.parse(), second.parse()
    assert (told.id, told.choices) == (second.headers["x-generation-id"], was.choices)
    assert was.id != told.id
    assert nano(was.usage.model_extra["cost"]) > 0
    assert (told.usage.total_tokens, nano(told.usage.model_extra["cost"])) == (0, 0)
    assert settled_balance(server, told.id) == paid
    assert open_holds(server) == 0


def test_openai_s_sdk_streams_a_hit(client: openai.OpenAI) -> None:
    def ask() -> tuple[str, list[str], int]:
        chunks = list(
            client.chat.completions.create(
                model="tollway/echo",
                messages=[{"role": "user", "content": "stream me twice"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
        assert chunks[-1].usage is not None
        (id,) = {chunk.id for chunk in chunks}
        return id, pieces, chunks[-1].usage.total_tokens

    first, second = ask(), ask()
    assert first[0] != second[0]
    assert "".join(first[1]) == "stream me twice"
    assert first[1] == second[1]
    assert (first[2] > 0, second[2]) == (True, 0)


def test_anthropic_s_and_the_responses_sdk_get_hits(client: openai.OpenAI, server: Server) -> None:
    messages = anthropic.Anthropic(
        base_url=server.url.removesuffix("/v1"),
        api_key=server.key,
        max_retries=0,
        default_headers=ON,
    )
    seen = []
    for _ in range(2):
        with messages.messages.stream(
            model="tollway/echo", max_tokens=50, messages=[{"role": "user", "content": "Hi there"}]
        ) as stream:
            final = stream.get_final_message()
        assert [block.text for block in final.content if block.type == "text"] == ["Hi there"]
        seen.append((final.id, final.usage.output_tokens))
    assert seen[0][0] != seen[1][0]
    assert (seen[0][1] > 0, seen[1][1]) == (True, 0)
    answers = [client.responses.create(model="tollway/echo", input="Hi there") for _ in range(2)]
    assert {answer.output_text for answer in answers} == {"Hi there"}
    totals = [answer.usage.total_tokens for answer in answers if answer.usage is not None]
    assert (totals[0] > 0, totals[1]) == (True, 0)
    assert answers[0].id != answers[1].id


VECTORS = """
id = "vectors"
name = "Vectors"
dialect = "openai_chat"
base_url = "{url}"
auth = {{ scheme = "none" }}
private_network = true

[[models]]
id = "acme/embed"
type = "embedding"

[[models]]
id = "acme/rank"
type = "rerank"
input_modalities = ["text"]
output_modalities = ["rerank"]

[[endpoints]]
model = "acme/embed"
id = "embed"
context_length = 8000
pricing = {{ prompt = "0.000001", completion = "0" }}

[[endpoints]]
model = "acme/rank"
id = "rank"
context_length = 8000
pricing = {{ prompt = "0.000001", completion = "0" }}
"""


async def test_embeddings_and_rankings_are_kept_too() -> None:
    def script(seen: Seen) -> Reply:
        if "rerank" in seen.path:
            results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
            body: dict[str, Any] = {"results": results, "usage": {"total_tokens": 5}}
        else:
            row = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}
            usage = {"prompt_tokens": 5, "total_tokens": 5}
            body = {"object": "list", "data": [row], "model": "embed", "usage": usage}
        steps = [json.dumps(body).encode()]
        return Reply(headers=(("content-type", "application/json"),), steps=steps, framing="length")

    async with ScriptedProvider(script) as upstream:
        file = VECTORS.format(url=upstream.base_url)
        with Server(providers={"vectors": file}) as server:
            asked: list[tuple[str, dict[str, Any]]] = [
                ("/embeddings", {"model": "acme/embed", "input": "hello"}),
                ("/rerank", {"model": "acme/rank", "query": "q", "documents": ["a", "b"]}),
            ]
            for path, body in asked:
                first, second = [
                    await asyncio.to_thread(server.ask, "POST", path, body, headers=ON)
                    for _ in range(2)
                ]
                assert (first[0], second[0]) == (200, 200), first[1]
                assert second[2]["x-openrouter-cache-status"] == "HIT"
                for name in ("data", "results"):
                    assert first[1].get(name) == second[1].get(name)
            assert len(upstream.seen) == 2
            await asyncio.to_thread(server.assert_books)


def test_a_key_with_limits_from_the_command_line(server: Server) -> None:
    made = json.loads(
        server.tollway("keys", "create", "--name", "few", "--rpm", "2", "--rpd", "9", "--json")
    )
    assert (made["requests_per_minute"], made["requests_per_day"]) == (2, 9)
    client = openai.OpenAI(base_url=server.url, api_key=made["key"], max_retries=0)
    refused: openai.RateLimitError | None = None
    for _ in range(6):  # a minute may turn once
        try:
            client.chat.completions.create(model="tollway/echo", messages=HELLO)  # type: ignore[arg-type]
        except openai.RateLimitError as error:
            refused = error
            break
    assert refused is not None
    headers = refused.response.headers
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("2", "0")
    assert int(headers["x-ratelimit-reset"]) % 60_000 == 0
    assert 1 <= int(headers["retry-after"]) <= 60
    wrong = server.tollway("keys", "create", "--name", "none", "--rpm", "0", check=False)
    assert wrong == ""
    listed = json.loads(server.tollway("keys", "list", "--json"))
    assert "none" not in {row["name"] for row in listed}
