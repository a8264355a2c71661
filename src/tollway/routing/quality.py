"""Quality tiers: which endpoints do well at calling tools, as in OpenRouter's Auto Exacto.

Pure: figures in, a tier for each out. Not here: measuring (`health`, `dialects.toolcheck`), the
order within a tier (`ranking`). An endpoint is compared with the other endpoints of its model, by
throughput and by the share of answers with valid tool calls. The middle is the median and the
spread the median deviation from it, so that the bad ones do not move the bar they are held to. A
signal speaks only when four providers have enough data for it; when none speaks nothing is moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

GOOD, UNKNOWN, POOR = 0, 1, 2
"""Tiers, best first: no signal is against it, there is too little data, a signal is against it."""

PROVIDERS_MIN: Final = 4
CALLS_MIN: Final = 100
"""Calls of half an hour before throughput counts."""
TOOL_CALLS_MIN: Final = 200
"""Answers in tool calls of two hours before their validity counts."""
SPEED_SIGMAS: Final = 1.5
TOOLS_SIGMAS: Final = 2.0
BENCHMARK_SIGMAS: Final = 2.0
MAD_TO_SIGMA: Final = 1.4826
"""Of a normal distribution."""
SPEED_SIGMA_MIN: Final = 0.1
"""Of the median. Providers alike to the percent would otherwise be sorted by noise."""
TOOLS_SIGMA_MIN: Final = 0.01
"""A share of 200 answers is not known better than to a point."""
QUESTIONS_MIN: Final = {"gpqa_diamond": 50, "tau2_airline": 45}
"""Questions a benchmark run must have had to count."""


class Benchmark(msgspec.Struct, frozen=True):
    """An endpoint's rolling score and what it was at first. Facts, where somebody measured them."""

    name: str
    score: float
    baseline_median: float
    baseline_sigma: float
    questions: int


class Measured(msgspec.Struct, frozen=True):
    """What is known of one endpoint of a model."""

    provider: str
    throughput: float | None = None
    """Median output tokens per second of half an hour."""
    calls: int = 0
    """Of half an hour."""
    tools_valid: float | None = None
    """Share (0…1) of answers in tool calls, over two hours, in which every call was valid."""
    tool_answers: int = 0
    benchmarks: tuple[Benchmark, ...] = ()


def tiers(measured: Sequence[Measured]) -> list[int] | None:
    """GOOD, UNKNOWN or POOR for each; None when they cannot be told apart."""
    if len(measured) < PROVIDERS_MIN:
        return None
    speeds = [m.throughput if m.calls >= CALLS_MIN else None for m in measured]
    shares = [m.tools_valid if m.tool_answers >= TOOL_CALLS_MIN else None for m in measured]
    signals = [
        (speeds, _bar(measured, speeds, SPEED_SIGMAS, relative_min=SPEED_SIGMA_MIN)),
        (shares, _bar(measured, shares, TOOLS_SIGMAS, absolute_min=TOOLS_SIGMA_MIN)),
    ]
    speaking = [(values, bar) for values, bar in signals if bar is not None]
    slipped = [any(map(fell, m.benchmarks)) for m in measured]
    if not speaking and not any(slipped):
        return None
    found = []
    for n in range(len(measured)):
        values = [(known[n], bar) for known, bar in speaking]
        if slipped[n] or any(value is not None and value < bar for value, bar in values):
            found.append(POOR)
        else:
            found.append(UNKNOWN if any(value is None for value, _ in values) else GOOD)
    return found


def fell(benchmark: Benchmark) -> bool:
    """Whether a score is two sigmas below what it was at first, with enough questions asked."""
    if benchmark.questions < QUESTIONS_MIN.get(benchmark.name, max(QUESTIONS_MIN.values())):
        return False
    bar = benchmark.baseline_median - BENCHMARK_SIGMAS * benchmark.baseline_sigma
    return benchmark.score < bar


def _bar(
    measured: Sequence[Measured],
    values: Sequence[float | None],
    sigmas: float,
    *,
    relative_min: float = 0.0,
    absolute_min: float = 0.0,
) -> float | None:
    """What a value must not be below; None while too few providers have one."""
    known = [v for v in values if v is not None]
    if len(known) < PROVIDERS_MIN:
        return None
    if len({m.provider for m, v in zip(measured, values, strict=True) if v is not None}) < (
        PROVIDERS_MIN
    ):
        return None
    middle = _median(known)
    sigma = MAD_TO_SIGMA * _median([abs(value - middle) for value in known])
    return middle - sigmas * max(sigma, relative_min * middle, absolute_min)


def _median(values: list[float]) -> float:
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2
