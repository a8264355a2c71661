"""Errors of Anthropic and of us, each way, by table."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from anthropic_support import begun, named, text_block
from dialect_support import HEAD, WHOLE, run

from tollway import errors
from tollway.canon import Fault
from tollway.dialects import anthropic_messages


def said(kind: str, message: str) -> bytes:
    error = {"type": kind, "message": message}
    return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()


ROWS: list[tuple[int, str, str, tuple[int, str, str]]] = [
    (400, "invalid_request_error", "messages: at least one", (400, "invalid_request", "never")),
    (
        400,
        "invalid_request_error",
        "prompt is too long: 210000 tokens > 200000 maximum",
        (400, "context_length_exceeded", "larger"),
    ),
    (
        400,
        "invalid_request_error",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        (400, "context_length_exceeded", "larger"),
    ),
    (
        400,
        "invalid_request_error",
        "max_tokens: 90000 > 64000, which is the maximum allowed number of output tokens",
        (400, "max_tokens_exceeded", "elsewhere"),
    ),
    (
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API.",
        (502, "provider_unavailable", "cool"),
    ),
    (
        400,
        "invalid_request_error",
        "Output blocked by content filtering policy",
        (400, "content_policy_violation", "never"),
    ),
    (
        400,
        "invalid_request_error",
        "messages.0.content.1.image.source.base64: Could not process image",
        (400, "invalid_image", "never"),
    ),
    (401, "authentication_error", "invalid x-api-key", (502, "provider_unavailable", "cool")),
    (402, "billing_error", "Payment is due", (502, "provider_unavailable", "cool")),
    (403, "permission_error", "not yours", (502, "provider_unavailable", "cool")),
    (404, "not_found_error", "model: claude-0", (502, "provider_unavailable", "elsewhere")),
    (413, "request_too_large", "Request exceeds the maximum size", (413, "payload_too_large", "never")),
    (
        429,
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 40,000 input tokens per minute",
        (429, "rate_limit_exceeded", "elsewhere"),
    ),
    (
        429,
        "rate_limit_error",
        "Number of request tokens has exceeded your daily rate limit",
        (429, "rate_limit_exceeded", "cool"),
    ),
    (500, "api_error", "Internal server error", (502, "provider_unavailable", "elsewhere")),
    (504, "timeout_error", "Request timed out", (504, "timeout", "elsewhere")),
    (529, "overloaded_error", "Overloaded", (503, "provider_overloaded", "elsewhere")),
]  # fmt: skip


@pytest.mark.parametrize(("status", "kind", "message", "verdict"), ROWS)
def test_each_error_has_its_verdict_before_an_answer_and_in_it(
    status: int, kind: str, message: str, verdict: tuple[int, str, str]
) -> None:
    before = anthropic_messages.parse_fault(status, {}, said(kind, message))
    assert (before.status, before.error_type, before.retry) == verdict
    way = anthropic_messages.relay(HEAD, "anthropic_messages")
    run(way, [named(begun(), *text_block(0, "x"), json.loads(said(kind, message)))])
    inside = way.meter.fault
    assert inside is not None
    assert (inside.status, inside.error_type, inside.retry) == verdict


def test_the_wait_is_taken_from_the_headers_and_our_account_is_never_quoted() -> None:
    wait = anthropic_messages.parse_fault(429, {"retry-after": "7"}, said("rate_limit_error", "x"))
    assert wait.retry_after_s == 7
    ours = anthropic_messages.parse_fault(401, {}, said("authentication_error", "key sk-ant-1"))
    assert ours.raw is None and "sk-ant" not in ours.message


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"error":5}', b"\xff", b'{"type":"error"}']
)
def test_a_body_that_says_nothing_is_judged_by_its_status(body: bytes) -> None:
    fault = anthropic_messages.parse_fault(529, {}, body)
    assert (fault.status, fault.error_type) == (503, "provider_overloaded")


FAULT = Fault(503, "provider_overloaded", "busy")


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (errors.bad_field("a", "is required"), "invalid_request_error", "invalid_request"),
        (errors.no_key(), "authentication_error", "authentication"),
        (errors.not_enough_credit("1", "0", 5), "billing_error", "payment_required"),
        (errors.management_only(), "permission_error", "permission_denied"),
        (errors.not_found("it"), "not_found_error", "not_found"),
        (errors.too_large(5), "request_too_large", "payload_too_large"),
        (errors.request_timeout(5), "timeout_error", "timeout"),
        (errors.all_attempts_failed(["a/b"], [("A", FAULT)]), "overloaded_error", "provider_overloaded"),
        (errors.store_unavailable(), "api_error", "server"),
        (errors.Internal(), "api_error", "server"),
    ],
)  # fmt: skip
def test_our_errors_are_worded_as_the_vendor_words_them(
    error: errors.TollwayError, kind: str, word: str
) -> None:
    told = json.loads(anthropic_messages.render_error(error))
    assert told == {
        "type": "error",
        "error": {"type": kind, "message": error.message, "error_type": word},
        "request_id": None,
    }
    for way in (
        anthropic_messages.relay(HEAD, "anthropic_messages"),
        anthropic_messages.relay(HEAD, "openai_chat"),
    ):
        name, data = way.failure(error).decode().strip().split("\n")
        assert name == "event: error"
        assert json.loads(data.removeprefix("data: ")) == {
            "type": "error",
            "error": {"type": kind, "message": error.message, "error_type": word},
        }
    whole = anthropic_messages.relay(WHOLE, "openai_chat").failure(error)
    assert json.loads(whole) == told


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (errors.bad_field("a", "b"), anthropic.BadRequestError),
        (errors.no_key(), anthropic.AuthenticationError),
        (errors.not_found("it"), anthropic.NotFoundError),
    ],
)
def test_the_vendors_sdk_raises_its_own_errors_for_ours(
    error: errors.TollwayError, raised: type[Any]
) -> None:
    import httpx2

    client = anthropic.Anthropic(
        api_key="x",
        max_retries=0,
        http_client=httpx2.Client(
            transport=httpx2.MockTransport(
                lambda request: httpx2.Response(
                    error.status, content=anthropic_messages.render_error(error)
                )
            )
        ),
    )
    with pytest.raises(raised) as caught:
        client.messages.create(model="x", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert caught.value.body["error"]["message"] == error.message
