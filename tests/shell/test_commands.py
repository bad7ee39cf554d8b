"""Commands for people, run as they are printed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from alphazero.shell.commands import python_command, script_command


def printed_by(command: str, here: Path) -> str:
    return subprocess.run(command, shell=True, cwd=here, check=True, capture_output=True, text=True).stdout


def test_a_command_runs_as_it_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = python_command("-c", "import sys; print(sys.argv[1:], sys.prefix)", Path("runs/a folder"))
    assert printed_by(command, tmp_path) == f"['runs/a folder'] {sys.prefix}\n"


def test_the_python_of_a_folder_is_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert python_command("-m", "pip") == ".venv/bin/python -m pip"
    monkeypatch.setattr(sys, "argv", ["scripts/train.py", "--resume", "runs/one"])
    assert script_command("play.py", "runs/one") == ".venv/bin/python scripts/play.py runs/one"
