"""Every client's own SDK, unmodified, against a real server: OpenAI's Responses and embeddings,
Anthropic's Messages, Google's Gemini. Plain, streamed, with tools, structured, reasoning, errors,
and every answer charged to the nano-USD.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from acceptance_support import nano
from google import genai
from google.genai import types
from pydantic import BaseModel

from support.server import Server
from support.upstream import Reply, ScriptedProvider

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]


class Point(BaseModel):
    x: int
    label: str


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running
        running.assert_books()


@pytest.fixture
def responses(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0)


@pytest.fixture
def messages(server: Server) -> anthropic.Anthropic:
    root = server.url.removesuffix("/v1")
    return anthropic.Anthropic(base_url=root, api_key=server.key, max_retries=0)


@pytest.fixture
def gemini(server: Server) -> genai.Client:
    root = server.url.removesuffix("/v1")
    options = types.HttpOptions(base_url=root, api_version="v1beta")
    return genai.Client(api_key=server.key, http_options=options)


# ---- Responses -----------------------------------------------------------------------------------


def test_responses_plain_streamed_and_charged(responses: openai.OpenAI, server: Server) -> None:
    before = server.balance_nano()
    answer = responses.responses.create(model="tollway/echo", input="Hello there")
    assert (answer.status, answer.output_text) == ("completed", "Hello there")
    assert answer.usage is not None and answer.usage.total_tokens == 6
    cost = nano(answer.usage.model_extra["cost"])  # type: ignore[index]
    assert before - server.balance_nano() == cost
    kinds, text = [], ""
    for event in responses.responses.create(model="tollway/echo", input="Hello there", stream=True):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
    assert text == "Hello there"
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_responses_call_tools_and_take_their_results(responses: openai.OpenAI) -> None:
    tools: list[Any] = [
        {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True}
    ]
    asked = [{"role": "user", "content": "Weather?"}]
    first = responses.responses.create(model="tollway/tools", input=asked, tools=tools)  # type: ignore[arg-type]
    call = next(item for item in first.output if item.type == "function_call")
    assert call.name == "weather" and type(json.loads(call.arguments)["city"]) is str
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    more: list[Any] = [*asked, *(item.model_dump() for item in first.output), result]
    second = responses.responses.create(model="tollway/tools", input=more, tools=tools)
    assert "sunny" in second.output_text


def test_responses_parse_a_schema_and_show_reasoning(responses: openai.OpenAI) -> None:
    parsed = responses.responses.parse(model="tollway/json", input="A point", text_format=Point)
    assert isinstance(parsed.output_parsed, Point)
    thought = responses.responses.create(
        model="tollway/reasoner", input="Hello there", reasoning={"effort": "high"}
    )
    assert any(item.type == "reasoning" for item in thought.output)
    assert thought.usage is not None
    assert thought.usage.output_tokens_details.reasoning_tokens > 0


def test_responses_errors_are_openais(responses: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as unknown:
        responses.responses.create(model="no/such", input="x")
    assert "no/such" in str(unknown.value)
    with pytest.raises(openai.BadRequestError):
        responses.responses.create(model="tollway/echo", input="x", previous_response_id="r")


@pytest.mark.parametrize(
    ("items", "path"),
    [
        ([{"role": "user", "content": "x"}, {"type": "telepathy"}], "input[1].type: 'telepathy'"),
        ([{"role": "user", "content": ""}], "input: says nothing"),
        ([{"type": "compaction", "encrypted_content": "x"}], "input: holds nothing"),
    ],
)
def test_responses_refuse_an_input_that_would_be_lost(
    responses: openai.OpenAI, server: Server, items: Any, path: str
) -> None:
    before = server.balance_nano()
    with pytest.raises(openai.BadRequestError) as refused:
        responses.responses.create(model="tollway/echo", input=items)
    assert refused.value.message.find(path) > 0
    assert refused.value.body["param"] == path.partition(":")[0]  # type: ignore[index]
    assert server.balance_nano() == before
    server.assert_books()


def test_a_hosted_tool_that_nobody_runs_here_is_left_out_with_its_choice(
    responses: openai.OpenAI,
) -> None:
    answer = responses.responses.create(
        model="tollway/echo",
        input="Hello there",
        tools=[{"type": "file_search", "vector_store_ids": ["v"]}],
        tool_choice="required",
    )
    assert answer.output_text == "Hello there"


# ---- Messages ------------------------------------------------------------------------------------


def test_messages_plain_streamed_and_charged(messages: anthropic.Anthropic, server: Server) -> None:
    before = server.balance_nano()
    answer = messages.messages.create(model="tollway/echo", max_tokens=50, messages=HELLO)
    assert (answer.stop_reason, answer.content[0].type) == ("end_turn", "text")
    assert answer.content[0].text == "Hello there"
    assert before - server.balance_nano() == nano(answer.usage.model_extra["cost"])  # type: ignore[index]
    with messages.messages.stream(
        model="tollway/echo", max_tokens=50, messages=HELLO, system="Be kind"
    ) as stream:
        assert "".join(stream.text_stream) == "Hello there"
        assert stream.get_final_message().usage.output_tokens > 0


def test_messages_call_tools_and_take_their_results(messages: anthropic.Anthropic) -> None:
    tools: list[Any] = [{"name": "weather", "input_schema": WEATHER}]
    asked: list[Any] = [{"role": "user", "content": "Weather?"}]
    first = messages.messages.create(
        model="tollway/tools", max_tokens=100, messages=asked, tools=tools
    )
    assert first.stop_reason == "tool_use"
    use = next(block for block in first.content if block.type == "tool_use")
    assert use.name == "weather" and type(use.input["city"]) is str
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    more: list[Any] = [
        *asked,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = messages.messages.create(
        model="tollway/tools", max_tokens=100, messages=more, tools=tools
    )
    assert "sunny" in "".join(b.text for b in second.content if b.type == "text")


def test_messages_think_when_asked_and_count_for_nothing(
    messages: anthropic.Anthropic, server: Server
) -> None:
    answer = messages.messages.create(
        model="tollway/reasoner",
        max_tokens=4_000,
        messages=HELLO,
        thinking={"type": "enabled", "budget_tokens": 1_024},
    )
    assert [block.type for block in answer.content] == ["thinking", "text"]
    before = server.balance_nano()
    counted = messages.messages.count_tokens(model="tollway/echo", messages=HELLO)
    assert counted.input_tokens > 0
    assert server.balance_nano() == before


def test_messages_errors_are_anthropics(messages: anthropic.Anthropic, server: Server) -> None:
    with pytest.raises(anthropic.BadRequestError) as unknown:
        messages.messages.create(model="no/such", max_tokens=5, messages=HELLO)
    assert unknown.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    stranger = anthropic.Anthropic(base_url=server.url.removesuffix("/v1"), api_key="x")
    with pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model="tollway/echo", max_tokens=5, messages=HELLO)
    status, _, _ = server.ask("HEAD", "/api/", key=None)
    assert status in (200, 404)
    assert server.ask("GET", "/api/v1/models", key=None)[0] == 200


def test_a_coding_agent_finds_its_head(server: Server) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("HEAD", "/api")
    assert connection.getresponse().status == 200
    connection.close()


# ---- Gemini --------------------------------------------------------------------------------------


def test_gemini_plain_streamed_counted(gemini: genai.Client, server: Server) -> None:
    answer = gemini.models.generate_content(model="tollway/echo", contents="Hello there")
    assert answer.text == "Hello there"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.candidates_token_count == 3
    stream = gemini.models.generate_content_stream(model="tollway/echo", contents="Hello there")
    assert "".join(chunk.text or "" for chunk in stream) == "Hello there"
    before = server.balance_nano()
    counted = gemini.models.count_tokens(model="tollway/echo", contents="Hello there")
    assert counted.total_tokens
    assert server.balance_nano() == before


def test_gemini_calls_tools_and_parses_a_schema(gemini: genai.Client) -> None:
    weather = types.FunctionDeclaration(name="weather", parameters_json_schema=WEATHER)
    off = types.AutomaticFunctionCallingConfig(disable=True)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[weather])], automatic_function_calling=off
    )
    answer = gemini.models.generate_content(
        model="tollway/tools", contents="Weather?", config=config
    )
    assert answer.function_calls is not None
    assert answer.function_calls[0].name == "weather"
    assert type((answer.function_calls[0].args or {})["city"]) is str
    shaped = types.GenerateContentConfig(
        response_mime_type="application/json", response_schema=Point
    )
    parsed = gemini.models.generate_content(model="tollway/json", contents="A point", config=shaped)
    assert isinstance(parsed.parsed, Point)


def test_gemini_streams_an_array_without_alt_sse(server: Server) -> None:
    path = "/v1beta/models/tollway/echo:streamGenerateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": "Hello there"}]}]}
    status, answer, headers = server.ask("POST", "/api" + path, body)
    assert (status, headers["content-type"]) == (200, "application/json")
    pieces = [
        part["text"]
        for chunk in answer
        for candidate in chunk.get("candidates", [])
        for part in candidate.get("content", {}).get("parts", [])
        if "text" in part
    ]
    assert "".join(pieces) == "Hello there"
    keyed = f"/api{path}?key={server.key}&alt=sse"
    status, text, headers = server.ask("POST", keyed, body, key=None)
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert text.startswith("data: ")


def test_gemini_does_not_find_a_model_that_is_none(gemini: genai.Client) -> None:
    asking = (
        lambda: gemini.models.generate_content(model="tollway/ecco", contents="x"),
        lambda: list(gemini.models.generate_content_stream(model="tollway/ecco", contents="x")),
        lambda: gemini.models.count_tokens(model="tollway/ecco", contents="x"),
    )
    for ask in asking:
        with pytest.raises(genai.errors.ClientError, match="tollway/ecco is not a model") as none:
            ask()
        assert (none.value.code, none.value.status) == (404, "NOT_FOUND")
        assert none.value.details["error"]["details"][0]["reason"] == "NOT_FOUND"


@pytest.mark.parametrize("model", ["tollway/echo:nitro", "Tollway/Echo", "tollway/auto"])
def test_what_can_be_asked_can_be_counted(
    gemini: genai.Client, messages: anthropic.Anthropic, model: str
) -> None:
    assert gemini.models.count_tokens(model=model, contents="Hello").total_tokens
    assert messages.messages.count_tokens(model=model, messages=HELLO).input_tokens


def test_tokens_of_a_model_that_is_none_are_not_counted(messages: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="tollway/ecco is not a model") as none:
        messages.messages.count_tokens(model="tollway/ecco", messages=HELLO)
    with pytest.raises(anthropic.BadRequestError) as asked:
        messages.messages.create(model="tollway/ecco", max_tokens=9, messages=HELLO)
    assert none.value.body == asked.value.body


# ---- embeddings and rerank -----------------------------------------------------------------------

VECTORS = """
id = "vec"
name = "Vec"
dialect = "openai_chat"
base_url = "{url}"
auth = {{ scheme = "none" }}
private_network = true

[[models]]
id = "acme/embed"
name = "Embed"
author = "acme"
type = "embedding"

[[models]]
id = "acme/rank"
name = "Rank"
author = "acme"
type = "rerank"

[[endpoints]]
model = "acme/embed"
id = "embed"
dialect = "embed_openai"
context_length = 8192
pricing = {{ prompt = "0.000001", completion = "0" }}

[[endpoints]]
model = "acme/rank"
id = "rank"
dialect = "rerank_cohere"
context_length = 8192
pricing = {{ prompt = "0", completion = "0", search_unit = "0.002" }}
"""


def json_reply(value: Any) -> Reply:
    return Reply(
        headers=(("content-type", "application/json"),),
        steps=[json.dumps(value).encode()],
        framing="length",
    )


async def test_embeddings_and_rankings_are_answered_and_charged() -> None:
    vector = [0.25, -1.0]

    def answer(seen: Any) -> Reply:
        if seen.path.endswith("/rerank"):
            rows = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
            meta = {"billed_units": {"search_units": 1}}
            return json_reply({"id": "r", "results": rows, "meta": meta})
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        if seen.json.get("encoding_format") == "base64":
            data[0]["embedding"] = base64.b64encode(struct.pack("<2f", *vector)).decode()
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        return json_reply({"object": "list", "model": "embed", "data": data, "usage": usage})

    async with ScriptedProvider(answer) as upstream:
        with Server(providers={"vec": VECTORS.format(url=upstream.base_url)}) as server:
            client = openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0)
            before = server.balance_nano()
            made = await asyncio.to_thread(
                client.embeddings.create, model="acme/embed", input="Hello"
            )
            assert made.data[0].embedding == vector
            assert before - server.balance_nano() == 7_000
            ranked = await asyncio.to_thread(
                server.ask,
                "POST",
                "/rerank",
                {"model": "acme/rank", "query": "q", "documents": ["a", "b"]},
            )
            assert ranked[0] == 200, ranked[1]
            assert [row["index"] for row in ranked[1]["results"]] == [1, 0]
            assert before - server.balance_nano() == 7_000 + 2_000_000
            wrong = await asyncio.to_thread(server.chat, "acme/embed")
            assert wrong[1]["error"]["availability"]["code"] == "wrong_endpoint"
            server.assert_books()


GOOGLES = """
id = "goo"
name = "Goo"
dialect = "gemini"
base_url = "{url}"
auth = {{ scheme = "none" }}
private_network = true

[[models]]
id = "google/embedder"
name = "Embedder"
author = "google"
type = "embedding"

[[endpoints]]
model = "google/embedder"
id = "embedder"
context_length = 8192
pricing = {{ prompt = "0.000001", completion = "0" }}
"""


async def test_geminis_client_embeds_with_any_provider() -> None:
    def answer(seen: Any) -> Reply:
        if seen.path.endswith("/embeddings"):
            texts = seen.json["input"]
            rows = [{"index": n, "embedding": [float(len(t))]} for n, t in enumerate(texts)]
            return json_reply({"data": rows, "usage": {"prompt_tokens": 7, "total_tokens": 7}})
        assert seen.path.endswith("/models/embedder:batchEmbedContents")
        asked = seen.json["requests"]
        assert {each["model"] for each in asked} == {"models/embedder"}
        assert {each["taskType"] for each in asked} == {"RETRIEVAL_DOCUMENT"}
        vectors = [{"values": [each["outputDimensionality"]]} for each in asked]
        return json_reply({"embeddings": vectors, "usageMetadata": {"promptTokenCount": 5}})

    async with ScriptedProvider(answer) as upstream:
        files = {
            "vec": VECTORS.format(url=upstream.base_url),
            "goo": GOOGLES.format(url=upstream.base_url),
        }
        with Server(providers=files) as server:
            await asyncio.to_thread(_embed, server)


def _embed(server: Server) -> None:
    options = types.HttpOptions(base_url=server.url.removesuffix("/v1"))
    client = genai.Client(api_key=server.key, http_options=options)
    embed, before = client.models.embed_content, server.balance_nano()
    several = embed(model="acme/embed", contents=["Hello", "you"])
    assert [each.values for each in several.embeddings or ()] == [[5.0], [3.0]]
    assert several.usage_metadata is not None
    assert several.usage_metadata.prompt_token_count == 7
    assert before - server.balance_nano() == 7_000
    one = embed(model="acme/embed", contents="Hello")
    assert [each.values for each in one.embeddings or ()] == [[5.0]]
    config = types.EmbedContentConfig(
        task_type="RETRIEVAL_DOCUMENT", title="T", output_dimensionality=9
    )
    googles = embed(model="embedder", contents=["a", "b"], config=config)
    assert [each.values for each in googles.embeddings or ()] == [[9.0], [9.0]]
    assert before - server.balance_nano() == 7_000 + 7_000 + 5_000
    alone = {"content": {"parts": [{"text": "Hello"}]}}
    for prefix in ("/v1beta", "/api/v1beta", "/v1", "/api/v1"):
        for slug in ("acme/embed", "acme%2Fembed"):
            url = f"{prefix}/models/{slug}:embedContent"
            status, answer, _ = server.ask("POST", url, alone)
            assert (status, answer["embedding"]) == (200, {"values": [5.0]})
    for model, code, name in (
        ("acme/embde", 404, "NOT_FOUND"),
        ("tollway/echo", 400, "INVALID_ARGUMENT"),
    ):
        with pytest.raises(genai.errors.ClientError) as refused:
            embed(model=model, contents="Hello")
        assert (refused.value.code, refused.value.status) == (code, name)
    server.assert_books()
