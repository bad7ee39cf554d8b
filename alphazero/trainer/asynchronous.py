"""Training in which self-play and learning do not wait for each other.

Every stream plays turn after turn, each with the newest network that there is when the turn begins. Learning takes
the samples as they come in, for as many steps as `learner.replay_ratio` asks for, and hands out its weights after
every turn's worth of steps (with many workers not quite as often). So all cores are busy all the time, and a run hangs
on timing: two runs with one seed play the same turns of the same streams, but not with the same networks.

Nothing grows: no more turns are under way than there are workers, and one. What comes in while learning is too far
behind is left out, as is what an old network has played; both are counted. An iteration is over when as many turns
have come in as there are streams.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import torch

from alphazero.arena.match import MatchResult, SoloResult
from alphazero.runs import checkpoint
from alphazero.selfplay import SelfPlayStatistics, Trajectories, stream_generator
from alphazero.trainer.synchronous import LEARNING, Training, strength_scalars
from alphazero.trainer.tasks import PlayedTurn, PlayTurn

HANDING_OUT = 0.05  # of the time, at most, goes into handing out weights


class Arrival(NamedTuple):
    """A turn that has ended. born: how many turns had come in when its network was handed out."""

    stream: int
    born: int
    turn: Future[PlayedTurn]


class AsynchronousTraining(Training):
    """A run whose loop is not in step; all else is as in `Training`."""

    def iterate(self) -> None:
        """The loop."""
        self._lock = threading.RLock()
        self._prepare()
        try:
            while self.progress.iteration < self.config.iterations and not self.stop.is_set():
                self._begin_iteration()
                while self.turns < (self.progress.iteration + 1) * len(self.streams):
                    self._start_turns()
                    self._take_in_the_next()
                    self._keep_learning()
                    self._collect_matches()
                self._close_iteration()
            self._collect_matches(wait=not self.stop.is_set())
        finally:
            with self._lock:
                self._startable = 0

    def _prepare(self) -> None:
        self.turns = self.progress.iteration * len(self.streams)  # taken in so far
        self.turns_in_all = self.config.iterations * len(self.streams)
        self.owed = self._steps_for(self.progress.new_samples)
        self._startable = self.turns_in_all - self.turns
        self._idle = deque(stream.seed[1] for stream in self.streams)
        # Where each stream goes on: it may be ahead of `self.streams`, which holds what has been taken in.
        self._heads = {stream.seed[1]: (stream.turns, stream.arrays()) for stream in self.streams}
        self._under_way = 0
        self._arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._learning: Future[dict[str, float]] | None = None
        self._matches: dict[int, dict[str, Future[MatchResult | SoloResult]]] = {}  # by the iteration they began in
        self._hand_out()

    # ------------------------------------------------------------------------------- self-play

    def _start_turns(self) -> None:
        """Keeps the executor busy; called by the loop, and by the executor whenever a turn ends."""
        with self._lock:
            # What has come in and is not taken in counts as well: if the loop cannot follow, self-play pauses.
            room = self.executor.size + 1 - self._under_way - max(0, self._arrivals.qsize() - self.executor.size)
            for _ in range(min(room, len(self._idle), self._startable)):
                stream = self._idle.popleft()
                number, games = self._heads[stream]
                self._under_way += 1
                self._startable -= 1
                task = PlayTurn(stream, number, self._simulations(), games, self.config.seed)
                turn = self.executor.submit(task, self._newest, count=partial(self._count, "self-play"))
                turn.add_done_callback(partial(self._come_in, stream, self._born))

    def _come_in(self, stream: int, born: int, turn: Future[PlayedTurn]) -> None:
        with self._lock:
            self._under_way -= 1
            if turn.cancelled() or turn.exception():
                self._startable = 0
            else:
                number, _ = self._heads[stream]
                self._heads[stream] = number + 1, turn.result().games
                self._idle.append(stream)
        self._arrivals.put(Arrival(stream, born, turn))
        self._start_turns()

    def _take_in_the_next(self) -> None:
        """Adds a turn's samples to the buffer, unless they are too old or too many."""
        self._check(0)
        try:
            arrival = self._arrivals.get(timeout=0.1)
        except queue.Empty:
            return
        turn = arrival.turn.result()
        self.streams[arrival.stream].load(turn.games)
        age = (self.turns - arrival.born) / len(self.streams)  # in iterations, as are both bounds
        self.turns += 1
        self._ages.append(age)
        self._statistics += turn.statistics
        if turn.game:
            self._games[arrival.stream] = turn.game
        samples, limits = turn.samples, self.config.cluster
        if age > limits.most_stale:
            self._left_out["stale"] += samples.size
        elif self.owed > limits.most_behind * self._steps():
            self._left_out["behind"] += samples.size
        elif samples.size:
            iteration = torch.full_like(samples.iteration, self.progress.iteration)
            self.replay.extend(samples._replace(iteration=iteration))
            self.owed += self._steps_for(samples.size)

    # -------------------------------------------------------------------------------- learning

    def _steps(self) -> int:
        """An iteration's, once as many games end as begin."""
        config = self.config.self_play
        return max(1, round(self._steps_for(config.streams * config.games * config.moves)))

    def _steps_for(self, samples: int) -> float:
        return samples * self.config.learner.replay_ratio / self.config.learner.batch

    def _keep_learning(self) -> None:
        """Starts a turn's worth of steps as soon as the last ones are done and so many are owed."""
        if self._learning is not None and self._learning.done():
            self._end_learning()
        portion = max(1, self._steps() // len(self.streams))
        if self._learning is None and self.owed >= portion:
            self._begin_learning(portion)

    def _begin_learning(self, steps: int) -> None:
        config = self.config
        through = min(1.0, self.turns / self.turns_in_all)
        self._learning = self.executor.local.submit(
            self.learn,
            self.replay.training_set(),
            steps,
            stream_generator(config.seed, LEARNING, self.learner.steps),
            progress_from=through,
            progress_to=through,
            progress=partial(self._count, "learning"),
        )
        self.owed -= steps

    def _end_learning(self) -> None:
        """Takes what learning brought, and hands the weights out, unless that would be too often."""
        if self._learning is None:
            return
        losses = self._learning.result()
        self._learning = None
        self._losses.append(losses)
        if time.monotonic() >= self._next_hand_out:
            self._hand_out()

    def _hand_out(self) -> None:
        started = time.monotonic()
        weights = self.executor.share(self.learner.weights())
        with self._lock:
            self._newest, self._born = weights, self.turns
        self._handed_out, now = self.learner.steps, time.monotonic()
        self._next_hand_out = now + (now - started) / HANDING_OUT

    # ------------------------------------------------------------------------------ iterations

    def _begin_iteration(self) -> None:
        self._started = time.monotonic()
        self._statistics = SelfPlayStatistics()
        self._losses: list[dict[str, float]] = []
        self._ages: list[float] = []
        self._left_out: Counter[str] = Counter()
        self._games: dict[int, Trajectories] = {}
        self._announce()

    def _close_iteration(self) -> None:
        """Lets learning come to rest, records and saves; self-play goes on meanwhile."""
        iteration, config = self.progress.iteration, self.config.learner
        self._end_learning()
        if self.turns == self.turns_in_all and self.owed >= 1:
            self._begin_learning(int(self.owed))
            self._end_learning()
        if self._handed_out < self.learner.steps:
            self._hand_out()
        checkpoint.save_games(self.folder, iteration, self._games)
        scalars = mean_losses(self._losses)
        scalars |= {
            "cluster/staleness": sum(self._ages) / len(self._ages),
            "cluster/steps_owed": self.owed,
            "cluster/left_out_stale": float(self._left_out["stale"]),
            "cluster/left_out_behind": float(self._left_out["behind"]),
        }
        if taken := self._statistics.samples - self._left_out.total():
            scalars["cluster/replay_ratio"] = scalars.get("learner/steps", 0.0) * config.batch / taken
        not_learned_yet = round(self.owed * config.batch / config.replay_ratio)
        self._finish(scalars, self._statistics, {}, not_learned_yet, seconds=time.monotonic() - self._started)
        if self._due(self.progress.iteration) and self.progress.iteration < self.config.iterations:
            self._matches[self.progress.iteration] = self._start_matches(self._newest)

    def _collect_matches(self, *, wait: bool = False) -> None:
        """Records the matches that have ended, under the iteration they began in."""
        for iteration, matches in list(self._matches.items()):
            if wait or all(match.done() for match in matches.values()):
                results = {tag: match.result() for tag, match in matches.items()}
                scalars = strength_scalars(results)
                self.monitor.record(iteration, scalars)
                self.monitor.report(iteration, scalars)
                del self._matches[iteration]


def mean_losses(parts: list[dict[str, float]]) -> dict[str, float]:
    """Of several calls of `learn`, by their steps; steps and seconds are added up."""
    steps = sum(part["learner/steps"] for part in parts)
    if not steps:
        return {}
    tags = dict.fromkeys(tag for part in parts for tag in part)
    means = {tag: sum(part.get(tag, 0.0) * part["learner/steps"] for part in parts) / steps for tag in tags}
    seconds = sum(part["learner/seconds"] for part in parts)
    return means | {"learner/steps": steps, "learner/seconds": seconds}
