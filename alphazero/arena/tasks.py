"""The steps of a benchmark as tasks, for any executor (`alphazero.parallel.executor`): a match, and an exam.

Who takes part in them, and the positions, are shared with the executor, since many tasks have them in common.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alphazero.arena.match import MatchResult, SoloResult, play_alone, play_match
from alphazero.arena.players import Stoppable
from alphazero.arena.registry import Entrant
from alphazero.arena.solved import ErrorRate, SolvedPositions, error_rates
from alphazero.game import Game
from alphazero.parallel.executor import Counter


@dataclass(frozen=True)
class PlayMatch:
    """Plays a match of two, or one's games alone in a game for one."""

    title: str
    game: Game
    games: int
    seed: int

    def run(self, worker: None, count: Counter, *entrants: Entrant) -> MatchResult | SoloResult:
        seeds = _seeds(self.seed)
        players = [Stoppable(one.build(seed), count) for one, seed in zip(entrants, seeds, strict=False)]
        if len(players) == 1:
            return play_alone(self.game, players[0], games=self.games, seed=self.seed, progress=count)
        return play_match(self.game, *players, games=self.games, seed=self.seed, progress=count)


@dataclass(frozen=True)
class SitExam:
    """Puts solved positions to a player."""

    title: str
    seed: int

    def run(self, worker: None, count: Counter, examinee: Entrant, positions: SolvedPositions) -> dict[str, ErrorRate]:
        player = Stoppable(examinee.build(_seeds(self.seed)[0]), count)
        return error_rates(player, positions, progress=steps_of(count))


def _seeds(seed: int) -> tuple[int, int]:
    """Of the player and the opponent, apart from each other and from that of the openings."""
    one, other = np.random.SeedSequence(seed).generate_state(2, np.uint64) >> np.uint64(2)
    return int(one), int(other)


def steps_of(advance: Callable[[int], None]) -> Callable[[int], None]:
    """Turns how much is done by now into how much more is."""
    before = 0

    def progress(done: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return progress
