"""Training runs for tests: small configurations, runs of them, and scripts/train.py called as a user does."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from unittest import mock

import pytest
import torch
from rich.console import Console

from alphazero.config import Config, NetworkConfig, SearchConfig, SelfPlayConfig
from alphazero.game import Game
from alphazero.learner import Learner
from alphazero.parallel.executor import ThreadExecutor
from alphazero.replay import Replay
from alphazero.runs.checkpoint import checkpoints
from alphazero.runs.configuration import make_config, to_toml
from alphazero.selfplay import SelfPlay
from alphazero.trainer.run import Iteration, Run
from alphazero.trainer.session import Results, Session, open_session
from alphazero.trainer.tasks import Worker
from games.tic_tac_toe import TicTacToe
from scripts.train import main
from tests.commands import Finished, call

ROOT = Path(__file__).resolve().parents[1]
SMALL = make_config(
    {
        "game": "games.tic_tac_toe:TicTacToe",
        "iterations": 4,
        "search": {"simulations": 8},
        "network": {"kind": "dense", "blocks": 2, "width": 32},
        "self_play": {"streams": 3, "parallel_games": 16, "moves": 6, "opening_moves": 2},
        "learner": {"batch_size": 32},
        "evaluation": {"opponents": ["random"], "every": 2, "games": 10, "simulations": 8},
    },
    source="test",
)
CONTINUOUS = make_config(
    {
        "game": "tests.stubs:Drift",
        "iterations": 12,
        "search": {"simulations": 16, "refine_steps": 4, "refine_gain": 0.02, "rollout_moves": 1, "sharpening": 2.0},
        "network": {"kind": "dense", "blocks": 2, "width": 32, "value_head": "scalar"},
        "self_play": {"streams": 2, "parallel_games": 32, "moves": 6, "opening_share": 0.0, "opening_moves": 0},
        "replay": {"start": 1000, "window": 1000},
        "learner": {"batch_size": 64, "replay_ratio": 16.0, "learning_rate": 3e-3},
        "evaluation": {"opponents": [], "every": 0, "games": 50, "simulations": 16},
    },
    source="test",
)


TASKS = Config(  # of single tasks, without a run
    game="games.tic_tac_toe:TicTacToe",
    seed=5,
    search=SearchConfig(simulations=4),
    network=NetworkConfig(kind="dense", blocks=1, width=16),
    self_play=SelfPlayConfig(streams=2, parallel_games=8, moves=4, opening_moves=2, engine="torch"),
)


class LocalExecutor(AbstractContextManager["LocalExecutor"]):
    """The parts of an executor in this process that tests do not look at; `submit` is theirs."""

    local: Any = property(lambda self: self)

    def __exit__(self, *error: object) -> None:
        pass

    def share(self, thing: Any) -> Any:
        return thing

    def scalars(self) -> dict[str, float]:
        return {}


def open_small(
    config: Config, folder: Path, *, resume: bool = False, game: Game | None = None
) -> AbstractContextManager[Session]:
    """A session that shows nothing."""
    console = Console(file=io.StringIO())
    return open_session(game or TicTacToe(), config, folder, saved=config if resume else None, console=console)


def train_session(
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    stop_after: int = 10**9,
    game: Game | None = None,
    prepare: Callable[[Session], None] = lambda session: None,
) -> tuple[Session, Results]:
    """Trains a run, and stops it after the iteration `stop_after`; `prepare` may change the session before."""
    console = Console(file=io.StringIO())
    with open_session(
        game or TicTacToe(), config, folder, saved=config if resume else None, console=console
    ) as session:
        report = session.monitor.report

        def reporting(iteration: int, scalars: Mapping[str, float]) -> None:
            report(iteration, scalars)
            if iteration == stop_after:
                session.run.control.stop.set()

        prepare(session)
        with mock.patch.object(session.monitor, "report", reporting):
            results = session.train()
    return session, results


def run(
    config: Config, folder: Path, *, resume: bool = False, stop_after: int = 10**9, game: Game | None = None
) -> tuple[dict[str, torch.Tensor], Results]:
    """A run's weights at its end, and its agent's results."""
    session, results = train_session(config, folder, resume=resume, stop_after=stop_after, game=game)
    return session.run.learner.tensors(), results


def run_without_session(config: Config) -> Run:
    """The parts of a run of tic-tac-toe on threads: no folder, no screen and no opponents."""
    game = TicTacToe()
    learner = Learner(game, config.learner, config.network, seed=config.seed)
    streams = [
        SelfPlay(game, config.search, config.self_play, seed=config.seed, stream=number)
        for number in range(config.self_play.streams)
    ]
    worker = Worker(game, config, None)
    worker.evaluators(learner.weights())  # exports, if it must, before there are threads: see `open_session`
    executor = ThreadExecutor(worker, config.threads)
    return Run(game, config, learner, Replay(game, config.replay), streams, executor, learner.learn)


class NotingObserver:
    """An observer that only notes its calls: their names, each with an iteration."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.calls: list[tuple[str, int]] = []

    def matches_due(self, iteration: int, weights: Any) -> None:
        self.calls.append(("matches_due", iteration))

    def iteration_over(self, iteration: Iteration) -> None:
        self.calls.append(("iteration_over", iteration.number))

    def save(self) -> None:
        self.calls.append(("save", self.run.progress.iteration))


def assert_same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=0, msg=f"{name} differs")


class Whole(NamedTuple):
    """A run of SMALL, by a single thread, and its results. Tests that change its folder take a copy."""

    folder: Path
    tensors: dict[str, torch.Tensor]
    results: Results


@functools.cache
def whole_run(base: Path) -> Whole:
    """A run that all tests in one process share."""
    folder = base / "whole"
    return Whole(folder, *run(replace(SMALL, threads=1), folder))


def copy_of_whole(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """A trained run for the tests of a file, which may add to it."""
    return Path(
        shutil.copytree(whole_run(tmp_path_factory.getbasetemp()).folder, tmp_path_factory.mktemp("runs") / name)
    )


def write(folder: Path, config: Config) -> Path:
    path = folder / "config.toml"
    path.write_text(to_toml(config))
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


class Train(Protocol):
    def __call__(self, *arguments: object, config: Path | None = None) -> Finished: ...


def call_train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """Runs scripts/train.py within this process, which saves a start of it each time."""

    def train(*arguments: object, config: Path | None = None) -> Finished:
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv("COLUMNS", "200")
        return call(main, *([config] if config else []), *arguments, monkeypatch=monkeypatch, capsys=capsys)

    return train


def wait_for_checkpoints(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 90
    while not folder.is_dir() or len(checkpoints(folder)) < count:
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.05)
