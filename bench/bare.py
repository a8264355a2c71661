"""The yardstick: the smallest answer that uvicorn can give, as an ASGI application.

Run by `measured`, with the gateway's loop and parser. What it costs says how fast
machine and interpreter are, so that figures from two machines can be laid side by side.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from .parts import BUILD, ROOT, BenchError, cpu_s, free_port, spawn, stop

BODY = b'{"ok":true}'


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    await receive()
    headers = [(b"content-length", b"%d" % len(BODY)), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def measured(python: str, cpus: tuple[int, int], seconds: float) -> float:
    """CPU µs an answer over 32 connections."""
    port = free_port()
    command = [python, "-m", "uvicorn", "bench.bare:app", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    server = spawn([*command, "--log-level", "error"], cpus[0], cwd=ROOT)
    try:
        with tempfile.NamedTemporaryFile(prefix="tollway-bench-") as body:
            Path(body.name).write_bytes(b"{}")
            load = [str(BUILD / "lg"), "-p", str(port), "-u", "/", "-b", body.name, "-m", "0"]
            _until_it_answers(load, server)
            before = cpu_s(server.pid)
            run = [*load, "-c", "32", "-d", str(seconds)]
            answered = _answered(run, cpus[1])
            return (cpu_s(server.pid) - before) * 1e6 / answered
    finally:
        stop(server)


def _until_it_answers(load: list[str], server: subprocess.Popen[str]) -> None:
    for _ in range(100):
        if server.poll() is not None:
            break
        if _answered([*load, "-c", "1", "-d", "0.05"], None):
            return
        time.sleep(0.05)
    raise BenchError("the bare server did not start; see above")


def _answered(load: list[str], cpu: int | None) -> int:
    """How many answers came, whatever was in them."""
    process = (
        subprocess.Popen(load, text=True, stdout=subprocess.PIPE)
        if cpu is None
        else spawn(load, cpu, stdout=subprocess.PIPE)
    )
    text = process.communicate()[0]
    if not text.startswith("{"):
        return 0
    seen = json.loads(text)
    return int(seen["ok"]) + int(seen["bad"]) - int(seen["conn_err"])
