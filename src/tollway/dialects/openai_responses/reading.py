"""Reading a provider's Responses stream: framing, what it meters, errors, its end.

What is made of the events is for the two readers on top of it: the relay that passes bytes on, and
the parser that gives events. Rules as in openai_chat_reading, which frames the stream: nothing
raises for what a provider sends, and the first thing that is wrong becomes `meter.fault` and ends
the reading. An answer is complete with `response.completed` or `response.incomplete`; a stream that
stops without either broke off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from ...canon import FinishReason
from .. import faults
from ..openai_chat_answer import BAD_JSON, NOTHING, fields_decoder, is_given, size
from ..openai_chat_reading import StreamReading
from ..surrogates import paired
from ..toolcalls import ToolCalls

TEXT, REFUSAL, THOUGHT, SUMMARY, ARGUMENTS = range(5)

DELTAS: Mapping[bytes, int] = {
    b"response.output_text.delta": TEXT,
    b"response.refusal.delta": REFUSAL,
    b"response.reasoning_text.delta": THOUGHT,
    b"response.reasoning_summary_text.delta": SUMMARY,
    b"response.function_call_arguments.delta": ARGUMENTS,
    b"response.custom_tool_call_input.delta": ARGUMENTS,
    b"response.mcp_call_arguments.delta": ARGUMENTS,
    b"response.code_interpreter_call_code.delta": ARGUMENTS,
}
"""Events that streams are made of, by what their `delta` is."""

FUNCTION_DELTA = b"response.function_call_arguments.delta"
ADDED, DONE_ITEM = b"response.output_item.added", b"response.output_item.done"
TERMINAL = (b"response.completed", b"response.incomplete")
FAILED = (b"response.failed", b"response.cancelled")

CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call", "computer_call"})
"""Items that the caller has to act on."""

INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}


class Delta(Struct, gc=False):
    delta: str
    item_id: str = ""
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0


class Content(Struct):
    """Of a message's `content` or a reasoning item's `content` and `summary`."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    logprobs: Raw = NOTHING


class Item(Struct):
    """An output item, of any type as far as it is read here."""

    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[Content] | None = None
    summary: list[Content] | None = None
    encrypted_content: str | None = None
    result: str | None = None
    output_format: str | None = None


class _Kind(Struct):
    type: str = ""


class _Reason(Struct):
    reason: str | None = None


_kind_decoder = msgspec.json.Decoder(_Kind)
_delta_decoder = msgspec.json.Decoder(Delta)
_item_decoder = msgspec.json.Decoder(Item)
_items_decoder = msgspec.json.Decoder(list[Raw])
_reason_decoder = msgspec.json.Decoder(_Reason)


class ResponsesReading(StreamReading):
    """State of one answer. Subclasses say what happens to its events."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        super().__init__(quirks)
        self._called = False
        self._searches = 0

    # ---- for subclasses --------------------------------------------------------------------------

    def on_delta(self, kind: bytes, delta: Delta, payload: bytes) -> None:
        raise NotImplementedError

    def on_event(self, kind: bytes, fields: dict[str, Raw], payload: bytes) -> None:
        """Any other event but failures; the terminal one has been noted in the meter."""
        raise NotImplementedError

    # ---- one event -------------------------------------------------------------------------------

    def _take(self, payload: bytes) -> None:
        if payload[:9] == b'{"type":"':
            kind = payload[9 : payload.find(b'"', 9)]
            if kind in DELTAS:
                self._take_delta(kind, payload)
                return
        fields = self._envelope(payload)
        if fields is None:
            return
        try:
            kind = _kind_decoder.decode(payload).type.encode()
            if kind in DELTAS:
                self._take_delta(kind, payload)
            else:
                self._take_event(kind, fields, payload)
        except BAD_JSON:
            mended = paired(payload)
            if mended is not None:
                self._take(mended)
            else:
                self._fail(faults.broken("The provider sent an event of unknown form.", payload))

    def _take_delta(self, kind: bytes, payload: bytes) -> None:
        try:
            if not payload.isascii():
                payload.decode()
            delta = _delta_decoder.decode(payload)
        except BAD_JSON:
            mended = paired(payload)
            if mended is not None:
                self._take_delta(kind, mended)
            else:
                self._fail(faults.broken("The provider sent an event of unknown form.", payload))
            return
        text = delta.delta
        if text:
            meter = self.meter
            meter.spoke = True
            length = len(text) if text.isascii() else size(text)
            if DELTAS[kind] in (THOUGHT, SUMMARY):
                meter.reasoning_bytes += length
            else:
                meter.text_bytes += length
        self.on_delta(kind, delta, payload)

    def _take_event(self, kind: bytes, fields: dict[str, Raw], payload: bytes) -> None:
        response = fields.get("response")
        if kind in FAILED:
            self._failed(response)
            return
        if response is not None and is_given(response):
            self._look_at(fields_decoder.decode(response))
        if kind in TERMINAL:
            self._finished(fields_decoder.decode(response if response is not None else b"{}"))
        elif kind in (ADDED, DONE_ITEM) and "item" in fields:
            self._note_item(fields["item"], kind == DONE_ITEM)
        if self.meter.fault is None:
            self.on_event(kind, fields, payload)
        if kind in TERMINAL and self.meter.fault is None:
            self._done()

    def _note_item(self, raw: Raw, whole: bool) -> None:
        item = item_of(raw)
        if item.type in CALLS:
            self._called = self.meter.spoke = True
            if not whole:
                self.meter.text_bytes += size(item.name or "")
        elif item.type == "web_search_call" and whole:
            self._searches += 1
            self.meter.spoke = True
        elif whole and (item.encrypted_content or item.content or item.summary or item.result):
            self.meter.spoke = True
            self.meter.opaque = self.meter.opaque or bool(item.encrypted_content)

    def _finished(self, response: dict[str, Raw]) -> None:
        """A terminal response: finish reason and usage, or a fault it declares."""
        status = _string(response.get("status"))
        if status in ("failed", "cancelled") or is_given(response.get("error")):
            self._failed(Raw(msgspec.json.encode(response)))
            return
        reason: FinishReason
        native = "completed"
        if status == "incomplete":
            details = response.get("incomplete_details")
            if details is not None and is_given(details):
                native = _reason_decoder.decode(details).reason or "incomplete"
            else:
                native = "incomplete"
            reason = INCOMPLETE.get(native, "stop")
        else:
            for raw in output_of(response):
                item = item_of(raw)
                self._called = self._called or item.type in CALLS
                self.meter.opaque = self.meter.opaque or bool(item.encrypted_content)
            reason = "tool_calls" if self._called else "stop"
        self.meter.finish, self.meter.native_finish = reason, native
        self.finishes[0] = reason, native
        if self._searches and self.meter.usage is not None:
            usage = self.meter.usage
            searches = max(usage.web_searches, self._searches)
            self.meter.usage = msgspec.structs.replace(usage, web_searches=searches)

    def _done(self) -> None:
        """[DONE] alone is no end: some hosts write it after an answer that broke off."""
        if self.finishes:
            super()._done()
        else:
            self._fail(faults.broken("The provider's stream broke off."))

    def _failed(self, response: Raw | None) -> None:
        error: object = None
        if response is not None and is_given(response):
            said = fields_decoder.decode(response)
            self._look_at(said)
            error = msgspec.json.decode(said["error"]) if "error" in said else None
        if error is None:
            self._fail(faults.broken("The provider broke its answer off."))
        else:
            self._fail(faults.fault_in_answer({"error": error}))


def item_of(raw: Raw) -> Item:
    """An item whose fields are not what we read has its type alone."""
    try:
        return _item_decoder.decode(raw)
    except msgspec.ValidationError:
        return Item(_kind_decoder.decode(raw).type)


def output_of(response: Mapping[str, Raw]) -> list[Raw]:
    raw = response.get("output")
    return _items_decoder.decode(raw) if raw is not None and is_given(raw) else []


def collect(calls: ToolCalls, items: Iterable[Raw]) -> None:
    """Keep the functions that output items call; what custom tools are given is no JSON."""
    for raw in items:
        item = item_of(raw)
        if item.type == "function_call":
            calls.add(None, item.name, item.arguments or "")


def _string(raw: Raw | None) -> str | None:
    return msgspec.json.decode(raw, type=str) if raw is not None and is_given(raw) else None
