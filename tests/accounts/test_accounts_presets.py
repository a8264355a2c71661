"""Presets in the database, and as a snapshot in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pytest

from support.control import House, house
from tollway import errors
from tollway.accounts import presets
from tollway.accounts.presetbook import PresetBook
from tollway.accounts.presets import NewVersion
from tollway.accounts.workspaces import Workspace, make
from tollway.presets import entries
from tollway.store.migrate import FOLDER, migrate
from tollway.store.sqlite import Store

serial = count(1)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        await opened.store.write(make, Workspace("other", "Other", 1))
        yield opened


def new(slug: str, workspace: str = "default", **config: Any) -> NewVersion:
    n = next(serial)
    return NewVersion(
        workspace, slug, f"p-{n:04}", f"v-{n:04}", "openai_chat", config, "Prompt", None, "key-1"
    )


async def add(home: House, slug: str, workspace: str = "default", **config: Any) -> str:
    preset, _ = await home.store.write(presets.add, new(slug, workspace, **config), home.now_ms)
    home.clock.now_s += 1
    return preset.id


class WatchedStore:
    """A store that counts what it is asked, can be slow, and can be out of order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reads: list[str] = []
        self.broken = False
        self.gate: asyncio.Event | None = None
        self.answered = asyncio.Event()
        """An answer has come, and waits for the gate where there is one."""

    async def read(self, fn: Callable[..., Any], *args: Any) -> Any:
        self.reads.append(fn.__name__)
        if self.broken:
            raise errors.store_unavailable()
        found = await self.store.read(fn, *args)
        self.answered.set()
        if self.gate is not None:
            await self.gate.wait()
        return found


async def watched(home: House) -> tuple[PresetBook, WatchedStore]:
    store = WatchedStore(home.store)
    book = PresetBook(store)  # type: ignore[arg-type]
    await book.refresh()
    store.reads.clear()
    return book, store


async def refusal(awaitable: Any) -> tuple[int, str]:
    with pytest.raises(errors.TollwayError) as caught:
        await awaitable
    return caught.value.status, caught.value.message


# ---- the database --------------------------------------------------------------------------------


async def test_a_second_body_is_the_next_version_and_in_force(home: House) -> None:
    first = await add(home, "brief", temperature=0.1)
    assert await add(home, "brief", temperature=0.2) == first
    preset, version = await home.store.read(presets.with_version, "default", "brief")
    assert (version.number, version.config) == (2, {"temperature": 0.2})
    assert preset.version_id == version.id
    assert preset.updated_ms - preset.created_ms == 1_000
    old = await home.store.read(presets.version_of, "default", "brief", 1)
    assert old.config == {"temperature": 0.1}


async def test_presets_are_listed_newest_first_and_versions_oldest_first(home: House) -> None:
    for slug in ("a", "b", "c", "b"):
        await add(home, slug, seed=1)
    await add(home, "theirs", "other", seed=1)
    found, total = await home.store.read(presets.page, "default", offset=0, limit=2)
    assert ([preset.slug for preset in found], total) == (["c", "b"], 3)
    rest, _ = await home.store.read(presets.page, "default", offset=2, limit=2)
    assert [preset.slug for preset in rest] == ["a"]
    versions, total = await home.store.read(presets.versions, "default", "b", offset=0, limit=9)
    assert ([version.number for version in versions], total) == ([1, 2], 2)
    versions, total = await home.store.read(presets.versions, "default", "b", offset=1, limit=9)
    assert ([version.number for version in versions], total) == ([2], 2)


async def test_workspaces_do_not_see_each_others_presets(home: House) -> None:
    await add(home, "brief", seed=1)
    await add(home, "brief", "other", seed=2)
    mine = await home.store.read(presets.with_version, "default", "brief")
    theirs = await home.store.read(presets.with_version, "other", "brief")
    assert (mine[1].config, theirs[1].config) == ({"seed": 1}, {"seed": 2})
    assert mine[0].id != theirs[0].id
    await add(home, "secret", "other", seed=1)
    with pytest.raises(errors.CallerError) as caught:
        await home.store.read(presets.by_slug, "default", "secrets")
    assert "secret'" not in caught.value.message and "Did you mean" not in caught.value.message


async def test_an_earlier_version_is_put_in_force_and_the_next_number_goes_on(home: House) -> None:
    for seed in (1, 2, 3):
        await add(home, "brief", seed=seed)
    _, version = await home.store.write(presets.designate, "default", "brief", 1, home.now_ms)
    assert version.config == {"seed": 1}
    await add(home, "brief", seed=4)
    _, version = await home.store.read(presets.with_version, "default", "brief")
    assert (version.number, version.config) == (4, {"seed": 4})
    missing = home.store.write(presets.designate, "default", "brief", 9, home.now_ms)
    assert await refusal(missing) == (404, "Version 9 of the preset brief was not found.")


async def test_a_deleted_preset_is_gone_with_its_versions(home: House) -> None:
    await add(home, "brief", seed=1)
    await home.store.write(presets.delete, "default", "brief")
    gone = home.store.read(presets.with_version, "default", "brief")
    assert (await refusal(gone))[0] == 404
    await add(home, "brief", seed=2)
    found, total = await home.store.read(presets.versions, "default", "brief", offset=0, limit=9)
    assert ([version.config for version in found], total) == ([{"seed": 2}], 1)


async def test_an_archived_preset_takes_no_version(home: House) -> None:
    await add(home, "brief", seed=1)
    await home.store.write(presets.set_status, "default", "brief", "archived", home.now_ms)
    status, message = await refusal(add(home, "brief", seed=2))
    assert (status, "'brief' is archived" in message) == (409, True)


@pytest.mark.parametrize(
    ("limit", "of", "message"),
    [
        ("PRESETS_MAX", "b", "slug: this workspace has 1 presets already"),
        ("VERSIONS_MAX", "a", "slug: a has 1 versions already"),
        ("WORKSPACE_BYTES_MAX", "a", "the presets of this workspace fill their 1 bytes"),
    ],
)
async def test_counts_and_sizes_are_bounded_and_a_refusal_leaves_nothing(
    home: House, monkeypatch: pytest.MonkeyPatch, limit: str, of: str, message: str
) -> None:
    await add(home, "a", seed=1)
    monkeypatch.setattr(presets, limit, 1)
    status, told = await refusal(add(home, of, seed=2))
    assert (status, told.startswith(message)) == (400, True)
    found, total = await home.store.read(presets.page, "default", offset=0, limit=9)
    assert ([preset.slug for preset in found], total) == (["a"], 1)


def test_the_tables_come_to_a_database_that_has_keys_already(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "old.db"))
    older = tmp_path / "older"
    older.mkdir()
    for path in FOLDER.glob("*.sql"):
        if path.name < "0003":
            (older / path.name).write_text(path.read_text("utf-8"))
    assert migrate(connection, older) == [1, 2]
    make(connection, Workspace("default", "Default", 1))
    assert 5 in migrate(connection)
    presets.add(connection, new("brief", seed=1), 1)
    assert presets.with_version(connection, "default", "brief")[1].config == {"seed": 1}


@pytest.mark.parametrize("slug", ["a", "a-b", "a.b_c", "A", "x" * 64, "0"])
def test_slugs_that_are_taken(slug: str) -> None:
    assert entries.slug_of(slug) == slug.lower()


@pytest.mark.parametrize(
    "slug", ["", "-a", "a-", ".", "a b", "a/b", "a:free", "é", "x" * 65, "a\n"]
)
def test_slugs_that_are_refused(slug: str) -> None:
    with pytest.raises(errors.CallerError, match="slug: expected 1 to 64 characters"):
        entries.slug_of(slug)


# ---- the snapshot --------------------------------------------------------------------------------


async def test_a_known_preset_is_found_without_the_database(home: House) -> None:
    await add(home, "brief", seed=1)
    book, store = await watched(home)
    store.broken = True
    preset, version = await book.get("default", "brief")
    assert (preset.slug, version.config, store.reads) == ("brief", {"seed": 1}, [])
    assert book.find("other", "brief") is None


async def test_a_new_preset_is_looked_up_once(home: House) -> None:
    book, store = await watched(home)
    await add(home, "brief", seed=1)
    assert (await book.get("default", "brief"))[1].number == 1
    assert store.reads == ["revision", "snapshot"]
    store.reads.clear()
    await book.get("default", "brief")
    assert store.reads == []


async def test_an_unknown_preset_costs_one_number_and_names_close_ones(home: House) -> None:
    for slug in ("brief", "thorough"):
        await add(home, slug, seed=1)
    book, store = await watched(home)
    assert await refusal(book.get("default", "breif")) == (
        404,
        "There is no preset 'breif' in this workspace. Did you mean brief?",
    )
    assert store.reads == ["revision"]
    assert await refusal(book.get("other", "breif")) == (
        404,
        "There is no preset 'breif' in this workspace.",
    )


async def test_without_the_database_an_unknown_preset_is_503_and_a_known_one_works(
    home: House,
) -> None:
    await add(home, "brief", seed=1)
    book, store = await watched(home)
    store.broken = True
    assert (await refusal(book.get("default", "breif")))[0] == 503
    assert (await book.get("default", "brief"))[1].number == 1
    store.broken = False
    assert (await refusal(book.get("default", "breif")))[0] == 404


async def test_many_who_miss_share_one_question_that_began_after_they_asked(home: House) -> None:
    book, store = await watched(home)
    store.gate, store.answered = asyncio.Event(), asyncio.Event()
    early = asyncio.create_task(book.get("default", "brief"))
    await store.answered.wait()
    await add(home, "brief", seed=1)
    late = [asyncio.create_task(book.get("default", "brief")) for _ in range(5)]
    await asyncio.sleep(0)
    store.gate.set()
    assert [(await task)[1].number for task in late] == [1] * 5
    assert store.reads == ["revision", "revision", "snapshot"]
    assert (await asyncio.gather(early, return_exceptions=True))[0] is not None


async def test_a_change_elsewhere_is_seen_at_the_next_refresh(home: House) -> None:
    await add(home, "brief", seed=1)
    await add(home, "other", seed=1)
    book, store = await watched(home)
    assert (await book.refresh(), store.reads) == (False, ["revision"])
    await add(home, "brief", seed=2)
    assert await book.refresh() is True
    assert (await book.get("default", "brief"))[1].config == {"seed": 2}
    await home.store.write(presets.designate, "default", "brief", 1, home.now_ms)
    await book.refresh()
    assert (await book.get("default", "brief"))[1].config == {"seed": 1}
    await home.store.write(presets.delete, "default", "brief")
    await book.refresh()
    assert (await refusal(book.get("default", "brief")))[0] == 404


async def test_versions_that_are_known_are_not_read_again(home: House) -> None:
    for slug in ("a", "b"):
        await add(home, slug, seed=1)
    book, _ = await watched(home)
    kept = book.find("default", "a")
    await add(home, "b", seed=2)
    await book.refresh()
    again = book.find("default", "a")
    assert kept is not None and again is not None
    assert again[1] is kept[1]


@pytest.mark.parametrize("status", ["disabled", "archived"])
async def test_a_preset_that_is_not_active_is_not_used(home: House, status: Any) -> None:
    await add(home, "brief", seed=1)
    await home.store.write(presets.set_status, "default", "brief", status, home.now_ms)
    book, _ = await watched(home)
    code, message = await refusal(book.get("default", "brief"))
    assert (code, f"'brief' is {status}" in message) == (404, True)
    await home.store.write(presets.set_status, "default", "brief", "active", home.now_ms)
    await book.refresh()
    assert (await book.get("default", "brief"))[0].status == "active"
