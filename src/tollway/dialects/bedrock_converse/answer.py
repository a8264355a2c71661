"""A Converse answer as events: what blocks, usage and stop reasons mean, streamed or whole.

Not here: framing (eventstream), exceptions (faults). Rules: strict types; what breaks them is a
broken answer, except usage, which is then counted by us. Counts of the input exclude what came
from a cache; here they include it. Reasoning is marked as Claude's: only Claude signs it, and what
is not signed is never sent back.
"""

from __future__ import annotations

import builtins
from base64 import b64encode
from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from ... import canon
from ...canon import Event, Fault, FinishReason, Usage
from .. import Meter, faults
from ..anthropic_messages.opaque import redacted_detail, signature_detail, thinking_detail
from ..anthropic_messages.render import ANSWER_TOOL
from ..surrogates import decoded

FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
}
"""A word nobody knows ends an answer like any other."""

BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ReasoningText(Struct, rename="camel"):
    text: str = ""
    signature: str | None = None


class Reasoning(Struct, rename="camel"):
    """Whole (`reasoningText`) or a piece (`text`, `signature`); `redactedContent` is base64."""

    reasoning_text: ReasoningText | None = None
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class ToolUse(Struct, rename="camel"):
    """`input`: an object when whole, a piece of JSON text when streamed."""

    tool_use_id: str = ""
    name: str = ""
    input: Raw = Raw(b"")
    type: str | None = None


class ImageSource(Struct):
    """`bytes` is base64 on the wire; image by image or piece by piece."""

    bytes: builtins.bytes = b""


class Image(Struct):
    format: str = "png"
    source: ImageSource | None = None


class Cited(Struct):
    text: str | None = None


class CitationsContent(Struct):
    content: list[Cited] = []
    citations: list[Raw] = []


class Block(Struct, rename="camel"):
    """A content block, or a delta of one: the names are the same."""

    text: str | None = None
    tool_use: ToolUse | None = None
    reasoning_content: Reasoning | None = None
    image: Image | None = None
    citations_content: CitationsContent | None = None
    citation: Raw = Raw(b"")


class CacheDetail(Struct, rename="camel"):
    ttl: str = ""
    input_tokens: int = 0


class TokenUsage(Struct, rename="camel"):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[CacheDetail] | None = None


class ServiceTier(Struct):
    type: str | None = None


class Message(Struct):
    content: list[Block] = []


class Output(Struct):
    message: Message | None = None


class Answer(Struct, rename="camel"):
    output: Output | None = None
    stop_reason: str | None = None
    usage: Raw = Raw(b"")
    service_tier: ServiceTier | None = None


class Reading:
    """What the whole and the streamed reader share: the meter, numbering, the ending."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.calls = 0
        self.thoughts = 0
        self.answered = False
        """The tool that stands for structured output was called: its arguments are the answer."""

    # ---- pieces ----------------------------------------------------------------------------------

    def said(self, text: str) -> list[Event]:
        if not text:
            return []
        self.meter.spoke = True
        self.meter.text_bytes += len(text) if text.isascii() else len(text.encode(errors="replace"))
        return [canon.Text(text)]

    def thought(self, text: str, index: int) -> list[Event]:
        if not text:
            return []
        self.meter.spoke = True
        self.meter.reasoning_bytes += len(text.encode(errors="replace"))
        return [canon.Reasoning(text, (thinking_detail(text, None, index),))]

    def signed(self, signature: str, index: int) -> list[Event]:
        self.meter.spoke = self.meter.opaque = True
        return [canon.Reasoning(details=(signature_detail(signature, index),))]

    def redacted(self, data: str, index: int) -> list[Event]:
        self.meter.spoke = self.meter.opaque = True
        return [canon.Reasoning(details=(redacted_detail(data, index),))]

    def called(self, name: str, call_id: str) -> list[Event]:
        """The beginning of a call; none for the one that stands for the answer."""
        if name == ANSWER_TOOL:
            self.answered = True
            return []
        self.meter.spoke = True
        self.meter.text_bytes += len(name)
        self.calls += 1
        return [canon.ToolCall(self.calls - 1, call_id, name)]

    def argued(self, piece: str, call: int) -> list[Event]:
        if not piece:
            return []
        self.meter.text_bytes += len(piece.encode(errors="replace"))
        return [canon.ToolCall(call, arguments=piece)]

    def cited(self, raw: Raw) -> list[Event]:
        note = annotation(raw)
        return [] if note is None else [canon.Extra("annotations", note)]

    # ---- the end ---------------------------------------------------------------------------------

    def stopped(self, native: str) -> Fault | None:
        """Take the stop reason; the fault where it is one."""
        reason = FINISH.get(native, "stop")
        if reason == "tool_calls" and not self.calls and self.answered:
            reason = "stop"
        self.meter.finish, self.meter.native_finish = reason, native
        self.meter.spoke = True
        if reason != "error":
            return None
        return Fault(
            status=502,
            error_type="provider_unavailable",
            message="The model broke its answer off.",
            provider_code=native,
        )

    def used(self, raw: Raw) -> None:
        usage = read_usage(raw)
        if usage is not None:
            self.meter.usage = usage

    def closing(self) -> list[Event]:
        """Finish, usage, end: once the answer is known to be complete."""
        meter = self.meter
        assert meter.finish is not None
        meter.ended = True
        events: list[Event] = [canon.Finish(meter.finish, meter.native_finish)]
        if meter.usage is not None:
            events.append(canon.Used(meter.usage))
        return [*events, canon.Ended()]


class BodyParser(Reading):
    """A whole answer: every event comes from `finish`."""

    def __init__(self) -> None:
        super().__init__()
        self._body = bytearray()
        self._too_large = False

    def feed(self, data: bytes) -> list[Event]:
        if len(self._body) + len(data) > BODY_BYTES_MAX:
            self._too_large = True
        else:
            self._body += data
        return []

    def finish(self) -> list[Event]:
        body = bytes(self._body)
        self._body.clear()
        if self._too_large:
            return self._failed(faults.broken("The provider's answer is too large."))
        try:
            answer = decoded(_answer_decoder, body)
        except BAD_JSON:
            return self._failed(
                faults.broken("The provider's answer is not what it should be.", body)
            )
        if answer.output is None or answer.output.message is None or answer.stop_reason is None:
            return self._failed(faults.broken("The provider's answer has no message.", body))
        events: list[Event] = []
        for block in answer.output.message.content:
            events += self._block(block)
        self.used(answer.usage)
        if answer.service_tier is not None:
            self.meter.service_tier = answer.service_tier.type
        fault = self.stopped(answer.stop_reason)
        return self._failed(fault) if fault else events + self.closing()

    def _failed(self, fault: Fault) -> list[Event]:
        self.meter.fault = fault
        return [canon.Failed(fault)]

    def _block(self, block: Block) -> list[Event]:
        events = self.said(block.text or "")
        if block.tool_use is not None and block.tool_use.type is None:
            events += self._call(block.tool_use)
        if block.reasoning_content is not None:
            events += self._reasoning(block.reasoning_content)
        if block.image is not None:
            events += image_event(self.meter, block.image)
        if block.citations_content is not None:
            text = "".join(one.text or "" for one in block.citations_content.content)
            events += self.said(text)
            for raw in block.citations_content.citations:
                events += self.cited(raw)
        return events

    def _call(self, use: ToolUse) -> list[Event]:
        arguments = bytes(use.input).decode(errors="replace") or "{}"
        begun = self.called(use.name, use.tool_use_id)
        if not begun:
            return self.said(arguments)
        return begun + self.argued(arguments, self.calls - 1)

    def _reasoning(self, reasoning: Reasoning) -> list[Event]:
        index, self.thoughts = self.thoughts, self.thoughts + 1
        if reasoning.redacted_content:
            return self.redacted(reasoning.redacted_content, index)
        whole = reasoning.reasoning_text
        if whole is None:
            return []
        self.thought(whole.text, index)  # counted; said in one piece with its signature
        self.meter.opaque = self.meter.opaque or bool(whole.signature)
        detail = thinking_detail(whole.text, whole.signature, index)
        return [canon.Reasoning(whole.text, (detail,))]


BODY_BYTES_MAX = 64 * 1024 * 1024
"""Several images at most; nothing sane is larger."""


def image_event(meter: Meter, image: Image) -> list[Event]:
    if image.source is None or not image.source.bytes:
        return []
    meter.spoke = True
    url = f"data:image/{image.format};base64,{b64encode(image.source.bytes).decode()}"
    entry = {"type": "image_url", "image_url": {"url": url}}
    return [canon.Extra("images", Raw(msgspec.json.encode([entry])))]


class _Web(Struct):
    url: str = ""


class _Location(Struct):
    web: _Web | None = None


class _Citation(Struct):
    title: str | None = None
    location: _Location | None = None


def annotation(raw: Raw) -> Raw | None:
    """A citation of a web page as an annotation; others (places in documents) have no form in the
    contract."""
    try:
        citation = msgspec.json.decode(raw, type=_Citation)
    except BAD_JSON:
        return None
    web = citation.location.web if citation.location else None
    if web is None or not web.url:
        return None
    inner = {"url": web.url, "title": citation.title or "", "start_index": 0, "end_index": 0}
    return Raw(msgspec.json.encode([{"type": "url_citation", "url_citation": inner}]))


def read_usage(raw: Raw) -> Usage | None:
    """None for what is no usage: then it is counted by us."""
    try:
        said = _usage_decoder.decode(raw)
    except BAD_JSON:
        return None
    read, written = said.cache_read_input_tokens or 0, said.cache_write_input_tokens or 0
    hour = sum(one.input_tokens for one in said.cache_details or () if one.ttl == "1h")
    return Usage(
        prompt_tokens=said.input_tokens + read + written,
        completion_tokens=said.output_tokens,
        cached_tokens=read,
        cache_write_tokens=written - hour,
        cache_write_1h_tokens=hour,
    )


_answer_decoder = msgspec.json.Decoder(Answer)
_usage_decoder = msgspec.json.Decoder(TokenUsage)
