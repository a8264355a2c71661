"""The road a request takes: admit, plan, hold, call, answer, settle. Nothing else is here.

It calls decisions and never makes them: which endpoints (`routing`), what it may cost (`routing`,
`ledger`), what bytes mean (`dialects`), whether a fault allows another attempt (`routing`), what is
charged (`receipt`). What it owns is order: nothing is sent before it is held, no fail-over after
the first content event, and every hold ends exactly once, however the road is left.

    async with serve(gateway, caller, request) as call:
        await call.answer(write, end)

docs/flow.md walks the same road with file names.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from . import dialects, errors, receipt
from .calling import Try, Write
from .canon import Fault, Request
from .dialects import Head
from .dialects.states import refused_for_state, without_state
from .gateway import Caller, Gateway
from .hedging import HUNG_UP, race
from .ledger.entries import Held, Hold, Progress, Refused, Void
from .ledger.windows import resets_at_ms
from .money import usd_from_nano, usd_text_nano, utc
from .plugins.compression import halved
from .routing.entries import Attempt, Hedge, Plan
from .routing.explain import Told, metadata
from .routing.free import paid_only
from .routing.health import Outcome
from .routing.plan import following, refusal
from .upstream import AttemptFailed


class Call:
    """One request on the road. Entered = held; left = settled or voided, exactly once."""

    def __init__(
        self,
        gateway: Gateway,
        caller: Caller,
        request: Request,
        notes: dict[str, Any],
        told: Told | None,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None, "the road is walked in a task"
        self.task = task
        """The only one that touches the provider's answer; others may cancel it, no more."""
        self.gateway = gateway
        self.caller = caller
        self.notes = notes
        self.told = told
        self.started_s = gateway.clock()
        self.id = gateway.new_id(self.started_s)
        self.said = request
        """As the caller sent it; `request` is what is left of it to be sent on."""
        self.request, self.plan = gateway.plan(request, caller, self.started_s)
        self.granted_nano = 0
        self.parted = False
        """A provider could not read the reasoning state of the request: it goes on without."""
        self.halved = False
        """A provider found the prompt too long: it goes on with what is left of it."""
        self.current: Try | None = None
        """The endpoint being called; None before the first and after a failed attempt."""
        self.rival: Try | None = None
        """The other one of a race: while it runs, and afterwards if it lost."""
        self.faults: list[tuple[Attempt, Fault]] = []
        self.progress_made: receipt.Progress = "none"
        self.charge: receipt.Charge | None = None
        self.client_left = False
        self.tape_bytes = 0
        """How much of its answer is remembered for others that ask the same; 0 = nothing."""

    # ---- hold … settle ---------------------------------------------------------------------------

    async def __aenter__(self) -> Call:
        """Hold the plan's ceiling. Raises CallerError when there is nothing to call or no money."""
        if not self.plan.attempts:
            raise refusal(self.plan, self.gateway.index)
        outcome = await self._hold()
        if isinstance(outcome, Refused) and (paid := paid_only(self.plan, outcome.rate)):
            self.plan = paid
            outcome = await self._hold()
        if isinstance(outcome, Refused):
            raise _refused(self.plan, self.caller, outcome, self._now_ms())
        self.granted_nano = outcome.granted_nano
        self.plan = self.plan.granted(outcome.granted_nano)
        self.gateway.claim(self.plan, self._now_s())
        self.gateway.calls[self.id] = self
        return self

    async def _hold(self) -> Held | Refused:
        hold = Hold(
            id=self.id,
            workspace=self.caller.workspace,
            key_id=self.caller.key_id,
            wanted_nano=self.plan.wanted_nano,
            least_nano=self.plan.least_nano,
            at_ms=_ms(self.started_s),
            deadline_ms=_ms(self.started_s + 2 * self.gateway.settings.total_timeout_s),
            provider=self.plan.attempts[0].provider.id,
            counts=self.gateway.counts(self.caller, self.plan),
        )
        try:
            return await self.gateway.ledger.hold(hold)
        except asyncio.CancelledError:
            # The command may already be on its way to the disk: the void is queued behind it.
            self.gateway.end(Void(self.id, "left_before_admission", self._now_ms(), None))
            raise

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

    async def answer(self, write: Write, end: Write) -> None:
        """Write the caller's bytes, the first piece when an attempt has spoken; `end` takes the
        last one.

        Raises TollwayError: before the first write the error is the answer; after it the edge
        writes `failure()`.
        """
        first = await self._first_that_speaks()
        current = self.current
        assert current is not None
        self.progress_made = "spoke"
        if first and (slow := write(first)) is not None:
            await slow
        try:
            await current.rest(write)
        except AttemptFailed as failed:
            self.progress_made = receipt.broke_off(failed.fault)
            self._note_fault(current, failed.fault)
            raise errors.broken_stream(current.attempt.provider.name, failed.fault) from None
        self.charge = self._charge()
        self.progress_made = "whole"
        assert current.relay is not None
        lost = None if self.rival is None else receipt.hedged(self._facts())
        bill = receipt.bill(self.charge, lost, self.metadata())
        if (slow := end(current.relay.ending(bill))) is not None:
            await slow

    async def _first_that_speaks(self) -> bytes:
        """Open attempts in order until one speaks; return its first bytes for the caller."""
        index: int | None = 0
        self.gateway.retries.began(self.plan.attempts[0].provider.id, self.started_s)
        if self.plan.hedge is not None:
            spoken, index = await self._raced(self.plan.hedge)
            if index is None and self.current is not None:
                return spoken
        while index is not None:
            attempt = self.plan.attempts[index]
            self.current = self._try(attempt)
            try:
                spoken = await self.current.listen()
            except AttemptFailed as failed:
                await self._failed(self.current, failed.fault)
                index = await self._next(index, failed.fault)
            else:
                if self.faults:
                    retries, now = self.gateway.retries, self.gateway.clock()
                    retries.answered(attempt.provider.id, self.current.called_s, now)
                return spoken
        raise errors.all_attempts_failed(
            self.plan.requested, [(a.provider.name, fault) for a, fault in self.faults]
        )

    async def _raced(self, hedge: Hedge) -> tuple[bytes, int | None]:
        """The first attempt, and the second beside it if the first is silent for too long. (its
        first bytes, None) when one spoke, else what `_next` says."""
        first, second = self.plan.attempts[:2]
        self.current = self._try(first)
        ran = await race(self.current, partial(self._rival, second), hedge.after_s, self._failed)
        self.current, self.rival = ran.winner, ran.loser
        if ran.loser is not None:
            waited_s = self.gateway.clock() - ran.loser.called_s
            self.gateway.note(ran.loser.attempt, Outcome.silent(waited_s))
            await ran.loser.hang_up()
        if ran.winner is not None:
            return ran.spoken, None
        return b"", await self._next(len(self.faults) - 1, self.faults[-1][1])

    def _rival(self, attempt: Attempt) -> Try | None:
        if not self.gateway.may_hedge(attempt, self._remaining_s()):
            return None
        self.rival = self._try(attempt)
        return self.rival

    async def _next(self, index: int, fault: Fault) -> int | None:
        """The attempt that follows a failed one, after the pause before it; None = give up."""
        if self.client_left:
            return None  # an answer that was read on for its usage is not bought again
        if not self.parted and refused_for_state(fault) and without_state(self.request)[1]:
            self.parted = True
            return index
        failed = self.plan.attempts[index].model.id
        tried = sum(attempt.model.id == failed for attempt, _ in self.faults)
        most, random = self.caller.policy.attempts_per_model, self.gateway.random
        chosen = following(self.plan, index, fault, tried=tried, most=most, random=random)
        if chosen is None and tried < most:
            chosen = self._halved(index, fault)
        if chosen is None:
            return None
        following_index, wait_s = chosen
        attempt = self.plan.attempts[following_index]
        paid = await self.gateway.without_free(self, attempt)
        if paid is not None:
            index = paid.attempts.index(self.plan.attempts[index])
            self.plan = paid
            return await self._next(index, fault)
        if not self.gateway.may_retry(attempt, self._remaining_s() - wait_s):
            return None
        if wait_s:
            await asyncio.sleep(wait_s)
        return following_index

    def _halved(self, index: int, fault: Fault) -> tuple[int, float] | None:
        """The same endpoint, at once, with a shorter prompt; once, and where the caller wants it."""
        made = None if self.halved else halved(self.request, self.plan, index, fault)
        if made is None:
            return None
        self.halved = True
        self.request, self.plan = made
        return index, 0.0

    def _try(self, attempt: Attempt) -> Try:
        spendable_nano = self.granted_nano - self.plan.reserved_nano
        parted = self.parted or self.plan.bonds.parts(attempt.provider.id)
        request, lost = without_state(self.request) if parted else (self.request, ())
        return Try(
            self.gateway,
            request,
            attempt,
            lost=lost,
            output_tokens_max=attempt.output_tokens_for(
                spendable_nano, self.caller.policy.margin_ppm
            ),
            head=self._head(attempt.model.id, attempt.provider.name),
            until_s=self.started_s + self.gateway.settings.total_timeout_s,
            tape_bytes=self.tape_bytes,
        )

    # ---- what the edge may say -------------------------------------------------------------------

    def failure(self, error: errors.TollwayError) -> bytes:
        """The error as an event of an answer whose head has already been sent."""
        relay = self.current.relay if self.current is not None else None
        if relay is None:
            head = self._head(self.plan.requested[0], "")
            relay = dialects.relay(self.request, head, "openai_chat", ())
        return relay.failure(error)

    def metadata(self) -> dict[str, Any]:
        """What routing did, for callers who asked; empty for others."""
        if self.told is None:
            return {}
        chosen = None if self.current is None else self.current.attempt
        took_ms = int((self.gateway.clock() - self.started_s) * 1000)
        dropped = () if self.current is None else self.current.dropped
        relay = None if self.current is None else self.current.relay
        done = () if relay is None else relay.meter.notes
        faults = list(self.faults)
        if self.rival is not None and relay is not None:
            faults.append((self.rival.attempt, HUNG_UP))
        broke = self.progress_made in ("spoke", "broke")
        return metadata(self.told, self.plan, faults, chosen, took_ms, dropped, done, broke=broke)

    def leave(self) -> None:
        """The client is gone: cut the provider off, unless it would bill the whole answer anyway;
        then the answer is read to its end, within bounds, for its true usage."""
        if self.client_left:
            return
        self.client_left = True
        current = self.current
        bills_anyway = current is not None and current.sent and not current.attempt.provider.cancels
        if not (bills_anyway and self.gateway.drain(self.task)):
            self.task.cancel()

    def progress(self) -> Progress | None:
        """What a crash right now should settle at; None before the first content."""
        return receipt.progress(self._facts())

    @property
    def clamped(self) -> int | None:
        """The output limit, where the credit that could be held bounds the answer and not the
        caller or the model."""
        current = self.current
        if current is None or current.output_tokens_max >= current.attempt.output_tokens_wanted:
            return None
        return current.output_tokens_max

    # ---- small change ----------------------------------------------------------------------------

    def _head(self, model: str, provider: str) -> Head:
        return Head(self.id, model, provider, int(self.started_s), self.request.stream)

    def _charge(self) -> receipt.Charge:
        """What has passed so far, priced."""
        asked = None if self.current is None else self.current.asked()
        assert asked is not None
        margin_ppm = self.caller.policy.margin_ppm
        return receipt.priced(asked, self.request, _ms(self.started_s), margin_ppm)

    def _facts(self) -> receipt.Facts:
        current, rival = self.current, self.rival
        first_s = None if current is None else current.first_s
        return receipt.Facts(
            id=self.id,
            workspace=self.caller.workspace,
            key_id=self.caller.key_id,
            plan=self.plan,
            progress=self.progress_made,
            client_left=self.client_left,
            asked=None if current is None else current.asked(),
            charge=self.charge,
            request=self.request,
            granted_nano=self.granted_nano,
            started_ms=_ms(self.started_s),
            first_ms=None if first_s is None else _ms(first_s),
            ended_ms=self._now_ms(),
            faults=tuple(self.faults),
            margin_ppm=self.caller.policy.margin_ppm,
            notes=self.notes,
            lost=None if rival is None else rival.asked(),
        )

    async def _failed(self, failed: Try, fault: Fault) -> None:
        """An attempt is over; what it had begun is dropped, the hold is kept for the next one, or
        for the other one of a race."""
        if failed is self.current:
            self.current, self.rival = self.rival, None
        elif failed is self.rival:
            self.rival = None
        self._note_fault(failed, fault)
        await failed.hang_up()

    def _note_fault(self, failed: Try, fault: Fault) -> None:
        self.faults.append((failed.attempt, fault))
        lasted_s = self.gateway.clock() - failed.called_s
        self.gateway.note(failed.attempt, Outcome.failed(fault, lasted_s))

    def _report(self) -> None:
        now, current = self.gateway.clock(), self.current
        if self.charge is not None and current is not None:
            first = now if current.first_s is None else current.first_s
            tokens = self.charge.usage.completion_tokens
            began = current.called_s
            # A whole answer has no first token: its time is the length of the answer.
            latency_s = first - began if self.request.stream else None
            answered = Outcome.answered(latency_s, tokens, now - began)
            self.gateway.note(current.attempt, answered)
            if current.relay is not None:
                self.gateway.answered(self, current.attempt, current.relay.meter)
                self.gateway.judge(current.attempt, current.request, current.relay.meter)
        elif self.progress_made != "broke":
            for each in (current, self.rival):
                if each is not None:
                    self.gateway.left(each.attempt, each.called_s)
        self.gateway.report(self, now)

    async def _hang_up(self) -> None:
        for each in (self.current, self.rival):
            if each is not None:
                await each.hang_up()

    def _remaining_s(self) -> float:
        return self.started_s + self.gateway.settings.total_timeout_s - self.gateway.clock()

    def _now_s(self) -> float:
        return self.gateway.clock()

    def _now_ms(self) -> int:
        return _ms(self.gateway.clock())


def serve(
    gateway: Gateway,
    caller: Caller,
    request: Request,
    notes: dict[str, Any] | None = None,
    told: Told | None = None,
) -> Call:
    """Carry one request from admission to settlement; `told` is how much of routing its caller
    wants to read. Raises CallerError for an unknown model."""
    return Call(gateway, caller, request, notes or {}, told)


def _refused(plan: Plan, caller: Caller, refused: Refused, now_ms: int) -> errors.CallerError:
    """The ledger's refusal in the caller's words."""
    if (rate := refused.rate) is not None:
        return errors.rate_limited(rate.scope, rate.period, rate.limit, rate.resets_ms, now_ms)
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


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
