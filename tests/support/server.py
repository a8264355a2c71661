"""A real `tollway serve` in a process of its own, for tests that must not know its insides."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
KEY = re.compile(r"tlw_[0-9A-Za-z]{49}")
READY_WITHIN_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(home: Path, **more: str) -> dict[str, str]:
    """A clean one: no credential of the machine reaches the server under test."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return {**keep, "HOME": str(home), "PYTHONPATH": str(ROOT / "src"), **more}


class Server:
    """Started on entering, stopped (SIGTERM) on leaving. `providers` maps a file name to TOML."""

    def __init__(
        self,
        home: Path | None = None,
        *,
        providers: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="tollway-") if home is None else None
        self.home = home or Path(self._own.name if self._own else "")
        self.port = free_port()
        self.env = environment(self.home, **(env or {}))
        self.key = ""
        self.output = ""
        self.started_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.home / "server.log"
        (self.home / "providers").mkdir(parents=True, exist_ok=True)
        for name, text in (providers or {}).items():
            (self.home / "providers" / f"{name}.toml").write_text(text, encoding="utf-8")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stop()
        if self._own is not None:
            self._own.cleanup()

    def start(self) -> None:
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tollway", "serve"]
                + ["--port", str(self.port), "--home", str(self.home)],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._log.parent,
            )
        while time.perf_counter() - began < READY_WITHIN_S:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.log()}")
            try:
                if self.ask("GET", "/health/ready", key=None)[0] == 200:
                    break
            except OSError:
                time.sleep(0.01)
        else:
            raise RuntimeError(f"the server is not ready: {self.log()}")
        self.started_s = time.perf_counter() - began
        if not self.key:
            found = KEY.search(self.log())
            self.key = (
                found.group()
                if found
                else self.tollway("keys", "create", "--name", "test", "--plain")
            )

    def stop(self, how: int = signal.SIGTERM, within_s: float = 40.0) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill(self) -> None:
        """kill -9: nothing of the process's own runs any more."""
        self.stop(signal.SIGKILL)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def tollway(self, *arguments: str, check: bool = True) -> str:
        """The command line against this home; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "tollway", *arguments, "--home", str(self.home)],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"tollway {arguments}: {done.returncode} {done.stdout}{done.stderr}"
            )
        return done.stdout.strip()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, dict[str, str]]:
        """One request: (status, JSON or text, lower-cased headers). `path` is under /api/v1 unless
        it starts with /health or a full /api path. `key` None sends none, "" the server's own."""
        full = (
            path if path.startswith(("/health", "/metrics", "/api/", "/v1")) else f"/api/v1{path}"
        )
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key or self.key}")
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, full, data, sent)
            answer = connection.getresponse()
            raw = answer.read()
            found = {k.lower(): v for k, v in answer.getheaders()}
            is_json = found.get("content-type", "").startswith("application/json")
            return answer.status, json.loads(raw) if is_json and raw else raw.decode(), found
        finally:
            connection.close()

    def chat(self, model: str, text: str = "Hello", **more: Any) -> tuple[int, Any, dict[str, str]]:
        messages = [{"role": "user", "content": text}]
        return self.ask("POST", "/chat/completions", {"model": model, "messages": messages, **more})

    def balance_nano(self) -> int:
        """What the wallet holds, after everything queued is on the disk."""
        from decimal import Decimal

        row = json.loads(self.tollway("credits", "show", "--json"))
        return int(Decimal(row["balance_usd"]) * 10**9)

    def assert_books(self) -> None:
        """Every invariant of the ledger holds."""
        self.tollway("ledger", "audit")
