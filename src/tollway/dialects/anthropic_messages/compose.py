"""A `Conversation` as the body of a Messages request, for callers of another dialect.

Not here: which model takes what (render decides and passes it in). Rules of the wire: system text
at the top level, roles alternate and the user begins, results of tools come first in their turn,
no empty text, ids of a small alphabet, at most four cache breakpoints. What cannot be carried is
named in `dropped`.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from ... import conversation as talk
from ...conversation import Conversation, Part, Turn
from ..openai_chat_messages import short_id
from ..surrogates import object_of
from .opaque import FORMAT, UNKNOWN, Detail, is_native, read_detail

BREAKPOINTS_MAX = 4
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
OPENING = "(The conversation begins.)"
"""Stands for the user's first turn where a conversation begins with an answer."""

Fields = dict[str, Any]


class Composer:
    """Writes one conversation; `dropped` fills while it does."""

    def __init__(self) -> None:
        self.dropped: dict[str, None] = {}
        self._marked: list[Fields] = []
        """Blocks with a breakpoint, in order."""

    def drop(self, name: str) -> None:
        self.dropped[name] = None

    def fields(self, said: Conversation) -> Fields:
        """`tools`, `system`, `messages` and the top-level `cache_control`."""
        fields: Fields = {}
        if said.tools:
            fields["tools"] = [self._tool(tool) for tool in said.tools]
        system, turns = talk.split_system(said.turns)
        if blocks := [self._text(part) for part in system if part.text.strip()]:
            plain = len(blocks) == 1 and "cache_control" not in blocks[0]
            fields["system"] = blocks[0]["text"] if plain else blocks
        fields["messages"] = self._messages(turns)
        if said.cache is not None:
            fields["cache_control"] = _ephemeral(said.cache)
        self._limit_marks(BREAKPOINTS_MAX - (said.cache is not None))
        return fields

    def _limit_marks(self, most: int) -> None:
        """The last ones reach furthest, so they stay."""
        if len(self._marked) > most:
            self.drop("cache_control")
            for block in self._marked[: len(self._marked) - most]:
                del block["cache_control"]

    def _mark(self, block: Fields, cache: talk.Cache | None) -> Fields:
        if cache is not None:
            block["cache_control"] = _ephemeral(cache)
            self._marked.append(block)
        return block

    # ---- tools -----------------------------------------------------------------------------------

    def _tool(self, tool: talk.Tool) -> Fields:
        body: Fields = {"name": tool.name}
        if tool.description:
            body["description"] = tool.description
        body["input_schema"] = object_schema(tool.parameters)
        if tool.strict:
            # Accepted behind a beta and for a part of JSON Schema only.
            self.drop("tools.strict")
        return self._mark(body, tool.cache)

    # ---- messages --------------------------------------------------------------------------------

    def _messages(self, turns: Sequence[Turn]) -> list[Fields]:
        merged: list[tuple[str, list[Fields]]] = []
        for turn in turns:
            if turn.role == "system":
                self.drop("system message in mid-conversation")
            role = "assistant" if turn.role == "assistant" else "user"
            blocks = self._blocks(turn, role)
            if not blocks:
                continue
            if merged and merged[-1][0] == role:
                merged[-1][1].extend(blocks)
            else:
                merged.append((role, blocks))
        if not merged or merged[0][0] != "user":
            merged.insert(0, ("user", [{"type": "text", "text": OPENING}]))
        if merged[-1][0] == "assistant":
            _trim_end(merged[-1][1])
        return [
            {"role": role, "content": _plain(_results_first(blocks) if role == "user" else blocks)}
            for role, blocks in merged
            if blocks
        ]

    def _blocks(self, turn: Turn, role: str) -> list[Fields]:
        blocks: list[Fields] = []
        for part in turn.parts:
            blocks += self._part(part, role)
        return blocks

    def _part(self, part: Part, role: str) -> list[Fields]:
        match part:
            case talk.Text():
                if part.citations:
                    self.drop("citations")
                return [self._text(part)] if part.text.strip() else []
            case talk.Refusal():
                return [{"type": "text", "text": part.text}] if part.text.strip() else []
            case talk.Thought():
                return self._thought(part) if role == "assistant" else []
            case talk.Call():
                return [self._call(part)]
            case talk.Result():
                return [self._result(part)]
            case talk.Image() | talk.File() if role == "assistant":
                self.drop("media of the assistant")
                return []
            case talk.Image():
                return self._image(part)
            case talk.File():
                return self._file(part)
            case talk.Audio():
                self.drop("input_audio")
            case talk.Video():
                self.drop("video")
        return []

    def _text(self, part: talk.Text) -> Fields:
        return self._mark({"type": "text", "text": part.text}, part.cache)

    def _call(self, call: talk.Call) -> Fields:
        block = {
            "type": "tool_use",
            "id": tool_id(call.id),
            "name": call.name,
            "input": arguments_object(call.arguments),
        }
        return self._mark(block, call.cache)

    def _result(self, result: talk.Result) -> Fields:
        block: Fields = {"type": "tool_result", "tool_use_id": tool_id(result.call_id)}
        inner: list[Fields] = []
        for part in result.parts:
            inner += self._part(part, "user")
        if inner:
            block["content"] = _plain(inner)
        if result.is_error:
            block["is_error"] = True
        return self._mark(block, result.cache)

    def _image(self, image: talk.Image) -> list[Fields]:
        if image.detail in ("low", "high", "original"):
            self.drop("image detail")
        source = image.source
        if source.data is None:
            return [self._mark({"type": "image", "source": _reference(source)}, image.cache)]
        kind = image_type(source)
        if kind not in IMAGE_TYPES:
            self.drop(f"image ({kind})")
            return []
        inline = {"type": "base64", "media_type": kind, "data": source.data}
        return [self._mark({"type": "image", "source": inline}, image.cache)]

    def _file(self, file: talk.File) -> list[Fields]:
        source = self._document(file.source)
        if source is None:
            return []
        block: Fields = {"type": "document", "source": source}
        if file.filename:
            block["title"] = file.filename
        return [self._mark(block, file.cache)]

    def _document(self, source: talk.Source) -> Fields | None:
        if source.data is None:
            return _reference(source)
        kind = (source.media_type or "application/pdf").lower()
        if kind == "application/pdf":
            return {"type": "base64", "media_type": kind, "data": source.data}
        if kind.startswith("text/") or kind in ("application/json", "application/xml"):
            try:
                text = b64decode(source.data).decode()
            except ValueError:
                self.drop(f"file ({kind}, not UTF-8)")
                return None
            return {"type": "text", "media_type": "text/plain", "data": text}
        self.drop(f"file ({kind})")
        return None

    # ---- earlier reasoning -----------------------------------------------------------------------

    def _thought(self, thought: talk.Thought) -> list[Fields]:
        """Only what Anthropic signed. Fragments of a streamed entry are joined: text until the
        signature that closes it."""
        if not thought.details:
            if thought.text:
                self.drop("reasoning without a signature")
            return []
        blocks: list[Fields] = []
        open_text: str | None = None
        for raw in thought.details:
            detail = read_detail(raw)
            if detail is None or detail.format not in (FORMAT, None):
                self._drop_foreign(detail)
            elif detail.type == "reasoning.encrypted" and is_native(detail.data):
                blocks.append({"type": "redacted_thinking", "data": detail.data})
            elif detail.type == "reasoning.text":
                open_text = (open_text or "") + (detail.text or "")
                if is_native(detail.signature):
                    signed = {"thinking": open_text, "signature": detail.signature}
                    blocks.append({"type": "thinking", **signed})
                    open_text = None
        if open_text:
            self.drop("reasoning without a signature")
        return blocks

    def _drop_foreign(self, detail: Detail | None) -> None:
        form = detail.format if detail is not None else None
        if form in UNKNOWN:
            self.drop("reasoning without a signature")
        else:
            self.drop(f"reasoning signature ({form})")


def _ephemeral(cache: talk.Cache) -> Fields:
    mark: Fields = {"type": "ephemeral"}
    if cache.ttl in ("5m", "1h"):
        mark["ttl"] = cache.ttl
    return mark


def object_schema(parameters: Raw | None) -> Any:
    """A JSON Schema whose root says that it is an object, as the wire demands."""
    if parameters is None:
        return {"type": "object", "properties": {}}
    fields = msgspec.json.decode(parameters, type=dict[str, Raw])
    return parameters if "type" in fields else {"type": "object", **fields}


def _results_first(blocks: list[Fields]) -> list[Fields]:
    results = [block for block in blocks if block["type"] == "tool_result"]
    if not results:
        return blocks
    return results + [block for block in blocks if block["type"] != "tool_result"]


def _trim_end(blocks: list[Fields]) -> None:
    """A prefill must not end in white space."""
    if blocks and blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()


def _plain(blocks: list[Fields]) -> Any:
    """A single unmarked text is written as a string."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return blocks


def _reference(source: talk.Source) -> Fields:
    if source.file_id is not None:
        return {"type": "file", "file_id": source.file_id}
    return {"type": "url", "url": source.url}


def tool_id(name: str) -> str:
    """The id itself where it has the wire's alphabet, else one made of it: the same for the same."""
    return name if _TOOL_ID.fullmatch(name) else f"toolu_{short_id(name, 24)}"


def arguments_object(text: str) -> Raw | Fields:
    """JSON text of a call as an object. What is no object goes under one name, whole: the model
    wrote it and must see it."""
    if not text.strip():
        return {}
    found = object_of(text)
    return {"raw_arguments": text} if found is None else found


def image_type(source: talk.Source) -> str:
    """As it was said, else as the first bytes say."""
    said = (source.media_type or "").lower()
    if said == "image/jpg":
        return "image/jpeg"
    if said and said != "application/octet-stream":
        return said
    for start, kind in _MAGIC:
        if (source.data or "").startswith(start):
            return kind
    return said or "unknown"


_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
