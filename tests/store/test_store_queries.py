from __future__ import annotations

from pathlib import Path

import pytest

from tollway.store.queries import load_queries


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "queries.sql"
    path.write_text(text, "utf-8")
    return path


def test_blocks_become_statements_with_their_explanation(tmp_path: Path) -> None:
    found = load_queries(
        written(
            tmp_path,
            "-- What this file is.\n\n-- name: one\n-- Gives one,\n-- always.\nSELECT 1;\n\n"
            "-- name: two\nSELECT\n  2\n",
        )
    )
    assert dict(found) == {"one": "SELECT 1", "two": "SELECT\n  2"}
    assert found.about == {"one": "Gives one, always.", "two": ""}
    assert len(found) == 2
    with pytest.raises(KeyError):
        found["three"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "used twice"),
        ("-- name:\nSELECT 1", "empty"),
        ("-- name: a\n-- only a comment\n", "no statement"),
        ("SELECT 0;\n-- name: a\nSELECT 1", "before the first name"),
    ],
)
def test_a_file_that_is_not_well_named_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        load_queries(written(tmp_path, text))
