"""Measures the pace of a run: its own tasks for some seconds, as many at once as there is room for.

They work on copies, with a network of their own to learn: neither the run's state nor its random numbers change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from alphazero.arena.evaluation import PlayMatch
from alphazero.arena.opponents import expected_moves
from alphazero.game import Box, map_states
from alphazero.learner import Learner
from alphazero.mcts.policy import policy_of
from alphazero.parallel.executor import Counter, Executor, Task
from alphazero.replay import Samples, no_actions
from alphazero.trainer.plan import Pace
from alphazero.trainer.run import Run
from alphazero.trainer.tasks import PlaySegment

Check = Callable[[int], None]  # called again and again meanwhile; may raise to end it


class Enough(Exception):
    """The task has been measured for long enough."""


@dataclass(frozen=True)
class ForAWhile:
    """Does a task for some seconds, or until it ends: the outcome is the seconds that each of its units took."""

    task: Task[Any]
    seconds: float

    @property
    def title(self) -> str:
        return f"measuring {self.task.title}"

    def run(self, worker: Any, count: Counter, *shared: Any) -> float:
        begun, times = time.perf_counter(), list[tuple[int, float]]()

        def watch(done: int) -> None:
            count(0)
            if done:
                times.append((done, time.perf_counter() - begun))
                if times[-1][1] >= self.seconds:
                    raise Enough

        with suppress(Enough):
            self.task.run(worker, watch, *shared)
        # Units until the first count have had to wait for what is prepared once, if others follow.
        first = times[0][1] if len(times) > 1 else 0.0
        units = sum(done for done, _ in times[1:] or times)
        return (times[-1][1] - first) / units


def measure(run: Run, seconds: float, check: Check = lambda done: None) -> Pace:
    """The pace of self-play and learning; about so many seconds for each of a few measurements."""
    play, last = run.config.self_play, run.config.search.simulations
    first = play.first_simulations or last
    weights = run.executor.share(run.learner.weights())
    room = min(run.executor.size, len(run.streams))
    segment = play.parallel_games * play.moves

    def played(simulations: int, count: int, seconds: float) -> float:
        """The mean seconds of a segment, of so many at once."""
        tasks = [
            PlaySegment(number, stream.segments, simulations, stream.arrays(), run.config.seed)
            for number, stream in enumerate(run.streams[:count])
        ]
        times = together(run.executor, tasks, seconds, check, weights)
        return segment * sum(times) / len(times)

    played(first, room, 0.0)  # what is compiled or loaded once does not count
    of_first = played(first, room, seconds) if first != last else None
    step: Future[float] = run.executor.local.submit(step_seconds, run, seconds, check)
    # In one process learning takes the place of a segment.
    of_last = played(last, room if run.config.distributed else max(1, room - 1), seconds)
    return Pace((of_last if of_first is None else of_first, of_last), step.result())


def measure_matches(
    run: Run, matches: Mapping[str, PlayMatch], seconds: float, check: Check = lambda done: None
) -> list[float]:
    """The seconds of each of these matches, when they are played side by side."""
    weights = run.executor.share(run.learner.weights())
    times = together(run.executor, list(matches.values()), seconds, check, weights)
    moves = [expected_moves(run.game, match.games) for match in matches.values()]
    return [each * units for each, units in zip(times, moves, strict=True)]


def together(executor: Executor, tasks: Sequence[Task[Any]], seconds: float, check: Check, *shared: Any) -> list[float]:
    """The seconds a unit of each task, all submitted at once and done for some seconds each."""
    futures = [executor.submit(ForAWhile(task, seconds), *shared, count=check) for task in tasks]
    return [future.result() for future in futures]


def step_seconds(run: Run, seconds: float, check: Check = lambda done: None) -> float:
    """The seconds of a learning step of the run, from steps of a network that is thrown away."""
    config, samples = run.config, stand_ins(run)
    learner = Learner(run.game, config.learner, config.network, seed=config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    learner.learn(samples, [0.0], generator, progress=check)
    steps, taken = 1, 0.0
    while taken < seconds / 2:
        started = time.perf_counter()
        learner.learn(samples, [0.0] * steps, generator, progress=check)  # a GPU has done all of them when it returns
        taken, steps = time.perf_counter() - started, 2 * steps
    ranks = config.learner_gpus or config.cluster.learner_ranks
    return taken / (steps / 2) / ranks


def stand_ins(run: Run) -> Samples:
    """Samples of the positions under way, with targets that nobody shall learn."""
    states = map_states(Tensor.cpu, run.streams[0].state)
    count = len(states[0])
    choices, (sampled, _) = policy_of(run.game).shapes(run.config.search)
    actions = no_actions(count)
    if isinstance(box := run.game.actions, Box):
        drawn = box.random(run.game.legal(states), torch.Generator().manual_seed(0))
        actions = drawn[:, None].expand(-1, sampled, -1)
    none = torch.zeros(count)
    left = torch.arange(1, count + 1, dtype=torch.int32)
    return Samples(
        state=states, end=states, policy=torch.full((count, choices), 1 / choices), value=none, outcome=none,
        drawn=none, root_value=none, plies_left=left, iteration=torch.zeros_like(left), weight=none + 1,
        sampled=actions, played_out=none + 1,
    )  # fmt: skip
