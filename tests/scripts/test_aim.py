"""scripts/aim.py: every method, bad input, and Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alphazero.network.architectures import inference_module, make_network, to_onnx
from alphazero.runs.agents import export_agent
from alphazero.runs.configuration import make_config
from games.trebuchet import shoot
from games.trebuchet.aim import Fired, fire
from games.trebuchet.aiming_network import AimingNetwork, train
from games.trebuchet.game import Aiming
from games.trebuchet.physics import POUND
from scripts import aim as script
from tests.commands import Finished, call

ROOT = Path(__file__).resolve().parents[2]


Aim = Callable[..., Finished]


@pytest.fixture
def aim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Aim:
    """Runs scripts/aim.py within this process."""

    def run(*arguments: object) -> Finished:
        return call(script.main, *arguments, monkeypatch=monkeypatch, capsys=capsys)

    return run


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("networks") / "network.safetensors"
    train(rounds=((100, 8),)).save(path)
    return path


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent that has learned nothing."""
    network = {"kind": "dense", "blocks": 1, "width": 16, "value_head": "scalar"}
    torch.manual_seed(0)
    game, config = Aiming(), make_config({"game": "games.trebuchet.game:Aiming", "network": network}, source="test")
    folder = tmp_path_factory.mktemp("agent")
    module = inference_module(make_network(game, config.network))
    export_agent(folder, game, config, to_onnx(module, game.observation_shape), iteration=0)
    return folder / "agent.onnx"


def table(shown: str) -> dict[str, list[str]]:
    """The cells behind each method's name."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines() if "|" in line[:1]]
    return {method: cells for method, *cells in rows if re.match(r"[A-Za-z]", method)}


def in_metres(miss: str) -> float:
    number, unit = miss.split()
    return float(number) * {"m": 1.0, "cm": 1e-2, "µm": 1e-6, "nm": 1e-9}[unit]


def test_every_method_and_the_best_shot(aim: Aim, network: Path, agent: Path, tmp_path: Path) -> None:
    finished = aim("--wind", -3, "--target", 60, "--network", network, "--agent", agent, "--budget", 8,
                   "--save", tmp_path / "shot.png", "--histogram", tmp_path / "errors.png")  # fmt: skip
    assert (finished.returncode, finished.stderr) == (0, "")
    rows = table(finished.stdout)
    methods = ["method", "descent, 10 steps", "descent", "Gauss-Newton", "aiming network", "agent's network",
               "agent, search 8"]  # fmt: skip
    assert list(rows) == methods
    for method in methods[1:]:
        angle, weight, distance, miss, shots, time = rows[method]
        assert float(distance) == pytest.approx(shoot(-3.0, float(angle), float(weight)).distance, abs=0.05)
        assert in_metres(miss) == pytest.approx(float(distance) - 60, abs=0.006)
        assert (int(shots) == 0) == ("network" in method)
        assert re.fullmatch(r"\d+\.\d (s|ms|µs)", time)
    assert abs(in_metres(rows["Gauss-Newton"][3])) < 1e-6
    setting = AimingNetwork.load(network).aim(-3.0, 60.0)
    assert [float(cell) for cell in rows["aiming network"][:2]] == pytest.approx(setting, abs=0.006)
    assert "landed at 60.0 m" in finished.stdout.split("Gauss-Newton:")[1]
    for name in ("shot.png", "errors.png"):
        with Image.open(tmp_path / name) as picture:
            assert np.asarray(picture).std() > 5
    assert "\x1b" not in finished.stdout


def test_a_network_is_trained_once_and_kept(aim: Aim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def brief(**options: Any) -> AimingNetwork:
        calls.append(options)
        return train(**options | {"rounds": ((60, 3),)})

    monkeypatch.setattr(script, "train", brief)
    monkeypatch.chdir(tmp_path)
    first, second = aim("--seed", 4), aim("--seed", 4)
    assert "trained the aiming network: median " in first.stdout
    assert "kept in runs/aiming_network.safetensors" in first.stdout
    assert "trained" not in second.stdout
    robust = aim("--robust", "--target", 20, "--save", "shot.gif")
    assert "kept in runs/aiming_network_robust.safetensors" in robust.stdout
    assert [(call["seed"], call["errors"]) for call in calls] == [(4, script.NO_ERRORS), (0, script.FIELD)]
    with Image.open(tmp_path / "shot.gif") as animation:
        assert animation.n_frames > 20  # type: ignore[attr-defined]


def test_the_talks_trebuchet_is_aimed_in_pounds(aim: Aim, monkeypatch: pytest.MonkeyPatch) -> None:
    def fired(wind: float, angle: float, pounds: float) -> Fired:
        """By the accurate simulator, whose shots take no second each."""
        distance, by_angle, by_kg = fire(wind, angle, pounds * POUND)
        return Fired(distance, by_angle, by_kg * POUND)

    monkeypatch.setattr(script, "PUBLISHED", script.PUBLISHED._replace(fire=fired))
    finished = aim("--published")
    assert (finished.returncode, finished.stderr) == (0, "")
    rows = table(finished.stdout)
    assert list(rows) == ["method", "descent, 10 steps", "Gauss-Newton"]
    assert rows["method"][1] == "weight lb"
    angle, pounds, distance, miss, shots, _ = rows["Gauss-Newton"]
    assert shoot(5.0, float(angle), float(pounds) * POUND).distance == pytest.approx(100, abs=0.05)
    assert float(distance) == 100
    assert abs(in_metres(miss)) < 1e-6
    assert int(shots) < 10
    assert rows["descent, 10 steps"][4] == "11"
    assert f"counterweight {float(pounds) * POUND:.1f} kg" in finished.stdout
    assert "lands elsewhere than the talk's" in " ".join(finished.stdout.split())


def test_out_of_reach_is_no_failure(aim: Aim, network: Path) -> None:
    finished = aim("--wind", 0, "--target", 120, "--network", network)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "Out of reach: in this wind it throws no farther than 90.87 m." in finished.stdout
    near = aim("--wind", 10, "--target", 1, "--network", network)
    assert "it throws no nearer than 7.74 m." in near.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--wind", "nan"], "--wind: must be a number from -1000 to 1000, not nan"),
        (["--target", "inf"], "--target: must be a number from -1e+06 to 1e+06, not inf"),
        (["--angle", "95"], "the angle must be from 0 to 90 degrees, not 95.0"),
        (["--counterweight", "0"], "the counterweight must be from 20 to 120 kg, not 0.0"),
        (["--published", "--counterweight", "20"], "the counterweight must be from 44.09 to 264.6 lb, not 20.0"),
        (["--published", "--robust"], "--published has the talk's methods alone"),
        (["--save", "shot.bmp"], "shot.bmp: must end in .png or .gif, in a folder that exists"),
        (["--histogram", "none/errors.png"], "none/errors.png: must end in .png, in a folder that exists"),
        (["--network", "none/network"], "none is not a folder; the aiming network must be trained and kept there"),
        (["--network", "README.md"], "README.md is not an aiming network, or was cut short"),
        (["--agent", "games/data/connect_four/agent.onnx"], "agent.onnx plays connect_four, not trebuchet"),
        (["--agent", "nowhere"], "nowhere"),
        (["--budget", "lots"], "'lots' is no search budget"),
        (["--seed", "-1"], "--seed: must be a whole number from 0 to 2^62, not -1"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(aim: Aim, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    finished = aim(*arguments)
    code = 1 if message in ("README.md is not an aiming network, or was cut short", "nowhere") else 2
    assert (finished.returncode, finished.stdout) == (code, "")
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 1
    assert message in finished.stderr


def test_stopped_while_training_it_keeps_nothing(aim: Aim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(**options: Any) -> AimingNetwork:
        return train(**options | {"report": lambda progress: os.kill(os.getpid(), signal.SIGINT)})

    monkeypatch.setattr(script, "train", stopped)
    finished = aim("--network", tmp_path / "network.safetensors")
    assert finished.returncode == 130
    assert finished.stderr == "Stopped; nothing was saved.\n"
    assert not list(tmp_path.iterdir())
