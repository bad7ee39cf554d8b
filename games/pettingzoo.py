"""The board games of PettingZoo (https://pettingzoo.farama.org), searched in copies of themselves.

    scripts/train.py CONFIG --game 'games.pettingzoo:PettingZoo("connect_four_v3")'

Of its classic environments, those for two players without hidden information. pip installs the package as
`alphazero-engine[pettingzoo]`. A copy takes a fraction of a millisecond, so this is for those who have to play these
very environments; OpenSpiel has the same games, and is much quicker.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphazero.game import Discrete, PythonGame
from games.copies import constants, copied

MISSING = 'the games of PettingZoo need its package: pip install "alphazero-engine[pettingzoo]"'
BOARD_GAMES = ("chess", "connect_four", "go", "tictactoe")  # the others hide information, or have more players
TRIALS = 3  # random games that are played to find what copies may share


class Position(NamedTuple):
    """env: in the state after these moves; nobody steps it. mover: 0 or 1. reward: of the last move, to its player."""

    env: Any
    mover: int
    observation: NDArray[np.float32]
    legal: list[int]
    reward: float
    over: bool


class PettingZoo(PythonGame[Position]):
    """Observations are those of the player to move; planes come first, as networks want them."""

    def __init__(self, env: str, max_moves: int = 512, *, options: dict[str, Any] | None = None) -> None:
        """env: its name, such as chess_v6. options: of the environment. ValueError if it cannot be played."""
        try:
            import pettingzoo.classic
        except ImportError as error:
            raise ValueError(f"{MISSING} ({error})") from error
        names = sorted(module.name for module in iter_modules(pettingzoo.classic.__path__) if "_v" in module.name)
        if env not in names:
            raise ValueError(f"PettingZoo has no classic environment {env!r}, but {', '.join(names)}")
        if env.rpartition("_v")[0] not in BOARD_GAMES:
            raise ValueError(f"{env} cannot be played: it hides information from players, which search would see")
        self._again = partial(PettingZoo, env, max_moves, options=options)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer versions also make environments in another way
                self._env = import_module(f"pettingzoo.classic.{env}").env(**(options or {})).unwrapped
        except (ImportError, TypeError) as error:
            raise ValueError(f"PettingZoo cannot make {env!r}: {error}") from error
        self.name, self.max_moves, self.num_players = env, max_moves, len(self._env.possible_agents)
        agent = self._env.possible_agents[0]
        *sizes, planes = self._env.observation_space(agent)["observation"].shape
        self.observation_shape = (planes, *sizes)
        self.actions = Discrete(int(self._env.action_space(agent).n))
        self._shared = constants(self._env, self._steps())

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes the environment anew."""
        return self._again, ()

    def initial(self) -> Position:
        env = copied(self._env, self._shared)
        env.reset(seed=0)
        return self._position(env, 0.0)

    def to_play(self, position: Position) -> int:
        return position.mover

    def legal_actions(self, position: Position) -> list[int]:
        return position.legal

    def play(self, position: Position, action: int) -> Position:
        env = copied(position.env, self._shared)
        env.step(action)
        return self._position(env, float(env.rewards.get(position.env.agent_selection, 0.0)))

    def finished(self, position: Position) -> bool:
        return position.over

    def reward(self, position: Position, action: int, successor: Position) -> float:
        return successor.reward

    def observe(self, position: Position) -> NDArray[np.float32]:
        return position.observation

    def _position(self, env: Any, reward: float) -> Position:
        seen = env.observe(env.agent_selection)
        over = any(env.terminations.values()) or any(env.truncations.values())
        legal = np.flatnonzero(seen["action_mask"]).tolist()
        planes = np.moveaxis(np.asarray(seen["observation"], np.float32), -1, 0)
        return Position(env, env.possible_agents.index(env.agent_selection), planes, legal, reward, over)

    def _steps(self) -> Iterator[None]:
        """Plays random games, and pauses after each move."""
        rng = np.random.default_rng(0)
        for _ in range(TRIALS):
            self._env.reset(seed=0)
            yield
            while not (position := self._position(self._env, 0.0)).over:
                self._env.step(int(rng.choice(position.legal)))
                yield
