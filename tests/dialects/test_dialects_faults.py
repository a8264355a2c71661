"""dialects/faults.py: one row per body that a provider is known to send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollway.canon import Fault
from tollway.dialects.faults import error_inside, fault_in_answer, parse_fault


def openai(message: str, code: object = None, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


CONTEXT = (400, "context_length_exceeded", "larger")
RATE = (429, "rate_limit_exceeded", "elsewhere")
DAY = (429, "rate_limit_exceeded", "cool")
OURS = (502, "provider_unavailable", "cool")
ABROAD = (403, "permission_denied", "cool")
BUSY = (503, "provider_overloaded", "elsewhere")
DOWN = (502, "provider_unavailable", "elsewhere")
LATE = (504, "timeout", "elsewhere")
CONTENT = (400, "content_policy_violation", "never")
BAD = (400, "invalid_request", "never")

TABLE: list[tuple[str, int, Any, tuple[int, str, str]]] = [
    (
        "OpenAI, prompt too long",
        400,
        openai(
            "This model's maximum context length is 8192 tokens. However, your messages resulted "
            "in 9000 tokens.",
            "context_length_exceeded",
            "invalid_request_error",
        ),
        CONTEXT,
    ),
    (
        "OpenAI, rate",
        429,
        openai(
            "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000. "
            "Please try again in 1.2s.",
            "rate_limit_exceeded",
            "tokens",
        ),
        RATE,
    ),
    (
        "OpenAI, requests per day",
        429,
        openai("Rate limit reached on requests per day (RPD): Limit 200", "rate_limit_exceeded"),
        DAY,
    ),
    (
        "OpenAI, no quota",
        429,
        openai("You exceeded your current quota, please check your plan", "insufficient_quota"),
        OURS,
    ),
    (
        "OpenAI, bad key",
        401,
        openai("Incorrect API key provided: sk-abc***xyz.", "invalid_api_key"),
        OURS,
    ),
    ("OpenAI, slow down", 503, openai("Slow down", None, "service_unavailable_error"), BUSY),
    ("OpenAI, 500", 500, openai("The server had an error", None, "server_error"), DOWN),
    (
        "OpenAI, content",
        400,
        openai("Invalid prompt: your prompt was flagged", "invalid_prompt"),
        CONTENT,
    ),
    ("OpenAI, schema", 400, openai("Missing required parameter: 'x'.", "missing"), BAD),
    ("OpenAI, model gone", 404, openai("The model `x` does not exist", "model_not_found"), DOWN),
    (
        "Azure, content filter",
        400,
        {
            "error": {
                "message": "The response was filtered due to Azure OpenAI's content management policy",
                "code": "content_filter",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        CONTENT,
    ),
    ("Azure, no deployment", 404, openai("The API deployment …", "DeploymentNotFound"), DOWN),
    (
        "Groq, messages too long",
        400,
        openai("Please reduce the length of the messages or completion.", None, None),
        CONTEXT,
    ),
    (
        "Groq, above the tier's tokens per minute",
        413,
        openai(
            "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested "
            "9000",
            "rate_limit_exceeded",
            "tokens",
        ),
        RATE,
    ),
    (
        "Groq, tool call",
        400,
        {"error": {"message": "Failed to call a function.", "code": "tool_use_failed"}},
        DOWN,
    ),
    ("Groq, flex capacity", 498, openai("Flex tier capacity exceeded", "capacity_exceeded"), BUSY),
    (
        "DeepSeek, too long",
        400,
        openai("This model's maximum context length is 65536 tokens.", "invalid_request_error"),
        CONTEXT,
    ),
    ("DeepSeek, content", 400, openai("Content Exists Risk", "invalid_request_error"), CONTENT),
    ("DeepSeek, balance", 402, openai("Insufficient Balance", "invalid_request_error"), OURS),
    ("DeepSeek, busy", 503, openai("Server is busy"), BUSY),
    (
        "xAI, too long",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 140000",
        },
        CONTEXT,
    ),
    (
        "xAI, content",
        403,
        {
            "code": "The caller does not have permission",
            "error": "Content violates usage guidelines.",
        },
        CONTENT,
    ),
    (
        "Together, too long",
        422,
        openai("Input (9000 tokens) is longer than the model's context length (8192 tokens)."),
        CONTEXT,
    ),
    ("Together, overloaded", 503, openai("The server is overloaded", None, "overloaded"), BUSY),
    ("Cerebras, queue", 429, openai("queue exceeded", "queue_exceeded"), RATE),
    (
        "Cerebras, tokens",
        429,
        openai("Tokens per day limit exceeded", "too_many_tokens", "too_many_tokens_error"),
        DAY,
    ),
    ("Z.ai, too long", 400, {"error": {"code": "1261", "message": "Prompt 超长"}}, CONTEXT),
    ("Z.ai, content", 400, {"error": {"code": "1301", "message": "…"}}, CONTENT),
    ("Z.ai, rate", 429, {"error": {"code": "1302", "message": "…"}}, RATE),
    ("Z.ai, plan used up", 429, {"error": {"code": "1308", "message": "…"}}, OURS),
    ("Z.ai, balance", 429, {"error": {"code": "1113", "message": "…"}}, OURS),
    (
        "Moonshot, too long",
        400,
        openai("Your request exceeded model token limit: 8192 (requested: 9000)"),
        CONTEXT,
    ),
    (
        "Moonshot, overloaded",
        429,
        {"error": {"type": "engine_overloaded_error", "message": "The engine is overloaded"}},
        BUSY,
    ),
    (
        "Moonshot, rate",
        429,
        {"error": {"type": "rate_limit_reached_error", "message": "max RPM: 3"}},
        RATE,
    ),
    (
        "Moonshot, quota",
        429,
        {"error": {"type": "exceeded_current_quota_error", "message": "suspended"}},
        OURS,
    ),
    (
        "Alibaba, too long",
        400,
        {"code": "InvalidParameter", "message": "Range of input length should be [1, 30720]"},
        CONTEXT,
    ),
    (
        "Alibaba, content",
        400,
        {"code": "data_inspection_failed", "message": "Input data may contain bad content"},
        CONTENT,
    ),
    (
        "Alibaba, rate",
        429,
        {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded"},
        RATE,
    ),
    (
        "llama.cpp, too long",
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size",
                "type": "exceed_context_size_error",
            }
        },
        CONTEXT,
    ),
    (
        "llama.cpp, loading",
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        BUSY,
    ),
    (
        "vLLM, too long, old form",
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens.",
            "type": "BadRequestError",
            "code": 400,
        },
        CONTEXT,
    ),
    (
        "LM Studio, too long",
        400,
        {"error": "tokens to keep from the initial prompt is greater than the context length"},
        CONTEXT,
    ),
    ("Ollama, busy", 503, {"error": "server busy, please try again"}, BUSY),
    (
        "Mistral, capacity",
        429,
        {"object": "error", "message": "Service tier capacity exceeded", "code": "3505"},
        BUSY,
    ),
    (
        "Bedrock's words are a rate, not a size",
        429,
        {"message": "Too many tokens, please wait before trying again."},
        RATE,
    ),
    ("too many tokens, throttled", 400, openai("Throttled: too many tokens per minute"), RATE),
    (
        "OpenRouter, too long",
        400,
        {"error": {"code": 400, "message": "This endpoint's maximum context length is 8192"}},
        CONTEXT,
    ),
    (
        "OpenRouter, moderation",
        403,
        {
            "error": {
                "code": 403,
                "message": "Input was flagged",
                "metadata": {"reasons": ["x"], "error_type": "content_policy_violation"},
            }
        },
        CONTENT,
    ),
    ("OpenRouter, credits", 402, {"error": {"code": 402, "message": "Insufficient credits"}}, OURS),
    (
        "OpenRouter, provider's words",
        400,
        {
            "error": {
                "code": 400,
                "message": "Provider returned error",
                "metadata": {"raw": '{"error":"prompt is too long: 5 > 4"}'},
            }
        },
        CONTEXT,
    ),
    ("plain text 502", 502, b"Bad gateway", DOWN),
    ("nothing at all", 500, b"", DOWN),
    ("bytes too many", 413, b"", (413, "payload_too_large", "never")),
    (
        "unprocessable",
        422,
        {"detail": [{"msg": "field required"}]},
        (422, "unprocessable", "never"),
    ),
    ("timeout 408", 408, b"", LATE),
    ("timeout 504", 504, b"<html>", LATE),
    ("Cloudflare 524", 524, b"", LATE),
    ("Cloudflare 520", 520, b"", DOWN),
    ("overloaded 529", 529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, BUSY),
    ("failed dependency", 424, b"", DOWN),
    ("redirect", 302, b"", DOWN),
    ("forbidden", 403, openai("You may not do this", "forbidden"), OURS),
    (
        "country",
        403,
        openai(
            "Country, region, or territory not supported", "unsupported_country_region_territory"
        ),
        ABROAD,
    ),
    (
        "anthropic's country",
        403,
        {
            "type": "error",
            "error": {
                "type": "forbidden",
                "message": "Access to Anthropic models is not allowed from unsupported countries, "
                "regions, or territories.",
            },
        },
        ABROAD,
    ),
    ("a region of ours", 400, openai("not supported in the region of this account", "x"), BAD),
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_a_refusal_gets_its_status_type_and_retry_class(row: tuple[str, int, Any, Any]) -> None:
    _, status, body, expected = row
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    fault = parse_fault(status, {}, raw)
    assert (fault.status, fault.error_type, fault.retry) == expected


IN_ANSWERS: list[tuple[str, dict[str, Any], tuple[int, str, str]]] = [
    (
        "MiniMax, rate",
        {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}, "choices": None},
        RATE,
    ),
    ("MiniMax, balance", {"base_resp": {"status_code": 1008, "status_msg": "no balance"}}, OURS),
    ("MiniMax, key", {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, OURS),
    (
        "MiniMax, too long",
        {"base_resp": {"status_code": 2013, "status_msg": "context window exceeds limit"}},
        CONTEXT,
    ),
    ("MiniMax, content", {"base_resp": {"status_code": 1026, "status_msg": "sensitive"}}, CONTENT),
    (
        "OpenRouter, inside a stream",
        {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min"}},
        RATE,
    ),
    ("no status", {"error": {"message": "boom"}}, DOWN),
    ("a string", {"error": "boom"}, DOWN),
    ("overloaded in a stream", {"error": {"message": "Overloaded", "code": 503}}, BUSY),
    ("vLLM in a stream", {"object": "error", "message": "boom", "code": 500}, DOWN),
]


@pytest.mark.parametrize("row", IN_ANSWERS, ids=[row[0] for row in IN_ANSWERS])
def test_an_error_under_status_200_is_a_fault(row: tuple[str, dict[str, Any], Any]) -> None:
    _, body, expected = row
    fault = error_inside(body)
    assert fault is not None
    assert (fault.status, fault.error_type, fault.retry) == expected


def test_a_sound_answer_declares_no_error() -> None:
    assert error_inside({"choices": [], "base_resp": {"status_code": 0}, "error": None}) is None
    assert error_inside({"object": "chat.completion", "choices": []}) is None


def test_a_body_is_cut_and_html_is_reduced_to_its_title() -> None:
    assert parse_fault(500, {}, b"x" * 10_000).raw == "x" * 500
    page = b"<!DOCTYPE html><html><head><title>502 Bad\n Gateway</title></head><body>secret"
    assert parse_fault(502, {}, page).raw == "(HTML) 502 Bad Gateway"
    assert parse_fault(502, {}, b"<html>secret").raw == "(HTML)"
    assert len(parse_fault(400, {}, json.dumps(openai("y" * 9_000)).encode()).message) == 500


def test_what_concerns_our_own_account_is_not_quoted_to_callers() -> None:
    body = json.dumps(openai("Incorrect API key provided: sk-live-1234.", "invalid_api_key"))
    fault = parse_fault(401, {}, body.encode())
    assert "sk-live" not in repr(fault)
    assert fault.raw is None
    assert fault.provider_code == "invalid_api_key"


def test_a_caller_reads_the_providers_sentence_about_the_request_only() -> None:
    fault = parse_fault(400, {}, json.dumps(openai("Unknown  parameter:\n 'x'.")).encode())
    assert fault.message == "Unknown parameter: 'x'."
    fault = parse_fault(500, {}, json.dumps(openai("worker 10.0.0.7 died")).encode())
    assert fault.message == "The provider could not serve the request."


NOW_S = 1_700_000_000.0
WAITS: list[tuple[dict[str, str], bytes, float | None]] = [
    ({}, b"", None),
    ({"retry-after": "2"}, b"", 2.0),
    ({"retry-after": "0.5"}, b"", 0.5),
    ({"retry-after": "3600"}, b"", 60.0),
    ({"retry-after-ms": "250", "retry-after": "9"}, b"", 0.25),
    ({"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT"}, b"", 10.0),
    ({"retry-after": "Tue, 14 Nov 2023 22:13:00 GMT"}, b"", 0.0),
    ({"retry-after": "soon"}, b"", None),
    ({"retry-after": "nan"}, b"", None),
    ({"retry-after": "-5"}, b"", None),
    ({"retry-after": "1e999"}, b"", None),
    (
        {},
        b'{"error":{"message":"x","details":[{"@type":"a"},{"retryDelay":"34.4s"}]}}',
        34.4,
    ),
    ({}, b'{"error":{"message":"Please try again in 1.5s."}}', 1.5),
    ({}, b'{"error":{"message":"Please try again in 320ms."}}', 0.32),
    ({}, b'{"error":{"message":"Please try again in 7m12s."}}', 60.0),
]


@pytest.mark.parametrize("row", WAITS, ids=lambda row: str(row)[:60])
def test_how_long_to_wait_is_read_from_wherever_it_stands(
    row: tuple[dict[str, str], bytes, float | None],
) -> None:
    headers, body, expected = row
    assert parse_fault(429, headers, body, now_s=NOW_S).retry_after_s == expected


def test_a_date_is_ignored_without_a_clock() -> None:
    headers = {"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT"}
    assert parse_fault(429, headers, b"").retry_after_s is None


def test_an_oversized_prompt_without_a_body_is_known_by_the_providers_quirk() -> None:
    quirks = ("overflow_400_or_413_without_body",)
    for status in (400, 413):
        fault = parse_fault(status, {}, b"", quirks=quirks)
        assert (fault.error_type, fault.retry) == ("context_length_exceeded", "larger")
    assert parse_fault(400, {}, b"").retry == "never"


ODD: list[object] = [None, True, 5, 1.5, "x", [], [[]], {}, {"error": []}, {"error": {"code": {}}}]


@pytest.mark.parametrize("body", ODD, ids=repr)
def test_bodies_of_any_type_are_faults_and_never_exceptions(body: object) -> None:
    assert isinstance(parse_fault(500, {}, json.dumps(body).encode()), Fault)
    assert isinstance(fault_in_answer(body), Fault)
