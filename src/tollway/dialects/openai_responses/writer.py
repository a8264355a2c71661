"""Events of `canon` to the bytes a Responses caller expects: the whole event grammar, or one body.

Rules: items open when their first piece comes and close when another kind begins; a call closes
once its arguments are whole, so that parallel fragments still find it. The same items make the
stream's events and the final response object. Sequence numbers count every event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event, FinishReason, Request
from ...errors import TollwayError
from .. import Bill, Head, Meter
from ..reasoning import wanted
from ..sse import DONE, escape_separators
from . import answer, freeform
from .items import CallItem, CustomItem, ImageItem, Item, MessageItem, Names, ReasoningItem
from .relay import lone_error, named
from .thoughts import Entry, entry_of

_Item = TypeVar("_Item", bound=Item)


class Writer:
    """See `translated.Renderer`."""

    def __init__(self, head: Head, request: Request | None, meter: Meter) -> None:
        self._head = head
        self._response = answer.response(head, request)
        self._meter = meter
        self._hides = request is not None and wanted(request.fields).exclude
        self._custom = freeform.names(request.fields) if request is not None else frozenset()
        self._names = Names(head.id)
        self._items: list[Item] = []
        self._open: MessageItem | ReasoningItem | None = None
        self._calls: dict[int, CallItem] = {}
        self._finish: FinishReason | None = None
        self._out: list[bytes] = []
        self._number = 0

    def render(self, events: Sequence[Event]) -> bytes:
        for event in events:
            self._write(event)
        return self._written()

    def ending(self, bill: Bill) -> bytes:
        self._close_all()
        cut = _INCOMPLETE.get(self._finish or "stop")
        body = {
            **self._response,
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": cut} if cut else None,
            "output": [item.whole() for item in self._items],
            "service_tier": bill.service_tier or self._meter.service_tier,
            "usage": answer.usage(bill),
            **bill.extra,
        }
        if not self._head.stream:
            return escape_separators(msgspec.json.encode(body))
        self._begin()
        self.emit("response.incomplete" if cut else "response.completed", response=body)
        return self._written() + DONE

    def failure(self, error: TollwayError) -> bytes:
        if not self._head.stream:
            return answer.render_error(error)
        if not self._number:
            return lone_error(error, 0)
        output = [item.whole() for item in self._items if item.closed]
        body = {**self._response, **answer.failed(error), "output": output}
        self.emit("response.failed", response=body)
        return self._written()

    def emit(self, kind: str, **fields: Any) -> None:
        """One event of the stream, numbered; nothing where the answer is not streamed."""
        if self._head.stream:
            event = {"type": kind, **fields, "sequence_number": self._number}
            self._out.append(named(kind.encode(), msgspec.json.encode(event)))
            self._number += 1

    def emit_delta(self, before: bytes, text: str, after: bytes) -> None:
        """The events that streams are made of: all but text and number is prepared once."""
        if self._head.stream:
            number = b"%d}\n\n" % self._number
            self._out += (before, msgspec.json.encode(text), after, number)
            self._number += 1

    # ---- events ----------------------------------------------------------------------------------

    def _write(self, event: Event) -> None:
        match event:
            case canon.Text(choice=0) if event.text:
                self._message().text(event.text)
            case canon.Refusal(choice=0) if event.text:
                self._message().refusal(event.text)
            case canon.Reasoning(text, details, 0) if not self._hides:
                self._reason(text, details)
            case canon.ToolCall(choice=0):
                self._call(event)
            case canon.Extra(name, value, 0):
                self._extra(name, value)
            case canon.Finish(reason, _, 0):
                self._finish = reason
                self._close_all()
            case _:
                pass

    def _message(self) -> MessageItem:
        item = self._open
        if not isinstance(item, MessageItem):
            self._close()
            item = self._add(MessageItem(self, len(self._items), self._names.next("msg")))
            self._open = item
        return item

    def _reason(self, text: str, details: Sequence[Raw]) -> None:
        if not details:
            if text:
                self._thought(Entry("reasoning.text", text=text, index=0)).text(text)
            return
        told = False
        for raw in details:
            entry = entry_of(raw)
            if entry is None:
                continue
            item = self._thought(entry)
            item.detail(entry, raw)
            told = told or bool(entry.text or entry.summary)
        if text and not told:
            self._thought(Entry("reasoning.text", text=text)).text(text)

    def _thought(self, entry: Entry) -> ReasoningItem:
        """The open reasoning item, or a new one where the entry belongs to another."""
        item = self._open
        if not (isinstance(item, ReasoningItem) and item.takes(entry)):
            self._close()
            name = self._names.reasoning(entry)
            item = self._open = self._add(ReasoningItem(self, len(self._items), name))
        return item

    def _call(self, piece: canon.ToolCall) -> None:
        call = self._calls.get(piece.index)
        if call is None:
            self._close()
            for other in self._calls.values():
                other.close_if_whole()
            call_id = piece.id or self._names.next("call")
            kind = CustomItem if piece.name in self._custom else CallItem
            name = self._names.next("ctc" if kind is CustomItem else "fc")
            call = kind(self, len(self._items), name, call_id, piece.name)
            self._calls[piece.index] = self._add(call)
        call.arguments(piece.arguments)

    def _extra(self, name: str, value: Raw) -> None:
        try:
            if name == "annotations":
                for note in msgspec.json.decode(value, type=list[Raw]):
                    self._message().annotation(note)
            elif name == "logprobs":
                self._message().logprobs(value)
            elif name == "images":
                for image in msgspec.json.decode(value, type=list[Raw]):
                    self._close()
                    self._add(ImageItem(self, len(self._items), self._names.next("ig"), image))
        except msgspec.DecodeError:
            return

    # ---- opening and closing ---------------------------------------------------------------------

    def _begin(self) -> None:
        if not self._number:
            self.emit("response.created", response=self._response)
            self.emit("response.in_progress", response=self._response)

    def _add(self, item: _Item) -> _Item:
        self._begin()
        self._items.append(item)
        item.open()
        return item

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _close_all(self) -> None:
        """Where the answer was cut short, the item that was being written is the incomplete one."""
        self._open = None
        cut = self._finish in _INCOMPLETE
        for item in self._items:
            if not item.closed:
                item.close(incomplete=cut and item is self._items[-1])

    def _written(self) -> bytes:
        if not self._out:
            return b""
        out = b"".join(self._out)
        self._out.clear()
        return escape_separators(out)


_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
