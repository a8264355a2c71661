"""Chat completions at other addresses: Azure's two styles, its inference API, Vertex's hosts."""

import json
from typing import Any

import msgspec
import pytest
from dialect_support import WHOLE, attempt, chunk, read_chunks, run, wire

from tollway.canon import Request
from tollway.dialects import (
    azure_ai_inference,
    azure_openai,
    mistral,
    openai_chat,
    vertex_mistral,
    vertex_openai,
)
from tollway.routing.entries import Attempt

LEGACY = "legacy_path=/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21"
NEW = "v1_path_no_api_version"


def deployed(*quirks: str, name: str = "my gpt/4") -> Attempt:
    made = attempt(quirks)
    return msgspec.structs.replace(made, endpoint=msgspec.structs.replace(made.endpoint, id=name))


def asked(**fields: Any) -> Request:
    said = {"model": "a/b", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return openai_chat.parse_request(json.dumps(said).encode())


def test_the_newer_urls_are_used_where_there_are_both() -> None:
    assert openai_chat.render_request(asked(), deployed(LEGACY, NEW), 9).path == "/chat/completions"
    older = openai_chat.render_request(asked(), deployed(LEGACY), 9).path
    assert older == "/openai/deployments/my%20gpt%2F4/chat/completions?api-version=2024-10-21"


def test_the_older_urls_as_a_dialect() -> None:
    outbound = azure_openai.render_request(asked(), deployed(), 9)
    assert outbound.path == (
        "/openai/deployments/my%20gpt%2F4/chat/completions?api-version=2024-10-21"
    )
    named = deployed("legacy_path=/x/{deployment}/chat?api-version=2025-01-01")
    path = azure_openai.render_request(asked(), named, 9).path
    assert path == "/x/my%20gpt%2F4/chat?api-version=2025-01-01"


def test_the_inference_api_passes_unknown_fields_to_the_model() -> None:
    outbound = azure_ai_inference.render_request(asked(top_k=3), deployed(), 9)
    assert outbound.path == "/chat/completions?api-version=2024-05-01-preview"
    assert dict(outbound.headers)["extra-parameters"] == "pass-through"
    assert json.loads(outbound.body)["model"] == "my gpt/4"


def test_open_models_on_vertex_are_chat_completions_under_its_path() -> None:
    outbound = vertex_openai.render_request(asked(), deployed(name="meta/llama-maas"), 9)
    assert outbound.path == "/endpoints/openapi/chat/completions"
    assert json.loads(outbound.body) == {
        "model": "meta/llama-maas",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
    }


@pytest.mark.parametrize(("stream", "verb"), [(False, "rawPredict"), (True, "streamRawPredict")])
def test_mistrals_models_on_vertex_have_mistrals_body(stream: bool, verb: str) -> None:
    request, attempt = asked(stream=stream), deployed(name="codestral@2405")
    outbound = vertex_mistral.render_request(request, attempt, 9)
    assert outbound.path == f"/publishers/mistralai/models/codestral@2405:{verb}"
    assert outbound.body == mistral.render_request(request, attempt, 9).body


@pytest.mark.parametrize("name", sorted(openai_chat.SAME))
def test_their_answers_are_passed_on_as_bytes(name: str) -> None:
    head = msgspec.structs.replace(WHOLE, stream=True)
    first = {"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "id": "", "model": ""}
    said = chunk({"content": "Hi"}, content_filter_results={})
    relay = openai_chat.relay(head, name)
    out = run(relay, [wire(first, said, chunk(finish="stop"))])
    assert read_chunks(out)[0]["choices"][0]["delta"] == {"content": "Hi"}
    assert (relay.meter.finish, relay.meter.fault) == ("stop", None)


@pytest.mark.parametrize("name", ["openai_chat", "azure_openai", "azure_ai_inference"])
def test_a_filtered_prompt_is_no_fault_of_the_provider(name: str) -> None:
    body = {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's"
            " content management policy.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"hate": {"filtered": True, "severity": "high"}},
            },
        }
    }
    module = {m.__name__.rpartition(".")[2]: m for m in (openai_chat, azure_openai)}
    module["azure_ai_inference"] = azure_ai_inference
    fault = module[name].parse_fault(400, {}, json.dumps(body).encode())
    assert (fault.status, fault.error_type, fault.retry) == (
        400,
        "content_policy_violation",
        "never",
    )
    gone = b'{"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist."}}'
    fault = module[name].parse_fault(404, {}, gone)
    assert (fault.status, fault.retry) == (502, "elsewhere")
    fault = module[name].parse_fault(429, {"retry-after-ms": "1500"}, b"{}")
    assert (fault.status, fault.retry_after_s) == (429, 1.5)
