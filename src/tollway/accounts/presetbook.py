"""The presets of this server as one immutable snapshot in memory.

Not here: making and changing presets (presets), what they do to a request (tollway.presets).

Rules. Finding a known preset touches no database and never awaits. The snapshot is replaced whole,
never changed. A preset that is not in it is looked up before it is refused: all who miss one at a
time share one question, which began after they asked. What cannot be known because the database
does not answer is 503, never 404. A change made by another process is seen at the next `refresh`
(the caller's timer, once a second).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from .. import errors
from ..presets.entries import Preset, Version
from ..store.sqlite import Store
from . import presets

Kept = tuple[Preset, Version]


class PresetBook:
    """The presets of one process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._presets: Mapping[tuple[str, str], Kept] = {}
        self._revision = -1
        self._reading: asyncio.Task[bool] | None = None

    def find(self, workspace_id: str, slug: str) -> Kept | None:
        """A preset and its version in force, as far as this process knows."""
        return self._presets.get((workspace_id, slug))

    async def get(self, workspace_id: str, slug: str) -> Kept:
        """`find`, and a look-up where it is needed. Raises CallerError (404), for a preset that is
        not active too, and Unavailable (503)."""
        found = self.find(workspace_id, slug)
        if found is None:
            await self._read_anew()
            found = self.find(workspace_id, slug)
        if found is None:
            known = [name for workspace, name in self._presets if workspace == workspace_id]
            raise errors.preset_not_found(slug, presets.close_slugs(slug, sorted(known)))
        if found[0].status != "active":
            raise errors.preset_not_active(slug, found[0].status)
        return found

    async def refresh(self) -> bool:
        """Load the presets anew if any process has changed one. Returns whether the snapshot was
        replaced. Raises Unavailable; the old snapshot then stays in force."""
        revision = await self._store.read(presets.revision)
        if revision == self._revision:
            return False
        known = {version.id: version for _, version in self._presets.values()}
        revision, found = await self._store.read(presets.snapshot, known)
        if revision < self._revision:
            return False  # a slower read of an older state
        self._presets = {(kept[0].workspace_id, kept[0].slug): kept for kept in found}
        self._revision = revision
        return True

    async def _read_anew(self) -> None:
        """A refresh that began after this call, shared by all who wait for one."""
        running = self._reading
        if running is not None and not running.done():
            with suppress(errors.Unavailable):
                await asyncio.shield(running)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self.refresh())
        await asyncio.shield(self._reading)
