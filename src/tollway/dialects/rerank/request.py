"""A rerank request: the caller's body to `canon.Request`.

Rules as in openai_chat_request. What it may cost is estimated both ways in which it is sold: by
tokens (the query is read with every document) and by Cohere's search units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from ... import errors
from ...canon import Request
from .. import openai_chat_schema as schema
from .. import ranking
from ..openai_chat_request import IMAGE_TOKENS
from ..openai_embeddings.request import models_of
from ..preferences import preferences
from ..problems import bad_request


class Asked(Struct):
    query: Annotated[str, Meta(min_length=1)]
    documents: ranking.Documents
    model: schema.Slug | None = None
    models: Annotated[list[schema.Slug], Meta(max_length=schema.MODELS_MAX)] | None = None
    top_n: schema.Positive | None = None
    provider: schema.Provider | None = None
    user: schema.Tag | None = None
    session_id: schema.Tag | None = None
    trace: dict[str, Any] | None = None


class RerankRequest(Request, frozen=True):
    """A Request that remembers how its answer is to look."""

    documents: int = 0
    top_n: int | None = None
    cohere: bool = False
    """It came by Cohere's own path, so its client looks for `meta`."""


def parse_request(body: bytes, headers: Mapping[str, str] = {}, path: str = "") -> Request:
    """Raises CallerError (400). `headers` have lower-case names; only x-session-id is read."""
    try:
        asked = _decoder.decode(body)
        fields = schema.fields_decoder.decode(body)
        body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(error) from None
    for n, document in enumerate(asked.documents):
        if not isinstance(document, str) and document.text is None and document.image is None:
            raise errors.bad_field(f"documents[{n}]", "needs text or image")
    query = len(asked.query.encode())
    sizes = [len(text.encode()) for text in ranking.texts_of(asked.documents)]
    images = sum(1 for one in asked.documents if not isinstance(one, str) and one.image is not None)
    return RerankRequest(
        dialect="rerank",
        models=models_of(asked.model, asked.models),
        stream=False,
        fields={name: raw for name, raw in fields.items() if raw != _NULL},
        kind="rerank",
        modalities=frozenset({"text", "image"}) if images else frozenset({"text"}),
        prompt_bytes=sum(sizes) + query * len(sizes),
        window_bytes=max(sizes) + query,
        media_tokens=images * IMAGE_TOKENS,
        images=images,
        search_units=search_units_max(query, sizes),
        preferences=preferences(asked.provider),
        session_id=asked.session_id or headers.get("x-session-id", "")[:256] or None,
        user=asked.user,
        documents=len(sizes),
        top_n=asked.top_n,
        cohere=path.rstrip("/").endswith("/v2/rerank"),
    )


UNIT_DOCUMENTS = 100
"""A search unit is one query over at most so many documents (Cohere's pricing)."""
CHUNK_TOKENS, QUERY_TOKENS_MOST = 500, 250
"""A document that is longer together with its query counts once for every such piece; of a query
at most half of a piece is read."""


def search_units_max(query_bytes: int, document_bytes: list[int]) -> int:
    """The most units an honest count finds, at a token for every 2 bytes."""
    room = CHUNK_TOKENS - min(query_bytes // 2, QUERY_TOKENS_MOST)
    pieces = sum(max(1, -(-(size // 2) // room)) for size in document_bytes)
    return -(-pieces // UNIT_DOCUMENTS)


_NULL = Raw(b"null")
_decoder = msgspec.json.Decoder(Asked)
