"""Build hook: every wheel carries the compiled catalogue, so no installation starts by compiling.

Hatchling finds the hook by its base class. An editable installation needs nothing: the first start
compiles, and again whenever a fact changes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Writes src/tollway/catalogue/data/catalogue.snapshot before the files are collected."""

    def dependencies(self) -> list[str]:
        return ["msgspec>=0.20"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "src"))
        from tollway.catalogue.load import write_shipped_snapshot

        write_shipped_snapshot()
