"""Run the bench: build, start, measure in interleaved rounds, report. `scripts/bench --help`.

Every round takes each figure directly and then through the gateway, so that a noisy minute touches
both sides of one round and not one figure in all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import bare, report
from .figures import FIGURES, Figure, brief, measure, measure_direct
from .parts import BenchError, Gateway, Mock, build, cpus, rss_bytes

SHM = Path("/dev/shm")
DISK = Path(os.environ.get("TMPDIR", "/var/tmp"))
"""/tmp lies in memory on many machines, where an fsync costs nothing."""
IDLE_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    figures: tuple[Figure, ...]
    rounds: int
    seconds: float
    smoke: bool
    direct_only: bool
    all_in_memory: bool
    python: str
    start: bool
    """Measure start and idle memory even if no figure needs a gateway on disk."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0: every answer came and the books balance; 1: not so; 2: the bench could not run."""
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell may have had them ignored
        signal.signal(ending, signal.default_int_handler)
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        options = _options(parser, given)
        if sys.platform != "linux":
            raise BenchError("The bench reads /proc and pins CPUs: it runs on Linux only")
        build()
        about = report.machine(options.python, cpus())
        home = SHM if options.all_in_memory else DISK
        about["home"] = f"{report.filesystem(home)}; figures named …mem: {report.filesystem(SHM)}"
        about["load"] = f"rounds: {options.rounds}, seconds a figure: {options.seconds:g}"
        with Mock(cpus()[1]) as mock:
            rounds, faults = _rounds(options, mock)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    section = report.report(rounds, about)
    print(section)
    if given.json:
        given.json.write_text(json.dumps({"about": about, "rounds": rounds}, indent=1))
    if given.write:
        report.write(section)
    for fault in faults:
        print(f"bench: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _rounds(options: Options, mock: Mock) -> tuple[list[report.Round], list[str]]:
    """All rounds, and what went wrong in them (missing answers, unbalanced books)."""
    rounds: list[report.Round] = []
    faults: list[str] = []
    for number in range(1, options.rounds + 1):
        seen: report.Round = {}
        rounds.append(seen)
        _say(f"round {number}/{options.rounds} yardstick")
        bare_us = bare.measured(options.python, cpus(), min(options.seconds, 3.0))
        seen["bare"] = {"gateway": {"cpu_request_us": bare_us}}
        for in_memory in (False, True):
            home_in_memory = in_memory or options.all_in_memory
            figures = [each for each in options.figures if each.home_in_memory == in_memory]
            if home_in_memory and not SHM.is_dir():
                _say("no /dev/shm here: figures with the home on tmpfs are left out")
            elif options.direct_only:
                for figure in figures:
                    _say(f"round {number}/{options.rounds} {figure.name} direct")
                    _direct(figure, options, mock, seen)
            elif figures or (options.start and not in_memory):
                home_on = SHM if home_in_memory else DISK
                faults += _gateway(figures, options, mock, seen, home_on, number)
        for name, sides in seen.items():
            for side, values in sides.items():
                if values.get("bad"):
                    faults.append(f"round {number}: {name} {side}: {values['bad']} bad answers")
    return rounds, faults


def _gateway(
    figures: Sequence[Figure],
    options: Options,
    mock: Mock,
    seen: report.Round,
    home_on: Path,
    number: int,
) -> list[str]:
    """One gateway's life: start, idle, every figure beside its direct call, audit."""
    where = f"round {number}/{options.rounds}"
    _say(f"{where} start, home on {home_on}")
    with Gateway(options.python, mock.port, cpus()[0], home_on=home_on) as gateway:
        time.sleep(IDLE_AFTER_S)
        idle_mb = rss_bytes(gateway.pid) / 1e6
        for figure in figures:
            _say(f"{where} {figure.name}")
            _direct(figure, options, mock, seen)
            chosen = brief(figure) if options.smoke else figure
            values = measure(chosen, gateway, cpus()[1], options.seconds)
            seen[figure.name]["gateway"] = values
        after_mb = rss_bytes(gateway.pid) / 1e6
        seen.setdefault("start", {}).setdefault(
            "gateway", {"start_s": gateway.start_s, "idle_mb": idle_mb, "after_mb": after_mb}
        )
        wrong = gateway.audit()
    return [f"round {number}: {wrong}"] if wrong else []


def _direct(figure: Figure, options: Options, mock: Mock, seen: report.Round) -> None:
    seconds = min(options.seconds, 3.0)  # the mock alone is steady
    values = measure_direct(brief(figure), mock.port, cpus()[1], seconds)
    seen.setdefault(figure.name, {})["direct"] = values


def _options(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Options:
    known = {figure.name: figure for figure in FIGURES}
    wanted = given.only.split(",") if given.only else [*known, "start"]
    for name in wanted:
        if name not in known and name != "start":
            parser.error(f"no figure {name!r}; there are: start, {', '.join(known)}")
    if given.rounds < 1 or not 0.2 <= given.seconds <= 60:
        parser.error("--rounds must be 1 or more, --seconds between 0.2 and 60")
    return Options(
        figures=tuple(figure for name, figure in known.items() if name in wanted),
        rounds=1 if given.smoke else given.rounds,
        seconds=1.0 if given.smoke else given.seconds,
        smoke=given.smoke,
        direct_only=given.direct,
        all_in_memory=given.tmpfs,
        python=given.python,
        start="start" in wanted,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="medians are over these (3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load a figure (5)")
    parser.add_argument("--only", metavar="A,B", help="figures, by name; `start` is one")
    parser.add_argument("--smoke", action="store_true", help="one round of one second each")
    parser.add_argument("--direct", action="store_true", help="the mock alone, no gateway")
    parser.add_argument("--tmpfs", action="store_true", help="every home in memory: no fsync")
    parser.add_argument("--json", type=Path, metavar="FILE", help="raw values of every round")
    parser.add_argument("--write", action="store_true", help="put the table into bench/RESULTS.md")
    parser.add_argument(
        "--python",
        default=os.environ.get("TOLLWAY_BENCH_PYTHON", sys.executable),
        help="the gateway's interpreter, with Tollway's dependencies (TOLLWAY_BENCH_PYTHON)",
    )
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
