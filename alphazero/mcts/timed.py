"""Search by the clock: for a given time instead of a given number of simulations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import Game, S
from alphazero.mcts.evaluator import Evaluator
from alphazero.mcts.search import Options, plant, simulate
from alphazero.mcts.tree import Tree
from alphazero.mcts.tree_search import TreeSearch

ROOM = 1 << 10  # simulations that trees have room for at first; it doubles as often as it must
LEAST = 16  # simulations that even a search without time has


def search_by_clock(
    evaluator: Evaluator[S],
    game: Game[S],
    roots: S,
    config: SearchConfig,
    generator: torch.Generator,
    clock: Callable[[], float],
    *,
    root_evaluator: Evaluator[S] | None = None,
    begun: Tree[S] | None = None,
) -> TreeSearch[S]:
    """Searches each of B unfinished positions until `clock` says that all of its time is over.

    clock: the share of the time that is over, which the search must have used up at 1. Asked before each simulation.
    config.simulations: the most that it takes, whatever the clock says; its trees take memory.
    begun: see `search.Options`.
    """
    with torch.inference_mode():
        room, rows, device = min(ROOM, config.simulations), config.considered_actions + 1, roots[0].device

        def schedule() -> Tensor:
            return torch.zeros(rows, room, dtype=torch.int32, device=device)

        config_of_room = replace(config, simulations=room)
        options = Options(root_evaluator=root_evaluator, begun=begun, schedule=schedule())
        trees = plant(evaluator, game, roots, config_of_room, generator, **options)
        halving = TimedHalving(trees.considered.tolist())
        for simulation in range(config.simulations):
            share = clock()
            if (share >= 1 and simulation >= LEAST) or trees.proven():
                break
            if simulation == room:
                room = min(2 * room, config.simulations)
                trees = trees.enlarged(room, schedule())
            for considered, visits in halving.visits(share):
                trees.schedule[considered, simulation] = visits
            simulate(evaluator, game, trees, simulation, generator)
        return trees


class TimedHalving:
    """Sequential halving of time: each phase lasts equally long, and ends once all of its actions have equal visits.

    As `gumbel.considered_visits`, which has to know the number of simulations beforehand.
    """

    def __init__(self, considered: Iterable[int]) -> None:
        """considered: the numbers of actions that searches begin with."""
        # For each: the actions left, their visits before this round, and how many have been visited in this round.
        self.rounds = {number: (number, -1, number) for number in considered}

    def visits(self, share: float) -> Iterable[tuple[int, int]]:
        """How many visits the root's next action has, by the number of actions that the search began with.

        share: the part of the time that is over.
        """
        for considered, (left, visits, done) in self.rounds.items():
            if done < left:
                now = left, visits, done + 1
            else:  # the next round, of which the first is for all, though much of the time may be over
                now = self.left(considered, share if visits >= 0 else 0.0), visits + 1, 1
            self.rounds[considered] = now
            yield considered, now[1]

    @staticmethod
    def left(considered: int, share: float) -> int:
        """How many actions are left after this part of the time."""
        if considered <= 1:
            return 1
        phases = math.ceil(math.log2(considered))
        return max(2, considered >> int(share * phases))
