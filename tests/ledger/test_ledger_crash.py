"""R5: kill -9 under load, a hundred times."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from tollway.ledger import reads
from tollway.ledger.audit import audit
from tollway.ledger.sqlite import Ledger
from tollway.store.sqlite import Store

LIVES = 100


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    database, acknowledged = tmp_path / "home" / "tollway.db", tmp_path / "acknowledged"
    seed = int(os.environ.get("LEDGER_SEED", random.randrange(10**9)))
    print(f"R5 seed {seed}")
    began = time.monotonic()
    program = [sys.executable, str(Path(__file__).with_name("ledger_crash.py"))]
    arguments = [str(database), str(acknowledged), str(LIVES), str(seed)]
    await asyncio.to_thread(subprocess.run, program + arguments, check=True, timeout=120)

    store = Store.open(database)
    store.start(asyncio.get_running_loop())
    ledger = Ledger(store, lambda: 0)
    last = await ledger.start()
    lines = [line.split() for line in acknowledged.read_text().splitlines()]
    ends = {id: int(charge) for id, charge, *more in lines if id not in ("ready", "granted")}
    booked = await store.read(
        lambda c: dict(c.execute("SELECT id, charged_nano FROM hold WHERE state <> 'open'"))
    )
    lost = [id for id, charge in ends.items() if booked.get(id) != charge]
    ready = [line for line in lines if line[0] == "ready"]
    recovered = sum(int(a) + int(b) for _, _, a, b in ready) + last.settled + last.released
    print(
        f"R5: {LIVES} kills in {time.monotonic() - began:.1f} s; {len(ends)} acknowledged ends, "
        f"{len(lost)} lost; {recovered} open holds recovered; "
        f"slowest start {max(float(ms) for _, ms, *_ in ready):.0f} ms"
    )
    assert lost == []
    assert len(ends) > LIVES
    assert recovered > 0
    assert await store.read(reads.open_holds) == 0
    granted = sum(line[0] == "granted" for line in lines)
    cleared = await store.read(reads.posted_by_account)
    assert -cleared["payments_clearing"] >= granted * 10**9
    assert await store.read(audit) == []
    await ledger.close()
    await store.close()
