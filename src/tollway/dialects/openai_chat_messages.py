"""The caller's messages as one provider wants them, changed only where they must be.

Not here: which provider wants what (quirks). Rules: a message that needs no change keeps its own
JSON; nothing that carries meaning to the model is dropped without an equivalent, and what is
dropped is named in the draft. The two cache markers become each other where only one is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec
from msgspec import Raw

from .quirks import Draft

Fields = dict[str, object]
"""One JSON object: names to Raw as it came, or to a value that replaces it."""


def messages(raw: Raw, traits: Collection[str], draft: Draft) -> object:
    """What goes into `messages`: `raw` itself when nothing in it needs a change."""
    needed = set(traits) - draft.takes - {"parts", "calls", "deferred"}
    if draft.tool_id_length is not None and "calls" in traits:
        needed.add("calls")
    if draft.content_as_string and "parts" in traits:
        needed.add("parts")
    if not needed:
        return raw
    rewritten = _messages_decoder.decode(raw)
    for message in rewritten:
        _rewrite(message, needed, draft)
    return rewritten


def tools(raw: Raw, traits: Collection[str], draft: Draft) -> object:
    """The same for `tools`: markers that the provider does not know are taken off."""
    foreign = {name for name in ("cache_control", "defer_loading") if name not in draft.takes}
    if not ("cache_control" in traits or "deferred" in traits) or not foreign:
        return raw
    rewritten = _messages_decoder.decode(raw)
    for tool in rewritten:
        for name in foreign:
            if tool.pop(name, None) is not None:
                draft.drop("tools.defer_loading" if name == "defer_loading" else name)
    return rewritten


def _rewrite(message: Fields, needed: set[str], draft: Draft) -> None:
    role = _string(message["role"])
    if role == "developer" and "developer" in needed:
        message["role"] = "system"
    if "router_fields" in needed:
        message.pop("model", None)
        for name in ("images", "annotations", "configuration_update"):
            if message.pop(name, None) is not None:
                draft.drop(f"messages.{name}")
    if role == "assistant" and "reasoning" in needed:
        _reasoning(message, draft)
    if "calls" in needed and draft.tool_id_length is not None:
        _tool_ids(message, draft.tool_id_length)
    if needed & _IN_PARTS:
        content = message.get("content")
        if isinstance(content, Raw) and bytes(memoryview(content)[:1]) == b"[":
            message["content"] = _parts(content, needed, draft)


_IN_PARTS = {"cache_control", "cache_breakpoint", "original", "parts"}


def _reasoning(message: Fields, draft: Draft) -> None:
    """Earlier thinking: left out, or sent back as plain text in the provider's own field. Signed
    and encrypted blocks mean nothing to a provider that did not make them."""
    said = message.pop("reasoning_content", None)
    plain = message.pop("reasoning", None)
    details = message.pop("reasoning_details", None)
    text = said if said is not None and said != _NULL else plain
    if draft.replays is not None and text is not None and text != _NULL:
        message[draft.replays] = text
    elif text is not None or details is not None:
        draft.drop("reasoning")
    if isinstance(details, Raw) and any(mark in bytes(details) for mark in _OPAQUE):
        draft.drop("reasoning signature")


def _tool_ids(message: Fields, length: int) -> None:
    if "tool_call_id" in message:
        message["tool_call_id"] = short_id(_string(message["tool_call_id"]), length)
    calls = message.get("tool_calls")
    if isinstance(calls, Raw) and calls != _NULL:
        rewritten = _messages_decoder.decode(calls)
        for call in rewritten:
            call["id"] = short_id(_string(call["id"]), length)
        message["tool_calls"] = rewritten


def short_id(name: str, length: int) -> str:
    """A tool call's id as `length` characters of [a-zA-Z0-9], the same for the same id; one that
    has this form already is kept."""
    if len(name) == length and name.isascii() and name.isalnum():
        return name
    number = int.from_bytes(hashlib.sha256(name.encode(errors="replace")).digest(), "big")
    letters = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        letters.append(_BASE62[digit])
    return "".join(letters)


def _parts(content: Raw, needed: Collection[str], draft: Draft) -> object:
    parts = _messages_decoder.decode(content)
    if "parts" in needed and all(_string(part["type"]) == "text" for part in parts):
        for name in ("cache_control", "prompt_cache_breakpoint"):
            if any(name in part for part in parts):
                draft.drop(name)
        return "\n".join(_string(part["text"]) for part in parts)
    for part in parts:
        if "cache_control" in needed and part.pop("cache_control", None) is not None:
            if "cache_breakpoint" in draft.takes and draft.bills_cache_writes:
                part.setdefault("prompt_cache_breakpoint", {"mode": "explicit"})
            else:
                draft.drop("cache_control")
        if "cache_breakpoint" in needed and part.pop("prompt_cache_breakpoint", None) is not None:
            if "cache_control" in draft.takes:
                part.setdefault("cache_control", {"type": "ephemeral"})
            else:
                draft.drop("prompt_cache_breakpoint")
        image = part.get("image_url")
        if "original" in needed and isinstance(image, Raw):
            fields = _object_decoder.decode(image)
            if fields.get("detail") == _ORIGINAL:
                part["image_url"] = {**fields, "detail": "high"}
    return parts


def _string(value: object) -> str:
    return msgspec.json.decode(value, type=str) if isinstance(value, Raw) else str(value)


_OPAQUE = (b'"signature"', b'"reasoning.encrypted"')
_NULL, _ORIGINAL = Raw(b"null"), Raw(b'"original"')
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_messages_decoder: msgspec.json.Decoder[list[Fields]] = msgspec.json.Decoder(list[dict[str, Raw]])
_object_decoder = msgspec.json.Decoder(dict[str, Raw])
