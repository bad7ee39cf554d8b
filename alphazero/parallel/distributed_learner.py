"""A learner distributed over ranks, each a process of its own, on a core or a GPU.

Each rank has the learner's state and takes every step on its share of the batch's rows (`rank`), so together they learn
the same as one learner, up to rounding. When a rank is lost, with its machine or without, the others keep the state
after the last whole step. New ranks go on from there with the same batches, as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

import numpy as np
import ray
import torch
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from alphazero.learner import Learner, draw, terciles
from alphazero.parallel.executor import ExecutorError
from alphazero.parallel.rank import GROUPS, Progress, Rank, arrays, load_state, state_of
from alphazero.parallel.ray_cluster import Needs, check_room, have
from alphazero.replay import Samples

STEPS = 32  # steps whose batches go to the ranks in one message
RESTARTS = 5  # of the ranks, in a row without a step in between, before learning is given up
ROOM, NOTICE, ANSWER = 10.0, 5.0, 10.0  # seconds: for resources; for Ray to see that a process died; for a rank's state


class DistributedLearnerError(ExecutorError, RuntimeError):
    """Ranks are lost faster than new ones can take their place."""


class RankLostError(Exception):
    """The processes of these ranks have died."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(f"rank {' and '.join(map(str, numbers))}")
        self.numbers = numbers


class LearnCall:
    """A call of `DistributedLearner.learn`: what it learns from, and how far it has come.

    state, saved: the newest state that this process has, and the steps done before it.
    measures:     by tag, of all rows, for each step done.
    furthest:     the most steps that were ever done; a loss of ranks may undo some.
    """

    def __init__(self, learner: Learner, samples: Samples, rates: list[float], generator: torch.Generator) -> None:
        self.game, self.batch, self.first = learner.game, learner.config.batch_size, learner.steps
        self.samples, self.rates, self.tercile = samples, rates, terciles(samples)
        self.generator = generator
        self.generator_states = [generator.get_state()]  # before each message is drawn
        self.drawn: dict[int, list[np.ndarray]] = {}  # the last two messages' batches
        self.state, self.saved = state_of(learner), 0
        self.measures: list[dict[str, float]] = []
        self.seconds, self.furthest = 0.0, 0

    def next(self) -> tuple[list[np.ndarray], list[float]]:
        """The batches, as `arrays`, and learning rates of the next steps, STEPS at most."""
        message, skipped = divmod(len(self.measures), STEPS)
        self.draw(message)
        rates = self.rates[len(self.measures) : (message + 1) * STEPS]
        return [field[skipped:] for field in self.drawn[message]], rates

    def draw_ahead(self) -> None:
        """Draws the batches of the message after this one."""
        self.draw(len(self.measures) // STEPS + 1)

    def draw(self, message: int) -> None:
        """Draws the batches of a message as `Learner.learn` draws them, if they are not there (any more)."""
        steps = len(self.rates[message * STEPS : (message + 1) * STEPS])
        if steps and message not in self.drawn:
            self.generator.set_state(self.generator_states[message])
            batches = [draw(self.game, self.samples, self.batch, self.generator) for _ in range(steps)]
            self.generator_states[message + 1 :] = [self.generator.get_state()]
            self.drawn = {n: kept for n, kept in self.drawn.items() if n == message - 1} | {message: arrays(batches)}

    def extend(self, done: Progress) -> int:
        """Adds the steps that a rank has done; returns how many of them are done for the first time."""
        new = done.steps - self.first - len(self.measures)
        self.measures += done.measures[len(done.measures) - new :]
        before, self.furthest = self.furthest, max(self.furthest, len(self.measures))
        return self.furthest - before


class DistributedLearner:
    """Learns with ranks in the Ray cluster, in place of `learner.learn`. A context that holds the ranks' resources.

    say: is told of lost ranks.
    """

    def __init__(self, learner: Learner, *, ranks: int, gpus: bool, say: Callable[[str], None]) -> None:
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
        self,
        samples: Samples,
        steps: int,
        generator: torch.Generator,
        *,
        progress_from: float,
        progress_to: float,
        progress: Callable[[int], None] = lambda steps: None,
    ) -> dict[str, float]:
        """The same as `Learner.learn`, but `learner/seconds` counts all ranks.

        `progress` may raise an exception to end it, and is called with 0 for that as well. ExecutorError if there is no
        room for the ranks, DistributedLearnerError if they are lost again and again, and any exception of a rank. After
        any exception the learner is as it was before.
        """
        started, learner = time.thread_time(), self.learner
        rates = learner.learning_rates(steps, progress_from, progress_to)
        call = LearnCall(learner, samples, rates, generator)
        try:
            self._learn_all(call, progress)
        except BaseException:
            self._stop()  # they may be under way, or in different states
            raise
        load_state(learner, call.state)
        tags = call.measures[0] if steps else {}
        means = learner.means({tag: sum(step[tag] for step in call.measures) for tag in tags}, rates)
        return means | {"learner/seconds": call.seconds + time.thread_time() - started}

    def _learn_all(self, call: LearnCall, progress: Callable[[int], None]) -> None:
        """Takes all steps of the call, with new ranks whenever one is lost."""
        restarts = 0  # losses in a row without a step in between
        while True:
            before = call.furthest
            try:
                self._load(call.state, progress)
                self._take_steps(call, progress)
                return
            except RankLostError as lost:
                if newest := self._newest():
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
                at = call.first + call.saved
                self.say(f"{lost} of {self.ranks} of the learner is lost; new ranks go on from step {at}.")

    def _take_steps(self, call: LearnCall, progress: Callable[[int], None]) -> None:
        """Takes the steps that are left, with ranks that have the call's state."""
        share = call.batch // self.ranks
        thirds = call.tercile.numpy()
        while len(call.measures) < len(call.rates):
            batches, rates = call.next()
            parts = [[field[:, n * share : (n + 1) * share] for field in batches] for n in range(self.ranks)]
            calls = [rank.learn.remote(part, rates, thirds) for rank, part in zip(self.actors, parts, strict=True)]
            call.draw_ahead()  # while they work
            done: list[Progress] = self._outcomes(calls, progress)
            call.seconds += sum(one.seconds for one in done)
            progress(call.extend(done[0]))
        (call.state,) = self._outcomes([self.actors[0].state.remote()], progress)

    def _reserve(self) -> PlacementGroup:
        if self.placement is None:
            needs, what = Needs(1, int(self.gpus)), f"rank{'s' * (self.ranks != 1)} of the learner"
            check_room(self.ranks, needs, what)
            self.placement = placement_group([{"CPU": 1, "GPU": 1} if self.gpus else {"CPU": 1}] * self.ranks, "PACK")
            if not self.placement.wait(ROOM):
                self._stop()
                raise ExecutorError(f"{self.ranks} {what} of {needs} each were asked for, and {have()}")
        return self.placement

    def _load(self, state: bytes, progress: Callable[[int], None]) -> None:
        """Gives the ranks this state, after starting them if there are none."""
        try:
            if not self.actors:
                self._start(progress)
            shared = ray.put(state)
            self._outcomes([rank.load.remote(shared) for rank in self.actors], progress)
        except RankLostError:
            self._stop()  # they have done nothing worth keeping
            raise

    def _start(self, progress: Callable[[int], None]) -> None:
        place, learner = self._reserve(), self.learner
        remote: Any = ray.remote  # its types lack the call with options alone
        for number in range(self.ranks):
            strategy = PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=number)
            actor = remote(num_cpus=1, num_gpus=int(self.gpus), scheduling_strategy=strategy, concurrency_groups=GROUPS)
            self.actors.append(actor(Rank).remote())
        (address,) = self._outcomes([self.actors[0].listen.remote()], progress)
        config = replace(learner.config, device="cuda:0" if self.gpus else "cpu")
        parts = (learner.game, config, learner.network_config)
        joining = [rank.join.remote(address, n, self.ranks, *parts) for n, rank in enumerate(self.actors)]
        self._outcomes(joining, progress)

    def _outcomes(self, calls: list[Any], progress: Callable[[int], None]) -> list[Any]:
        """Outcomes of a call to each rank. RankLostError if a process has died, else what a rank raised."""
        waiting = calls
        try:
            while waiting:
                ready, waiting = ray.wait(waiting, timeout=0.5)
                progress(0)
                ray.get(ready)
            return ray.get(calls)
        except RayError as error:
            # When a rank dies, the others often fail before Ray sees it die.
            until = time.monotonic() + (NOTICE if isinstance(error, RuntimeError) else 0)
            while not (lost := [n for n, call in enumerate(calls) if dead(call)]) and time.monotonic() < until:
                time.sleep(0.1)
            if lost:
                raise RankLostError(lost) from error
            raise

    def _newest(self) -> tuple[Progress, bytes] | None:
        """Progress and state of the rank that got furthest; None if no rank answers."""
        for rank in self.actors:
            rank.abort.remote()
        asked = [(rank.progress.remote(), rank.state.remote()) for rank in self.actors]
        ray.wait([call for calls in asked for call in calls], num_returns=2 * len(asked), timeout=ANSWER)
        answers: list[tuple[Progress, bytes]] = []
        for progress, state in asked:
            with suppress(RayError):
                answers.append((ray.get(progress, timeout=0), ray.get(state, timeout=0)))
        return max(answers, key=lambda answer: answer[0].steps, default=None)

    def _stop(self) -> None:
        for actor in self.actors:
            ray.kill(actor)
        self.actors = []
        if self.placement is not None:
            remove_placement_group(self.placement)
        self.placement = None


def dead(call: Any) -> bool:
    """Whether the call has failed because its process died."""
    try:
        ray.get(call, timeout=0)
    except (RayTaskError, GetTimeoutError):
        return False
    except RayError:
        return True
    return False
