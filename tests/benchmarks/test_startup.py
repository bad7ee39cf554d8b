"""The benchmark of start-up times every script; its figures depend on the machine."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import startup
from tests.commands import Command

SCRIPTS = {path.name for path in (startup.ROOT / "scripts").glob("*.py")}


def test_every_script_is_timed_and_held_to_the_promise(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(words: list[str]) -> float:
        """The first start is slow, as from a disk; the median of the others is 2 s, and 4 s for train."""
        timed.append(words)
        return [60.0, 1.0, 9.0, 2.0 + 2.0 * (words[0] == "train.py")][timed.count(words) - 1]

    timed: list[list[str]] = []
    monkeypatch.setattr(startup, "seconds", seconds)
    done = command(startup.main, "--json", tmp_path / "start.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "start.json").read_text())["seconds"]
    assert {name.partition(" ")[0] for name in found if name.endswith("--help")} == SCRIPTS
    assert {name: median for name, median in found.items() if median != 2} == {
        "train.py --help": 4,
        "train.py configs/tic_tac_toe.toml": 4,
    }
    lines = {line.rpartition("  ")[0].split("  ")[0].strip(): line for line in done.stdout.splitlines()}
    assert lines["play.py"].split() == ["play.py", "2.00", "kept"]
    assert lines["train.py --help"].split() == ["train.py", "--help", "4.00", "not", "kept"]


@pytest.mark.parametrize(("arguments", "least"), [(["--help"], 0.6), (["config"], 0.2)])
def test_help_is_timed_to_its_end_and_other_commands_to_their_first_output(
    arguments: list[str], least: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "scripts" / "slow.py"
    script.parent.mkdir()
    rest = 0.4 if "--help" in arguments else 600
    script.write_text(f"import time\ntime.sleep(0.2)\nprint('first')\ntime.sleep({rest})\n")
    monkeypatch.setattr(startup, "ROOT", tmp_path)
    started = time.monotonic()
    measured = startup.seconds(["slow.py", *arguments])
    assert least <= measured <= time.monotonic() - started < 60


def test_nothing_is_left_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "scripts" / "slow.py"
    script.parent.mkdir()
    script.write_text("import os, time\nprint(os.getpid())\ntime.sleep(600)\n")
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr(startup, "ROOT", tmp_path)
    monkeypatch.setattr(startup.subprocess, "Popen", Noted)
    startup.seconds(["slow.py"])
    assert [process.poll() is None for process in started] == [False]
