"""One server, one provider of every dialect, one chat client: the road through each of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from matrix_support import ANSWERS, wire

from support.conversations import answer, told
from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen
from support.wires import WIRES

TARGETS = sorted({target for _, target in ANSWERS})
EVENTS = answer(4, "anthropic-claude-v1")
PRICES = 'pricing = { prompt = "0.000001", completion = "0.000002" }'
EXPLAIN = {"X-Tollway-Metadata": "enabled"}
QUESTION: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hello"}],
    "min_p": 0.1,
    "stream": True,
}


def _file(name: str, base_url: str) -> str:
    return f"""
id = "p-{name.replace("_", "-")}"
name = "{name}"
dialect = "{name}"
base_url = "{base_url}/{name}"
auth = {{ scheme = "none" }}
private_network = true

[[endpoints]]
model = "acme/{name}"
id = "native"
context_length = 128000
output_tokens_max = 4096
{PRICES}
"""


def _script(seen: Seen) -> Reply:
    name = seen.path.split("/")[1]
    kind = "application/vnd.amazon.eventstream" if name == "bedrock_converse" else "text/x"
    if name not in WIRES:
        kind = "text/event-stream"
    data = wire(name, EVENTS, True)
    steps = [data[n : n + 300] for n in range(0, len(data), 300)]
    return Reply(headers=(("content-type", kind),), steps=steps)


@pytest.fixture
async def road() -> AsyncIterator[Server]:
    async with ScriptedProvider(_script) as upstream:
        base = upstream.base_url.removesuffix("/v1")
        files = {name: _file(name, base) for name in TARGETS}
        with Server(providers=files) as server:
            yield server


async def test_a_chat_client_reaches_every_dialect_and_reads_what_was_lost(road: Server) -> None:
    expected = told(EVENTS)
    assert expected["text"] and expected["call"]
    for name in TARGETS:
        body = {**QUESTION, "model": f"acme/{name}"}
        status, text, headers = await asyncio.to_thread(
            partial(road.ask, headers=EXPLAIN), "POST", "/chat/completions", body
        )
        assert status == 200, f"{name}: {text}"
        chunks = [json.loads(line[6:]) for line in text.split("\n") if line[:7] == "data: {"]
        deltas = [choice["delta"] for one in chunks for choice in one["choices"]]
        assert "".join(d.get("content") or "" for d in deltas) == expected["text"], name
        assert chunks[-1]["usage"]["completion_tokens"] == expected["usage"].completion_tokens
        assert chunks[-1]["usage"]["cost"] > 0
        assert text.endswith("data: [DONE]\n\n")
        kept = await asyncio.to_thread(_decided, road, headers["x-generation-id"])
        lost = {"anthropic_messages": ["min_p"], "openai_chat": []}.get(name, kept["dropped"])
        said = chunks[-1]["openrouter_metadata"]["tollway"]
        assert kept["dropped"] == said["dropped"] == lost, name
        assert kept["order"] == [each["endpoint"] for each in said["order"]]
    await asyncio.to_thread(road.assert_books)


ANSWERED = {"prompt_tokens": 5, "completion_tokens": 7}


def _some_choices(seen: Seen) -> Reply:
    """As many answers as the question says, whatever `n` is."""
    many = int(seen.json["messages"][0]["content"])
    said = {"role": "assistant", "content": "x"}
    whole = [{"index": n, "message": said, "finish_reason": "stop"} for n in range(many)]
    if not seen.json.get("stream"):
        body = json.dumps({"choices": whole, "usage": ANSWERED}).encode()
        return Reply(headers=(("content-type", "application/json"),), steps=[body])
    pieces = [[{"index": n, "delta": said, "finish_reason": "stop"}] for n in range(many)]
    chunks: list[Any] = [{"choices": piece} for piece in pieces]
    data = b"".join(
        b"data: " + json.dumps(chunk).encode() + b"\n\n"
        for chunk in (*chunks, {"choices": [], "usage": ANSWERED})
    )
    return Reply(headers=(("content-type", "text/event-stream"),), steps=[data])


async def test_answers_that_a_provider_left_out_are_named() -> None:
    asked = [
        (name, s, many) for name in ("openai_chat", "mistral") for s in (0, 1) for many in (1, 2)
    ]
    async with ScriptedProvider(_some_choices) as upstream:
        base = upstream.base_url.removesuffix("/v1")
        files = {name: _file(name, base) for name in ("openai_chat", "mistral")}
        with Server(providers=files) as server:
            for name, stream, many in asked:
                body = {
                    "model": f"acme/{name}",
                    "messages": [{"role": "user", "content": str(many)}],
                    "n": 2,
                    "stream": bool(stream),
                }
                status, text, headers = await asyncio.to_thread(
                    partial(server.ask, headers=EXPLAIN), "POST", "/chat/completions", body
                )
                assert status == 200
                kept = await asyncio.to_thread(_decided, server, headers["x-generation-id"])
                chunks = [line[6:] for line in str(text).split("\n") if line[:7] == "data: {"]
                last = json.loads(chunks[-1]) if stream else text
                said = last["openrouter_metadata"]["tollway"]
                wanted = ["n"] if many == 1 else []
                assert kept["dropped"] == said["dropped"] == wanted, (name, stream, many)


def _decided(server: Server, id: str) -> dict[str, Any]:
    """What the record of a generation says beside OpenRouter's fields."""
    found: dict[str, Any] = server.ask("GET", f"/generation?id={id}")[1]["data"]["tollway"]
    return found
