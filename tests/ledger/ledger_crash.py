"""Lives of a server that are ended by kill -9 while it holds and settles.

Run as a program: `ledger_crash.py DATABASE ACKNOWLEDGED LIVES SEED`. It forks one life after the
other (imports are done once) and kills each after a random moment. Every line of the file
ACKNOWLEDGED is written after the ledger had said that the command is done.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path

from ledger_support import generation, grant, hold, settle, void

from tollway.ledger.entries import Progress, Refused
from tollway.ledger.sqlite import Ledger
from tollway.store.sqlite import Store

TASKS = 24
LIFE_S = (0.02, 0.16)


async def live(database: Path, acknowledged: int, life: int) -> None:
    store = Store.open(database)
    store.start(asyncio.get_running_loop())
    ledger = Ledger(store, lambda: life)
    began = time.monotonic()
    found = await ledger.start()
    ready_ms = (time.monotonic() - began) * 1000
    os.write(acknowledged, f"ready {ready_ms:.1f} {found.settled} {found.released}\n".encode())
    await ledger.transfer(grant(f"grant-{life}", 10**9))
    os.write(acknowledged, b"granted 1000000000\n")
    await asyncio.gather(*(work(ledger, acknowledged, f"{life}-{n}") for n in range(TASKS)))


async def work(ledger: Ledger, acknowledged: int, name: str) -> None:
    for n in range(10**9):
        id, charge = f"{name}-{n}", 10 + n % 90
        held = await ledger.hold(hold(id, 50, at_ms=n))
        if isinstance(held, Refused):
            raise SystemExit("the test gave too little money")
        if n % 3 == 0:
            ledger.progress([Progress(id, 5, 4)])
        if n % 7 == 0:
            await ledger.void(void(id))
            os.write(acknowledged, f"{id} 0\n".encode())
        else:
            await ledger.settle(settle(id, charge, charge - 1, made=generation(id, charge)))
            os.write(acknowledged, f"{id} {charge}\n".encode())


def main(database: Path, acknowledged: Path, lives: int, seed: int) -> None:
    rng = random.Random(seed)
    fd = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for life in range(lives):
        child = os.fork()
        if child == 0:
            asyncio.run(live(database, fd, life))
            os._exit(1)
        time.sleep(rng.uniform(*LIFE_S))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit(f"life {life} ended by itself: {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
