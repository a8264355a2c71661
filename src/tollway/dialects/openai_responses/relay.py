"""A provider's Responses answer on its way to a caller of the same dialect.

Not here: reading (reading), translation (parser, writer). Rules: events pass as the bytes they came
in; only those that hold the response object are rewritten, for its id, model and usage. The
terminal event is held back until the answer is charged, because it carries the usage.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from ... import canon
from ...errors import TollwayError
from .. import Bill, Head
from ..openai_chat_answer import fields_decoder
from ..sse import CR, DONE, LF, escape_separators
from ..toolcalls import ToolCalls
from . import answer
from .parser import BodyParser
from .reading import DONE_ITEM, TERMINAL, Delta, ResponsesReading, collect, output_of


class StreamRelay(ResponsesReading):
    """See `dialects.Relay`."""

    def __init__(self, head: Head, quirks: Collection[str] = ()) -> None:
        super().__init__(quirks)
        self._head = head
        self._out: list[bytes] = []
        self._response: dict[str, Any] = {}
        """The provider's latest response object, with our id and model."""
        self._terminal: dict[str, Any] = {}
        self._events = 0

    def feed(self, data: bytes) -> bytes:
        for payload in self._payloads(data):
            self._take(payload)
            if self.meter.fault is not None or self.meter.ended:
                break
        return self._passed()

    def finish(self) -> bytes:
        for payload in self._last_payloads():
            self._take(payload)
        self._closed()
        return self._passed()

    def ending(self, bill: Bill) -> bytes:
        body = {**self._response, "usage": answer.usage(bill), **bill.extra}
        event = msgspec.json.encode({**self._terminal, "response": body})
        name = msgspec.json.decode(self._terminal["type"], type=str)
        return escape_separators(named(name.encode(), event)) + DONE

    def failure(self, error: TollwayError) -> bytes:
        """`response.failed` ends an answer that has begun; before that there is no response."""
        number = self._events
        if not self._response:
            return lone_error(error, number)
        body = {**self._response, **answer.failed(error), "output": [], "usage": None}
        event = {"type": "response.failed", "response": body, "sequence_number": number}
        return escape_separators(named(b"response.failed", msgspec.json.encode(event)))

    def on_delta(self, kind: bytes, delta: Delta, payload: bytes) -> None:
        self._pass(kind, payload)

    def on_event(self, kind: bytes, fields: dict[str, Raw], payload: bytes) -> None:
        raw = fields.get("response")
        if self.meter.calls is not None:
            self._collect(self.meter.calls, kind, fields)
        if raw is None:
            if kind:
                self._pass(kind, payload)
            return
        said: dict[str, Any] = dict(fields_decoder.decode(raw))
        said.pop("billing", None)
        self._response = {**said, "id": self._head.id, "model": self._head.model}
        if kind in TERMINAL:
            self._terminal = dict(fields)
            return
        rewritten = msgspec.json.encode({**fields, "response": self._response})
        self._pass(kind, rewritten)

    def _collect(self, calls: ToolCalls, kind: bytes, fields: dict[str, Raw]) -> None:
        """A finished item holds all of a call; a host that sends none tells it at the end."""
        if kind == DONE_ITEM and "item" in fields:
            collect(calls, [fields["item"]])
        elif kind in TERMINAL and "response" in fields and not len(calls):
            collect(calls, output_of(fields_decoder.decode(fields["response"])))

    def _pass(self, kind: bytes, payload: bytes) -> None:
        self._events += 1
        if LF in payload or CR in payload:
            payload = msgspec.json.format(payload, indent=-1)
        self._out += (b"event: ", kind, b"\ndata: ", payload, b"\n\n")

    def _passed(self) -> bytes:
        if not self._out:
            return b""
        out = b"".join(self._out)
        self._out.clear()
        return escape_separators(out)


class BodyRelay:
    """The same for a whole body: one response object, as it came but for id, model and usage."""

    def __init__(self, head: Head, quirks: Collection[str] = ()) -> None:
        self._head = head
        self._parser = _Keeping(quirks)
        self.meter = self._parser.meter

    def feed(self, data: bytes) -> bytes:
        self._parser.feed(data)
        return b""

    def finish(self) -> bytes:
        self._parser.finish()
        return b""

    def ending(self, bill: Bill) -> bytes:
        said: dict[str, Any] = dict(self._parser.fields)
        said.pop("billing", None)
        ours = {"id": self._head.id, "model": self._head.model, "usage": answer.usage(bill)}
        return escape_separators(msgspec.json.encode({**said, **ours, **bill.extra}))

    def failure(self, error: TollwayError) -> bytes:
        return answer.render_error(error)


class _Keeping(BodyParser):
    """Meters a body and keeps its fields."""

    def __init__(self, quirks: Collection[str]) -> None:
        super().__init__(quirks)
        self.fields: dict[str, Raw] = {}

    def take(self, fields: dict[str, Raw]) -> list[canon.Event]:
        self.fields = fields
        if self.meter.calls is not None:
            collect(self.meter.calls, output_of(fields))
        return super().take(fields)


def named(kind: bytes, payload: bytes) -> bytes:
    """One event; this API's clients may read either its name or its type."""
    return b"event: " + kind + b"\ndata: " + payload + b"\n\n"


def lone_error(error: TollwayError, number: int) -> bytes:
    event = {
        "type": "error",
        "code": answer.code_of(error),
        "message": error.message,
        "param": error.metadata.get("field"),
        "sequence_number": number,
    }
    return escape_separators(named(b"error", msgspec.json.encode(event)))
