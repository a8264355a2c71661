"""The usage object of OpenAI-shaped answers: read from providers, written for callers.

Not here: prices. Rules: what a provider reports is believed only if it is a whole number within
bounds. A total that is not makes the whole report unreported (our own count is charged, marked
estimated); a part that is not counts as zero and is named in `doubts`. Nothing raises.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Raw

from ..canon import TOKENS_MAX, Usage
from ..money import usd_from_nano
from . import Bill


def read_usage(raw: Raw, quirks: Collection[str] = ()) -> Usage | None:
    """A usage object as JSON; see `parse_usage`. The plain form, which most answers have, is
    decoded straight into its type."""
    try:
        report = _plain_decoder.decode(raw)
        inside = report.prompt_tokens_details or _NO_INSIDE
        outside = report.completion_tokens_details or _NO_OUTSIDE
        if _EXCLUDES in quirks or inside.cached_tokens_details or report.elsewhere():
            return parse_usage(msgspec.json.decode(raw), quirks)
    except msgspec.ValidationError:
        return parse_usage(msgspec.json.decode(raw), quirks)
    return Usage(
        prompt_tokens=report.prompt_tokens,
        completion_tokens=report.completion_tokens,
        cached_tokens=inside.cached_tokens or 0,
        cache_write_tokens=inside.cache_write_tokens or inside.cache_creation_tokens or 0,
        audio_tokens=inside.audio_tokens or 0,
        image_tokens=inside.image_tokens or 0,
        reasoning_tokens=outside.reasoning_tokens or 0,
        audio_output_tokens=outside.audio_tokens or 0,
        image_output_tokens=outside.image_tokens or 0,
    )


def parse_usage(report: object, quirks: Collection[str] = ()) -> Usage | None:
    """A provider's usage object (decoded JSON of any type) to Usage, or None when it holds no
    believable totals. Sources of the fields: dialects of OpenAI, DeepSeek (`prompt_cache_hit_*`),
    Moonshot (`cached_tokens` on top), Anthropic-compatible hosts (`cache_*_input_tokens`)."""
    if not isinstance(report, Mapping):
        return None
    prompt = _count(report.get("prompt_tokens", report.get("input_tokens")))
    completion = _count(report.get("completion_tokens", report.get("output_tokens")))
    total = _count(report.get("total_tokens"))
    if completion is None and "completion_tokens" not in report and prompt is not None and total:
        completion = max(0, total - prompt)
    if prompt is None or completion is None:
        return None
    inside = _table(report, "prompt_tokens_details", "input_tokens_details")
    outside = _table(report, "completion_tokens_details", "output_tokens_details")
    cached_inside = _table(inside, "cached_tokens_details")
    part = _Parts()
    cached = part(
        "cached_tokens",
        (inside, "cached_tokens"),
        (report, "prompt_cache_hit_tokens"),
        (report, "cached_tokens"),
        (report, "cache_read_input_tokens"),
    )
    written = part(
        "cache_write_tokens",
        (inside, "cache_write_tokens"),
        (inside, "cache_creation_tokens"),
        (report, "cache_creation_input_tokens"),
    )
    cached_audio = part("cached_audio_tokens", (cached_inside, "audio_tokens"))
    reasoning = part(
        "reasoning_tokens", (outside, "reasoning_tokens"), (report, "reasoning_tokens")
    )
    if _EXCLUDES in quirks:
        completion += reasoning
    server_tools = _table(report, "server_tool_use", "server_tool_use_details")
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cached_audio_tokens=min(cached_audio, cached),
        cache_write_tokens=written,
        audio_tokens=max(0, part("audio_tokens", (inside, "audio_tokens")) - cached_audio),
        image_tokens=part("image_tokens", (inside, "image_tokens")),
        reasoning_tokens=reasoning,
        audio_output_tokens=part("audio_output_tokens", (outside, "audio_tokens")),
        image_output_tokens=part("image_output_tokens", (outside, "image_tokens")),
        web_searches=part(
            "web_searches",
            (server_tools, "web_search_requests"),
            (report, "num_search_queries"),
            (report, "num_sources_used"),
        ),
        doubts=tuple(part.doubts),
    )


class _Parts:
    """Reads parts of a report, each from the first of several places that has it, and remembers
    which were no counts."""

    def __init__(self) -> None:
        self.doubts: list[str] = []

    def __call__(self, name: str, *places: tuple[Mapping[str, Any], str]) -> int:
        for table, key in places:
            value = table.get(key)
            if value is None:
                continue
            count = _count(value)
            if count is not None:
                return count
            self.doubts.append(name)
            return 0
        return 0


def render_usage(bill: Bill) -> dict[str, Any]:
    """OpenRouter's usage object; money in USD as JSON numbers. `upstream_inference_cost` is for
    requests on the caller's own provider key only."""
    usage = bill.usage
    body: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "cost": usd_from_nano(bill.charge_nano),
        "is_byok": bill.is_byok,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_1h_tokens,
            "audio_tokens": usage.audio_tokens + usage.cached_audio_tokens,
            "video_tokens": 0,
        },
        "cost_details": {
            "upstream_inference_cost": (
                usd_from_nano(bill.prompt_nano + bill.completion_nano) if bill.is_byok else None
            ),
            "upstream_inference_prompt_cost": usd_from_nano(bill.prompt_nano),
            "upstream_inference_completions_cost": usd_from_nano(bill.completion_nano),
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.audio_output_tokens,
            "image_tokens": usage.image_output_tokens,
        },
    }
    if usage.web_searches:
        # The documentation and the schema of the contract name this differently; both are read.
        body["server_tool_use"] = {"web_search_requests": usage.web_searches}
        body["server_tool_use_details"] = {"web_search_requests": usage.web_searches}
    return body


Count = Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)]
_EXCLUDES = "completion_tokens_exclude_reasoning_in_chat"
_ABSENT = Raw(b"")


class _Inside(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    cache_creation_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None
    cached_tokens_details: Raw = _ABSENT


class _Outside(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _Plain(msgspec.Struct, gc=False):
    """OpenAI's own form; a report with any of the further fields is read the long way."""

    prompt_tokens: Count
    completion_tokens: Count
    prompt_tokens_details: _Inside | None = None
    completion_tokens_details: _Outside | None = None
    prompt_cache_hit_tokens: Raw = _ABSENT
    cached_tokens: Raw = _ABSENT
    cache_read_input_tokens: Raw = _ABSENT
    cache_creation_input_tokens: Raw = _ABSENT
    reasoning_tokens: Raw = _ABSENT
    server_tool_use: Raw = _ABSENT
    server_tool_use_details: Raw = _ABSENT
    num_search_queries: Raw = _ABSENT
    num_sources_used: Raw = _ABSENT

    def elsewhere(self) -> Raw:
        return (
            self.prompt_cache_hit_tokens
            or self.cached_tokens
            or self.cache_read_input_tokens
            or self.cache_creation_input_tokens
            or self.reasoning_tokens
            or self.server_tool_use
            or self.server_tool_use_details
            or self.num_search_queries
            or self.num_sources_used
        )


_NO_INSIDE, _NO_OUTSIDE = _Inside(), _Outside()
_plain_decoder = msgspec.json.Decoder(_Plain)


def _count(value: object) -> int | None:
    """A token counter, or None. Booleans, fractions and absurd numbers are no counters; a float
    that is whole (some hosts write 12.0) is one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= TOKENS_MAX else None


def _table(report: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        table = report.get(name)
        if isinstance(table, Mapping):
            return table
    return {}
