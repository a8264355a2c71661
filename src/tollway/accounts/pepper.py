"""The server's pepper: 32 random bytes without which stored digests of keys mean nothing.

Kept in a file of its own (`secrets/pepper` in the home folder, mode 0600) and not in the database,
so that a copy of the database is not enough. Losing it makes every key unknown.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PEPPER_BYTES = 32


class BrokenPepper(Exception):
    """The pepper file is there but is not what was written; every key would be unknown."""


def load_pepper(home: Path, entropy: bytes | None = None) -> bytes:
    """Read the pepper of a home folder. With `entropy` (32 random bytes) it is made if there is
    none; of several processes that try at once, one wins and all read the same.

    Raises BrokenPepper for a file of the wrong size, FileNotFoundError when there is none and no
    entropy was given, OSError when the folder cannot be used.
    """
    path = home / "secrets" / "pepper"
    if entropy is not None and not path.exists():
        _create(path, entropy)
    pepper = path.read_bytes()
    if len(pepper) != PEPPER_BYTES:
        raise BrokenPepper(
            f"{path} holds {len(pepper)} bytes instead of {PEPPER_BYTES}; restore it from a backup."
        )
    return pepper


def _create(path: Path, entropy: bytes) -> None:
    """Write beside, then link: the name appears with its whole content or not at all, and an
    existing file is never replaced."""
    if len(entropy) != PEPPER_BYTES:
        raise ValueError(f"a pepper is {PEPPER_BYTES} random bytes, got {len(entropy)}")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".pepper-{entropy[:8].hex()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, entropy)
        os.fsync(handle)
    finally:
        os.close(handle)
    with suppress(FileExistsError):
        os.link(beside, path)
    beside.unlink()
