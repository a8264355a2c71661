"""What was measured, in words: the table against the bars, the details, and bench/RESULTS.md.

Figures are medians over the rounds, with the lowest and the highest beside them when there was
more than one. An added latency is gateway minus direct within one round. Measures nothing.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from .figures import FIGURES, OPEN_STREAMS, Values
from .parts import ROOT, BenchError

Round = dict[str, dict[str, Values]]
"""Figure name to side (`direct`, `gateway`) to values. `start` has a gateway side only."""

RESULTS = ROOT / "bench" / "RESULTS.md"
RESULTS_HEAD = """# Results

Written by `scripts/bench --write`, newest first. One gateway process on one CPU, the mock upstream
and the load on another, everything on loopback; what the figures mean: [README](README.md).
"""


BARE_US = 27
"""CPU of a bare ASGI answer (`bare.py`) on the machine on which the bars were set."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise about cost: how to read it from a round, and what it must reach."""

    label: str
    read: Callable[[Round], float | None]
    first: float
    goal: float
    digits: int = 0
    at_least: bool = False
    is_work: bool = False
    """Grows with the machine's slowness, as the yardstick does."""

    def verdict(self, value: float) -> str:
        for name, bound in (("goal", self.goal), ("first bar", self.first)):
            if value >= bound if self.at_least else value <= bound:
                return name
        return "**missed**"


def cost(figure: str, metric: str) -> Callable[[Round], float | None]:
    """Read one metric of the gateway."""
    return lambda seen: seen.get(figure, {}).get("gateway", {}).get(metric)


def added_ms(figure: str, metric: str) -> Callable[[Round], float | None]:
    """Read gateway minus direct of a latency, in milliseconds."""

    def read(seen: Round) -> float | None:
        through = seen.get(figure, {}).get("gateway", {}).get(metric)
        direct = seen.get(figure, {}).get("direct", {}).get(metric)
        return None if through is None or direct is None else (through - direct) / 1000

    return read


def added_without_commit_ms(seen: Round) -> float | None:
    """c1's added median less the median commit: one commit is awaited before the provider."""
    added, commit = added_ms("c1", "p50_us")(seen), cost("c1", "commit_p50_us")(seen)
    return None if added is None or commit is None else added - commit / 1000


BARS = (
    Bar("CPU µs a small request (`c32`)", cost("c32", "cpu_request_us"), 250, 90, is_work=True),
    *(
        Bar(
            f"CPU µs a {chunk} (`{name}`)", cost(name, "cpu_chunk_us"), first, goal, 1, is_work=True
        )
        for chunk, name, first, goal in (
            ("paced chunk, same dialect", "s64", 70, 45),
            ("paced chunk, translated", "s64t", 100, 60),
            ("chunk in a burst", "burst64", 20, 7),
        )
    ),
    Bar("requests/s, one worker (`c32`)", cost("c32", "requests_s"), 3000, 9500, at_least=True),
    Bar("added latency p50, ms (`c1mem`)", added_ms("c1mem", "p50_us"), 0.8, 0.25, 2),
    Bar("added latency p99, ms (`c1mem`)", added_ms("c1mem", "p99_us"), 3, 0.5, 2),
    Bar("the same p50 on disk, less one commit, ms (`c1`)", added_without_commit_ms, 0.8, 0.25, 2),
    Bar("TTFT added p50, 64 streams, ms (`s64mem`)", added_ms("s64mem", "ttft_p50_us"), 2, 0.7, 2),
    Bar("memory idle, MB", cost("start", "idle_mb"), 120, 80),
    Bar("memory, 1,000 open streams, MB", cost("open1000", "peak_mb"), 200, 140),
    Bar(
        "of 1,000 open streams answered whole",
        cost("open1000", "ok"),
        OPEN_STREAMS,
        OPEN_STREAMS,
        at_least=True,
    ),
    Bar("cold start to the first reply, s", cost("start", "start_s"), 1.5, 0.5, 2),
)

COLUMNS: tuple[tuple[str, Callable[[str], Callable[[Round], float | None]], int], ...] = (
    ("requests/s", lambda name: cost(name, "requests_s"), 0),
    ("chunks/s", lambda name: cost(name, "chunks_s"), 0),
    ("CPU µs/request", lambda name: cost(name, "cpu_request_us"), 0),
    ("CPU µs/chunk", lambda name: cost(name, "cpu_chunk_us"), 1),
    ("added p50 ms", lambda name: added_ms(name, "p50_us"), 2),
    ("added p99 ms", lambda name: added_ms(name, "p99_us"), 2),
    ("TTFT added p50 ms", lambda name: added_ms(name, "ttft_p50_us"), 2),
    ("TTFT added p99 ms", lambda name: added_ms(name, "ttft_p99_us"), 2),
    ("commit p50 ms", lambda name: _thousandth(cost(name, "commit_p50_us")), 2),
    ("commits/request", lambda name: cost(name, "commits_per_request"), 2),
    ("answered", lambda name: cost(name, "ok"), 0),
    ("bad", lambda name: cost(name, "bad"), 0),
)


def report(rounds: Sequence[Round], about: dict[str, str]) -> str:
    """The whole section as markdown; `about` is `machine()`."""
    lines = [f"## {about['date']}, {about['commit']}", ""]
    lines += [
        f"- {name}: {value}" for name, value in about.items() if name not in ("date", "commit")
    ]
    if any("gateway" in sides for seen in rounds for sides in seen.values()):
        lines += ["", *_bars(rounds), "", *_details(rounds)]
    lines += ["", *_direct(rounds), ""]
    return "\n".join(lines)


def write(section: str) -> None:
    """Put a section on top of the results; what was there stays below."""
    older = RESULTS.read_text() if RESULTS.exists() else ""
    below = older[older.find("\n## ") + 1 :] if "\n## " in older else ""
    RESULTS.write_text(f"{RESULTS_HEAD}\n{section}\n{below}".rstrip() + "\n")


def machine(python: str, cpus: tuple[int, int]) -> dict[str, str]:
    """Where and with what the figures were made: name to value, in the order of the report."""
    shared = " (ONE CPU for both: latencies mean little)" if cpus[0] == cpus[1] else ""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "machine": f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}",
        "pinning": f"gateway on CPU {cpus[0]}, mock and load on CPU {cpus[1]}{shared}",
        "other load": f"{os.getloadavg()[0]:.2f} (one-minute average before the first round)",
        "interpreter": _interpreter(python),
    }


def filesystem(folder: Path) -> str:
    """What kind of filesystem a folder lies on: an fsync on tmpfs costs nothing."""
    mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    above = [(mount[1], mount[2]) for mount in mounts if folder.is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


def _bars(rounds: Sequence[Round]) -> list[str]:
    bare = cost("bare", "cpu_request_us")
    lines = [
        f"Yardstick: a bare ASGI answer under uvicorn costs {_shown(rounds, bare, 0)} µs of CPU here, and {BARE_US} where "
        "the bars were set; the column *scaled* is what was measured, times the one over the other.",
        "",
        "| figure | first bar | goal | measured | reaches | scaled |",
        "|---|---:|---:|---:|---|---:|",
    ]

    def scaled(bar: Bar, seen: Round) -> float | None:
        measured, yardstick = bar.read(seen), bare(seen)
        if not bar.is_work or measured is None or not yardstick:
            return None
        return measured * BARE_US / yardstick

    for bar in BARS:
        sign = "≥" if bar.at_least else "≤"
        value = _median(rounds, bar.read)
        verdict = "–" if value is None else bar.verdict(value)
        lines.append(
            f"| {bar.label} | {sign} {bar.first:,g} | {sign} {bar.goal:,g} "
            f"| {_shown(rounds, bar.read, bar.digits)} | {verdict} "
            f"| {_number(_median(rounds, partial(scaled, bar)), bar.digits)} |"
        )
    after = _shown(rounds, cost("start", "after_mb"), 0)
    return [*lines, "", f"Memory after all figures on disk: {after} MB."]


def _details(rounds: Sequence[Round]) -> list[str]:
    names = " | ".join(name for name, _, _ in COLUMNS)
    lines = [f"| through the gateway | {names} |", "|---|" + "---:|" * len(COLUMNS)]
    for figure in FIGURES:
        if any("gateway" in seen.get(figure.name, {}) for seen in rounds):
            cells = (_number(_median(rounds, of(figure.name)), n) for _, of, n in COLUMNS)
            lines.append(f"| `{figure.name}` {figure.what} | " + " | ".join(cells) + " |")
    return lines


def _direct(rounds: Sequence[Round]) -> list[str]:
    lines = [
        "| direct to the mock | requests/s | chunks/s | p50 ms | p99 ms | TTFT p50 ms | bad |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for figure in FIGURES:
        cells = []
        for metric, scale, digits in (
            ("requests_s", 1, 0),
            ("chunks_s", 1, 0),
            ("p50_us", 1000, 3),
            ("p99_us", 1000, 3),
            ("ttft_p50_us", 1000, 3),
            ("bad", 1, 0),
        ):
            values = [
                value / scale
                for seen in rounds
                if (value := seen.get(figure.name, {}).get("direct", {}).get(metric)) is not None
            ]
            cells.append(_number(statistics.median(values) if values else None, digits))
        if any(cell != "–" for cell in cells):
            lines.append(f"| `{figure.name}` | " + " | ".join(cells) + " |")
    return lines if len(lines) > 2 else []


def _median(rounds: Sequence[Round], read: Callable[[Round], float | None]) -> float | None:
    values = [value for seen in rounds if (value := read(seen)) is not None]
    return statistics.median(values) if values else None


def _shown(rounds: Sequence[Round], read: Callable[[Round], float | None], digits: int) -> str:
    values = [value for seen in rounds if (value := read(seen)) is not None]
    if not values:
        return "–"
    middle = _number(statistics.median(values), digits)
    if len(values) == 1:
        return middle
    return f"{middle} ({_number(min(values), digits)}–{_number(max(values), digits)})"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _thousandth(read: Callable[[Round], float | None]) -> Callable[[Round], float | None]:
    def scaled(seen: Round) -> float | None:
        value = read(seen)
        return None if value is None else value / 1000

    return scaled


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return ""
        return done.stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--", "src") else ""
    return (git("rev-parse", "--short", "HEAD") or "no commit") + changed


_ASK = """
import json, platform, sysconfig, time
configured = sysconfig.get_config_var("CONFIG_ARGS") or ""
def loop(table={}):
    begun = time.perf_counter()
    for i in range(200_000):
        table[i & 255] = table.get(i & 255, 0) + 1
    return (time.perf_counter() - begun) / 200_000 * 1e9
print(json.dumps({
    "name": platform.python_implementation() + " " + platform.python_version(),
    "compiler": platform.python_compiler(),
    "pgo": "--enable-optimizations" in configured,
    "lto": "--with-lto" in configured,
    "distribution": sysconfig.get_config_var("prefix") == "/usr",
    "loop_ns": min(loop() for _ in range(7)),
}))
"""


def _interpreter(python: str) -> str:
    """Version, how it was built, and how fast it is: a build without PGO costs 20–35 % more."""
    done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{python} does not run: {done.stderr[-500:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    if told["pgo"] or told["lto"]:
        how = " and ".join(name for name in ("pgo", "lto") if told[name]).upper()
    elif told["distribution"]:
        # Distributions pass these to make, not to configure: Debian's own has both.
        how = "the distribution's own build"
    else:
        how = "neither PGO nor LTO"
    return f"{told['name']}, {how}, {told['compiler']}; a dict loop costs {told['loop_ns']:.0f} ns"
