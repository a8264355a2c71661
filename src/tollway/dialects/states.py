"""State that only one provider can read, taken out of a request that goes to another.

Pure. A conversation that is pinned (`routing.sticky`) goes back to the endpoint whose signed or
encrypted reasoning it carries. When that one is down the others can still answer, but not with
state they cannot verify: they would refuse the whole request. What is taken out is named, never
silent. Anthropic's signatures are left in: its models accept them on every platform they run on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from ..canon import Fault, Request
from .gemini.signatures import UNSIGNED

LOST = "reasoning state of another provider"
"""How it is called where dropped things are listed."""

PORTABLE = frozenset({"anthropic-claude-v1", "unknown"})


def without_state(request: Request) -> tuple[Request, tuple[str, ...]]:
    """The request for a provider that did not make its reasoning state, and what was lost."""
    taken = _TAKES.get(request.dialect)
    if taken is None or not carries_state(request):
        return request, ()
    field, take = taken
    raw = request.fields[field]
    try:
        said = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return request, ()
    if not isinstance(said, list) or not take(said):
        return request, ()
    fields = {**request.fields, field: Raw(msgspec.json.encode(said))}
    return msgspec.structs.replace(request, fields=fields), (LOST,)


def carries_state(request: Request) -> bool:
    """Whether there may be some: a look, not a reading."""
    field = _TAKES[request.dialect][0] if request.dialect in _TAKES else "messages"
    raw = request.fields.get(field)
    return raw is not None and _MARKS.search(raw) is not None


def refused_for_state(fault: Fault) -> bool:
    """A provider says that it cannot read the reasoning state of the request: it was made by
    another, or its maker's key has changed. Words of OpenAI, Azure, xAI, Google and Anthropic."""
    if fault.status != 400:
        return False
    said = f"{fault.provider_code or ''} {fault.message} {fault.raw or ''}".lower()
    return bool(_UNREADABLE.search(said))


_UNREADABLE = re.compile(
    r"invalid_encrypted_content|encrypted[ _]content.{0,60}(not|invalid|could)"
    r"|thought[ _]?signature.{0,60}(not|invalid|corrupt)|invalid.{0,40}signature"
)
_MARKS = re.compile(
    rb"encrypted_content|thoughtSignature|thought_signature|reasoning_details|signature"
)


def _responses(items: list[Any]) -> bool:
    """Reasoning items: without their state they are nothing to a stateless provider."""
    kept = [item for item in items if not _sealed(item)]
    lost = len(kept) < len(items)
    items[:] = kept
    return lost


def _sealed(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.get("type") == "reasoning"
        and bool(item.get("encrypted_content"))
    )


def _chat(messages: list[Any]) -> bool:
    """Entries of `reasoning_details`; the text beside them stays."""
    lost = False
    for message in messages:
        details = message.get("reasoning_details") if isinstance(message, dict) else None
        if not isinstance(details, list):
            continue
        kept = [entry for entry in details if not _bound(entry)]
        lost = lost or len(kept) < len(details)
        message["reasoning_details"] = kept
    return lost


def _bound(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and bool(entry.get("data") or entry.get("signature"))
        and entry.get("format") not in PORTABLE
    )


def _gemini(contents: list[Any]) -> bool:
    """Signatures of parts. A function call must have one: Google documents which it may be."""
    lost = False
    for content in contents:
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else ():
            if not isinstance(part, dict):
                continue
            for name in ("thoughtSignature", "thought_signature"):
                if part.pop(name, UNSIGNED) != UNSIGNED:
                    lost = True
                    if "functionCall" in part or "function_call" in part:
                        part["thoughtSignature"] = UNSIGNED
    return lost


_TAKES: dict[str, tuple[str, Callable[[list[Any]], bool]]] = {
    "openai_chat": ("messages", _chat),
    "openai_responses": ("input", _responses),
    "gemini": ("contents", _gemini),
}
