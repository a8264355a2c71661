"""dialects/reasoning.py: entries of reasoning in pieces (the switches are tested with quirks)"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Raw

from tollway.dialects.reasoning import joined_details

TEXT = {"type": "reasoning.text", "format": "f"}
SUMMARY = {"type": "reasoning.summary", "format": "f"}


def joined(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    return joined_details(Raw(json.dumps(entry).encode()) for entry in entries)


def test_pieces_of_one_block_are_one_entry_and_its_signature_closes_it() -> None:
    assert joined(
        {**TEXT, "text": "a", "index": 0},
        {**TEXT, "text": "b", "index": 0, "id": "x", "signature": None},
        {**TEXT, "signature": "s", "index": 0},
        {**TEXT, "text": "c", "index": 0},
    ) == [
        {**TEXT, "text": "ab", "index": 0, "id": "x", "signature": "s"},
        {**TEXT, "text": "c", "index": 0},
    ]
    assert joined({**SUMMARY, "summary": "a"}, {**SUMMARY, "summary": "b"}) == [
        {**SUMMARY, "summary": "ab"}
    ]


def test_what_differs_in_kind_index_format_or_id_stays_apart() -> None:
    apart = [
        {**TEXT, "text": "a", "index": 0},
        {**TEXT, "text": "b", "index": 1},
        {**TEXT, "text": "c", "index": 1, "format": "g"},
        {**SUMMARY, "summary": "d", "index": 1, "format": "g", "id": "1"},
        {**SUMMARY, "summary": "e", "index": 1, "format": "g", "id": "2"},
        {"type": "reasoning.encrypted", "data": "x", "index": 1},
        {"type": "reasoning.encrypted", "data": "y", "index": 1},
        {"type": "of the future", "text": "z"},
    ]
    assert joined(*apart) == apart
