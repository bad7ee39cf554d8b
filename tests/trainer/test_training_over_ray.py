"""Training over Ray is the same as in one process, even if workers are killed. All with the real Ray."""

from __future__ import annotations

import os
import random
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alphazero.config import ClusterConfig, Config
from alphazero.parallel import ray_setup
from alphazero.parallel.ray_executor import RayExecutor
from alphazero.trainer.run import Run
from alphazero.trainer.session import Session
from alphazero.trainer.tasks import PlaySegment
from tests.parallel.executor_tasks import wait_until
from tests.training_runs import SMALL, assert_same, train_session

pytestmark = pytest.mark.cluster

Played = list[tuple[tuple[int, int], int]]


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_setup, "available_cores", lambda: 4)


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


def train(config: Config, folder: Path, workers: int, *, kills: int = 0) -> tuple[Run, Played]:
    """A whole run, with so many Ray workers or none; returns it, and the samples each (stream, segment) brought."""
    played: Played = []

    def prepare(session: Session) -> None:
        run = session.run
        if workers:
            assert isinstance(run.executor, RayExecutor)
            killer = Killer(run.executor, kills)
            killer.start()
            save = session.save

            def save_later() -> None:
                """Lets an iteration end only after so many kills that they spread over the run."""
                wait_until(lambda: len(killer.killed) >= run.progress.iteration * kills / config.iterations)
                save()

            session.save = save_later  # type: ignore[method-assign]
        submit = run.executor.submit

        def watched(task: Any, *shared: Any, **settings: Any) -> Any:
            future = submit(task, *shared, **settings)
            if isinstance(task, PlaySegment):
                place = task.stream, task.segment
                future.add_done_callback(lambda done: played.append((place, done.result().samples.size)))
            return future

        run.executor.submit = watched  # type: ignore[method-assign]

    session, _ = train_session(replace(config, workers=workers), folder, prepare=prepare)
    return session.run, played


def assert_same_samples(one: Run, other: Run) -> None:
    mine, theirs = one.replay.arrays(), other.replay.arrays()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert (array == theirs[name]).all(), name


def test_samples_and_weights_do_not_depend_on_the_workers_nor_on_twenty_deaths(tmp_path: Path) -> None:
    config = replace(SMALL, iterations=20, evaluation=replace(SMALL.evaluation, every=0))
    here, in_process = train(config, tmp_path / "here", 0)
    three, played = train(config, tmp_path / "three", 3, kills=20)
    assert_same(here.learner.tensors(), three.learner.tensors())
    assert_same_samples(here, three)
    # As many samples of every seed, none twice and none missing.
    assert sorted(in_process) == sorted(played)
    assert [place for place, _ in sorted(played)] == [(stream, segment) for stream in range(3) for segment in range(20)]
    log = (tmp_path / "three" / "log.txt").read_text()
    assert log.count("Lost worker") == 20
    assert log.count("again: segment") > 3  # while they had something to lose


def test_an_asynchronous_run_plays_every_segment_once_even_if_workers_die(tmp_path: Path) -> None:
    unbounded = ClusterConfig(mode="asynchronous", max_staleness=1e9, max_backlog=1e9)
    config = replace(SMALL, iterations=10, cluster=unbounded, evaluation=replace(SMALL.evaluation, every=0))
    run, played = train(config, tmp_path / "run", 2, kills=3)
    places = [place for place, _ in played]
    assert len(places) == len(set(places)) == 30
    for stream in range(3):  # each one's segments follow one another, from the first on
        segments = sorted(segment for of, segment in places if of == stream)
        assert segments == list(range(len(segments)))
    assert run.replay.seen == sum(size for _, size in played)
    steps = config.learner.replay_ratio * run.replay.seen / config.learner.batch_size
    assert abs(run.learner.steps - steps) <= 1  # nothing of it was left out, and all learned
    assert all(torch.isfinite(tensor).all() for tensor in run.learner.tensors().values())
