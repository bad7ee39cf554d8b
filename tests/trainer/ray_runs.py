"""Runs over Ray for tests: their samples are noted, and workers may be killed."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from alphazero.config import Config
from alphazero.parallel.ray_executor import RayExecutor
from alphazero.trainer.run import Run
from alphazero.trainer.session import Session
from alphazero.trainer.tasks import PlaySegment
from tests.parallel.executor_tasks import wait_until
from tests.training_runs import train_session

Played = list[tuple[tuple[int, int], int]]


class Killer(threading.Thread):
    """Kills workers at random moments, `kills` of them over a run, as long as another worker is left."""

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


def train(
    config: Config, folder: Path, workers: int, *, kills: int = 0, hold: Callable[[Run], None] = lambda run: None
) -> tuple[Run, Played]:
    """A whole run, with so many Ray workers or none; returns it, and the samples of each (stream, segment).

    hold: called after each iteration, and may wait.
    """
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
                hold(run)

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
