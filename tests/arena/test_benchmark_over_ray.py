"""A benchmark over Ray workers gives the same figures as one in this process, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from alphazero.arena.benchmark import Benchmark, Match, PositionTest
from alphazero.arena.minimax import minimax
from alphazero.arena.opponents import expected_moves
from alphazero.arena.players import Player, SearchBudget
from alphazero.arena.registry import PlayerSpec, find_player
from alphazero.arena.solved import SolvedPositions
from alphazero.config import LearnerConfig, NetworkConfig, SearchConfig
from alphazero.game import State
from alphazero.learner import Learner
from alphazero.network.inference import NetworkEvaluators
from alphazero.parallel.executor import ThreadExecutor
from alphazero.parallel.ray_cluster import Needs, cluster
from alphazero.parallel.ray_executor import RayExecutor
from alphazero.runs.agents import Agent
from games.tic_tac_toe import TicTacToe
from tests.small_benchmark import Listener

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with cluster("", cores=2):
        yield


@pytest.fixture(scope="module")
def agent() -> Agent:
    game = TicTacToe()
    learner = Learner(game, LearnerConfig(), NetworkConfig(kind="dense", blocks=1, width=16), seed=1)
    return Agent(game, NetworkEvaluators(game, engine="onnx")(learner.weights()), SearchConfig(), "untrained")


@pytest.fixture(scope="module")
def positions() -> SolvedPositions:
    """All after three moves: enough for several chunks."""
    game = TicTacToe()
    ways = torch.cartesian_prod(*[torch.arange(9)] * 3)
    ways = ways[[len(set(way)) == 3 for way in ways.tolist()]]
    states = game.initial(len(ways))
    for action in ways.T:
        states = game.step(states, action).state
    return SolvedPositions(
        states, minimax(game, states, depth=6), ("",) * len(ways), torch.full((len(ways),), 3, dtype=torch.int64)
    )


def benchmark(
    agent: Agent, positions: SolvedPositions, change: Callable[[PlayerSpec], PlayerSpec] = lambda e: e
) -> Benchmark:
    """A match of the network, a position test of the agent, and a round robin of three; 20 games each."""
    me, network, mcts, minimax2 = (
        find_player(text, agent, SearchBudget(8)) for text in ("agent", "network@1", "mcts:16", "minimax:2")
    )
    return Benchmark(
        agent=agent,
        path=Path("nowhere"),
        budget=SearchBudget(8),
        games=20,
        seed=3,
        matches=[Match(network, mcts, 20)],
        position_tests=[PositionTest(me, "solved.csv")],
        players=[me, mcts, minimax2],
        positions={"solved.csv": positions},
    )


class Expected(NamedTuple):
    """The benchmark with threads, and how much each step did, by its title."""

    benchmark: Benchmark
    done: dict[str, int]


@pytest.fixture(scope="module")
def expected(agent: Agent, positions: SolvedPositions) -> Expected:
    one, listener = benchmark(agent, positions), Listener()
    one.run_all(listener, ThreadExecutor(None, 2))
    assert one.complete
    return Expected(one, done_by_title(listener))


def done_by_title(listener: Listener) -> dict[str, int]:
    return {title: done for (title, *_), done in zip(listener.begun, listener.done, strict=True)}


@pytest.fixture(scope="module")
def executor() -> Iterator[RayExecutor]:
    with RayExecutor(lambda threads: None, 2, Needs(1, 0)) as executor:
        yield executor


def assert_same(one: Benchmark, expected: Expected, listener: Listener) -> None:
    """All figures apart from times, and progress that adds up."""
    threads, moves = expected.benchmark, expected_moves(one.game, 20)
    assert one.complete
    assert one.results == threads.results
    assert one.answers == threads.answers
    assert one.standings() == threads.standings() != []
    assert sorted(listener.begun) == sorted(
        [
            *((match.title, moves, "moves", 5) for match in threads.results),
            ("agent:8 on solved.csv", 504, "positions", 5),
        ]
    )
    assert done_by_title(listener) == expected.done
    assert expected.done["agent:8 on solved.csv"] == 504
    assert len(listener.ended) == 5


def test_workers_give_the_figures_of_threads(
    agent: Agent, positions: SolvedPositions, expected: Expected, executor: RayExecutor
) -> None:
    one, listener = benchmark(agent, positions), Listener()
    one.run_all(listener, executor)
    assert_same(one, expected, listener)
    assert sum(result.distinct_games for result in one.results.values()) > 40  # there is something to be the same


class Killer(Listener):
    """Kills all workers at the first sight of a match in its middle."""

    def __init__(self, executor: RayExecutor) -> None:
        super().__init__()
        self.executor, self.killed = executor, list[int]()

    def begin(self, title: str, total: int, unit: str, *, steps: int) -> Callable[[int], None]:
        advance, place = super().begin(title, total, unit, steps=steps), len(self.done) - 1

        def advance_and_kill(done: int) -> None:
            advance(done)
            if not self.killed and 0 < self.done[place] < total:
                self.killed = self.executor.pids()
                for pid in self.killed:
                    os.kill(pid, signal.SIGKILL)

        return advance_and_kill


class Slow:
    """The same player, but slow enough to be seen in the middle of a match."""

    def __init__(self, player: Player) -> None:
        self.name, self.player = player.name, player

    def actions(self, states: State) -> Tensor:
        time.sleep(0.3)
        return self.player.actions(states)


def test_workers_that_are_killed_change_nothing(
    agent: Agent, positions: SolvedPositions, expected: Expected, executor: RayExecutor
) -> None:
    one, listener = benchmark(agent, positions), Killer(executor)
    (network, mcts, games), build = one.matches[0], one.matches[0].player.build
    one.matches[0] = Match(PlayerSpec(network.name, lambda seed: Slow(build(seed))), mcts, games)
    one.run_all(listener, executor)
    assert len(listener.killed) == 2
    assert executor.lost_tasks >= 1
    assert_same(one, expected, listener)
