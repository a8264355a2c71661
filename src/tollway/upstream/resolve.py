"""Names to addresses, once per name and half a minute, however many connections are opened.

Not a resolver: the system's is asked, in a thread. It exists because a burst of new connections
would otherwise ask it once each, and a slow resolver would fill every thread. A failure is not
kept. Whoever has waited for a lookup may be cancelled without ending it for the others.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

KEPT_S = 30.0
"""Providers move hosts by DNS with times to live of 60 s and more."""

NAMES_MAX = 1024


class Resolver:
    """`now_s` is the running loop's clock; one instance belongs to one loop."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], tuple[tuple[str, ...], float]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[tuple[str, ...]]] = {}

    async def addresses(self, host: str, port: int, now_s: float) -> tuple[str, ...]:
        """Addresses in the system's order of preference, never empty. Raises OSError
        (`socket.gaierror`)."""
        if is_address(host):
            return (host,)
        key = (host, port)
        kept = self._kept.get(key)
        if kept is not None and now_s < kept[1]:
            return kept[0]
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(_ask(host, port))
            task.add_done_callback(lambda done: self._answered(key, done, now_s))
        return await asyncio.shield(task)

    def _answered(
        self, key: tuple[str, int], task: asyncio.Task[tuple[str, ...]], now_s: float
    ) -> None:
        self._asking.pop(key, None)
        if not task.cancelled() and task.exception() is None:
            if len(self._kept) >= NAMES_MAX:
                self._kept.clear()
            self._kept[key] = (task.result(), now_s + KEPT_S)


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _ask(host: str, port: int) -> tuple[str, ...]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label the IDNA codec refuses
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} has no address")
    return tuple(dict.fromkeys(str(row[4][0]) for row in found))
