"""The drawing of positions of games that draw none themselves: from the observation, or the state's fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alphazero.game.states import S, State, named_fields

if TYPE_CHECKING:
    from alphazero.game.interface import Game

WIDEST, HIGHEST = 76, 26  # of a board, in characters and lines: it fits a terminal
LEGEND = "numbers: planes that the player to move observes"


def draw(game: Game[S], state: S) -> str:
    """The board that the player to move observes, of a batch of one; the state's fields where that is no board.

    Observations [planes, height, width] are boards, as far as they fit a terminal.
    """
    observation = game.observe(state)[0]
    if observation.dim() != 3:
        return fields(state)
    constant = (observation == observation[:, :1, :1]).flatten(1).all(1)[:, None, None]
    cells = [[_mark(cell) for cell in row] for row in observation.where(~constant, 0).permute(1, 2, 0).tolist()]
    widest = max(len(mark) for row in cells for mark in row)
    rows = [" ".join(mark.ljust(widest) for mark in row).rstrip() for row in cells]
    if len(rows) > HIGHEST or len(cells[0]) * (widest + 1) > WIDEST:
        return fields(state)
    player = "" if game.num_players == 1 else "second " if int(game.to_play(state)[0]) else "first "
    everywhere = _mark(observation.where(constant, 0)[:, 0, 0].tolist())
    said = [f"everywhere: {everywhere}"] if everywhere != "." else []
    # The player comes first, so that nobody takes an empty board for one of x and o (see `read_grid`).
    return "\n".join([f"as the {player}player sees it", *rows, *said, LEGEND])


def fields(state: State) -> str:
    """The fields of a batch of one state, a line each."""
    return "\n".join(f"{name}: {value[0].tolist()}" for name, value in named_fields(state).items())


def _mark(values: list[float]) -> str:
    """The planes that are not 0 in a cell, with their values where these are not 1."""
    return ",".join(str(n) if value == 1 else f"{n}={value:.2g}" for n, value in enumerate(values) if value) or "."
