"""Reading a provider's generateContent answer: framing, errors, usage, its end.

What is made of the pieces is for the readers on top of it: the relay that passes bytes on, and the
parser that gives events. Rules: nothing raises for what a provider sends; the first thing that is
wrong becomes `meter.fault` and ends the reading. The stream has no terminator: it is complete when
the body ends after a finish reason, or after the prompt was blocked. Usage is cumulative and the
last report wins.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from ...canon import Fault, FinishReason
from .. import Meter, faults
from ..sse import EventTooLarge, Framer
from ..surrogates import paired
from .answer import (
    BAD_JSON,
    FINISH,
    Answer,
    Candidate,
    answer_decoder,
    candidates_decoder,
    feedback_decoder,
    is_given,
    note,
)
from .failing import fault_in_answer
from .models import generation
from .usage import read_usage

BODY_BYTES_MAX = 64 * 1024 * 1024
"""Room for several generated images as base64; a larger body is cut off as broken."""
STRAY_BYTES_MAX = 64 * 1024
"""What is kept of a body that has no events in it, to say what it was instead."""


class Reading:
    """State of one answer. Subclasses say what happens to its candidates."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.finishes: dict[int, tuple[FinishReason, str]] = {}
        """Candidate to its finish reason; held back because some answers say it in every chunk."""
        self.calling: set[int] = set()
        """Candidates that called a function."""
        self._usage: Raw | None = None
        self._searches = 0
        self._model = ""

    def _read(self, payload: bytes) -> tuple[Answer, list[Candidate]] | None:
        """One chunk or body, metered; None when it was a fault, which is noted."""
        try:
            if not payload.isascii():
                payload.decode()  # strings that are skipped are not checked by the JSON decoder
            answer = answer_decoder.decode(payload)
            raw = answer.candidates
            candidates = candidates_decoder.decode(raw) if is_given(raw) else []
        except BAD_JSON:
            mended = paired(payload)
            if mended is not None:
                return self._read(mended)
            self._fail(self._unreadable(payload))
            return None
        if answer.error and is_given(answer.error):
            self._fail(fault_in_answer(msgspec.json.decode(payload)))
            return None
        meter = self.meter
        if meter.upstream_id is None and answer.response_id:
            meter.upstream_id = answer.response_id[:200]
        if answer.model_version:
            self._model = answer.model_version
        if len(answer.usage_metadata) > 2:
            self._usage = answer.usage_metadata
        for candidate in candidates:
            if not self._note(candidate):
                return None
        if not candidates and is_given(answer.prompt_feedback):
            self._note_feedback(answer.prompt_feedback)
        return answer, candidates

    def _unreadable(self, payload: bytes) -> Fault:
        try:
            decoded = msgspec.json.decode(payload)
        except BAD_JSON:
            return faults.broken("The provider sent an answer that is not JSON.", payload)
        if isinstance(decoded, list) and decoded and isinstance(decoded[0], dict):
            decoded = decoded[0]
        if isinstance(decoded, dict) and decoded.get("error"):
            return fault_in_answer(decoded)
        return faults.broken("The provider sent an answer of unknown form.", payload)

    def _note(self, candidate: Candidate) -> bool:
        """Take what a candidate says into the meter; False when it is a fault."""
        meter = self.meter
        content = candidate.content
        if content is not None and content.parts and note(meter, content.parts):
            self.calling.add(candidate.index)
        if len(candidate.grounding_metadata) > 4:
            self._note_searches(candidate.grounding_metadata)
        native = candidate.finish_reason
        if native is None:
            return True
        reason = FINISH.get(native, "stop")
        meter.native_finish = native
        if reason == "error":
            meter.finish = "error"
            said = candidate.finish_message or "The provider broke its answer off."
            fault = faults.broken(f"{said[:300]} ({native[:100]})")
            self._fail(msgspec.structs.replace(fault, provider_code=native[:100]))
            return False
        if reason == "stop" and candidate.index in self.calling:
            reason = "tool_calls"
        self.finishes[candidate.index] = reason, native
        meter.finish = reason
        meter.spoke = True
        return True

    def _note_feedback(self, raw: Raw) -> None:
        """A prompt that was blocked is answered with nothing but the reason."""
        try:
            feedback = feedback_decoder.decode(raw)
        except BAD_JSON:
            return
        if feedback.block_reason and feedback.block_reason != "BLOCKED_REASON_UNSPECIFIED":
            self.finishes[0] = "content_filter", feedback.block_reason
            self.meter.finish, self.meter.native_finish = "content_filter", feedback.block_reason
            self.meter.spoke = True

    def _note_searches(self, raw: Raw) -> None:
        """Gemini 3 and later bill every query, earlier models the prompt that was grounded."""
        try:
            grounding = msgspec.json.decode(raw)
        except BAD_JSON:
            return
        queries = grounding.get("webSearchQueries") if isinstance(grounding, dict) else None
        if isinstance(queries, list) and queries:
            by_query = (generation(self._model) or 3) >= 3
            self._searches = max(self._searches, len(queries) if by_query else 1)

    def _close(self) -> None:
        """The answer has been read to its end."""
        meter = self.meter
        if meter.fault is not None:
            return
        if self._usage is not None:
            meter.usage = read_usage(self._usage, self._searches)
        if not self.finishes:
            self._fail(faults.broken("The provider's answer broke off."))
            return
        meter.choices = len(self.finishes)
        meter.ended = True

    def _fail(self, fault: Fault) -> None:
        self.meter.fault = fault


class StreamReading(Reading):
    """The same of a stream of events."""

    def __init__(self) -> None:
        super().__init__()
        self._framer = Framer()
        self._stray: bytearray | None = bytearray()
        """The start of the body until its first event; None from then on."""

    def _payloads(self, data: bytes) -> list[bytes]:
        """Events completed by `data`; none once the reading is over."""
        if self.meter.fault is not None:
            return []
        if self._stray is not None and len(self._stray) < STRAY_BYTES_MAX:
            self._stray += data[:STRAY_BYTES_MAX]
        try:
            payloads = self._framer.feed(data)
        except EventTooLarge as error:
            self._fail(faults.broken(f"The provider's stream is broken: {error}."))
            return []
        if payloads:
            self._stray = None
        return payloads

    def _last_payloads(self) -> list[bytes]:
        if self.meter.fault is not None or self.meter.ended:
            return []
        payloads = self._framer.finish()
        if payloads:
            self._stray = None
        return payloads

    def _close(self) -> None:
        if self._stray is not None and self.meter.fault is None and not self.meter.ended:
            self._fail(self._no_stream(bytes(self._stray)))
        super()._close()

    def _no_stream(self, body: bytes) -> Fault:
        if not body.strip():
            return faults.broken("The provider sent an empty answer.")
        return self._unreadable(body)


class BodyReading(Reading):
    """The same of a whole body, collected up to a cap."""

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()

    def _collect(self, data: bytes) -> None:
        if self.meter.fault is not None:
            return
        self._data += data
        if len(self._data) > BODY_BYTES_MAX:
            self._data.clear()
            self._fail(
                faults.broken(f"The provider's answer is larger than {BODY_BYTES_MAX:,} bytes.")
            )

    def _whole(self) -> tuple[Answer, list[Candidate]] | None:
        """The body, read once; None when it was a fault or has been read before."""
        if self.meter.fault is not None or self.meter.ended:
            return None
        body = bytes(self._data)
        self._data.clear()
        if not body.strip():
            self._fail(faults.broken("The provider sent an empty answer."))
            return None
        return self._read(body)
