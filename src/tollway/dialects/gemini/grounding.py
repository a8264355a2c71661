"""Sources and probabilities of an answer between Gemini's words and the contract's.

Citations: `groundingMetadata` and `citationMetadata` against `url_citation` annotations. Rules:
Gemini counts places in UTF-8 bytes, annotations in characters; a place that does not lie in the
text is left out rather than guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from .answer import BAD_JSON, Candidate, is_given

Json = dict[str, Any]


def citations(candidate: Candidate, text: str) -> list[Json]:
    """`url_citation` entries of a candidate whose text so far is `text`."""
    found: list[Json] = []
    encoded: bytes | None = None

    def place(start: object, end: object) -> Json:
        nonlocal encoded
        first = start if isinstance(start, int) else 0
        if not isinstance(end, int) or not 0 <= first <= end:
            return {}
        if text.isascii():
            return {"start_index": first, "end_index": end} if end <= len(text) else {}
        encoded = text.encode(errors="replace") if encoded is None else encoded
        if end > len(encoded):
            return {}
        head = len(encoded[:first].decode(errors="ignore"))
        return {"start_index": head, "end_index": len(encoded[:end].decode(errors="ignore"))}

    grounding = _object(candidate.grounding_metadata)
    chunks = [_dict(_dict(chunk).get("web")) for chunk in _list(grounding.get("groundingChunks"))]
    supports = [_dict(support) for support in _list(grounding.get("groundingSupports"))]
    for support in supports:
        segment = _dict(support.get("segment"))
        where = place(segment.get("startIndex"), segment.get("endIndex"))
        for n in _list(support.get("groundingChunkIndices")):
            if isinstance(n, int) and 0 <= n < len(chunks) and chunks[n].get("uri"):
                said = {"content": segment["text"]} if segment.get("text") else {}
                found.append(_citation(chunks[n]["uri"], chunks[n].get("title"), {**where, **said}))
    if not supports:
        found += [_citation(c["uri"], c.get("title"), {}) for c in chunks if c.get("uri")]
    for one in map(_dict, _list(_object(candidate.citation_metadata).get("citations"))):
        if one.get("uri"):
            where = place(one.get("startIndex"), one.get("endIndex"))
            found.append(_citation(one["uri"], one.get("title"), where))
    return found


def grounding_metadata(entries: Sequence[Raw], text: str) -> Json | None:
    """The other way: annotations of an answer whose text is `text`."""
    chunks: list[Json] = []
    known: dict[str, int] = {}
    supports: list[Json] = []
    for raw in entries:
        inner = _dict(_dict(_object(raw)).get("url_citation"))
        url = inner.get("url")
        if not isinstance(url, str):
            continue
        if url not in known:
            known[url] = len(chunks)
            chunks.append({"web": {"uri": url, "title": inner.get("title") or url}})
        start, end = inner.get("start_index"), inner.get("end_index")
        if isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text):
            first = len(text[:start].encode(errors="replace"))
            said = text[start:end]
            last = first + len(said.encode(errors="replace"))
            segment = {"startIndex": first, "endIndex": last, "text": said}
            supports.append({"segment": segment, "groundingChunkIndices": [known[url]]})
    if not chunks:
        return None
    return {"groundingChunks": chunks, "groundingSupports": supports}


def logprobs(raw: Raw) -> Json | None:
    """`logprobsResult` as the `logprobs` of a choice."""
    result = _object(raw)
    chosen = [_dict(one) for one in _list(result.get("chosenCandidates"))]
    tops = [_list(_dict(one).get("candidates")) for one in _list(result.get("topCandidates"))]
    content = []
    for n, one in enumerate(chosen):
        near = tops[n] if n < len(tops) else []
        content.append({**_token(one), "top_logprobs": [_token(_dict(top)) for top in near]})
    return {"content": content, "refusal": None} if content else None


def logprobs_result(raw: Raw) -> Json | None:
    """The other way."""
    content = [_dict(one) for one in _list(_object(raw).get("content"))]
    if not content:
        return None
    chosen = [_candidate(one) for one in content]
    tops = [
        {"candidates": [_candidate(_dict(top)) for top in _list(one.get("top_logprobs"))]}
        for one in content
    ]
    return {"chosenCandidates": chosen, "topCandidates": tops}


def _citation(url: object, title: object, more: Json) -> Json:
    return {"type": "url_citation", "url_citation": {"url": url, "title": title or url, **more}}


def _token(one: Json) -> Json:
    token = one.get("token")
    text = token if isinstance(token, str) else ""
    return {
        "token": text,
        "logprob": one.get("logProbability", 0),
        "bytes": list(text.encode(errors="replace")),
    }


def _candidate(one: Json) -> Json:
    return {"token": one.get("token", ""), "logProbability": one.get("logprob", 0)}


def _object(raw: Raw) -> Json:
    if not is_given(raw):
        return {}
    try:
        return _dict(msgspec.json.decode(raw))
    except BAD_JSON:
        return {}


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
