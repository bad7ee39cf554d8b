"""Tasks and games for tests of executors. In a module of its own, since workers import it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from alphazero.game import Transition
from alphazero.parallel.executor import Counter
from games.tic_tac_toe import TicTacToe, TicTacToeState


def make_nothing(threads: int) -> dict[str, int]:
    return {"threads": threads}


@dataclass(frozen=True)
class CountTask:
    """Counts to `units` in `seconds`, and signs a book of who ran it."""

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
    """Takes its process with it."""

    def run(self, worker: dict[str, int], count: Counter, *shared: int) -> tuple[int, int]:
        super().run(worker, count, *shared)
        os._exit(1)


@dataclass(frozen=True)
class ThreadsTask(CountTask):
    """Says how many threads an operation of torch and the worker's own have."""

    def run(self, worker: dict[str, int], count: Counter, *shared: int) -> tuple[int, int]:
        return torch.get_num_threads(), worker["threads"]


class Sick(TicTacToe):
    """Breaks in every process but the driver, which has said who it is, once there is a mark on a board."""

    def step(self, state: TicTacToeState, action: torch.Tensor) -> Transition:
        if os.environ.get("SICK_DRIVER") != str(os.getpid()) and bool((state.mine | state.theirs).any()):
            raise ArithmeticError("the board has caught a cold")
        return super().step(state, action)
