"""The scripts that learn physics: what they find and leave behind, and how they say that something is wrong."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks import surrogates as measure_surrogates
from examples import echo_state, plan_learned, three_derivatives
from scripts import discover


class Finished(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Call = Callable[..., Finished]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a script's main within this process."""

    def run(script: ModuleType, *arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)])
        try:
            code = script.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Finished(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def hunters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the example of Lotka and Volterra."""
    folder = tmp_path_factory.mktemp("discovered") / "hunters"
    arguments = discover.parsed(["lotka-volterra", "--out", str(folder)])
    discover.run(arguments, discover.Console(width=200, quiet=True))
    return folder


def test_hunters_and_prey_are_understood(hunters: Path) -> None:
    """Both cross terms and no others, from 31 counts with 0.5 % noise; to t = 20 within 5 %."""
    results = json.loads((hunters / "results.json").read_text())
    found = {row["term"]: row["coefficient"] for row in results["equation"]}
    assert set(found) == {r"x y\,\vec e_x", r"x y\,\vec e_y"}
    assert found[r"x y\,\vec e_x"] == pytest.approx(-0.9, rel=0.02)
    assert found[r"x y\,\vec e_y"] == pytest.approx(0.8, rel=0.03)
    assert results["extrapolation"]["of_norm"] < 0.05
    assert results["extrapolation"]["worst"] < 0.05


def test_the_extrapolation_is_measured_on_scipys_solution(hunters: Path) -> None:
    results = json.loads((hunters / "results.json").read_text())
    cross = {row["term"]: row["coefficient"] for row in results["equation"]}
    born, eaten, fed, dies = 1.3, 0.9, 0.8, 1.8  # of the paper's example
    times = np.linspace(0, 20, 401)

    def counts(eaten: float, fed: float, start: Sequence[float]) -> np.ndarray:
        def change(t: float, y: np.ndarray) -> list[float]:
            return [born * y[0] - eaten * y[0] * y[1], fed * y[0] * y[1] - dies * y[1]]

        return np.asarray(solve_ivp(change, (0, 20), start, rtol=1e-9, atol=1e-9, t_eval=times).y)

    true = counts(eaten, fed, (0.44249296, 4.6280594))
    ours = counts(-cross[r"x y\,\vec e_x"], cross[r"x y\,\vec e_y"], results["extrapolation"]["start"])
    np.testing.assert_allclose(discover.true_counts(torch.from_numpy(times)).numpy().T, true, atol=1e-5)
    expected = np.linalg.norm(ours - true) / np.linalg.norm(true)
    assert results["extrapolation"]["of_norm"] == pytest.approx(expected, rel=0.01)
    assert results["extrapolation"]["worst"] == pytest.approx((abs(ours - true) / true).max(), rel=0.01)


def test_everything_is_left_in_the_folder(hunters: Path) -> None:
    pictures = {f"{name}.png" for name in ("trajectories", "term", "sparsity", "formula", "extrapolation")}
    others = {"results.json", "formula.tex", "observed.csv", "held_out.csv", "tensorboard"}
    assert {path.name for path in hunters.iterdir()} == pictures | others
    assert (hunters / "formula.tex").read_text().startswith(r"\vec f = -0.")
    (events_folder,) = (hunters / "tensorboard").iterdir()
    events = EventAccumulator(str(events_folder), size_guidance={"images": 0})
    events.Reload()
    residuals = [event.value for event in events.Scalars("network/residual")]
    assert residuals[-1] < 1.5 < residuals[0]
    assert {f"{name}.png" for name in events.Tags()["images"]} == pictures
    with (hunters / "observed.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 31
    assert float(rows[-1]["time"]) == 3.0


def test_ones_own_observations_give_the_same_equation(
    hunters: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from files: the noise is then a part of the root mean square instead of the mean."""
    monkeypatch.setattr(discover, "thoroughness", lambda noise: {"prior": 1.0, "steps": 20})
    files = ("--data", hunters / "observed.csv", "--held-out-data", hunters / "held_out.csv")
    told = call(discover, "lotka-volterra", *files, "--out", tmp_path)
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
        (lambda rows: rows[:1], "every trajectory is to have as many moments, not []"),
        (lambda rows: [["time", "prey"], *rows[1:]], "the columns are to be trajectory; time; x; y, not time; prey"),
        (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], "do not grow from moment 0"),
    ],
)
def test_data_that_are_no_good_are_named(
    hunters: Path, call: Call, tmp_path: Path, change: Callable[[list[list[str]]], list[list[str]]], said: str
) -> None:
    data = spoiled(hunters / "observed.csv", tmp_path, change)
    files = ("--data", data, "--held-out-data", hunters / "held_out.csv")
    told = call(discover, "lotka-volterra", *files, "--out", tmp_path / "out")
    assert told.returncode == 2
    assert told.stderr.startswith("error: ")
    assert said in told.stderr
    assert not (tmp_path / "out" / "formula.tex").exists()


def test_a_fit_that_is_poor_is_no_formula(
    hunters: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the product of both there is no equation for it."""
    case = discover.lotka_volterra()
    (tmp_path / "formula.tex").write_text("of an earlier run")
    poor = tuple(one for one in case.library if one.name.split(r"\,")[0] in {"1", "x", "y", "x^2"})
    monkeypatch.setitem(discover.CASES, "lotka-volterra", lambda: case._replace(library=poor))
    told = call(discover, "lotka-volterra", "--out", tmp_path)
    assert told.returncode == 2
    assert "no equation of these 8 candidates describes the data: the best one misses" in told.stderr
    assert "taken" not in told.stdout
    assert not (tmp_path / "formula.tex").exists()
    assert {"trajectories.png", "term.png", "sparsity.png"} <= {path.name for path in tmp_path.iterdir()}


def test_release_and_landing_are_enough(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover, "thoroughness", lambda noise: {"prior": 1.0, "steps": 12})
    told = call(discover, "drag", "--ends", "--noise", "0.001", "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["equation"]
    assert row["term"] == r"|v|\,\vec v"
    assert row["coefficient"] == pytest.approx(0.0152036870, rel=0.01)
    assert "nothing: too few states were observed, or unevenly" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("drag", "--shots", "1"), "--shots: some are to be held out, so at least 2 are needed, not 1"),
        (("drag", "--noise", "-0.1"), "from 0 to below 1, not -0.1"),
        (("drag", "--noise", "nan"), "from 0 to below 1, not nan"),
        (("gravity", "--ends"), "--ends is for drag"),
        (("lotka-volterra", "--shots", "5"), "--shots is for the trebuchet"),
        (("drag", "--seed", "-1"), "--seed is to be from 0"),
        (("drag", "--data", "x.csv"), "--data and --held-out-data go together"),
        (("drag", "--data", "none.csv", "--held-out-data", "none.csv"), "none.csv"),
        (("friction",), "invalid choice: 'friction'"),
    ],
)
def test_wrong_arguments_are_explained(call: Call, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    told = call(discover, *arguments, "--out", tmp_path)
    assert told.returncode == 2
    assert said in told.stderr
    assert "Traceback" not in told.stderr


def test_it_plans_with_what_it_has_learned(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From exact films: the equation aims like the truth from the second shot on, the wrong model misses by metres."""
    monkeypatch.setattr(plan_learned, "thoroughness", lambda noise: {"prior": 10.0, "steps": 10})
    search = replace(plan_learned.SEARCH, simulations=1, sampled_actions=2, considered_actions=2)
    monkeypatch.setattr(plan_learned, "SEARCH", search)
    told = call(plan_learned, "--shots", "2", "--targets", "6", "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())
    miss = {model: row[model]["exact"][0] for model in plan_learned.MODELS}
    assert miss["true"] < 1e-3
    assert miss["equation"] < 2 * miss["true"] + 1e-6
    assert miss["wrong"] > 5
    assert row["equation"]["crew"][0] == pytest.approx(row["true"]["crew"][0], rel=0.01)
    assert "0.0152037" in row["formula"] or "0.01520369" in row["formula"]
    assert (tmp_path / "misses.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shots", "1"), "--shots are numbers from 2"),
        (("--shots", "many"), "--shots are numbers from 2"),
        (("--targets", "0"), "--targets from 1"),
        (("--noise", "2", "--shots", "2"), "from 0 to below 1, not 2.0"),
    ],
)
def test_wrong_plans_are_explained(call: Call, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    told = call(plan_learned, *arguments, "--out", tmp_path)
    assert told.returncode == 2
    assert said in told.stderr


def test_surrogates_are_measured(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_surrogates, "STEPS", 60)
    told = call(measure_surrogates, "--samples", "500", "--targets", "20", "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    within, stronger, heavier = results["shot"]["errors"].values()
    assert within[0] < stronger[0]
    assert within[0] < heavier[0]
    assert within[0] < 5  # m, of distances up to 130
    assert results["step"]["simulator"]["miss"][0] < 1e-3 < results["step"]["surrogate"]["miss"][0]
    told = call(measure_surrogates, "--samples", "5", "--out", tmp_path)
    assert (told.returncode, "--samples are from 100" in told.stderr) == (2, True)


def test_robertsons_reaction_is_known_and_echoed(call: Call, tmp_path: Path) -> None:
    """The concentrations at 0.4, 40 and 4e3 as Hindmarsh's LSODE prints them."""
    times = np.array([0.4, 40.0, 4e3])
    known = [
        [9.851712e-01, 7.158e-01, 1.832e-01],
        [3.386380e-05, 9.1850e-06, 8.942e-07],
        [1.479493e-02, 2.8418e-01, 8.168e-01],
    ]
    np.testing.assert_allclose(echo_state.solve(echo_state.RATES)(times), known, rtol=4e-4)
    told = call(echo_state, "--reservoir", "80", "--samples", "16", "--tests", "4", "--out", tmp_path)
    assert told.returncode == 0, told.stderr
    worst = np.array(json.loads((tmp_path / "results.json").read_text())["worst"])
    assert worst.shape == (3, 3)
    assert worst.max() < 0.01
    told = call(echo_state, "--samples", "2", "--out", tmp_path)
    assert (told.returncode, "--samples from 8" in told.stderr) == (2, True)


def test_the_first_of_three_derivatives_leads_to_the_target() -> None:
    axes = Figure().subplots()
    said = three_derivatives.by_the_controls(axes)
    # The talk's ten steps, in the accurate simulator: most of the way from 55 degrees and 220 lb.
    assert 98 < float(said.split(": ")[1].split(" m")[0]) < 100
    assert len(axes.lines) == len(three_derivatives.SHOWN) + 1
    assert math.isclose(axes.lines[-1].get_xdata()[0], 100)
