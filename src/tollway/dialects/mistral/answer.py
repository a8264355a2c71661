"""Mistral's answers as events: OpenAI's chunks, but content may be a list of chunks.

Rules: thinking becomes reasoning with a detail of `FORMAT`, so that it (and a signature, where one
is given) can be sent back as it came; everything else is read as openai_chat_events does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from ... import canon
from ...canon import Event, Fault
from ..openai_chat_answer import BAD_JSON, Choice, choices_decoder, finish_of, mended, note
from ..openai_chat_events import StreamParser, events_of
from ..openai_usage import read_usage
from ..translated import Parser
from ..whole import WholeParser

FORMAT = "mistral-v1"


def parser(stream: bool, quirks: Collection[str] = ()) -> Parser:
    """A provider's answer, streamed or whole, to events."""
    return _Stream(quirks) if stream else _Body()


class _Stream(StreamParser):
    def _choices(self, raw: Raw) -> tuple[list[Choice], Raw] | None:
        return super()._choices(_without_chunks(raw))


class _Body(WholeParser):
    def take(self, fields: dict[str, Raw]) -> list[Event]:
        events: list[Event] = []
        choices = _read(_without_chunks(fields["choices"]))
        if not choices:
            raise ValueError("an answer without choices")
        for choice in choices:
            said = choice.message or choice.delta
            if said is not None:
                note(self.meter, said)
            events += events_of(choice)
        self.meter.choices = len({choice.index for choice in choices})
        for choice in choices:
            native = choice.finish_reason or "stop"
            self.meter.finish, self.meter.native_finish = finish_of(native), native
            if self.meter.finish == "error":
                self.meter.fault = Fault(
                    status=502,
                    error_type="provider_unavailable",
                    message="The provider broke its answer off.",
                    provider_code=native[:100],
                )
            events.append(canon.Finish(finish_of(native), native, choice.index))
        if "usage" in fields:
            self.meter.usage = read_usage(fields["usage"])
        if "id" in fields:
            self.meter.upstream_id = msgspec.json.decode(fields["id"], type=str)[:200]
        return events


def _read(raw: Raw) -> list[Choice]:
    try:
        return choices_decoder.decode(raw)
    except BAD_JSON:
        return choices_decoder.decode(msgspec.json.encode(mended(raw)))


def _without_chunks(raw: Raw) -> Raw:
    """Choices whose content is text; the very same bytes where it is that already."""
    if b'"content"' not in bytes(raw):
        return raw
    try:
        choices_decoder.decode(raw)
    except BAD_JSON:
        pass
    else:
        return raw
    try:
        choices = msgspec.json.decode(raw)
    except BAD_JSON:
        return raw
    for choice in choices if isinstance(choices, list) else ():
        for name in ("delta", "message"):
            said = choice.get(name) if isinstance(choice, dict) else None
            if isinstance(said, dict) and isinstance(said.get("content"), list):
                _flatten(said)
    return Raw(msgspec.json.encode(choices))


def _flatten(said: dict[str, Any]) -> None:
    texts: list[str] = []
    details: list[dict[str, Any]] = []
    for chunk in said["content"]:
        if not isinstance(chunk, dict):
            texts += [chunk] if isinstance(chunk, str) else []
        elif chunk.get("type") == "thinking":
            detail = {"type": "reasoning.text", "text": _text(chunk.get("thinking"))}
            if isinstance(chunk.get("signature"), str):
                detail["signature"] = chunk["signature"]
            details.append({**detail, "format": FORMAT, "index": len(details)})
        elif isinstance(chunk.get("text"), str):
            texts.append(chunk["text"])
    said["content"] = "".join(texts)
    if details:
        said["reasoning"] = "".join(detail["text"] for detail in details)
        said["reasoning_details"] = details


def _text(thinking: object) -> str:
    if isinstance(thinking, str):
        return thinking
    parts = thinking if isinstance(thinking, list) else ()
    return "".join(
        p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)
    )
