"""A Gemini provider's answer on its way to a Gemini caller: bytes pass, only id, model and usage are
rewritten.

Rules: a chunk is decoded for what it meters and its candidates go on as they came; the provider's
running usage is left out and the last chunk, the one with the finish reason, waits for the bill.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from ...errors import TollwayError
from .. import Bill, Head
from ..sse import LF
from .answer import Answer, collect, is_given
from .failing import render_error
from .framing import Framing, ending_fields
from .reading import BodyReading, StreamReading


class StreamRelay(StreamReading):
    """See `dialects.Relay`."""

    def __init__(self, head: Head, sse: bool = True) -> None:
        super().__init__()
        self._head = head
        self._framing = Framing(head, sse)
        self._held: bytes | None = None
        """The start of the chunk that may be the last."""

    def feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        for payload in self._payloads(data):
            self._chunk(payload, out)
            if self.meter.fault is not None:
                break
        return b"".join(out)

    def finish(self) -> bytes:
        out: list[bytes] = []
        for payload in self._last_payloads():
            self._chunk(payload, out)
        self._close()
        return b"".join(out)

    def ending(self, bill: Bill) -> bytes:
        start = self._held or b'{"candidates":[]'
        last = b"," + msgspec.json.encode(ending_fields(self._head, bill))[1:]
        return self._framing.chunk(start + last) + self._framing.close()

    def failure(self, error: TollwayError) -> bytes:
        return self._framing.chunk(render_error(error)) + self._framing.close()

    def _chunk(self, payload: bytes, out: list[bytes]) -> None:
        found = self._read(payload)
        if found is None:
            return
        answer, candidates = found
        if self.meter.calls is not None:
            collect(self.meter.calls, candidates)
        start = _start(answer)
        if start is None:
            return
        if self._held is not None:
            out.append(self._framing.chunk(self._held + self._framing.after))
            self._held = None
        for one in candidates:
            if one.finish_reason is not None:
                break
        else:
            if candidates:
                out.append(self._framing.chunk(start + self._framing.after))
                return
        self._held = start


class BodyRelay(BodyReading):
    """The same for a whole body."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self._head = head
        self._start = b""

    def feed(self, data: bytes) -> bytes:
        self._collect(data)
        return b""

    def finish(self) -> bytes:
        found = self._whole()
        if found is not None:
            answer, candidates = found
            if self.meter.calls is not None:
                collect(self.meter.calls, candidates)
            self._start = _start(answer) or b'{"candidates":[]'
        self._close()
        return b""

    def ending(self, bill: Bill) -> bytes:
        return self._start + b"," + msgspec.json.encode(ending_fields(self._head, bill))[1:]

    def failure(self, error: TollwayError) -> bytes:
        return render_error(error)


def _start(answer: Answer) -> bytes | None:
    """A chunk up to what is ours; None for one that says nothing to the caller."""
    candidates, feedback = answer.candidates, answer.prompt_feedback
    if not (feedback and is_given(feedback)):
        if not is_given(candidates):
            return None
        return b'{"candidates":' + _one_line(candidates)
    start = b'{"promptFeedback":' + _one_line(feedback)
    return start + b',"candidates":' + _one_line(candidates) if is_given(candidates) else start


def _one_line(raw: Raw) -> bytes:
    """JSON that came over several lines would end an event too early."""
    plain = bytes(raw)
    return msgspec.json.format(plain, indent=-1) if LF in plain else plain
