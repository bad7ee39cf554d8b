"""The training loop in which self-play and learning do not wait for each other.

Every stream plays segment after segment, each with the newest weights that there are when the segment begins. Learning
takes the samples as they come in, for as many steps as `learner.replay_ratio` asks for, and hands out its weights after
a segment's worth of steps (with many workers not quite as often). So all cores are busy all the time, and the result
depends on timing: two runs with one seed play the same segments of the same streams, but not with the same weights.

Nothing grows: at most one segment more than there are workers is under way. Samples that come in while learning is too
far behind are left out, and so are those of old weights; both are counted. An iteration is over when as many segments
have come in as there are streams.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import torch

from alphazero.selfplay import SelfPlayStatistics, Trajectories
from alphazero.trainer.run import Iteration, Observer, Run
from alphazero.trainer.tasks import PlayedSegment

HANDING_OUT = 0.05  # the share of the time, at most, that goes into handing out weights


def train(run: Run, observer: Observer) -> None:
    """Trains until the configuration's last iteration, or until the run is stopped."""
    loop = AsynchronousLoop(run, observer)
    try:
        while run.going_on:
            loop.iterate()
    finally:
        loop.segments.close()


class Arrival(NamedTuple):
    """A segment that has ended. born: how many steps its weights had learned."""

    stream: int
    born: int
    segment: Future[PlayedSegment]


class Segments:
    """Keeps the workers busy with the streams' segments; `arrivals` holds those that have ended."""

    def __init__(self, run: Run, count: int) -> None:
        """Starts `count` segments in all, once it has weights."""
        self.run, self.startable, self.under_way = run, count, 0
        self.arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._idle = deque(range(len(run.streams)))
        # Where each stream goes on: it may be ahead of `run.streams`, which hold the segments that were taken in.
        self._heads = {number: (stream.segments, stream.arrays()) for number, stream in enumerate(run.streams)}
        self._weights: tuple[Any, int] = None, 0
        self._lock = threading.RLock()

    def hand_out(self, weights: Any, born: int) -> None:
        """Segments that begin from now on use these weights."""
        with self._lock:
            self._weights = weights, born

    def start(self) -> None:
        """Starts as many segments as there is room for; called by the loop, and whenever a segment ends."""
        with self._lock:
            # Arrivals that wait count as well: if the loop cannot follow, self-play pauses.
            size = self.run.executor.size
            room = size + 1 - self.under_way - max(0, self.arrivals.qsize() - min(size, len(self.run.streams)))
            for _ in range(min(room, len(self._idle), self.startable)):
                stream, (weights, born) = self._idle.popleft(), self._weights
                self.under_way, self.startable = self.under_way + 1, self.startable - 1
                segment = self.run.start_segment(stream, *self._heads[stream], weights)
                segment.add_done_callback(partial(self._come_in, stream, born))

    def add(self, count: int) -> None:
        """Changes how many segments there are in all; those that have begun stay."""
        with self._lock:
            self.startable += count

    def close(self) -> None:
        """Starts no more."""
        with self._lock:
            self.startable = 0

    def _come_in(self, stream: int, born: int, segment: Future[PlayedSegment]) -> None:
        with self._lock:
            self.under_way -= 1
            if segment.cancelled() or segment.exception():
                self.startable = 0
            else:
                self._heads[stream] = self._heads[stream][0] + 1, segment.result().games
                self._idle.append(stream)
        self.arrivals.put(Arrival(stream, born, segment))
        self.start()


@dataclass
class Gathered:
    """The results of an iteration under way, so far.

    ages:     the age of the weights that played each segment, in iterations.
    left_out: how many samples were left out, by the reason.
    """

    started: float = field(default_factory=time.monotonic)
    statistics: SelfPlayStatistics = field(default_factory=SelfPlayStatistics)
    losses: list[dict[str, float]] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    games: dict[int, Trajectories] = field(default_factory=dict)


class AsynchronousLoop:
    """The asynchronous loop over one run.

    arrived: segments taken in so far.
    owed:    steps that learning must still take.
    """

    def __init__(self, run: Run, observer: Observer) -> None:
        self.run, self.observer = run, observer
        self.arrived = run.progress.iteration * len(run.streams)
        self.owed = run.steps_for(run.progress.new_samples)
        self.planned = self.total
        self.segments = Segments(run, self.total - self.arrived)
        self.gathered = Gathered()
        self.learning: Future[dict[str, float]] | None = None
        self.hand_out()

    def iterate(self) -> None:
        """Does an iteration: takes in as many segments as there are streams, and learns meanwhile."""
        self.gathered = Gathered()
        self.run.begin(self.steps)
        self.observer.matches_due(self.run.progress.iteration, self.weights)
        while self.arrived < (self.run.progress.iteration + 1) * len(self.run.streams):
            self.segments.start()
            self.take_in_the_next()
            self.keep_learning()
        self.finish()

    @property
    def total(self) -> int:
        """Segments in all."""
        return self.run.config.iterations * len(self.run.streams)

    @property
    def steps(self) -> int:
        """Learning steps an iteration, once as many games end as begin."""
        return max(1, round(self.run.steps_for(self.run.moves)))

    def take_in_the_next(self) -> None:
        """Adds a segment's samples to the buffer, unless they are too old or too many."""
        self.run.control.check()
        try:
            arrival = self.segments.arrivals.get(timeout=0.1)
        except queue.Empty:
            return
        segment, gathered, limits = arrival.segment.result(), self.gathered, self.run.config.cluster
        self.run.streams[arrival.stream].load(segment.games)
        # In iterations, as are both limits. Counted by what has been learned since: without that no weights are newer.
        age = (self.run.learner.steps - arrival.born) / self.steps
        self.arrived += 1
        gathered.ages.append(age)
        gathered.statistics += segment.statistics
        if segment.game:
            gathered.games[arrival.stream] = segment.game
        samples = segment.samples
        if age > limits.max_staleness:
            gathered.left_out["stale"] += samples.size
        elif self.owed > limits.max_backlog * self.steps:
            gathered.left_out["behind"] += samples.size
        elif samples.size:
            iteration = torch.full_like(samples.iteration, self.run.progress.iteration)
            self.run.replay.extend(samples._replace(iteration=iteration))
            self.owed += self.run.steps_for(samples.size)

    def keep_learning(self) -> None:
        """Starts a segment's worth of steps as soon as the last ones are done and so many are owed."""
        if self.learning and self.learning.done():
            self.end_learning()
        portion = max(1, self.steps // len(self.run.streams))
        if self.learning is None and self.owed >= portion:
            self.begin_learning(portion)

    def begin_learning(self, steps: int) -> None:
        share = self.run.share(Fraction(self.arrived, len(self.run.streams)))
        self.learning = self.run.start_learning(steps, self.run.learner.steps, share, share)
        self.owed -= steps

    def end_learning(self) -> None:
        """Waits for the steps under way, and hands the weights out, unless that would be too often."""
        if self.learning:
            self.gathered.losses.append(self.learning.result())
            self.learning = None
            if time.monotonic() >= self.next_hand_out:
                self.hand_out()

    def hand_out(self) -> None:
        started, self.handed_out = time.monotonic(), self.run.learner.steps
        self.weights = self.run.executor.share(self.run.learner.weights())
        self.segments.hand_out(self.weights, self.handed_out)
        self.next_hand_out = time.monotonic() + (time.monotonic() - started) / HANDING_OUT

    def finish(self) -> None:
        """Lets learning come to rest; self-play goes on meanwhile."""
        run, gathered, config = self.run, self.gathered, self.run.config.learner
        self.end_learning()
        if self.arrived == self.total and self.owed >= 1:
            self.begin_learning(int(self.owed))
            self.end_learning()
        if self.handed_out < run.learner.steps:
            self.hand_out()
        scalars = mean_losses(gathered.losses) | {
            "cluster/staleness": sum(gathered.ages) / len(gathered.ages),
            "cluster/steps_owed": self.owed,
            "cluster/left_out_stale": float(gathered.left_out["stale"]),
            "cluster/left_out_behind": float(gathered.left_out["behind"]),
        }
        if taken := gathered.statistics.samples - gathered.left_out.total():
            scalars["cluster/replay_ratio"] = scalars.get("learner/steps", 0.0) * config.batch_size / taken
        not_learned_yet = round(self.owed * config.batch_size / config.replay_ratio)
        number, seconds = run.progress.iteration, time.monotonic() - gathered.started
        run.finish(not_learned_yet, gathered.statistics.seconds + scalars.get("learner/seconds", 0.0))
        self.observer.iteration_over(Iteration(number, scalars, gathered.statistics, gathered.games, seconds))
        self.segments.add(self.total - self.planned)  # the observer may have planned anew
        self.planned = self.total
        self.observer.save()


def mean_losses(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The means of several calls of `learn`, weighted by their steps; steps and seconds are added up."""
    steps = sum(part["learner/steps"] for part in parts)
    if not steps:
        return {}
    tags = dict.fromkeys(tag for part in parts for tag in part)
    means = {tag: sum(part.get(tag, 0.0) * part["learner/steps"] for part in parts) / steps for tag in tags}
    seconds = sum(part["learner/seconds"] for part in parts)
    return means | {"learner/steps": steps, "learner/seconds": seconds}
