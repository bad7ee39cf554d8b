"""Opponents that fit a game: the time that players need is measured before they are asked for hundreds of games."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch

from alphazero.arena.players import RandomPlayer, Stoppable, parse_player
from alphazero.game import Game, State, concatenate, take

GAMES, LONGEST = 16, 2000  # games at random that tell how long a game is, and how many moves of them at the most
FEW, SLOW = 4, 0.1  # positions are enough to measure a player that may take as many seconds a move


class Overdue(Exception):
    """The player has taken longer than it may."""


@lru_cache(maxsize=8)
def random_positions(game: Game) -> tuple[State, float]:
    """Positions [GAMES] from the first to the last moves of games at random, and the mean length of these games."""
    generator = torch.Generator().manual_seed(0)
    player, states = RandomPlayer(game, 0), game.initial(GAMES, generator=generator)
    running, plies = torch.ones(GAMES, dtype=torch.bool), [states]
    length = torch.zeros(GAMES, dtype=torch.int64)
    while running.any() and len(plies) < LONGEST:
        length += running
        states, _, done = game.step(states, player.actions(states))
        running &= ~done
        plies.append(states)
    moves = (torch.arange(GAMES) * length) // GAMES
    chosen = [take(plies[move], torch.tensor([row])) for row, move in enumerate(moves.tolist())]
    return concatenate(chosen), float(length.double().mean())


def expected_moves(game: Game, games: int) -> int:
    """About how many moves so many games take: what games at random do."""
    return max(1, round(games * random_positions(game)[1]))


def seconds_a_move(game: Game, name: str, *, limit: float, check: Callable[[int], object] = lambda done: None) -> float:
    """CPU time of a move of the player with this name, in a batch; infinite if it is more than about the limit.

    check: called again and again meanwhile; may raise to end it.
    """
    positions, _ = random_positions(game)
    count = FEW if limit > SLOW else GAMES
    started = time.thread_time()

    def watch(done: int) -> None:
        check(0)
        if time.thread_time() - started > limit * count:
            raise Overdue

    player = Stoppable(parse_player(name, game, seed=0), watch)
    try:
        player.actions(take(positions, torch.arange(0, GAMES, GAMES // count)))
    except Overdue:
        return float("inf")
    return (time.thread_time() - started) / count


def fitting_opponents(
    game: Game,
    names: Sequence[str],
    *,
    games: int,
    limit: float,
    say: Callable[[str], None],
    check: Callable[[int], object] = lambda done: None,
) -> Iterator[str]:
    """The opponents that play `games` games within `limit` seconds of a core, by their names.

    A minimax that would take longer looks less far ahead, and any other is left out; `say` is told.
    """
    allowed = limit / (games * random_positions(game)[1] / 2)  # half of the moves are the other player's
    for name in names:
        match = re.fullmatch(r"minimax:(\d+)(.*)", name)
        ways = [f"minimax:{depth}{match[2]}" for depth in range(1, int(match[1]) + 1)] if match else [name]
        fitting = ""
        for way in ways:
            if seconds_a_move(game, way, limit=allowed, check=check) > allowed:
                break
            fitting = way
        if fitting != name:
            instead = f"{fitting} plays instead" if fitting else "it is left out"
            say(f"{name} would take more than {limit / 60:.0f} minutes for its {games:,} games: {instead}")
        if fitting:
            yield fitting
