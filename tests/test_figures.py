import shutil
import subprocess
import sys
from pathlib import Path

TESTS = """
def test_one():
    print("R19: 3 of 3 good")
    print("not a figure")

def test_two():
    print("R2 wallet: 50 admitted")
    print("Reading on")

def test_three():
    print("R5: 1 lost")
    assert False
"""


def test_a_run_ends_with_the_figures_of_the_tests_that_passed(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_sample.py").write_text(TESTS)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no"]
    done = subprocess.run(
        [*run, "--rootdir", str(tmp_path), str(tmp_path)], cwd=tmp_path, capture_output=True
    )
    lines = done.stdout.decode().splitlines()
    at = next(n for n, line in enumerate(lines) if " figures " in line)
    assert lines[at + 1 : at + 3] == ["R2 wallet: 50 admitted", "R19: 3 of 3 good"]
    assert "not a figure" not in lines
    assert [line for line in lines if line.startswith(("R5", "Reading"))] == []
