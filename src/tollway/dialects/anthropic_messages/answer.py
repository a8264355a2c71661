"""The parts of a Messages answer that matter to us, typed; shared by all its readers.

Not here: framing, rewriting, billing. One type for all events of a stream and one for all blocks,
with null allowed wherever a host was seen to send it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
from msgspec import Raw, Struct

from ...canon import Fault, FinishReason, Retry
from .. import Meter, faults
from ..openai_chat_answer import BAD_JSON, NOTHING, is_given, size

__all__ = ["BAD_JSON", "NOTHING", "is_given", "size"]


class Block(Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = NOTHING
    citations: Raw = NOTHING


class Delta(Struct, gc=False):
    """Of a block, or of the message."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: Raw = NOTHING
    stop_reason: str | None = None
    stop_details: Raw = NOTHING


class Message(Struct, gc=False):
    id: str | None = None
    type: str = ""
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_details: Raw = NOTHING
    usage: Raw = NOTHING


class Event(Struct, gc=False):
    type: str = ""
    index: int = 0
    message: Message | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: Raw = NOTHING
    error: Raw = NOTHING


event_decoder = msgspec.json.Decoder(Event)
blocks_decoder = msgspec.json.Decoder(list[Block])
message_decoder = msgspec.json.Decoder(Message)
fields_decoder = msgspec.json.Decoder(dict[str, Raw])

FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "compaction": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
NATIVE: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "error": "end_turn",
}
"""The way back; a reason that is an error never gets here."""


def finish_of(native: str) -> FinishReason:
    """A word nobody knows ends an answer like any other."""
    return FINISH.get(native, "stop")


def note_block(meter: Meter, block: Block) -> None:
    """Count a block as it begins, or a whole one."""
    meter.text_bytes += size(block.text or "")
    meter.reasoning_bytes += size(block.thinking or "")
    if block.type == "tool_use":
        meter.text_bytes += size(block.name or "")
    if block.signature or block.type == "redacted_thinking":
        meter.opaque = True
    if block.text or block.thinking or block.type not in ("text", "thinking"):
        meter.spoke = True


def note_delta(meter: Meter, delta: Delta) -> None:
    """A delta is one kind of piece."""
    if piece := delta.text or delta.partial_json:
        meter.text_bytes += size(piece)
    elif delta.thinking:
        meter.reasoning_bytes += size(delta.thinking)
    elif delta.signature:
        meter.opaque = True
    else:
        return
    meter.spoke = True


def explanation(raw: Raw) -> str | None:
    """Why the model refused, of `stop_details`."""
    if not is_given(raw):
        return None
    try:
        said = msgspec.json.decode(raw)
    except BAD_JSON:
        return None
    text = said.get("explanation") if isinstance(said, dict) else None
    return text if isinstance(text, str) and text else None


STATUS_OF: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""An error inside an answer has the status it would have had before it."""


def fault_inside(payload: bytes) -> Fault | None:
    """The fault that an answer with status 200, or an event of it, declares; None when there is
    none. Raises BAD_JSON."""
    body = msgspec.json.decode(payload)
    if not isinstance(body, dict):
        return faults.broken("The provider's answer is no object.", payload)
    error = body.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    status = STATUS_OF.get(kind) if isinstance(kind, str) else None
    if status is not None:
        return parse_fault(status, {}, payload)
    return faults.error_inside(body)


def parse_fault(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now_s: float | None = None,
    quirks: Collection[str] = (),
) -> Fault:
    """See `faults.parse_fault`; some of this vendor's sentences mean more than their status says.
    Never raises."""
    fault = faults.parse_fault(status, headers, body, now_s=now_s, quirks=quirks)
    text = body[:20_000].lower()
    for sentence, error_type, retry in _SENTENCES:
        if status == 400 and sentence in text:
            return msgspec.structs.replace(fault, status=400, error_type=error_type, retry=retry)
    return fault


_SENTENCES: tuple[tuple[bytes, str, Retry], ...] = (
    # prompt and output limit together: only a larger window helps
    (b"exceed context limit", "context_length_exceeded", "larger"),
    (b"maximum allowed number of output tokens", "max_tokens_exceeded", "elsewhere"),
)
