import sys
from pathlib import Path

import pytest

from tollway import __version__, cli
from tollway.settings import Settings


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["/somewhere/__main__.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0


@pytest.mark.parametrize("arguments", [("--version",), ("version",), ("--version", "serve")])
def test_the_version_is_printed_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *arguments) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_usage_names_the_command_however_it_was_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "keys", "create", "--help") == 0
    assert capsys.readouterr().out.startswith("Usage: tollway keys create [OPTIONS]\n")
    assert run(monkeypatch, "serve", "--nope") == 2
    assert "Try 'tollway serve --help'" in capsys.readouterr().err
    assert run(monkeypatch, "--help") == 0
    assert "One API endpoint for every AI model" in capsys.readouterr().out


def test_the_operator_is_told_a_command_that_works_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "a project" / ".venv" / "bin"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.chdir(folder.parents[1])
    unset = Settings(home=tmp_path, environ={"PATH": "/nowhere"})
    assert cli._command(unset) == f"'{folder / 'python'}' -m tollway"

    own = folder / "tollway"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    assert cli._command(unset) == ".venv/bin/tollway"
    monkeypatch.chdir(tmp_path)
    assert cli._command(unset) == "'a project/.venv/bin/tollway'"
    monkeypatch.chdir("/")
    assert cli._command(Settings(home=tmp_path, environ={"PATH": str(folder)})) == "tollway"

    other = tmp_path / "tollway"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    shadowed = Settings(home=tmp_path, environ={"PATH": f"{tmp_path}:{folder}"})
    assert cli._command(shadowed).endswith(".venv/bin/tollway'")
