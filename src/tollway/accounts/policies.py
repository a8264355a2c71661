"""What each workspace imposes, as one immutable snapshot in memory.

Not here: changing it (workspaces), what it does to a request (routing). Rules as for keys: a
request reads the snapshot and never awaits, the snapshot is replaced whole, a change made by
another process is seen at the next `refresh` (the caller's timer, once a second). A workspace that
is not in the snapshot is looked up before anything is served: what is not known imposes nothing,
and must not be taken for that.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .. import errors
from ..routing.entries import Policy
from ..store.sqlite import Store
from . import workspaces
from .workspaces import Workspace


class Policies:
    """The policies of one process. `base` is what the operator imposes on everybody."""

    def __init__(self, store: Store, base: Policy) -> None:
        self._store = store
        self._base = base
        self._policies: Mapping[str, Policy] = {}
        self._revision = -1

    @property
    def loaded(self) -> bool:
        """A snapshot has been read at least once."""
        return self._revision >= 0

    def get(self, workspace_id: str) -> Policy | None:
        """The policy of a workspace; None for one that has not been read, see `find`."""
        return self._policies.get(workspace_id)

    async def find(self, workspace_id: str) -> Policy:
        """The same after a look at the database. Raises Unavailable; a 404 CallerError for a
        workspace that does not exist."""
        await self._load()
        policy = self.get(workspace_id)
        if policy is None:
            raise errors.not_found(f"The workspace {workspace_id[:128]!r}")
        return policy

    async def refresh(self) -> bool:
        """Read the workspaces anew if any process has changed one; whether it did. Raises
        Unavailable when the database does not answer; the old snapshot then stays in force."""
        changed = await self._store.read(workspaces.revision) != self._revision
        if changed:
            await self._load()
        return changed

    async def _load(self) -> None:
        revision, found = await self._store.read(workspaces.snapshot)
        if revision < self._revision:
            return  # a slower read of an older state
        self._policies = {one.id: policy_of(one, self._base) for one in found}
        self._revision = revision


def policy_of(workspace: Workspace, base: Policy) -> Policy:
    """The operator's policy with a workspace's on top."""
    routing = workspace.routing
    return msgspec.structs.replace(
        base,
        only=routing.allowed_providers or (),
        ignore=routing.ignored_providers or (),
        zdr=routing.zdr,
        data_collection=routing.data_collection,
        allowed_models=routing.allowed_models or (),
        ignored_models=routing.ignored_models or (),
        data_regions=frozenset(routing.allowed_data_regions or ()),
        sort=workspace.default_provider_sort,
        prevent_overrides=routing.prevent_overrides,
        default_model=workspace.default_text_model,
    )
