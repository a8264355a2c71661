"""Messages under Vertex's paths: Anthropic's own Vertex client is the oracle."""

import json
from typing import Any

import msgspec
import pytest
from anthropic.lib.vertex import AnthropicVertex
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from dialect_support import attempt
from pydantic import TypeAdapter

from tollway.canon import Request
from tollway.dialects import Head, anthropic_messages, openai_chat, vertex_anthropic
from tollway.routing.entries import Attempt

MODEL = "claude-3-5-sonnet-v2@20241022"


def vertex() -> Attempt:
    made = attempt(capabilities=("tools",))
    return msgspec.structs.replace(made, endpoint=msgspec.structs.replace(made.endpoint, id=MODEL))


def messages(**fields: Any) -> Request:
    said = {"model": "a/b", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    beta = {"anthropic-beta": "context-1m-2025-08-07"}
    body = json.dumps({**said, **fields}).encode()
    request: Request = anthropic_messages.parse_request(body, beta, "/messages")
    return request


def chat(**fields: Any) -> Request:
    said = {"model": "a/b", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return openai_chat.parse_request(json.dumps(said).encode())


@pytest.mark.parametrize("stream", [False, True])
def test_the_request_is_what_anthropics_own_client_sends(stream: bool) -> None:
    client = AnthropicVertex(region="eu", project_id="p", access_token="t")
    said = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    more = {"stream": True} if stream else {}
    seen: dict[str, Any] = {}

    class Stop(Exception):
        pass

    def spy(request: Any) -> None:
        seen["path"] = request.url.raw_path.decode()
        seen["body"] = json.loads(request.content)
        raise Stop

    client._client.event_hooks = {"request": [spy]}
    with pytest.raises(Exception):  # noqa: B017 - the client wraps it
        client.with_options(max_retries=0).messages.create(**said, **more)  # type: ignore[call-overload]
    ours = vertex_anthropic.render_request(messages(**more), vertex(), 9)
    assert seen["path"].endswith(ours.path)
    body = json.loads(ours.body)
    assert body.pop("anthropic_version") == "vertex-2023-10-16"
    assert seen["body"].pop("anthropic_version")
    assert body == seen["body"]
    assert dict(ours.headers)["anthropic-beta"] == "context-1m-2025-08-07"


def test_the_newer_version_is_sent_on_when_the_caller_speaks_it() -> None:
    said = {"model": "a/b", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"anthropic-version": "2026-10-21"}
    newer = anthropic_messages.parse_request(json.dumps(said).encode(), headers, "/messages")
    body = json.loads(vertex_anthropic.render_request(newer, vertex(), 9).body)
    assert body["anthropic_version"] == "2026-10-21"


def test_a_caller_of_another_dialect_is_translated_and_valid() -> None:
    ours = vertex_anthropic.render_request(chat(temperature=0.5), vertex(), 100)
    body = json.loads(ours.body)
    assert body.pop("anthropic_version") == "vertex-2023-10-16"
    assert "model" not in body
    adapter: Any = TypeAdapter(MessageCreateParamsNonStreaming)
    adapter.validate_python({"model": "m", **body})
    assert ours.path == f"/publishers/anthropic/models/{MODEL}:rawPredict"


def test_the_answer_is_passed_on_as_anthropics_is() -> None:
    head = Head("gen-1", "acme/one", "Acme", 1, True)
    same = anthropic_messages.relay(head, "anthropic_messages", (), messages(stream=True))
    ours = anthropic_messages.relay(head, "vertex_anthropic", (), messages(stream=True))
    assert type(ours) is type(same)


def test_errors_are_anthropics_or_googles() -> None:
    anthropics = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    fault = vertex_anthropic.parse_fault(529, {}, anthropics)
    assert (fault.status, fault.error_type) == (503, "provider_overloaded")
    googles = {
        "error": {
            "code": 429,
            "message": "Quota exceeded for aiplatform.googleapis.com",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s"}],
        }
    }
    fault = vertex_anthropic.parse_fault(429, {}, json.dumps(googles).encode())
    assert (fault.status, fault.retry_after_s) == (429, 12)
