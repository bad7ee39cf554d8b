"""Matches and position tests as tasks, for any executor (`alphazero.parallel.executor`).

Players and positions are shared with the executor, since many tasks have them in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alphazero.arena.match import MatchResult, SoloResult, play_alone, play_match
from alphazero.arena.players import Stoppable
from alphazero.arena.registry import PlayerSpec
from alphazero.arena.solved import ErrorRate, SolvedPositions, error_rates
from alphazero.game import Game
from alphazero.parallel.executor import Counter


@dataclass(frozen=True)
class PlayMatch:
    """Plays a match of two players, or in a game for one the games of one player alone.

    seed:          of the openings.
    player_seeds:  of the player and of the opponent.
    opening_plies: as in `play_match`.
    players:       returns the players, given the worker and what is shared with the task; by default the players
                   themselves are.
    """

    title: str
    game: Game
    games: int
    seed: int
    player_seeds: tuple[int, int]
    opening_plies: int = 2
    players: Callable[..., Sequence[PlayerSpec]] = lambda worker, *players: players

    def run(self, worker: Any, count: Counter, *shared: Any) -> MatchResult | SoloResult:
        specs = self.players(worker, *shared)
        players = [Stoppable(one.build(seed), count) for one, seed in zip(specs, self.player_seeds, strict=False)]
        if len(players) == 1:
            return play_alone(self.game, players[0], games=self.games, seed=self.seed, progress=count)
        return play_match(
            self.game, *players,
            games=self.games, seed=self.seed, opening_plies=self.opening_plies, progress=count,
        )  # fmt: skip


@dataclass(frozen=True)
class RunPositionTest:
    """Measures a player's error rates on solved positions."""

    title: str
    seed: int

    def run(self, worker: Any, count: Counter, player: PlayerSpec, positions: SolvedPositions) -> dict[str, ErrorRate]:
        stoppable = Stoppable(player.build(player_seeds(self.seed)[0]), count)
        return error_rates(stoppable, positions, progress=count)


def player_seeds(seed: int) -> tuple[int, int]:
    """Seeds for the player and the opponent, apart from each other and from the seed of the openings."""
    one, other = np.random.SeedSequence(seed).generate_state(2, np.uint64) >> np.uint64(2)
    return int(one), int(other)
