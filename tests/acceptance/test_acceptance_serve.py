"""A server's life: the first reply after a cold start, without a network, stopping in the middle of
answers, starting again with everything it knew."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from acceptance_support import events, nano

from support.server import ROOT, Server

SLOW = "[[tokens=2000 rate=40]]"
"""Fifty seconds of answer."""
SHORT = "[[tokens=30 rate=25]]"
"""A little more than one."""

CLEAN = (0, -signal.SIGTERM, 128 + signal.SIGINT)
"""Exit codes: a parent may be told which signal ended its child."""


class Stream(threading.Thread):
    """One streamed answer, read in a thread; `text` is what has come."""

    def __init__(self, server: Server, prompt: str, *, stream: bool = True) -> None:
        super().__init__(daemon=True)
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        body = {
            "model": "tollway/lorem",
            "messages": [{"role": "user", "content": prompt}],
            "stream": stream,
            "provider": {"only": ["tollway"]},
        }
        headers = {"Authorization": f"Bearer {server.key}"}
        self._connection.request("POST", "/api/v1/chat/completions", json.dumps(body), headers)
        self.text = ""
        self.status = 0
        self.id = ""
        self.ended_s = 0.0
        self.cut = False
        self.start()

    def run(self) -> None:
        try:
            answer = self._connection.getresponse()
            self.status, self.id = answer.status, answer.getheader("x-generation-id") or ""
            while piece := answer.read1(65_536):
                self.text += piece.decode()
        except (http.client.HTTPException, OSError):
            self.cut = True
        self.ended_s = time.monotonic()

    def wait_for(self, count: int) -> None:
        """Until that many events have come."""
        until = time.monotonic() + 10
        while self.text.count("data: ") < count and time.monotonic() < until and self.is_alive():
            time.sleep(0.01)
        assert self.text.count("data: ") >= count, self.text

    @property
    def events(self) -> list[Any]:
        return events(self.text)


def stop(server: Server, how: int) -> tuple[int | None, float]:
    """(exit code, seconds it took)"""
    began = time.monotonic()
    code = server.stop(how)
    return code, time.monotonic() - began


def test_a_cold_start_to_the_first_reply_without_any_provider_key() -> None:
    server = Server()
    began = time.perf_counter()
    with server:
        assert server.chat("tollway/echo")[0] == 200
        first_s = time.perf_counter() - began
        print(
            f"cold start: ready after {server.started_s:.2f} s, first reply after {first_s:.2f} s"
        )
        server.stop()
        began = time.perf_counter()
        server.start()
        assert server.chat("tollway/echo")[0] == 200
        print(f"second start: first reply after {time.perf_counter() - began:.2f} s")
    assert first_s < 5


ALONE = """
import fcntl, socket, struct, sys
sys.path[:0] = [{tests!r}]
with socket.socket() as any_socket:  # lo is down in a new network namespace
    try:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 0x49))
    except OSError:
        pass
from support.server import Server
with Server() as server:
    status, body, _ = server.chat("tollway/echo", "Anybody out there")
    print(status, body["choices"][0]["message"]["content"])
    models = server.ask("GET", "/models/user")[1]["data"]
    print(sorted(model["id"] for model in models)[:1])
    outside = server.chat("openai/gpt-4o-mini")
    print(outside[0], outside[1]["error"]["availability"]["code"])
    server.assert_books()
    print("no network" if {isolated} else "network", round(server.started_s, 2))
"""


def may_unshare() -> bool:
    tried = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return tried.returncode == 0


def test_without_a_network_the_sandbox_still_answers() -> None:
    """In a network namespace of its own where that is permitted; otherwise without credentials or
    proxies, which the sandbox needs as little."""
    try:
        isolated = may_unshare()
    except FileNotFoundError:
        isolated = False
    text = ALONE.format(tests=str(ROOT / "tests"), isolated=isolated)
    done = subprocess.run(
        [*(["unshare", "-n"] if isolated else []), sys.executable, "-c", text],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    print(f"{lines[-1].rpartition(' ')[0]}: ready after {lines[-1].rpartition(' ')[2]} s")
    assert lines[:3] == ["200 Anybody out there", "['tollway/echo']", "404 no_endpoints"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_running_answers_get_their_time_and_then_an_error_event(
    tmp_path: Path, how: signal.Signals
) -> None:
    with Server(tmp_path, env={"TOLLWAY_SHUTDOWN_S": "3"}) as server:
        before = server.balance_nano()
        slow, short = Stream(server, SLOW), Stream(server, SHORT)
        whole = Stream(server, "[[tokens=8 rate=8]]", stream=False)
        slow.wait_for(3)
        short.wait_for(3)
        code, took_s = stop(server, how)
        for stream in (slow, short, whole):
            stream.join(5)
            assert not stream.is_alive()
        print(f"{how.name}: exit {code} after {took_s:.2f} s")
        assert code in CLEAN
        assert 2 < took_s < 6
        assert not slow.cut and not short.cut and not whole.cut

        assert short.events[-1] == "[DONE]"
        assert short.events[-2]["usage"]["completion_tokens"] == 30
        assert json.loads(whole.text)["usage"]["completion_tokens"] == 8

        assert "[DONE]" not in slow.events
        assert [("error" in e) for e in slow.events] == [False] * (len(slow.events) - 1) + [True]
        last = slow.events[-1]
        assert (last["error"]["code"], last["choices"][0]["finish_reason"]) == (503, "error")
        delivered = sum(
            len(c["delta"].get("content") or "") for e in slow.events for c in e["choices"]
        )

        server.start()
        server.assert_books()
        charges = 0
        for stream in (slow, short, whole):
            made = server.ask("GET", f"/generation?id={stream.id}")[1]["data"]
            charges += nano(made["total_cost"])
            if stream is slow:
                assert made["cancelled"] is True
                assert made["tokens_completion"] == delivered // 4
                assert made["total_cost"] > 0, "what was delivered is charged"
        assert before - server.balance_nano() == charges
        assert json.loads(server.tollway("credits", "show", "--json"))["held_usd"] == "0"


def test_while_it_stops_it_is_not_ready_and_takes_nothing_new(tmp_path: Path) -> None:
    with Server(tmp_path, env={"TOLLWAY_SHUTDOWN_S": "2"}) as server:
        slow = Stream(server, SLOW)
        slow.wait_for(3)
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        kept.request("GET", "/health/ready")
        assert kept.getresponse().read()
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.3)
        try:
            kept.request("GET", "/health/ready")
            status = kept.getresponse().status
        except (http.client.HTTPException, OSError):
            status = 0
        assert status in (0, 503), "an idle connection is closed, or told that nothing is ready"
        with pytest.raises(OSError):
            server.chat("tollway/echo")
        server.stop()
        slow.join(5)
        assert not slow.cut and "error" in slow.events[-1], slow.text[-600:]
        server.start()
        server.assert_books()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_second_signal_cuts_off_at_once_and_the_books_are_clean(
    tmp_path: Path, how: signal.Signals
) -> None:
    with Server(tmp_path) as server:
        before = server.balance_nano()
        slow = Stream(server, SLOW)
        slow.wait_for(3)
        os.kill(server.pid, how)
        time.sleep(0.3)
        assert slow.is_alive(), "the first signal lets it go on"
        _, took_s = stop(server, how)
        slow.join(5)
        print(f"second {how.name}: ended after {took_s:.2f} s")
        assert took_s < 5
        assert "Traceback" not in server.log(), server.log()
        server.start()
        server.assert_books()
        assert json.loads(server.tollway("credits", "show", "--json"))["held_usd"] == "0"
        made = server.ask("GET", f"/generation?id={slow.id}")[1]["data"]
        assert before - server.balance_nano() == nano(made["total_cost"])


def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        limited = server.tollway(
            "keys", "create", "--name", "limited", "--limit", "1", "--reset", "weekly", "--plain"
        )
        ids = [server.chat("tollway/echo", f"Hello {n}", user="u")[1]["id"] for n in range(10)]
        body = {"model": "tollway/reasoner", "messages": [{"role": "user", "content": "Hm"}]}
        ids.append(server.ask("POST", "/chat/completions", body, key=limited)[1]["id"])

        def known() -> list[Any]:
            asked = [f"/generation?id={id}" for id in ids] + ["/credits"]
            found = [server.ask("GET", path) for path in asked]
            assert [status for status, _, _ in found] == [200] * len(found)
            keys = [server.ask("GET", "/key", key=key)[1] for key in (server.key, limited)]
            return [answer for _, answer, _ in found] + keys

        before, balance = known(), server.balance_nano()
        assert server.stop() in CLEAN
        server.start()
        assert known() == before
        server.kill()
        server.start()
        assert (known(), server.balance_nano()) == (before, balance)
        server.assert_books()
