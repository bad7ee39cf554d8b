"""Training over Ray: the same as in one process, whoever is killed meanwhile. All with the real Ray."""

from __future__ import annotations

import io
import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from alphazero.config import ClusterConfig, Config
from alphazero.parallel.executor import Executor
from alphazero.parallel.ray_cluster import Needs, cluster
from alphazero.parallel.ray_executor import RayExecutor
from alphazero.report.monitor import Monitor
from alphazero.runs.checkpoint import create_run
from alphazero.trainer.asynchronous import AsynchronousTraining
from alphazero.trainer.synchronous import Training
from alphazero.trainer.tasks import PlayTurn, make_worker
from games.tic_tac_toe import TicTacToe
from tests.training_runs import SMALL, assert_same


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with cluster("", cores=4):
        yield


class Killer(threading.Thread):
    """Kills workers at random moments, `kills` of them over a run, as long as another one is left to get on."""

    def __init__(self, executor: RayExecutor, kills: int) -> None:
        super().__init__(daemon=True)
        self.executor, self.kills, self.killed = executor, kills, set[int]()

    def run(self) -> None:
        chance, stop = random.Random(1), threading.Event()
        while len(self.killed) < self.kills:
            stop.wait(chance.uniform(0.1, 0.8))
            alive = sorted(set(self.executor.pids()) - self.killed)
            if len(alive) > 1:
                victim = chance.choice(alive)
                os.kill(victim, signal.SIGKILL)
                self.killed.add(victim)


class PacingMonitor(Monitor):
    """Lets an iteration end only when so many kills have been that they spread over the run."""

    killer: Killer | None = None

    def report(self, iteration: int, scalars: Mapping[str, float]) -> None:
        super().report(iteration, scalars)
        deadline = time.monotonic() + 60
        while self.killer and len(self.killer.killed) < (iteration + 1) * self.killer.kills / self.iterations:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def train(kind: type[Training], config: Config, folder: Path, workers: int, *, kills: int = 0) -> tuple[Training, Any]:
    """A whole run, with so many Ray workers or none; returns it, and how many samples each (stream, turn) brought."""
    create_run(folder, config)
    training = kind(TicTacToe(), config, folder)
    played: list[tuple[tuple[int, int], int]] = []
    console = Console(file=io.StringIO())
    with PacingMonitor(folder, iterations=config.iterations, first_iteration=0, console=console) as monitor:
        executor: Executor = training._threads()
        if workers:
            executor = RayExecutor(
                partial(make_worker, config, training.judges.exported), workers, Needs(1, 0), say=monitor.say
            )
            monitor.killer = Killer(executor, kills)
            monitor.killer.start()
        submit = executor.submit

        def watched(task: Any, *shared: Any, **settings: Any) -> Any:
            future = submit(task, *shared, **settings)
            if isinstance(task, PlayTurn):
                place = task.stream, task.turn
                future.add_done_callback(lambda done: played.append((place, done.result().samples.size)))
            return future

        executor.submit = watched  # type: ignore[method-assign]
        training.run(monitor, executor)
    return training, played


def assert_same_samples(one: Training, other: Training) -> None:
    mine, theirs = one.replay.arrays(), other.replay.arrays()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert (array == theirs[name]).all(), name


def test_samples_and_weights_do_not_depend_on_the_workers_nor_on_twenty_deaths(tmp_path: Path) -> None:
    config = replace(SMALL, iterations=20, evaluation=replace(SMALL.evaluation, every=0))
    here, in_process = train(Training, config, tmp_path / "here", 0)
    three, played = train(Training, config, tmp_path / "three", 3, kills=20)
    assert_same(here.learner.tensors(), three.learner.tensors())
    assert_same_samples(here, three)
    # As many samples of every seed, none twice and none missing.
    assert sorted(in_process) == sorted(played)
    assert [place for place, _ in sorted(played)] == [(stream, turn) for stream in range(3) for turn in range(20)]
    log = (tmp_path / "three" / "log.txt").read_text()
    assert log.count("Lost worker") == 20
    assert log.count("again: turn") > 3  # while they had something to lose


def test_an_asynchronous_run_plays_every_turn_once_whoever_dies(tmp_path: Path) -> None:
    unbounded = ClusterConfig(mode="asynchronous", most_stale=1e9, most_behind=1e9)
    config = replace(SMALL, iterations=10, cluster=unbounded, evaluation=replace(SMALL.evaluation, every=0))
    training, played = train(AsynchronousTraining, config, tmp_path / "run", 2, kills=3)
    places = [place for place, _ in played]
    assert len(places) == len(set(places)) == 30
    for stream in range(3):  # each one's turns follow one another, from the first on
        turns = sorted(turn for of, turn in places if of == stream)
        assert turns == list(range(len(turns)))
    assert training.replay.seen == sum(size for _, size in played)
    steps = config.learner.replay_ratio * training.replay.seen / config.learner.batch
    assert abs(training.learner.steps - steps) <= 1  # nothing of it was left out, and all learned
    assert all(torch.isfinite(tensor).all() for tensor in training.learner.tensors().values())
