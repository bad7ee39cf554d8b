"""The script that measures a GPU runs to its end without one, at the smallest sizes, whatever fails on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import main

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"
TINY = "--networks 1x4 --batches 4 --simulations 2 --seconds 0 --rounds 1 --minutes 1 --games 8 --network 1x4"


def measure(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments, "--device", "cpu", *TINY.split(), "--search", "3"]
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, check=False, env=environment
    )


def test_every_part_shows_and_writes_its_figures(tmp_path: Path) -> None:
    done = measure(tmp_path, "overlap", "training", "search", "profile", "--out", "figures")
    assert done.returncode == 0, done.stdout
    parts = json.loads((tmp_path / "figures" / "gpu.json").read_text())["parts"]
    assert {name: part["status"] for name, part in parts.items()} == dict.fromkeys(
        ("overlap", "training", "search", "profile"), "done"
    )
    speeds = [speed for part in parts.values() for speed in part["speeds"]]
    assert {speed["section"] for speed in speeds} == {"overlap", "search"}
    assert all(speed["rate"] > 0 for speed in speeds)
    for speed in speeds:
        assert speed["what"] in done.stdout
    # A mistake is possible in 1,839 of the 2,969 positions, and a network of a second's training makes many.
    for name in ("network alone", "64 simulations", "3 simulations"):
        assert 0 < parts["training"][f"mistakes, {name}"]["rate"] < 1839 / 2969
    assert parts["training"]["iterations"] >= 1
    assert done.stdout == (tmp_path / "figures" / "gpu.txt").read_text()
    files = {path.name for path in (tmp_path / "figures").iterdir()}
    assert files == {"gpu.json", "gpu.txt", "metrics.csv", "agent.onnx", "agent.json"}


def test_a_part_that_fails_or_takes_too_long_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own script is replaced by one that does what its last argument, the part, says."""
    script = tmp_path / "parts.py"
    script.write_text(
        "import sys, time\n"
        "print('begun', sys.argv[1:], flush=True)\n"
        "time.sleep(60 * (sys.argv[-1] == 'training'))\n"
        "sys.exit(3 * (sys.argv[-1] == 'overlap'))\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(script))
    monkeypatch.setattr(gpu, "LIMITS", gpu.LIMITS | {"training": 1})
    arguments = ["overlap", "training", "search", "--device", "cpu", "--minutes", "0", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
    assert main() == 1
    parts = json.loads((tmp_path / "out" / "gpu.json").read_text())["parts"]
    assert [part["status"] for part in parts.values()] == [
        "failed with exit code 3", "stopped at its limit of 1 s", "done",
    ]  # fmt: skip
    assert "--alone', 'search']" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed"], "there is no part 'speed'; choose from tests, overlap, training, search, profile"),
        (["--networks", "4x32", "5y64"], "'5y64' is no size of a network, such as 4x32"),
        (["--batches", "0"], "'0' is not a whole number of 1 or more"),
        pytest.param(
            [],
            "there is no CUDA GPU here; --device cpu tries this script without one",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 2
    assert message in capsys.readouterr().err
