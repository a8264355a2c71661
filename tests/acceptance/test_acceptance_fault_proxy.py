"""`tollway dev fault-proxy` as a process, between a real server and a provider: docs/fault-proxy.md
as it is told there."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.server import ROOT, Server, environment
from support.upstream import Reply, ScriptedProvider, Seen, chat_events, chat_reply

PAGE = (ROOT / "docs" / "fault-proxy.md").read_text("utf-8")
TEXT = "one two three four five"


class Proxy:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.url = self.next()["url"]

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it said nothing"
        self.events.append(json.loads(line))
        return self.events[-1]

    def put(self, *faults: str) -> Any:
        body = json.dumps({"faults": faults}).encode()
        request = urllib.request.Request(f"{self.url}/__faults", body, method="PUT")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)


@contextmanager
def running(home: Path, upstream: str, *faults: str) -> Iterator[Proxy]:
    command = [sys.executable, "-m", "tollway", "dev", "fault-proxy", "--json"]
    command += ["--listen", "127.0.0.1:0", "--upstream", upstream]
    command += [word for fault in faults for word in ("--fault", fault)]
    process = subprocess.Popen(
        command, env=environment(home), stdout=subprocess.PIPE, text=True, cwd=home
    )
    try:
        yield Proxy(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def script(seen: Seen) -> Reply:
    if not seen.json.get("stream"):
        return chat_reply(TEXT)
    first, *rest = chat_events(TEXT)
    return Reply(steps=[first, *(step for piece in rest for step in (0.01, piece))])


def provider_files(proxy: str, direct: str) -> dict[str, str]:
    """The two files of the page, with the ports of this test."""
    files = re.findall(r"```toml\n# \S+/(\w+)\.toml\n(.*?)```", PAGE, re.S)
    assert [name for name, _ in files] == ["shaky", "steady"]
    return {
        name: text.replace("http://127.0.0.1:9200", proxy).replace("http://127.0.0.1:9100", direct)
        for name, text in files
    }


async def test_the_worked_example_of_the_page_works(tmp_path: Path) -> None:
    async with ScriptedProvider(script) as provider:
        direct = f"http://127.0.0.1:{provider.port}"
        await asyncio.to_thread(_example, tmp_path, direct)
        assert {seen.path for seen in provider.seen} == {"/v1/chat/completions"}


def _example(home: Path, direct: str) -> None:
    with (
        running(home, direct, "drop@head=20") as proxy,
        Server(providers=provider_files(proxy.url, direct)) as server,
    ):
        assert proxy.events[0]["upstream"] == direct
        asked = {"provider": {"order": ["shaky", "steady"]}}

        status, answer, _ = server.chat("acme/one", **asked)
        assert (status, answer["provider"]) == (200, "Steady")
        told = proxy.next()
        assert (told["event"], told["text"], told["path"]) == (
            "fault",
            "drop@head=20",
            "/v1/chat/completions",
        )

        state = proxy.put("drop@event=3")
        assert state["faults"] == [{"fault": "drop@event=3", "seen": 0, "injected": 0}]
        before = server.balance_nano()
        status, streamed, _ = server.chat("acme/one", stream=True, **asked)
        assert status == 200
        chunks = [json.loads(d) for d in re.findall(r"^data: (\{.*)$", streamed, re.M)]
        words = [c["delta"].get("content") for chunk in chunks for c in chunk["choices"]]
        assert "".join(word or "" for word in words) == "one two "
        assert sum("error" in chunk for chunk in chunks) == 1
        assert "[DONE]" not in streamed
        assert server.balance_nano() == before

        proxy.put()
        status, answer, _ = server.chat("acme/one", **asked)
        assert (status, answer["provider"]) == (200, "Shaky")
        assert answer["choices"][0]["message"]["content"] == TEXT
        server.assert_books()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--fault", "drop", "--fault", "delay=2q"],
            "--fault 2 of 2: '2q': expected a time, as in 150ms, 2s or 1m (column 7)\n"
            "  delay=2q\n        ^",
        ),
        (["--listen", "0.0.0.0:0"], "0.0.0.0 can be reached from other machines"),
        (["--listen", "example.com:80"], "example.com can be reached from other machines"),
        (["--listen", "9200"], "'9200' is not host:port"),
        (["--upstream", "127.0.0.1:9100"], "is not http://host"),
    ],
)
def test_wrong_words_are_told_and_nothing_listens(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    command = [sys.executable, "-m", "tollway", "dev", "fault-proxy"]
    command += ["--upstream", "http://127.0.0.1:9100", "--listen", "127.0.0.1:0", *arguments]
    done = subprocess.run(
        command, env=environment(tmp_path), capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
