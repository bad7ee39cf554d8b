"""The parts of a run: how it is stopped, how long it searches and learns, and what its tasks are told."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from alphazero.config import Config
from alphazero.learner import Learner
from alphazero.replay import Replay, Samples
from alphazero.runs.checkpoint import Progress
from alphazero.trainer.run import Control, Run, Stopped
from alphazero.trainer.tasks import PlaySegment
from games.tic_tac_toe import TicTacToe
from tests import random_samples
from tests.training_runs import SMALL, LocalExecutor


class Submitted(LocalExecutor):
    """An executor that keeps the tasks it is given, and does those of this process at once."""

    size = 1

    def __init__(self) -> None:
        self.tasks: list[tuple[PlaySegment, Any]] = []

    def submit(self, task: Any, *shared: Any, count: Callable[[int], None] = lambda done: None) -> Future[Any]:
        future: Future[Any] = Future()
        if isinstance(task, PlaySegment):
            self.tasks.append((task, *shared))
            count(3)
        else:
            future.set_result(task())
        return future


def made(config: Config = SMALL, *, learn: Any = None, **settings: Any) -> Run:
    game = TicTacToe()
    learner = Learner(game, config.learner, config.network, seed=config.seed)
    return Run(game, config, learner, Replay(game, config.replay), [], Submitted(), learn or learner.learn, **settings)


def test_a_run_goes_on_when_told_to_stop_and_ends_at_once_when_told_to_stop_now() -> None:
    control = Control()
    control.check()
    control.stop.set()
    control.check()
    control.stop_now.set()
    with pytest.raises(Stopped):
        control.check()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_in_the_loop_ends_the_tasks(error: type[BaseException]) -> None:
    control = Control()
    with control.ending():
        pass
    assert not control.stop_now.is_set()
    with pytest.raises(error), control.ending():
        raise error
    assert control.stop_now.is_set()


def test_progress_is_passed_on_until_the_run_must_stop_at_once() -> None:
    advanced: list[tuple[str, int]] = []
    control = Control(advance=lambda part, done: advanced.append((part, done)))
    control.count("learning", 2)
    control.stop.set()
    control.count("self-play", 5)
    control.stop_now.set()
    with pytest.raises(Stopped):
        control.count("learning", 1)
    assert advanced == [("learning", 2), ("self-play", 5)]


def test_simulations_grow_evenly_from_the_first_to_the_last() -> None:
    search, play = replace(SMALL.search, simulations=24), replace(SMALL.self_play, first_simulations=4)
    growing = made(replace(SMALL, iterations=10, search=search, self_play=play))
    assert [growing.simulations(iteration) for iteration in range(11)] == [4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]
    steady = made(replace(SMALL, iterations=10, search=search))
    assert {steady.simulations(iteration) for iteration in range(11)} == {24}


def test_on_a_gpu_they_grow_in_four_leaps() -> None:
    search = replace(SMALL.search, simulations=24)
    play = replace(SMALL.self_play, first_simulations=4, device="cuda")
    growing = made(replace(SMALL, search=search, self_play=play, iterations=16))
    expected = [4, 4, 4, 9, 9, 9, 14, 14, 14, 14, 14, 19, 19, 19, 24, 24, 24]
    assert [growing.simulations(iteration) for iteration in range(17)] == expected


def test_steps_draw_every_sample_as_often_as_the_replay_ratio_says() -> None:
    run = made(replace(SMALL, learner=replace(SMALL.learner, batch_size=32, replay_ratio=2.5)))
    assert run.steps_for(64) * 32 == 2.5 * 64
    assert run.steps_for(1) == 2.5 / 32  # a part of a step
    assert run.steps_for(0) == 0


def test_an_iteration_follows_unless_the_last_is_over_or_the_run_is_stopped() -> None:
    run = made()
    assert run.going_on
    assert made(progress=Progress(SMALL.iterations - 1)).going_on
    assert not made(progress=Progress(SMALL.iterations)).going_on
    run.control.stop.set()
    assert not run.going_on


def test_an_iteration_announces_its_moves_and_its_steps_if_there_are_any() -> None:
    begun: list[tuple[int, dict[str, int]]] = []
    control = Control(lambda iteration, parts: begun.append((iteration, dict(parts))))
    run = made(control=control, progress=Progress(2))
    run.begin(7)
    run.begin(0)
    moves = 3 * 16 * 6  # of all games of all streams
    assert begun == [(2, {"self-play": moves, "learning": 7}), (2, {"self-play": moves})]


def test_finished_iterations_add_up() -> None:
    run = made(progress=Progress(1, new_samples=20, core_seconds=3.0))
    run.finish(5, 1.5)
    assert run.progress == Progress(2, new_samples=5, core_seconds=4.5)


def test_a_segment_is_a_task_with_its_games_the_seed_and_the_simulations_of_now() -> None:
    advanced: list[tuple[str, int]] = []
    play = replace(SMALL.self_play, first_simulations=2)
    run = made(
        replace(SMALL, seed=9, self_play=play),
        progress=Progress(2),  # of 4: half-way from 2 to 8
        control=Control(advance=lambda part, done: advanced.append((part, done))),
    )
    games = {"moves_played": np.zeros(16)}
    run.start_segment(1, 6, games, "weights")
    assert isinstance(run.executor, Submitted)
    assert run.executor.tasks == [(PlaySegment(1, 6, 5, games, 9), "weights")]
    assert advanced == [("self-play", 3)]


def test_learning_draws_by_the_seed_and_its_number_alone() -> None:
    advanced: list[tuple[str, int]] = []

    def learn(
        samples: Samples, rates: list[float], generator: torch.Generator, *, progress: Callable[[int], None]
    ) -> dict[str, Any]:
        progress(len(rates))
        return {"draw": torch.rand((), generator=generator, dtype=torch.float64).item(), "rates": rates}

    def learned(number: int, *, seed: int = 1) -> dict[str, Any]:
        control = Control(advance=lambda part, done: advanced.append((part, done)))
        run = made(replace(SMALL, seed=seed), learn=learn, control=control)
        run.replay.extend(random_samples.samples(4))
        return run.start_learning(7, number, 0.25, 0.5).result()

    first = learned(3)
    # A cosine from 1 to 0.01 of the peak over the run, of which the steps have the second quarter, behind the warm-up.
    rate, warmup = SMALL.learner.learning_rate, SMALL.learner.warmup
    falls = [(0.25 + 0.25 * step / 7 - warmup) / (1 - warmup) for step in range(7)]
    expected = [rate * (0.01 + 0.99 * (1 + math.cos(math.pi * fall)) / 2) for fall in falls]
    assert first == learned(3) == {"draw": first["draw"], "rates": pytest.approx(expected)}
    assert len({first["draw"], learned(4)["draw"], learned(3, seed=2)["draw"]}) == 3
    assert set(advanced) == {("learning", 7)}
