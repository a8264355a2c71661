"""API keys in the database: made, read, changed, rotated, deleted.

Not here: what a key looks like (keyformat), identifying a caller (keyring), what a key has spent
(ledger.reads).

Rules. A key and its limit change in one transaction: the limit is the ledger's `budget` row, which
admission reads together with the hold, so a lowered limit and a request can never pass each other.
The functions that take a connection are the transactions; the async ones put them through a store
and serve HTTP and the command line alike, with or without a running server. Other processes see a
change within a second through `keys_revision` (KeyRing.refresh).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import msgspec

from .. import errors
from ..ledger.budgets import set_budget
from ..ledger.entries import Count, Reset
from ..ledger.rates import key_counts
from ..store.queries import load_queries
from ..store.sqlite import Store
from . import workspaces
from .keyformat import key_digest, key_hash, key_label, key_text

DEFAULT_WORKSPACE = workspaces.DEFAULT
PAGE_KEYS = 100
"""Keys per page of a list, as the API contract has it."""
NAME_LENGTH_MAX = 256
RATE_MAX = 1_000_000_000
"""Requests; beyond what any server could be asked in a day."""

_SQL = load_queries(Path(__file__).with_name("queries.sql"))


class KeyRecord(msgspec.Struct, frozen=True):
    """A key as the server knows it; never the key itself. Times are Unix milliseconds, money is
    nano-USD. `limit_nano` None = no limit, `limit_reset` None = the limit is for life."""

    hash: str
    """Public id; what the ledger calls `key_id`."""
    workspace_id: str
    name: str
    label: str
    disabled: bool
    management: bool
    limit_nano: int | None
    limit_reset: Reset | None
    include_byok_in_limit: bool
    created_ms: int
    updated_ms: int | None = None
    expires_ms: int | None = None
    last_used_ms: int | None = None
    creator_user_id: str | None = None
    external_user: str | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    """How many requests are admitted; None = any number."""
    counts: tuple[Count, ...] = ()
    """The same as the ledger counts it."""


class NewKey(msgspec.Struct, frozen=True):
    """What a key is made from."""

    name: str
    workspace_id: str = DEFAULT_WORKSPACE
    management: bool = False
    limit_nano: int | None = None
    limit_reset: Reset | None = None
    include_byok_in_limit: bool = False
    expires_ms: int | None = None
    creator_user_id: str | None = None
    external_user: str | None = None
    requests_per_minute: int | None = None
    requests_per_day: int | None = None


class KeyChange(msgspec.Struct, frozen=True):
    """What of a key may change. UNSET = stays; None is a value of its own for the limits."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET
    limit_nano: int | msgspec.UnsetType | None = msgspec.UNSET
    limit_reset: Reset | msgspec.UnsetType | None = msgspec.UNSET
    include_byok_in_limit: bool | msgspec.UnsetType = msgspec.UNSET
    workspace_id: str | msgspec.UnsetType = msgspec.UNSET
    requests_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET
    requests_per_day: int | msgspec.UnsetType | None = msgspec.UNSET


# ---- through a store -----------------------------------------------------------------------------


async def create_key(
    store: Store, pepper: bytes, new: NewKey, *, now_ms: int, entropy: bytes
) -> tuple[KeyRecord, str]:
    """Make a key; gives its record and its text, which exists nowhere else. `entropy` is 32
    random bytes. Raises CallerError for an unknown workspace or a bad name, Unavailable."""
    text = key_text(entropy)
    record = await store.write(insert, pepper, new, text, now_ms)
    return record, text


async def get_key(store: Store, key_id: str) -> KeyRecord:
    """Raises a 404 CallerError, Unavailable."""
    return await store.read(by_hash, key_id)


async def list_keys(
    store: Store,
    *,
    now_ms: int,
    workspace_id: str = DEFAULT_WORKSPACE,
    include_disabled: bool = False,
    include_expired: bool = False,
    offset: int = 0,
    limit: int = PAGE_KEYS,
) -> list[KeyRecord]:
    """The keys of a workspace, newest first. Raises a 404 CallerError for an unknown workspace."""
    values = {
        "workspace_id": workspace_id,
        "now_ms": now_ms,
        "include_disabled": include_disabled,
        "include_expired": include_expired,
        "offset": offset,
        "limit": limit,
    }
    return await store.read(of_workspace, values)


async def update_key(store: Store, key_id: str, change: KeyChange, *, now_ms: int) -> KeyRecord:
    """Change a key and its limit together. Raises CallerError (404, 400), Unavailable."""
    return await store.write(update, key_id, change, now_ms)


async def rotate_key(
    store: Store, pepper: bytes, key_id: str, *, now_ms: int, entropy: bytes
) -> tuple[KeyRecord, str]:
    """Give a key a new secret. Id, limits, use and history stay; the old secret is dead."""
    text = key_text(entropy)
    record = await store.write(rotate, pepper, key_id, text, now_ms)
    return record, text


async def delete_key(store: Store, key_id: str) -> None:
    """Delete a key. What it spent stays in the books. Raises a 404 CallerError, Unavailable."""
    await store.write(delete, key_id)


# ---- the transactions ----------------------------------------------------------------------------


def insert(
    connection: apsw.Connection, pepper: bytes, new: NewKey, text: str, now_ms: int
) -> KeyRecord:
    _check_name(new.name)
    _check_rates(new)
    workspaces.require(connection, new.workspace_id)
    digest = key_digest(pepper, text)
    hash_ = key_hash(digest)
    connection.execute(
        _SQL["key_insert"],
        {
            "hash": hash_,
            "digest": digest,
            "workspace_id": new.workspace_id,
            "name": new.name,
            "label": key_label(text),
            "management": new.management,
            "include_byok_in_limit": new.include_byok_in_limit,
            "created_ms": now_ms,
            "expires_ms": new.expires_ms,
            "creator_user_id": new.creator_user_id,
            "external_user": new.external_user,
            "requests_per_minute": new.requests_per_minute,
            "requests_per_day": new.requests_per_day,
        },
    )
    set_budget(connection, hash_, limit_nano=new.limit_nano, reset=new.limit_reset, now_ms=now_ms)
    return by_hash(connection, hash_)


def update(connection: apsw.Connection, key_id: str, change: KeyChange, now_ms: int) -> KeyRecord:
    old = by_hash(connection, key_id)
    changed = {
        name: value
        for name in change.__struct_fields__
        if (value := getattr(change, name)) is not msgspec.UNSET
    }
    new = msgspec.structs.replace(old, **changed)
    _check_name(new.name)
    _check_rates(new)
    if new.workspace_id != old.workspace_id:
        workspaces.require(connection, new.workspace_id)
    connection.execute(
        _SQL["key_update"],
        {
            "hash": key_id,
            "name": new.name,
            "disabled": new.disabled,
            "workspace_id": new.workspace_id,
            "include_byok_in_limit": new.include_byok_in_limit,
            "updated_ms": now_ms,
            "requests_per_minute": new.requests_per_minute,
            "requests_per_day": new.requests_per_day,
        },
    )
    if changed.keys() & {"limit_nano", "limit_reset"}:
        set_budget(
            connection, key_id, limit_nano=new.limit_nano, reset=new.limit_reset, now_ms=now_ms
        )
    return by_hash(connection, key_id)


def rotate(
    connection: apsw.Connection, pepper: bytes, key_id: str, text: str, now_ms: int
) -> KeyRecord:
    by_hash(connection, key_id)
    values = {
        "hash": key_id,
        "digest": key_digest(pepper, text),
        "label": key_label(text),
        "updated_ms": now_ms,
    }
    connection.execute(_SQL["key_rotate"], values)
    return by_hash(connection, key_id)


def delete(connection: apsw.Connection, key_id: str) -> None:
    by_hash(connection, key_id)
    connection.execute(_SQL["key_delete"], {"hash": key_id})


def note_used(connection: apsw.Connection, used: Mapping[str, int]) -> None:
    """`used`: hash to Unix milliseconds."""
    connection.executemany(
        _SQL["key_used"], [{"hash": hash_, "at_ms": at_ms} for hash_, at_ms in used.items()]
    )


# ---- reads ---------------------------------------------------------------------------------------


def by_hash(connection: apsw.Connection, key_id: str) -> KeyRecord:
    for _, record in _records(connection, "key_by_hash", {"hash": key_id}):
        return record
    raise errors.not_found("This key")


def by_digest(connection: apsw.Connection, digest: bytes) -> KeyRecord | None:
    for _, record in _records(connection, "key_by_digest", {"digest": digest}):
        return record
    return None


def of_workspace(connection: apsw.Connection, values: Mapping[str, Any]) -> list[KeyRecord]:
    workspaces.require(connection, values["workspace_id"])
    return [record for _, record in _records(connection, "keys_of_workspace", values)]


def snapshot(connection: apsw.Connection) -> tuple[int, list[tuple[bytes, KeyRecord]]]:
    """The revision and every (digest, key), of one moment: a store's read is one snapshot."""
    return revision(connection), list(_records(connection, "keys_all", {}))


def revision(connection: apsw.Connection) -> int:
    """A number that moves whenever a key does."""
    for (number,) in connection.execute(_SQL["keys_revision"]):
        return int(number)
    raise errors.store_unavailable()


def created_by(connection: apsw.Connection, user_id: str) -> list[str]:
    """Ids of the keys that a user created."""
    return [key_id for (key_id,) in connection.execute(_SQL["keys_of_creator"], {"id": user_id})]


def _records(
    connection: apsw.Connection, query: str, values: Mapping[str, Any]
) -> Iterator[tuple[bytes, KeyRecord]]:
    for row in connection.execute(_SQL[query], values):
        digest, *fields = row
        yield digest, _record(fields)


def _record(row: list[Any]) -> KeyRecord:
    hash_, workspace_id, name, label, disabled, management, limit, reset, byok, *times = row
    created, updated, expires, last_used, creator, external, per_minute, per_day = times
    return KeyRecord(
        hash=hash_,
        workspace_id=workspace_id,
        name=name,
        label=label,
        disabled=bool(disabled),
        management=bool(management),
        limit_nano=limit,
        limit_reset=reset,
        include_byok_in_limit=bool(byok),
        created_ms=created,
        updated_ms=updated,
        expires_ms=expires,
        last_used_ms=last_used,
        creator_user_id=creator,
        external_user=external,
        requests_per_minute=per_minute,
        requests_per_day=per_day,
        counts=key_counts(hash_, per_minute, per_day),
    )


def _check_rates(key: NewKey | KeyRecord) -> None:
    for field in ("requests_per_minute", "requests_per_day"):
        value = getattr(key, field)
        if value is not None and not 1 <= value <= RATE_MAX:
            raise errors.bad_field(
                field, f"expected 1 to {RATE_MAX:,}, or null for any number, got {value}"
            )


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise errors.bad_field("name", f"expected 1 to {NAME_LENGTH_MAX} printable characters")
