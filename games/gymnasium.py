"""Environments of Gymnasium (https://gymnasium.farama.org) as games for one, searched in copies of themselves.

    scripts/train.py CONFIG --game 'games.gymnasium:Gymnasium("CartPole-v1", most=500)'

Search plays on from a position in many ways, so an environment must be one that can be copied, and none in which chance
has a say after the start: search would foresee it. Classic control and toy text are, simulators in other languages are
not. pip installs the package as `alphazero-engine[gymnasium]`.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphazero.game import Box, Discrete, PythonGame
from games.copies import constants, copied

if TYPE_CHECKING:
    import gymnasium

MISSING = 'environments of Gymnasium need its package: pip install "alphazero-engine[gymnasium]"'
COLOURED = re.compile(r"\x1b\[[\d;]*m(.*?)\x1b\[0m")  # as environments show the place where the player is
MAX_MOVES = 200  # where neither the user nor the environment says when to stop
TRIALS, TRIAL_MOVES = 3, 50  # episodes in which copies are held to their originals, and the most moves of each


class Position(NamedTuple):
    """env: in the state after these moves; nobody steps it. observation: flat, as it came from there."""

    env: gymnasium.Env[Any, Any]
    observation: NDArray[np.float32]
    reward: float
    over: bool
    moves: int


class Gymnasium(PythonGame[Position]):
    """Observations are flat; a last number is the share of `max_moves` that has gone by, for values depend on it."""

    num_players = 1

    def __init__(
        self,
        env: str,
        most: float = 1.0,
        max_moves: int = 0,
        discount: float = 1.0,
        options: dict[str, Any] | None = None,
    ) -> None:
        """ValueError, with the reason, if the environment cannot be played.

        env:       its name, such as CartPole-v1.
        most:      rewards are divided by this: the most that an episode brings, or costs.
        max_moves: after so many moves the episode is over; 0: as many as its makers say.
        options:   of the environment, such as {"is_slippery": False}.
        """
        try:
            import gymnasium
            from gymnasium import spaces
        except ImportError as error:
            raise ValueError(MISSING) from error
        if ":" in env:  # Gymnasium would import what stands before the colon
            told = "import its module in one of your own, and name a class there that is made from Gymnasium"
            raise ValueError(f"{env!r} names a module, and files that name games may be a stranger's; {told}")
        if not 0 < most < math.inf:
            raise ValueError(f"most must be a number over 0, not {most!r}")
        self._again = partial(Gymnasium, env, most, max_moves=max_moves, discount=discount, options=options)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there are newer versions
                given: dict[str, Any] = _drawn_as_text(env) | (options or {})
                made = gymnasium.make(env, **given)
        except (gymnasium.error.Error, TypeError, ImportError) as error:
            raise ValueError(f"Gymnasium cannot make {env!r}: {error}") from error
        limit = made.spec.max_episode_steps if made.spec is not None else None
        self.name, self.most, self.discount = env, most, discount
        self.max_moves = max_moves or limit or MAX_MOVES
        self._env, self._actions = made.unwrapped, made.action_space
        if isinstance(made.action_space, spaces.Discrete):
            self.actions: Discrete | Box = Discrete(int(made.action_space.n))
        elif isinstance(made.action_space, spaces.Box) and made.action_space.is_bounded():
            low, high = (tuple(map(float, bound.ravel())) for bound in (made.action_space.low, made.action_space.high))
            self.actions = Box(low, high)
        else:
            raise ValueError(f"{env} has actions {made.action_space}; only Discrete and a bounded Box can be played")
        if not made.observation_space.is_np_flattenable:
            raise ValueError(f"{env} has observations {made.observation_space}, which are no array of one size")
        self.observation_shape = (spaces.flatdim(made.observation_space) + 1,)
        self._flatten, self._space = spaces.flatten, made.observation_space
        self._shared: list[Any] = []
        self._try_out()

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes the environment anew."""
        return self._again, ()

    def initial(self) -> Position:
        return self._reset(0)

    def random_initial(self, rng: np.random.Generator) -> Position:
        return self._reset(int(rng.integers(1 << 31)))

    def legal_actions(self, position: Position) -> range:
        assert isinstance(self.actions, Discrete)
        return range(self.actions.n)

    def play(self, position: Position, action: Any) -> Position:
        env = copied(position.env, self._shared)
        observation, reward, terminated, truncated, _ = env.step(self._theirs(action))
        return Position(env, self._flat(observation), float(reward), terminated or truncated, position.moves + 1)

    def finished(self, position: Position) -> bool:
        return position.over

    def reward(self, position: Position, action: Any, successor: Position) -> float:
        return successor.reward / self.most

    def observe(self, position: Position) -> NDArray[np.float32]:
        return np.append(position.observation, np.float32(position.moves / self.max_moves))

    def render(self, position: Position) -> str:
        if position.env.render_mode == "ansi":
            return COLOURED.sub(r"[\1]", str(copied(position.env, self._shared).render())).strip("\n")
        return " ".join(f"{number:.3g}" for number in position.observation)

    # Environments

    def _reset(self, seed: int) -> Position:
        env = copied(self._env, self._shared)
        observation, _ = env.reset(seed=seed)
        return Position(env, self._flat(observation), 0.0, False, 0)

    def _theirs(self, action: Any) -> Any:
        """The action as the environment wants it."""
        if isinstance(self.actions, Discrete):
            return int(self._actions.start) + action  # type: ignore[attr-defined]
        return np.asarray(action, self._actions.dtype).reshape(self._actions.shape)

    def _flat(self, observation: Any) -> NDArray[np.float32]:
        return np.asarray(self._flatten(self._space, observation), np.float32)

    def _try_out(self) -> None:
        """Finds what copies may share, and holds them to originals. ValueError if they differ, or chance has a say."""
        try:
            self._shared = constants(self._env, self._steps())
            trials = [(seed, self._random_actions(seed)) for seed in range(TRIALS)]
            alone = [self._episode(*trial) for trial in trials]
            with_luck = [self._episode(*trial, luck=1) for trial in trials]
            from_copies = [self._copied_episode(*trial) for trial in trials]
        except Exception as error:  # whatever an environment raises
            raise ValueError(f"{self.name} cannot be copied, as search needs it: {error!r}") from error
        if alone != with_luck:
            fix = "make it without, if its options allow: options={'is_slippery': False}, say"
            raise ValueError(f"{self.name} has chance in its steps, which search would foresee; {fix}")
        if alone != from_copies:
            raise ValueError(f"{self.name} cannot be copied, as search needs it: copies go on in another way")

    def _steps(self) -> Iterator[None]:
        """Plays episodes, and pauses after each step."""
        for seed in range(TRIALS):
            self._env.reset(seed=seed)
            yield
            for action in self._random_actions(seed):
                ended = any(self._env.step(self._theirs(action))[2:4])
                yield
                if ended:
                    break

    def _random_actions(self, seed: int) -> list[Any]:
        rng = np.random.default_rng(seed)
        if isinstance(self.actions, Discrete):
            return rng.integers(self.actions.n, size=TRIAL_MOVES).tolist()  # type: ignore[no-any-return]
        return list(rng.uniform(*self.actions, size=(TRIAL_MOVES, len(self.actions.low))))

    def _episode(self, seed: int, actions: list[Any], luck: int | None = None) -> list[Any]:
        """What the environment answers to these actions, with its random numbers or others."""
        told = [self._flat(self._env.reset(seed=seed)[0]).tolist()]
        for number, action in enumerate(actions):
            if luck is not None:
                self._env.np_random = np.random.default_rng([luck, number])
            observation, reward, *ends, _ = self._env.step(self._theirs(action))
            told.append((self._flat(observation).tolist(), float(reward), any(ends)))
            if any(ends):
                break
        return told

    def _copied_episode(self, seed: int, actions: list[Any]) -> list[Any]:
        """The same, from copy to copy, with other actions tried on the way."""
        position = self._reset(seed)
        told: list[Any] = [position.observation.tolist()]
        for action, other in zip(actions, reversed(actions), strict=True):
            self.play(position, other)
            position = self.play(position, action)
            told.append((position.observation.tolist(), position.reward, position.over))
            if position.over:
                break
        return told


def _drawn_as_text(name: str) -> dict[str, str]:
    """The option that has the environment draw itself as text, if it can."""
    import gymnasium

    entry = gymnasium.spec(name).entry_point
    kind = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    modes = getattr(kind, "metadata", {}).get("render_modes", [])
    return {"render_mode": "ansi"} if "ansi" in modes else {}
