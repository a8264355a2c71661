"""Reasoning items and `reasoning_details`: the same opaque state in two public spellings.

A reasoning item of OpenAI's holds a summary, perhaps the text itself, and `encrypted_content`.
State that other vendors made (signatures, redacted blocks) has no field of its own that every
client keeps, so its details travel whole inside `encrypted_content`, marked by a prefix, and come
out byte-equal. Rules: a detail that came in one piece keeps its bytes; pieces of a stream are
joined by id, type and index.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from . import schema

FORMAT = "openai-responses-v1"
UNKNOWN = "unknown"
_SEALED = "tollway:details:1:"
"""Begins an `encrypted_content` of ours; no provider's begins so."""


class Entry(Struct, omit_defaults=True):
    """One `reasoning_details` entry, as far as it is read here."""

    type: str = ""
    text: str | None = None
    signature: str | None = None
    summary: str | None = None
    data: str | None = None
    id: str | None = None
    format: str | None = None
    index: int | None = None

    @property
    def opaque(self) -> bool:
        return bool(self.signature or self.data)


_entry_decoder = msgspec.json.Decoder(Entry)
_raws_decoder = msgspec.json.Decoder(list[Raw])
_strict_encoder = msgspec.json.Encoder()


def entry_of(raw: Raw) -> Entry | None:
    """None for what is no entry; providers that are routers send what they like."""
    try:
        return _entry_decoder.decode(raw)
    except msgspec.DecodeError:
        return None


# ---- an item of the caller's history to details --------------------------------------------------


def details_of(item: schema.Reasoning) -> tuple[str, tuple[Raw, ...]]:
    """The visible text of a reasoning item, and its details."""
    text = "".join(t.text for t in item.content or ()) or "\n\n".join(
        t.text for t in item.summary or ()
    )
    sealed = unsealed(item.encrypted_content)
    if sealed is not None:
        return text, sealed
    state = item.encrypted_content or item.signature
    form = item.format or (FORMAT if state or item.summary else UNKNOWN)
    entries = [Entry("reasoning.summary", summary=t.text) for t in item.summary or ()]
    entries += [Entry("reasoning.text", text=t.text) for t in item.content or ()]
    if item.signature:
        if not item.content:
            entries.append(Entry("reasoning.text", text=""))
        entries[-1].signature = item.signature
    if item.encrypted_content:
        entries.append(Entry("reasoning.encrypted", data=item.encrypted_content))
    for n, entry in enumerate(entries):
        entry.id, entry.format, entry.index = item.id, form, n
    return text, tuple(Raw(_strict_encoder.encode(entry)) for entry in entries)


def unsealed(encrypted: str | None) -> tuple[Raw, ...] | None:
    """The details inside an `encrypted_content` of ours; None for a provider's own."""
    if not encrypted or not encrypted.startswith(_SEALED):
        return None
    try:
        packed = base64.b64decode(encrypted[len(_SEALED) :], validate=True)
        return tuple(raw.copy() for raw in _raws_decoder.decode(packed))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return ()


def is_foreign(item: schema.Reasoning, own: str) -> str | None:
    """Why a provider whose state has the format `own` cannot be given this item as it is: the name
    of what is lost, or None."""
    sealed = unsealed(item.encrypted_content)
    if sealed is not None:
        entries = [entry for raw in sealed if (entry := entry_of(raw))]
        return f"reasoning signature ({(entries[0].format if entries else None) or UNKNOWN})"
    if item.format not in (None, own):
        return f"reasoning signature ({item.format})"
    if not item.encrypted_content:
        return "reasoning without encrypted_content"
    return None


# ---- details of an earlier answer to items -------------------------------------------------------


def items_of(details: Iterable[Raw], own: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Reasoning items for a provider whose state has the format `own`, in order, and the names of
    what could not be sent. An item without encrypted state is nothing to a stateless provider."""
    items: list[dict[str, Any]] = []
    lost: list[str] = []
    for group in _grouped(details):
        foreign = next((e.format or UNKNOWN for e in group if (e.format or UNKNOWN) != own), None)
        data = next((entry.data for entry in group if entry.data), None)
        if foreign is not None:
            if any(entry.opaque for entry in group):
                lost.append(f"reasoning signature ({foreign})")
            else:
                lost.append("reasoning text")
        elif data is None:
            lost.append("reasoning without encrypted_content")
        else:
            items.append(_item(group, data))
    return items, list(dict.fromkeys(lost))


def _item(group: Sequence[Entry], data: str) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "reasoning"}
    name = next((entry.id for entry in group if entry.id), None)
    if name is not None:
        item["id"] = name
    item["summary"] = [
        {"type": "summary_text", "text": entry.summary} for entry in group if entry.summary
    ]
    content = [{"type": "reasoning_text", "text": entry.text} for entry in group if entry.text]
    if content:
        item["content"] = content
    item["encrypted_content"] = data
    return item


def _grouped(details: Iterable[Raw]) -> list[list[Entry]]:
    """Entries of one item stand together: by their id, or by what follows up to a state."""
    groups: list[list[Entry]] = []
    for raw in details:
        entry = entry_of(raw)
        if entry is None:
            continue
        last = groups[-1] if groups else None
        if last is not None and _belongs(entry, last):
            last.append(entry)
        else:
            groups.append([entry])
    return groups


def _belongs(entry: Entry, group: Sequence[Entry]) -> bool:
    known = next((e.id for e in group if e.id), None)
    if entry.format != group[-1].format:
        return False
    if entry.id is not None and known is not None:
        return entry.id == known
    return not any(e.data for e in group)


# ---- details of an answer that is being written --------------------------------------------------


def joined(pieces: Sequence[Raw]) -> list[Raw]:
    """The pieces of a stream as whole entries."""
    whole: list[tuple[Entry, Raw | None]] = []
    for raw in pieces:
        entry = entry_of(raw)
        if entry is None:
            continue
        for n in range(len(whole) - 1, -1, -1):
            known = whole[n][0]
            if _continues(entry, known):
                _append(known, entry)
                whole[n] = known, None
                break
        else:
            whole.append((entry, raw))
    return [raw if raw is not None else Raw(_strict_encoder.encode(e)) for e, raw in whole]


def _continues(piece: Entry, known: Entry) -> bool:
    return (
        piece.type == known.type
        and piece.index == known.index
        and (piece.id == known.id or piece.id is None or known.id is None)
        and not (piece.data and known.data)
        and not known.signature
    )


def _append(known: Entry, piece: Entry) -> None:
    if piece.text is not None:
        known.text = (known.text or "") + piece.text
    if piece.summary is not None:
        known.summary = (known.summary or "") + piece.summary
    known.signature = piece.signature or known.signature
    known.data = piece.data or known.data
    known.id = known.id or piece.id
    known.format = known.format or piece.format


def state_of(details: Sequence[Raw]) -> dict[str, Any]:
    """`encrypted_content` (and OpenRouter's `format` and `signature`) of the reasoning item that
    these whole entries make up; empty when they hold no state."""
    entries = [entry for raw in details if (entry := entry_of(raw))]
    if not any(entry.opaque for entry in entries):
        return {}
    states = [entry for entry in entries if entry.opaque]
    only = states[0]
    if len(states) == 1 and only.data and only.format == FORMAT:
        return {"encrypted_content": only.data}
    packed = base64.b64encode(_strict_encoder.encode(list(details))).decode()
    state: dict[str, Any] = {"encrypted_content": _SEALED + packed}
    if only.format is not None:
        state["format"] = only.format
    if only.signature is not None and len(states) == 1:
        state["signature"] = only.signature
    return state
