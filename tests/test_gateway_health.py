"""What the road tells health, on a clock that stands still: waits, probes, calls given up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from support.control import House, house
from support.upstream import chat_body
from tollway.canon import Fault, Request
from tollway.dialects import dialect
from tollway.flow import Call, serve
from tollway.gateway import Caller, Reach
from tollway.routing.budget import FLOOR
from tollway.routing.concurrency import LIMIT_START
from tollway.routing.health import EJECTED, RESTING, STABLE, Outcome
from tollway.routing.offers import Index
from tollway.upstream import Answer as Reading

BODY = b'{"model":"acme/small","messages":[{"role":"user","content":"hi"}],"max_tokens":50,'
BODY += b'"provider":{"order":["alpha"],"allow_fallbacks":false}}'
ILL = Outcome.failed(Fault(502, "x", "x"), 0.1)


class Answer(Reading):
    status = 200

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self._pieces = [chat_body("one two"), b""]

    async def read(self) -> bytes:
        return self._pieces.pop(0)

    async def close(self) -> None:
        pass


class Provider:
    """`before` is called, and awaited, before an answer comes; `lame` ones never give one."""

    def __init__(self, before: Callable[[], Any], lame: str = "nobody") -> None:
        self.before = before
        self.lame = lame

    async def open(
        self, method: str, url: str, *_: object, on_sent: Callable[[], None], **__: object
    ) -> Answer:
        on_sent()
        if self.lame in url:
            await asyncio.Event().wait()
        await self.before()
        return Answer()

    async def close(self) -> None:
        pass


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


async def begun(home: House, body: bytes = BODY) -> Call:
    """A request that is planned and not yet held."""
    record, _ = await home.key()
    caller = Caller(record.workspace_id, record.hash, home.gateway.policy)
    asked: Request = dialect("openai_chat").parse_request(body)
    return serve(home.gateway, caller, asked)


async def walk(home: House, body: bytes = BODY) -> None:
    async def write(data: bytes) -> None:
        pass

    async with asyncio.timeout(10), await begun(home, body) as call:
        await call.answer(write, write)


def alpha(home: House) -> Any:
    return home.gateway.catalogue.endpoints["acme/small"][0]


def rank(home: House) -> int:
    return home.gateway.health.rank(alpha(home).key, "alpha", home.clock())


def half_open(home: House) -> None:
    for _ in range(5):
        home.gateway.health.note(alpha(home), ILL, home.clock())
    home.clock.now_s += 31


async def test_a_wait_is_measured_from_the_call_to_the_first_token(home: House) -> None:
    async def slowly() -> None:
        home.clock.now_s += 0.5

    home.gateway.upstream = Provider(slowly)
    for _ in range(10):
        await walk(home)
    whole, streamed = home.gateway.health._concurrency._limits[alpha(home).key]
    assert (whole._base_now_s, whole.waiting, streamed.waiting) == (0.5, 0, 0)
    latency = home.gateway.health.latency(alpha(home).key, home.clock())
    assert latency is None, "a whole answer has no first token"


async def test_a_probe_that_answers_closes_the_ejection(home: House) -> None:
    async def looking() -> None:
        assert rank(home) == EJECTED  # to all others
        home.clock.now_s += 0.1

    half_open(home)
    home.gateway.upstream = Provider(looking)
    assert rank(home) == STABLE
    await walk(home)
    assert rank(home) == STABLE
    assert not home.gateway.health.troubled(home.clock())


async def test_a_probe_whose_caller_leaves_gives_its_place_back(home: House) -> None:
    sent, never = asyncio.Event(), asyncio.Event()

    async def silent() -> None:
        sent.set()
        await never.wait()

    half_open(home)
    home.gateway.upstream = Provider(silent)
    task = asyncio.create_task(walk(home))
    await sent.wait()
    assert rank(home) == EJECTED
    assert home.gateway.health.waiting(alpha(home).key) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rank(home) == STABLE
    assert home.gateway.health.troubled(home.clock())  # half-open as before
    assert home.gateway.health.waiting(alpha(home).key) == 0


async def test_a_request_has_the_probe_once_it_is_held_and_not_before(home: House) -> None:
    half_open(home)
    call = await begun(home)
    assert rank(home) == STABLE, "who is refused, or answered from the cache, probes nothing"
    async with call:
        assert rank(home) == EJECTED, "to all others"
        home.clock.now_s += 5
        assert rank(home) == STABLE, "it never came to its call"


async def test_who_loses_a_race_was_silent_and_not_well(home: House) -> None:
    async def at_once() -> None:
        pass

    reach = dict(home.gateway.reach)
    for name in ("alpha", "beta"):
        reach[name] = Reach(f"https://{name}.example", ())
    home.gateway.reach = reach
    home.gateway.index = Index(home.gateway.catalogue, lambda provider: True)
    home.gateway.upstream = Provider(at_once, lame="alpha")
    raced = BODY.replace(b'"allow_fallbacks":false', b'"hedge":{"after":0.01,"max_cost":1}')
    await walk(home, raced)
    health, now_s = home.gateway.health, home.clock()
    assert health.success(alpha(home).key, now_s) is None
    assert health.latency(alpha(home).key, now_s) is not None
    assert health.success("acme/small@beta", now_s) == 1.0
    assert health.waiting(alpha(home).key) == 0


async def test_failing_over_to_a_busy_endpoint_needs_no_budget(home: House) -> None:
    beta = home.gateway.catalogue.endpoints["acme/small"][1]
    for _ in range(int(LIMIT_START)):
        home.gateway.health.began(beta, home.clock(), streamed=False)
    attempt: Any = SimpleNamespace(endpoint=beta, provider=SimpleNamespace(id="beta"))
    assert beta.provider == "beta"
    assert home.gateway.health.rank(beta.key, "beta", home.clock()) == RESTING
    assert all(home.gateway.may_retry(attempt, 10.0) for _ in range(2 * FLOOR))
    home.gateway.health.note(beta, Outcome.failed(Fault(429, "x", "x"), 0.1), home.clock())
    assert not home.gateway.may_retry(attempt, 10.0), "short of capacity by its own word"
