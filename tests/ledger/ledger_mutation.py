"""Planted bugs: the source of a module with one thing changed, compiled into a fresh module."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from tollway.ledger import rules, sqlite


def mutated(module: ModuleType, old: str, new: str) -> ModuleType:
    """`module` with the one occurrence of `old` replaced. The original is left alone."""
    source = Path(str(module.__file__)).read_text("utf-8")
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times"
    fresh = ModuleType(module.__name__)
    fresh.__package__ = module.__package__
    fresh.__file__ = module.__file__
    exec(compile(source.replace(old, new), str(module.__file__), "exec"), fresh.__dict__)
    return fresh


def with_mutant(room: str, old: str, new: str) -> tuple[ModuleType, ModuleType]:
    """(rules, sqlite) of which one carries the bug, wired to one another."""
    rules_ = mutated(rules, old, new) if room == "rules" else mutated(rules, "Pure.", "Pure.")
    if room == "windows":
        from tollway.ledger import windows

        fresh = mutated(windows, old, new)
        rules_.window, rules_.day_of = fresh.window, fresh.day_of  # type: ignore[attr-defined]
    sqlite_ = (
        mutated(sqlite, old, new) if room == "sqlite" else mutated(sqlite, "Not here:", "Not here:")
    )
    sqlite_.Desk, sqlite_.LedgerError = rules_.Desk, rules_.LedgerError  # type: ignore[attr-defined]
    return rules_, sqlite_
