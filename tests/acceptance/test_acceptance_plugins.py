"""Plugins through a real server, with the official SDKs of OpenAI and Anthropic."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
from acceptance_support import nano
from pydantic import BaseModel

from support.server import Server
from support.upstream import (
    Reply,
    ScriptedProvider,
    Seen,
    chat_events,
    chat_reply,
    error_reply,
    event,
)

PROVIDER = """
id = "mock"
name = "Mock"
dialect = "openai_chat"
base_url = "{url}"
auth = {{ scheme = "none" }}
private_network = true

[[endpoints]]
model = "acme/small"
id = "small"
context_length = 8192
pricing = {{ prompt = "0.000001", completion = "0.000002" }}

[[endpoints]]
model = "acme/large"
id = "large"
context_length = 16000
pricing = {{ prompt = "0.000001", completion = "0.000002" }}
"""
HEALING, COMPRESSION = {"id": "response-healing"}, {"id": "context-compression"}


class Point(BaseModel):
    x: int
    label: str


def history(count: int) -> list[Any]:
    said = []
    for n in range(count):
        said.append({"role": "user", "content": f"q{n} " + "word " * 150})
        said.append({"role": "assistant", "content": f"a{n} " + "word " * 150})
    return [*said, {"role": "user", "content": "the last question"}]


async def walk(
    script: Callable[[Seen], Reply], steps: Callable[[Server, ScriptedProvider], None]
) -> None:
    """`steps` run beside the provider, which answers by `script`; the books are clean after."""
    async with ScriptedProvider(script) as provider:
        with Server(providers={"mock": PROVIDER.format(url=provider.base_url)}) as server:
            await asyncio.to_thread(steps, server, provider)
            server.assert_books()


def _openai(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0)


def _anthropic(server: Server) -> anthropic.Anthropic:
    root = server.url.removesuffix("/v1")
    return anthropic.Anthropic(base_url=root, api_key=server.key, max_retries=0)


async def test_long_conversations_are_shortened_charged_as_sent_and_refused_when_switched_off() -> (
    None
):
    def steps(server: Server, provider: ScriptedProvider) -> None:
        client, long = _openai(server), history(60)
        before = server.balance_nano()
        answer = client.chat.completions.create(
            model="acme/large", messages=long, extra_body={"plugins": [COMPRESSION]}
        )
        assert answer.choices[0].message.content == "Well"
        sent = provider.seen[-1].json
        assert sent["messages"][0] == long[0] and sent["messages"][-1] == long[-1]
        assert 40 < len(sent["messages"]) < 80 and "plugins" not in sent
        assert all(message in long for message in sent["messages"])
        usage = answer.usage
        assert usage is not None
        assert before - server.balance_nano() == nano(usage.model_extra["cost"])  # type: ignore[index]
        # A small window does so unasked; a large one does not; switched off, it is an error.
        client.chat.completions.create(model="acme/small", messages=long)
        assert len(provider.seen[-1].json["messages"]) < 40
        for model, more in (
            ("acme/large", {}),
            ("acme/large", {"transforms": []}),
            ("acme/small", {"plugins": [{**COMPRESSION, "enabled": False}]}),
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                client.chat.completions.create(model=model, messages=long, extra_body=more)
            assert refused.value.body["error_type"] == "context_length_exceeded"  # type: ignore[index]
        # Streams, Responses and Messages go the same way.
        stream = client.chat.completions.create(model="acme/small", messages=long, stream=True)
        assert list(stream)[-1].usage is not None
        client.responses.create(model="acme/small", input=long)
        assert len(provider.seen[-1].json["messages"]) < 40
        told = _anthropic(server).messages.create(
            model="acme/large",
            max_tokens=50,
            system="Be kind.",
            messages=long,
            extra_body={"plugins": [COMPRESSION]},
        )
        assert told.content[0].type == "text"
        sent = provider.seen[-1].json["messages"]
        assert json.dumps(sent[0]).count("Be kind.") == 1
        assert "q0 " in json.dumps(sent[1]) and "the last question" in json.dumps(sent[-1])

    def script(seen: Seen) -> Reply:
        if seen.json.get("stream"):
            return Reply(steps=chat_events("Well"))
        return chat_reply("Well")

    await walk(script, steps)


async def test_what_a_provider_finds_too_long_is_asked_once_more_shorter() -> None:
    takes_bytes = 0

    def steps(server: Server, provider: ScriptedProvider) -> None:
        nonlocal takes_bytes
        client, said = _openai(server), history(14)
        more: dict[str, Any] = {"plugins": [COMPRESSION]}
        told = {"X-OpenRouter-Metadata": "enabled"}
        takes_bytes = 18_000
        before = server.balance_nano()
        answer = client.chat.completions.create(
            model="acme/small", messages=said, extra_body=more, extra_headers=told
        )
        whole, shorter = [seen.json["messages"] for seen in provider.seen]
        assert (whole, answer.choices[0].message.content) == (said, "Well")
        assert [shorter[0], shorter[-1]] == [said[0], said[-1]]
        assert len(shorter) < 0.6 * len(said) and all(message in said for message in shorter)
        metadata = answer.model_extra["openrouter_metadata"]  # type: ignore[index]
        assert [each["status"] for each in metadata["attempts"]] == [400, 200]
        (entry,) = metadata["pipeline"]
        assert entry["summary"].endswith("since Mock refused it as too long.")
        cost = answer.usage.model_extra["cost"]  # type: ignore[union-attr,index]
        assert before - server.balance_nano() == nano(cost) > 0
        # In a stream the refusal may come inside a 200; nothing of it is seen.
        provider.seen.clear()
        stream = client.chat.completions.create(
            model="acme/small", messages=said, stream=True, extra_body=more
        )
        assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "Well "
        assert len(provider.seen) == 2
        # A larger window is given the whole prompt first.
        provider.seen.clear()
        client.chat.completions.create(
            model="acme/small", messages=said, extra_body={**more, "models": ["acme/large"]}
        )
        assert [(s.json["model"], len(s.json["messages"])) for s in provider.seen] == [
            ("small", 29),
            ("large", 29),
        ]
        # Once, and for who asked for it.
        takes_bytes = 100
        for asked, calls in ((more, 2), ({}, 1)):
            provider.seen.clear()
            with pytest.raises(openai.BadRequestError) as refused:
                client.chat.completions.create(model="acme/small", messages=said, extra_body=asked)
            assert refused.value.body["error_type"] == "context_length_exceeded"  # type: ignore[index]
            assert len(provider.seen) == calls

    def script(seen: Seen) -> Reply:
        streamed = seen.json.get("stream")
        if len(seen.body) <= takes_bytes or seen.json["model"] == "large":
            return Reply(steps=chat_events("Well")) if streamed else chat_reply("Well")
        if streamed:
            error = {"message": "prompt is too long", "code": "context_length_exceeded"}
            return Reply(steps=[event({"error": error})])
        return error_reply(400, "too long", code="context_length_exceeded")

    await walk(script, steps)


async def test_answers_are_repaired_for_every_client_and_charged_as_they_came() -> None:
    broken = '```json\n{"x": 4, label: "here",}\n```'

    def steps(server: Server, provider: ScriptedProvider) -> None:
        client, said = _openai(server), [{"role": "user", "content": "A point"}]
        healing = {"plugins": [HEALING]}
        before = server.balance_nano()
        parsed = client.chat.completions.parse(
            model="acme/small",
            messages=said,
            response_format=Point,
            extra_body=healing,
            extra_headers={"X-OpenRouter-Metadata": "enabled"},
        )
        told = parsed.model_extra["openrouter_metadata"]  # type: ignore[index]
        assert [done["data"] for done in told["pipeline"]] == [{"broken": 1, "healed": 1}]
        kept = server.ask("GET", f"/generation?id={parsed.id}")[1]["data"]["tollway"]
        assert kept["pipeline"] == told["pipeline"]
        assert parsed.choices[0].message.parsed == Point(x=4, label="here")
        assert parsed.usage is not None
        assert before - server.balance_nano() == nano(parsed.usage.model_extra["cost"])  # type: ignore[index]
        assert "plugins" not in provider.seen[-1].json
        response = client.responses.parse(
            model="acme/small", input="A point", text_format=Point, extra_body=healing
        )
        assert response.output_parsed == Point(x=4, label="here")
        schema = {**Point.model_json_schema(), "additionalProperties": False}
        message = _anthropic(server).messages.create(
            model="acme/small",
            max_tokens=50,
            messages=said,  # type: ignore[arg-type]
            extra_body={
                **healing,
                "output_config": {"format": {"type": "json_schema", "schema": schema}},
            },
        )
        assert json.loads(message.content[0].text) == {"x": 4, "label": "here"}  # type: ignore[union-attr]
        plain = client.chat.completions.create(
            model="acme/small", messages=said, response_format={"type": "json_object"}
        )
        assert plain.choices[0].message.content == broken

    await walk(lambda seen: chat_reply(broken), steps)


async def test_plugins_that_do_not_run_here_are_refused_by_name_in_the_clients_own_words() -> None:
    def steps(server: Server, provider: ScriptedProvider) -> None:
        said: list[Any] = [{"role": "user", "content": "Hi"}]
        with pytest.raises(openai.BadRequestError, match=r"web search.*not offered here yet"):
            _openai(server).chat.completions.create(
                model="acme/small", messages=said, extra_body={"plugins": [{"id": "web"}]}
            )
        with pytest.raises(anthropic.BadRequestError, match=r"plugins.0..id.*is not one of"):
            _anthropic(server).messages.create(
                model="acme/small",
                max_tokens=9,
                messages=said,
                extra_body={"plugins": [{"id": "x"}]},
            )
        assert provider.seen == []

    await walk(lambda seen: chat_reply("Hello"), steps)
