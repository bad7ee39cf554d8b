"""scripts/benchmark.py on a run, a checkpoint and an exported agent, and with bad input."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from alphazero.checkpoint import checkpoints
from scripts.benchmark import main
from tests.test_trainer import SMALL, run

ROOT = Path(__file__).resolve().parents[2]


class Finished(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Benchmark = Callable[..., Finished]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Benchmark:
    """Runs scripts/benchmark.py within this process."""

    def call(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, arguments)])
        code = main()
        return Finished(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    run(SMALL, folder)
    return folder


def test_all_three_forms_of_an_agent_give_the_same_figures(trained: Path, tmp_path: Path, benchmark: Benchmark) -> None:
    records = []
    for agent in (trained, checkpoints(trained)[-1], trained / "agent.onnx"):
        finished = benchmark(
            agent, "--against", "random,minimax:2", "--games", 10, "--simulations", 4, "--json", tmp_path / "o"
        )
        assert finished.returncode == 0, finished.stderr
        assert "minimax:2" in finished.stdout
        records.append(json.loads((tmp_path / "o").read_text()))
    assert records[0]["matches"] == records[1]["matches"] == records[2]["matches"]
    assert [(match["player"], match["opponent"]) for match in records[0]["matches"]] == [
        ("agent:4", "random"),
        ("network", "random"),
        ("agent:4", "minimax:2"),
        ("network", "minimax:2"),
    ]
    for match in records[0]["matches"]:
        assert match["wins"] + match["draws"] + match["losses"] == 10
        assert match["wins"] == match["first"]["wins"] + match["second"]["wins"]
        assert match["interval"][0] <= match["points"] <= match["interval"][1]


def test_bad_input_gets_one_clear_error(trained: Path, tmp_path: Path, benchmark: Benchmark) -> None:
    altered = tmp_path / "agent.onnx"
    altered.write_bytes((trained / "agent.onnx").read_bytes()[:-7])
    shutil.copy(trained / "agent.json", tmp_path)
    positions = ROOT / "tests" / "data" / "connect_four_solved.csv"
    for arguments, complaint in (
        ((ROOT / "tests",), "is not a run"),
        ((tmp_path / "none.onnx",), "cannot be read"),
        ((altered,), "was truncated or altered"),
        ((trained, "--against", "minmax"), "no player is called 'minmax'"),
        ((trained, "--games", 7), "games must be even"),
        ((trained, "--simulations", 0), "simulations"),
        ((trained, "--positions", positions), "no positions of tic_tac_toe"),
        ((trained, "--positions", tmp_path / "none.csv"), "No such file"),
    ):
        finished = benchmark(*arguments)
        assert finished.returncode == 1
        assert complaint in finished.stderr
        assert "Traceback" not in finished.stderr
