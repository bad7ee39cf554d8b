"""A small benchmark of a small run of tic-tac-toe, which the tests of benchmarks share."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

from alphazero.arena.benchmark import Benchmark
from alphazero.arena.plan import plan
from alphazero.arena.players import SearchBudget
from alphazero.parallel.executor import ThreadExecutor
from alphazero.runs.agents import Agent, load_agent
from tests.training_runs import whole_run

FAST = SearchBudget(4)


class Listener:
    """Records its calls, and raises once `patience` steps have ended."""

    def __init__(self, patience: int = 10**9) -> None:
        self.begun: list[tuple[str, int, str, int]] = []
        self.done: list[int] = []
        self.ended: list[str] = []
        self.patience = patience

    def begin(self, title: str, total: int, unit: str, *, steps: int) -> Callable[[int], None]:
        if steps and len(self.ended) >= self.patience:
            raise KeyboardInterrupt
        self.begun.append((title, total, unit, steps))
        self.done.append(0)
        place = len(self.done) - 1

        def advance(done: int) -> None:
            self.done[place] += done

        return advance

    def end(self, title: str, summary: str) -> None:
        if summary:
            self.ended.append(f"{title}: {summary}")


@functools.cache
def small_run(base: Path) -> Path:
    """A trained run that all tests of benchmarks may share."""
    return Path(shutil.copytree(whole_run(base).folder, base / "benchmarked"))


LOADED: dict[bytes, Agent] = {}


def load_quickly(path: Path, *, game: str | None = None, network: str | None = None) -> Agent:
    """`load_agent`, but a checkpoint is exported only once, however many copies there are."""
    model = path / "model.safetensors"
    if not model.is_file():
        return load_agent(path, game=game, network=network)
    content = model.read_bytes()
    if content not in LOADED:
        LOADED[content] = load_agent(path, game=game, network=network)
    return LOADED[content]


def played(path: Path, **options: object) -> Benchmark:
    listener = Listener()
    settings = {"games": 8, "budget": FAST, "seed": 1, "curve": 0} | options
    benchmark = plan(path, listener, **settings)  # type: ignore[arg-type]
    benchmark.run_all(listener, ThreadExecutor(None, 1))
    return benchmark
