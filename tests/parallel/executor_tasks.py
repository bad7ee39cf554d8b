"""Tasks for tests of executors, and functions that wait for them. Workers import this module."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from alphazero.parallel.executor import Counter

PATIENCE = 120.0  # seconds: the machine may be busy with other things


def wait_until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs. A process may end between any two looks at it, and a zombie has ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def make_nothing(threads: int) -> dict[str, int]:
    return {"threads": threads}


@dataclass(frozen=True)
class CountTask:
    """Counts to `units` in `seconds`, and adds its seed to the file `book` each time it is run."""

    seed: int
    book: Path
    units: int = 5
    seconds: float = 0.0

    @property
    def title(self) -> str:
        return f"task of seed {self.seed}"

    def run(self, worker: dict[str, int], count: Counter, *shared: int) -> tuple[int, int]:
        with self.book.open("a") as book:
            book.write(f"{self.seed}\n")
        for _ in range(self.units):
            time.sleep(self.seconds / self.units)
            count(1)
        return self.seed**2 + sum(shared), os.getpid()


@dataclass(frozen=True)
class FailingTask(CountTask):
    """Fails by its own fault."""

    def run(self, worker: dict[str, int], count: Counter, *shared: int) -> tuple[int, int]:
        super().run(worker, count, *shared)
        raise ZeroDivisionError(f"no such luck with {self.seed}")


@dataclass(frozen=True)
class DeadlyTask(CountTask):
    """Kills its process."""

    def run(self, worker: dict[str, int], count: Counter, *shared: int) -> tuple[int, int]:
        super().run(worker, count, *shared)
        os._exit(1)


@dataclass(frozen=True)
class ThreadsTask(CountTask):
    """Returns how many threads an operation of torch has, and how many the worker was made with."""

    def run(self, worker: dict[str, int], count: Counter, *shared: int) -> tuple[int, int]:
        return torch.get_num_threads(), worker["threads"]
