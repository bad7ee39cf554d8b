"""The script that measures the trebuchet: others do the same physics, and wrong arguments are explained."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.trebuchet import agree, main

ROOT = Path(__file__).resolve().parents[2]


def measure(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "benchmarks" / "trebuchet.py")
    return subprocess.run(
        [sys.executable, script, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_other_answers_are_not_compared() -> None:
    with pytest.raises(SystemExit, match=r"scipy does not do the same: its answers and ours are up to 1.0e-03"):
        agree("scipy", 80.0, 80.001)
    with pytest.raises(SystemExit, match=r"diffrax does not do the same: its gradients and ours are up to 1.0e-02"):
        agree("diffrax", [80.0], [80.0], ([[0.0, 1.0, 0.0]], [[0.0, 1.01, 0.0]]))


def test_the_rows_that_need_no_peers_appear_without_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    monkeypatch.setitem(sys.modules, "diffrax", None)
    monkeypatch.setattr(sys, "argv", ["trebuchet.py", "speed", "--seconds=0", "--rounds=1", "--batch=2"])
    assert main() == 0
    said = capsys.readouterr().out
    assert "a shot with gradient: the shot alone" in said
    assert "a shot: scipy, DOP853" in said
    assert "an aim: its network as a torch module" in said
    assert said.count("pip install -c constraints.txt -e '.[peers]'") == 2


def test_a_rival_learns_and_its_curve_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    done = measure("rivals", "ppo", "--shots=1024", "--points=2", "--csv=curve.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "curve.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    assert [point["shots"] for point in points] == ["512", "1024"]
    assert all(0 < float(point["median"]) <= float(point["most"]) for point in points)
    assert "ppo: a median miss of 0.10 m not within 1,024 shots" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: speed|rivals"),
        (["fly"], "invalid choice: 'fly'"),
        (["speed", "--batch", "0"], "'0' is not a whole number of 1 or more"),
        (["rivals", "dqn"], "there is no rival 'dqn'; choose from sac, ppo"),
        (["rivals", "--csv", "nowhere/curve.csv"], "there is no folder"),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["trebuchet.py", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
