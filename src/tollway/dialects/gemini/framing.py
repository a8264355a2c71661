"""How chunks reach a Gemini caller: as server-sent events, or as the elements of one JSON array.

Google ends its events with CRLF, and so are these. Not here: what is in a chunk.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .. import Bill, Head
from ..sse import escape_separators
from .usage import render_usage


class Framing:
    """Mutable: an array has to know whether it has begun."""

    __slots__ = ("_begun", "_sse", "after")

    def __init__(self, head: Head, sse: bool) -> None:
        self._sse = sse
        self._begun = False
        self.after = b"," + msgspec.json.encode(identity(head))[1:]
        """What follows the candidates in every chunk, with the closing brace."""

    def chunk(self, json: bytes) -> bytes:
        if self._sse:
            return b"data: " + escape_separators(json) + b"\r\n\r\n"
        start = b",\r\n" if self._begun else b"["
        self._begun = True
        return start + json

    def close(self) -> bytes:
        if self._sse:
            return b""
        return b"]" if self._begun else b"[]"


def identity(head: Head) -> dict[str, Any]:
    return {"modelVersion": head.model, "responseId": head.id}


def ending_fields(head: Head, bill: Bill) -> dict[str, Any]:
    """What follows the candidates in the last chunk, or in a whole body."""
    return {"usageMetadata": render_usage(bill), **identity(head), **bill.extra}
