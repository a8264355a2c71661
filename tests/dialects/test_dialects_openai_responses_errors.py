"""Errors in the words of the Responses API, and custom tools for models that know only functions."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from dialect_support import BILL, HEAD, WHOLE, chunk, read_sse, run, wire
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tollway import conversation as said
from tollway import errors
from tollway.canon import Fault
from tollway.dialects.openai_responses import (
    conversation,
    parse_fault,
    parse_request,
    relay,
    render_error,
)

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (errors.bad_field("input", "is required"), "invalid_request_error", "invalid_prompt"),
        (errors.no_key(), "authentication_error", "server_error"),
        (errors.not_enough_credit("1", "0", 0), "insufficient_quota", "server_error"),
        (errors.management_only(), "permission_error", "server_error"),
        (errors.model_not_found("x/y"), "invalid_request_error", "invalid_prompt"),
        (
            errors.CallerError("too long", error_type="context_length_exceeded"),
            "invalid_request_error",
            "invalid_prompt",
        ),
        (
            errors.CallerError("no", error_type="content_policy_violation"),
            "invalid_request_error",
            "image_content_policy_violation",
        ),
        (
            errors.Unavailable("slow down", status=429, error_type="rate_limit_exceeded"),
            "rate_limit_error",
            "rate_limit_exceeded",
        ),
        (errors.Internal(), "server_error", "server_error"),
    ],
)
def test_an_error_has_the_code_this_api_knows_and_our_own_beside_it(
    error: errors.TollwayError, kind: str, code: str
) -> None:
    body = json.loads(render_error(error))
    assert body["error_type"] == error.error_type
    assert body["error"]["message"] == error.message
    assert (body["error"]["type"], body["error"]["code"]) == (kind, code)
    assert body["error"]["param"] == error.metadata.get("field")
    assert body["error"]["metadata"]["error_type"] == error.error_type


def test_availability_is_told() -> None:
    body = json.loads(render_error(errors.model_not_found("x/y", ["x/z"])))
    assert body["error"]["availability"]["fallback_models"] == ["x/z"]


def test_the_sdk_reads_our_errors() -> None:
    import httpx2 as httpx

    body = json.loads(render_error(errors.bad_field("tools[0].name", "is required")))
    request = httpx.Request("POST", "http://x/responses")
    answer = httpx.Response(400, json=body, request=request)
    client = openai.OpenAI(api_key="k", base_url="http://x")
    error = client._make_status_error_from_response(answer)
    assert isinstance(error, openai.BadRequestError)
    assert (error.code, error.param) == ("invalid_prompt", "tools[0].name")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            400,
            {
                "error": {
                    "message": "m",
                    "type": "invalid_request_error",
                    "code": "context_length_exceeded",
                }
            },
            (400, "context_length_exceeded", "larger"),
        ),
        (
            400,
            {
                "error": {
                    "message": "Your input exceeds the context window of this model",
                    "code": None,
                }
            },
            (400, "context_length_exceeded", "larger"),
        ),
        (
            400,
            {"error": {"message": "Unknown parameter: 'top_k'.", "code": "unknown_parameter"}},
            (400, "invalid_request", "never"),
        ),
        (
            429,
            {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}},
            (429, "rate_limit_exceeded", "elsewhere"),
        ),
        (
            429,
            {"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}},
            (502, "provider_unavailable", "cool"),
        ),
        (
            401,
            {"error": {"message": "bad key", "code": "invalid_api_key"}},
            (502, "provider_unavailable", "cool"),
        ),
        (
            500,
            {"error": {"message": "m", "code": "server_error"}},
            (502, "provider_unavailable", "elsewhere"),
        ),
        (503, {"error": {"message": "slow down"}}, (503, "provider_overloaded", "elsewhere")),
        (
            400,
            {
                "code": "Client specified an invalid argument",
                "error": "This model's maximum prompt length is 5 but the request contains 9 tokens.",
            },
            (400, "context_length_exceeded", "larger"),
        ),
    ],
)
def test_a_refused_call_is_a_fault(
    status: int, body: dict[str, Any], expected: tuple[int, str, str]
) -> None:
    fault: Fault = parse_fault(status, {}, json.dumps(body).encode())
    assert (fault.status, fault.error_type, fault.retry) == expected


# ---- custom tools --------------------------------------------------------------------------------

PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edit files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: x"},
}
HISTORY = [
    {"role": "user", "content": "edit"},
    {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": '*** "x"\n'},
    {"type": "custom_tool_call_output", "call_id": "c1", "output": "done"},
]


def test_a_custom_tool_is_a_function_of_one_text_to_other_dialects() -> None:
    body = {
        "model": "m",
        "input": HISTORY,
        "tools": [PATCH],
        "tool_choice": {"type": "custom", "name": "apply_patch"},
    }
    talk = conversation(parse_request(json.dumps(body).encode()))
    (tool,) = talk.tools
    assert tool.name == "apply_patch"
    assert tool.description == "Edit files.\n\n`input` follows this lark grammar:\nstart: x"
    assert json.loads(bytes(tool.parameters or b""))["required"] == ["input"]
    assert talk.tool_choice == said.ToolChoice("named", "apply_patch")
    assert talk.turns[1].parts == (said.Call("c1", "apply_patch", '{"input":"*** \\"x\\"\\n"}'),)
    assert talk.turns[2].parts == (said.Result("c1", (said.Text("done"),), "apply_patch"),)
    assert talk.extras == {}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"a\\nb"}', "a\nb"),
        ("plain", "plain"),
        ('{"patch":"x"}', '{"patch":"x"}'),
        ("", ""),
    ],
)
def test_its_call_is_turned_back(arguments: str, text: str) -> None:
    request = parse_request(json.dumps({"model": "m", "input": "x", "tools": [PATCH]}).encode())
    half = len(arguments) // 2
    fragments = [
        {"arguments": arguments[:half], "name": "apply_patch"},
        {"arguments": arguments[half:]},
    ]
    calls = [
        {"index": 0, "function": f, **({"id": "c9"} if "name" in f else {})} for f in fragments
    ]
    provider = wire(*(chunk({"tool_calls": [call]}) for call in calls), chunk(finish="tool_calls"))
    way = relay(HEAD, "openai_chat", (), request)
    out = run(way, [provider]) + way.ending(BILL)
    events = [json.loads(p) for p in read_sse(out) if p != b"[DONE]"]
    for event in events:
        EVENT.validate_python(event)
    (item,) = events[-1]["response"]["output"]
    assert item["type"] == "custom_tool_call"
    assert (item["call_id"], item["name"], item["input"]) == ("c9", "apply_patch", text)
    deltas = [e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == text
    way = relay(WHOLE, "openai_chat", (), request)
    message = {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "c9",
                "type": "function",
                "function": {"name": "apply_patch", "arguments": arguments},
            }
        ],
    }
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    run(way, [json.dumps(body).encode()])
    whole = Response.model_validate_json(way.ending(BILL)).output[0]
    assert whole.type == "custom_tool_call" and whole.input == text
