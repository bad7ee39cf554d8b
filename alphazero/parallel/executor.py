"""Who does the work: tasks that know nothing of one another, and a crew that does them side by side.

A task is a pure function of what it holds and of what is shared with it, such as a network. Where, when and how
often it is run makes no difference to its outcome. So a crew can be the threads of this process (`Threads`) or
processes on many machines (`alphazero.parallel`), and a task that is lost with its process is run again elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import torch

Outcome = TypeVar("Outcome")
Outcome_co = TypeVar("Outcome_co", covariant=True)

# Is told how many more units of a task are done than ever before; may raise to end the task.
Counter = Callable[[int], None]


class CrewError(Exception):
    """The crew cannot be had, or cannot do what is asked; the message says what was asked for and what there is."""


class Task(Protocol[Outcome_co]):
    """A piece of work. Pickled on its way to another process."""

    @property
    def title(self) -> str:
        """What it is, with its seed, for people who have to find it again."""

    def run(self, worker: Any, count: Counter, *shared: Any) -> Outcome_co:
        """`worker`: what every process of the crew has made ready for its tasks."""


class Crew(Protocol):
    """A context: what is under way when it is left is given up.

    size:  how many tasks are done at once.
    local: where tasks of this process alone go, such as learning.
    """

    size: int

    @property
    def local(self) -> Executor: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def share(self, thing: Any) -> Any:
        """Makes a thing ready to go along with many tasks; `submit` takes what is returned."""

    def submit(self, task: Task[Outcome], *shared: Any, count: Counter = lambda done: None) -> Future[Outcome]:
        """The task's outcome, in time. `count` is told of its progress, in any thread."""

    def scalars(self) -> dict[str, float]:
        """What there is to watch of the crew since the last call, by tag."""


class Threads:
    """Threads of this process; each computes on one core, so that none waits for another within an operation."""

    def __init__(self, worker: Any, threads: int) -> None:
        self.size, self._worker = threads, worker
        # Two threads in one operation of torch are slower than two operations at once.
        torch.set_num_threads(1)
        self.local = ThreadPoolExecutor(threads, "crew", initializer=partial(torch.set_num_threads, 1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.local.shutdown(cancel_futures=True)

    def share(self, thing: Any) -> Any:
        return thing

    def submit(self, task: Task[Outcome], *shared: Any, count: Counter = lambda done: None) -> Future[Outcome]:
        return self.local.submit(task.run, self._worker, count, *shared)

    def scalars(self) -> dict[str, float]:
        return {}


def available_cores() -> int:
    """Cores that this process may use; where the system does not say, all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
