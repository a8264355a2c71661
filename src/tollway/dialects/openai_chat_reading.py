"""Reading a provider's chat completion, whole or in chunks: framing, errors, usage, its end.

What is made of the pieces is for the two readers on top of it: the relay that passes bytes on, and
the parser that gives events. Rules: nothing raises for what a provider sends; the first thing that
is wrong becomes `meter.fault` and ends the reading. An answer is complete when a finish reason was
seen, or [DONE] after some content; a stream that stops without either broke off.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from msgspec import Raw, Struct

from ..canon import Fault, FinishReason
from . import Meter, faults
from .openai_chat_answer import (
    BAD_JSON,
    KEPT_AT_END,
    NOTHING,
    Choice,
    choices_decoder,
    fields_decoder,
    finish_of,
    is_given,
    mended,
)
from .openai_usage import read_usage
from .sse import EventTooLarge, Framer
from .surrogates import paired

SKELETONS_MAX = 32
"""A stream whose chunks keep differing around `choices` is not worth remembering."""

STRAY_BYTES_MAX = 64 * 1024
"""What is kept of a body that has no events in it, to say what it was instead."""


class Reading:
    """State of one answer. Subclasses say what happens to its choices."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        self.meter = Meter()
        self.quirks = quirks
        self.finishes: dict[int, tuple[FinishReason, str | None]] = {}
        """Choice to its finish reason; held back because some providers send two."""
        self.at_end: dict[str, Raw] = {}
        """Top-level fields for the last chunk."""

    def _envelope(self, payload: bytes) -> dict[str, Raw] | None:
        """The top level of one event; None when it was the end or a fault, which is noted."""
        if payload[:1] != b"{" and payload.strip() == b"[DONE]":
            self._done()
            return None
        try:
            if not payload.isascii():
                payload.decode()  # strings that are skipped are not checked by the JSON decoder
            fields = fields_decoder.decode(payload)
            if _may_be_error(fields):
                fault = faults.error_inside(msgspec.json.decode(payload))
                if fault is not None:
                    self._fail(fault)
                    return None
            self._look_at(fields)
        except BAD_JSON:
            sound = paired(payload)
            if sound is not None:
                return self._envelope(sound)
            self._fail(faults.broken("The provider sent an event that is not JSON.", payload))
            return None
        return fields

    def _choices(self, raw: Raw) -> tuple[list[Choice], Raw] | None:
        """The typed choices of a chunk, and their JSON (mended where it had to be)."""
        try:
            return choices_decoder.decode(raw), raw
        except BAD_JSON:
            pass
        try:
            fixed = Raw(msgspec.json.encode(mended(raw)))
            return choices_decoder.decode(fixed), fixed
        except (*BAD_JSON, ValueError):
            self._fail(faults.broken("The provider sent an event of unknown form.", bytes(raw)))
            return None

    def _note_choice(self, choice: Choice) -> bool:
        """Take a choice's finish reason, usage and error out; False when it is a fault."""
        if choice.error and is_given(choice.error):
            self._fail(_fault_of(choice.error))
            return False
        if choice.usage and is_given(choice.usage):
            self._note_usage(choice.usage)
        if choice.finish_reason:
            reason = finish_of(choice.finish_reason)
            native = choice.native_finish_reason or choice.finish_reason
            self.meter.finish, self.meter.native_finish = reason, native
            if reason == "error":
                self._fail(
                    Fault(
                        status=502,
                        error_type="provider_unavailable",
                        message="The provider broke its answer off.",
                        provider_code=native[:100],
                    )
                )
                return False
            self.finishes[choice.index] = reason, native
            self.meter.spoke = True
        return True

    def _done(self) -> None:
        """[DONE], or the end of the body after a finish reason."""
        usage = self.meter.usage
        nothing = not self.finishes and not (usage and usage.completion_tokens)
        if nothing and not self.meter.spoke:
            self._fail(faults.broken("The provider ended its answer without having said anything."))
            return
        if not self.finishes:
            self.finishes[0] = "stop", None
            self.meter.finish = "stop"
        self.meter.choices = len(self.finishes)
        self.meter.ended = self.meter.spoke = True

    def _fail(self, fault: Fault) -> None:
        self.meter.fault = fault

    def _look_at(self, fields: dict[str, Raw]) -> None:
        meter = self.meter
        if meter.upstream_id is None and "id" in fields:
            meter.upstream_id = _string(fields["id"])
        tier = _string(fields["service_tier"]) if "service_tier" in fields else None
        if tier is not None:
            meter.service_tier = tier
        usage = fields.get("usage")
        if usage is not None and is_given(usage):
            self._note_usage(usage)
        elif "x_groq" in fields:
            inner = msgspec.json.decode(fields["x_groq"])
            if isinstance(inner, dict) and inner.get("usage"):
                self._note_usage(Raw(msgspec.json.encode(inner["usage"])))
        for name in KEPT_AT_END:
            if name in fields and is_given(fields[name]):
                self.at_end[name] = fields[name].copy()

    def _note_usage(self, raw: Raw) -> None:
        """The last report that makes sense wins: some providers count up in every chunk."""
        try:
            usage = read_usage(raw, self.quirks)
        except BAD_JSON:
            return
        if usage is not None:
            self.meter.usage = usage


class StreamReading(Reading):
    """The same of a stream of chunks."""

    def __init__(self, quirks: Collection[str] = ()) -> None:
        super().__init__(quirks)
        self._framer = Framer()
        self._prefix = self._suffix = b""
        """What surrounds `choices` in the provider's chunks, as long as it repeats."""
        self._skeletons = 0
        self._stray: bytearray | None = bytearray()
        """The start of the body until its first event; None from then on."""

    def _payloads(self, data: bytes) -> list[bytes]:
        """Events completed by `data`; none once the reading is over."""
        if self.meter.ended or self.meter.fault is not None:
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
        if self.meter.ended or self.meter.fault is not None:
            return []
        payloads = self._framer.finish()
        if payloads:
            self._stray = None
        return payloads

    def _usual(self, payload: bytes) -> bytes | None:
        """The JSON of `choices` of a chunk that is otherwise like the ones before it; None when it
        has to be read whole. A chunk that begins and ends with the remembered bytes is sound when
        what lies between is one JSON value; where the end varies (OpenAI pads it), the top level
        is decoded for what would have to be looked at."""
        prefix, suffix = self._prefix, self._suffix
        if not prefix or payload[: len(prefix)] != prefix:
            return None
        if not (payload.isascii() or _is_utf8(payload)):
            return None
        if payload[-len(suffix) :] == suffix:
            return payload[len(prefix) : -len(suffix)]
        try:
            top = _top_decoder.decode(payload)
        except BAD_JSON:
            return None
        if len(top.usage) > 4 or top.error or top.x_groq or top.base_resp or top.citations:
            return None
        return bytes(top.choices)

    def _remember(self, payload: bytes, fields: dict[str, Raw], raw: Raw) -> None:
        """Keep the bytes around `choices` of a chunk that has been read whole: a later chunk with
        the same ones says nothing new there."""
        if self._skeletons >= SKELETONS_MAX or len(raw) <= 2:
            return
        choices = bytes(raw)
        at = payload.find(choices)
        if at < 0:
            return  # they were mended
        prefix, suffix = payload[:at], payload[at + len(choices) :]
        probe = fields_decoder.decode(prefix + b"0" + suffix)
        if bytes(probe.get("choices", b"")) == b"0" and len(probe) == len(fields):
            self._skeletons += 1
            self._prefix, self._suffix = prefix, suffix

    def _closed(self) -> None:
        """The body has ended and its last event is read."""
        if self.meter.ended or self.meter.fault is not None:
            return
        if self._stray is not None:
            self._fail(_not_a_stream(bytes(self._stray)))
        elif not self.finishes:
            self._fail(faults.broken("The provider's stream broke off."))
        else:
            self._done()


class _Top(Struct):
    choices: Raw = NOTHING
    usage: Raw = NOTHING
    error: Raw = NOTHING
    x_groq: Raw = NOTHING
    base_resp: Raw = NOTHING
    citations: Raw = NOTHING


_top_decoder = msgspec.json.Decoder(_Top)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _may_be_error(fields: dict[str, Raw]) -> bool:
    if "choices" in fields:
        return ("error" in fields and is_given(fields["error"])) or "base_resp" in fields
    return "error" in fields or "object" in fields or "type" in fields or "base_resp" in fields


def _fault_of(raw: Raw) -> Fault:
    try:
        return faults.fault_in_answer({"error": msgspec.json.decode(raw)})
    except BAD_JSON:
        return faults.broken("The provider sent an error that cannot be read.", bytes(raw))


def _not_a_stream(body: bytes) -> Fault:
    """What a body without a single event was."""
    if not body.strip():
        return faults.broken("The provider sent an empty answer.")
    try:
        decoded = msgspec.json.decode(body)
    except BAD_JSON:
        return faults.broken("The provider answered with something that is not a stream.", body)
    fault = faults.error_inside(decoded) if isinstance(decoded, dict) else None
    return fault or faults.broken("The provider answered whole where a stream was asked.", body)


def _string(raw: Raw) -> str | None:
    try:
        text = _text_decoder.decode(raw)
    except BAD_JSON:
        return None
    return None if text is None else text[:200]


_text_decoder: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
