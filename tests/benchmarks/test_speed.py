"""The script that measures speeds runs at the smallest sizes; its figures depend on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.speed import main

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "speed.py"
TINY = {"batch": 4, "simulations": 2, "moves": 1, "blocks": 1, "width": 4, "seconds": 0, "rounds": 1, "engine": "onnx"}


def measure(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def test_every_section_reports_its_speeds_and_promises(tmp_path: Path) -> None:
    done = measure(
        "tree",
        "inference",
        "self-play",
        "minimax",
        "move",
        "--move-simulations=8",
        *(f"--{name}={value}" for name, value in TINY.items()),
        "--json",
        "speeds.json",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "speeds.json").read_text())
    assert {speed["section"] for speed in report["speeds"]} == {"tree", "inference", "self-play", "minimax", "move"}
    assert all(speed["rate"] > 0 for speed in report["speeds"])
    assert [ratio["promised"] for ratio in report["ratios"] if ratio["promised"]] == [0.9, 1.0]
    for speed in report["speeds"]:
        assert speed["what"] in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["treee"],
            "there is no section 'treee'; choose from tree, inference, self-play, engines, minimax, move, peers",
        ),
        (["--batch", "0"], "'0' is not a whole number of 1 or more"),
        (["--seconds", "-1"], "not a number of seconds"),
        (["--engine", "gpu"], "invalid choice: 'gpu'"),
        (["--json", "nowhere/speeds.json"], "there is no folder"),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Calls it within this process, which saves a start each time: the test above has a real one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["speed.py", *arguments])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    assert message in capsys.readouterr().err
