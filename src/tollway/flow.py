"""The road a request takes: admit, plan, hold, call, answer, settle. Nothing else is here.

It calls decisions and never makes them: which endpoints (`routing`), what it may cost (`routing`,
`ledger`), what bytes mean (`dialects`), whether a fault allows another attempt (`routing`), what is
charged (`receipt`). What it owns is order: nothing is sent before it is held, no fail-over after
the first content event, and every hold ends exactly once, however the road is left.

    async with serve(gateway, caller, request) as call:
        await call.answer(write)

docs/flow.md walks the same road with file names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from . import errors, receipt
from .canon import Fault, Request
from .dialects import Head, Relay, dialect
from .gateway import Caller, Gateway
from .ledger.entries import Held, Hold, Progress, Refused, Void
from .ledger.windows import resets_at_ms
from .money import usd_from_nano, usd_text_nano, utc
from .routing.entries import Attempt, Plan
from .routing.health import Outcome
from .routing.plan import following, refusal
from .upstream import Answer, AttemptFailed

Write = Callable[[bytes], Awaitable[None]]
"""Takes the caller's bytes; may wait while the caller is slow to read."""


class Call:
    """One request on the road. Entered = held; left = settled or voided, exactly once."""

    def __init__(
        self, gateway: Gateway, caller: Caller, request: Request, notes: dict[str, Any]
    ) -> None:
        task = asyncio.current_task()
        assert task is not None, "the road is walked in a task"
        self.task = task
        """The only one that touches the provider's answer; others may cancel it, no more."""
        self.gateway = gateway
        self.caller = caller
        self.request = request
        self.notes = notes
        self.started_s = gateway.clock()
        self.id = gateway.new_id(self.started_s)
        self.plan: Plan = gateway.plan(request, caller.policy, self.started_s)
        self.granted_nano = 0
        self.output_tokens_max: int | None = None
        self.dropped: tuple[str, ...] = ()
        """What the current attempt's dialect could not carry of the request."""
        self.attempt: Attempt | None = None
        """The endpoint being called; None before the first and after a failed attempt."""
        self.sent = False
        """The request has left for it: from here on it may work, and bill."""
        self.relay: Relay | None = None
        self.called_s = self.started_s
        """When the current attempt began: health must not blame an endpoint for those before it."""
        self.first_s: float | None = None
        self.faults: list[tuple[Attempt, Fault]] = []
        self.progress_made: receipt.Progress = "none"
        self.charge: receipt.Charge | None = None
        self.client_left = False
        self._upstream: Answer | None = None

    # ---- hold … settle ---------------------------------------------------------------------------

    async def __aenter__(self) -> Call:
        """Hold the plan's ceiling. Raises CallerError when there is nothing to call or no money."""
        if not self.plan.attempts:
            raise refusal(self.plan, self.gateway.index)
        hold = Hold(
            id=self.id,
            workspace=self.caller.workspace,
            key_id=self.caller.key_id,
            wanted_nano=self.plan.wanted_nano,
            least_nano=self.plan.least_nano,
            at_ms=_ms(self.started_s),
            deadline_ms=_ms(self.started_s + 2 * self.gateway.settings.total_timeout_s),
            provider=self.plan.attempts[0].provider.id,
        )
        try:
            outcome: Held | Refused = await self.gateway.ledger.hold(hold)
        except asyncio.CancelledError:
            # The command may already be on its way to the disk: the void is queued behind it.
            self.gateway.end(Void(self.id, "left_before_admission", self._now_ms(), None))
            raise
        if isinstance(outcome, Refused):
            raise _refused(self.plan, self.caller, outcome, self._now_ms())
        self.granted_nano = outcome.granted_nano
        self.gateway.calls[self.id] = self
        return self

    async def __aexit__(self, *_: object) -> None:
        """Settle. The command is queued before anything is awaited, so no cancellation can come
        between the decision and the books; the ledger repeats it until it is on the disk."""
        self.gateway.calls.pop(self.id, None)
        try:
            self.gateway.end(receipt.close(self._facts()))
            self._report()
        finally:
            await self._hang_up()

    # ---- call … answer ---------------------------------------------------------------------------

    async def answer(self, write: Write) -> None:
        """Write the caller's bytes; the first piece when an attempt has spoken.

        Raises TollwayError: before the first write the error is the answer; after it the edge
        writes `failure()`.
        """
        first = await self._first_that_speaks()
        if first:
            await write(first)
        relay = await self._rest(write)
        self.charge = self._charge()
        self.progress_made = "whole"
        await write(relay.ending(receipt.bill(self.charge)))

    async def _first_that_speaks(self) -> bytes:
        """Open attempts in order until one speaks; return its first bytes for the caller."""
        index: int | None = 0
        self.gateway.retries.began(self.plan.attempts[0].provider.id, self.started_s)
        while index is not None:
            attempt = self.plan.attempts[index]
            try:
                return await self._listen(attempt)
            except AttemptFailed as failed:
                await self._failed(attempt, failed.fault)
                index = await self._next(index, failed.fault)
        raise errors.all_attempts_failed(
            self.plan.requested, [(a.provider.name, fault) for a, fault in self.faults]
        )

    async def _next(self, index: int, fault: Fault) -> int | None:
        """The attempt that follows a failed one, after the pause before it; None = give up."""
        if self.client_left:
            return None  # an answer that was read on for its usage is not bought again
        failed = self.plan.attempts[index].model.id
        chosen = following(
            self.plan,
            index,
            fault,
            tried=sum(attempt.model.id == failed for attempt, _ in self.faults),
            most=self.caller.policy.attempts_per_model,
            random=self.gateway.random,
        )
        if chosen is None:
            return None
        following_index, wait_s = chosen
        attempt = self.plan.attempts[following_index]
        if not self.gateway.may_retry(attempt, self._remaining_s() - wait_s):
            return None
        if wait_s:
            await asyncio.sleep(wait_s)
        return following_index

    async def _listen(self, attempt: Attempt) -> bytes:
        """Call one endpoint and wait for its first content. Raises AttemptFailed."""
        request, endpoint = self.request, attempt.endpoint
        self.attempt, self.called_s = attempt, self.gateway.clock()
        self.output_tokens_max = attempt.output_tokens_for(
            self.granted_nano, self.caller.policy.margin_ppm
        )
        self.sent = False
        out = dialect(endpoint.dialect)
        ready = await self.gateway.ready(request, attempt)
        outbound = out.render_request(ready, attempt, self.output_tokens_max)
        self.dropped = outbound.dropped
        self._upstream = answer = await self.gateway.open(
            attempt,
            outbound,
            self._remaining_s(),
            stream=request.stream,
            on_sent=self._has_left,
        )
        if answer.status >= 400:
            body = await _all(answer, limit=65_536)
            now_s, quirks = self.gateway.clock(), attempt.provider.quirks
            raise AttemptFailed(
                out.parse_fault(answer.status, answer.headers, body, now_s=now_s, quirks=quirks)
            )
        head = self._head(attempt.model.id, attempt.provider.name)
        self.relay = relay = dialect(request.dialect).relay(
            head, endpoint.dialect, attempt.provider.quirks, request
        )
        meter, spoken = relay.meter, b""
        while not (meter.spoke or meter.ended):
            data = await answer.read()
            spoken += relay.feed(data) if data else relay.finish()
            if meter.fault is not None:
                raise AttemptFailed(meter.fault)
            if not data:
                break
        self.first_s = self.gateway.clock()
        self.progress_made = "spoke"
        return spoken

    async def _rest(self, write: Write) -> Relay:
        """Pass on what follows the first content, to the provider's end. Raises Unavailable when
        it breaks off."""
        relay, answer, attempt = self.relay, self._upstream, self.attempt
        assert relay is not None and answer is not None and attempt is not None
        meter, read, feed = relay.meter, answer.read, relay.feed
        try:
            while not meter.ended:
                data = await read()
                passed = feed(data) if data else relay.finish()
                if meter.fault is not None:
                    raise AttemptFailed(meter.fault)
                if passed:
                    await write(passed)
                if not data:
                    break
        except AttemptFailed as failed:
            if meter.said_everything:  # only the goodbye is missing
                return relay
            self.progress_made = "broke"
            self._note_fault(attempt, failed.fault)
            raise errors.broken_stream(attempt.provider.name, failed.fault) from None
        return relay

    # ---- what the edge may say -------------------------------------------------------------------

    def failure(self, error: errors.TollwayError) -> bytes:
        """The error as an event of an answer whose head has already been sent."""
        relay = self.relay
        if relay is None:
            head = self._head(self.plan.requested[0], "")
            relay = dialect(self.request.dialect).relay(head, "openai_chat", (), self.request)
        return relay.failure(error)

    def leave(self) -> None:
        """The client is gone: cut the provider off, unless it would bill the whole answer anyway;
        then the answer is read to its end, within bounds, for its true usage."""
        if self.client_left:
            return
        self.client_left = True
        bills_anyway = self.attempt is not None and not self.attempt.provider.cancels
        if not (self.sent and bills_anyway and self.gateway.drain(self.task)):
            self.task.cancel()

    def progress(self) -> Progress | None:
        """What a crash right now should settle at; None before the first content."""
        return receipt.progress(self._facts())

    @property
    def clamped(self) -> bool:
        """The credit that could be held, not the caller or the model, bounds the answer."""
        return (
            self.attempt is not None
            and self.output_tokens_max is not None
            and self.output_tokens_max < self.attempt.output_tokens_wanted
        )

    # ---- small change ----------------------------------------------------------------------------

    def _head(self, model: str, provider: str) -> Head:
        return Head(self.id, model, provider, int(self.started_s), self.request.stream)

    def _charge(self) -> receipt.Charge:
        """What has passed so far, priced."""
        charge = receipt.seen(self._facts())
        assert charge is not None
        return charge

    def _facts(self) -> receipt.Facts:
        return receipt.Facts(
            id=self.id,
            workspace=self.caller.workspace,
            key_id=self.caller.key_id,
            plan=self.plan,
            progress=self.progress_made,
            client_left=self.client_left,
            attempt=self.attempt if self.sent else None,
            meter=self.relay.meter if self.relay else None,
            charge=self.charge,
            request=self.request,
            granted_nano=self.granted_nano,
            output_tokens_max=self.output_tokens_max,
            started_ms=_ms(self.started_s),
            first_ms=None if self.first_s is None else _ms(self.first_s),
            ended_ms=self._now_ms(),
            faults=tuple(self.faults),
            margin_ppm=self.caller.policy.margin_ppm,
            notes=self.notes,
            dropped=self.dropped,
        )

    def _has_left(self) -> None:
        self.sent = True

    async def _failed(self, attempt: Attempt, fault: Fault) -> None:
        """An attempt is over; what it had begun is dropped, the hold is kept for the next one."""
        self.attempt = self.relay = None
        self._note_fault(attempt, fault)
        await self._hang_up()

    def _note_fault(self, attempt: Attempt, fault: Fault) -> None:
        self.faults.append((attempt, fault))
        self.gateway.note(attempt, Outcome.failed(fault))

    def _report(self) -> None:
        now = self.gateway.clock()
        if self.charge is not None and self.attempt is not None:
            first = now if self.first_s is None else self.first_s
            tokens = self.charge.usage.completion_tokens
            answered = Outcome.answered(first - self.called_s, tokens, now - self.called_s)
            self.gateway.note(self.attempt, answered)
        self.gateway.report(self, now)

    async def _hang_up(self) -> None:
        """Part from the provider; a finished answer leaves its connection for the next call."""
        answer, self._upstream = self._upstream, None
        if answer is not None:
            await answer.close()

    def _remaining_s(self) -> float:
        return self.started_s + self.gateway.settings.total_timeout_s - self.gateway.clock()

    def _now_ms(self) -> int:
        return _ms(self.gateway.clock())


def serve(
    gateway: Gateway, caller: Caller, request: Request, notes: dict[str, Any] | None = None
) -> Call:
    """Carry one request from admission to settlement. Raises CallerError for an unknown model."""
    return Call(gateway, caller, request, notes or {})


def _refused(plan: Plan, caller: Caller, refused: Refused, now_ms: int) -> errors.CallerError:
    """The ledger's refusal in the caller's words."""
    needed, available = usd_text_nano(plan.least_nano), usd_text_nano(refused.available_nano)
    if refused.by == "key_limit":
        ends_ms = resets_at_ms(refused.reset, now_ms)
        return errors.key_limit_reached(
            needed,
            available,
            usd_from_nano(refused.limit_nano or 0),
            usd_from_nano(refused.spent_nano),
            refused.reset,
            None if ends_ms is None else utc(ends_ms / 1000).strftime("%Y-%m-%dT%H:%M:%SZ"),
            in_flight=refused.in_flight,
        )
    if refused.in_flight:
        return errors.credit_in_flight(available)
    affordable = min(
        a.output_tokens_for(refused.available_nano, caller.policy.margin_ppm) for a in plan.attempts
    )
    return errors.not_enough_credit(needed, available, affordable)


async def _all(answer: Answer, limit: int) -> bytes:
    """At most `limit` bytes of a body that is only read for its error text. The status alone says
    enough: a body that is slow or breaks off is not waited for, and is no fault of its own."""
    body = b""
    with suppress(AttemptFailed, TimeoutError):
        async with asyncio.timeout(_ERROR_BODY_S):
            while len(body) < limit and (data := await answer.read()):
                body += data
    return body[:limit]


_ERROR_BODY_S = 2.0
"""An error's text must arrive this soon: another endpoint is waiting to be tried."""


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
