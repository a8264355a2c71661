"""Benchmarks: an optional file of facts, each with where and when it was read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tollway.catalogue.compile import compiled, overlaid
from tollway.catalogue.entries import Benchmark, Catalogue
from tollway.catalogue.files import CatalogueError, Source
from tollway.catalogue.load import BENCHMARKS, DATA, load

MODELS = Source("models/acme.toml", '[[models]]\nid = "acme/one"\n[[models]]\nid = "acme/two"\n')
ALIASES = Source("aliases.toml", '[aliases]\n"acme/uno" = "acme/one"\n')
TEXT = """
[[benchmarks]]
name = "Arena"
source = "https://arena.example/board"
checked = "2026-11-01"
tasks = ["code", "agent"]
scores = { "acme/uno" = 71.5, "acme/two" = 60 }
"""
ARENA = Benchmark(
    "Arena",
    "https://arena.example/board",
    "2026-11-01",
    {"acme/one": 71.5, "acme/two": 60.0},
    ("code", "agent"),
)


def base(text: str = TEXT) -> Catalogue:
    return compiled([MODELS], [], ALIASES, Source(BENCHMARKS, text))


def test_scores_are_kept_by_the_catalogues_own_slugs() -> None:
    assert base().benchmarks == (ARENA,)


def test_an_operators_benchmark_adds_or_replaces_by_name() -> None:
    mine = Source("mine", TEXT.replace("71.5", "1") + TEXT.replace("Arena", "Mine"))
    found = overlaid(base(), [], mine).benchmarks
    assert [b.name for b in found] == ["Arena", "Mine"]
    assert found[0].scores["acme/one"] == 1.0
    assert overlaid(base(), []).benchmarks == (ARENA,)


BAD = [
    (TEXT.replace("checked", "read"), "benchmarks[0].read: no such field"),
    (TEXT.replace('source = "https://arena.example/board"', ""), "source: expected a value"),
    (TEXT.replace("2026-11-01", "yesterday"), "checked: expected a date"),
    (TEXT.replace('"agent"', '"cooking"'), "expected one of agent, code, math"),
    (TEXT.replace("acme/two", "acme/three"), "acme/three is not a model"),
    (TEXT.replace("60", '"good"'), "expected `float`"),
]


@pytest.mark.parametrize(("text", "problem"), BAD)
def test_what_is_wrong_is_named(text: str, problem: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        base(text)
    assert problem.replace("`", "") in str(caught.value)
    assert str(caught.value).startswith(BENCHMARKS)


def test_none_ships_and_the_file_in_the_home_is_read(tmp_path: Path) -> None:
    assert load().benchmarks == ()
    (tmp_path / BENCHMARKS).write_text(
        TEXT.replace("acme/uno", "tollway/echo").replace("acme/two", "tollway/lorem")
    )
    assert [b.name for b in load(tmp_path).benchmarks] == ["Arena"]


def test_a_file_beside_the_shipped_facts_goes_into_the_snapshot(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("models/tollway.toml", "providers/tollway.toml", "providers/tollway-b.toml"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / name, data / name)
    (data / "aliases.toml").write_text("")
    assert load(None, data).benchmarks == ()
    text = TEXT.replace("acme/uno", "tollway/echo").replace("acme/two", "tollway/lorem")
    (data / BENCHMARKS).write_text(text)
    for _ in range(2):  # compiled, then from the snapshot
        assert load(None, data).benchmarks[0].scores == {"tollway/echo": 71.5, "tollway/lorem": 60}
