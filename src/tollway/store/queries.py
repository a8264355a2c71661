"""Named SQL: `-- name: x` blocks of a `.sql` file, called from Python by name.

No SQL is built from strings anywhere; what a query is for stands in the comment under its name.
"""

from __future__ import annotations

from pathlib import Path

_MARK = "-- name:"


class Queries(dict[str, str]):
    """The statements of one file in their order, and what each says about itself."""

    def __init__(self, statements: dict[str, str], about: dict[str, str]) -> None:
        super().__init__(statements)
        self.about = about


def load_queries(path: Path) -> Queries:
    """Read a file of named queries. Raises ValueError for a name used twice, a block without a
    statement, or SQL before the first name."""
    statements: dict[str, str] = {}
    about: dict[str, str] = {}
    head, *blocks = path.read_text("utf-8").split(_MARK)
    if any(line.strip() and not line.startswith("--") for line in head.splitlines()):
        raise ValueError(f"{path.name}: SQL before the first name")
    for block in blocks:
        name, *lines = block.splitlines()
        name = name.strip()
        comments = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
        body = "\n".join(line for line in lines if not line.startswith("--")).strip()
        if name in statements or not name:
            raise ValueError(f"{path.name}: the name {name!r} is used twice or empty")
        if not body:
            raise ValueError(f"{path.name}: {name} has no statement")
        statements[name] = body.removesuffix(";")
        about[name] = " ".join(comments)
    return Queries(statements, about)
