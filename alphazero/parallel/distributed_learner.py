"""A learner distributed over ranks, each a process of its own, on a core or a GPU.

Each has the learner's state and takes every step on its share of the batch's rows (`rank`), so together they learn
what one learner would, to rounding. When a rank is lost, with its machine or without, the others keep the state after
the last whole step. New ranks go on from there with the same batches, as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np
import ray
import torch
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from alphazero.learner import Learner, draw, terciles
from alphazero.parallel.executor import ExecutorError
from alphazero.parallel.rank import ASIDE, Progress, Rank, arrays, load_state, state_of
from alphazero.parallel.ray_cluster import Needs, check_room, have
from alphazero.replay import Samples

STEPS = 32  # whose batches go to the ranks in one message
REBUILDS = 5  # in a row without a step in between; then it is given up
ROOM, NOTICE, ANSWER = 10.0, 5.0, 10.0  # seconds: for resources; for Ray to see that a process died; for a rank's state


class DistributedLearnerError(ExecutorError, RuntimeError):
    """Ranks are lost faster than new ones can take their place."""


class RankLostError(Exception):
    """Processes of ranks have died; `numbers` says of which."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(f"rank {' and '.join(map(str, numbers))}")
        self.numbers = numbers


class Course:
    """A call of `DistributedLearner.learn`: what is to be learned from, and how far it has come.

    state, saved: the newest state that is in this process, and how many of the steps it has behind it.
    measures:     of all rows by tag, of each step that is done.
    furthest:     the most steps that ever were done.
    """

    def __init__(self, learner: Learner, samples: Samples, rates: list[float], generator: torch.Generator) -> None:
        self.game, self.batch, self.first = learner.game, learner.config.batch_size, learner.steps
        self.samples, self.rates, self.tercile = samples, rates, terciles(samples)
        self.generator, self.start = generator, generator.get_state()
        self.drawn: dict[int, list[np.ndarray]] = {}  # the last two messages' batches
        self.messages = 0  # that were drawn
        self.state, self.saved = state_of(learner), 0
        self.measures: list[dict[str, float]] = []
        self.seconds, self.furthest = 0.0, 0

    def next(self) -> tuple[list[np.ndarray], list[float]]:
        """Batches, as `arrays`, and learning rates of the steps to take now, STEPS at most."""
        message, skipped = divmod(len(self.measures), STEPS)
        self.draw(message)
        rates = self.rates[len(self.measures) : (message + 1) * STEPS]
        return [field[skipped:] for field in self.drawn[message]], rates

    def draw_ahead(self) -> None:
        """Makes ready what `next` returns after this."""
        self.draw(len(self.measures) // STEPS + 1)

    def draw(self, message: int) -> None:
        """Draws up to the message, as `Learner.learn` draws; all of them anew for one that is not kept any more."""
        if message < self.messages and message not in self.drawn:
            self.generator.set_state(self.start)
            self.messages = 0
        for number in range(self.messages, message + 1):
            steps = len(self.rates[number * STEPS : (number + 1) * STEPS])
            if steps:
                batches = [draw(self.game, self.samples, self.batch, self.generator) for _ in range(steps)]
                self.drawn = {n: kept for n, kept in self.drawn.items() if n == number - 1} | {number: arrays(batches)}
                self.messages += 1

    def extend(self, done: Progress) -> int:
        """Takes what a rank has done; returns how many steps further than ever that is."""
        new = done.steps - self.first - len(self.measures)
        self.measures += done.measures[len(done.measures) - new :]
        before, self.furthest = self.furthest, max(self.furthest, len(self.measures))
        return self.furthest - before


class DistributedLearner:
    """Brings a learner on with ranks in the Ray cluster. A context, which takes its resources and gives them back.

    say: is told when a rank is lost.
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
        self.members: list[Any] = []  # handles of `Rank`
        self.place: PlacementGroup | None = None

    def __enter__(self) -> Self:
        """ExecutorError if the cluster lacks the resources."""
        self._reserve()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disband()

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
        """What `Learner.learn` does and returns; `learner/seconds` are those of all ranks.

        `progress` may raise to end it, and is called with 0 for that as well. ExecutorError if there is no room for the
        ranks, DistributedLearnerError if they are lost again and again, and what a rank itself raises. After any
        exception the learner is as it was before.
        """
        started, learner = time.thread_time(), self.learner
        rates = learner.learning_rates(steps, progress_from, progress_to)
        course = Course(learner, samples, rates, generator)
        try:
            self._finish(course, progress)
        except BaseException:
            self._disband()  # ranks that are under way, or in different states
            raise
        load_state(learner, course.state)
        tags = course.measures[0] if steps else {}
        means = learner.means({tag: sum(step[tag] for step in course.measures) for tag in tags}, rates)
        return means | {"learner/seconds": course.seconds + time.thread_time() - started}

    def _finish(self, course: Course, progress: Callable[[int], None]) -> None:
        """Learns to the end of the course, with new ranks whenever one is lost."""
        in_vain = 0  # losses in a row without a step in between
        while True:
            before = course.furthest
            try:
                self._gather(course.state, progress)
                self._follow(course, progress)
                return
            except RankLostError as lost:
                if salvaged := self._salvage():
                    progress(course.extend(salvaged[0]))
                    course.state, course.saved = salvaged[1], len(course.measures)
                del course.measures[course.saved :]
                self._disband()
                in_vain = 1 if course.furthest > before else in_vain + 1
                if in_vain > REBUILDS:
                    raise DistributedLearnerError(
                        f"{lost} of {self.ranks} of the learner is lost, after {REBUILDS} new "
                        f"start{'s' * (REBUILDS != 1)} without a step in between: {lost.__cause__}"
                    ) from lost
                at = course.first + course.saved
                self.say(f"{lost} of {self.ranks} of the learner is lost; new ranks go on from step {at}.")

    def _follow(self, course: Course, progress: Callable[[int], None]) -> None:
        """Learns to the end of the course with ranks that stand where it does."""
        share = course.batch // self.ranks
        thirds = course.tercile.numpy()
        while len(course.measures) < len(course.rates):
            batches, rates = course.next()
            parts = [[field[:, n * share : (n + 1) * share] for field in batches] for n in range(self.ranks)]
            calls = [rank.learn.remote(part, rates, thirds) for rank, part in zip(self.members, parts, strict=True)]
            course.draw_ahead()  # while they work
            done: list[Progress] = self._outcomes(calls, progress)
            course.seconds += sum(one.seconds for one in done)
            progress(course.extend(done[0]))
        (course.state,) = self._outcomes([self.members[0].state.remote()], progress)

    def _reserve(self) -> PlacementGroup:
        if self.place is None:
            needs, what = Needs(1, int(self.gpus)), f"rank{'s' * (self.ranks != 1)} of the learner"
            check_room(self.ranks, needs, what)
            self.place = placement_group([{"CPU": 1, "GPU": 1} if self.gpus else {"CPU": 1}] * self.ranks, "PACK")
            if not self.place.wait(ROOM):
                self._disband()
                raise ExecutorError(f"{self.ranks} {what} of {needs} each were asked for, and {have()}")
        return self.place

    def _gather(self, state: bytes, progress: Callable[[int], None]) -> None:
        """Has ranks stand where `state` does, new ones if there are none."""
        try:
            if not self.members:
                self._start(progress)
            shared = ray.put(state)
            self._outcomes([rank.load.remote(shared) for rank in self.members], progress)
        except RankLostError:
            self._disband()  # there is nothing to salvage
            raise

    def _start(self, progress: Callable[[int], None]) -> None:
        place, learner = self._reserve(), self.learner
        remote: Any = ray.remote  # whose types do not tell that it takes options alone
        for number in range(self.ranks):
            strategy = PlacementGroupSchedulingStrategy(place, placement_group_bundle_index=number)
            actor = remote(num_cpus=1, num_gpus=int(self.gpus), scheduling_strategy=strategy, concurrency_groups=ASIDE)
            self.members.append(actor(Rank).remote())
        (meeting,) = self._outcomes([self.members[0].listen.remote()], progress)
        config = replace(learner.config, device="cuda:0" if self.gpus else "cpu")
        parts = (learner.game, config, learner.network_config)
        joining = [rank.join.remote(meeting, n, self.ranks, *parts) for n, rank in enumerate(self.members)]
        self._outcomes(joining, progress)

    def _outcomes(self, calls: list[Any], progress: Callable[[int], None]) -> list[Any]:
        """Of a call to each rank. RankLostError if a process has died, else what a rank raised."""
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

    def _salvage(self) -> tuple[Progress, bytes] | None:
        """What the rank that got furthest has done, and its state; None if none answers."""
        for rank in self.members:
            rank.leave.remote()
        asked = [(rank.progress.remote(), rank.state.remote()) for rank in self.members]
        ray.wait([call for calls in asked for call in calls], num_returns=2 * len(asked), timeout=ANSWER)
        answers: list[tuple[Progress, bytes]] = []
        for progress, state in asked:
            with suppress(RayError):
                answers.append((ray.get(progress, timeout=0), ray.get(state, timeout=0)))
        return max(answers, key=lambda answer: answer[0].steps, default=None)

    def _disband(self) -> None:
        for member in self.members:
            ray.kill(member)
        self.members = []
        if self.place is not None:
            remove_placement_group(self.place)
        self.place = None


def dead(call: Any) -> bool:
    """Whether the call has failed for its process's death."""
    try:
        ray.get(call, timeout=0)
    except (RayTaskError, GetTimeoutError):
        return False
    except RayError:
        return True
    return False
