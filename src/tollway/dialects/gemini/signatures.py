"""Opaque reasoning state on its way through `thoughtSignature`, the one place Gemini has for it.

A signature of Gemini's own is itself, byte for byte. Blocks of other providers are put into an
envelope: base64 of a mark and the JSON of the `reasoning_details` entries, so that a Gemini client
carries them through a tool loop as it carries a signature, and the provider that made them gets
them back. Rules: a client may re-encode base64 in the URL-safe alphabet; both are read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec
from msgspec import Raw

FORMAT = "google-gemini-v1"
"""The `format` of reasoning details that Gemini made."""

UNSIGNED = "skip_thought_signature_validator"
"""What Google documents for a function call in the history that no Gemini model made: newer models
refuse a call without any signature."""

_MARK = b"tw1:"
_START = base64.b64encode(_MARK + b"[{")
ENVELOPE_START = _START.decode()
"""How the base64 of every envelope begins; also in the URL-safe alphabet."""


def envelope(details: Sequence[object]) -> str:
    """`details` (JSON values of reasoning_details entries, never empty) as a signature."""
    return base64.b64encode(_MARK + msgspec.json.encode(details)).decode()


def opened(signature: str) -> tuple[Raw, ...] | None:
    """The entries of an envelope; None for a signature of Gemini's own."""
    if not signature.startswith(ENVELOPE_START):
        return None
    plain = signature.replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        return tuple(_entries.decode(data[len(_MARK) :]))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        return None


def detail(signature: str, call_id: str | None = None, text: str | None = None) -> Raw:
    """Gemini's signature as a reasoning_details entry: of a call (`id` is the call's), of thought
    text, or of the answer's text."""
    entry: dict[str, object]
    if text is None:
        entry = {"type": "reasoning.encrypted", "data": signature}
        if call_id is not None:
            entry["id"] = call_id
    else:
        entry = {"type": "reasoning.text", "text": text, "signature": signature}
    return Raw(msgspec.json.encode({**entry, "format": FORMAT, "index": 0}))


def thought(text: str) -> Raw:
    """Thought text without a signature as a reasoning_details entry."""
    entry = {"type": "reasoning.text", "text": text, "format": FORMAT, "index": 0}
    return Raw(msgspec.json.encode(entry))


_entries = msgspec.json.Decoder(list[Raw])
