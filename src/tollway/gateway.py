"""What the road has at hand: one value that holds every open part of a running gateway.

Built by `wiring`, used by `flow` and the HTTP doors. It decides nothing about money, routes or
bytes; its methods join parts that belong together in one call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from . import errors
from .accounts.keyring import KeyRing
from .canon import Request, Usage
from .catalogue.entries import Catalogue, Provider
from .dialects import Outbound
from .ledger.entries import Ended, Generation, Settle, Void
from .ledger.rules import UnknownHold
from .ledger.sqlite import Ledger
from .metrics import Metrics
from .routing.budget import RetryBudget
from .routing.entries import Attempt, Plan, Policy
from .routing.health import STABLE, Health, Outcome
from .routing.offers import Index
from .routing.plan import plan
from .settings import Settings
from .store.sqlite import Store
from .upstream import Answer, Transport

if TYPE_CHECKING:
    from .flow import Call

log = logging.getLogger("tollway")


class Caller(msgspec.Struct, frozen=True):
    """Who asks, once identified."""

    workspace: str
    key_id: str
    policy: Policy


class Reach(msgspec.Struct, frozen=True):
    """How a live provider is reached. The headers hold its credential: never log them."""

    base_url: str
    headers: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"Reach({self.base_url!r})"


class Gateway:
    """Everything a request needs. Attributes are replaced whole, never changed in place."""

    def __init__(
        self,
        *,
        settings: Settings,
        catalogue: Catalogue,
        index: Index,
        reach: Mapping[str, Reach],
        store: Store,
        ledger: Ledger,
        keys: KeyRing,
        upstream: Transport,
        metrics: Metrics,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.index = index
        self.reach = reach
        self.store = store
        self.ledger = ledger
        self.keys = keys
        self.upstream = upstream
        self.metrics = metrics
        self.clock = clock
        self.random = random
        self.health = Health()
        self.retries = RetryBudget()
        self.policy = Policy(
            margin_ppm=settings.margin_ppm,
            output_tokens_default=settings.output_tokens_default,
            attempts_per_model=settings.attempts_per_model,
        )
        self.first_key: str | None = None
        """The key made at the first start, until it has been shown."""
        self.calls: dict[str, Call] = {}
        """Held and not yet settled, by generation id."""
        self.running = 0
        """Inference requests between admission and the end of their answer."""
        self.stopping = False
        self._draining: set[asyncio.Task[Any]] = set()

    # ---- used by the road ------------------------------------------------------------------------

    def new_id(self, now_s: float) -> str:
        """Seconds, then 24 hexadecimal digits that begin with the fraction of the second: ids that
        grow with time are several times cheaper for the ledger's indexes than random ones."""
        seconds = int(now_s)
        fraction = int((now_s - seconds) * 0xFF_FFFF)
        return f"gen-{seconds}-{fraction:06x}{self.random.getrandbits(72):018x}"

    def plan(self, request: Request, policy: Policy, now_s: float) -> Plan:
        """Raises CallerError for a slug that is not in the catalogue."""
        offers = self.index.offers(request.models)
        return plan(
            request,
            offers,
            self.health,
            policy,
            now_s=now_s,
            random=self.random,
            resolve_provider=self.catalogue.provider_slug,
        )

    async def open(
        self,
        attempt: Attempt,
        outbound: Outbound,
        remaining_s: float,
        *,
        stream: bool,
        on_sent: Callable[[], None],
    ) -> Answer:
        """Send one attempt. Silence is a fault in a stream only: a whole answer may take all the
        time there is before its first byte. Raises AttemptFailed."""
        remaining_s = max(remaining_s, 0.001)
        reach = self.reach[attempt.provider.id]
        return await self.upstream.open(
            "POST",
            reach.base_url + outbound.path,
            [*reach.headers, *outbound.headers],
            outbound.body,
            total_timeout_s=remaining_s,
            idle_timeout_s=self.settings.idle_timeout_s if stream else remaining_s,
            on_sent=on_sent,
        )

    def may_retry(self, attempt: Attempt, remaining_s: float) -> bool:
        """Whether another attempt fits the deadline. A healthy endpoint may always be tried: that
        is failing over. One that is in trouble itself is tried within the retry budget only, so
        that a general outage is not made worse."""
        now, provider = self.clock(), attempt.provider.id
        if remaining_s <= 0:
            return False
        healthy = self.health.rank(attempt.endpoint.key, provider, now) == STABLE
        return healthy or self.retries.allow(provider, now)

    def end(self, command: Settle | Void) -> None:
        """Hand the end of a hold to the ledger: queued when this returns, and repeated there
        until it is on the disk. Nobody waits for it."""
        if isinstance(command, Void):
            ended = self.ledger.void(command)
        else:
            ended = self.ledger.settle(command)
        ended.add_done_callback(partial(self._ended, command))

    def _ended(self, command: Settle | Void, done: asyncio.Future[Ended]) -> None:
        """Count what the books now hold, and nothing else: whole answers and cancelled ones."""
        if done.cancelled():
            return
        if error := done.exception():
            if not isinstance(error, UnknownHold):  # a hold that was refused has nothing to end
                log.error("the end of a hold was refused, recovery will end it: %r", error)
            return
        ended = done.result()
        if not ended.applied:  # an earlier end counted
            return
        if ended.lost_nano:
            self.metrics.platform_loss(ended.lost_nano)
        if isinstance(command, Settle) and command.generation is not None:
            made = command.generation
            self.metrics.usage(made.model, command.provider, _usage(made), made.charge_nano)

    def note(self, attempt: Attempt, outcome: Outcome) -> None:
        """How an attempt ended, for health and metrics."""
        self.health.note(attempt.endpoint, outcome, self.clock())
        kind = outcome.fault.error_type if outcome.fault else "ok"
        self.metrics.attempt(attempt.provider.id, kind)

    def report(self, call: Call, now_s: float) -> None:
        """How an entered call ended, for metrics. What it cost is counted when it is settled."""
        attempt = call.attempt
        model = attempt.model.id if attempt else call.plan.requested[0]
        provider = attempt.provider.id if attempt else ""
        if call.first_s is not None:
            self.metrics.first_token(model, provider, call.first_s - call.started_s)
        if call.charge is not None:
            status = 200
        elif call.client_left:
            status = 499
        else:
            status = call.faults[-1][1].status if call.faults else 502
        self.metrics.request(model, provider, status)

    def drain(self, task: asyncio.Task[Any]) -> bool:
        """Let a task read its answer to the end without its client, for a bounded time. False
        when too many do so already."""
        if len(self._draining) >= self.settings.drains_max or self.stopping:
            return False
        self._draining.add(task)
        timer = asyncio.get_running_loop().call_later(self.settings.drain_s, task.cancel)

        def done(task: asyncio.Task[Any]) -> None:
            timer.cancel()
            self._draining.discard(task)

        task.add_done_callback(done)
        return True

    # ---- used by the doors -----------------------------------------------------------------------

    def admit(self) -> None:
        """Raises Unavailable when no further inference request may start."""
        if self.stopping:
            raise errors.shutting_down()
        if self.running >= self.settings.requests_max:
            raise errors.overloaded()

    def live(self, provider: Provider) -> bool:
        """Whether the provider can be called here: enabled, and its credential is present."""
        return provider.id in self.reach

    def problems(self) -> list[str]:
        """Why requests cannot be served now, in words for an operator; empty when they can."""
        found = []
        if self.stopping:
            found.append("the server is shutting down")
        if not self.store.healthy:
            found.append("the database cannot be written")
        if not self.keys.loaded:
            found.append("the keys have not been read")
        return found


def _usage(made: Generation) -> Usage:
    return Usage(
        prompt_tokens=made.prompt_tokens,
        completion_tokens=made.completion_tokens,
        cached_tokens=made.cached_tokens,
        reasoning_tokens=made.reasoning_tokens,
    )
