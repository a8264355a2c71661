"""The official google-genai client against our bytes, on loopback: what it sends is parsed here,
what it gets is rendered here from a chat provider's or Gemini's own answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from dialect_support import attempt, chunk, wire
from google import genai
from google.genai import types
from google.genai.errors import APIError

from tollway import errors
from tollway.canon import Fault, Request, Usage
from tollway.dialects import Bill, Head, dialect, gemini
from tollway.dialects.gemini.signatures import opened

BILL = Bill(Usage(10, 5, reasoning_tokens=2), 1, 1, 1)
MODEL = "acme/one:free"
PNG = b"\x89PNG\r\n\x1a\n"


class Served:
    """One provider's answer for every request, and what was asked."""

    def __init__(self, outbound: str, answer: bytes, breaks: bool = False) -> None:
        self.outbound = outbound
        self.answer = answer
        self.breaks = breaks
        self.requests: list[Request] = []
        self.sent: list[Any] = []

    def reply(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        if "alt=sse" in path:
            headers["x-tollway-alt"] = "sse"
        try:
            if ":countTokens" in path:
                return 200, "application/json", gemini.count_tokens(body, headers, path).body
            request = gemini.parse_request(body, headers, path.partition("?")[0])
        except errors.TollwayError as error:
            return error.status, "application/json", gemini.render_error(error)
        self.requests.append(request)
        out = dialect(self.outbound).render_request(request, attempt(), 500)
        self.sent.append(json.loads(out.body))
        way = gemini.relay(
            Head("gen-1", "acme/one", "Acme", 1, request.stream), self.outbound, (), request
        )
        data = b"".join(way.feed(self.answer[n : n + 11]) for n in range(0, len(self.answer), 11))
        if self.breaks:
            fault = Fault(503, "provider_overloaded", "too busy")
            data += way.failure(errors.broken_stream("Acme", fault))
        else:
            data += b"" if way.meter.ended else way.finish()
            assert way.meter.fault is None
            data += way.ending(BILL)
        kind = "text/event-stream" if "alt=sse" in path else "application/json"
        return 200, kind, data


@contextmanager
def client(served: Served) -> Iterator[genai.Client]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, kind, data = served.reply(self.path, headers, body)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        options = types.HttpOptions(base_url=base, timeout=5_000)
        with genai.Client(api_key="k", http_options=options) as made:
            yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def chat_body(**message: Any) -> bytes:
    finish = "tool_calls" if "tool_calls" in message else "stop"
    whole = {"role": "assistant", "content": None, **message}
    return json.dumps(
        {"id": "up", "choices": [{"index": 0, "message": whole, "finish_reason": finish}]}
    ).encode()


def test_plain() -> None:
    served = Served("openai_chat", chat_body(content="Sunny."))
    with client(served) as ai:
        answer = ai.models.generate_content(
            model=MODEL,
            contents="Weather?",
            config={"system_instruction": "Be brief", "temperature": 0.5, "stop_sequences": ["x"]},
        )
    assert answer.text == "Sunny."
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.candidates_token_count == 3
    assert answer.usage_metadata.thoughts_token_count == 2
    assert (answer.model_version, answer.response_id) == ("acme/one", "gen-1")
    assert served.requests[0].models == (MODEL,)
    sent = served.sent[0]
    assert sent["messages"][0] == {"role": "system", "content": "Be brief"}
    assert (sent["temperature"], sent["max_tokens"]) == (0.5, 500)


@pytest.mark.parametrize("outbound", ["openai_chat", "gemini"])
def test_streamed(outbound: str) -> None:
    if outbound == "gemini":
        texts = [{"candidates": [{"content": {"parts": [{"text": t}]}}]} for t in ("Sun", "ny.")]
        last = {"candidates": [{"content": {"parts": [{"text": "!"}]}, "finishReason": "STOP"}]}
        data = b"".join(b"data: " + json.dumps(c).encode() + b"\r\n\r\n" for c in (*texts, last))
    else:
        pieces = [chunk({"content": text}) for text in ("Sun", "ny.", "!")]
        data = wire(*pieces, chunk(finish="stop"))
    served = Served(outbound, data)
    with client(served) as ai:
        chunks = list(ai.models.generate_content_stream(model=MODEL, contents="Weather?"))
    assert "".join(one.text or "" for one in chunks) == "Sunny.!"
    assert chunks[-1].usage_metadata is not None
    assert chunks[-1].usage_metadata.total_token_count == 15
    assert served.requests[0].stream


def test_a_tool_loop_carries_the_state_of_another_provider() -> None:
    entry = {
        "type": "reasoning.text",
        "text": "hm",
        "signature": "s+/=",
        "format": "anthropic-claude-v1",
        "index": 0,
    }
    calls = [
        {"id": f"t{n}", "type": "function", "function": {"name": "weather", "arguments": arguments}}
        for n, arguments in enumerate(('{"city":"Paris"}', '{"city":"Rome"}'))
    ]
    served = Served(
        "openai_chat", chat_body(tool_calls=calls, reasoning="hm", reasoning_details=[entry])
    )
    tool = types.FunctionDeclaration(
        name="weather",
        parameters=types.Schema(
            type=types.Type.OBJECT, properties={"city": types.Schema(type=types.Type.STRING)}
        ),
    )
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[tool])],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(
                mode=types.FunctionCallingConfigMode.ANY
            )
        ),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    with client(served) as ai:
        answer = ai.models.generate_content(model=MODEL, contents="Weather?", config=config)
        assert answer.function_calls is not None
        assert [call.args for call in answer.function_calls] == [
            {"city": "Paris"},
            {"city": "Rome"},
        ]
        assert answer.candidates is not None and answer.candidates[0].content is not None
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call.id, name=call.name, response={"result": "sunny"}
                )
            )
            for call in answer.function_calls
        ]
        question = types.Content(role="user", parts=[types.Part(text="Weather?")])
        history = [
            question,
            answer.candidates[0].content,
            types.Content(role="user", parts=results),
        ]
        ai.models.generate_content(model=MODEL, contents=history, config=config)
    sent = served.sent[1]
    assert sent["tool_choice"] == "required"
    assert sent["tools"][0]["function"]["parameters"]["properties"]["city"] == {"type": "string"}
    roles = [message["role"] for message in sent["messages"]]
    assert roles == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in sent["messages"][1]["tool_calls"]] == ["t0", "t1"]
    signature = json.loads(bytes(served.requests[1].fields["contents"]))[1]["parts"][0]
    found = opened(signature["thoughtSignature"])
    assert found is not None and json.loads(bytes(found[0])) == entry


def test_thoughts_are_shown_to_who_asks() -> None:
    data = wire(chunk({"reasoning_content": "hm"}), chunk({"content": "a"}), chunk(finish="stop"))
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=200)
    with client(Served("openai_chat", data)) as ai:
        for config, expected in (
            (types.GenerateContentConfig(thinking_config=thinking), ["hm"]),
            (types.GenerateContentConfig(), []),
        ):
            answer = ai.models.generate_content_stream(model=MODEL, contents="?", config=config)
            parts = [
                part
                for one in answer
                for candidate in one.candidates or ()
                for part in (candidate.content.parts if candidate.content else None) or ()
            ]
            assert [part.text for part in parts if part.thought] == expected


def test_structured_output_and_an_image() -> None:
    served = Served("openai_chat", chat_body(content='{"n": 3}'))
    schema = types.Schema(type=types.Type.OBJECT, properties={"n": types.Schema(type="INTEGER")})  # type: ignore[arg-type]
    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_schema=schema
    )
    image = types.Part.from_bytes(data=PNG, mime_type="image/png")
    with client(served) as ai:
        answer = ai.models.generate_content(model=MODEL, contents=[image, "?"], config=config)
    assert answer.text == '{"n": 3}'
    assert served.requests[0].modalities == {"text", "image"}
    wanted = served.sent[0]["response_format"]["json_schema"]["schema"]
    assert wanted == {"type": "object", "properties": {"n": {"type": "integer"}}}
    url = served.sent[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert url == "data:image/png;base64,iVBORw0KGgo="


def test_an_image_comes_back_as_bytes() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    with client(Served("openai_chat", chat_body(content="", images=[part]))) as ai:
        answer = ai.models.generate_content(model=MODEL, contents="draw")
    assert answer.parts is not None and answer.parts[0].inline_data is not None
    assert answer.parts[0].inline_data.data == PNG


def test_tokens_can_be_counted() -> None:
    with client(Served("openai_chat", b"")) as ai:
        counted = ai.models.count_tokens(model=MODEL, contents="How many tokens are these?")
    assert counted.total_tokens is not None and 5 < counted.total_tokens < 40


def test_errors_are_the_clients_own_before_and_within_a_stream() -> None:
    with client(Served("openai_chat", b"")) as ai, pytest.raises(APIError) as caught:
        ai.models.generate_content(model=MODEL, contents="?", config={"temperature": 5})
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert str(caught.value.message).startswith("generationConfig.temperature: ")
    broken = Served("openai_chat", wire(chunk({"content": "Sun"}), done=False), breaks=True)
    got: list[str | None] = []
    with client(broken) as ai, pytest.raises(APIError) as caught:
        for one in ai.models.generate_content_stream(model=MODEL, contents="?"):
            got.append(one.text)
    assert got == ["Sun"]
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")
