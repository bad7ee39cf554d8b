"""The game that `alphazero new` copies for you to change: three in a row on three by three cells, in plain Python.

alphazero check games.template:NewGame      plays random games, and says what they show
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from alphazero.game import Discrete, PythonGame

ROWS, COLUMNS, IN_A_ROW = 3, 3, 3
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows down, columns right

Position = tuple[str, ...]
"""The rows from the top: x is a stone of the first player, o of the second, and a dot is an empty cell."""


class NewGame(PythonGame[Position]):
    """Action a puts a stone on cell a, in reading order; people write a1 (bottom left) to c3 (top right)."""

    name, num_players = "new_game", 2
    actions = Discrete(ROWS * COLUMNS)
    observation_shape = (2, ROWS, COLUMNS)
    max_moves = ROWS * COLUMNS

    def initial(self) -> Position:
        return ("." * COLUMNS,) * ROWS

    def to_play(self, position: Position) -> int:
        return sum(row.count("x") - row.count("o") for row in position)

    def legal_actions(self, position: Position) -> list[int]:
        return [cell for cell, mark in enumerate("".join(position)) if mark == "."]

    def play(self, position: Position, action: int) -> Position:
        """A new position: the old one stays as it is."""
        cells = "".join(position)
        cells = cells[:action] + "xo"[self.to_play(position)] + cells[action + 1 :]
        return tuple(cells[row * COLUMNS : (row + 1) * COLUMNS] for row in range(ROWS))

    def winner(self, position: Position) -> int | None:
        return next(("xo".index(line[0]) for line in lines(position) if line in ("x" * IN_A_ROW, "o" * IN_A_ROW)), None)

    def observe(self, position: Position) -> NDArray[np.bool_]:
        """Two planes, the top row first: stones of the player to move, the opponent's."""
        board = np.array([list(row) for row in position])
        mine, theirs = "xo" if self.to_play(position) == 0 else "ox"
        return np.stack((board == mine, board == theirs))

    def render(self, position: Position) -> str:
        rows = [f"{ROWS - row} {' '.join(marks)}" for row, marks in enumerate(position)]
        return "\n".join([*rows, "  " + " ".join("abcdefghij"[:COLUMNS])])

    def action_name(self, action: int) -> str:
        row, column = divmod(action, COLUMNS)
        return f"{'abcdefghij'[column]}{ROWS - row}"


def lines(position: Position) -> Iterator[str]:
    """The marks of all lines of so many cells, as far as they are on the board."""
    for row in range(ROWS):
        for column in range(COLUMNS):
            for down, right in DIRECTIONS:
                cells = [(row + down * step, column + right * step) for step in range(IN_A_ROW)]
                if all(0 <= r < ROWS and 0 <= c < COLUMNS for r, c in cells):
                    yield "".join(position[r][c] for r, c in cells)
