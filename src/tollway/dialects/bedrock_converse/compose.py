"""A `Conversation` as the messages and tools of a Converse request.

Not here: parameters (render). Rules of the wire: system text apart; roles alternate strictly and
the user begins; results of tools come first in their turn; no blank text; media as bytes, never by
URL; a document has a name of a small alphabet, once, and text beside it; tools are declared when
the history has calls. What cannot be carried is named in `dropped`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ... import conversation as talk
from ...conversation import Conversation, Part, Turn
from ..anthropic_messages.compose import OPENING, arguments_object, image_type, object_schema
from ..anthropic_messages.opaque import FORMAT, is_native
from ..openai_chat_messages import short_id
from ..reasoning import joined_details

CACHE_POINTS_MAX = 4
IMAGE_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
DOCUMENT_FORMATS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
VIDEO_FORMATS = {
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/quicktime": "mov",
    "video/x-matroska": "mkv",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
AUDIO_FORMATS = frozenset({"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "m4a", "pcm", "webm"})
NO_OUTPUT = "(no output)"
"""Stands for the result of a tool that said nothing: a result must say something."""

Fields = dict[str, Any]


class Composer:
    """Writes one conversation; `dropped` fills while it does. `signs`: the model is one whose
    reasoning can be given back; `caches`: it takes cache points."""

    def __init__(self, *, signs: bool, caches: bool) -> None:
        self.dropped: dict[str, None] = {}
        self._signs = signs
        self._caches = caches
        self._points: list[tuple[list[Fields], Fields]] = []
        """Cache points with the list each stands in, in order."""
        self._names: set[str] = set()

    def drop(self, name: str) -> None:
        self.dropped[name] = None

    def fields(self, said: Conversation) -> Fields:
        """`toolConfig` without a choice, `system` and `messages`."""
        fields: Fields = {}
        if tools := self._tools(said):
            fields["toolConfig"] = {"tools": tools}
        texts, turns = talk.split_system(said.turns)
        system: list[Fields] = []
        for part in texts:
            if part.text.strip():
                system.append({"text": part.text})
                self._point(system, part.cache)
        if system:
            fields["system"] = system
        fields["messages"] = messages = self._messages(turns)
        if said.cache is not None:
            self._point(messages[-1]["content"], said.cache)
        if len(self._points) > CACHE_POINTS_MAX:
            self.drop("cache_control")
            for blocks, point in self._points[:-CACHE_POINTS_MAX]:  # the last reach furthest
                blocks[:] = [block for block in blocks if block is not point]
        return fields

    def _point(self, blocks: list[Fields], cache: talk.Cache | None) -> None:
        """A cache point after what `blocks` hold so far, unless that is nothing new."""
        if cache is None or not blocks or "cachePoint" in blocks[-1]:
            return
        if not self._caches:
            self.drop("cache_control")
            return
        point: Fields = {"type": "default"}
        if cache.ttl not in (None, "5m"):
            point["ttl"] = "1h"  # the longest there is
        block = {"cachePoint": point}
        self._points.append((blocks, block))
        blocks.append(block)

    # ---- tools -----------------------------------------------------------------------------------

    def _tools(self, said: Conversation) -> list[Fields]:
        tools: list[Fields] = []
        for tool in said.tools:
            spec: Fields = {"name": tool.name}
            if tool.description:
                spec["description"] = tool.description
            spec["inputSchema"] = {"json": object_schema(tool.parameters)}
            if tool.strict:
                self.drop("tools.strict")
            tools.append({"toolSpec": spec})
            self._point(tools, tool.cache)
        if not tools:
            called = (p.name for t in said.turns for p in t.parts if isinstance(p, talk.Call))
            for name in dict.fromkeys(called):
                bare = {"name": name, "inputSchema": {"json": object_schema(None)}}
                tools.append({"toolSpec": bare})
        return tools

    # ---- messages --------------------------------------------------------------------------------

    def _messages(self, turns: Sequence[Turn]) -> list[Fields]:
        merged: list[Fields] = []
        for turn in turns:
            if turn.role == "system":
                self.drop("system message in mid-conversation")
            role = "assistant" if turn.role == "assistant" else "user"
            last = merged[-1] if merged and merged[-1]["role"] == role else None
            blocks: list[Fields] = last["content"] if last else []
            before = len(blocks)
            for part in turn.parts:
                self._part(blocks, part, role)
            if last is None and len(blocks) > before:
                merged.append({"role": role, "content": blocks})
        if not merged or merged[0]["role"] != "user":
            merged.insert(0, {"role": "user", "content": [{"text": OPENING}]})
        for message in merged:
            if message["role"] == "user":
                _arrange(message["content"])
        return merged

    def _part(self, blocks: list[Fields], part: Part, role: str) -> None:
        media = isinstance(part, talk.Image | talk.File | talk.Audio | talk.Video)
        if media and role == "assistant":
            self.drop("media of the assistant")
            return
        match part:
            case talk.Text(text, cache, citations):
                if citations:
                    self.drop("citations")
                if text.strip():
                    blocks.append({"text": text})
                self._point(blocks, cache)
            case talk.Refusal(text):
                if text.strip():
                    blocks.append({"text": text})
            case talk.Thought():
                if role == "assistant":
                    blocks += self._thought(part)
            case talk.Call():
                use = {"toolUseId": tool_id(part.id), "name": part.name}
                blocks.append({"toolUse": {**use, "input": arguments_object(part.arguments)}})
                self._point(blocks, part.cache)
            case talk.Result():
                blocks.append({"toolResult": self._result(part)})
                self._point(blocks, part.cache)
            case talk.Image() | talk.File() | talk.Audio() | talk.Video():
                block = self._media(part)
                if block is not None:
                    blocks.append(block)
                    self._point(blocks, part.cache)

    def _result(self, result: talk.Result) -> Fields:
        inner: list[Fields] = []
        for part in result.parts:
            if isinstance(part, talk.Audio):
                self.drop("input_audio")
            elif isinstance(part, talk.Text | talk.Refusal):
                if part.text.strip():
                    inner.append({"text": part.text})
            elif isinstance(part, talk.Image | talk.File | talk.Video):
                block = self._media(part)
                inner += [block] if block is not None else []
        body: Fields = {
            "toolUseId": tool_id(result.call_id),
            "content": inner or [{"text": NO_OUTPUT}],
        }
        if result.is_error:
            body["status"] = "error"
        return body

    def _thought(self, thought: talk.Thought) -> list[Fields]:
        """Only what Claude signed, and only to Claude."""
        blocks: list[Fields] = []
        if thought.text and not thought.details:
            self.drop("reasoning without a signature")
        for entry in joined_details(thought.details):
            form = entry.get("format")
            signature, data = entry.get("signature"), entry.get("data")
            if form not in (FORMAT, None):
                unsigned = form in ("unknown", "")
                self.drop(
                    "reasoning without a signature" if unsigned else f"reasoning signature ({form})"
                )
            elif not self._signs:
                self.drop(f"reasoning signature ({FORMAT})" if form else "reasoning")
            elif entry.get("type") == "reasoning.encrypted" and is_native(data):
                blocks.append({"reasoningContent": {"redactedContent": data}})
            elif entry.get("type") == "reasoning.text" and is_native(signature):
                text = {"text": entry.get("text") or "", "signature": signature}
                blocks.append({"reasoningContent": {"reasoningText": text}})
            else:
                self.drop("reasoning without a signature")
        return blocks

    # ---- media -----------------------------------------------------------------------------------

    def _media(self, part: talk.Image | talk.File | talk.Audio | talk.Video) -> Fields | None:
        kind = (part.source.media_type or "").lower().split(";")[0].strip()
        match part:
            case talk.Image():
                if part.detail in ("low", "high", "original"):
                    self.drop("image detail")
                kind = image_type(part.source)
                return self._block("image", IMAGE_FORMATS.get(kind), kind, part.source)
            case talk.File():
                name = part.filename or ""
                form = DOCUMENT_FORMATS.get(kind) or _extension(name)
                block = self._block("document", form, kind, part.source)
                if block is not None:
                    block["document"]["name"] = self._name(name)
                return block
            case talk.Audio():
                form = part.format if part.format in AUDIO_FORMATS else None
                return self._block("audio", form, part.format, part.source)
        form = VIDEO_FORMATS.get(kind, None if kind else "mp4")
        return self._block("video", form, kind, part.source)

    def _block(self, what: str, form: str | None, kind: str, source: talk.Source) -> Fields | None:
        if source.data is None:
            # A URL nobody fetched. `s3://` would be read with the operator's rights.
            self.drop(f"{what} by reference")
            return None
        if form is None:
            self.drop(f"{what} ({kind or 'unknown type'})")
            return None
        return {what: {"format": form, "source": {"bytes": source.data}}}

    def _name(self, filename: str) -> str:
        """A document's name: small alphabet, no double spaces, no two alike."""
        stem = filename.rpartition(".")[0] or filename
        plain = " ".join(_NOT_IN_NAMES.sub(" ", stem).split())[:180] or "document"
        name, number = plain, 1
        while name in self._names:
            number += 1
            name = f"{plain} {number}"
        self._names.add(name)
        return name


def tool_id(name: str) -> str:
    """The id itself where it has the wire's alphabet, else one made of it: the same for the same."""
    return name if _TOOL_ID.fullmatch(name) else f"tooluse_{short_id(name, 24)}"


def replays_thought(message: Fields) -> bool:
    """The message begins with reasoning that can be given back."""
    return "reasoningContent" in message["content"][0]


def _arrange(blocks: list[Fields]) -> None:
    """Results of tools first, each with the cache point behind it; a document needs text beside
    it, which is its name where the turn has none."""
    runs: list[list[Fields]] = []
    for block in blocks:
        if "cachePoint" in block and runs:
            runs[-1].append(block)
        else:
            runs.append([block])
    results = [run for run in runs if "toolResult" in run[0]]
    if results:
        rest = [run for run in runs if "toolResult" not in run[0]]
        blocks[:] = [block for run in results + rest for block in run]
    names = _documents(blocks)
    if names and not any("text" in block for block in blocks):
        blocks.append({"text": ", ".join(names)})


def _documents(blocks: Iterable[Fields]) -> list[str]:
    return [block["document"]["name"] for block in blocks if "document" in block]


def _extension(filename: str) -> str | None:
    ending = filename.rpartition(".")[2].lower()
    if ending in ("htm", "markdown"):
        return "html" if ending == "htm" else "md"
    if ending in DOCUMENT_FORMATS.values():
        return ending
    return None if "." in filename else "pdf"


_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9 ()\[\]-]")
