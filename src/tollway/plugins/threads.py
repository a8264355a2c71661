"""The caller's history as a list of entries, whatever its dialect: what each is, what may be cut.

One small reader a dialect, on the caller's own JSON: an entry that is kept is kept byte for byte.
Not here: which entries stay (`middle_out`). Only what may safely be shortened is offered as a text:
what users said and what tools gave back; what a model said, unless it stands beside reasoning,
whose signatures and order providers check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw

from ..canon import Request

Role = Literal["system", "user", "assistant", "result"]
"""`user`: somebody asks; `result`: what tools gave back, whoever the dialect says brings it."""

Slot = tuple[Any, Any]
"""A container and the key under which it holds a text that may be shortened."""


class Entry(msgspec.Struct, frozen=True):
    """One message, item or content."""

    role: Role
    calls: tuple[str, ...] = ()
    """Ids (or names, where the dialect has no ids) of tools it calls."""
    answers: tuple[str, ...] = ()
    """…and of calls whose results it brings."""
    sealed: bool = False
    """Holds reasoning or a signature."""


class Thread(msgspec.Struct, frozen=True):
    """A dialect's history: the field it stands in, and its two readers."""

    field: str
    entry: Callable[[Mapping[str, Any]], Entry]
    slots: Callable[[Any], list[Slot]]


def read(request: Request) -> tuple[Thread, list[Raw]] | None:
    """None where there is no history that could be shortened."""
    thread = THREADS.get(request.dialect)
    raw = None if thread is None else request.fields.get(thread.field)
    if thread is None or raw is None:
        return None
    if bytes(memoryview(raw)[:1]) == b'"':  # Responses: the whole input as one text
        return thread, [Raw(b'{"role":"user","content":' + bytes(raw) + b"}")]
    return thread, _list_decoder.decode(raw)


def written(request: Request, thread: Thread, entries: Sequence[Raw]) -> dict[str, Raw]:
    """The request's fields with another history. Opposite of `read`."""
    raw = Raw(b"[" + b",".join(map(bytes, entries)) + b"]")
    if bytes(memoryview(request.fields[thread.field])[:1]) == b'"':
        raw = Raw(msgspec.json.encode(msgspec.json.decode(entries[0])["content"]))
    return {**request.fields, thread.field: raw}


def shortened(raw: Raw, thread: Thread, most: int) -> tuple[Raw, bool]:
    """An entry whose texts have at most `most` bytes each, as JSON; and whether one had more."""
    message = msgspec.json.decode(raw)
    changed = False
    for container, key in thread.slots(message):
        shorter = cut(container[key], most)
        changed = changed or shorter is not container[key]
        container[key] = shorter
    return Raw(msgspec.json.encode(message)), changed


def text_size(text: str) -> int:
    """Bytes inside the quotes."""
    return len(msgspec.json.encode(text)) - 2


CUT_LEAST = 160
"""Bytes of the shortest text a cut leaves: less is all mark and no text."""


def cut(text: str, most: int) -> str:
    """`text` without its middle, so that it has at most `most` bytes (CUT_LEAST or more) as JSON.
    What is left out is named where it stood: a model must not take two ends for one sentence."""
    size = text_size(text)
    if size <= most:
        return text
    kept = len(text) * max(0, most - len(_MARK) - 12) // size
    while True:
        head = (kept + 1) // 2
        tail = kept - head
        mark = _MARK.format(len(text) - kept)
        shorter = text[:head] + mark + (text[-tail:] if tail else "")
        if kept == 0 or text_size(shorter) <= most:
            return shorter
        kept = kept * 9 // 10


_MARK = "\n[… {:,} characters left out …]\n"

_list_decoder = msgspec.json.Decoder(list[Raw])


def _texts(container: Any, key: str, kinds: frozenset[str]) -> list[Slot]:
    """A field that is a text, or a list of parts some of which are."""
    value = container.get(key)
    if isinstance(value, str):
        return [(container, key)]
    if not isinstance(value, list):
        return []
    return [
        (part, "text")
        for part in value
        if isinstance(part, dict)
        and part.get("type") in kinds
        and isinstance(part.get("text"), str)
        and not part.get("citations")
    ]


_TEXT = frozenset({"text"})


# ---- chat completions ----------------------------------------------------------------------------


def _chat(message: Mapping[str, Any]) -> Entry:
    match message["role"]:
        case "user":
            return Entry("user")
        case "tool":
            return Entry("result", answers=(message["tool_call_id"],))
        case "assistant":
            return Entry(
                "assistant",
                calls=tuple(call["id"] for call in message.get("tool_calls") or ()),
                sealed=any(message.get(name) for name in _CHAT_REASONING),
            )
        case _:
            return Entry("system")


_CHAT_REASONING = ("reasoning", "reasoning_content", "reasoning_details")


def _chat_slots(message: Any) -> list[Slot]:
    return _texts(message, "content", _TEXT)


# ---- Responses -----------------------------------------------------------------------------------


def _item(item: Mapping[str, Any]) -> Entry:
    kind = item.get("type") or "message"
    if kind == "message":
        role = item.get("role")
        if role == "assistant":
            return Entry("assistant")
        return Entry("user" if role == "user" else "system")
    call_id = item.get("call_id")
    named = (call_id,) if isinstance(call_id, str) else ()
    if kind.endswith("_output"):
        return Entry("result", answers=named)
    if kind == "reasoning":
        return Entry("assistant", sealed=True)
    # What this server does not read (compaction, the vendor's own calls) is not looked into.
    return Entry("assistant", calls=named, sealed=not named)


def _item_slots(item: Any) -> list[Slot]:
    kind = item.get("type") or "message"
    if kind == "message":
        return _texts(item, "content", _ITEM_TEXTS)
    return _texts(item, "output", _ITEM_TEXTS) if kind.endswith("_call_output") else []


_ITEM_TEXTS = frozenset({"input_text", "output_text"})


# ---- Messages ------------------------------------------------------------------------------------


def _message(message: Mapping[str, Any]) -> Entry:
    content = message["content"]
    blocks = content if isinstance(content, list) else []
    if message["role"] == "assistant":
        return Entry(
            "assistant",
            calls=tuple(block["id"] for block in blocks if block["type"] == "tool_use"),
            sealed=any(block["type"] in _THINKING for block in blocks),
        )
    answers = tuple(block["tool_use_id"] for block in blocks if block["type"] == "tool_result")
    if answers:
        return Entry("result", answers=answers)
    return Entry("user" if message["role"] == "user" else "system")


_THINKING = frozenset({"thinking", "redacted_thinking", "compaction"})


def _message_slots(message: Any) -> list[Slot]:
    slots = _texts(message, "content", _TEXT)
    content = message["content"]
    for block in content if isinstance(content, list) else ():
        if block["type"] == "tool_result":
            slots += _texts(block, "content", _TEXT)
        source = block.get("source") if block["type"] == "document" else None
        if isinstance(source, dict) and source.get("type") == "text":
            slots.append((source, "data"))
    return slots


# ---- Gemini --------------------------------------------------------------------------------------


def _content(content: Mapping[str, Any]) -> Entry:
    parts = content.get("parts") or ()
    calls = tuple(_called(part["functionCall"]) for part in parts if part.get("functionCall"))
    if content.get("role") == "model":
        sealed = any(part.get("thought") or part.get("thoughtSignature") for part in parts)
        return Entry("assistant", calls=calls, sealed=sealed)
    answers = tuple(
        _called(part["functionResponse"]) for part in parts if part.get("functionResponse")
    )
    if answers:
        return Entry("result", answers=answers)
    return Entry("system" if content.get("role") == "system" else "user")


def _called(call: Mapping[str, Any]) -> str:
    """Without ids a result belongs to the latest open call of its name."""
    return str(call.get("id") or call["name"])


def _content_slots(content: Any) -> list[Slot]:
    slots: list[Slot] = []
    for part in content.get("parts") or ():
        if isinstance(part.get("text"), str) and not part.get("thought"):
            slots.append((part, "text"))
        answer = part.get("functionResponse")
        given = answer.get("response") if isinstance(answer, dict) else None
        if isinstance(given, dict):
            slots += [(given, name) for name, value in given.items() if isinstance(value, str)]
    return slots


_CHAT = Thread("messages", _chat, _chat_slots)
THREADS: Mapping[str, Thread] = {
    "openai_chat": _CHAT,
    "openai_completions": _CHAT,
    "openai_responses": Thread("input", _item, _item_slots),
    "anthropic_messages": Thread("messages", _message, _message_slots),
    "gemini": Thread("contents", _content, _content_slots),
}
