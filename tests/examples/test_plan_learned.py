"""examples/plan_learned.py aims better with what it has learned, and explains wrong arguments."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from alphazero.dynamics import sparse_regression
from examples import plan_learned
from games.trebuchet import solver
from tests.commands import Command


def test_it_plans_with_what_it_has_learned(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From exact trajectories: from the second shot on the equation aims like the truth, the wrong model metres off."""
    monkeypatch.setattr(plan_learned, "thoroughness", lambda noise: {"prior": 10.0, "steps": 10})
    search = replace(plan_learned.PLANNING, simulations=1, sampled_actions=2, considered_actions=2, refine_steps=8)
    monkeypatch.setattr(plan_learned, "PLANNING", search)
    monkeypatch.setattr(sparse_regression, "RESAMPLES", 2)
    monkeypatch.setattr(solver, "TOLERANCE", 1e-6)
    told = command(plan_learned.main, "--shots", "2", "--targets", "1", "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())
    miss = {model: row[model]["exact"][0] for model in plan_learned.MODELS}
    assert miss["true"] < 1e-3
    assert miss["equation"] < 2 * miss["true"] + 1e-6
    assert miss["wrong"] > 5
    assert row["equation"]["erring"][0] == pytest.approx(row["true"]["erring"][0], rel=0.01)
    assert "0.0152037" in row["formula"] or "0.01520369" in row["formula"]
    assert (tmp_path / "misses.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shots", "1"), "--shots: must be numbers from 2"),
        (("--shots", "many"), "--shots: must be numbers from 2"),
        (("--targets", "0"), "--targets must be from 1"),
        (("--noise", "2", "--shots", "2"), "from 0 to below 1, not 2"),
    ],
)
def test_wrong_plans_are_explained(command: Command, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    told = command(plan_learned.main, *arguments, "--out", tmp_path)
    assert told.returncode == 2
    assert said in told.stderr


def test_misses_are_drawn_for_the_models_that_have_some() -> None:
    figure = plan_learned.figure_of_misses(
        {"true": [(2, 0.1), (5, 0.1)], "wrong": [(2, 9.0)], "network": [], "equation": [(5, 0.2)]}
    )
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [2, 1, 1]
    assert math.isclose(figure.axes[0].lines[1].get_ydata()[0], 9.0)
