"""scripts/tune.py: trials are runs, whatever disturbs them; what it says; bad input."""

from __future__ import annotations

import csv
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.plugins.hparams import plugin_data_pb2

from alphazero.config import ConfigError
from alphazero.runs.agents import load_agent
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.configuration import load_config
from alphazero.runs.lock import Holder
from alphazero.runs.metrics import read_history
from alphazero.tuning import records
from alphazero.tuning.settings import with_values
from scripts.tune import main, positions_of
from tests.commands import Command, Finished
from tests.stubs import Mine
from tests.tensorboard_events import events
from tests.training_runs import ROOT, SMALL, write

CONFIG = replace(SMALL, evaluation=replace(SMALL.evaluation, games=4))
OVER = ["--over", "search.c_scale=0.1..1", "learner.batch_size=16,32"]


@pytest.fixture
def tune(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    for figure in ("report.monitor.Monitor._save_curves", "report.fixed_positions.FixedPositions.show"):
        monkeypatch.setattr(f"alphazero.{figure}", lambda *arguments: None)  # drawing takes half of the time
    return lambda *arguments: command(main, *arguments)


def essence(folder: Path) -> list[Any]:
    done = records.read(folder).tuning.done
    return [(trial.number, trial.values, trial.state, trial.looks, trial.iterations) for trial in done]


def interrupted_once(run: Path, call: Callable[[], Finished]) -> Finished:
    """The outcome of a call to which Ctrl-C comes as soon as the run has a checkpoint."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            if checkpoints(run):
                return os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return call()
    finally:
        over.set()
        thread.join()


def test_trials_are_runs_and_a_broken_off_tuning_ends_as_another(tmp_path: Path, tune: Callable[..., Finished]) -> None:
    config, whole, broken = write(tmp_path, CONFIG), tmp_path / "whole", tmp_path / "broken"
    done = tune(config, *OVER, "--trials", 2, "--run", whole)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 trials of 4 iterations each" in done.stdout
    assert f"alphazero train {whole / 'best.toml'}" in done.stdout or f"train.py {whole / 'best.toml'}" in done.stdout
    trials = records.read(whole).tuning.done
    assert [trial.state for trial in trials] == ["complete", "complete"]
    assert trials[0].values == {"search.c_scale": 0.5, "learner.batch_size": 32}

    for trial in trials:  # each is a run
        folder = whole / trial.name
        assert load_agent(folder).game.name == "tic_tac_toe"
        assert len(checkpoints(folder)) == 2
        history = read_history(folder / "metrics.csv")
        assert [history[i]["tuning/points"] for i in range(4)] == list(trial.looks.values())
        assert history[3]["strength/random/points"] == trial.value  # of the run's own last matches
        content = events(folder).summary_metadata["_hparams_/session_start_info"].plugin_data.content
        told = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        assert {name: value.number_value for name, value in told.items()} == trial.values

    best = max(trials, key=lambda trial: trial.value or 0)
    assert load_config(whole / "best.toml") == with_values(CONFIG, best.values)
    with (whole / "trials.csv").open() as file:
        assert next(csv.DictReader(file))["trial"] == best.name

    done = interrupted_once(broken / "trial-000", lambda: tune(config, *OVER, "--trials", 2, "--run", broken))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Stopping after this iteration (Ctrl-C again stops at once and loses it) ..." in done.stdout
    assert "everything saved. Go on: " in done.stdout
    assert len(essence(broken)) == 1
    assert essence(broken)[0][2] == "running"
    done = tune("--resume", broken)
    assert (done.returncode, done.stderr) == (0, "")
    assert essence(broken) == essence(whole)
    for name in ("trial-000", "trial-001"):
        weights = [checkpoints(folder / name)[-1] / "model.safetensors" for folder in (whole, broken)]
        assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name either a configuration, such as connect_four, or a tuning with --resume DIR"),
        (["tic_tac_toe"], "--over is missing"),
        (["tic_tac_toe", *OVER], "--budget is missing"),
        (["tic_tac_toe", *OVER, "--budget", "120"], "--budget: must be a time with its unit, such as 90s"),
        (["tic_tac_toe", *OVER, "--budget", "0s"], "--budget: must be longer than no time"),
        (["tic_tac_toe", *OVER, "--budget", "3m", "--trial", "4m"], "a trial of 240 s is longer than --budget"),
        (["tic_tac_toe", *OVER, "--trials", "0"], "--trials: must be a whole number from 1"),
        (["tic_tac_toe", *OVER, "--trials", "2", "--objective", "elo"], "--objective: invalid choice"),
        (["tic_tac_toe", *OVER, "--trials", "2", "--objective", "mistakes"], "what suits tic_tac_toe here: points"),
        (["tic_tac_toe", *OVER, "--trials", "2", "--positions", "no.csv", "--objective", "mistakes"], "no.csv"),
        (["tic_tac_toe", "--over", "search.c_scal=0.1..1", "--trials", "2"], "did you mean search.c_scale?"),
        (["tic_tac_toe", "--over", "search.refine_steps=0,2", "--trials", "2"], "--over search.refine_steps: 2: "),
        (["tic_tac_toe", *OVER, "--trials", "2", "--evaluation.game", "4"], "--evaluation.games"),
        (["tic_tac_toe", *OVER, "--trials", "2", "--run", "docs"], "docs exists already (it is no tuning)"),
        (["tic_tac_toe", "--resume", "docs"], "name either"),
        (["--resume", "docs"], "docs is no tuning"),
        (["--resume", "docs", *OVER], "--over stays as it is in a tuning that is resumed"),
        (["--resume", "docs", "--search.simulations", "4"], "--search.simulations stays as it is"),
    ],
)
def test_bad_input_gets_one_clear_error(arguments: list[str], complaint: str, tune: Callable[..., Finished]) -> None:
    done = tune(*arguments)
    assert done.returncode in (1, 2)
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_without_optuna_nothing_is_begun(tune: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError):  # of which alphazero.shell.loading tells how to get it
        tune("tic_tac_toe", *OVER, "--trials", 2)


def test_a_stranger_s_tuning_brings_no_code_along(tmp_path: Path, tune: Callable[..., Finished]) -> None:
    """Its configuration asks for a game that nobody registers."""
    config = replace(CONFIG, game="tests.strangers_game:Evil")
    tuning = records.Tuning(over=OVER[1:], yardstick="points", trials=2)
    records.create(tmp_path / "t", tuning, write(tmp_path, config).read_text())
    done = tune("--resume", tmp_path / "t")
    assert done.returncode == 1
    assert "asks for the game tests.strangers_game:Evil" in done.stderr
    assert "if you trust its code, say so: --game tests.strangers_game:Evil" in done.stderr
    named = tune("--resume", tmp_path / "t", "--game", "tests.strangers_game:Evil")
    assert "cannot import 'tests.strangers_game'" in named.stderr  # now it would be


def test_a_first_trial_that_cannot_be_trained_leaves_nothing(
    tmp_path: Path, tune: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise ConfigError("0.1 minutes are too short")

    monkeypatch.setattr("alphazero.tuning.tuner.Tuner._train", refuse)
    done = tune(write(tmp_path, CONFIG), *OVER, "--budget", "1m", "--trial", "6s", "--run", tmp_path / "t")
    assert (done.returncode, done.stderr) == (2, "error: trial-000: 0.1 minutes are too short\n")
    assert not (tmp_path / "t").exists()


def test_two_processes_do_not_tune_at_once(tmp_path: Path, tune: Callable[..., Finished]) -> None:
    tuning = records.Tuning(over=OVER[1:], yardstick="points", trials=2)
    records.create(tmp_path / "t", tuning, write(tmp_path, CONFIG).read_text())
    with (tmp_path / "t" / "run.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(Holder.this().to_bytes())
        lock.flush()
        done = tune("--resume", tmp_path / "t")
    assert done.returncode == 1
    assert f"is held by process {os.getpid()}" in done.stderr


def test_solved_positions_are_found_beside_the_game() -> None:
    from games.connect_four import ConnectFour

    assert positions_of(ConnectFour()) == ROOT / "games/data/connect_four/positions.csv"
    assert positions_of(Mine()) is None
