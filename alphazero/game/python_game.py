"""Games in plain Python: rules for one position at a time, from which `batched` makes a game for the engine.

    class TicTacToe(PythonGame[str]):
        name = "tic_tac_toe"
        actions = Discrete(9)
        observation_shape = (2, 3, 3)

        def initial(self): return "." * 9
        def to_play(self, position): return position.count(".") % 2 ^ 1
        ...

A position is any Python object that `play` leaves as it is. `alphazero.game.batched` says how the engine keeps them.
"""

from __future__ import annotations

import marshal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Generic

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import TypeVar

from alphazero.game.interface import Box, Discrete, Symmetry
from alphazero.game.messages import shortened

P = TypeVar("P", default=Any)
"""The type of a game's positions: `class TicTacToe(PythonGame[str])`."""


class PythonGame(ABC, Generic[P]):
    """The rules of a game for one or two players, one position at a time.

    Subclasses set the class variables, write the abstract methods, `to_play` in a game for two, and `winner` or
    `reward`. `load_game`, `check_game` and all that is asked for a game take them as they are.

    max_moves: the longest game; one that gets there ends without a further reward, so as a draw. The engine keeps a
        position as the moves that led to it, so a number that is far too large costs memory.
    """

    name: str
    num_players: int = 2
    actions: Discrete | Box
    observation_shape: tuple[int, ...]
    max_moves: int = 256
    discount: float = 1.0  # a reward one move later is worth this much now
    metric_units: Mapping[str, str] = MappingProxyType({})  # of `metrics`, by name: {"miss": "m"}, say

    @abstractmethod
    def initial(self) -> P:
        """The start."""

    @abstractmethod
    def legal_actions(self, position: P) -> Iterable[int]:
        """The actions that can be played; none where the game is over. Not asked in a Box game, where all can be."""

    @abstractmethod
    def play(self, position: P, action: Any) -> P:
        """The position after a legal action: an int, or in a Box game [D] float32. `position` must stay as it was."""

    @abstractmethod
    def observe(self, position: P) -> ArrayLike:
        """What the network sees, as the player to move sees it: numbers of the observation's shape."""

    def to_play(self, position: P) -> int:
        """Who moves: 0 or 1. Default: 0, as in a game for one."""
        return 0

    def winner(self, position: P) -> int | None:
        """The player who has won, 0 or 1; None where nobody has. Default: None.

        The game is over when somebody has won, or when there are no legal actions: then it is a draw.
        """
        return None

    def finished(self, position: P) -> bool:
        """Whether the game is over although there are legal actions. Default: whether somebody has won."""
        return self.winner(position) is not None

    def reward(self, position: P, action: Any, successor: P) -> float:
        """What the action earns the player who plays it. Default: 1 for the winner's last move, -1 for the loser's.

        From no position on may the rewards of a player come to more than 1, or to less than -1.
        """
        winner = self.winner(successor)
        return 0.0 if winner is None else 1.0 if winner == self.to_play(position) else -1.0

    def random_initial(self, rng: np.random.Generator) -> P:
        """A start that is drawn with `rng`. Default: `initial`, so that all games start alike."""
        return self.initial()

    def key(self, position: P) -> object:
        """What tells positions apart: numbers, texts, arrays, and tuples, enums or dataclasses of these.

        Positions with equal keys must agree in all answers and in all that follows. Default: the position itself, if
        it is of such a kind; otherwise positions are told apart by the moves that led to them.
        """
        return position

    def symmetries(self) -> Sequence[Symmetry]:
        """The symmetries besides the identity. Default: none, so samples are not augmented."""
        return ()

    def heuristic(self, position: P) -> float:
        """A guess at the value in (-1, 1) for the player to move, for minimax. Default: 0."""
        return 0.0

    def metrics(self, position: P) -> Mapping[str, float]:
        """Further metrics of a finished game by name; their units are in `metric_units`. Default: none."""
        return {}

    def solve(self, position: P) -> Sequence[float]:
        """The exact score of every action: 0 a draw, above a win, below a loss, -inf illegal. Default: no solver.

        For the player to move; the sooner the end, the further from 0.
        """
        raise ValueError(f"{self.name} has no perfect player")

    def render(self, position: P) -> str:
        """The position as lines of plain text.

        Default: as Python writes it. The engine then draws the observation in its place, if that is a board.
        """
        return shortened(repr(position), 400)

    def action_name(self, action: int) -> str:
        """How people write a discrete action. Default: its number."""
        return str(action)

    def overrides(self, method: str) -> bool:
        """Whether the class defines this method itself."""
        return getattr(type(self), method) is not getattr(PythonGame, method)


def encoded(key: Any) -> bytes:
    """The key of a position as bytes, the same in every process. TypeError if it is of another kind; see `key`."""
    try:
        return marshal.dumps(key, 0)  # the oldest format, in which bytes depend on nothing but the value
    except ValueError:  # classes, and arrays that are not contiguous
        return marshal.dumps(plain(key), 0)


def plain(key: Any) -> Any:
    """The key in types that marshal knows. TypeError if there are others in it."""
    if isinstance(key, Enum):
        return key.name
    if isinstance(key, (np.ndarray, np.generic)) and key.dtype != object:
        return key.tobytes()
    if isinstance(key, (tuple, list)):
        return tuple(map(plain, key))
    if isinstance(key, (set, frozenset)):
        return tuple(sorted(marshal.dumps(plain(part), 0) for part in key))
    if is_dataclass(key) and not isinstance(key, type):
        return tuple(plain(getattr(key, field.name)) for field in fields(key))
    if isinstance(key, (int, float, str, bytes, type(None))):
        return key
    raise TypeError(f"a {type(key).__name__} cannot tell positions apart: numbers, texts, arrays and tuples can")
