"""The only door to providers: connections, credentials, deadlines, the sandbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from ..canon import Fault


class AttemptFailed(Exception):
    """A provider could not be reached, or broke off below the dialect's level."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


Pour = Callable[[bytes], "Awaitable[object] | None"]
"""Takes a piece of a body at once. What it returns is to be awaited before there is another."""


class Answer(Protocol):
    """A provider's response whose head has arrived. Bytes come as the network gives them."""

    status: int
    headers: Mapping[str, str]
    """Lower-cased names."""

    async def read(self) -> bytes:
        """The next bytes; b"" at the end. Raises AttemptFailed when the connection breaks or
        stays silent too long."""

    async def pour(self, into: Pour) -> Awaitable[object] | None:
        """Hand on what comes, piece by piece, until `into` gives something to wait for, which is
        returned; None at the end of the body. Raises what `read` does, or `into`."""
        while data := await self.read():
            slow = into(data)
            if slow is not None:
                return slow
        return None

    async def close(self) -> None:
        """Give the connection back if the body was read to its end, else close the socket."""


class Transport(Protocol):
    """Sends one request and gives its answer; one instance lives as long as the process."""

    async def open(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        total_timeout_s: float,
        idle_timeout_s: float,
        on_sent: Callable[[], None] | None = None,
    ) -> Answer:
        """Raises AttemptFailed. Cancelling the call closes the socket within a second. `on_sent` is
        called when the request leaves: from then on the provider may work, and bill."""

    async def close(self) -> None: ...
