"""A request whose media are here as bytes: for providers that take no URL.

Of the caller's side `conversation` alone, which is all that another dialect's `render_request`
asks of it. Pure: `remote` says what would have to be fetched, `with_media` puts in what was; the
fetching is done at the edge. Only https URLs of what a user or a tool said are named: a store's own
scheme (`s3:`, `gs:`) would be read with the operator's rights.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from .. import conversation as talk
from ..canon import Request
from ..conversation import Conversation, Part

BYTES_ONLY = frozenset({"bedrock_converse", "ollama"})
"""Outbound dialects that carry media as bytes alone."""

Media = talk.Image | talk.File | talk.Audio | talk.Video


class FetchedRequest(Request, frozen=True):
    """`dialect` is `fetched`; all else is the request's that it was made of."""

    said: Conversation = Conversation(())


def conversation(request: Request) -> Conversation:
    """What the request says. Raises TypeError for one of another dialect."""
    if not isinstance(request, FetchedRequest):
        raise TypeError(f"a request of dialect {request.dialect} has nothing fetched")
    return request.said


def remote(said: Conversation) -> tuple[str, ...]:
    """URLs that would have to be fetched, each once, in order."""
    urls = (
        part.source.url
        for turn in said.turns
        if turn.role != "assistant"
        for part in _media(turn.parts)
        if part.source.url is not None and part.source.url[:8].lower() == "https://"
    )
    return tuple(dict.fromkeys(urls))


def with_media(
    request: Request, said: Conversation, fetched: Mapping[str, tuple[bytes, str]]
) -> FetchedRequest:
    """`request` saying the same as `said`, with each URL of `fetched` replaced by its content
    (bytes, media type)."""
    sources = {
        url: talk.Source(data=b64encode(content).decode(), media_type=kind)
        for url, (content, kind) in fetched.items()
    }
    turns = tuple(
        msgspec.structs.replace(turn, parts=_replaced(turn.parts, sources)) for turn in said.turns
    )
    own = {name: getattr(request, name) for name in Request.__struct_fields__}
    own["dialect"] = "fetched"
    return FetchedRequest(**own, said=msgspec.structs.replace(said, turns=turns))


def _media(parts: Iterable[Part]) -> Iterator[Media]:
    for part in parts:
        if isinstance(part, talk.Result):
            yield from _media(part.parts)
        elif isinstance(part, Media):
            yield part


def _replaced(parts: Iterable[Part], sources: Mapping[str, talk.Source]) -> tuple[Part, ...]:
    return tuple(_one(part, sources) for part in parts)


def _one(part: Part, sources: Mapping[str, talk.Source]) -> Part:
    if isinstance(part, talk.Result):
        return msgspec.structs.replace(part, parts=_replaced(part.parts, sources))
    if not isinstance(part, Media):
        return part
    source = sources.get(part.source.url or "")
    return part if source is None else msgspec.structs.replace(part, source=source)
