"""Measuring a run's pace, by a clock of our own and with the run's own tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from alphazero.arena.evaluation import evaluation_matches
from alphazero.arena.opponents import expected_moves
from alphazero.config import Config
from alphazero.game import Game
from alphazero.learner import Learner
from alphazero.parallel.executor import Counter
from alphazero.replay import Replay
from alphazero.selfplay import SelfPlay
from alphazero.trainer import synchronous
from alphazero.trainer.pace import ForAWhile, measure, measure_matches, stand_ins, step_seconds
from alphazero.trainer.run import Run, Stopped
from games.tic_tac_toe import TicTacToe
from tests.stubs import Drift
from tests.training_runs import CONTINUOUS, SMALL, LocalExecutor, NotingObserver, assert_same, run_without_session


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which only the test moves."""
    now = [50.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


@dataclass(frozen=True)
class Steps:
    """A task whose units take so many seconds, one after the other."""

    seconds: tuple[float, ...]
    now: list[float]
    title = "steps"

    def run(self, worker: Any, count: Counter) -> None:
        for seconds in self.seconds:
            self.now[0] += seconds
            count(0)
            count(2)


@pytest.mark.parametrize(
    ("seconds", "limit", "a_unit"),
    [
        ((9.0, 2.0, 4.0), 99.0, 1.5),  # the first two units wait for what is prepared once
        ((9.0,), 99.0, 4.5),  # unless there are no others
        ((9.0, 2.0, 4.0), 10.0, 1.0),  # ends with the first count that comes too late
        ((9.0, 2.0, 4.0), 0.0, 4.5),
    ],
)
def test_a_task_is_done_for_a_while(
    seconds: tuple[float, ...], limit: float, a_unit: float, clock: list[float]
) -> None:
    assert ForAWhile(Steps(seconds, clock), limit).run(None, lambda done: None) == a_unit


def test_a_task_that_is_measured_can_be_stopped(clock: list[float]) -> None:
    def stop(done: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        ForAWhile(Steps((1.0,), clock), 99.0).run(None, stop)


class Told(LocalExecutor):
    """An executor that does local tasks at once, and keeps the others: a unit of a task takes `seconds(task)`."""

    size = 2

    def __init__(self, seconds: Callable[[Any], float]) -> None:
        self.seconds, self.tasks = seconds, list[ForAWhile]()

    def submit(self, task: Any, *rest: Any, count: Callable[[int], None] = lambda done: None) -> Future[Any]:
        future: Future[Any] = Future()
        if isinstance(task, ForAWhile):
            self.tasks.append(task)
            future.set_result(self.seconds(task.task))
        else:
            future.set_result(task(*rest))
        return future


def made(config: Config, executor: Any, game: Game | None = None) -> Run:
    game = game or TicTacToe()
    learner = Learner(game, config.learner, config.network, seed=config.seed)
    streams = [
        SelfPlay(game, config.search, config.self_play, seed=config.seed, stream=number)
        for number in range(config.self_play.streams)
    ]
    return Run(game, config, learner, Replay(game, config.replay), streams, executor, learner.learn)


def learning(monkeypatch: pytest.MonkeyPatch, clock: list[float], seconds: float) -> None:
    """Makes a step of learning take so many seconds by the clock, and 5 s more for the first call."""
    calls: list[int] = []

    def learn(learner: Learner, samples: Any, rates: list[float], *rest: Any, **named: Any) -> dict[str, float]:
        clock[0] += seconds * len(rates) + 5 * (not calls)
        calls.append(len(rates))
        return {}

    monkeypatch.setattr(Learner, "learn", learn)


def test_a_segment_takes_as_long_as_all_its_moves(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    learning(monkeypatch, clock, 0.25)
    growing = replace(SMALL, self_play=replace(SMALL.self_play, first_simulations=2))
    executor = Told(lambda task: task.simulations * (1 + task.stream) / 1000)
    pace = measure(made(growing, executor), 1.5)
    moves = 16 * 6
    # Two streams at once, on average 1.5 ms; at last one alone, beside learning.
    assert pace.segments == pytest.approx((moves * 2 * 1.5e-3, moves * 8e-3))
    assert pace.step == 0.25
    assert [(one.task.stream, one.task.simulations, one.seconds) for one in executor.tasks] == [
        (0, 2, 0.0), (1, 2, 0.0), (0, 2, 1.5), (1, 2, 1.5), (0, 8, 1.5),
    ]  # fmt: skip
    steady = measure(made(SMALL, Told(executor.seconds)), 1.5)
    assert steady.segments == pytest.approx((moves * 8e-3, moves * 8e-3))
    over_ray = measure(made(replace(SMALL, workers=2), Told(executor.seconds)), 1.5)
    assert over_ray.segments == pytest.approx((moves * 8 * 1.5e-3, moves * 8 * 1.5e-3))


def test_ranks_share_a_step(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    learning(monkeypatch, clock, 0.5)
    assert step_seconds(made(replace(SMALL, learner_gpus=4), None), 3.0) == 0.125


def test_a_match_takes_as_long_as_its_expected_moves() -> None:
    executor = Told(lambda task: 1e-3 if "network" in task.title else 1e-2)
    run = made(SMALL, executor)
    matches = evaluation_matches(run.game, SMALL, ["random"], games=10)
    moves = expected_moves(run.game, 10)
    assert measure_matches(run, matches, 1.5) == pytest.approx([moves * 1e-2, moves * 1e-3])


def test_measuring_leaves_no_trace_in_what_a_run_learns() -> None:
    small = replace(SMALL, threads=1, iterations=2)
    measured, plain = run_without_session(small), run_without_session(small)
    before = [stream.arrays() for stream in measured.streams]
    numbers = torch.get_rng_state()
    with measured.executor, plain.executor:
        pace = measure(measured, 0.01)
        matches = evaluation_matches(measured.game, small, ["random"], games=2)
        times = measure_matches(measured, matches, 0.01)
        assert all(seconds > 0 for seconds in (*pace.segments, pace.step, *times))
        assert torch.equal(torch.get_rng_state(), numbers)
        for arrays, stream in zip(before, measured.streams, strict=True):
            assert all(np.array_equal(array, stream.arrays()[name]) for name, array in arrays.items())
        for run in (measured, plain):
            synchronous.train(run, NotingObserver(run))
    assert_same(measured.learner.tensors(), plain.learner.tensors())


def test_continuous_actions_have_a_pace_too() -> None:
    run = made(replace(CONTINUOUS, self_play=replace(CONTINUOUS.self_play, parallel_games=4)), None, Drift())
    samples = stand_ins(run)
    assert samples.sampled.shape == (4, 16, 2)
    assert step_seconds(run, 1e-6) > 0
