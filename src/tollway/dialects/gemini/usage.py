"""`usageMetadata`: read from providers, written for callers.

Rules: thoughts are counted outside the candidates' tokens and inside our completion; prompts of
tool use are outside `promptTokenCount` and inside our prompt; a field that is missing is zero, as
in all JSON of protobuf. A total that is no whole number within bounds makes the report unreported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from ...canon import TOKENS_MAX, Usage
from .. import Bill

Count = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]


class _Modality(Struct, rename="camel"):
    modality: str = ""
    token_count: Count = 0


class _Report(Struct, rename="camel"):
    prompt_token_count: Count | None = None
    tool_use_prompt_token_count: Count | None = None
    candidates_token_count: Count | None = None
    thoughts_token_count: Count | None = None
    cached_content_token_count: Count | None = None
    prompt_tokens_details: list[_Modality] | None = None
    cache_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


_decoder = msgspec.json.Decoder(_Report)


def read_usage(raw: Raw, web_searches: int = 0) -> Usage | None:
    """None when there are no believable totals; never raises."""
    try:
        report = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if report.prompt_token_count is None:
        return None  # Vertex sends chunks that name only the kind of traffic
    given = _by_modality(report.prompt_tokens_details)
    cached = _by_modality(report.cache_tokens_details)
    made = _by_modality(report.candidates_tokens_details)
    thoughts = report.thoughts_token_count or 0
    cached_tokens = report.cached_content_token_count or 0
    return Usage(
        prompt_tokens=report.prompt_token_count + (report.tool_use_prompt_token_count or 0),
        completion_tokens=(report.candidates_token_count or 0) + thoughts,
        cached_tokens=cached_tokens,
        cached_audio_tokens=min(cached.get("AUDIO", 0), cached_tokens),
        audio_tokens=max(0, given.get("AUDIO", 0) - cached.get("AUDIO", 0)),
        image_tokens=max(0, given.get("IMAGE", 0) - cached.get("IMAGE", 0)),
        reasoning_tokens=thoughts,
        audio_output_tokens=made.get("AUDIO", 0),
        image_output_tokens=made.get("IMAGE", 0),
        web_searches=web_searches,
    )


def _by_modality(details: list[_Modality] | None) -> Mapping[str, int]:
    return {entry.modality: entry.token_count for entry in details or ()}


def render_usage(bill: Bill) -> dict[str, Any]:
    usage = bill.usage
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    said = completion - usage.reasoning_tokens
    audio = usage.audio_tokens + usage.cached_audio_tokens
    body: dict[str, Any] = {"promptTokenCount": prompt, "candidatesTokenCount": said}
    body["totalTokenCount"] = prompt + completion
    if usage.cached_tokens:
        body["cachedContentTokenCount"] = usage.cached_tokens
    body["promptTokensDetails"] = _details(prompt, audio, usage.image_tokens)
    if usage.audio_output_tokens or usage.image_output_tokens:
        body["candidatesTokensDetails"] = _details(
            said, usage.audio_output_tokens, usage.image_output_tokens
        )
    if usage.reasoning_tokens:
        body["thoughtsTokenCount"] = usage.reasoning_tokens
    return body


def _details(total: int, audio: int, image: int) -> list[dict[str, Any]]:
    counts = {"TEXT": max(0, total - audio - image), "AUDIO": audio, "IMAGE": image}
    found = [{"modality": name, "tokenCount": count} for name, count in counts.items() if count]
    return found or [{"modality": "TEXT", "tokenCount": 0}]
