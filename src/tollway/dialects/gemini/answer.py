"""The parts of a generateContent answer that matter to us, typed; shared by all its readers.

Not here: framing, rewriting. Finish reasons are a table: what is the model's or the network's
failure is an error and worth another endpoint, never a plain stop.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from ...canon import FinishReason
from .. import Meter
from ..openai_chat_answer import size
from ..toolcalls import ToolCalls

NOTHING = Raw(b"")
BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Called(Struct, gc=False):
    name: str = ""
    args: Raw = NOTHING
    id: str | None = None


class Blob(Struct, rename="camel"):
    data: str = ""
    mime_type: str = "application/octet-stream"


class Code(Struct):
    code: str = ""
    language: str = ""


class Outcome(Struct):
    output: str = ""


class Part(Struct, rename="camel", gc=False):
    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: Called | None = None
    inline_data: Blob | None = None
    executable_code: Code | None = None
    code_execution_result: Outcome | None = None


class Content(Struct, gc=False):
    parts: list[Part] | None = None


class Candidate(Struct, rename="camel", gc=False):
    index: int = 0
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    grounding_metadata: Raw = NOTHING
    citation_metadata: Raw = NOTHING
    logprobs_result: Raw = NOTHING


class Feedback(Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class Answer(Struct, rename="camel", gc=False):
    """One chunk, or a whole body: both have the same fields."""

    candidates: Raw = NOTHING
    usage_metadata: Raw = NOTHING
    prompt_feedback: Raw = NOTHING
    response_id: str | None = None
    model_version: str | None = None
    error: Raw = NOTHING


answer_decoder = msgspec.json.Decoder(Answer)
candidates_decoder = msgspec.json.Decoder(list[Candidate])
feedback_decoder = msgspec.json.Decoder(Feedback)

FINISH: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "FINISH_REASON_UNSPECIFIED": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
    "NO_IMAGE": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "OTHER": "error",
}
"""Google's words to the five of the contract; one nobody knows ends an answer like any other."""

NATIVE: Mapping[FinishReason, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "error": "OTHER",
}
"""The other way round."""


def is_given(raw: Raw) -> bool:
    size_bytes = len(raw)
    return size_bytes > 4 or (size_bytes > 0 and bytes(raw) != b"null")


def collect(calls: ToolCalls, candidates: list[Candidate]) -> None:
    """Keep the functions that candidates call; a call comes whole."""
    for candidate in candidates:
        for part in (candidate.content.parts if candidate.content else None) or ():
            called = part.function_call
            if called is not None:
                calls.add(None, called.name, bytes(called.args).decode(), candidate.index)


def note(meter: Meter, parts: list[Part]) -> bool:
    """Count what parts deliver; True when they call a function."""
    calls = False
    for part in parts:
        if part.thought_signature is not None:
            meter.opaque = True
        if part.text:
            if part.thought:
                meter.reasoning_bytes += size(part.text)
            else:
                meter.text_bytes += size(part.text)
            meter.spoke = True
        elif part.function_call is not None:
            calls = meter.spoke = True
            meter.text_bytes += size(part.function_call.name) + len(part.function_call.args)
        elif part.inline_data is not None:
            meter.spoke = True
        elif part.executable_code is not None:
            meter.text_bytes += size(part.executable_code.code)
            meter.spoke = True
        elif part.thought_signature is not None:
            meter.spoke = True
    return calls
