"""A provider's chat completion stream on its way to a caller of the same dialect.

Not here: reading (openai_chat_reading), translation into events. Rules: the provider's choices
pass as the bytes they came in; the chunk around them is ours. Most chunks of a stream differ only
in `choices`, so the bytes before and after it are remembered: a chunk with the same ones needs no
more than its choices decoded. A choice is written anew only where it must change: a finish reason
is held back until the answer is complete, reasoning gets the contract's names.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from ..errors import TollwayError
from . import Bill, Head
from .openai_chat_answer import (
    BAD_JSON,
    CHUNK,
    Choice,
    Delta,
    choices_decoder,
    collect,
    failure_choice,
    fields_decoder,
    finish_choice,
    kept,
    listed_decoder,
    note,
    only_text,
    opening,
    reasoning_detail,
    size,
    tier_field,
)
from .openai_chat_reading import StreamReading
from .openai_usage import render_usage
from .sse import DONE, LF, escape_separators, event
from .surrogates import paired
from .think_tags import ThinkTags


class StreamRelay(StreamReading):
    """See `dialects.Relay`."""

    def __init__(
        self, head: Head, quirks: Collection[str] = (), exclude_reasoning: bool = False
    ) -> None:
        super().__init__(quirks)
        self._head = head
        self._kept: dict[str, Raw] = {}
        self._before = b"data: " + opening(head, CHUNK, {})
        """Of every chunk to the caller, up to its choices; `_AFTER` follows them."""
        self._hides = exclude_reasoning
        self._tags: dict[int, ThinkTags] | None = {} if "think_tags_in_content" in quirks else None

    def feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        meter, decode = self.meter, choices_decoder.decode
        for payload in self._payloads(data):
            raw = self._usual(payload)
            if raw is not None and self._tags is None:
                try:
                    (choice,) = decode(raw)
                except (*BAD_JSON, ValueError):
                    pass
                else:
                    text = only_text(choice)
                    if text is not None and LF not in raw:
                        meter.text_bytes += len(text) if text.isascii() else size(text)
                        meter.spoke = True
                        out += (self._before, raw, _AFTER)
                        continue
                    shown = not self._hides and choice.finish_reason is None
                    if shown and self._passes(choice, raw, out):
                        continue
            self._chunk(payload, out)
            if meter.fault is not None or meter.ended:
                break
        return escape_separators(b"".join(out)) if out else b""

    def _passes(self, choice: Choice, raw: bytes, out: list[bytes]) -> bool:
        """Pass on a chunk of reasoning, or of calls with or without text; False for any other."""
        delta = choice.delta
        if delta is None or choice.error or choice.usage or LF in raw:
            return False
        meter = self.meter
        thought = delta.reasoning_content or delta.reasoning
        if thought is None and delta.reasoning is None and delta.reasoning_content is None:
            calls = delta.tool_calls
            if (delta.content or calls) and all(call.index is not None for call in calls or ()):
                note(meter, delta)
                if meter.calls is not None:
                    collect(meter.calls, delta, choice.index)
                out += (self._before, raw, _AFTER)
                return True
            return False
        if not thought or delta.content or delta.tool_calls or delta.reasoning_details:
            return False
        if delta.refusal or delta.audio or delta.images or delta.annotations:
            return False
        meter.reasoning_bytes += size(thought)
        meter.spoke = True
        text_json = msgspec.json.encode(thought)
        out += (
            self._before,
            b'[{"index":%d,"delta":{"role":"assistant","content":"","reasoning":' % choice.index,
            text_json,
            b',"reasoning_details":[{"type":"reasoning.text","text":',
            text_json,
            b',"format":"unknown","index":0}]},"finish_reason":null}]}\n\n',
        )
        return True

    def finish(self) -> bytes:
        out: list[bytes] = []
        for payload in self._last_payloads():
            self._chunk(payload, out)
        self._closed()
        return escape_separators(b"".join(out))

    def ending(self, bill: Bill) -> bytes:
        out: list[bytes] = []
        for index, tags in (self._tags or {}).items():
            for is_reasoning, text in tags.finish():
                self._write(out, [_said(index, is_reasoning, text)])
        for index in sorted(self.finishes):
            reason, native = self.finishes[index]
            self._write(out, [finish_choice(index, reason, native)])
        last = {**self._top([]), **self.at_end, "usage": render_usage(bill), **bill.extra}
        last |= tier_field(bill)
        out.append(event(msgspec.json.encode(last)))
        return escape_separators(b"".join(out)) + DONE

    def failure(self, error: TollwayError) -> bytes:
        return event(msgspec.json.encode({**self._top([failure_choice()]), **error.body()}))

    # ---- one chunk, the long way -----------------------------------------------------------------

    def _chunk(self, payload: bytes, out: list[bytes]) -> None:
        if LF in payload:
            payload = _on_one_line(payload)
        fields = self._envelope(payload)
        if fields is None:
            return
        changed = kept(fields)
        if changed and changed != self._kept:
            self._kept.update((name, raw.copy()) for name, raw in changed.items())
            self._before = b"data: " + opening(self._head, CHUNK, self._kept)
        raw = fields.get("choices")
        found = self._choices(raw) if raw is not None else None
        if raw is None or found is None:
            return
        choices, mended = found
        self._remember(payload, fields, raw)
        rewritten: list[Any] = []
        same = mended is raw
        for choice, own in zip(choices, listed_decoder.decode(mended), strict=True):
            if not self._note_choice(choice):
                return
            delta = choice.delta or choice.message
            if delta is not None:
                note(self.meter, delta)
                if self.meter.calls is not None:
                    collect(self.meter.calls, delta, choice.index)
            pieces = self._pieces(choice, delta, own)
            same = same and pieces == [own]
            rewritten += pieces
        if same and rewritten:
            out += (self._before, bytes(raw), _AFTER)
        else:
            for piece in rewritten:
                self._write(out, [piece])

    def _pieces(self, choice: Choice, delta: Delta | None, own: dict[str, Any]) -> list[Any]:
        """A choice as it goes to the caller: itself (the same object) when nothing changes, else
        one or more choices in its place, or none."""
        if delta is None:
            return []
        thought = delta.reasoning or delta.reasoning_content
        thinks = delta.reasoning is not None or delta.reasoning_content is not None
        unindexed = any(call.index is None for call in delta.tool_calls or ())
        split = self._tags is not None and delta.content
        details = delta.reasoning_details is not None
        if not (thinks or details or unindexed or split or choice.finish_reason is not None):
            return [own] if choice.delta is not None else []
        said = fields_decoder.decode(own["delta" if choice.delta is not None else "message"])
        whole: dict[str, Any] = dict(said)
        whole.pop("reasoning_content", None)
        if self._hides:
            whole.pop("reasoning", None)
            whole.pop("reasoning_details", None)
        elif thought:
            whole["reasoning"] = thought
            if not delta.reasoning_details:
                whole["reasoning_details"] = [reasoning_detail(thought)]
        if unindexed:
            whole["tool_calls"] = _indexed(said["tool_calls"])
        pieces: list[Any] = []
        if split and delta.content and self._tags is not None:
            tags = self._tags.setdefault(choice.index, ThinkTags())
            for is_reasoning, text in tags.feed(delta.content):
                if not (is_reasoning and self._hides):
                    pieces.append(_said(choice.index, is_reasoning, text))
            whole["content"] = ""
        if any(not _is_empty(name, value) for name, value in whole.items()):
            rest = {"index": choice.index, **own, "delta": whole, "finish_reason": None}
            rest.pop("message", None)
            rest.pop("native_finish_reason", None)
            rest.pop("usage", None)
            pieces.append(rest)
        return pieces

    def _write(self, out: list[bytes], choices: list[Any]) -> None:
        out += (self._before, msgspec.json.encode(choices), _AFTER)

    def _top(self, choices: list[Any]) -> dict[str, Any]:
        head = self._head
        return {
            "id": head.id,
            "object": CHUNK,
            "created": head.created,
            "model": head.model,
            "provider": head.provider,
            **self._kept,
            "choices": choices,
        }


_AFTER = b"}\n\n"


def _on_one_line(payload: bytes) -> bytes:
    """JSON that came over several `data:` lines; what is not JSON is left for the reader."""
    try:
        return msgspec.json.format(payload, indent=-1)
    except BAD_JSON:
        mended = paired(payload)
        return payload if mended is None else _on_one_line(mended)


def _said(index: int, is_reasoning: bool, text: str) -> dict[str, Any]:
    delta: dict[str, Any] = {"role": "assistant", "content": "" if is_reasoning else text}
    if is_reasoning:
        delta["reasoning"] = text
        delta["reasoning_details"] = [reasoning_detail(text)]
    return {"index": index, "delta": delta, "finish_reason": None}


def _is_empty(name: str, value: Any) -> bool:
    """Says nothing: the role, and whatever is null, empty text or an empty list."""
    if name == "role":
        return True
    plain = bytes(value) if isinstance(value, Raw) else value
    return plain in (b"null", b'""', b"[]", b"{}", "", None)


def _indexed(raw: Raw) -> list[dict[str, Any]]:
    """Tool call fragments with the index some hosts leave out: their position."""
    calls: list[dict[str, Any]] = []
    for position, call in enumerate(listed_decoder.decode(raw)):
        calls.append({"index": position, **call})
    return calls
