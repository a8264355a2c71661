"""What was said, read from a request of any dialect: no more than routers look at.

Pure. Not a parser of dialects: a conversation is a list of things with a role, and text is what
their parts call `text`, whether it is written as chat, Responses, Messages or Gemini. Every reader
may raise DecodeError, UnicodeDecodeError or RecursionError (`UNREADABLE`).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from ..canon import Request

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

TEXT_CHARS = 3_000
"""Read of the user's last words: two thirds from the beginning, one from the end, since a question
stands before or behind what it is about."""
SYSTEM_CHARS = 1_500

TEXT_ONLY = frozenset({"text"})


class Said(msgspec.Struct, frozen=True):
    user: str = ""
    system: str = ""
    turns: int = 0
    tools_used: bool = False


class _Turn(msgspec.Struct, frozen=True):
    """A message, an item or a content of any dialect, as far as it is looked at."""

    role: Any = None
    type: Any = None
    content: Raw = Raw(b"")
    parts: Raw = Raw(b"")
    model: Any = None

    @property
    def said(self) -> Raw:
        return self.content if len(self.content) else self.parts


class _Part(msgspec.Struct, frozen=True):
    text: Any = None


_turns_decoder = msgspec.json.Decoder(list[_Turn])
_part_decoder = msgspec.json.Decoder(list[_Part])
_text_decoder = msgspec.json.Decoder(str)
_TALKS = ("messages", "input", "contents")
"""Where a conversation is: chat and Messages, Responses, Gemini."""
_SYSTEMS = ("system", "instructions", "systemInstruction")
_CALLS = (b'"tool_call_id"', b'"tool_result"', b'"function_call_output"', b'"functionResponse"')


def turns(fields: dict[str, Raw]) -> list[_Turn]:
    raw = next((fields[name] for name in _TALKS if name in fields), Raw(b"[]"))
    if _starts(raw) == b'"':
        return [_Turn(role="user", content=raw)]
    return _turns_decoder.decode(raw)


def said(request: Request) -> Said:
    fields = request.fields
    talk = turns(fields)
    user, count = "", 0
    for turn in reversed(talk):
        if turn.role != "user" and not (turn.role is None and len(turn.parts)):
            continue  # Gemini lets the role of a first content be left out
        if not user:
            user = _text(turn.said)
        count += 1
    system = next((_plain(fields[name]) for name in _SYSTEMS if name in fields), "")
    if not system and talk and talk[0].role in ("system", "developer"):
        system = _text(talk[0].said)
    return Said(
        user=_ends(user),
        system=system[:SYSTEM_CHARS],
        turns=count,
        tools_used="tools" in request.params and _called(fields),
    )


def _called(fields: dict[str, Raw]) -> bool:
    """A tool has been called and has answered: the marks of the dialects' result messages."""
    talk = next((bytes(fields[name]) for name in _TALKS if name in fields), b"")
    return any(mark in talk for mark in _CALLS)


def _ends(text: str) -> str:
    if len(text) <= TEXT_CHARS:
        return text
    return f"{text[: TEXT_CHARS * 2 // 3]}\n{text[-TEXT_CHARS // 3 :]}"


def _plain(raw: Raw) -> str:
    """A system prompt: text, a list of parts, or Gemini's object with parts."""
    if _starts(raw) == b"{":
        return _text(msgspec.json.decode(raw, type=_Turn).said)
    return _text(raw)


def _starts(raw: Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _text(raw: Raw) -> str:
    """The text of a content: of its parts those that have some."""
    start = _starts(raw)
    if start == b'"':
        return _text_decoder.decode(raw)
    if start == b"{":  # Gemini lets a single part stand for a list
        raw = Raw(b"[" + bytes(raw) + b"]")
    elif start != b"[":
        return ""
    parts = _part_decoder.decode(raw)
    return "\n".join(part.text for part in parts if isinstance(part.text, str) and part.text)


# ---- fields --------------------------------------------------------------------------------------


class _Effort(msgspec.Struct, frozen=True):
    effort: Any = None
    enabled: Any = None


class _Budget(msgspec.Struct, frozen=True):
    thinkingBudget: Any = None


class _Config(msgspec.Struct, frozen=True):
    responseModalities: Any = None
    thinkingConfig: _Budget | None = None


_config_decoder = msgspec.json.Decoder(_Config)


def declined(fields: dict[str, Raw]) -> bool:
    """`reasoning` was sent to say that there is to be none."""
    if bytes(fields.get("reasoning_effort", b"")) == b'"none"':
        return True
    try:
        if (raw := fields.get("reasoning")) is not None:
            wanted = msgspec.json.decode(raw, type=_Effort)
            return wanted.enabled is False or wanted.effort == "none"
        if (raw := fields.get("generationConfig")) is not None:
            budget = _config_decoder.decode(raw).thinkingConfig
            return budget is not None and budget.thinkingBudget == 0
    except msgspec.DecodeError:
        return False
    return False


def outputs(fields: dict[str, Raw]) -> frozenset[str]:
    """What is to be written: `modalities` of chat and Responses, Gemini's `responseModalities`."""
    raw, config = fields.get("modalities"), fields.get("generationConfig")
    if raw is None and config is None:
        return TEXT_ONLY
    try:
        if raw is not None:
            asked: Any = msgspec.json.decode(raw)
        else:
            assert config is not None
            asked = _config_decoder.decode(config).responseModalities
    except msgspec.DecodeError:
        return TEXT_ONLY
    named = {m.lower() for m in asked if isinstance(m, str)} if isinstance(asked, list) else set()
    return frozenset(named) | TEXT_ONLY if named else TEXT_ONLY
