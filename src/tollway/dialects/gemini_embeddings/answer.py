"""Vectors on their way to a Gemini caller: one `embedding`, or `embeddings` in the order of the
requests, and the tokens they cost."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from ...canon import Request
from ...errors import TollwayError
from .. import Bill, Head, Relay, dialect
from ..gemini.failing import render_error
from ..openai_embeddings.answer import Vectors
from .request import GeminiEmbeddingRequest


def relay(
    head: Head, outbound: str, quirks: Collection[str] = (), request: Request | None = None
) -> Relay:
    """From a provider that speaks `outbound`. Raises KeyError for a dialect that there is not."""
    return _Embeddings(head, dialect(outbound).parser(False, quirks), request)


class _Embeddings(Vectors):
    """See `dialects.Relay`."""

    def ending(self, bill: Bill) -> bytes:
        embeddings = [{"values": self.vectors[index]} for index in sorted(self.vectors)]
        asked = self.request
        batch = not isinstance(asked, GeminiEmbeddingRequest) or asked.batch
        body: dict[str, Any] = {"embeddings": embeddings} if batch else {"embedding": embeddings[0]}
        tokens = bill.usage.prompt_tokens
        body["usageMetadata"] = {"promptTokenCount": tokens, "totalTokenCount": tokens}
        return msgspec.json.encode({**body, **bill.extra})

    def failure(self, error: TollwayError) -> bytes:
        return render_error(error)
