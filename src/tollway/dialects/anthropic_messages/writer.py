"""Events of `canon` as a Messages answer, streamed or whole, for callers of this dialect.

Not here: reading providers. Rules of the wire: one block is open at a time and blocks are numbered;
a thought is closed by its signature; the message's end says why and how much. Pieces of parallel
calls that come interleaved wait until the call before them is whole. Reasoning of other vendors
goes out with a signature of ours, so that it comes back (opaque). What the wire has no block for
(images, audio, log probabilities, further choices) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event
from ...errors import TollwayError
from .. import Bill, Head
from ..sse import escape_separators
from ..surrogates import object_of
from .answer import BAD_JSON, FINISH, NATIVE
from .compose import arguments_object, tool_id
from .opaque import FORMAT, UNKNOWN, Detail, read_detail, wrapped
from .problems import failure_event, render_error
from .relay import named, ours
from .usage import EMPTY, render_usage

Fields = dict[str, Any]


class _Call:
    """A tool call on its way out."""

    __slots__ = ("arguments", "block", "id", "name", "waiting")

    def __init__(self, said: canon.ToolCall) -> None:
        self.id = said.id or f"toolu_{said.index}"
        self.name = said.name or ""
        self.arguments: list[str] = []
        self.waiting: list[str] = []
        """Pieces that came before the block could be opened."""
        self.block: int | None = None

    @property
    def whole(self) -> bool:
        return object_of("".join(self.arguments)) is not None


class Writer:
    """Decides which block is open. Subclasses write blocks: `_open`, `_piece`, `_close`."""

    def __init__(self, head: Head, hides: bool = False) -> None:
        self._head = head
        self._hides = hides
        self._index = -1
        """Of the open block, or the latest."""
        self._kind = ""
        """text, thinking, tool_use; empty when no block is open."""
        self._thought: Fields | None = None
        """The reasoning entry being written, of another vendor; its text is left out."""
        self._thought_index: int | None = None
        self._calls: dict[int, _Call] = {}
        self._queue: list[_Call] = []
        """Calls in order of appearance, the first one open."""
        self._native = ""
        self._refused = False

    # ---- blocks, written by subclasses -----------------------------------------------------------

    def _open(self, kind: str, block: Fields) -> None:
        raise NotImplementedError

    def _piece(self, kind: str, name: str, value: object, index: int | None = None) -> None:
        """`kind` of delta, with its one field."""
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError

    # ---- events ----------------------------------------------------------------------------------

    def _event(self, event: Event) -> None:
        if getattr(event, "choice", 0):
            return
        match event:
            case canon.Text() if event.text:
                self._text(event.text)
            case canon.Reasoning():
                self._reasoning(event)
            case canon.ToolCall():
                self._call(event)
            case canon.Refusal() if event.text:
                self._refused = True
                self._text(event.text)
            case canon.Extra() if event.name == "annotations":
                self._annotations(event.value)
            case canon.Finish():
                self._finish(event)

    def _text(self, text: str) -> None:
        if self._kind != "text":
            self._begin("text", {"type": "text", "text": ""})
        if text:
            self._piece("text_delta", "text", text)

    def _begin(self, kind: str, block: Fields) -> None:
        self._end()
        self._index += 1
        self._kind = kind
        self._open(kind, block)

    def _end(self) -> None:
        """Close what is open, in its own way."""
        if self._kind == "thinking":
            self._sign()
        if self._kind == "tool_use":
            self._flush_calls()
        if self._kind:
            self._close()
        self._kind = ""

    def _finish(self, finish: canon.Finish) -> None:
        native = finish.native or ""
        known = FINISH.get(native) == finish.reason
        self._native = native if known else NATIVE[finish.reason]
        if self._native == "end_turn" and self._calls:
            self._native = "tool_use"
        if self._refused and self._native == "end_turn":
            self._native = "refusal"

    def _reason(self) -> Fields:
        self._end()
        reason: Fields = {"stop_reason": self._native or "end_turn", "stop_sequence": None}
        if self._native == "refusal":
            why = {"type": "refusal", "category": None, "explanation": None}
            reason["stop_details"] = why
        return reason

    # ---- reasoning -------------------------------------------------------------------------------

    def _reasoning(self, event: canon.Reasoning) -> None:
        said = False
        for raw in event.details:
            detail = read_detail(raw)
            if detail is None:
                continue
            said = said or bool(detail.words)
            if detail.type == "reasoning.encrypted":
                self._redacted(raw, detail)
            else:
                self._thinking(raw, detail)
        if event.text and not said and not self._hides:
            self._think(event.text)

    def _redacted(self, raw: Raw, detail: Detail) -> None:
        if not detail.data:
            return
        data = detail.data if detail.format == FORMAT else wrapped(raw)
        self._begin("redacted_thinking", {"type": "redacted_thinking", "data": data})
        self._end()

    def _thinking(self, raw: Raw, detail: Detail) -> None:
        if self._hides and detail.format in UNKNOWN:
            return
        moved = self._thought_index is not None and detail.index != self._thought_index
        if self._kind == "thinking" and moved:
            self._end()
        if detail.words or detail.signature:
            self._think("" if self._hides else detail.words)
        if self._kind != "thinking":
            return
        self._thought_index = detail.index
        if detail.format in UNKNOWN:
            return
        if detail.format != FORMAT:
            entry = msgspec.json.decode(raw)
            known = {k: v for k, v in entry.items() if k not in ("text", "summary")}
            self._thought = {**(self._thought or {}), **known}
        elif detail.signature:
            self._piece("signature_delta", "signature", detail.signature)
            self._thought = self._thought_index = None
            self._kind = "signed"
            self._end()

    def _think(self, text: str) -> None:
        if self._kind != "thinking":
            self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if text:
            self._piece("thinking_delta", "thinking", text)

    def _sign(self) -> None:
        """Close a thought of another vendor with its entry."""
        if self._thought is not None:
            self._piece("signature_delta", "signature", wrapped(self._thought))
        self._thought = self._thought_index = None

    # ---- tool calls ------------------------------------------------------------------------------

    def _call(self, said: canon.ToolCall) -> None:
        call = self._calls.get(said.index)
        if call is None:
            call = self._calls[said.index] = _Call(said)
            if self._kind != "tool_use":
                self._start(call)
            self._queue.append(call)
        if said.arguments:
            call.arguments.append(said.arguments)
            if call.block is None:
                call.waiting.append(said.arguments)
            else:
                self._piece("input_json_delta", "partial_json", said.arguments, call.block)
        while len(self._queue) > 1 and self._queue[0].whole:
            self._next_call()

    def _start(self, call: _Call) -> None:
        block = {"type": "tool_use", "id": tool_id(call.id), "name": call.name, "input": {}}
        self._begin("tool_use", block)
        call.block = self._index
        if call.waiting:
            self._piece("input_json_delta", "partial_json", "".join(call.waiting))
            call.waiting.clear()

    def _next_call(self) -> None:
        del self._queue[0]
        self._close()
        self._kind = ""
        self._start(self._queue[0])

    def _flush_calls(self) -> None:
        while len(self._queue) > 1:
            self._next_call()
        self._queue.clear()

    # ---- citations -------------------------------------------------------------------------------

    def _annotations(self, raw: Raw) -> None:
        try:
            entries = msgspec.json.decode(raw)
        except BAD_JSON:
            return
        for entry in entries if isinstance(entries, list) else ():
            citation = _citation(entry)
            if citation is not None:
                self._text("")
                self._piece("citations_delta", "citation", citation)

    def _message(self, content: list[Fields], usage: Fields) -> Fields:
        return {
            "type": "message",
            "role": "assistant",
            **ours(self._head),
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }


class StreamWriter(Writer):
    """See `translated.Renderer`."""

    def __init__(self, head: Head, hides: bool = False) -> None:
        super().__init__(head, hides)
        self._out: list[bytes] = []
        self._began = False
        self._text_before = b""
        """Of a text delta of the open block, up to its text."""

    def render(self, events: Sequence[Event]) -> bytes:
        out = self._out
        if not self._began:
            self._began = True
            message = self._message([], EMPTY)
            out.append(named("message_start", {"type": "message_start", "message": message}))
        encode = msgspec.json.encode
        for event in events:
            if type(event) is canon.Text and self._kind == "text" and not event.choice:
                out += (self._text_before, encode(event.text), b"}}\n\n")
            else:
                self._event(event)
        return self._flushed()

    def _flushed(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return escape_separators(data)

    def _open(self, kind: str, block: Fields) -> None:
        fields = {"type": "content_block_start", "index": self._index, "content_block": block}
        self._out.append(named("content_block_start", fields))
        if kind == "text":
            self._text_before = (
                b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
                b'"delta":{"type":"text_delta","text":' % self._index
            )

    def _piece(self, kind: str, name: str, value: object, index: int | None = None) -> None:
        at = self._index if index is None else index
        delta = {"type": kind, name: value}
        fields = {"type": "content_block_delta", "index": at, "delta": delta}
        self._out.append(named("content_block_delta", fields))

    def _close(self) -> None:
        fields = {"type": "content_block_stop", "index": self._index}
        self._out.append(named("content_block_stop", fields))

    def ending(self, bill: Bill) -> bytes:
        self.render(())  # nothing, but the message's start where there was none
        reason, out = self._reason(), self._out
        last = {"type": "message_delta", "delta": reason, "usage": render_usage(bill)}
        out.append(named("message_delta", last))
        out.append(named("message_stop", {"type": "message_stop", **bill.extra}))
        return self._flushed()

    def failure(self, error: TollwayError) -> bytes:
        return failure_event(error)


class BodyWriter(Writer):
    """The same for a whole answer."""

    def __init__(self, head: Head, hides: bool = False) -> None:
        super().__init__(head, hides)
        self._content: list[Fields] = []
        self._pieces: dict[int, list[str]] = {}

    def render(self, events: Sequence[Event]) -> bytes:
        for event in events:
            self._event(event)
        return b""

    def _open(self, kind: str, block: Fields) -> None:
        self._content.append(block)
        self._pieces[self._index] = []

    def _piece(self, kind: str, name: str, value: object, index: int | None = None) -> None:
        at = self._index if index is None else index
        if kind == "citations_delta":
            self._content[at].setdefault("citations", []).append(value)
        elif kind == "signature_delta":
            self._content[at]["signature"] = value
        else:
            self._pieces[at].append(str(value))

    def _close(self) -> None:
        """Nothing yet: a late piece may still come."""

    def ending(self, bill: Bill) -> bytes:
        reason = self._reason()
        for at, block in enumerate(self._content):
            text = "".join(self._pieces[at])
            match block["type"]:
                case "text":
                    block["text"] = text
                    block.setdefault("citations", None)
                case "thinking":
                    block["thinking"] = text
                case "tool_use":
                    block["input"] = arguments_object(text)
        message = self._message(self._content, render_usage(bill))
        return escape_separators(msgspec.json.encode({**message, **reason, **bill.extra}))

    def failure(self, error: TollwayError) -> bytes:
        return render_error(error)


def _citation(entry: object) -> Fields | None:
    """A `url_citation` entry as a citation of the web."""
    said = entry.get("url_citation") if isinstance(entry, Mapping) else None
    if not isinstance(said, Mapping) or not isinstance(said.get("url"), str):
        return None
    content, title = said.get("content"), said.get("title")
    return {
        "type": "web_search_result_location",
        "cited_text": content if isinstance(content, str) else "",
        "encrypted_index": "",
        "title": title if isinstance(title, str) else None,
        "url": said["url"],
    }
