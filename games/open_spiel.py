"""The games of OpenSpiel (Lanctot et al. 2019, https://github.com/google-deepmind/open_spiel), for two players or one.

    scripts/train.py CONFIG --game 'games.open_spiel:OpenSpiel("hex(board_size=7)")'

Any game without chance and without hidden information that observes as a tensor can be played; pip installs the
package as `alphazero-engine[open_spiel]`.
"""

from __future__ import annotations

import difflib
import random
import re
from contextlib import suppress
from functools import cached_property
from itertools import takewhile
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphazero.game import Discrete, PythonGame

MISSING = 'the games of OpenSpiel need its package: pip install "alphazero-engine[open_spiel]"'
COLOUR = re.compile(r"\x1b\[[\d;]*m")  # as some games paint their boards
MOST_ACTIONS, MOST_NUMBERS = 1 << 16, 1 << 20  # of a game, and of an observation
NAMED_POSITIONS = 2_000  # of random games, from which the names of actions are collected


class OpenSpiel(PythonGame[Any]):
    """Positions are states of OpenSpiel. For two players, the observation has a last plane: 1 where the second moves.

    Actions have the names that OpenSpiel gives them, without the mark of the player; their numbers, where a name
    depends on the position, as in chess.
    """

    def __init__(self, game: str, max_moves: int = 512) -> None:
        """game: as OpenSpiel writes it, `chess` or `hex(board_size=7)`. ValueError if it cannot be played here."""
        try:
            import pyspiel
            from open_spiel.python.observation import make_observation
        except ImportError as error:
            raise ValueError(MISSING) from error
        kinds = {kind.short_name: kind for kind in pyspiel.registered_games()}
        word = game.partition("(")[0]
        if word not in kinds:
            close = difflib.get_close_matches(word, kinds, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"OpenSpiel has no game {word!r}{hint}")
        if "filename" in game:
            raise ValueError(f"{word} reads a file, which may be a stranger's; it cannot be played")
        if kinds[word].is_concrete:  # of a game made from another one, only the whole tells
            _require_kind(kinds[word])
        try:
            self.spiel = pyspiel.load_game(game)
        except pyspiel.SpielError as error:
            reason = str(error).partition(" Available games are")[0]
            raise ValueError(f"OpenSpiel cannot load {game!r}: {reason}") from error
        _require_kind(self.spiel.get_type())
        self.name = game
        self.num_players = self.spiel.num_players()
        if self.num_players > 2:
            raise ValueError(f"{game} has {self.num_players} players; only games for one or two can be played")
        if self.num_players == 2 and self.spiel.get_type().utility != pyspiel.GameType.Utility.ZERO_SUM:
            raise ValueError(f"in {game}, what one player wins the other need not lose; such games cannot be played")
        shape, actions = tuple(self.spiel.observation_tensor_shape()), self.spiel.num_distinct_actions()
        self.actions = Discrete(actions)
        self.observation_shape = shape if self.num_players == 1 else (shape[0] + 1, *shape[1:])
        if not 1 <= actions <= MOST_ACTIONS or not 1 <= min(shape) <= prod(shape) <= MOST_NUMBERS:
            raise ValueError(f"{game} cannot be played: it has {actions:,} actions, and observations {shape}")
        self.max_moves = min(max_moves, self.spiel.max_game_length())
        self._observer = make_observation(self.spiel)
        # Values are in [-1, 1]; what a game can bring is scaled to that.
        self._most = max(1.0, abs(self.spiel.min_utility()), abs(self.spiel.max_utility()))
        self._ends_alone = self.spiel.get_type().reward_model == pyspiel.GameType.RewardModel.TERMINAL

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process loads the game anew."""
        return OpenSpiel, (self.name, self.max_moves)

    def initial(self) -> Any:
        return self.spiel.new_initial_state()

    def to_play(self, position: Any) -> int:
        return max(0, int(position.current_player()))  # of a finished state it is less

    def legal_actions(self, position: Any) -> list[int]:
        return position.legal_actions()  # type: ignore[no-any-return]

    def play(self, position: Any, action: int) -> Any:
        return position.child(action)

    def finished(self, position: Any) -> bool:
        return position.is_terminal()  # type: ignore[no-any-return]

    def reward(self, position: Any, action: int, successor: Any) -> float:
        if self._ends_alone and not successor.is_terminal():
            return 0.0
        rewards = successor.returns() if self._ends_alone else successor.rewards()
        return float(rewards[position.current_player()] / self._most)

    def observe(self, position: Any) -> NDArray[np.float32]:
        player = self.to_play(position)
        if self._observer is None:
            seen = np.array(position.observation_tensor(player), np.float32)
        else:
            self._observer.set_from(position, player)
            seen = self._observer.tensor
        if self.num_players == 1:
            return seen.reshape(self.observation_shape).copy()
        with_turn = np.full(self.observation_shape, player, np.float32)
        with_turn[:-1] = seen.reshape(with_turn[:-1].shape)
        return with_turn

    def render(self, position: Any) -> str:
        return COLOUR.sub("", str(position))

    def action_name(self, action: int) -> str:
        return self._names.get(action, str(action))

    @cached_property
    def _names(self) -> dict[int, str]:
        """The names of the actions that random games meet; none at all where a name depends on the position.

        Only legal actions are asked about: at others, OpenSpiel may end the whole process.
        """
        names: tuple[dict[int, str], dict[int, str]] = ({}, {})
        rng, position = random.Random(0), self.initial()
        for _ in range(NAMED_POSITIONS):
            if position.is_terminal():
                position = self.initial()
            player = position.current_player()
            for action in position.legal_actions():
                name = "_".join(position.action_to_string(player, action).split())
                if names[player].setdefault(action, name) != name:
                    return {}
            position = position.child(rng.choice(position.legal_actions()))
        first, second = names
        plain = first | second | {both: _common_end(first[both], second[both]) for both in first.keys() & second}
        return plain if len({*plain.values(), ""}) > len(plain) else {}


def playable() -> list[str]:
    """The names of the games that can be played as they are, without parameters."""
    import pyspiel

    names = []
    for kind in pyspiel.registered_games():
        with suppress(ValueError):
            _require_kind(kind)
            if kind.default_loadable:
                OpenSpiel(kind.short_name)
                names.append(kind.short_name)
    return names


def _require_kind(kind: Any) -> None:
    """ValueError, with the reason, if games of this kind cannot be played."""
    import pyspiel

    for holds, reason in (
        (kind.dynamics == pyspiel.GameType.Dynamics.SEQUENTIAL, "its players move at the same time"),
        (kind.chance_mode == pyspiel.GameType.ChanceMode.DETERMINISTIC, "it has chance, which search would foresee"),
        (
            kind.information == pyspiel.GameType.Information.PERFECT_INFORMATION,
            "it hides information from players, which search would see",
        ),
        (kind.provides_observation_tensor, "it offers no observation as a tensor"),
    ):
        if not holds:
            raise ValueError(f"{kind.short_name} cannot be played: {reason}")


def _common_end(first: str, second: str) -> str:
    """What two players' names of an action have in common, for they may begin with the players' marks."""
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(first), reversed(second), strict=False))
    common = "".join(letter for letter, _ in alike)[::-1]
    return common if common == first else common.lstrip("_")
