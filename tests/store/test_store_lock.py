from __future__ import annotations

import os
from pathlib import Path

import pytest

from tollway.store.lock import HomeInUse, HomeLock


def test_a_home_is_locked_until_its_owner_releases_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = HomeLock(path)
    with pytest.raises(HomeInUse, match=f"process {os.getpid()}"):
        HomeLock(path)
    first.release()
    first.release()
    HomeLock(path).release()
    assert path.stat().st_mode & 0o777 == 0o600
