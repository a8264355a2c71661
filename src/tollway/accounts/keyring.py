"""Who is asking: the keys of this server as one immutable snapshot in memory.

Not here: making and changing keys (keys), what a key may do (http/routes, the ledger).

Rules. Identifying a known key touches no database and never awaits. The snapshot is replaced
whole, never changed. A key that is not in it, but could be one, is looked up once before it is
refused. What cannot be known because the database does not answer is 503, never 401: an outage
must not look like a revoked key. A change made by another process is seen at the next `refresh`
(the caller's timer, once a second).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping

from .. import errors
from ..store.sqlite import Store
from . import keys
from .keyformat import PREFIX, digester, looks_like_key
from .keys import KeyRecord

LAST_USED_EVERY_S = 60.0
"""How stale `last_used_at` may be: a write per minute and key, not per request."""

UNKNOWN_FOR_S = 3.0
"""How long an unknown key is refused without asking again. A key that appears meanwhile is not
delayed by it: it arrives with the next snapshot."""

UNKNOWN_MAX = 10_000
LOOKUPS_MAX = 16
"""Look-ups at once. Check digits can be forged, so unknown keys can come in any number; beyond
this the answer is 503, because nothing is known about them."""


class UnknownKey(Exception):
    """Well formed and not in the snapshot: `lookup` decides."""

    def __init__(self, digest: bytes) -> None:
        super().__init__("the key is not in the snapshot")
        self.digest = digest


class KeyRing:
    """The keys of one process. `clock` gives Unix seconds."""

    def __init__(self, store: Store, pepper: bytes, clock: Callable[[], float]) -> None:
        self._store = store
        self._pepper = pepper
        self._digest = digester(pepper)
        self._clock = clock
        self._records: Mapping[bytes, tuple[bytes, KeyRecord]] = {}
        self._revision = -1
        self._last_used: dict[str, float] = {}
        self._unsaved: set[str] = set()
        self._unknown: dict[bytes, float] = {}
        self._lookups: dict[bytes, asyncio.Task[KeyRecord | None]] = {}

    @property
    def loaded(self) -> bool:
        """A snapshot has been read at least once."""
        return self._revision >= 0

    @property
    def pepper(self) -> bytes:
        """For those who make keys; never shown."""
        return self._pepper

    def identify(self, authorization: str | None, x_api_key: str | None) -> KeyRecord:
        """The key of these header values, usable now.

        Raises a 401 CallerError when there is none, it is malformed, disabled or expired, and
        UnknownKey when only the database can tell.
        """
        text = _key_sent(authorization, x_api_key)
        if len(text) > 256:
            raise errors.bad_key()
        digest = self._digest(text)
        found = self._records.get(digest)
        if found is None or not hmac.compare_digest(found[0], digest):
            if not looks_like_key(text):
                raise errors.bad_key()
            raise UnknownKey(digest)
        return self._usable(found[1])

    async def lookup(self, unknown: UnknownKey) -> KeyRecord:
        """Ask the database about a key that is not in the snapshot; one question for all who ask
        about the same key at the same time.

        Raises a 401 CallerError when it does not exist either, Unavailable (503) when the database
        does not answer or too many unknown keys are being looked up.
        """
        digest = unknown.digest
        if self._clock() < self._unknown.get(digest, 0.0):
            raise errors.bad_key()
        task = self._lookups.get(digest)
        if task is None:
            if len(self._lookups) >= LOOKUPS_MAX:
                raise errors.overloaded()
            task = asyncio.create_task(self._find(digest))
            self._lookups[digest] = task
            task.add_done_callback(lambda done: self._lookup_done(digest, done))
        record = await asyncio.shield(task)
        if record is None:
            raise errors.bad_key()
        return self._usable(record)

    async def authenticate(self, authorization: str | None, x_api_key: str | None) -> KeyRecord:
        """`identify`, and `lookup` where it is needed. Raises CallerError or Unavailable."""
        try:
            return self.identify(authorization, x_api_key)
        except UnknownKey as unknown:
            return await self.lookup(unknown)

    async def refresh(self) -> bool:
        """Load the keys anew if any process has changed one, and write down when keys were last
        used. Returns whether the snapshot was replaced. Raises Unavailable when the database does
        not answer; the old snapshot then stays in force.
        """
        revision = await self._store.read(keys.revision)
        changed = revision != self._revision
        if changed:
            await self._load()
        await self._save_last_used()
        return changed

    def last_used_ms(self, record: KeyRecord) -> int | None:
        """When a key was last used, including what is not written down yet; Unix milliseconds."""
        seen = int(self._last_used.get(record.hash, 0.0) * 1000)
        return max(seen, record.last_used_ms or 0) or None

    def _usable(self, record: KeyRecord) -> KeyRecord:
        if record.disabled:
            raise errors.disabled_key()
        now_s = self._clock()
        if record.expires_ms is not None and now_s * 1000 >= record.expires_ms:
            raise errors.expired_key()
        if now_s - self._last_used.get(record.hash, 0.0) >= LAST_USED_EVERY_S:
            self._last_used[record.hash] = now_s
            self._unsaved.add(record.hash)
        return record

    async def _find(self, digest: bytes) -> KeyRecord | None:
        record = await self._store.read(keys.by_digest, digest)
        if record is not None:
            await self._load()
        return record

    def _lookup_done(self, digest: bytes, task: asyncio.Task[KeyRecord | None]) -> None:
        self._lookups.pop(digest, None)
        if not task.cancelled() and task.exception() is None and task.result() is None:
            if len(self._unknown) >= UNKNOWN_MAX:
                self._unknown.clear()
            self._unknown[digest] = self._clock() + UNKNOWN_FOR_S

    async def _load(self) -> None:
        revision, found = await self._store.read(keys.snapshot)
        if revision < self._revision:
            return  # a slower read of an older state
        self._records = {digest: (digest, record) for digest, record in found}
        self._revision = revision
        alive = {record.hash for _, record in found}
        self._last_used = {h: at for h, at in self._last_used.items() if h in alive}

    async def _save_last_used(self) -> None:
        if not self._unsaved:
            return
        used = {h: int(at * 1000) for h in self._unsaved if (at := self._last_used.get(h))}
        self._unsaved = set()
        try:
            await self._store.write(keys.note_used, used)
        except errors.Unavailable:
            self._unsaved |= used.keys()
            raise


def _key_sent(authorization: str | None, x_api_key: str | None) -> str:
    """The key as sent: `Authorization: Bearer`, or `x-api-key` (Anthropic's SDK). When a client
    sends both, the one that is ours counts."""
    if authorization:
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() == "bearer":
            text = text.strip()
            if text and (not x_api_key or text.startswith(PREFIX)):
                return text
        elif not x_api_key:
            raise errors.bad_key()
    if x_api_key:
        return x_api_key.strip()
    raise errors.no_key()
