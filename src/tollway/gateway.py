"""What the road has at hand: one value that holds every open part of a running gateway.

Built by `wiring`, used by `flow` and the HTTP doors. It decides nothing about money, routes or
bytes; its methods join parts that belong together in one call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from . import errors
from .accounts.keyring import KeyRing
from .accounts.policies import Policies
from .accounts.presetbook import PresetBook
from .caching import Shelf
from .caching.flights import Flights
from .canon import Fault, Request
from .catalogue.entries import Catalogue, Endpoint, Provider
from .catalogue.routers import Router
from .dialects import Meter, Outbound, conversation, fetched, toolcheck
from .dialects.openings import cache_lifetime_s, conversation_name
from .dialects.states import carries_state
from .ledger.entries import Admit, Count, Ended, Generation, Record, Settle, Void
from .ledger.rules import UnknownHold
from .ledger.sqlite import Ledger
from .metrics import Metrics
from .money import parse_usd
from .plugins.compression import fitted
from .routing import sticky
from .routing.budget import RetryBudget
from .routing.candidates import Pool
from .routing.entries import NO_BONDS, Attempt, Bonds, Offer, Plan, Policy, Stuck
from .routing.free import FreeLimits, free_counts, paid_only
from .routing.health import STABLE, Health, Outcome
from .routing.hedge import HEDGES_FLOOR, HEDGES_PERCENT
from .routing.offers import Index
from .routing.plan import plan
from .routing.policy import with_default_model
from .routing.routers import Route, route, routed, session_of
from .settings import Settings
from .store.sqlite import Store
from .upstream import Answer, AttemptFailed, Transport, faults
from .upstream.egress import Egress
from .upstream.signers import Signer

if TYPE_CHECKING:
    from .flow import Call

log = logging.getLogger("tollway")


_TEXT = frozenset({"text"})


class Caller(msgspec.Struct, frozen=True):
    """Who asks, once identified."""

    workspace: str
    key_id: str
    policy: Policy
    counts: tuple[Count, ...] = ()
    """Limits in number of this key; empty, and the same object, for a key without any."""


class Reach(msgspec.Struct, frozen=True):
    """How a live provider is reached. The headers hold its credential: never log them."""

    base_url: str
    headers: tuple[tuple[str, str], ...]
    dialects: dict[str, str] = {}
    """Base URLs of the provider's further dialects; empty where a placeholder is not filled."""
    signer: Signer | None = None
    """Makes the credential anew for each request, where the headers do not hold it."""

    def url(self, dialect: str, path: str) -> str:
        """Where a request in `dialect` goes. Raises AttemptFailed."""
        base = self.dialects.get(dialect, self.base_url)
        if not base:
            raise AttemptFailed(faults.cannot_send("a part of the provider's URL is not set"))
        return base + path

    def __repr__(self) -> str:
        return f"Reach({self.base_url!r})"


class Waiting:
    """One attempt's wait for its first token, counted with its endpoint. Left without an exception
    = the token came."""

    __slots__ = ("_began_s", "_endpoint", "_gateway", "_streamed")

    def __init__(self, gateway: Gateway, endpoint: Endpoint, streamed: bool) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
        self._streamed = streamed
        self._began_s = 0.0

    def __enter__(self) -> None:
        self._began_s = began_s = self._gateway.clock()
        self._gateway.health.began(self._endpoint, began_s, streamed=self._streamed)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        gateway = self._gateway
        now_s = gateway.clock()
        gateway.health.waited(
            self._endpoint,
            now_s - self._began_s if kind is None else None,
            now_s,
            streamed=self._streamed,
            jitter=gateway.random.random(),
        )


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
        egress: Egress | None = None,
    ) -> None:
        self.egress = egress or Egress()
        self.settings = settings
        self.catalogue = catalogue
        self.index = index
        self.reach = reach
        self.store = store
        self.ledger = ledger
        self.keys = keys
        self.presets = PresetBook(store)
        self.upstream = upstream
        self.metrics = metrics
        self.clock = clock
        self.random = random
        self.health = Health()
        self.retries = RetryBudget()
        self.sticky = sticky.Sticky()
        self.shelf = Shelf(settings.cache_entries_max, settings.cache_bytes_max)
        self.flights = Flights()
        self._pool: Pool | None = None
        self.policy = Policy(
            margin_ppm=settings.margin_ppm,
            output_tokens_default=settings.output_tokens_default,
            attempts_per_model=settings.attempts_per_model,
        )
        self.policies = Policies(store, self.policy)
        self.free_limits = _free_limits(settings)
        self.first_key: str | None = None
        """The key made at the first start, until it has been shown."""
        self.latest_day = ""
        """The day (UTC) for which the catalogue's `latest` was worked out."""
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

    def plan(self, request: Request, caller: Caller, now_s: float) -> tuple[Request, Plan]:
        """The request as it will be sent, and the plan for it. Raises CallerError for a slug that
        is not in the catalogue, for no slug where the workspace has no model of its own, and for a
        router that finds nothing to pick."""
        if not request.models:
            request = with_default_model(request, caller.policy)
        router = routed(request)
        found = None if router is None else self._route(router, request, caller, now_s)
        offers = self.index.offers(request.models) if found is None else found.offers
        bonds = self.bonds(caller.workspace, request, offers, now_s)

        def decided(asked: Request) -> Plan:
            made = plan(
                asked,
                offers,
                self.health,
                caller.policy,
                now_s=now_s,
                random=self.random,
                resolve_provider=self.catalogue.provider_slug,
                bonds=bonds,
            )
            return made if found is None else found.told(made)

        return fitted(request, decided(request), offers, decided)

    def _route(self, router: Router, request: Request, caller: Caller, now_s: float) -> Route:
        """The models that routers pick for a request. Raises CallerError."""
        key = self._session(router, request, caller)
        kept = self.sticky.find(key, now_s) if key is not None and self.sticky else None
        return route(
            request,
            self.pool(),
            self.health,
            caller.policy,
            now_s=now_s,
            random=self.random,
            resolve_provider=self.catalogue.provider_slug,
            remembered=None if kept is None else kept.endpoint.partition("@")[0],
        )

    def _session(
        self, router: Router, request: Request, caller: Caller
    ) -> tuple[str, str, str] | None:
        """Under which name a conversation's model is kept. A draw among free models is kept for
        those only that named their session: others may want another draw."""
        named = request.session_id is not None or "prompt_cache_key" in request.fields
        name = conversation_name(request) if named or router.kind == "auto" else None
        return None if name is None else (caller.workspace, session_of(request, router), name)

    def _keep_model(self, call: Call, attempt: Attempt) -> None:
        """A conversation stays with the model that a router gave it and that has answered."""
        router = routed(call.request)
        if router is None or attempt.model.id not in call.plan.picked:
            return
        key = self._session(router, call.said, call.caller)
        if key is not None:
            served = Stuck(attempt.endpoint.key, attempt.provider.id)
            self.sticky.keep(key, served, self.clock())

    def bonds(
        self,
        workspace: str,
        request: Request,
        offers: Mapping[str, Sequence[Offer]],
        now_s: float,
    ) -> Bonds:
        """What ties this conversation to endpoints. Most of what is asked is asked once, and
        nothing is looked up for it. An order of the caller's leaves only who can read its state."""
        name = conversation_name(request) if self.sticky else None
        if name is None:
            return NO_BONDS
        warm = {}
        if not request.preferences.order:
            for model in {o[0].model.id for o in offers.values() if o}:
                found = self.sticky.find((workspace, model, name), now_s)
                if found is not None:
                    warm[model] = found
        pin = self.sticky.find((workspace, "", name), now_s)
        if pin is not None and not carries_state(request):
            pin = None
        return Bonds(warm, pin) if warm or pin is not None else NO_BONDS

    def answered(self, call: Call, attempt: Attempt, meter: Meter) -> None:
        """A conversation may now stick to the endpoint that answered it."""
        request, base, bonds = call.said, attempt.endpoint.price.base, call.plan.bonds
        if call.plan.router is not None:
            self._keep_model(call, attempt)
        pin = sticky.pins(bonds.pin, attempt.endpoint, opaque=meter.opaque)
        kept = None
        if not request.preferences.order:
            kept = sticky.sticks(
                bonds.warm.get(attempt.model.id),
                attempt.endpoint,
                named=request.session_id is not None or "prompt_cache_key" in request.fields,
                hit=meter.usage is not None and meter.usage.cached_tokens > 0,
                cheaper=base.input_cache_read is not None
                and base.input_cache_read < (base.prompt or 0),
            )
        name = None if kept is None and pin is None else conversation_name(request)
        if name is None:
            return
        workspace, now_s, ttl_s = call.caller.workspace, self.clock(), cache_lifetime_s(request)
        for model, stuck in ((attempt.model.id, kept), ("", pin)):
            if stuck is not None:
                self.sticky.keep((workspace, model, name), stuck, now_s, ttl_s)

    async def refresh_policies(self) -> None:
        """Read what workspaces impose. What was kept under other rules is kept no longer: one that
        lets nothing be kept must not find it again when it changes its mind."""
        if await self.policies.refresh():
            self.shelf.clear()

    def counts(self, caller: Caller, plan: Plan) -> tuple[Count, ...]:
        """The limits in number that a request falls under; the shared empty tuple for nearly all."""
        free = free_counts(plan.attempts[0], (), caller.workspace, self.free_limits)
        return caller.counts + free if free else caller.counts

    async def without_free(self, call: Call, attempt: Attempt) -> Plan | None:
        """The plan to go on with where `attempt` would be the first free one that a call comes to
        and no more are allowed: those that have failed are paid ones, so it is never empty. None =
        go there, it is counted. Raises Unavailable."""
        called = [tried for tried, _ in call.faults]
        counts = free_counts(attempt, called, call.caller.workspace, self.free_limits)
        if not counts:
            return None
        now_ms = int(self.clock() * 1000)
        return paid_only(call.plan, await self.ledger.admit(Admit(call.id, counts, now_ms)))

    def pool(self) -> Pool:
        """What routers pick from, worked out when first asked for and after a new catalogue."""
        if self._pool is None or self._pool.index is not self.index:
            self._pool = Pool(self.index)
        return self._pool

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
        url = reach.url(attempt.endpoint.dialect, outbound.path)
        headers = [*reach.headers, *outbound.headers]
        if reach.signer is not None:
            began_s = self.clock()
            headers += await self._signed(reach.signer, url, headers, outbound.body, remaining_s)
            remaining_s = max(remaining_s - (self.clock() - began_s), 0.001)
        return await self.upstream.open(
            "POST",
            url,
            headers,
            outbound.body,
            total_timeout_s=remaining_s,
            idle_timeout_s=self.settings.idle_timeout_s if stream else remaining_s,
            on_sent=on_sent,
        )

    def wait_on(self, called_s: float) -> None:
        """A stream that was called then has sent bytes and no word. Raises AttemptFailed when that
        has been so for too long: keep-alive comments must not hold a caller for ever."""
        limit_s = self.settings.first_token_timeout_s
        if self.clock() - called_s > limit_s:
            raise AttemptFailed(faults.wordless(limit_s))

    async def ready(self, request: Request, attempt: Attempt) -> Request:
        """The request as the attempt's dialect can take it: media that it wants as bytes are
        fetched. Raises AttemptFailed: another endpoint may take the URL itself."""
        if attempt.endpoint.dialect not in fetched.BYTES_ONLY or request.modalities <= _TEXT:
            return request
        said = conversation(request)
        urls = fetched.remote(said)
        if not urls:
            return request
        try:
            media = await self.egress.fetch_all(urls)
        except errors.CallerError as error:
            fault = Fault(error.status, error.error_type, error.message, local=True)
            raise AttemptFailed(fault) from None
        return fetched.with_media(request, said, media)

    async def _signed(
        self,
        signer: Signer,
        url: str,
        headers: list[tuple[str, str]],
        body: bytes,
        remaining_s: float,
    ) -> list[tuple[str, str]]:
        """What the signer adds; it may have to ask for a token first. Raises AttemptFailed."""
        now_s, upstream = self.clock(), self.upstream
        try:
            async with asyncio.timeout(remaining_s):
                return await signer.headers(
                    "POST", url, headers, body, now_s=now_s, transport=upstream
                )
        except TimeoutError as error:
            raise AttemptFailed(faults.out_of_time(remaining_s, spoke=False)) from error

    def may_retry(self, attempt: Attempt, remaining_s: float) -> bool:
        """Whether another attempt fits the deadline. A healthy endpoint may always be tried, busy
        or not: that is failing over. One that is in trouble itself is tried within the retry budget
        only, so that a general outage is not made worse. True counts it; `retries.answered` gives
        it back."""
        now, provider = self.clock(), attempt.provider.id
        if remaining_s <= 0:
            return False
        healthy = self.health.trouble(attempt.endpoint.key, provider, now) == STABLE
        return self.retries.allow(provider, now, healthy=healthy)

    def may_hedge(self, attempt: Attempt, remaining_s: float) -> bool:
        """Whether a second endpoint may be asked beside a silent one: a healthy one, and only a
        small part of the traffic at that."""
        now, provider = self.clock(), attempt.provider.id
        if remaining_s <= 0 or self.health.rank(attempt.endpoint.key, provider, now) != STABLE:
            return False
        return self.retries.allow(provider, now, HEDGES_PERCENT, HEDGES_FLOOR)

    def end(self, command: Settle | Void) -> None:
        """Hand the end of a hold to the ledger: queued when this returns, and repeated there
        until it is on the disk. Nobody waits for it."""
        if isinstance(command, Void):
            ended = self.ledger.void(command)
        else:
            ended = self.ledger.settle(command)
        ended.add_done_callback(partial(self._ended, command))

    def record(self, made: Generation) -> None:
        """Hand the record of an answer out of the cache to the ledger: queued when this returns."""
        self.ledger.record(Record(made)).add_done_callback(_recorded)

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
            self.metrics.usage(made.model, command.provider, made, made.charge_nano)

    def claim(self, plan: Plan, now_s: float) -> None:
        """The plan will be walked: where it puts a half-open endpoint first, that is its probe."""
        if plan.attempts and self.health.troubled(now_s):
            self.health.claim(plan.attempts[0].endpoint.key, now_s)

    def waiting(self, attempt: Attempt, *, streamed: bool) -> Waiting:
        """The context in which an attempt is sent and waits for its first token."""
        return Waiting(self, attempt.endpoint, streamed)

    def left(self, attempt: Attempt, began_s: float) -> None:
        """An attempt begun at `began_s` was given up by us or the caller: it says nothing."""
        self.health.left(attempt.endpoint, began_s)

    def judge(self, attempt: Attempt, request: Request, meter: Meter) -> None:
        """Whether a whole answer's tool calls are valid, for the endpoint's quality. Once, at its
        end: nobody waits for it but the next request."""
        if meter.calls is not None and meter.finish == "tool_calls":
            valid = toolcheck.valid(request, meter.calls)
            if valid is not None:
                self.health.note_tools(attempt.endpoint, valid, self.clock())

    def note(self, attempt: Attempt, outcome: Outcome) -> None:
        """How an attempt ended, for health and metrics."""
        self.health.note(attempt.endpoint, outcome, self.clock())
        kind = outcome.fault.error_type if outcome.fault else "ok"
        self.metrics.attempt(attempt.provider.id, kind)

    def report(self, call: Call, now_s: float) -> None:
        """How an entered call ended, for metrics. What it cost is counted when it is settled."""
        current = call.current
        attempt = current.attempt if current else None
        model = attempt.model.id if attempt else call.plan.requested[0]
        provider = attempt.provider.id if attempt else ""
        if current is not None and current.first_s is not None:
            self.metrics.first_token(model, provider, current.first_s - call.started_s)
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
        if not self.policies.loaded:
            found.append("the workspaces have not been read")
        return found


def _free_limits(settings: Settings) -> FreeLimits | None:
    if not settings.free_limits:
        return None
    return FreeLimits(
        settings.free_requests_per_minute,
        settings.free_requests_per_day,
        settings.free_requests_per_day_credited,
        parse_usd(settings.free_credited_usd, "free_credited_usd"),
    )


def _recorded(done: asyncio.Future[bool]) -> None:
    if not done.cancelled() and (error := done.exception()):
        log.error("the record of a cached answer was refused: %r", error)
