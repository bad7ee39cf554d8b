"""A learner distributed over ranks, each a process of its own, on a core or a GPU.

Each rank has the learner's state and takes every step on its share of the batch's rows (`rank`), so together they learn
the same as one learner, up to rounding. When a rank is lost, with its machine or without, the others keep the state
after the last whole step. New ranks go on from there with the same batches, as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import replace
from functools import partial
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch import Generator

from alphazero.learner import Batch, Learner, draw, terciles
from alphazero.parallel.executor import Counter, ExecutorError, Say
from alphazero.parallel.rank import Progress, Rank, arrays, load_state, state_of
from alphazero.parallel.ray_cluster import Needs, check_daemons, check_room, dead_daemons, have
from alphazero.replay import Samples

STEPS = 32  # steps whose batches go to the ranks in one message
RESTARTS = 5  # of the ranks, in a row without a step in between, before learning is given up
ROOM, NOTICE, ANSWER = 10.0, 5.0, 10.0  # seconds: for resources; for Ray to see that a process died; for a rank's state


class DistributedLearnerError(ExecutorError, RuntimeError):
    """Ranks are lost faster than new ones can take their place."""


class RankLostError(Exception):
    """The processes of the ranks that it names have died."""


class LearnCall:
    """A call of `DistributedLearner.learn`: what it learns from, and how far it has come.

    state, saved: the newest state that this process has, and the steps done before it.
    measures:     by tag, of all rows, for each step done.
    furthest:     the most steps that were ever done; a loss of ranks may undo some.
    """

    def __init__(self, learner: Learner, samples: Samples, rates: list[float], generator: Generator) -> None:
        self.learner, self.samples, self.rates, self.generator = learner, samples, rates, generator
        self.generator_states = [generator.get_state()]  # before each batch is drawn
        self.state, self.saved = state_of(learner), 0
        self.measures: list[dict[str, float]] = []
        self.seconds, self.furthest = 0.0, 0

    def messages(self, ranks: int) -> Iterator[tuple[list[Batch], list[float]]]:
        """Each rank's rows of the batches, as `arrays`, and the learning rates of the steps that are left.

        STEPS at most are in a message. Batches are drawn as `Learner.learn` draws them, and the same ones again.
        """
        done, size = len(self.measures), self.learner.config.batch_size
        del self.generator_states[done + 1 :]
        self.generator.set_state(self.generator_states[done])
        for start in range(done, len(self.rates), STEPS):
            rates, batches = self.rates[start : start + STEPS], []
            for _ in rates:
                batches.append(draw(self.learner.game, self.samples, size, self.generator))
                self.generator_states.append(self.generator.get_state())
            share = size // ranks
            yield [arrays(batches, slice(first, first + share)) for first in range(0, size, share)], rates

    def extend(self, done: Progress) -> int:
        """Adds the steps that a rank has done; returns how many of them are done for the first time."""
        new = done.steps - self.learner.steps - len(self.measures)
        self.measures += done.measures[len(done.measures) - new :]
        before, self.furthest = self.furthest, max(self.furthest, len(self.measures))
        return self.furthest - before


class DistributedLearner:
    """Learns with ranks in the Ray cluster, in place of `learner.learn`. A context that holds the ranks' resources.

    say: is told of lost ranks.
    """

    def __init__(self, learner: Learner, *, ranks: int, gpus: bool, say: Say) -> None:
        """ExecutorError if the ranks cannot have equal shares of a batch."""
        size = learner.config.batch_size
        if size % ranks:
            raise ExecutorError(
                f"learner.batch_size = {size} does not divide into {ranks} ranks of as many samples each; "
                f"set it to {-(-size // ranks) * ranks}, or change the number of ranks"
            )
        self.learner, self.ranks, self.gpus, self.say = learner, ranks, gpus, say
        self.actors: list[Any] = []  # handles of `Rank`
        self.placement: PlacementGroup | None = None

    def __enter__(self) -> Self:
        """ExecutorError if the cluster lacks the resources."""
        self._reserve()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def learn(
        self, samples: Samples, rates: list[float], generator: Generator, *, progress: Counter = lambda n: None
    ) -> dict[str, float]:
        """The same as `Learner.learn`, but `learner/seconds` counts all ranks.

        `progress` may raise an exception to end it, and is called with 0 for that as well. ExecutorError if there is no
        room for the ranks, DistributedLearnerError if they are lost again and again, and any exception of a rank. After
        any exception the learner is as it was before.
        """
        started, learner = time.thread_time(), self.learner
        call = LearnCall(learner, samples, rates, generator)
        try:
            self._learn_all(call, progress)
        except BaseException:
            self._stop()  # they may be under way, or in different states
            raise
        load_state(learner, call.state)
        tags = call.measures[0] if rates else {}
        means = learner.means({tag: sum(step[tag] for step in call.measures) for tag in tags}, rates)
        return means | {"learner/seconds": call.seconds + time.thread_time() - started}

    def _learn_all(self, call: LearnCall, progress: Counter) -> None:
        """Takes all steps of the call, with new ranks whenever one is lost."""
        restarts = 0  # losses in a row without a step in between
        while True:
            before, loaded = call.furthest, False
            try:
                self._load(call.state, progress)
                loaded = True
                self._take_steps(call, progress)
                return
            except RankLostError as lost:
                if loaded and (newest := self._newest()):
                    progress(call.extend(newest[0]))
                    call.state, call.saved = newest[1], len(call.measures)
                del call.measures[call.saved :]
                self._stop()
                restarts = 1 if call.furthest > before else restarts + 1
                if restarts > RESTARTS:
                    raise DistributedLearnerError(
                        f"{lost} of {self.ranks} of the learner is lost, after {RESTARTS} new "
                        f"start{'s' * (RESTARTS != 1)} without a step in between: {lost.__cause__}"
                    ) from lost
                at = call.learner.steps + call.saved
                self.say(f"{lost} of {self.ranks} of the learner is lost; new ranks go on from step {at}.")

    def _take_steps(self, call: LearnCall, progress: Counter) -> None:
        """Takes the steps that are left, with ranks that have the call's state."""
        tercile, messages = terciles(call.samples), call.messages(self.ranks)
        message = next(messages, None)
        while message:
            parts, rates = message
            calls = [rank.learn.remote(part, rates, tercile) for rank, part in zip(self.actors, parts, strict=True)]
            message = next(messages, None)  # drawn while they work
            done: list[Progress] = self._outcomes(calls, progress)
            call.seconds += sum(one.seconds for one in done)
            progress(call.extend(done[0]))
        ((_, call.state),) = self._outcomes([self.actors[0].newest.remote()], progress)

    def _reserve(self) -> PlacementGroup:
        if self.placement is None:
            needs, what = Needs(1, int(self.gpus)), f"rank{'s' * (self.ranks != 1)} of the learner"
            check_room(self.ranks, needs, what)
            self.placement = placement_group([{"CPU": 1, "GPU": 1} if self.gpus else {"CPU": 1}] * self.ranks, "PACK")
            if not self.placement.wait(ROOM):
                self._stop()
                raise ExecutorError(f"{self.ranks} {what} of {needs} each were asked for, and {have()}")
        return self.placement

    def _load(self, state: bytes, progress: Counter) -> None:
        """Gives the ranks this state, after starting them if there are none."""
        if not self.actors:
            self._start(progress)
        shared = ray.put(state)
        self._outcomes([rank.load.remote(shared) for rank in self.actors], progress)

    def _start(self, progress: Counter) -> None:
        place, learner = self._reserve(), self.learner
        remote: Any = ray.remote  # its types lack the call with options alone
        actor = remote(num_cpus=1, num_gpus=int(self.gpus), concurrency_groups={"abort": 1})(Rank)
        for number in range(self.ranks):
            strategy = PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=number)
            self.actors.append(actor.options(scheduling_strategy=strategy).remote())
        (address,) = self._outcomes([self.actors[0].listen.remote()], progress)
        config = replace(learner.config, device="cuda:0" if self.gpus else "cpu")
        make = partial(Learner, learner.game, config, learner.network_config, seed=0)
        self._outcomes([rank.join.remote(address, n, self.ranks, make) for n, rank in enumerate(self.actors)], progress)

    def _outcomes(self, calls: list[Any], progress: Counter) -> list[Any]:
        """Outcomes of a call to each rank. RankLostError if a process has died, else what a rank raised."""
        outcomes: list[Future[Any]] = [call.future() for call in calls]
        waiting = set(outcomes)
        try:
            while waiting:
                ready, waiting = wait(waiting, 0.5, FIRST_EXCEPTION)
                progress(0)
                check_daemons()
                for outcome in ready:
                    outcome.result()
            return [outcome.result() for outcome in outcomes]
        except RayError as error:
            # When a rank dies, the others often fail before Ray sees it die.
            until = time.monotonic() + (NOTICE if isinstance(error, RuntimeError) else 0)
            while not (lost := [str(n) for n, one in enumerate(outcomes) if dead(one)]) and time.monotonic() < until:
                time.sleep(0.1)
            if lost:
                raise RankLostError(f"rank {' and '.join(lost)}") from error
            raise

    def _newest(self) -> tuple[Progress, bytes] | None:
        """Progress and state of the rank that got furthest; None if no rank answers."""
        for rank in self.actors:
            rank.abort.remote()
        asked: list[Future[tuple[Progress, bytes]]] = [rank.newest.remote().future() for rank in self.actors]
        wait(asked, ANSWER)
        answers = [one.result() for one in asked if one.done() and not one.exception()]
        return max(answers, key=lambda answer: answer[0].steps, default=None)

    def _stop(self) -> None:
        if not dead_daemons():
            for actor in self.actors:
                ray.kill(actor)
            if self.placement is not None:
                remove_placement_group(self.placement)
        self.actors, self.placement = [], None


def dead(outcome: Future[Any]) -> bool:
    """Whether the call has failed because its process died."""
    error = outcome.exception() if outcome.done() else None
    return isinstance(error, RayError) and not isinstance(error, RayTaskError)
