"""dialects/gemini/failing.py: each of Google's errors as a fault, and ours in google.rpc's shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tollway import errors
from tollway.dialects.gemini import parse_fault, render_error
from tollway.dialects.gemini.failing import fault_in_answer


def quota(quota_id: str, delay: str = "34.4s") -> dict[str, Any]:
    return {
        "code": 429,
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaMetric": "generate_requests", "quotaId": quota_id}],
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
        ],
    }


def error(code: int, status: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "status": status}


ROWS: list[tuple[dict[str, Any], tuple[int, str, str], float | None]] = [
    (quota("GenerateRequestsPerMinutePerProjectPerModel"), (429, "rate_limit_exceeded", "elsewhere"), 34.4),
    (quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), (429, "rate_limit_exceeded", "cool"), 34.4),
    (quota("GenerateTokensPerMinute", "9000s"), (429, "rate_limit_exceeded", "elsewhere"), 60),
    (error(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."), (429, "rate_limit_exceeded", "elsewhere"), None),
    (error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for requests per day"), (429, "rate_limit_exceeded", "cool"), None),
    (error(400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."), (400, "context_length_exceeded", "larger"), None),
    (error(400, "INVALID_ARGUMENT", "Request contains an invalid argument."), (400, "invalid_request", "never"), None),
    (error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."), (502, "provider_unavailable", "cool"), None),
    (error(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), (403, "permission_denied", "cool"), None),
    (error(400, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."), (413, "payload_too_large", "never"), None),
    (error(400, "INVALID_ARGUMENT", "Unable to process input image."), (400, "invalid_image", "never"), None),
    (error(400, "INVALID_ARGUMENT", "Cannot fetch content from the provided URL."), (400, "image_download_failed", "never"), None),
    (error(400, "INVALID_ARGUMENT", "Function call is missing a thought_signature in functionCall parts."), (400, "invalid_request", "elsewhere"), None),
    (error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."), (502, "provider_unavailable", "cool"), None),
    (error(403, "PERMISSION_DENIED", "Generative Language API has not been used in project 1."), (502, "provider_unavailable", "cool"), None),
    (error(404, "NOT_FOUND", "models/x is not found for API version v1beta."), (502, "provider_unavailable", "elsewhere"), None),
    (error(499, "CANCELLED", "The operation was cancelled."), (502, "provider_unavailable", "elsewhere"), None),
    (error(500, "INTERNAL", "An internal error has occurred."), (502, "provider_unavailable", "elsewhere"), None),
    (error(503, "UNAVAILABLE", "The model is overloaded. Please try again later."), (503, "provider_overloaded", "elsewhere"), None),
    (error(504, "DEADLINE_EXCEEDED", "The request timed out."), (504, "timeout", "elsewhere"), None),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0]["message"][:40])
def test_every_refusal_of_google_is_understood(row: Any) -> None:
    told, expected, wait_s = row
    for body in ({"error": told}, [{"error": told}]):
        data = json.dumps(body).encode()
        for fault in (parse_fault(told["code"], {}, data), fault_in_answer(body)):
            assert (fault.status, fault.error_type, fault.retry) == expected
            assert fault.retry_after_s == wait_s
            assert fault.provider_code == told["status"]
            if fault.retry == "cool" and fault.status == 502:
                assert told["message"] not in fault.message
                assert fault.raw is None


def test_what_is_no_json_is_decided_by_the_status() -> None:
    fault = parse_fault(503, {"retry-after": "3"}, b"<html><title>Busy</title></html>")
    assert (fault.status, fault.retry_after_s, fault.raw) == (503, 3, "(HTML) Busy")
    assert parse_fault(429, {}, b"[]").error_type == "rate_limit_exceeded"
    assert parse_fault(429, {}, b'{"error": {"details": 5, "message": 3}}').retry == "elsewhere"


def test_our_errors_have_googles_shape() -> None:
    body = json.loads(render_error(errors.bad_field("contents[0].role", "is wrong")))
    assert body["error"]["code"] == 400
    assert body["error"]["status"] == "INVALID_ARGUMENT"
    assert body["error"]["message"] == "contents[0].role: is wrong"
    info, bad = body["error"]["details"]
    assert (info["reason"], info["domain"]) == ("INVALID_REQUEST", "tollway")
    assert bad["fieldViolations"][0]["field"] == "contents[0].role"
    waits = json.loads(render_error(errors.overloaded(2.5)))["error"]
    assert waits["details"][-1]["retryDelay"] == "2.5s"
    credit = json.loads(render_error(errors.not_enough_credit("1", "0", 5)))["error"]
    assert (credit["code"], credit["status"]) == (402, "FAILED_PRECONDITION")
    assert credit["details"][0]["metadata"]["affordable_tokens"] == "5"
    model = json.loads(render_error(errors.model_not_found("a/b")))["error"]
    assert json.loads(model["details"][0]["metadata"]["availability"])["code"] == "model_not_found"
