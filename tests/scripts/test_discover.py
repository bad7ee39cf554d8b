"""scripts/discover.py: its equations, its files, and its messages about errors."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.integrate import solve_ivp
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alphazero.dynamics import sparse_regression
from scripts import discover
from tests.commands import Command


@pytest.fixture(scope="module")
def predators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the example of Lotka and Volterra."""
    folder = tmp_path_factory.mktemp("discovered") / "predators"
    arguments = discover.parsed(["lotka-volterra", "--out", str(folder)])
    discover.run(arguments, Console(width=200, quiet=True))
    return folder


def test_predators_and_prey_are_understood(predators: Path) -> None:
    """Both cross terms and no others, from 31 counts with 0.5 % noise; to t = 20 within 5 %."""
    results = json.loads((predators / "results.json").read_text())
    found = {row["term"]: row["coefficient"] for row in results["equation"]}
    assert set(found) == {r"x y\,\vec e_x", r"x y\,\vec e_y"}
    assert found[r"x y\,\vec e_x"] == pytest.approx(-0.9, rel=0.02)
    assert found[r"x y\,\vec e_y"] == pytest.approx(0.8, rel=0.03)
    assert results["extrapolation"]["of_norm"] < 0.05
    assert results["extrapolation"]["worst"] < 0.05


def test_the_extrapolation_is_measured_on_scipys_solution(predators: Path) -> None:
    results = json.loads((predators / "results.json").read_text())
    cross = {row["term"]: row["coefficient"] for row in results["equation"]}
    born, eaten, fed, dies = 1.3, 0.9, 0.8, 1.8  # of the paper's example
    times = np.linspace(0, 20, 401)

    def counts(eaten: float, fed: float, start: Sequence[float]) -> np.ndarray:
        def change(t: float, y: np.ndarray) -> list[float]:
            return [born * y[0] - eaten * y[0] * y[1], fed * y[0] * y[1] - dies * y[1]]

        return np.asarray(solve_ivp(change, (0, 20), start, rtol=1e-9, atol=1e-9, t_eval=times).y)

    true = counts(eaten, fed, (0.44249296, 4.6280594))
    ours = counts(-cross[r"x y\,\vec e_x"], cross[r"x y\,\vec e_y"], results["extrapolation"]["start"])
    expected = np.linalg.norm(ours - true) / np.linalg.norm(true)
    assert results["extrapolation"]["of_norm"] == pytest.approx(expected, rel=0.01)
    assert results["extrapolation"]["worst"] == pytest.approx((abs(ours - true) / true).max(), rel=0.01)


def test_everything_is_left_in_the_folder(predators: Path) -> None:
    pictures = {f"{name}.png" for name in ("trajectories", "term", "sparsity", "formula", "extrapolation")}
    others = {"results.json", "formula.tex", "observed.csv", "held_out.csv", "tensorboard"}
    assert {path.name for path in predators.iterdir()} == pictures | others
    assert (predators / "formula.tex").read_text().startswith(r"\vec f = -0.")
    (events_folder,) = (predators / "tensorboard").iterdir()
    events = EventAccumulator(str(events_folder), size_guidance={"images": 0})
    events.Reload()
    residuals = [event.value for event in events.Scalars("network/residual")]
    assert residuals[-1] < 1.5 < residuals[0]
    assert {f"{name}.png" for name in events.Tags()["images"]} == pictures
    with (predators / "observed.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 31
    assert float(rows[-1]["time"]) == 3.0


def test_ones_own_observations_give_the_same_equation(
    predators: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from files: the noise is then a part of the root mean square instead of the mean."""
    monkeypatch.setattr(discover, "thoroughness", lambda noise: {"prior": 1.0, "steps": 20})
    monkeypatch.setattr(sparse_regression, "RESAMPLES", 2)
    files = ("--data", predators / "observed.csv", "--held-out-data", predators / "held_out.csv")
    told = command(discover.main, "lotka-volterra", *files, "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    again = json.loads((tmp_path / "results.json").read_text())
    assert {row["term"] for row in again["equation"]} == {r"x y\,\vec e_x", r"x y\,\vec e_y"}
    assert "f = -0.8" in told.stdout
    assert "(taken)" in told.stdout
    assert "extrapolation" not in again  # whose truth would that be?


def spoiled(path: Path, folder: Path, change: Callable[[list[list[str]]], list[list[str]]]) -> Path:
    with path.open(newline="") as file:
        rows = change(list(csv.reader(file)))
    changed = folder / "changed.csv"
    with changed.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: [*rows[:5], [*rows[5][:2], "nan", rows[5][3]], *rows[6:]], "is nan, no finite number"),
        (lambda rows: [*rows[:5], [*rows[5][:2], "many", rows[5][3]], *rows[6:]], "line 6: could not convert"),
        (lambda rows: [*rows[:5], rows[5][:3], *rows[6:]], "line 6: 3 columns, not 4"),
        (lambda rows: rows[:4], "too little data: 6 numbers of 1 trajectories, 4 without their starts"),
        (lambda rows: rows[:2], "too little data"),
        (lambda rows: rows[:1], "all trajectories must have the same number of moments, not []"),
        (lambda rows: [["time", "prey"], *rows[1:]], "the columns must be trajectory; time; x; y, not time; prey"),
        (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], "do not grow from moment 0"),
    ],
)
def test_data_that_are_no_good_are_named(
    predators: Path, command: Command, tmp_path: Path, change: Callable[[list[list[str]]], list[list[str]]], said: str
) -> None:
    data = spoiled(predators / "observed.csv", tmp_path, change)
    files = ("--data", data, "--held-out-data", predators / "held_out.csv")
    told = command(discover.main, "lotka-volterra", *files, "--out", tmp_path / "out")
    assert told.returncode == 1
    assert told.stderr.startswith("error: ")
    assert said in told.stderr
    assert not (tmp_path / "out" / "formula.tex").exists()


def test_a_fit_that_is_poor_is_no_formula(
    predators: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the product of both there is no equation."""
    monkeypatch.setattr(discover, "thoroughness", lambda noise: {"prior": 1.0, "steps": 10})
    case = discover.CASES["lotka-volterra"]()
    (tmp_path / "formula.tex").write_text("of an earlier run")
    poor = tuple(one for one in case.library if one.name.split(r"\,")[0] in {"1", "x", "y", "x^2"})
    monkeypatch.setitem(discover.CASES, "lotka-volterra", lambda: case._replace(library=poor))
    told = command(discover.main, "lotka-volterra", "--out", tmp_path)
    assert told.returncode == 1
    assert "no equation of these 8 candidates describes the data: the best one misses" in told.stderr
    assert "taken" not in told.stdout
    assert not (tmp_path / "formula.tex").exists()
    assert {"trajectories.png", "term.png", "sparsity.png"} <= {path.name for path in tmp_path.iterdir()}


def test_release_and_landing_are_enough(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "thoroughness", lambda noise: {"prior": 1.0, "steps": 12})
    monkeypatch.setattr(sparse_regression, "RESAMPLES", 2)
    told = command(discover.main, "drag", "--ends", "--noise", "0.001", "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["equation"]
    assert row["term"] == r"|v|\,\vec v"
    assert row["coefficient"] == pytest.approx(0.0152036870, rel=0.01)
    assert "nothing: too few states were observed, or not at even times" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("drag", "--shots", "1"), "--shots must be at least 2, for some are held out, not 1"),
        (("drag", "--noise", "-0.1"), "from 0 to below 1, not -0.1"),
        (("drag", "--noise", "nan"), "from 0 to below 1, not nan"),
        (("gravity", "--ends"), "--ends is for drag"),
        (("lotka-volterra", "--shots", "5"), "--shots is for the trebuchet"),
        (("drag", "--seed", "-1"), "--seed: must be a whole number from 0 to 2^62, not -1"),
        (("drag", "--data", "x.csv"), "--data and --held-out-data go together"),
        (("friction",), "invalid choice: 'friction'"),
    ],
)
def test_wrong_arguments_are_explained(command: Command, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    told = command(discover.main, *arguments, "--out", tmp_path)
    assert told.returncode == 2
    assert said in told.stderr
    assert "Traceback" not in told.stderr


def test_a_file_that_is_not_there_is_an_error(command: Command, tmp_path: Path) -> None:
    files = ("--data", "none.csv", "--held-out-data", "none.csv")
    told = command(discover.main, "drag", *files, "--out", tmp_path)
    assert told.returncode == 1
    assert "none.csv" in told.stderr
    assert "Traceback" not in told.stderr
