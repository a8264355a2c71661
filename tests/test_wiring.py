import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tollway import errors, wiring


class Clockwork:
    """Stands in for a gateway: each tick, reading the keys raises what the script says next."""

    def __init__(self, script: list[Exception | None]) -> None:
        self.script = list(script)
        self.keys = self
        self.presets = SimpleNamespace(refresh=self.nothing)
        self.calls: dict[str, Any] = {}
        self.refresh_policies = self.nothing
        self.clock, self.latest_day = lambda: 0.0, "1970-01-01"

    async def refresh(self) -> None:
        failure = self.script.pop(0)
        if failure is not None:
            raise failure

    async def nothing(self) -> None:
        pass

    async def sleep(self, seconds: float) -> None:
        if not self.script:
            raise asyncio.CancelledError


async def test_a_lost_database_costs_housekeeping_one_line_an_outage(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lost = errors.store_unavailable()
    gateway = Clockwork([None, lost, lost, lost, None, None, lost, ValueError("ours"), lost])
    monkeypatch.setattr(wiring, "asyncio", SimpleNamespace(sleep=gateway.sleep))
    with caplog.at_level(logging.INFO), pytest.raises(asyncio.CancelledError):
        await wiring._housekeeping(cast(Any, gateway))
    said = [(r.levelname, r.message.partition(";")[0], bool(r.exc_info)) for r in caplog.records]
    outage = ("WARNING", "the database does not answer", False)
    assert said == [outage, outage, ("ERROR", "housekeeping failed", True)]
