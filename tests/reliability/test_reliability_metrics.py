"""What is counted is what was booked: `/metrics` against the database of the same server, after
calls that ended in every way.
"""

from __future__ import annotations

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families
from reliability_support import (
    Books,
    Exchange,
    ask,
    eventually,
    provider,
    tollway,
    until_idle,
    whole,
)

from support.server import Server
from support.upstream import (
    Break,
    Reply,
    ScriptedProvider,
    Seen,
    chat_events,
    chat_reply,
    error_reply,
)

TEXT = "alpha beta gamma delta"
BODY_LIMIT = 1_000_000


def script(seen: Seen) -> Reply:
    """The caller's text says what becomes of its answer."""
    how = seen.json["messages"][0]["content"]
    events = chat_events(TEXT)
    if how.startswith("refuse "):
        return error_reply(int(how.split()[1]))
    if how == "leave me":
        return Reply(steps=[*events[:3], Break.STALL])
    if how == "break":
        return Reply(steps=[*events[:3], Break.RESET])
    return Reply(steps=events) if seen.json.get("stream") else chat_reply(TEXT)


def counted(server: Server, name: str, label: str) -> Counter[str]:
    """The counter's values added up by one of its labels."""
    status, text, _ = server.ask("GET", "/metrics", key=None)
    assert status == 200
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels[label]] += int(sample.value)
    return found


async def test_the_counters_say_what_the_books_say_however_a_call_ended() -> None:
    async with ScriptedProvider(script) as upstream:
        files = {"one": provider("one", upstream.base_url)}
        with Server(providers=files, env={"TOLLWAY_FIRST_CREDIT_USD": "100"}) as server:
            books = Books(server.home)
            for stream in (False, True):
                assert (await whole(server, ask(stream=stream))).status == 200
            leaving = await Exchange.open(server, ask("leave me", stream=True))
            await leaving.begin()
            await leaving.until(b"alpha")
            leaving.close()
            assert (await whole(server, ask("break", stream=True))).errors
            for status in (429, 503):
                assert (await whole(server, ask(f"refuse {status}"))).status == status
            await until_idle(server, books)

            charged = books.charged_nano
            assert dict(books.rows("SELECT status, count(*) FROM generation GROUP BY 1")) == {
                "completed": 2,
                "cancelled": 1,
                "failed": 3,
            }
            assert books.one("SELECT charge_nano FROM generation WHERE status = 'cancelled'") > 0
            name = "tollway_charge_nano_usd_total"
            await eventually(lambda: counted(server, name, "model") == {"acme/one": charged})
            assert counted(server, name, "provider") == {"one": charged}
            tokens = counted(server, "tollway_tokens_total", "kind")
            prompt = books.one("SELECT sum(prompt_tokens) FROM generation WHERE charge_nano > 0")
            output = books.one(
                "SELECT sum(completion_tokens) FROM generation WHERE charge_nano > 0"
            )
            assert (tokens["prompt"], tokens["completion"]) == (prompt, output)
            seen = counted(server, "tollway_requests_total", "status")
            assert seen == {"200": 2, "499": 1, "502": 1, "429": 1, "503": 1}
            books.close()


async def test_a_refusal_before_a_call_is_counted_by_its_status() -> None:
    limits = {"TOLLWAY_FIRST_CREDIT_USD": "0.001", "TOLLWAY_BODY_LIMIT_BYTES": str(BODY_LIMIT)}
    async with ScriptedProvider(script) as upstream:
        files = {"one": provider("one", upstream.base_url)}
        with Server(providers=files, env=limits) as server:
            management = await tollway(
                server, "keys", "create", "--management", "--name", "m", "--plain"
            )
            await eventually(lambda: server.ask("GET", "/keys", key=management)[0] == 200)
            refusals = (
                (400, b"{", {}),
                (400, ask(model="acme/unknown"), {}),
                (401, ask(), {"key": "tlw_nonsense"}),
                (402, ask("x" * 10_000), {}),
                (403, ask(), {"key": management}),
                (404, ask(provider={"only": ["tollway"]}), {}),
                (413, b" " * (BODY_LIMIT + 1), {}),
            )
            for status, body, more in refusals:
                answer = await whole(server, body, **more)
                assert answer.status == status, answer.body
            assert upstream.seen == []
            seen = counted(server, "tollway_requests_total", "status")
            assert seen == Counter(str(status) for status, _, _ in refusals)
            models = counted(server, "tollway_requests_total", "model")
            assert models == {"other": 5, "acme/one": 2}
