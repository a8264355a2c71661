"""How a call of an endpoint ended, and whether that was the provider's fault.

Not here: remembering it (`health`).
"""

from __future__ import annotations

import msgspec

from ..canon import Fault


class Outcome(msgspec.Struct, frozen=True):
    """How one attempt ended. Seconds are from sending the attempt."""

    latency_s: float | None = None
    """To the first content event."""
    tokens: int = 0
    """Output tokens."""
    duration_s: float | None = None
    """To its end, however it ended."""
    fault: Fault | None = None
    given_up: bool = False
    """Cancelled before it spoke; the latency is how long it was silent."""

    @staticmethod
    def answered(latency_s: float | None, tokens: int, duration_s: float) -> Outcome:
        return Outcome(latency_s, tokens, duration_s)

    @staticmethod
    def silent(waited_s: float) -> Outcome:
        """Another endpoint spoke first."""
        return Outcome(waited_s, given_up=True)

    @staticmethod
    def failed(fault: Fault, duration_s: float | None = None) -> Outcome:
        return Outcome(fault=fault, duration_s=duration_s)


def sick(fault: Fault) -> bool:
    """The provider's own failure, by the statuses OpenRouter counts against uptime: 401, 402, 404,
    timeouts and 5xx, before or within an answer. Not 400, 403, 413, 429, and nothing that is
    wrong with the request itself."""
    if fault.local or fault.retry in ("never", "larger"):
        return False
    return fault.status >= 500 or fault.status in (401, 402, 404, 408)
