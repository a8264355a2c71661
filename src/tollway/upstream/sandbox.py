"""The sandbox: a provider inside the process, with real dialect bytes and faults on request.

Part of the product: it answers without a key or a network, and anyone can try their own failover on
it (`docs/sandbox.md`). What it says is decided in `sandbox_models`, how it breaks in
`sandbox_play`, by directives that `sandbox_grammar` reads; here is only what acts: waiting, counting,
deadlines. Rules. Nothing is generated that nobody reads: an answer advances when it is read, and
stops when it is closed. Time passes through `sleep` alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import Answer, AttemptFailed, faults
from .sandbox_grammar import Directive, holds, is_at
from .sandbox_models import BadRequest, Prompt, read
from .sandbox_play import Cut, Play, Wait, play, refusal
from .sandbox_wire import Event

SCHEME = "sandbox:"

CONVERSATIONS_MAX = 4096
"""Whose `times` are remembered; the oldest are forgotten first."""


class Counters:
    """What the sandbox has done. Mutable; for metrics and tests."""

    __slots__ = ("answers", "broken", "closed_early", "open", "tokens", "whole")

    def __init__(self) -> None:
        self.answers = 0
        """Heads given."""
        self.open = 0
        """Answers neither whole, nor broken, nor closed."""
        self.whole = 0
        self.broken = 0
        """Ended by a fault or a deadline inside the answer."""
        self.closed_early = 0
        self.tokens = 0
        """Delivered, over all answers."""


class SandboxTransport:
    """Implements `upstream.Transport` for `sandbox:<provider id>/chat/completions`."""

    def __init__(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self.counters = Counters()
        self._sleep = sleep
        self._seen: dict[str, int] = {}

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
    ) -> SandboxAnswer:
        """The head is given at once unless a directive says otherwise. Raises AttemptFailed."""
        provider, _, path = url.removeprefix(SCHEME).partition("/")
        answer = SandboxAnswer(
            self._play(provider, path, body),
            self.counters,
            self._sleep,
            total_timeout_s,
            idle_timeout_s,
        )
        if on_sent is not None:
            on_sent()
        await answer.begin()
        return answer

    async def close(self) -> None:
        """Nothing is held open here; answers end with their readers."""

    def _play(self, provider: str, path: str, body: bytes) -> Play:
        try:
            if path != "chat/completions":
                raise BadRequest(404, "not_found", f"The sandbox has no route /{path}.")
            prompt = read(body)
            return play(prompt, self._wishes(prompt, provider))
        except BadRequest as error:
            return refusal(error)

    def _wishes(self, prompt: Prompt, provider: str) -> dict[str, Any]:
        """The words of the directives that hold for this attempt; later ones win."""
        wishes: dict[str, Any] = {}
        for directive in prompt.directives:
            if not directive.selects or self._holds(directive, prompt, provider):
                wishes.update(directive.values)
        return wishes

    def _holds(self, directive: Directive, prompt: Prompt, provider: str) -> bool:
        endpoint = prompt.ask.model
        if not is_at(directive, provider, endpoint):
            return False
        seen = self._count(f"{prompt.digest} {directive.text}")
        drawn = self._count(directive.text)
        return holds(directive, provider, endpoint, seen, drawn)

    def _count(self, name: str) -> int:
        n = self._seen.pop(name, 0)
        self._seen[name] = n + 1
        if len(self._seen) > CONVERSATIONS_MAX:
            del self._seen[next(iter(self._seen))]
        return n


class SandboxAnswer(Answer):
    """Implements `upstream.Answer`; acts out a play as it is read."""

    def __init__(
        self,
        play: Play,
        counters: Counters,
        sleep: Callable[[float], Awaitable[object]],
        total_s: float,
        idle_s: float,
    ) -> None:
        self.status = play.status
        self.headers: Mapping[str, str] = play.headers
        self._play = play
        self._counters = counters
        self._sleep = sleep
        self._total_s = total_s
        self._left_s = total_s
        self._idle_s = idle_s
        self._silent_s = 0.0
        self._pending_s = 0.0
        """Of a wait that a cancelled `read` left unfinished."""
        self._begun = False
        self._over = False
        self._fault: AttemptFailed | None = None

    async def begin(self) -> None:
        for step in self._play.before:
            if isinstance(step, Wait):
                await self._wait(step.seconds)
            elif isinstance(step, Cut):
                raise AttemptFailed(faults.closed_early(None, spoke=False))
        self._begun = True
        self._counters.answers += 1
        self._counters.open += 1

    async def read(self) -> bytes:
        await asyncio.sleep(0)  # an answer without pauses must not keep the loop from the others
        if self._fault is not None:
            raise self._fault
        if self._over:
            return b""
        if self._pending_s:
            await self._wait(self._pending_s)
        for step in self._play.steps:
            match step:
                case Event(data, tokens):
                    self._counters.tokens += tokens
                    self._silent_s = 0.0
                    return data
                case Wait(seconds):
                    await self._wait(seconds)
                case Cut():
                    self._fail(AttemptFailed(faults.closed_early(None, spoke=True)))
        self._end()
        self._counters.whole += 1
        return b""

    async def close(self) -> None:
        if not self._over:
            self._end()
            self._counters.closed_early += 1

    async def _wait(self, seconds: float) -> None:
        """Silence, cut short by whichever deadline comes first."""
        self._pending_s = seconds
        allowed = min(self._idle_s - self._silent_s, self._left_s)
        if seconds < allowed:
            await self._sleep(seconds)
            self._pending_s = 0.0
            self._left_s -= seconds
            self._silent_s += seconds
            return
        await self._sleep(allowed)
        if self._left_s <= allowed:
            fault = faults.out_of_time(self._total_s, spoke=self._begun)
        else:
            fault = faults.silent(self._idle_s)
        self._fail(AttemptFailed(fault))

    def _fail(self, failed: AttemptFailed) -> None:
        self._fault = failed
        if self._begun:
            self._end()
            self._counters.broken += 1
        raise failed

    def _end(self) -> None:
        self._over = True
        self._counters.open -= 1
