"""Openings: by what a conversation is known again when its next turn comes.

Pure. A caller may name it (`session_id`, `prompt_cache_key`); else it is known by how it began, in
the shape of the caller's dialect: the first system message and the first other one, which every
later turn repeats. Also what lifetime a request wants for the cache it leaves behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import blake2b

import msgspec
from msgspec import Raw

from ..canon import Request

LOOKED_AT_BYTES = 16_384
"""Of each of the two messages; with its whole length. Conversations that differ only further in
share an endpoint, which does them no harm."""


def conversation_name(request: Request) -> str | None:
    """The same for every turn of a conversation; None for what has no turns."""
    if request.session_id is not None:
        return f"session:{request.session_id}"
    key = request.fields.get("prompt_cache_key")
    if key is not None:
        return f"key:{bytes(key).decode(errors='replace')}"
    began = _BEGAN.get(request.dialect)
    said = None if began is None else began(request.fields)
    if said is None:
        return None
    digest = blake2b(digest_size=16)
    for part in said:
        digest.update(b"%d:" % len(part))
        digest.update(part[:LOOKED_AT_BYTES])
    return f"begin:{digest.hexdigest()}"


def cache_lifetime_s(request: Request) -> float | None:
    """The longest lifetime (seconds) that the request asked a provider's cache for; None when it
    names none. Marks are looked for as they stand in the body: in text of a message their quotes
    would be escaped."""
    named = request.fields.get("prompt_cache_retention")
    longest = _seconds(bytes(named).strip(b'"')) if named is not None else 0.0
    if request.cache_marked or "prompt_cache_options" in request.fields:
        for raw in request.fields.values():
            for found in _TTL.finditer(raw):
                longest = max(longest, _seconds(found[1]))
    return longest or None


_TTL = re.compile(rb'"ttl"\s*:\s*"(\d{1,6}[smhd])"')
_UNITS = {b"s": 1.0, b"m": 60.0, b"h": 3_600.0, b"d": 86_400.0}


def _seconds(text: bytes) -> float:
    """`5m`, `1h`, `24h`; 0 for anything else (`in_memory`)."""
    number, unit = text[:-1], text[-1:]
    return int(number) * _UNITS[unit] if number.isdigit() and unit in _UNITS else 0.0


# ---- how each dialect begins ---------------------------------------------------------------------

_list = msgspec.json.Decoder(list[Raw])


class _Said(msgspec.Struct):
    role: str = ""


_said = msgspec.json.Decoder(_Said)


def _chat(fields: Mapping[str, Raw]) -> tuple[bytes, ...] | None:
    """First system or developer message, first other one."""
    raw = fields.get("messages")
    return None if raw is None else _first_two(raw)


def _first_two(raw: Raw) -> tuple[bytes, ...] | None:
    """A list of messages; an instruction that only follows the first of the others is not part of
    the beginning."""
    told = b""
    try:
        for message in _list.decode(raw):
            if _said.decode(message).role in ("system", "developer"):
                told = told or bytes(message)
            else:
                return told, bytes(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None


def _responses(fields: Mapping[str, Raw]) -> tuple[bytes, ...] | None:
    asked = fields.get("input")
    if asked is None:
        return None
    told = bytes(fields.get("instructions", b""))
    if bytes(asked)[:1] == b'"':
        return told, bytes(asked)
    begun = _first_two(asked)
    return None if begun is None else (told, *begun)


def _messages(fields: Mapping[str, Raw]) -> tuple[bytes, ...] | None:
    raw = fields.get("messages")
    begun = None if raw is None else _first_two(raw)
    return None if begun is None else (bytes(fields.get("system", b"")), *begun)


def _gemini(fields: Mapping[str, Raw]) -> tuple[bytes, ...] | None:
    raw = fields.get("contents")
    told = fields.get("systemInstruction") or fields.get("system_instruction") or b""
    begun = None if raw is None else _first_two(raw)
    return None if begun is None else (bytes(told), *begun)


_BEGAN: dict[str, Callable[[Mapping[str, Raw]], tuple[bytes, ...] | None]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic_messages": _messages,
    "gemini": _gemini,
}
