"""How much a caller wants the model to think, normalised over the ways to say it.

Not here: the switch a provider has for it (quirks). Rules: what the caller did not say is not
sent; an effort becomes the nearest the model has; where only budgets exist an effort is a share of
the output limit, and the other way round. Ratios and bounds are OpenRouter's (reasoning tokens).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from . import openai_chat_schema as schema

LEVELS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
"""Of the output limit."""
BUDGET_LEAST, BUDGET_MOST = 1_024, 128_000


class Wanted(NamedTuple):
    """`on` is None where the caller did not say whether to think at all."""

    on: bool | None = None
    effort: str | None = None
    budget: int | None = None
    exclude: bool = False

    def effort_for(self, efforts: Sequence[str], output_tokens_max: int) -> str | None:
        """One of `efforts` (any level when that is empty), or None when nothing was asked.
        Thinking that is not wanted is the lowest level there is."""
        if self.on is None:
            return None
        if not self.on:
            wanted = "none"
        elif self.effort is not None:
            wanted = self.effort
        elif self.budget is not None:
            share = self.budget / max(1, output_tokens_max)
            wanted = min(list(SHARES)[:5], key=lambda level: abs(SHARES[level] - share))
        else:
            wanted = "medium"
        return nearest(wanted, efforts)

    def budget_for(self, output_tokens_max: int, least: int = BUDGET_LEAST) -> int | None:
        """Tokens to think with, below the output limit; None when nothing was asked, thinking is
        off, or the limit leaves no room for the smallest budget."""
        if not self.on:
            return None
        tokens = self.budget
        if tokens is None:
            tokens = int(output_tokens_max * SHARES[self.effort or "medium"])
        tokens = min(max(tokens, least), BUDGET_MOST, output_tokens_max - 1)
        return tokens if tokens >= least else None


NOTHING = Wanted()


def wanted(fields: Mapping[str, Raw]) -> Wanted:
    """What `reasoning`, `reasoning_effort` and the old `include_reasoning` say together. The
    fields have been validated."""
    if not ("reasoning" in fields or "reasoning_effort" in fields or "include_reasoning" in fields):
        return NOTHING
    said = schema.Reasoning()
    if "reasoning" in fields:
        said = msgspec.json.decode(fields["reasoning"], type=schema.Reasoning)
    effort: str | None = said.effort
    if effort is None and "reasoning_effort" in fields:
        effort = msgspec.json.decode(fields["reasoning_effort"], type=str)
    hidden = said.exclude is True or (
        said.exclude is None and bytes(fields.get("include_reasoning", b"")) == b"false"
    )
    on: bool | None = None
    if said.enabled is False or effort == "none":
        on = False
    elif said.enabled or effort is not None or said.max_tokens is not None:
        on = True
    return Wanted(on, None if effort == "none" else effort, said.max_tokens, hidden)


def nearest(level: str, levels: Sequence[str]) -> str:
    """The level of `levels` closest to `level`, the lower of two; `level` itself when nothing is
    known of the model. Some models spell `none` as `off`."""
    ranked = [name for name in levels if name in _RANK]
    if not ranked or level in ranked:
        return level
    rank = _RANK[level]
    return min(ranked, key=lambda name: (abs(_RANK[name] - rank), _RANK[name]))


def joined_details(details: Iterable[Raw]) -> list[dict[str, Any]]:
    """`reasoning_details` entries of a stream with the fragments of one block put together: pieces
    with the same type and index follow each other, and a signature closes the block. What is
    opaque is never joined, and an entry that stands alone keeps every byte of its values."""
    blocks: list[dict[str, Any]] = []
    for raw in details:
        entry = msgspec.json.decode(raw, type=dict[str, Any])
        last = blocks[-1] if blocks else None
        field = _CONTINUED.get(entry.get("type", ""))
        if field is None or last is None or not _continues(last, entry):
            blocks.append(entry)
            continue
        text = (last.get(field) or "") + (entry.get(field) or "")
        last.update({name: value for name, value in entry.items() if value is not None})
        last[field] = text
    return blocks


_CONTINUED = {"reasoning.text": "text", "reasoning.summary": "summary"}


def _continues(last: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    same = all(last.get(name) == entry.get(name) for name in ("type", "index", "format"))
    ids = (last.get("id"), entry.get("id"))
    return same and not last.get("signature") and (None in ids or ids[0] == ids[1])


_RANK = {**{level: rank for rank, level in enumerate(LEVELS)}, "off": 0}
