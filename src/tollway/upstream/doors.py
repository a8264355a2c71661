"""All ways to providers behind one `Transport`: the URL's scheme picks the door.

Decides nothing else. It is what the gateway holds.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from . import Answer
from .sandbox import SCHEME, SandboxTransport
from .transport import HttpTransport


class Doors:
    """Implements `upstream.Transport`. Owns both of its transports and closes them."""

    def __init__(self, http: HttpTransport, sandbox: SandboxTransport) -> None:
        self.http = http
        self.sandbox = sandbox

    def open(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes,
        *,
        total_timeout_s: float,
        idle_timeout_s: float,
        on_sent: Callable[[], None] | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """Raises AttemptFailed when awaited."""
        door = self.sandbox if url.startswith(SCHEME) else self.http
        return door.open(
            method,
            url,
            headers,
            body,
            total_timeout_s=total_timeout_s,
            idle_timeout_s=idle_timeout_s,
            on_sent=on_sent,
        )

    async def close(self) -> None:
        await self.http.close()
        await self.sandbox.close()
