"""The system prompt of a preset: taken out of the request it is made from, put into those that have
none of their own.

A request has its own where it says one anywhere in its dialect, an empty one too: that is how a
caller leaves the preset's out.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from .draft import Draft

_SYSTEM = ("system", "developer")


def put(draft: Draft, dialect: str, prompt: str) -> None:
    """Say `prompt` first, unless the request has one. Raises CallerError for a field that is no
    list. Legacy completions have no place for it (`before`)."""
    match dialect:
        case "openai_chat":
            messages = draft.listed("messages")
            if not any(_role(message) in _SYSTEM for message in messages):
                draft.fields["messages"] = [{"role": "system", "content": prompt}, *messages]
        case "openai_responses":
            said = draft.fields.get("input")
            plain = isinstance(said, Raw) and bytes(memoryview(said)[:1]) == b'"'
            items = [] if plain else draft.listed("input")
            if "instructions" not in draft.fields and not any(_role(i) in _SYSTEM for i in items):
                draft.fields["instructions"] = prompt
        case "anthropic_messages":
            messages = draft.listed("messages")
            if "system" not in draft.fields and not any(_role(m) == "system" for m in messages):
                draft.fields["system"] = prompt
        case "gemini":
            contents = draft.listed("contents")
            own = "systemInstruction" in draft.fields
            if not own and not any(_role(content) == "system" for content in contents):
                draft.fields["systemInstruction"] = {"parts": [{"text": prompt}]}


def before(messages: Raw, prompt: str) -> Raw:
    """The messages of a legacy completion, which are one of the user, behind a system prompt."""
    turns = [{"role": "system", "content": prompt}, *msgspec.json.decode(messages, type=list[Raw])]
    return Raw(msgspec.json.encode(turns))


def leading(messages: list[dict[str, Any]]) -> str | None:
    """The text of the system messages that begin a chat, joined by blank lines."""
    texts: list[str] = []
    for message in messages:
        if message.get("role") not in _SYSTEM:
            break
        texts.append(text_of(message.get("content")))
    return "\n\n".join(text for text in texts if text) or None


def text_of(content: Any) -> str:
    """Of a string, or of a list of parts with text."""
    if isinstance(content, list):
        return "\n\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


class _Turn(msgspec.Struct):
    role: str | None = None


_turn = msgspec.json.Decoder(_Turn)


def _role(raw: Raw) -> str | None:
    """None for what is no turn at all: the dialect refuses that with its path."""
    try:
        return _turn.decode(raw).role
    except msgspec.ValidationError:
        return None
