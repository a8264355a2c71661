"""Converse answers to events: golden, cut at every byte, faults by exception."""

import json
from typing import Any

import pytest
from bedrock_wire import begun, closing, delta, ended, event, exception, frame, text_header

from tollway import canon
from tollway.canon import Event, Usage
from tollway.dialects.bedrock_converse import parse_fault, parser
from tollway.dialects.bedrock_converse.faults import fault_of
from tollway.dialects.translated import Parser


def read(wire: bytes, stream: bool = True, cut: int | None = None) -> tuple[list[Event], Parser]:
    source = parser(stream)
    events = source.feed(wire) if cut is None else source.feed(wire[:cut]) + source.feed(wire[cut:])
    if not source.meter.ended:
        events += source.finish()
    return events, source


def detail(**fields: Any) -> dict[str, Any]:
    return {**fields, "format": "anthropic-claude-v1", "index": 0}


def plain(events: list[Event]) -> list[Any]:
    """Reasoning with its details decoded, so that the order of their fields does not matter."""
    return [
        (e.text, [json.loads(bytes(raw)) for raw in e.details])
        if isinstance(e, canon.Reasoning)
        else e
        for e in events
    ]


THOUGHT = (
    event("messageStart", role="assistant")
    + delta(0, reasoningContent={"text": "Let me "})
    + delta(0, reasoningContent={"text": "see."})
    + delta(0, reasoningContent={"signature": "EqQB=="})
    + ended(0)
    + delta(1, text="It is ")
    + delta(1, text="18 °C.")
    + ended(1)
    + begun(2, "get_weather")
    + delta(2, toolUse={"input": '{"city":'})
    + delta(2, toolUse={"input": '"Köln"}'})
    + ended(2)
    + begun(3, "now", "tooluse_2")
    + ended(3)
    + closing("tool_use", cacheReadInputTokens=100, cacheWriteInputTokens=30)
)
THOUGHT_EVENTS = [
    ("Let me ", [detail(type="reasoning.text", text="Let me ")]),
    ("see.", [detail(type="reasoning.text", text="see.")]),
    ("", [detail(type="reasoning.text", signature="EqQB==")]),
    canon.Text("It is "),
    canon.Text("18 °C."),
    canon.ToolCall(0, "tooluse_1", "get_weather"),
    canon.ToolCall(0, arguments='{"city":'),
    canon.ToolCall(0, arguments='"Köln"}'),
    canon.ToolCall(1, "tooluse_2", "now"),
    canon.ToolCall(1, arguments="{}"),
    canon.Finish("tool_calls", "tool_use"),
    canon.Used(Usage(141, 7, cached_tokens=100, cache_write_tokens=30)),
    canon.Ended(),
]


def test_a_stream_with_thoughts_text_and_parallel_calls_cut_at_every_byte() -> None:
    for cut in range(len(THOUGHT) + 1):
        events, source = read(THOUGHT, cut=cut)
        assert plain(events) == THOUGHT_EVENTS, f"cut at {cut}"
        assert (source.meter.spoke, source.meter.ended) == (True, True)
        assert source.meter.text_bytes == len("It is 18 °C.get_weather".encode()) + 16 + 3 + 2
        assert source.meter.reasoning_bytes == len("Let me see.")


def whole(content: list[Any], reason: str = "end_turn", **more: Any) -> bytes:
    usage = {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18}
    answer = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": reason,
        "usage": usage,
        "metrics": {"latencyMs": 1},
        **more,
    }
    return json.dumps(answer).encode()


def test_a_whole_answer_says_the_same_as_its_stream() -> None:
    body = whole(
        [
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "s=="}}},
            {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
            {"text": "It is 18."},
            {"toolUse": {"toolUseId": "t1", "name": "get", "input": {"city": "Köln"}}},
        ],
        "tool_use",
        serviceTier={"type": "flex"},
    )
    events, source = read(body, stream=False)
    assert plain(events) == [
        ("Hm.", [detail(type="reasoning.text", text="Hm.", signature="s==")]),
        ("", [{**detail(type="reasoning.encrypted", data="b3BhcXVl"), "index": 1}]),
        canon.Text("It is 18."),
        canon.ToolCall(0, "t1", "get"),
        canon.ToolCall(0, arguments='{"city": "K\\u00f6ln"}'),
        canon.Finish("tool_calls", "tool_use"),
        canon.Used(Usage(11, 7)),
        canon.Ended(),
    ]
    assert source.meter.service_tier == "flex"


def test_the_tool_that_stands_for_the_answer_is_text() -> None:
    name = "tollway_structured_answer"
    stream = begun(0, name) + delta(0, toolUse={"input": '{"a":1}'}) + ended(0)
    for wire, streamed in (
        (stream + closing("tool_use"), True),
        (
            whole([{"toolUse": {"toolUseId": "t", "name": name, "input": {"a": 1}}}], "tool_use"),
            False,
        ),
    ):
        events, _ = read(wire, streamed)
        assert [e.text.replace(" ", "") for e in events if isinstance(e, canon.Text)] == ['{"a":1}']
        assert canon.Finish("stop", "tool_use") in events
        assert not any(isinstance(e, canon.ToolCall) for e in events)


def test_images_and_web_citations_have_their_public_form() -> None:
    cited = {"title": "T", "location": {"web": {"url": "https://e.com"}}}
    start = event("contentBlockStart", start={"image": {"format": "png"}}, contentBlockIndex=0)
    wire = (
        start
        + delta(0, image={"source": {"bytes": "AAE="}})
        + delta(0, image={"source": {"bytes": "Ag=="}})
        + ended(0)
        + delta(1, citation=cited)
        + delta(1, citation={"location": {"documentPage": {"documentIndex": 1}}})
        + closing()
    )
    events, _ = read(wire)
    extras = [(e.name, json.loads(bytes(e.value))) for e in events if isinstance(e, canon.Extra)]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAEC"}}
    note = {"url": "https://e.com", "title": "T", "start_index": 0, "end_index": 0}
    assert extras == [
        ("images", [image]),
        ("annotations", [{"type": "url_citation", "url_citation": note}]),
    ]


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_stop_reasons(native: str, reason: str) -> None:
    for wire, stream in ((delta(0, text="a") + closing(native), True), (whole([], native), False)):
        events, _ = read(wire, stream)
        assert [(e.reason, e.native) for e in events if isinstance(e, canon.Finish)] == [
            (reason, native)
        ]


@pytest.mark.parametrize("native", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_answer_is_a_fault_that_may_be_tried_elsewhere(native: str) -> None:
    for wire, stream in ((closing(native), True), (whole([], native), False)):
        events, source = read(wire, stream)
        fault = source.meter.fault
        assert fault is not None and (fault.status, fault.retry) == (502, "elsewhere")
        assert events == [canon.Failed(fault)]


def test_usage_splits_cache_writes_by_their_life_and_survives_nonsense() -> None:
    details = [{"ttl": "1h", "inputTokens": 20}, {"ttl": "5m", "inputTokens": 10}]
    wire = closing(cacheReadInputTokens=5, cacheWriteInputTokens=30, cacheDetails=details)
    _, source = read(wire)
    assert source.meter.usage == Usage(
        46, 7, cached_tokens=5, cache_write_tokens=10, cache_write_1h_tokens=20
    )
    for bad in ({"inputTokens": "11"}, {"outputTokens": None}, {"cacheDetails": "x"}):
        _, source = read(delta(0, text="a") + closing(**bad))
        assert (source.meter.ended, source.meter.usage) == (True, None)
    _, source = read(delta(0, text="a") + closing(inputTokens=-5))
    assert source.meter.usage is not None and source.meter.usage.checked().prompt_tokens == 0


def test_a_stream_that_closes_after_its_stop_is_whole_and_before_it_is_broken() -> None:
    text = delta(0, text="a")
    events, source = read(text + event("messageStop", stopReason="end_turn"))
    assert (source.meter.ended, source.meter.usage) == (True, None)
    assert events[-1] == canon.Ended()
    for wire in (text, text + ended(0), text + closing()[:20], b""):
        events, source = read(wire)
        assert isinstance(events[-1], canon.Failed)
        assert source.meter.fault is not None and source.meter.fault.status == 502


@pytest.mark.parametrize(
    "wire",
    [
        b"<html>504</html>",
        b'{"message": "not a stream"}',
        frame(text_header(":event-type", "contentBlockDelta"), b"{"),
        event("contentBlockDelta", delta={"text": 7}, contentBlockIndex=0),
        event("contentBlockDelta", delta={"toolUse": {"input": {}}}, contentBlockIndex=0),
        event("messageStop", stopReason=None),
        frame(text_header(":event-type", "metadata"), b"\xff\xfe"),
    ],
)
def test_what_cannot_be_read_is_one_fault_and_the_last_event(wire: bytes) -> None:
    source = parser(True)
    events = source.feed(wire) + source.feed(closing()) + source.finish()
    fault = source.meter.fault
    assert fault is not None and fault.error_type == "provider_unavailable"
    assert events == [canon.Failed(fault)]


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"output":{"message":null}}', b"[1]"])
def test_a_whole_answer_that_is_none_is_a_fault(body: bytes) -> None:
    events, source = read(body, stream=False)
    assert source.meter.fault is not None and events == [canon.Failed(source.meter.fault)]


def test_unknown_events_and_tools_that_run_at_the_provider_are_passed_over() -> None:
    use = {"toolUseId": "t", "name": "nova_grounding", "type": "server_tool_use"}
    wire = (
        event("yetToCome", x=1)
        + event("contentBlockStart", start={"toolUse": use}, contentBlockIndex=0)
        + delta(0, toolUse={"input": "{}"})
        + ended(0)
        + delta(1, text="a")
        + closing()
    )
    events, _ = read(wire)
    assert events[0] == canon.Text("a")


FAULTS = [
    # status, exception, message → status, error_type, retry
    (429, "ThrottlingException", "Too many requests, please wait before trying again.",
     429, "rate_limit_exceeded", "elsewhere"),
    (429, "ThrottlingException", "Too many tokens, please wait before trying again.",
     429, "rate_limit_exceeded", "elsewhere"),
    (429, "ThrottlingException", "Too many tokens per day, please wait before trying again.",
     429, "rate_limit_exceeded", "cool"),
    (429, "ModelNotReadyException", "The model is not ready.",
     503, "provider_overloaded", "elsewhere"),
    (503, "ServiceUnavailableException", "Bedrock is unable to process your request.",
     503, "provider_overloaded", "elsewhere"),
    (408, "ModelTimeoutException", "Model timed out", 504, "timeout", "elsewhere"),
    (424, "ModelErrorException", "The model returned an error: context length",
     502, "provider_unavailable", "elsewhere"),
    (500, "InternalServerException", "oops", 502, "provider_unavailable", "elsewhere"),
    (400, "ServiceQuotaExceededException", "Your request exceeds the service quota.",
     429, "rate_limit_exceeded", "cool"),
    (403, "AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized",
     502, "provider_unavailable", "cool"),
    (403, "ExpiredTokenException", "The security token included in the request is expired",
     502, "provider_unavailable", "cool"),
    (403, "InvalidSignatureException", "Signature expired", 502, "provider_unavailable", "cool"),
    (404, "ResourceNotFoundException", "This model version has reached the end of its life.",
     502, "provider_unavailable", "elsewhere"),
    (400, "ValidationException", "Input is too long for requested model.",
     400, "context_length_exceeded", "larger"),
    (400, "ValidationException", "prompt is too long: 204000 tokens > 200000 maximum",
     400, "context_length_exceeded", "larger"),
    (400, "ValidationException", "The provided model identifier is invalid.",
     502, "provider_unavailable", "elsewhere"),
    (400, "ValidationException",
     "Invocation of model ID x with on-demand throughput isn\u2019t supported.",
     502, "provider_unavailable", "elsewhere"),
    (400, "ValidationException", "The maximum tokens you requested exceeds the model limit of 4096.",
     400, "max_tokens_exceeded", "elsewhere"),
    (400, "ValidationException", "messages.0.content.0: Invalid value",
     400, "invalid_request", "never"),
]  # fmt: skip


@pytest.mark.parametrize("row", FAULTS, ids=lambda row: f"{row[1]}: {row[2][:30]}")
def test_each_exception_has_its_status_type_and_class(row: tuple[Any, ...]) -> None:
    status, name, message, *expected = row
    headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/"}
    body = json.dumps({"message": message}).encode()
    in_body = json.dumps({"__type": f"com.amazon.coral#{name}", "Message": message}).encode()
    for fault in (
        parse_fault(status, headers, body),
        parse_fault(status, {}, in_body),
        fault_of(name[0].lower() + name[1:], message),
    ):
        assert [fault.status, fault.error_type, fault.retry] == expected
        assert fault.provider_code is not None
        assert fault.provider_code.lower() == name.lower()
    if expected[2] == "cool" and expected[0] == 502:
        assert "arn:aws" not in repr(parse_fault(status, headers, body))


def test_an_error_without_a_name_goes_by_its_status() -> None:
    assert parse_fault(503, {}, b"<html><title>Down</title>").error_type == "provider_overloaded"
    assert parse_fault(429, {"retry-after": "3"}, b"").retry_after_s == 3
    named = parse_fault(429, {"retry-after": "3", "x-amzn-errortype": "ThrottlingException"}, b"")
    assert named.retry_after_s == 3


def test_an_exception_in_the_stream_is_one_fault_after_what_was_said() -> None:
    wire = delta(0, text="a") + exception("throttlingException", "Too many tokens, please wait")
    events, source = read(wire + closing())
    fault = source.meter.fault
    assert fault is not None and (fault.status, fault.retry) == (429, "elsewhere")
    assert events == [canon.Text("a"), canon.Failed(fault)]
    headers = text_header(":message-type", "error") + text_header(":error-code", "InternalFailure")
    _, source = read(frame(headers + text_header(":error-message", "oops"), b""))
    assert source.meter.fault is not None and source.meter.fault.status == 502
