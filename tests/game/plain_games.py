"""Games in plain Python, sound ones: for two players, for one with random starts, and with continuous actions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphazero.game import Box, Discrete, PythonGame

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


class TicTacToe(PythonGame[str]):
    """The cells in reading order."""

    name = "tic_tac_toe"
    actions = Discrete(9)
    observation_shape = (2, 3, 3)
    max_moves = 9

    def initial(self) -> str:
        return "." * 9

    def to_play(self, position: str) -> int:
        return 1 - position.count(".") % 2

    def legal_actions(self, position: str) -> list[int]:
        return [cell for cell in range(9) if position[cell] == "."]

    def play(self, position: str, action: int) -> str:
        return position[:action] + "xo"[self.to_play(position)] + position[action + 1 :]

    def winner(self, position: str) -> int | None:
        won = (position[a] for a, b, c in LINES if position[a] == position[b] == position[c] != ".")
        return next(("xo".index(mark) for mark in won), None)

    def observe(self, position: str) -> NDArray[np.bool_]:
        board = np.array(list(position)).reshape(3, 3)
        mine, theirs = "xo" if self.to_play(position) == 0 else "ox"
        return np.stack((board == mine, board == theirs))


class Piles(NamedTuple):
    sizes: NDArray[np.int64]
    mover: int


class Subtraction(PythonGame[Piles]):
    """Three piles of random size; a move takes one or two from a pile; who takes the last wins. With all options."""

    name = "subtraction"
    actions = Discrete(6)
    observation_shape = (3,)
    max_moves = 15

    def initial(self) -> Piles:
        return Piles(np.array([3, 4, 5]), 0)

    def random_initial(self, rng: np.random.Generator) -> Piles:
        return Piles(rng.integers(1, 6, 3), 0)

    def to_play(self, position: Piles) -> int:
        return position.mover

    def legal_actions(self, position: Piles) -> NDArray[np.int64]:
        return np.flatnonzero(np.stack((position.sizes >= 1, position.sizes >= 2)))

    def play(self, position: Piles, action: int) -> Piles:
        sizes = position.sizes.copy()
        sizes[action % 3] -= 1 + action // 3
        return Piles(sizes, 1 - position.mover)

    def winner(self, position: Piles) -> int | None:
        return None if position.sizes.any() else 1 - position.mover

    def observe(self, position: Piles) -> NDArray[np.float64]:
        return position.sizes / 5

    def heuristic(self, position: Piles) -> float:
        return 0.5 if np.bitwise_xor.reduce(position.sizes % 3) else -0.5

    def solve(self, position: Piles) -> list[float]:
        """Piles are worth their size modulo 3 (Grundy's values of the game that takes one or two)."""

        def score(action: int) -> float:
            after = self.play(position, action).sizes
            return -1.0 if np.bitwise_xor.reduce(after % 3) else 1.0

        legal = set(self.legal_actions(position).tolist())
        return [score(action) if action in legal else -np.inf for action in range(6)]

    def render(self, position: Piles) -> str:
        return "\n".join("o" * size or "-" for size in position.sizes)

    def action_name(self, action: int) -> str:
        return f"{'abc'[action % 3]}{1 + action // 3}"


class Target(PythonGame[tuple[float, ...]]):
    """For one: two throws, each of which moves a stone; the nearer it comes to the target, the better. A Box game."""

    name, num_players = "target", 1
    actions = Box((-1.0, -1.0), (1.0, 1.0))
    observation_shape = (3,)
    max_moves = 2
    metric_units = {"miss": "m"}  # noqa: RUF012

    def initial(self) -> tuple[float, ...]:
        return (0.0, 0.0, 0.0)

    def legal_actions(self, position: tuple[float, ...]) -> list[int]:
        raise AssertionError("nobody asks for the legal actions of a Box game")

    def play(self, position: tuple[float, ...], action: NDArray[np.float32]) -> tuple[float, ...]:
        x, y, thrown = position
        return (x + float(action[0]), y + float(action[1]), thrown + 1)

    def finished(self, position: tuple[float, ...]) -> bool:
        return position[2] == 2

    def reward(self, position: tuple[float, ...], action: object, successor: tuple[float, ...]) -> float:
        return 1 - self.metrics(successor)["miss"] / 4 if self.finished(successor) else 0.0

    def observe(self, position: tuple[float, ...]) -> tuple[float, ...]:
        return position

    def metrics(self, position: tuple[float, ...]) -> dict[str, float]:
        return {"miss": float(np.hypot(position[0] - 1, position[1] - 0.5))}
