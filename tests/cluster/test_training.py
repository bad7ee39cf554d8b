"""Training over Ray: the same as in one process, whoever is killed meanwhile. All with the real Ray."""

from __future__ import annotations

import io
import os
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from alphazero.asynchronous import AsynchronousTraining
from alphazero.checkpoint import create_run
from alphazero.cluster.assemble import make_worker
from alphazero.cluster.cluster import Needs, cluster
from alphazero.cluster.crew import RayCrew
from alphazero.config import ClusterConfig, Config
from alphazero.crew import Crew
from alphazero.monitor import Monitor
from alphazero.trainer import Training
from alphazero.worker import PlayTurn
from games.tic_tac_toe import TicTacToe
from tests.test_trainer import SMALL, assert_same


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with cluster("", cores=4):
        yield


def train(kind: type[Training], config: Config, folder: Path, workers: int, *, kills: int = 0) -> tuple[Training, Any]:
    """A whole run, with so many Ray workers or none; returns it, and how many samples each (stream, turn) brought."""
    create_run(folder, config)
    training = kind(TicTacToe(), config, folder)
    played: list[tuple[tuple[int, int], int]] = []
    console = Console(file=io.StringIO())
    with Monitor(folder, iterations=config.iterations, first_iteration=0, console=console) as monitor:
        crew: Crew | None = None
        if workers:
            make = partial(make_worker, config, training.judges.exported)
            crew = RayCrew(make, workers, Needs(1, 0), say=monitor.say)
        killer = threading.Thread(target=kill_at_random, args=(crew, kills))
        killer.start()
        crew = crew or training._threads()
        submit = crew.submit

        def watched(task: Any, *shared: Any, **settings: Any) -> Any:
            future = submit(task, *shared, **settings)
            if isinstance(task, PlayTurn):
                place = task.stream, task.turn
                future.add_done_callback(lambda done: played.append((place, done.result().samples.size)))
            return future

        crew.submit = watched  # type: ignore[method-assign]
        training.run(monitor, crew)
        killer.join()
    return training, played


def kill_at_random(crew: RayCrew | None, kills: int) -> None:
    chance, killed = random.Random(1), set[int]()
    stop = threading.Event()
    while len(killed) < kills:
        stop.wait(chance.uniform(0.2, 1.2))
        assert crew is not None
        alive = sorted(set(crew.pids()) - killed)
        if len(alive) > 1:  # somebody has to be left to get on
            victim = chance.choice(alive)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)


def assert_same_samples(one: Training, other: Training) -> None:
    mine, theirs = one.replay.arrays(), other.replay.arrays()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert (array == theirs[name]).all(), name


def test_samples_and_weights_do_not_depend_on_the_workers_nor_on_twenty_deaths(tmp_path: Path) -> None:
    config = replace(SMALL, iterations=12, evaluation=replace(SMALL.evaluation, every=0))
    here, in_process = train(Training, config, tmp_path / "here", 0)
    three, played = train(Training, config, tmp_path / "three", 3, kills=20)
    assert_same(here.learner.tensors(), three.learner.tensors())
    assert_same_samples(here, three)
    # As many samples of every seed, none twice and none missing.
    assert sorted(in_process) == sorted(played)
    assert [place for place, _ in sorted(played)] == [(stream, turn) for stream in range(3) for turn in range(12)]
    log = (tmp_path / "three" / "log.txt").read_text()
    assert log.count("Lost worker") == 20


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
