import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.control import House, house
from tollway import errors
from tollway.accounts import keys, workspaces
from tollway.accounts.keyformat import key_digest, key_hash
from tollway.accounts.keys import KeyChange, NewKey
from tollway.accounts.workspaces import Workspace
from tollway.ledger import reads
from tollway.ledger.entries import Hold, Refused


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


async def test_a_key_is_made_with_its_limit(home: House) -> None:
    record, text = await home.key(name="app", limit_nano=7_000, limit_reset="weekly")
    assert record == keys.KeyRecord(
        hash=key_hash(key_digest(home.pepper, text)),
        workspace_id="default",
        name="app",
        label=f"{text[:7]}…{text[-4:]}",
        disabled=False,
        management=False,
        limit_nano=7_000,
        limit_reset="weekly",
        include_byok_in_limit=False,
        created_ms=home.now_ms,
    )
    usage = await home.store.read(reads.key_usage, record.hash, home.now_ms)
    assert (usage.limit_nano, usage.reset, usage.spent_nano) == (7_000, "weekly", 0)


async def test_the_key_itself_is_nowhere_on_the_disk(home: House, tmp_path: Path) -> None:
    _, text = await home.key(name="secret")
    await home.store.close()
    written = await asyncio.to_thread(_all_bytes, tmp_path)
    assert text.encode() not in written
    assert text[4:47].encode() not in written
    assert key_digest(home.pepper, text) in written


def _all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_a_key_and_its_limit_are_made_together_or_not_at_all(home: House) -> None:
    with pytest.raises(errors.CallerError, match="workspace 'nowhere' was not found") as caught:
        await home.key(workspace_id="nowhere", limit_nano=5)
    assert caught.value.status == 404
    usage = await home.store.read(reads.all_key_usage, home.now_ms)
    assert len(usage) == 1  # the first key's


@pytest.mark.parametrize("name", ["", "   ", "x" * 257, "a\x1b[2Jb"])
async def test_a_key_needs_a_name_of_sane_length(home: House, name: str) -> None:
    with pytest.raises(
        errors.CallerError, match=r"^name: expected 1 to 256 printable characters"
    ) as caught:
        await home.key(name=name)
    assert caught.value.status == 400


async def test_a_change_touches_what_it_names_and_nothing_else(home: House) -> None:
    record, _ = await home.key(name="app", limit_nano=7_000, limit_reset="weekly")
    home.clock.now_s += 5
    changed = await keys.update_key(
        home.store, record.hash, KeyChange(disabled=True), now_ms=home.now_ms
    )
    assert changed.disabled
    assert changed.updated_ms == home.now_ms
    assert (changed.name, changed.limit_nano, changed.limit_reset) == ("app", 7_000, "weekly")

    unlimited = await keys.update_key(
        home.store,
        record.hash,
        KeyChange(limit_nano=None, limit_reset=None, name="web"),
        now_ms=home.now_ms,
    )
    assert (unlimited.limit_nano, unlimited.limit_reset, unlimited.name) == (None, None, "web")
    assert unlimited.disabled


async def test_the_reset_of_a_limit_can_change_alone(home: House) -> None:
    record, _ = await home.key(limit_nano=7_000, limit_reset="weekly")
    changed = await keys.update_key(
        home.store, record.hash, KeyChange(limit_reset="daily"), now_ms=home.now_ms
    )
    assert (changed.limit_nano, changed.limit_reset) == (7_000, "daily")


async def test_what_was_spent_survives_every_change_of_the_key(home: House) -> None:
    record, _ = await home.key(limit_nano=1_000_000)
    await home.spend(record, 400_000)
    await keys.update_key(
        home.store,
        record.hash,
        KeyChange(limit_nano=500_000, limit_reset="monthly"),
        now_ms=home.now_ms,
    )
    await keys.rotate_key(
        home.store, home.pepper, record.hash, now_ms=home.now_ms, entropy=os.urandom(32)
    )
    usage = await home.store.read(reads.key_usage, record.hash, home.now_ms)
    assert (usage.spent_nano, usage.remaining_nano) == (400_000, 100_000)


async def test_a_lowered_limit_binds_the_very_next_hold(home: House) -> None:
    record, _ = await home.key(limit_nano=1_000_000)
    await keys.update_key(home.store, record.hash, KeyChange(limit_nano=10), now_ms=home.now_ms)
    asked = Hold("gen-x", "default", record.hash, 11, 11, home.now_ms, home.now_ms + 1_000)
    outcome = await home.gateway.ledger.hold(asked)
    assert isinstance(outcome, Refused)
    assert (outcome.by, outcome.limit_nano) == ("key_limit", 10)


async def test_a_rotated_key_keeps_its_id_and_loses_its_secret(home: House) -> None:
    record, old = await home.key(name="app")
    rotated, new = await keys.rotate_key(
        home.store, home.pepper, record.hash, now_ms=home.now_ms + 1, entropy=os.urandom(32)
    )
    assert new != old
    assert rotated.hash == record.hash
    assert rotated.label == f"{new[:7]}…{new[-4:]}"
    found = home.store.read
    assert await found(keys.by_digest, key_digest(home.pepper, old)) is None
    assert await found(keys.by_digest, key_digest(home.pepper, new)) == rotated


async def test_a_deleted_key_leaves_its_spending_in_the_books(home: House) -> None:
    record, _ = await home.key()
    await home.spend(record, 123_000)
    await home.gateway.ledger.barrier()
    await keys.delete_key(home.store, record.hash)
    with pytest.raises(errors.CallerError) as caught:
        await keys.get_key(home.store, record.hash)
    assert caught.value.status == 404
    usage = await home.store.read(reads.key_usage, record.hash, home.now_ms)
    assert usage.usage_nano == 123_000


async def test_unknown_keys_cannot_be_changed_rotated_or_deleted(home: House) -> None:
    store, now_ms, unknown = home.store, home.now_ms, "0" * 64
    for attempt in (
        keys.update_key(store, unknown, KeyChange(disabled=True), now_ms=now_ms),
        keys.rotate_key(store, home.pepper, unknown, now_ms=now_ms, entropy=os.urandom(32)),
        keys.delete_key(store, unknown),
        keys.get_key(store, unknown),
    ):
        with pytest.raises(errors.CallerError) as caught:
            await attempt
        assert caught.value.status == 404


async def test_lists_are_newest_first_and_leave_out_what_is_not_asked_for(home: House) -> None:
    made = []
    for n in range(5):
        home.clock.now_s += 1
        record, _ = await home.key(name=f"k{n}", expires_ms=home.now_ms + 2_500 if n == 2 else None)
        made.append(record)
    await keys.update_key(home.store, made[1].hash, KeyChange(disabled=True), now_ms=home.now_ms)
    home.clock.now_s += 2

    async def names(**asked: object) -> list[str]:
        rows = await keys.list_keys(home.store, now_ms=home.now_ms, **asked)  # type: ignore[arg-type]
        return [row.name for row in rows]

    assert await names() == ["k4", "k3", "k0", "default"]
    assert await names(include_disabled=True) == ["k4", "k3", "k1", "k0", "default"]
    assert await names(include_expired=True) == ["k4", "k3", "k2", "k0", "default"]
    assert await names(offset=1, limit=2) == ["k3", "k0"]
    with pytest.raises(errors.CallerError, match="workspace 'nowhere'"):
        await names(workspace_id="nowhere")


async def test_a_key_can_move_to_another_workspace_with_its_limit(home: House) -> None:
    await home.store.write(workspaces.make, Workspace("team", "Team", home.now_ms))
    record, _ = await home.key(limit_nano=9)
    moved = await keys.update_key(
        home.store, record.hash, KeyChange(workspace_id="team"), now_ms=home.now_ms
    )
    assert (moved.workspace_id, moved.limit_nano) == ("team", 9)
    with pytest.raises(errors.CallerError) as caught:
        await keys.update_key(
            home.store, record.hash, KeyChange(workspace_id="nowhere"), now_ms=home.now_ms
        )
    assert caught.value.status == 404


async def test_every_change_of_a_key_moves_the_revision_but_its_use_does_not(home: House) -> None:
    async def revision() -> int:
        return await home.store.read(keys.revision)

    before = await revision()
    record, _ = await home.key()
    assert await revision() == before + 1
    for change in (
        KeyChange(disabled=True),
        KeyChange(name="other"),
        KeyChange(limit_nano=5),
        KeyChange(limit_reset="daily"),
        KeyChange(include_byok_in_limit=True),
    ):
        seen = await revision()
        await keys.update_key(home.store, record.hash, change, now_ms=home.now_ms)
        assert await revision() > seen
    seen = await revision()
    await home.store.write(keys.note_used, {record.hash: home.now_ms})
    assert await revision() == seen
    await keys.delete_key(home.store, record.hash)
    assert await revision() == seen + 1


async def test_the_later_use_wins_whoever_writes_last(home: House) -> None:
    record, _ = await home.key()
    await home.store.write(keys.note_used, {record.hash: 2_000})
    await home.store.write(keys.note_used, {record.hash: 1_000, "0" * 64: 5})
    assert (await keys.get_key(home.store, record.hash)).last_used_ms == 2_000


async def test_keys_are_made_with_what_they_were_asked_to_be(home: House) -> None:
    asked = NewKey(
        name="all",
        management=True,
        limit_nano=0,
        limit_reset="daily",
        include_byok_in_limit=True,
        expires_ms=home.now_ms + 9,
        creator_user_id="user-1",
        external_user="their-7",
    )
    record, _ = await keys.create_key(
        home.store, home.pepper, asked, now_ms=home.now_ms, entropy=os.urandom(32)
    )
    for name in asked.__struct_fields__:
        assert getattr(record, name) == getattr(asked, name), name
    assert await home.store.read(keys.created_by, "user-1") == [record.hash]
