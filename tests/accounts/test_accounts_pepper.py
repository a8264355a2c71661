import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tollway.accounts.pepper import BrokenPepper, load_pepper


def test_a_pepper_is_made_once_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = load_pepper(tmp_path, b"a" * 32)
    assert first == b"a" * 32
    assert load_pepper(tmp_path, b"b" * 32) == first
    assert load_pepper(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secrets" / "pepper").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert [p.name for p in (tmp_path / "secrets").iterdir()] == ["pepper"]


def test_starting_many_times_at_once_gives_one_pepper(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: load_pepper(tmp_path, os.urandom(32)), range(64)))
    assert len(found) == 1
    assert [p.name for p in (tmp_path / "secrets").iterdir()] == ["pepper"]


def test_without_a_pepper_and_without_entropy_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_pepper(tmp_path)


def test_a_truncated_pepper_is_refused_instead_of_making_every_key_unknown(tmp_path: Path) -> None:
    load_pepper(tmp_path, b"a" * 32)
    (tmp_path / "secrets" / "pepper").write_bytes(b"short")
    with pytest.raises(BrokenPepper, match="5 bytes instead of 32"):
        load_pepper(tmp_path, b"b" * 32)
