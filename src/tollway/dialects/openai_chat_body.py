"""A provider's whole chat completion on its way to a caller of the same dialect.

Rules: the body is collected up to a cap and read once it is complete; HTML, bad JSON, an error
under status 200 or an answer without choices is a fault, never a body for the caller. The choices
pass as they came, with finish reasons and reasoning in the contract's words; the rest of the body
is ours.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from ..errors import TollwayError
from . import Bill, Head, faults
from .openai_chat_answer import (
    Choice,
    collect,
    fields_decoder,
    kept,
    listed_decoder,
    note,
    reasoning_detail,
    tier_field,
)
from .openai_chat_reading import Reading
from .openai_usage import render_usage
from .sse import escape_separators
from .think_tags import ThinkTags

BODY_BYTES_MAX = 64 * 1024 * 1024
"""Room for several generated images as base64; a larger body is cut off as broken."""


class BodyRelay(Reading):
    """See `dialects.Relay`."""

    def __init__(
        self, head: Head, quirks: Collection[str] = (), exclude_reasoning: bool = False
    ) -> None:
        super().__init__(quirks)
        self._head = head
        self._data = bytearray()
        self._fields: dict[str, Any] = {}
        self._hides = exclude_reasoning

    def feed(self, data: bytes) -> bytes:
        if self.meter.fault is None:
            self._data += data
            if len(self._data) > BODY_BYTES_MAX:
                self._data.clear()
                self._fail(
                    faults.broken(f"The provider's answer is larger than {BODY_BYTES_MAX:,} bytes.")
                )
        return b""

    def finish(self) -> bytes:
        if self.meter.fault is not None or self.meter.ended:
            return b""
        body = bytes(self._data)
        self._data.clear()
        if body[:1] != b"{" and body.strip() in (b"", b"[DONE]"):
            self._fail(faults.broken("The provider sent an empty answer."))
            return b""
        fields = self._envelope(body)
        if fields is None:
            self._word()
            return b""
        raw = fields.get("choices")
        found = self._choices(raw) if raw is not None else None
        if found is None or not found[0]:
            if self.meter.fault is None:
                self._fail(faults.broken("The provider's answer has no choices.", body))
            return b""
        choices, mended = found
        self._fields = {**kept(fields), "choices": self._read(choices, mended), **self.at_end}
        if self.meter.fault is None:
            self._done()
            self.meter.choices = len(choices)
        return b""

    def ending(self, bill: Bill) -> bytes:
        head = self._head
        body = {
            "id": head.id,
            "object": "chat.completion",
            "created": head.created,
            "model": head.model,
            "provider": head.provider,
            "system_fingerprint": None,
            **self._fields,
            **tier_field(bill),
            "usage": render_usage(bill),
            **bill.extra,
        }
        return escape_separators(msgspec.json.encode(body))

    def failure(self, error: TollwayError) -> bytes:
        return msgspec.json.encode(error.body())

    def _word(self) -> None:
        """The reader speaks of events; here there was a body."""
        fault = self.meter.fault
        if fault is not None and fault.provider_code == "invalid_answer":
            message = "The provider's answer is not JSON."
            self._fail(msgspec.structs.replace(fault, message=message))

    def _read(self, choices: list[Choice], raw: Raw) -> list[dict[str, Any]]:
        rewritten: list[dict[str, Any]] = []
        listed: list[dict[str, Any]] = listed_decoder.decode(raw)
        for choice, whole in zip(choices, listed, strict=True):
            if not self._note_choice(choice):
                return []
            message = choice.message or choice.delta
            if message is not None:
                note(self.meter, message)
                if self.meter.calls is not None:
                    collect(self.meter.calls, message, choice.index)
                name = "message" if choice.message is not None else "delta"
                changed = self._message(whole[name], choice)
                if changed is not None:
                    whole.pop("delta", None)
                    whole["message"] = changed
            reason, native = self.finishes.get(choice.index, ("stop", None))
            whole["index"] = choice.index
            whole["finish_reason"] = reason
            whole["native_finish_reason"] = native or reason
            whole.pop("usage", None)
            rewritten.append(whole)
        return rewritten

    def _message(self, raw: Raw, choice: Choice) -> dict[str, Any] | None:
        """The message in the contract's words, or None when it is that already."""
        message = choice.message or choice.delta
        if message is None:
            return None
        thought = message.reasoning or message.reasoning_content
        thinks = thought is not None or message.reasoning_content is not None
        tags = "think_tags_in_content" in self.quirks and message.content
        hides = self._hides and (thinks or message.reasoning_details)
        if not (thinks or tags or hides) and choice.message is not None:
            return None
        whole: dict[str, Any] = {"role": "assistant", **fields_decoder.decode(raw)}
        whole.pop("reasoning_content", None)
        if tags and message.content:
            content, inner = _split(message.content)
            if inner:
                thought = inner
                whole["content"] = content
        if self._hides:
            whole.pop("reasoning", None)
            whole.pop("reasoning_details", None)
        elif thought:
            whole["reasoning"] = thought
            if not message.reasoning_details:
                whole["reasoning_details"] = [reasoning_detail(thought)]
        return whole


def _split(text: str) -> tuple[str, str]:
    """Content and reasoning of a text that opens with a think tag."""
    tags = ThinkTags()
    pieces = [*tags.feed(text), *tags.finish()]
    return (
        "".join(piece for is_reasoning, piece in pieces if not is_reasoning),
        "".join(piece for is_reasoning, piece in pieces if is_reasoning),
    )
