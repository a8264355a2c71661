"""One attempt at one endpoint, from its request to its last byte.

Not here: which endpoint, what follows a failure, what it costs (`flow` asks others). A `Try` is
used by one task at a time; what it has heard so far may be read by anyone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress

from .caching import Taped
from .canon import Request
from .dialects import Head, Relay, dialect
from .dialects.searching import with_search
from .dialects.toolcalls import ToolCalls
from .gateway import Gateway
from .plugins.healing import relay_for
from .receipt import Asked
from .routing.entries import Attempt
from .upstream import Answer, AttemptFailed

Write = Callable[[bytes], Awaitable[object] | None]
"""Takes the caller's bytes. None = taken; else what to await while the caller is slow to read."""


class Try:
    """`listen`, then `rest`; `hang_up` in any case."""

    __slots__ = (
        "_answer",
        "_dropped",
        "_gateway",
        "_head",
        "_tape_bytes",
        "_until_s",
        "attempt",
        "called_s",
        "first_s",
        "output_tokens_max",
        "relay",
        "request",
        "sent",
    )

    def __init__(
        self,
        gateway: Gateway,
        request: Request,
        attempt: Attempt,
        *,
        output_tokens_max: int,
        head: Head,
        until_s: float,
        lost: tuple[str, ...] = (),
        tape_bytes: int = 0,
    ) -> None:
        """`until_s`: the request's one deadline, by the gateway's clock. `lost`: what had to be
        left out of the request for this endpoint. `tape_bytes`: how much of the answer is
        remembered for others that ask the same."""
        self.attempt = attempt
        self.request = request
        self.output_tokens_max = output_tokens_max
        self.called_s = gateway.clock()
        """When it began: health must not blame an endpoint for those before it."""
        self.first_s: float | None = None
        self.sent = False
        """The request has left: from here on the provider may work, and bill."""
        self.relay: Relay | None = None
        self._dropped = lost
        self._gateway = gateway
        self._head = head
        self._tape_bytes = tape_bytes
        self._until_s = until_s
        self._answer: Answer | None = None

    async def listen(self) -> bytes:
        """Call the endpoint and wait for its first content, in the caller's bytes. Raises
        AttemptFailed."""
        with self._gateway.waiting(self.attempt, streamed=self.request.stream):
            return await self._first_content()

    async def _first_content(self) -> bytes:
        request, attempt, gateway = self.request, self.attempt, self._gateway
        out = dialect(attempt.endpoint.dialect)
        ready = await gateway.ready(request, attempt)
        outbound = out.render_request(ready, attempt, self.output_tokens_max)
        if attempt.online:
            outbound = with_search(outbound, attempt.endpoint.dialect)
        self._dropped += outbound.dropped
        self._answer = answer = await gateway.open(
            attempt,
            outbound,
            self._until_s - gateway.clock(),
            stream=request.stream,
            on_sent=self._has_left,
        )
        quirks = attempt.provider.quirks
        if answer.status >= 400:
            body = await _all(answer, limit=65_536)
            now_s = gateway.clock()
            raise AttemptFailed(
                out.parse_fault(answer.status, answer.headers, body, now_s=now_s, quirks=quirks)
            )
        relay = relay_for(request, self._head, attempt.endpoint.dialect, quirks)
        if self._tape_bytes:
            relay = Taped(relay, attempt, self._tape_bytes)
        self.relay = relay
        if "tools" in request.params:
            relay.meter.calls = ToolCalls()
        meter, spoken = relay.meter, b""
        while not (meter.spoke or meter.ended):
            data = await answer.read()
            spoken += relay.feed(data) if data else relay.finish()
            if meter.fault is not None:
                raise AttemptFailed(meter.fault)
            if not data:
                break
            if request.stream and not (meter.spoke or meter.ended):
                gateway.wait_on(self.called_s)
        self.first_s = gateway.clock()
        return spoken

    async def rest(self, write: Write) -> None:
        """Pass on what follows the first content, to the provider's end. Raises AttemptFailed when
        it breaks off."""
        relay, answer = self.relay, self._answer
        assert relay is not None and answer is not None
        meter, feed = relay.meter, relay.feed

        def take(data: bytes) -> Awaitable[object] | None:
            passed = feed(data)
            if meter.fault is not None:
                raise AttemptFailed(meter.fault)
            slow = write(passed) if passed else None
            return _DONE if slow is None and meter.ended else slow

        try:
            while not meter.ended:
                slow = await answer.pour(take)
                if slow is None:
                    passed = relay.finish()
                    if meter.fault is not None:
                        raise AttemptFailed(meter.fault)
                    if passed and (slow := write(passed)) is not None:
                        await slow
                    return
                await slow
        except AttemptFailed:
            if not meter.said_everything:  # else only the goodbye is missing
                raise

    def asked(self) -> Asked | None:
        """What may be charged for it; None while nothing has left."""
        if not self.sent:
            return None
        meter = self.relay.meter if self.relay is not None else None
        return Asked(self.attempt, meter, self.output_tokens_max, self.dropped)

    @property
    def dropped(self) -> tuple[str, ...]:
        """What of the caller's request this endpoint is not told; and, once its answer is whole,
        `n` if it was told and gave fewer answers."""
        dropped, counted = self._dropped, 0 if self.relay is None else self.relay.meter.choices
        if 0 < counted < self.request.choices and "n" not in dropped:
            return (*dropped, "n")
        return dropped

    async def hang_up(self) -> None:
        """Part from the provider; a finished answer leaves its connection for the next call."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.close()

    def _has_left(self) -> None:
        if self.sent:  # the transport had to send it once more
            self._gateway.retries.repeated(self.attempt.provider.id, self._gateway.clock())
        self.sent = True


class _Done:
    """Nothing to wait for."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_DONE: Awaitable[object] = _Done()


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
