"""Anthropic's usage object: read from providers, written for callers.

Not here: prices. The wire counts input without what came from or went into the cache; `canon`
counts it whole. What is no count makes the report unreported where it is a total, and is doubted
where it is a part. Nothing raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...canon import TOKENS_MAX, Usage
from ...money import usd_from_nano
from .. import Bill

Report = dict[str, Any]


def merged(before: Report, now: object) -> Report:
    """A stream reports in parts: what a later report names (and is not null) replaces."""
    if not isinstance(now, Mapping):
        return before
    return {**before, **{name: value for name, value in now.items() if value is not None}}


def parse_usage(report: Mapping[str, Any]) -> Usage | None:
    """None when there are no believable totals. Passes over a compacted context count apart from
    the totals (`iterations`), and are added."""
    doubts: list[str] = []
    plain = _count(report.get("input_tokens", 0))
    output = _count(report.get("output_tokens"))
    if plain is None or output is None:
        return None
    creation = _table(report, "cache_creation")
    read = _part(report, "cache_read_input_tokens", "cached_tokens", doubts)
    written = _part(report, "cache_creation_input_tokens", "cache_write_tokens", doubts)
    hour = _part(creation, "ephemeral_1h_input_tokens", "cache_write_1h_tokens", doubts)
    five = _part(creation, "ephemeral_5m_input_tokens", "cache_write_tokens", doubts)
    written = max(written, hour + five)
    for step in _compactions(report):
        plain += _count(step.get("input_tokens")) or 0
        output += _count(step.get("output_tokens")) or 0
        read += _count(step.get("cache_read_input_tokens")) or 0
        written += _count(step.get("cache_creation_input_tokens")) or 0
    details = _table(report, "output_tokens_details")
    tools = _table(report, "server_tool_use")
    return Usage(
        prompt_tokens=plain + read + written,
        completion_tokens=output,
        cached_tokens=read,
        cache_write_tokens=written - hour,
        cache_write_1h_tokens=hour,
        reasoning_tokens=_part(details, "thinking_tokens", "reasoning_tokens", doubts),
        web_searches=_part(tools, "web_search_requests", "web_searches", doubts),
        doubts=tuple(dict.fromkeys(doubts)),
    )


def _compactions(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    steps = report.get("iterations")
    if not isinstance(steps, list):
        return []
    return [s for s in steps if isinstance(s, Mapping) and s.get("type") == "compaction"]


def _part(table: Mapping[str, Any], name: str, meaning: str, doubts: list[str]) -> int:
    value = table.get(name)
    if value is None:
        return 0
    count = _count(value)
    if count is None:
        doubts.append(meaning)
        return 0
    return count


def _count(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 0 <= value <= TOKENS_MAX else None


def _table(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = report.get(name)
    return table if isinstance(table, Mapping) else {}


EMPTY: Report = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"thinking_tokens": 0},
    "server_tool_use": None,
    "service_tier": "standard",
    "inference_geo": None,
}
"""Of a message that has only begun, when its provider counts at the end."""


def render_usage(bill: Bill, tier: str | None = None) -> Report:
    """The wire's usage object with the contract's money beside it, in USD as JSON numbers. What is
    billed is what is told, also where a provider reported something else."""
    usage, tier = bill.usage, bill.service_tier or tier
    writes = usage.cache_write_tokens + usage.cache_write_1h_tokens
    return {
        **EMPTY,
        "input_tokens": max(0, usage.prompt_tokens - usage.cached_tokens - writes),
        "cache_creation_input_tokens": writes,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "server_tool_use": (
            {"web_search_requests": usage.web_searches, "web_fetch_requests": 0}
            if usage.web_searches
            else None
        ),
        "service_tier": tier if tier in ("standard", "priority", "batch") else "standard",
        "cost": usd_from_nano(bill.charge_nano),
        "is_byok": bill.is_byok,
        "cost_details": {
            "upstream_inference_cost": (
                usd_from_nano(bill.prompt_nano + bill.completion_nano) if bill.is_byok else None
            ),
            "upstream_inference_prompt_cost": usd_from_nano(bill.prompt_nano),
            "upstream_inference_completions_cost": usd_from_nano(bill.completion_nano),
        },
    }
