"""What every test may use."""

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests/support


@pytest.fixture(autouse=True, scope="session")
def _no_credentials() -> None:
    """No test may reach a real provider, whatever is in the environment."""
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_TOKEN")) or name.startswith("TOLLWAY_HOME"):
            os.environ.pop(name)


FIGURE = re.compile(r"R\d+\b")
"""A line of output that begins with a row of the scorecard: `R9: 480 left …`."""

_figures: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what passed tests measured: pytest shows the output of failed ones only."""
    if report.when == "call" and report.passed:
        _figures.extend(line for line in report.capstdout.splitlines() if FIGURE.match(line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _figures:
        terminalreporter.section("figures")
        for line in sorted(_figures, key=lambda line: int(FIGURE.match(line)[0][1:])):
            terminalreporter.write_line(line)
