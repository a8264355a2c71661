"""The snapshot is used while it fits the facts, and the shipped facts are what they should be."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tollway.catalogue import load as loader
from tollway.catalogue.entries import Catalogue
from tollway.catalogue.load import DATA, SNAPSHOT, CatalogueError, load, write_shipped_snapshot


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return load()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of two providers, without a snapshot."""
    folder = tmp_path / "data"
    for name in ("models/tollway.toml", "providers/tollway.toml", "providers/tollway-b.toml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / name, folder / name)
    (folder / "aliases.toml").write_text('[aliases]\n"tollway/sandbox" = "tollway/echo"\n')
    return folder


def reads_toml(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by one for each compilation."""
    compilations: list[bool] = []
    real = loader._compile

    def counting(sources: dict[str, bytes], folder: Path) -> Catalogue:
        compilations.append(True)
        return real(sources, folder)

    monkeypatch.setattr(loader, "_compile", counting)
    return compilations


def test_the_second_load_takes_the_snapshot_and_gives_the_same(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilations = reads_toml(monkeypatch)
    first = load(None, data)
    second = load(None, data)
    assert first == second
    assert len(compilations) == 1
    assert [f.name for f in data.iterdir() if f.name.startswith(".")] == []


def test_a_changed_fact_makes_the_snapshot_stale(data: Path) -> None:
    before = load(None, data)
    file = data / "providers/tollway.toml"
    file.write_text(file.read_text().replace('prompt = "0.000001"', 'prompt = "0.000009"'))
    after = load(None, data)
    rates = [c.endpoints["tollway/echo"][1].price.base.prompt for c in (before, after)]
    assert rates == [1_000_000, 9_000_000]
    assert load(None, data) == after


def test_a_new_file_makes_the_snapshot_stale(data: Path) -> None:
    load(None, data)
    shutil.copy(DATA / "providers/ollama.toml", data / "providers/ollama.toml")
    assert "ollama" in load(None, data).providers


def test_a_damaged_snapshot_is_made_again(data: Path) -> None:
    expected = load(None, data)
    snapshot = data / SNAPSHOT
    whole = snapshot.read_bytes()
    for damaged in (b"", whole[:40], whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1]), b"x" * 999):
        snapshot.write_bytes(damaged)
        assert load(None, data) == expected
        assert snapshot.read_bytes() == whole


def test_a_data_folder_that_cannot_be_written_is_cached_in_the_home(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compilations = reads_toml(monkeypatch)
    real = loader._write

    def read_only(place: Path, packed: bytes) -> None:
        if place.parent == data:
            raise PermissionError(place)
        real(place, packed)

    monkeypatch.setattr(loader, "_write", read_only)
    home = tmp_path / "home"
    assert load(home, data) == load(home, data)
    assert len(compilations) == 1
    assert (home / "cache" / SNAPSHOT).exists()


def test_the_homes_files_are_laid_on_top_in_order_of_their_names(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "providers"
    folder.mkdir(parents=True)
    (folder / "a.toml").write_text('id = "tollway"\nname = "A"\ndocs = "https://a.example"\n')
    (folder / "b.toml").write_text('id = "tollway"\nname = "B"\n')
    (folder / "notes.txt").write_text("not read")
    provider = load(tmp_path / "home", data).providers["tollway"]
    assert (provider.name, provider.docs) == ("B", "https://a.example")
    assert load(None, data).providers["tollway"].name == "Tollway Sandbox"


def test_a_bad_file_in_the_home_stops_with_its_full_path(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "home" / "providers" / "bad.toml"
    file.parent.mkdir(parents=True)
    file.write_text('id = "bad"\nbase_url = "https://bad.example"\nprice = 1\n')
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path / "home", data)
    assert str(caught.value).startswith(f"{file}:3: price: no such field")
    file.write_bytes(b'id = "bad"\nname = "\xff"\n')
    with pytest.raises(CatalogueError, match="expected UTF-8 text") as caught:
        load(tmp_path / "home", data)
    assert caught.value.line == 2


def test_a_folder_that_is_named_like_a_file_is_told_apart(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "providers" / "x.toml"
    folder.mkdir(parents=True)
    with pytest.raises(CatalogueError) as refused:
        load(tmp_path / "home", data)
    assert str(refused.value) == f"{folder}: expected a file, found a folder"


def test_the_shipped_snapshot_loads_within_150_ms() -> None:
    write_shipped_snapshot()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        load()
        times.append(time.perf_counter() - started)
    print(f"load: {min(times) * 1e3:.1f} ms at best, {max(times) * 1e3:.1f} at worst")
    assert min(times) < 0.150


def test_as_many_facts_are_shipped_as_promised(shipped: Catalogue) -> None:
    sellers = {e.provider for found in shipped.endpoints.values() for e in found}
    assert len(sellers) >= 100
    assert len(shipped.models) >= 1_200
    assert len(shipped.retired) >= 80


def test_a_provider_without_a_confirmed_url_is_shipped_disabled(shipped: Catalogue) -> None:
    off = {p.id: p for p in shipped.providers.values() if not p.enabled}
    assert all(p.disabled_because for p in off.values())
    local = {
        p.id
        for p in shipped.providers.values()
        if p.auth.scheme == "none" and p.base_url != "sandbox:"
    }
    assert local and local <= set(off), "nobody has said that such an engine runs here"
    assert len(off) == 17 + len(local)
    assert off["modular"].base_url is None
    assert off["sambanova"].base_url == "https://api.sambanova.ai/v1"


def test_the_facts_of_some_well_known_rows(shipped: Catalogue) -> None:
    openai = shipped.providers["openai"]
    assert (openai.dialect, openai.base_url, openai.auth.env, openai.cancels) == (
        "openai_chat",
        "https://api.openai.com/v1",
        ("OPENAI_API_KEY",),
        True,
    )
    assert shipped.providers["groq"].cancels is False
    assert shipped.providers["amazon-bedrock"].variables == {"region": "AWS_REGION"}
    anthropic = shipped.providers["anthropic"].auth
    assert (anthropic.header, anthropic.format) == ("x-api-key", "{key}")
    mini = next(e for e in shipped.endpoints["openai/gpt-4o-mini"] if e.tag == "openai")
    assert (mini.price.base.prompt, mini.price.base.completion) == (150_000, 600_000)
    assert mini.price.base.input_cache_read == 75_000


def test_every_kind_of_price_in_the_facts_is_kept(shipped: Catalogue) -> None:
    endpoints = [e for found in shipped.endpoints.values() for e in found]
    seen = {
        name
        for e in endpoints
        for name in e.price.base.__struct_fields__
        if getattr(e.price.base, name) is not None
    }
    assert seen == set(endpoints[0].price.base.__struct_fields__) - {"request"}
    overrides = [o for e in endpoints for o in e.price.overrides]
    assert any(o.min_prompt_tokens for o in overrides)
    assert any(o.utc_start is not None and o.weekdays for o in overrides)
    assert {e.service_tier for e in endpoints} == {None, "batch", "flex", "priority"}


def test_the_sandbox_is_sold_twice_so_that_failing_over_can_be_tried(shipped: Catalogue) -> None:
    for name in ("echo", "lorem", "fault"):
        offers = {e.provider: e for e in shipped.endpoints[f"tollway/{name}"]}
        assert {p: e.id for p, e in offers.items()} == {"tollway": name, "tollway-b": name}
        cheap, dear = offers["tollway"].price.base, offers["tollway-b"].price.base
        assert 0 < (cheap.prompt or 0) < (dear.prompt or 0)
    for provider in ("tollway", "tollway-b"):
        entry = shipped.providers[provider]
        assert (entry.base_url, entry.auth.scheme) == ("sandbox:", "none")
        assert (entry.data_policy.trains, entry.data_policy.retains) == (False, False)
    assert shipped.resolve("tollway/sandbox") == "tollway/echo"


def test_slugs_that_are_gone_name_successors_that_exist(shipped: Catalogue) -> None:
    for slug in ("google/gemini-pro-1.5", "openai/gpt-4-32k", "anthropic/claude-2"):
        assert shipped.resolve(slug) is None
        assert shipped.retired[slug]
        assert all(s in shipped.models for s in shipped.retired[slug])


def test_a_free_variant_is_a_model_of_its_own_and_never_competes_with_the_paid_one(
    shipped: Catalogue,
) -> None:
    free = shipped.endpoints["z-ai/glm-5.2:free"]
    assert all((e.price.base.prompt, e.price.base.completion) == (0, 0) for e in free)
    assert all(e.variant != "free" for e in shipped.endpoints["z-ai/glm-5.2"])
