"""What a game says of itself before it is asked about any position."""

from __future__ import annotations

import math

from alphazero.game.interface import Box, Discrete, Game
from alphazero.game.probe import ConformanceError
from alphazero.game.python_game import PythonGame

MOST_MOVES = 100_000  # of a game in plain Python, whose states have room for so many


def check_attributes(game: Game | PythonGame) -> None:
    """ConformanceError if a class variable is missing or is of another kind than the engine relies on."""
    actions, shape = getattr(game, "actions", None), getattr(game, "observation_shape", None)
    sane_actions = isinstance(actions, Discrete) and actions.n >= 1
    if isinstance(actions, Box):
        bounded = len(actions.low) == len(actions.high) > 0
        sane_actions = bounded and all(-math.inf < low < high < math.inf for low, high in zip(*actions, strict=True))
    sane_shape = isinstance(shape, tuple) and shape and all(isinstance(size, int) and size > 0 for size in shape)
    for name, sane, expected in (
        ("name", isinstance(getattr(game, "name", None), str) and game.name, "a word"),
        ("num_players", getattr(game, "num_players", None) in {1, 2}, "1 or 2"),
        ("actions", sane_actions, "a Discrete of at least one action, or a Box of finite low < high"),
        ("observation_shape", sane_shape, "a tuple of positive integers"),
        ("discount", 0 < game.discount <= 1, "over 0 and at most 1"),
        ("max_moves", getattr(game, "max_moves", 1) in range(1, MOST_MOVES + 1), f"from 1 to {MOST_MOVES:,}"),
    ):
        if not sane:
            raise ConformanceError(f"{name}: must be {expected}, is {getattr(game, name, 'missing')!r}")
