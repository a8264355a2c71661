"""The vendor's own SDK, over a real socket, against what is written here.

A small server answers `POST /v1/messages` as the dialect does: it parses the request with
`parse_request`, has a made-up provider answer, and sends what the relay wrote.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pydantic
from anthropic_support import RICH_BLOCKS, begun, ended, named
from dialect_support import BILL, chunk, wire
from msgspec.structs import replace

from tollway.canon import Request
from tollway.dialects import Head, anthropic_messages

ASK: list[Any] = [{"role": "user", "content": "hi"}]
CHAT_USAGE = {"usage": {"prompt_tokens": 5, "completion_tokens": 7}, "choices": []}


class Provider:
    """What the server's provider answers, and what was asked."""

    def __init__(self, outbound: str, stream: bytes, whole: bytes = b"") -> None:
        self.outbound, self.stream, self.whole = outbound, stream, whole
        self.asked: list[Request] = []
        self.headers: list[dict[str, str]] = []

    def answer(self, target: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        if target.split("?")[0].endswith("/count_tokens"):
            return "application/json", anthropic_messages.count_tokens(body, headers).body
        request = anthropic_messages.parse_request(body, headers, target)
        self.asked.append(request)
        self.headers.append(headers)
        head = Head("gen-1", "acme/one", "Acme", 1, request.stream)
        way = anthropic_messages.relay(head, self.outbound, (), request)
        given = self.stream if request.stream else self.whole
        out = b"".join(way.feed(given[n : n + 50]) for n in range(0, len(given), 50))
        out += b"" if way.meter.ended else way.finish()
        assert way.meter.fault is None, way.meter.fault
        kind = "text/event-stream" if request.stream else "application/json"
        return kind, out + way.ending(replace(BILL, usage=way.meter.usage or BILL.usage))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        kind, answer = self.answer(lines[0].split()[1], headers, body)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(answer)}\r\n\r\n"
        writer.write(head.encode() + answer)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def client(provider: Provider) -> AsyncIterator[anthropic.AsyncAnthropic]:
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with anthropic.AsyncAnthropic(
            api_key="sk-x", base_url=f"http://127.0.0.1:{port}", max_retries=0
        ) as sdk:
            yield sdk
    finally:
        server.close()
        await server.wait_closed()


def own() -> Provider:
    stream = named(begun(), *RICH_BLOCKS, *ended("tool_use"))
    message = begun()["message"]
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
    ]
    whole = {**message, "content": content, "stop_reason": "tool_use"}
    return Provider("anthropic_messages", stream, json.dumps(whole).encode())


def chat(*deltas: dict[str, Any], finish: str = "stop") -> Provider:
    stream = wire(*(chunk(delta) for delta in deltas), chunk(finish=finish), CHAT_USAGE)
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for delta in deltas:
        message["content"] += delta.get("content") or ""
        message.update({k: v for k, v in delta.items() if k != "content"})
    choice = {"index": 0, "message": message, "finish_reason": finish}
    whole = {**CHAT_USAGE, "choices": [choice]}
    return Provider("openai_chat", stream, json.dumps(whole).encode())


CALL = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": '{"a": 1}'}}
THINKING_CALLER = chat({"reasoning": "hm"}, {"content": "so"}, {"tool_calls": [CALL]}, finish="tool_calls")  # fmt: skip
EXPECTED = [("thinking", "hm"), ("text", "so"), ("tool_use", {"a": 1})]


def summary(content: Sequence[Any]) -> list[tuple[str, Any]]:
    return [(b.type, getattr(b, {"tool_use": "input"}.get(b.type, b.type))) for b in content]


async def test_messages_create_reads_a_whole_answer_from_either_kind_of_provider() -> None:
    for provider in (own(), THINKING_CALLER):
        async with client(provider) as sdk:
            told = await sdk.messages.create(model="a/b", max_tokens=5_000, messages=ASK)
        assert isinstance(told, anthropic.types.Message)
        assert summary(told.content) == EXPECTED
        assert (told.id, told.model, told.role) == ("gen-1", "acme/one", "assistant")
        assert told.stop_reason == "tool_use"
        assert told.usage.output_tokens in (1, 7)
        assert told.model_extra is not None and told.model_extra["provider"] == "Acme"
        pydantic.TypeAdapter(anthropic.types.Message).validate_python(
            told.model_dump(), strict=False
        )


async def test_messages_stream_adds_up_to_the_same() -> None:
    for provider in (own(), THINKING_CALLER):
        async with client(provider) as sdk:
            kinds: list[str] = []
            async with sdk.messages.stream(model="a/b", max_tokens=5_000, messages=ASK) as stream:
                async for event in stream:
                    kinds.append(event.type)
                told = await stream.get_final_message()
        assert summary(told.content) == EXPECTED
        assert told.stop_reason == "tool_use"
        assert told.usage.output_tokens in (20, 7)
        assert {"thinking", "text", "input_json", "content_block_stop"} <= set(kinds)
        assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert told.usage.input_tokens == 5


async def test_create_with_stream_gives_raw_events() -> None:
    async with client(chat({"content": "a"}, {"content": "b"})) as sdk:
        stream = await sdk.messages.create(model="a/b", max_tokens=5, messages=ASK, stream=True)
        events = [event async for event in stream]
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


class Answer(pydantic.BaseModel):
    city: str


async def test_messages_parse_gives_a_typed_answer() -> None:
    provider = chat({"content": '{"city": "Bern"}'})
    async with client(provider) as sdk:
        told = await sdk.messages.parse(
            model="a/b", max_tokens=50, messages=ASK, output_format=Answer
        )
    assert told.parsed_output == Answer(city="Bern")
    assert provider.asked[0].params >= {"structured_outputs", "response_format"}


async def test_a_tool_loop_with_signed_thoughts_comes_back_as_it_went() -> None:
    provider = own()
    async with client(provider) as sdk:
        first = await sdk.messages.create(model="a/b", max_tokens=5_000, messages=ASK)
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "2"}
        await sdk.messages.create(
            model="a/b",
            max_tokens=5_000,
            messages=[
                *ASK,
                {"role": "assistant", "content": first.content},
                {"role": "user", "content": [result]},  # type: ignore[list-item]
            ],
            tools=[{"name": "f", "input_schema": {"type": "object"}}],
            thinking={"type": "enabled", "budget_tokens": 2_000},
        )
    messages = json.loads(bytes(provider.asked[1].fields["messages"]))
    thought = messages[1]["content"][0]
    assert (thought["thinking"], thought["signature"]) == ("hm", "sig")


async def test_tokens_are_counted_and_headers_understood() -> None:
    provider = own()
    async with client(provider) as sdk:
        counted = await sdk.messages.count_tokens(model="a/b", messages=ASK)
        await sdk.messages.create(
            model="a/b",
            max_tokens=5,
            messages=ASK,
            metadata={"user_id": "u"},
            extra_headers={"anthropic-beta": "one-1"},
            extra_body={"context_management": {"edits": []}, "models": ["c/d"]},
        )
    assert counted.input_tokens > 5
    request = provider.asked[0]
    assert isinstance(request, anthropic_messages.MessagesRequest)
    assert (request.betas, request.user, request.models) == (("one-1",), "u", ("a/b", "c/d"))
    assert request.version == provider.headers[0]["anthropic-version"]
