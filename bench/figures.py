"""The figures, as a table, and how one of them is measured.

A figure is one load: so many connections, one body, closed loop unless it says otherwise. CPU is
user and system time of every gateway process over completed requests (or chunks), the figure that
other work on the machine disturbs least. Latencies are microseconds as the load generator saw them.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .parts import BUILD, MODELS, BenchError, Gateway, cpu_s, rss_bytes, spawn

Values = dict[str, float | None]
"""One measurement: name to value. None = not measured on this side (no such process, no metric)."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the bench."""

    name: str
    what: str
    model: str
    connections: int
    path: str = "/chat/completions"
    prompt_bytes: int = 6
    stream: bool = False
    stagger: bool = False
    """Connections start out of step, spread over one second."""
    open_once: bool = False
    """Every connection makes one request; 10 are opened every 10 ms."""
    home_in_memory: bool = False
    """The gateway's home lies on tmpfs, so that a commit's fsync costs nothing."""

    @property
    def chunks(self) -> int:
        """Content chunks of one answer; the mock's JSON answer carries one mark as well."""
        return int(MODELS[self.model].split("-")[2]) if self.stream else 1


OPEN_STREAMS = 1000
FIGURES = (
    Figure(
        "open1000",
        "1,000 streams open at once, a chunk every 500 ms each",
        "bench/open",
        OPEN_STREAMS,
        stream=True,
        open_once=True,
    ),
    Figure("c1", "small JSON request, 1 connection", "bench/small", 1),
    Figure("c8", "small JSON request, 8 connections", "bench/small", 8),
    Figure("c32", "small JSON request, 32 connections", "bench/small", 32),
    Figure("c128", "small JSON request, 128 connections", "bench/small", 128),
    Figure("big32", "20 KB prompt, 32 connections", "bench/small", 32, prompt_bytes=20_000),
    Figure(
        "s64",
        "64 streams of 100 chunks, one every 10 ms, out of step",
        "bench/stream",
        64,
        stream=True,
        stagger=True,
    ),
    Figure(
        "s64t",
        "the same, translated (legacy completions over chat)",
        "bench/stream",
        64,
        path="/completions",
        stream=True,
        stagger=True,
    ),
    Figure(
        "burst64",
        "64 streams of 100 chunks written without pause",
        "bench/burst",
        64,
        stream=True,
    ),
    Figure(
        "burst64t",
        "the same, translated (legacy completions over chat)",
        "bench/burst",
        64,
        path="/completions",
        stream=True,
    ),
    Figure(
        "c1mem",
        "c1 with the home on tmpfs: no fsync to wait for",
        "bench/small",
        1,
        home_in_memory=True,
    ),
    Figure(
        "c32mem",
        "c32 with the home on tmpfs",
        "bench/small",
        32,
        home_in_memory=True,
    ),
    Figure(
        "s64mem",
        "s64 with the home on tmpfs",
        "bench/stream",
        64,
        stream=True,
        stagger=True,
        home_in_memory=True,
    ),
)
"""`open1000` stands first: its memory is that of a fresh process."""


def brief(figure: Figure) -> Figure:
    """`open1000` for a direct call or a smoke run: two seconds of chunks instead of eight."""
    if not figure.open_once:
        return figure
    return Figure(
        figure.name,
        figure.what,
        "bench/open-brief",
        figure.connections,
        stream=True,
        open_once=True,
    )


def measure_direct(figure: Figure, mock_port: int, cpu: int, seconds: float) -> Values:
    """The same load straight to the mock, in the mock's own names."""
    body = _body(figure, MODELS[figure.model], legacy=False)
    return _load(figure, mock_port, "/v1/chat/completions", body, [], cpu, seconds, watch=None)


def measure(figure: Figure, gateway: Gateway, cpu: int, seconds: float) -> Values:
    """One load through the gateway, with what it cost there."""
    body = _body(figure, figure.model, legacy=figure.path == "/completions")
    path = "/api/v1" + figure.path
    headers = [f"Authorization: Bearer {gateway.key}"]
    if not figure.open_once:  # connections, caches and branches warm; not counted
        _load(figure, gateway.port, path, body, headers, cpu, min(0.3, seconds / 4), watch=None)
    commits_before, before = gateway.commits(), cpu_s(gateway.pid)
    values = _load(figure, gateway.port, path, body, headers, cpu, seconds, watch=gateway.pid)
    time.sleep(0.1)  # what is settled after the answer is part of its cost
    spent, commits_after = cpu_s(gateway.pid) - before, gateway.commits()
    values["cpu_request_us"] = _over(spent * 1e6, values["ok"])
    values["cpu_chunk_us"] = _over(spent * 1e6, values["chunks"]) if figure.stream else None
    values["cpu_share"] = spent / (values["seconds"] or 1)
    if commits_before and commits_after:
        values["commit_p50_us"] = commits_after[1] * 1e6
        values["commits_per_request"] = _over(commits_after[0] - commits_before[0], values["ok"])
    return values


def _body(figure: Figure, model: str, *, legacy: bool) -> bytes:
    prompt = "Hello!" if figure.prompt_bytes < 100 else _prose(figure.prompt_bytes)
    request: dict[str, object] = {"model": model}
    if legacy:
        request["prompt"] = prompt
    else:
        request["messages"] = [{"role": "user", "content": prompt}]
    if figure.stream:
        request["stream"] = True
    return json.dumps(request).encode()


def _prose(size: int) -> str:
    """Text as people send it: words, line ends, quotes, and a letter outside ASCII now and then."""
    line = 'The toll was "paid" at the gate\tby the third café owner; then the road was open.\n'
    return (line * (size // len(line) + 1))[:size]


def _load(
    figure: Figure,
    port: int,
    path: str,
    body: bytes,
    headers: list[str],
    cpu: int,
    seconds: float,
    *,
    watch: int | None,
) -> Values:
    """Run the load generator once; `watch` is the process whose peak memory is taken."""
    command = [str(BUILD / "lg"), "-p", str(port), "-u", path, "-c", str(figure.connections)]
    for header in headers:
        command += ["-H", header]
    if figure.open_once:
        interval_s = int(MODELS[figure.model].split("-")[3]) / 1e6
        seconds = figure.connections / 1000 + figure.chunks * interval_s
        command += ["-o", "10"]
    if figure.stagger:
        command += ["-s", str(1_000_000 // figure.connections)]
    grace_s = 15.0
    command += ["-d", str(seconds), "-g", str(grace_s), "-m", str(figure.chunks)]
    with tempfile.NamedTemporaryFile(prefix="tollway-bench-") as file:
        Path(file.name).write_bytes(body)
        load = spawn([*command, "-b", file.name], cpu, stdout=subprocess.PIPE)
        try:
            peak = _peak_rss(load, watch, within_s=seconds + grace_s + 10)
            text = load.communicate(timeout=5)[0]
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{figure.name}: the load did not end in time") from error
        finally:
            load.kill()
            load.wait()
    if not text.startswith("{"):
        raise BenchError(f"{figure.name}: the load generator failed ({load.returncode})")
    seen = json.loads(text)
    if seen["bad"]:
        print(
            f"  {figure.name}: {seen['bad']} bad answers, first: "
            f"{seen['badtext'] or seen['badstatus']}"
        )
    return {
        "ok": seen["ok"],
        "bad": seen["bad"],
        "seconds": seen["sec"],
        "requests_s": seen["win_rps"],
        "chunks": seen["chunks"],
        "chunks_s": seen["win_chunks_s"] if figure.stream else None,
        "p50_us": seen["lat"]["p50"],
        "p99_us": seen["lat"]["p99"],
        "ttft_p50_us": seen["ttft"]["p50"] if figure.stream else None,
        "ttft_p99_us": seen["ttft"]["p99"] if figure.stream else None,
        "open_at_once": seen["peak_streaming"] if figure.open_once else None,
        "peak_mb": peak / 1e6 if peak else None,
    }


def _peak_rss(load: subprocess.Popen[str], watch: int | None, *, within_s: float) -> int:
    """Wait for the load to end; the most memory `watch` had meanwhile, sampled five times a second."""
    peak, until = 0, time.monotonic() + within_s
    while time.monotonic() < until:
        if watch is not None:
            peak = max(peak, rss_bytes(watch))
        try:
            load.wait(0.2 if watch is not None else 1.0)
        except subprocess.TimeoutExpired:
            continue
        return peak
    raise subprocess.TimeoutExpired("lg", within_s)


def _over(amount: float | None, count: float | None) -> float | None:
    return amount / count if amount is not None and count else None
