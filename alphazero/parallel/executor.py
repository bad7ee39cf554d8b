"""Executors: they run independent tasks side by side.

A task is a pure function of what it holds and of what is shared with it, such as a network. Its outcome does not depend
on where, when or how often it runs. So an executor can be the threads of this process (`ThreadExecutor`) or processes
on many machines (`ray_executor`), and a task that is lost with its process is run again elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, Self, TypeVar

import torch

Outcome = TypeVar("Outcome")
Outcome_co = TypeVar("Outcome_co", covariant=True)

# Is told how many more units of a task are done than ever before; may raise to end the task.
Counter = Callable[[int], None]
# Shows people a message.
Say = Callable[[str], None]
# Makes the object that a process has prepared for its tasks; is told how many threads an operation may use.
MakeWorker = Callable[[int], Any]


class ExecutorError(Exception):
    """An executor cannot start, or cannot do its tasks; the message says what was asked for and what there is."""


class Task(Protocol[Outcome_co]):
    """A piece of work. Pickled on its way to another process."""

    @property
    def title(self) -> str:
        """The task's name for people: its kind and its seed."""

    def run(self, worker: Any, count: Counter, *shared: Any) -> Outcome_co:
        """Does the work. worker: the object that each process of the executor has prepared for its tasks."""


class Executor(Protocol):
    """Runs tasks side by side. A context; leaving it gives up the tasks under way.

    size:  tasks that run at once.
    local: runs tasks of this process alone, such as learning.
    """

    size: int
    local: ThreadPoolExecutor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.local.shutdown(cancel_futures=True)

    def share(self, thing: Any) -> Any:
        """Prepares a thing that many tasks share; `submit` takes the value returned."""
        return thing

    def submit(self, task: Task[Outcome], *shared: Any, count: Counter = lambda done: None) -> Future[Outcome]:
        """The task's future outcome. `count` is told of its progress, in any thread."""

    def scalars(self) -> dict[str, float]:
        """The executor's metrics since the last call, by tag."""
        return {}


class ThreadExecutor(Executor):
    """Threads of this process; each computes on one core, so that none waits for another within an operation."""

    def __init__(self, worker: Any, threads: int) -> None:
        self.size, self._worker = threads, worker
        # Two threads in one operation of torch are slower than two operations at once.
        torch.set_num_threads(1)
        self.local = ThreadPoolExecutor(threads, "executor", initializer=partial(torch.set_num_threads, 1))

    def submit(self, task: Task[Outcome], *shared: Any, count: Counter = lambda done: None) -> Future[Outcome]:
        return self.local.submit(task.run, self._worker, count, *shared)


def available_cores() -> int:
    """Cores that this process may use; where the system does not say, all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
