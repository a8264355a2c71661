"""What every test may use."""

import os
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
