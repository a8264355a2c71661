"""One server per home: an exclusive lock on a file, held while the server lives.

The kernel drops it with the process, so a crash never leaves a stale lock behind.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class HomeInUse(RuntimeError):
    """Another server has this home open."""


class HomeLock:
    """Taken at construction, given back by `release()`. Raises HomeInUse."""

    def __init__(self, path: Path) -> None:
        self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise HomeInUse(
                f"another Tollway server (process {owner}) uses {path.parent}: "
                "stop it, or give this one another --home"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
