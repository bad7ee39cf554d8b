"""The plan of a run: how far it is after each iteration, and how many iterations fit into its time.

Learning rate and simulations follow a run's progress in [0, 1]. A run of so many iterations progresses evenly. A run of
so many minutes plans its iterations by a forecast, and revises that when its pace turns out otherwise: then it goes on
evenly, from the progress it has made. All of this is in `Config.plan`, so that it can be repeated.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from heapq import heapreplace
from statistics import fmean
from typing import NamedTuple

from alphazero.config import Config

TOLERANCE = 0.03  # a plan is revised if the run would end off its time by more than this share of it
RECENT = 8  # iterations, of whose pace the forecast is made
POINTS = 256  # of the progress, at which the forecast looks at most
MOST = 10**9  # iterations that are planned


class Piece(NamedTuple):
    """A piece of a plan: from `progress` at `iteration` evenly to 1 at `iterations`."""

    iteration: int
    progress: float
    iterations: int

    def at(self, iteration: Fraction | int) -> Fraction:
        """The progress when so many iterations are done: a fraction, so that no rounding depends on the formula."""
        way = Fraction(iteration - self.iteration) / max(1, self.iterations - self.iteration)
        return min(Fraction(1), Fraction(self.progress) + (1 - Fraction(self.progress)) * way)


def pieces(config: Config) -> list[Piece]:
    """The pieces of a configuration's plan. One that leads elsewhere than to `iterations` does not count."""
    if config.plan and config.plan[-1][2] == config.iterations:
        return [Piece(*piece) for piece in config.plan]
    return [Piece(0, 0.0, config.iterations)]


def piece_at(config: Config, iteration: int) -> Piece:
    """The piece that an iteration belongs to."""
    begun = (piece for piece in reversed(pieces(config)) if piece.iteration <= iteration)
    return next(begun, Piece(0, 0.0, config.iterations))


def replanned(config: Config, done: int, iterations: int, *, progress: float | None = None) -> Config:
    """The configuration with another number of iterations in all, from the iteration `done` on.

    progress: then; None: what the plan so far says.
    """
    before = float(piece_at(config, done).at(done)) if progress is None else progress
    kept = [piece for piece in pieces(config) if piece.iteration < done]
    return replace(config, iterations=iterations, plan=(*kept, Piece(done, before, iterations)))


def resumed(saved: Config, config: Config, done: int, spent: float) -> Config:
    """The configuration to go on with, after so many iterations and seconds with the one that was saved.

    A longer run is less far: its learning rate and simulations go back to what they are at that share of it. Otherwise
    the learning rate of a run that was over would stay at its end. A shorter one is as far as before, and goes faster.
    """
    progress = float(piece_at(saved, done).at(done))
    planned = replace(config, iterations=saved.iterations, plan=saved.plan)
    if config.minutes and config.minutes != saved.minutes:
        return replanned(planned, done, saved.iterations, progress=min(progress, spent / (60 * config.minutes)))
    if not config.minutes and saved.plan and config.iterations != saved.iterations:
        return replanned(planned, done, config.iterations, progress=min(progress, done / config.iterations))
    return config


class Pace(NamedTuple):
    """The seconds that the parts of a run take, while as many tasks run as there is room for.

    segments: a segment of self-play, with the first and with the last number of simulations.
    step:     of learning.
    matches:  each match of an evaluation.
    """

    segments: tuple[float, float]
    step: float
    matches: Sequence[float] = ()


class Forecast:
    """Predicts a run's time from a pace that was measured, or from its shape alone, and from the iterations since."""

    def __init__(self, config: Config, size: int, pace: Pace | None = None) -> None:
        """size: tasks that run at once. pace: None: self-play takes as long as its simulations, learning no time."""
        self.config, self.size = config, size
        self.last = config.search.simulations
        self.first = config.self_play.first_simulations or self.last
        self.pace = pace or Pace((float(self.first), float(self.last)), 0.0)
        self._measured = pace is not None
        # Seconds of the last evaluations: two, for the first has loaded what the others use.
        self._evaluations = deque([makespan(pace.matches, size)] if pace else [], maxlen=2)
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)  # seconds and prediction of iterations
        self._predicted = cache(self._predict)
        play, learner = config.self_play, config.learner
        samples = play.streams * play.parallel_games * play.moves
        self._steps = round(learner.replay_ratio * samples / learner.batch_size)

    def _predict(self, simulations: int, steps: int) -> float:
        """Seconds of an iteration without matches, if the pace is right."""
        first, last = self.pace.segments
        share = (simulations - self.first) / ((self.last - self.first) or 1)
        segments = [first + (last - first) * share] * self.config.self_play.streams
        learning = steps * self.pace.step
        if self.config.cluster.mode == "asynchronous":  # no task waits for another
            total = sum(segments) + (0 if self.config.distributed else learning)
            return max(learning, total / min(self.size, len(segments) + 1))
        if self.config.distributed:  # learning has a process of its own
            return max(learning, makespan(segments, self.size))
        return makespan([learning, *segments], self.size)

    @property
    def known(self) -> bool:
        """Whether there is anything to predict from."""
        return self._measured or bool(self._recent)

    @property
    def evaluation(self) -> float:
        """Seconds that the matches of an evaluation take; 0 as long as nobody knows."""
        return fmean(self._evaluations) if self._evaluations else 0.0

    @property
    def factor(self) -> float:
        """How much longer iterations take than predicted."""
        return sum(s for s, _ in self._recent) / sum(p for _, p in self._recent) if self._recent else 1.0

    def observe(self, seconds: float, simulations: int, steps: int, *, evaluated: bool) -> None:
        """Takes in how long an iteration took; `evaluated`: with matches."""
        predicted = self._predicted(simulations, steps)
        if evaluated and self.known:
            self._evaluations.append(max(0.0, seconds - self.factor * predicted))
        else:
            self._recent.append((seconds, predicted))

    def seconds(self, done: int, iterations: int, progress: float) -> float:
        """Seconds from the end of iteration `done`, at this progress, to the end of the last matches."""
        more = iterations - done
        every = self.config.evaluation.every
        evaluations = (iterations - 1) // every - max(0, done - 1) // every if every and more else 0
        return more * self.mean(more, progress) + (evaluations + 2) * self.evaluation  # the last plays twice the games

    def mean(self, more: int, progress: float) -> float:
        """Seconds of an iteration without matches: the mean over the next ones, from this progress to the end."""
        points = min(more, POINTS)
        shares = [progress + (1 - progress) * point / points for point in range(points)]
        simulations = [round(self.first + (self.last - self.first) * share) for share in shares]
        return self.factor * fmean(self._predicted(each, self._steps) for each in simulations) if points else 0.0

    def fitting(self, done: int, progress: float, seconds: float) -> int:
        """The most iterations in all that end within so many seconds; `done` if there is no time for another."""
        more = range(1, MOST)
        return done + bisect_right(more, seconds, key=lambda more: self.seconds(done, done + more, progress))


def makespan(tasks: Sequence[float], size: int) -> float:
    """The time until the last of the tasks ends, of which `size` run at once and the others follow in order."""
    ends = [0.0] * size
    for seconds in tasks:
        heapreplace(ends, ends[0] + seconds)
    return max(ends)
