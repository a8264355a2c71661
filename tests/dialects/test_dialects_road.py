"""One server, one provider of every dialect, one chat client: the road through each of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import apsw
import pytest
from matrix_support import ANSWERS, wire

from support.conversations import answer, told
from support.server import Server
from support.upstream import Reply, ScriptedProvider, Seen
from support.wires import WIRES

TARGETS = sorted({target for _, target in ANSWERS})
EVENTS = answer(4, "anthropic-claude-v1")
PRICES = 'pricing = { prompt = "0.000001", completion = "0.000002" }'
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
    ids: dict[str, str] = {}
    for name in TARGETS:
        body = {**QUESTION, "model": f"acme/{name}"}
        status, text, headers = await asyncio.to_thread(road.ask, "POST", "/chat/completions", body)
        assert status == 200, f"{name}: {text}"
        chunks = [json.loads(line[6:]) for line in text.split("\n") if line[:7] == "data: {"]
        deltas = [choice["delta"] for one in chunks for choice in one["choices"]]
        assert "".join(d.get("content") or "" for d in deltas) == expected["text"], name
        assert chunks[-1]["usage"]["completion_tokens"] == expected["usage"].completion_tokens
        assert chunks[-1]["usage"]["cost"] > 0
        assert text.endswith("data: [DONE]\n\n")
        ids[name] = headers["x-generation-id"]
    records = await asyncio.to_thread(_details, road, ids)
    assert records["anthropic_messages"]["dropped"] == ["min_p"]
    assert "dropped" not in records["openai_chat"]
    await asyncio.to_thread(road.assert_books)


def _details(server: Server, ids: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What each record says beside its figures, once all are on the disk."""
    server.balance_nano()
    books = apsw.Connection(str(server.home / "tollway.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found = dict(books.execute("SELECT id, detail FROM generation"))
    finally:
        books.close()
    return {name: json.loads(found[id]) for name, id in ids.items()}
