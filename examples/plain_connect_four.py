"""Connect-four in plain Python: a game of your own in thirty lines, as `docs/plain_python.md` explains them.

    scripts/train.py configs/connect_four.toml --game examples.plain_connect_four:ConnectFour

`games/connect_four.py` has the same game for whole batches, which is quicker; `benchmarks/plain_python.py` says by how
much.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from alphazero.game import Discrete, PythonGame, Symmetry

COLUMNS, ROWS = 7, 6
# A position as one text, with a dot on top of each column: four alike, so many characters apart.
FOURS = [re.compile(f"([xo])(?:.{{{distance - 1}}}\\1){{3}}") for distance in (1, ROWS, ROWS + 1, ROWS + 2)]


class ConnectFour(PythonGame[tuple[str, ...]]):
    """A position is a text for each column, its stones from the bottom up: x of the first player, o of the second."""

    name, num_players = "connect_four", 2
    actions = Discrete(COLUMNS)
    observation_shape = (2, ROWS, COLUMNS)
    max_moves = COLUMNS * ROWS

    def initial(self) -> tuple[str, ...]:
        return ("",) * COLUMNS

    def to_play(self, position: tuple[str, ...]) -> int:
        return sum(map(len, position)) % 2

    def legal_actions(self, position: tuple[str, ...]) -> list[int]:
        return [column for column in range(COLUMNS) if len(position[column]) < ROWS]

    def play(self, position: tuple[str, ...], action: int) -> tuple[str, ...]:
        grown = position[action] + "xo"[self.to_play(position)]
        return (*position[:action], grown, *position[action + 1 :])

    def winner(self, position: tuple[str, ...]) -> int | None:
        board = "".join(column.ljust(ROWS + 1, ".") for column in position)
        four = next(filter(None, (pattern.search(board) for pattern in FOURS)), None)
        return None if four is None else "xo".index(four[1])

    def observe(self, position: tuple[str, ...]) -> NDArray[np.bool_]:
        """Two planes, the top row first: stones of the player to move, the opponent's."""
        board = np.array([list(column.ljust(ROWS, ".")) for column in position]).T[::-1]
        mine, theirs = "xo" if self.to_play(position) == 0 else "ox"
        return np.stack((board == mine, board == theirs))

    def symmetries(self) -> list[Symmetry]:
        return [Symmetry(lambda observation: observation.flip(-1), tuple(reversed(range(COLUMNS))))]

    def render(self, position: tuple[str, ...]) -> str:
        rows = zip(*(column.ljust(ROWS, ".") for column in position), strict=True)
        return "\n".join([*map(" ".join, reversed(list(rows))), " ".join(map(self.action_name, range(COLUMNS)))])

    def action_name(self, action: int) -> str:
        return str(action + 1)
