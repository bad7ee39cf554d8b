"""The script that measures the trebuchet: others do the same physics, and wrong arguments are explained."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.targets import held_out_targets, misses
from benchmarks.trebuchet import agree, main
from games.trebuchet.game import FARTHEST, NEAREST, Aiming, farthest
from games.trebuchet.physics import DEFAULT, POUND

ROOT = Path(__file__).resolve().parents[2]
EXACT = np.genfromtxt(ROOT / "tests" / "data" / "trebuchet_exact.csv", delimiter=",", names=True)
INPUTS = (EXACT["wind"], EXACT["angle"], EXACT["weight"] * POUND)
SLOPES = np.stack([EXACT[f"ddistance_d{name}"] / unit for name, unit in (("wind", 1), ("angle", 1), ("weight", POUND))])


def measure(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "benchmarks" / "trebuchet.py")
    return subprocess.run(
        [sys.executable, script, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_scipy_fires_the_same_shots() -> None:
    from benchmarks.peers.ode_solvers import scipy_shot

    shots = [scipy_shot(*inputs) for inputs in zip(*(values[:5].tolist() for values in INPUTS), strict=True)]
    agree("scipy", EXACT["distance"][:5], shots)


def test_torchdiffeq_fires_the_same_shot() -> None:
    pytest.importorskip("torchdiffeq")
    from benchmarks.peers.ode_solvers import torchdiffeq_shot

    distance, slope = torchdiffeq_shot(*(float(values[0]) for values in INPUTS))
    agree("torchdiffeq", EXACT["distance"][0], distance, (SLOPES[:, 0], slope))


def test_diffrax_fires_the_same_shots() -> None:
    pytest.importorskip("diffrax")
    from benchmarks.peers.ode_solvers import diffrax_shots

    distances, slopes = diffrax_shots()(*INPUTS)
    agree("diffrax", EXACT["distance"], distances, (SLOPES.T, slopes))


def test_other_answers_are_not_compared() -> None:
    with pytest.raises(SystemExit, match=r"scipy does not do the same: its answers and ours are up to 1.0e-03"):
        agree("scipy", 80.0, 80.001)
    with pytest.raises(SystemExit, match=r"diffrax does not do the same: its gradients and ours are up to 1.0e-02"):
        agree("diffrax", [80.0], [80.0], ([[0.0, 1.0, 0.0]], [[0.0, 1.01, 0.0]]))


def test_held_out_targets_are_always_the_same_ones_and_can_be_hit() -> None:
    states = held_out_targets(100)
    assert torch.equal(states.target, held_out_targets(100).target)
    assert ((states.target >= NEAREST) & (states.target <= FARTHEST)).all()
    assert (states.target <= farthest(states.winds[:, 0], DEFAULT)).all()


def test_a_miss_is_how_far_from_the_target_it_lands() -> None:
    states = held_out_targets(3)
    actions = torch.zeros(3, 2)
    landed = Aiming().step(states, actions).state.distance
    assert torch.equal(misses(lambda _: actions, states), (landed - states.target).abs())


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


def test_rivals_learn_in_the_gymnasium_environment() -> None:
    pytest.importorskip("stable_baselines3")
    from benchmarks.peers.stable_baselines import Shots
    from games.trebuchet.env import TrebuchetEnv

    shots, env, actions = Shots(3, seed=0), TrebuchetEnv(), np.array([[-0.2, 0.5], [0.0, 0.0], [0.3, -0.9]], np.float32)
    observed, before = shots.reset(), shots.states
    _, rewards, over, _ = shots.step(actions)
    assert over.all()
    assert shots.observation_space == env.observation_space
    assert shots.action_space == env.action_space
    for row, action in enumerate(actions):
        options = {"wind": before.winds[row, 0].item(), "target": before.target[row].item()}
        np.testing.assert_allclose(env.reset(options=options)[0], observed[row], rtol=1e-6)
        _, reward, terminated, *_ = env.step(action)
        assert terminated
        assert reward == pytest.approx(float(rewards[row]), abs=1e-6)


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
