"""A ConverseStream answer as events.

Not here: what the pieces mean (answer). Grammar: messageStart, per block contentBlockStart (tools
only), contentBlockDelta…, contentBlockStop; messageStop, metadata. Rules: an answer is complete
with metadata after messageStop, or when the stream closes after messageStop; an exception message
or anything that cannot be read is one Failed event and the last.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from ... import canon
from ...canon import Event, Fault
from .. import faults
from ..surrogates import paired
from .answer import (
    BAD_JSON,
    Block,
    Image,
    ImageSource,
    Reading,
    Reasoning,
    ServiceTier,
    image_event,
)
from .eventstream import Framer, Message
from .faults import fault_of

STRAY_BYTES_MAX = 4_096
"""Kept of a body until its first message, to say what it was instead."""

IMAGE_BYTES_MAX = 32 * 1024 * 1024


class Start(Struct, rename="camel"):
    start: Block | None = None
    content_block_index: int = 0


class Piece(Struct, rename="camel"):
    delta: Block | None = None
    content_block_index: int = 0


class Stopped(Struct, rename="camel"):
    stop_reason: str = ""
    content_block_index: int = 0


class Metadata(Struct, rename="camel"):
    usage: Raw = Raw(b"")
    service_tier: ServiceTier | None = None


class Told(Struct, rename="camel"):
    message: str = ""
    original_message: str | None = None


class StreamParser(Reading):
    """`feed` takes bytes cut anywhere and gives the events completed by them."""

    def __init__(self) -> None:
        super().__init__()
        self._framer = Framer()
        self._stray: bytearray | None = bytearray()
        self._open: dict[int, _Open] = {}

    def feed(self, data: bytes) -> list[Event]:
        if self._over():
            return []
        if self._stray is not None:
            self._stray += data[: STRAY_BYTES_MAX - len(self._stray)]
        events: list[Event] = []
        for message in self._framer.feed(data):
            self._stray = None
            events += self._message(message)
            if self._over():
                return events
        if why := self._framer.broken:
            events.append(
                self._failed(self._not_a_stream(f"The provider's stream is broken: {why}."))
            )
        return events

    def finish(self) -> list[Event]:
        if self._over():
            return []
        if self.meter.finish is None:
            return [self._failed(self._not_a_stream("The provider's stream broke off."))]
        return self.closing()

    def _over(self) -> bool:
        return self.meter.ended or self.meter.fault is not None

    def _failed(self, fault: Fault) -> Event:
        self.meter.fault = fault
        return canon.Failed(fault)

    def _not_a_stream(self, message: str) -> Fault:
        if self._stray is None:
            return faults.broken(message)
        if not self._stray.strip():
            return faults.broken("The provider sent an empty answer.")
        return faults.broken(
            "The provider answered with something that is not a stream.", bytes(self._stray)
        )

    # ---- messages --------------------------------------------------------------------------------

    def _message(self, message: Message) -> list[Event]:
        kind = message.text(":message-type")
        try:
            if kind == "exception":
                told = msgspec.json.decode(message.payload or b"{}", type=Told)
                text = told.original_message or told.message
                return [self._failed(fault_of(message.text(":exception-type"), text))]
            if kind == "error":
                text = message.text(":error-message")
                return [self._failed(fault_of(message.text(":error-code"), text))]
            return self._event(message.text(":event-type"), message.payload)
        except BAD_JSON:
            mended = paired(message.payload)
            if mended is not None:
                return self._message(msgspec.structs.replace(message, payload=mended))
            broken = "The provider sent an event that cannot be read."
            return [self._failed(faults.broken(broken, message.payload))]

    def _event(self, name: str, payload: bytes) -> list[Event]:
        match name:
            case "contentBlockDelta":
                return self._delta(_piece_decoder.decode(payload))
            case "contentBlockStart":
                return self._begin(msgspec.json.decode(payload, type=Start))
            case "contentBlockStop":
                return self._end(msgspec.json.decode(payload, type=Stopped).content_block_index)
            case "messageStop":
                stopped = msgspec.json.decode(payload, type=Stopped)
                fault = self.stopped(stopped.stop_reason)
                return [self._failed(fault)] if fault else []
            case "metadata":
                metadata = msgspec.json.decode(payload, type=Metadata)
                self.used(metadata.usage)
                if metadata.service_tier is not None:
                    self.meter.service_tier = metadata.service_tier.type
                return self.closing() if self.meter.finish is not None else []
        return []  # messageStart, and what is yet to be invented

    def _begin(self, begun: Start) -> list[Event]:
        block = begun.start or Block()
        state = self._open[begun.content_block_index] = _Open()
        if block.tool_use is not None:
            if block.tool_use.type is not None:  # runs at the provider; nobody here is asked
                state.hidden = True
                return []
            events = self.called(block.tool_use.name, block.tool_use.tool_use_id)
            state.call = self.calls - 1 if events else -1
            return events
        if block.image is not None:
            state.image = block.image.format
        return []

    def _delta(self, piece: Piece) -> list[Event]:
        delta = piece.delta or Block()
        if delta.text is not None:
            return self.said(delta.text)
        state = self._open.get(piece.content_block_index)
        if state is None:
            state = self._open[piece.content_block_index] = _Open()
        if delta.tool_use is not None and not state.hidden:
            text = msgspec.json.decode(delta.tool_use.input, type=str)
            state.argued = state.argued or bool(text)
            if state.call is None:
                return []
            return self.said(text) if state.call < 0 else self.argued(text, state.call)
        if delta.reasoning_content is not None:
            return self._reasoning(delta.reasoning_content, state)
        if delta.image is not None and delta.image.source is not None:
            state.add(delta.image.source.bytes)
        if delta.citation:
            return self.cited(delta.citation)
        return []

    def _reasoning(self, piece: Reasoning, state: _Open) -> list[Event]:
        if state.thought is None:
            state.thought, self.thoughts = self.thoughts, self.thoughts + 1
        if piece.redacted_content:
            return self.redacted(piece.redacted_content, state.thought)
        if piece.signature:
            return self.signed(piece.signature, state.thought)
        return self.thought(piece.text or "", state.thought)

    def _end(self, index: int) -> list[Event]:
        state = self._open.pop(index, None)
        if state is None:
            return []
        if state.call is not None and not state.argued:
            return self.said("{}") if state.call < 0 else self.argued("{}", state.call)
        if state.pixels:
            source = ImageSource(b"".join(state.pixels))
            return image_event(self.meter, Image(state.image, source))
        return []


class _Open:
    """A content block that has begun and not ended."""

    __slots__ = ("argued", "call", "hidden", "image", "pixels", "size", "thought")

    def __init__(self) -> None:
        self.call: int | None = None
        """Index of the tool call; -1 = the call that stands for the answer."""
        self.argued = False
        self.hidden = False
        self.thought: int | None = None
        self.image = "png"
        self.pixels: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size <= IMAGE_BYTES_MAX:
            self.pixels.append(piece)


_piece_decoder = msgspec.json.Decoder(Piece)
