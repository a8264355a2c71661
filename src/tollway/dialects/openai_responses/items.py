"""The output items of an answer that is being written: what each emits and what it is when whole.

Not here: which item comes when (writer). An item emits through its `Sink`; where the answer is not
streamed nothing comes of that, and `whole()` is all that is read.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from msgspec import Raw

from ..surrogates import anything, decoded
from .freeform import unwrapped
from .thoughts import FORMAT, Entry, joined, state_of
from .written import flat


class Sink(Protocol):
    def emit(self, kind: str, **fields: Any) -> None: ...

    def emit_delta(self, before: bytes, text: str, after: bytes) -> None: ...


class Names:
    """Ids of items, all from the answer's own; prefixes are those that OpenAI checks."""

    def __init__(self, answer_id: str) -> None:
        self._stem = answer_id.removeprefix("gen-")[:40]
        self._count = 0

    def next(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._stem}_{self._count}"

    def reasoning(self, entry: Entry) -> str:
        """The provider's own id where its state is bound to it."""
        if entry.id and entry.format == FORMAT:
            return entry.id
        return self.next("rs")


class Item:
    """Base of all: a place in the output, an id, and whether it is closed."""

    def __init__(self, sink: Sink, place: int, name: str) -> None:
        self.sink, self.place, self.id = sink, place, name
        self.closed = False
        self.status = "in_progress"

    def whole(self) -> dict[str, Any]:
        raise NotImplementedError

    def open(self) -> None:
        self.sink.emit("response.output_item.added", output_index=self.place, item=self.whole())

    def close(self, incomplete: bool = False) -> None:
        self.finish_parts()
        self.closed = True
        self.status = "incomplete" if incomplete else "completed"
        self.sink.emit("response.output_item.done", output_index=self.place, item=self.whole())

    def finish_parts(self) -> None:
        """Close what is open inside."""

    def prepared(self, kind: str, **fields: Any) -> tuple[bytes, bytes]:
        """An event's bytes before its delta, and after it up to its number."""
        event = {"type": kind, "item_id": self.id, "output_index": self.place, **fields}
        head = b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode(event)[:-1]
        logprobs = b',"logprobs":[]' if kind == "response.output_text.delta" else b""
        return head + b',"delta":', logprobs + b',"sequence_number":'

    def emit(self, kind: str, **fields: Any) -> None:
        self.sink.emit(kind, item_id=self.id, output_index=self.place, **fields)


class _Part:
    """A part of an item that grows: its kind, its place, its pieces."""

    def __init__(self, kind: str, place: int, frame: tuple[bytes, bytes]) -> None:
        self.kind, self.place = kind, place
        self.before, self.after = frame
        self.pieces: list[str] = []
        self.annotations: list[dict[str, Any]] = []
        self.logprobs: list[Any] = []

    @property
    def said(self) -> str:
        return "".join(self.pieces)

    def whole(self) -> dict[str, Any]:
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": self.said}
        whole: dict[str, Any] = {"type": self.kind, "text": self.said}
        if self.kind == "output_text":
            whole |= {"annotations": self.annotations, "logprobs": self.logprobs}
        return whole


class MessageItem(Item):
    """What the assistant says: text, or a refusal, in parts."""

    def __init__(self, sink: Sink, place: int, name: str) -> None:
        super().__init__(sink, place, name)
        self._parts: list[_Part] = []
        self._now: _Part | None = None

    def whole(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "status": self.status,
            "content": [part.whole() for part in self._parts],
        }

    def text(self, text: str) -> None:
        part = self._part("output_text")
        part.pieces.append(text)
        self.sink.emit_delta(part.before, text, part.after)

    def refusal(self, text: str) -> None:
        part = self._part("refusal")
        part.pieces.append(text)
        self.sink.emit_delta(part.before, text, part.after)

    def annotation(self, raw: Raw) -> None:
        note = flat(raw)
        if note is None:
            return
        part = self._part("output_text")
        self.emit(
            "response.output_text.annotation.added",
            content_index=part.place,
            annotation_index=len(part.annotations),
            annotation=note,
        )
        part.annotations.append(note)

    def logprobs(self, raw: Raw) -> None:
        tokens = msgspec.json.decode(raw)
        listed = tokens.get("content") if isinstance(tokens, dict) else None
        if isinstance(listed, list):
            self._part("output_text").logprobs += [_token(token) for token in listed]

    def finish_parts(self) -> None:
        part, self._now = self._now, None
        if part is None:
            return
        at = {"content_index": part.place}
        if part.kind == "output_text":
            said: dict[str, Any] = {"text": part.said, "logprobs": part.logprobs}
            self.emit("response.output_text.done", **at, **said)
        else:
            self.emit("response.refusal.done", **at, refusal=part.said)
        self.emit("response.content_part.done", **at, part=part.whole())

    def _part(self, kind: str) -> _Part:
        part = self._now
        if part is None or part.kind != kind:
            self.finish_parts()
            place = len(self._parts)
            event = "output_text" if kind == "output_text" else "refusal"
            frame = self.prepared(f"response.{event}.delta", content_index=place)
            part = self._now = _Part(kind, place, frame)
            self._parts.append(part)
            at = {"content_index": place}
            self.emit("response.content_part.added", **at, part=part.whole())
        return part


class ReasoningItem(Item):
    """Earlier thinking: its summary or its text, and the state that has to come back."""

    def __init__(self, sink: Sink, place: int, name: str) -> None:
        super().__init__(sink, place, name)
        self._summary: list[_Part] = []
        self._content: list[_Part] = []
        self._now: _Part | None = None
        self._index: int | None = None
        """Of the entry that grows now."""
        self._details: list[Raw] = []
        self._known: Entry | None = None

    def whole(self) -> dict[str, Any]:
        item: dict[str, Any] = {
            "id": self.id,
            "type": "reasoning",
            "summary": [part.whole() for part in self._summary],
        }
        if self._content:
            item["content"] = [part.whole() for part in self._content]
        item["encrypted_content"] = None
        if self.closed:
            item |= state_of(joined(self._details))
        return {**item, "status": self.status}

    def takes(self, entry: Entry) -> bool:
        """Entries of one id are one item; without ids, those of one index, and what has no state
        yet takes the state that follows."""
        known = self._known
        if known is None:
            return True
        if entry.id is not None and known.id is not None:
            return entry.id == known.id
        if entry.format is not None and known.format is not None and entry.format != known.format:
            return False
        return entry.index is None or known.index is None or entry.index == known.index

    def detail(self, entry: Entry, raw: Raw) -> None:
        known = self._known
        if known is None:
            self._known = entry
        elif known.id is None and entry.id is not None:
            known.id = entry.id
        self._details.append(raw)
        if entry.summary:
            self._grow(self._summary, "summary_text", entry.summary, entry.index)
        elif entry.text:
            self._grow(self._content, "reasoning_text", entry.text, entry.index)

    def text(self, text: str) -> None:
        """Reasoning that came without details."""
        if self._known is None:
            self._known = Entry("reasoning.text")
        self._grow(self._content, "reasoning_text", text, self._index)

    def finish_parts(self) -> None:
        part, self._now = self._now, None
        if part is None:
            return
        if part.kind == "summary_text":
            at = {"summary_index": part.place}
            self.emit("response.reasoning_summary_text.done", **at, text=part.said)
            self.emit("response.reasoning_summary_part.done", **at, part=part.whole())
        else:
            at = {"content_index": part.place}
            self.emit("response.reasoning_text.done", **at, text=part.said)
            self.emit("response.content_part.done", **at, part=part.whole())

    def _grow(self, parts: list[_Part], kind: str, text: str, index: int | None) -> None:
        part = self._now
        if part is None or part.kind != kind or index != self._index:
            self.finish_parts()
            self._index = index
            part = self._now = self._begin(parts, kind)
        part.pieces.append(text)
        self.sink.emit_delta(part.before, text, part.after)

    def _begin(self, parts: list[_Part], kind: str) -> _Part:
        place = len(parts)
        summed = kind == "summary_text"
        at = {"summary_index" if summed else "content_index": place}
        event = "reasoning_summary_text" if summed else "reasoning_text"
        part = _Part(kind, place, self.prepared(f"response.{event}.delta", **at))
        parts.append(part)
        added = "reasoning_summary_part" if summed else "content_part"
        self.emit(f"response.{added}.added", **at, part=part.whole())
        return part


class CallItem(Item):
    """A function the caller is to run."""

    def __init__(
        self, sink: Sink, place: int, name: str, call_id: str, function: str | None
    ) -> None:
        super().__init__(sink, place, name)
        self._call_id, self._function = call_id, function or ""
        self._pieces: list[str] = []
        self._frame = self.prepared("response.function_call_arguments.delta")

    def whole(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function_call",
            "status": self.status,
            "arguments": "".join(self._pieces),
            "call_id": self._call_id,
            "name": self._function,
        }

    def arguments(self, text: str) -> None:
        if text and not self.closed:
            self._pieces.append(text)
            self.sink.emit_delta(self._frame[0], text, self._frame[1])

    def close_if_whole(self) -> None:
        """Arguments that are JSON cannot go on."""
        if self.closed:
            return
        try:
            decoded(anything, "".join(self._pieces).encode(errors="replace"))
        except (msgspec.DecodeError, RecursionError):
            return
        self.close()

    @property
    def said(self) -> str:
        return "".join(self._pieces)

    def finish_parts(self) -> None:
        said = {"arguments": "".join(self._pieces), "name": self._function}
        self.emit("response.function_call_arguments.done", **said)


class CustomItem(CallItem):
    """A call with free text. The model wrote it inside JSON, so it is given when it is whole."""

    def whole(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "custom_tool_call",
            "status": self.status,
            "call_id": self._call_id,
            "name": self._function,
            "input": unwrapped(self.said) if self.closed else "",
        }

    def arguments(self, text: str) -> None:
        if not self.closed:
            self._pieces.append(text)

    def finish_parts(self) -> None:
        text = unwrapped(self.said)
        if text:
            self.emit("response.custom_tool_call_input.delta", delta=text)
        self.emit("response.custom_tool_call_input.done", input=text)


class ImageItem(Item):
    """A generated image, whole: this API has it as the result of a tool of its own."""

    def __init__(self, sink: Sink, place: int, name: str, raw: Raw) -> None:
        super().__init__(sink, place, name)
        image = msgspec.json.decode(raw, type=dict[str, Any])
        held = image.get("image_url")
        url = held.get("url") if isinstance(held, dict) else None
        self._result = url.partition("base64,")[2] or url if isinstance(url, str) else ""

    def whole(self) -> dict[str, Any]:
        status = "completed" if self.closed else "in_progress"
        result = self._result if self.closed else None
        return {
            "id": self.id,
            "type": "image_generation_call",
            "status": status,
            "result": result,
        }


def _token(token: Any) -> Any:
    """A token's log probability with all the fields this API has."""
    if not isinstance(token, dict):
        return token
    return {
        **token,
        "bytes": token.get("bytes") or [],
        "top_logprobs": token.get("top_logprobs") or [],
    }
