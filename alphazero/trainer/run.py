"""A training run: its parts, and the observer that its loops report to.

Two loops drive a run: `synchronous`, in step, and `asynchronous`, in which self-play and learning do not wait for each
other. Neither knows a screen, an arena or a disk: they tell an observer, which `session` implements.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch

from alphazero.config import Config
from alphazero.game import Game
from alphazero.learner import Learner
from alphazero.network.streams import URGENT, own_stream
from alphazero.parallel.executor import Executor
from alphazero.replay import Arrays, Replay
from alphazero.runs.checkpoint import Progress
from alphazero.selfplay import SelfPlay, SelfPlayStatistics, Trajectories, stream_generator
from alphazero.trainer.plan import piece_at, replanned
from alphazero.trainer.tasks import PlayedSegment, PlaySegment

LEAPS = 4  # in which a GPU's simulations grow, since a search is recorded anew for each number of them
LEARNING = 1_000_001  # sets the seed of learning apart from those of the streams, which count from 0


Learn = Callable[..., dict[str, float]]  # `Learner.learn`, or that of a distributed learner


class Stopped(Exception):
    """The run was asked to stop at once; the last checkpoint stands."""


class Iteration(NamedTuple):
    """The results of an iteration.

    scalars:    losses and other measures, by tag.
    statistics: counts of self-play, over all streams.
    games:      a finished game of some streams, by the stream's number.
    seconds:    wall-clock time.
    """

    number: int
    scalars: dict[str, float]
    statistics: SelfPlayStatistics
    games: dict[int, Trajectories]
    seconds: float


class Observer(Protocol):
    """Follows a run. An exception that it raises ends the run."""

    def matches_due(self, iteration: int, weights: Any) -> None:
        """An iteration begins with these weights, in the form that the executor shares; matches may be due."""

    def iteration_over(self, iteration: Iteration) -> None:
        """Self-play and learning of an iteration are done; the run's progress counts it."""

    def save(self) -> None:
        """The run is between two iterations, where it can be saved and continued from."""


class Control:
    """Stops a run, and passes its progress on. Any thread may call it.

    stop:     end after the iteration under way.
    stop_now: end at once, and lose what the iteration did.
    """

    def __init__(
        self,
        begin: Callable[[int, Mapping[str, int]], None] = lambda iteration, parts: None,
        advance: Callable[[str, int], None] = lambda part, done: None,
    ) -> None:
        """`begin` is told the iteration and how much each of its parts has to do; `advance` is told of progress."""
        self.begin, self._advance = begin, advance
        self.stop, self.stop_now = threading.Event(), threading.Event()

    def check(self, done: int = 0) -> None:
        """Ends the task that calls it, if the run must stop at once."""
        if self.stop_now.is_set():
            raise Stopped

    @contextmanager
    def ending(self) -> Iterator[None]:
        """A context: an exception in it ends the executor's tasks, since leaving the executor waits for them."""
        try:
            yield
        except BaseException:
            self.stop_now.set()
            raise

    def count(self, part: str, done: int) -> None:
        """Adds to the progress of the part."""
        self.check()
        self._advance(part, done)


@dataclass
class Run:
    """The parts of a run, fresh or restored, and the steps that both loops take.

    streams:  hold the games between two segments; the executor's workers play the segments.
    learn:    trains `learner`, together with other processes if the learner is distributed.
    """

    game: Game
    config: Config
    learner: Learner
    replay: Replay
    streams: Sequence[SelfPlay]
    executor: Executor
    learn: Learn
    progress: Progress = field(default_factory=Progress)
    control: Control = field(default_factory=Control)

    @property
    def going_on(self) -> bool:
        """Whether another iteration follows."""
        return self.progress.iteration < self.config.iterations and not self.control.stop.is_set()

    @property
    def moves(self) -> int:
        """Moves an iteration, and so samples, once as many games end as begin."""
        return self.config.self_play.streams * self.config.self_play.parallel_games * self.config.self_play.moves

    def begin(self, learning_steps: int) -> None:
        """Announces an iteration and how much there is to do."""
        parts = {"self-play": self.moves, "learning": learning_steps}
        self.control.begin(self.progress.iteration, {name: total for name, total in parts.items() if total})

    def share(self, iteration: Fraction | int) -> float:
        """The progress in [0, 1] when so many iterations are done, as the iteration under way sees it."""
        return float(piece_at(self.config, self.progress.iteration).at(iteration))

    def simulations(self, iteration: int) -> int:
        """Simulations a move: early games teach little whatever the search; later ones gain from a longer one."""
        last = self.config.search.simulations
        first = self.config.self_play.first_simulations or last
        progress = piece_at(self.config, iteration).at(iteration)
        if torch.device(self.config.self_play.device).type == "cuda":
            progress = Fraction(round(LEAPS * progress), LEAPS)
        return round(first + (last - first) * progress)

    def steps_for(self, samples: int) -> float:
        """Steps that the replay ratio asks for after so many new samples."""
        return self.config.learner.replay_ratio * samples / self.config.learner.batch_size

    def start_segment(self, stream: int, segment: int, games: Arrays, weights: Any) -> Future[PlayedSegment]:
        """Starts the stream's segment of this number, from the games under way."""
        simulations = self.simulations(self.progress.iteration)
        task = PlaySegment(stream, segment, simulations, games, self.config.seed)
        return self.executor.submit(task, weights, count=partial(self.control.count, "self-play"))

    def start_learning(self, steps: int, number: int, start: float, end: float) -> Future[dict[str, float]]:
        """Starts learning: steps on the buffer as it is now, from `start` to `end` in [0, 1] of the run.

        `number` seeds the draws from the buffer.
        """

        def learn() -> dict[str, float]:
            rates = self.learner.learning_rates(steps, start, end)
            generator = stream_generator(self.config.seed, LEARNING, number)
            count = partial(self.control.count, "learning")
            with own_stream(self.config.learner.device, URGENT):
                return self.learn(self.replay.training_set(), rates, generator, progress=count)

        return self.executor.local.submit(learn)

    def finish(self, new_samples: int, seconds: float) -> None:
        """Counts an iteration. new_samples: those not learned from yet. seconds: CPU time."""
        before = self.progress
        self.progress = before._replace(
            iteration=before.iteration + 1, new_samples=new_samples, core_seconds=before.core_seconds + seconds
        )

    def replan(self, iterations: int) -> None:
        """From now on the run has so many iterations in all."""
        self.config = replanned(self.config, self.progress.iteration, iterations)
