"""The checks of a game in plain Python, function by function, in its author's words and on its author's positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from alphazero.game.interface import Discrete
from alphazero.game.messages import shortened
from alphazero.game.probe import ConformanceError
from alphazero.game.python_game import PythonGame, encoded, plain

SHOWN_MOVES = 12  # of those that led to a position, the last
ROUNDING = 1e-4


class Answers(NamedTuple):
    """What the rules say of a position."""

    to_play: int
    winner: int | None
    finished: bool
    legal_actions: list[int]
    observe: np.ndarray
    heuristic: float
    key: bytes | None


class _Checked:
    """Asks rules about positions, and checks the promise that each of their functions makes for every answer."""

    def __init__(self, rules: PythonGame) -> None:
        self.rules = rules
        self.path: list[Any] = []  # the moves that led to the position that is asked about
        self.position: Any = None
        self.known: dict[bytes, Answers] = {}  # by key

    def require(self, holds: bool, promise: str) -> None:
        if holds:
            return
        moves = [self._move(action) for action in self.path]
        shown = ["…"] * (len(moves) > SHOWN_MOVES) + moves[-SHOWN_MOVES:]
        place = f"after the moves {' '.join(shown)}" if moves else "at the start"
        try:
            picture = self.rules.render(self.position)
        except Exception:  # its own check reports it
            picture = PythonGame.render(self.rules, self.position)
        raise ConformanceError(f"{promise} ({place})\n{picture}")

    def _move(self, action: Any) -> str:
        try:
            return self.rules.action_name(action) if isinstance(action, int) else str(action)
        except Exception:  # its own check reports it
            return str(action)

    def call(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self.rules, function)(*arguments)
        except Exception as error:
            self.require(False, f"{function}: must not fail, but raised {error!r}")
            raise AssertionError from error  # never reached: what is required above does not hold

    def ask(self, function: str, position: Any) -> Any:
        """The answer of one of the functions of a position alone."""
        rules = self.rules
        answer = self.call(function, position)
        if function == "to_play":
            players = range(rules.num_players)
            self.require(
                _is_whole(answer) and answer in players, f"to_play: must be one of {[*players]}, is {answer!r}"
            )
        elif function == "winner":
            fine = answer is None or (_is_whole(answer) and answer in range(rules.num_players))
            either = " or ".join(map(str, range(rules.num_players)))
            self.require(fine, f"winner: must be the player who has won, {either}, or None, is {answer!r}")
        elif function == "finished":
            self.require(isinstance(answer, (bool, np.bool_)), f"finished: must be True or False, is {answer!r}")
        elif function == "legal_actions":
            return self._actions(answer)
        elif function == "observe":
            return self._observation(answer)
        elif function == "heuristic":
            inside = isinstance(answer, (Real, np.number)) and -1 < float(answer) < 1
            self.require(inside, f"heuristic: must lie within (-1, 1), is {answer!r}")
        return answer

    def _actions(self, answer: Any) -> list[int]:
        count = self.rules.actions.n if isinstance(self.rules.actions, Discrete) else 0
        try:
            actions = list(answer)
        except TypeError:
            self.require(False, f"legal_actions: must be a list of actions, is {shortened(repr(answer))}")
        for action in actions:
            fine = _is_whole(action) and 0 <= action < count
            self.require(fine, f"legal_actions: must be whole numbers from 0 to {count - 1}, has {action!r}")
        return sorted(map(int, actions))

    def _observation(self, answer: Any) -> np.ndarray:
        try:
            seen = np.asarray(answer, np.float32)
        except (TypeError, ValueError) as error:
            self.require(False, f"observe: must be an array of numbers ({error})")
        expected = self.rules.observation_shape
        self.require(seen.shape == expected, f"observe: must have shape {expected}, has {seen.shape}")
        self.require(bool(np.isfinite(seen).all()), "observe: must be finite")
        return seen.copy()

    def answers(self, position: Any) -> Answers:
        """All that the rules say of the position."""
        self.position = position
        rules, discrete = self.rules, isinstance(self.rules.actions, Discrete)
        winner = self.ask("winner", position)
        finished = bool(self.ask("finished", position)) if rules.overrides("finished") else winner is not None
        legal = self.ask("legal_actions", position) if discrete and not finished else []
        over = finished or (discrete and not legal)
        return Answers(
            to_play=0 if over else int(self.ask("to_play", position)),
            winner=winner,
            finished=over,
            legal_actions=legal,
            observe=self.ask("observe", position),
            heuristic=0.0 if over else float(self.ask("heuristic", position)),
            key=self._key(position),
        )

    def _key(self, position: Any) -> bytes | None:
        try:
            return encoded(plain(self.call("key", position)))  # plain: of an array of objects, bytes are addresses
        except TypeError as error:
            self.require(not self.rules.overrides("key"), f"key: {error}")
            return None

    def require_same(self, now: Answers, before: Answers, promise: str) -> None:
        for name, answer, expected in zip(Answers._fields, now, before, strict=True):
            same = bool(np.all(answer == expected))
            self.require(same, promise.format(name))


def check_positions(
    rules: PythonGame, *, games: int, seed: int, show: Callable[[str, int, int], None] = lambda text, done, total: None
) -> None:
    """Plays random games with the rules as they are. ConformanceError names a broken promise, function and position."""
    rng = np.random.default_rng(seed)
    checked = _Checked(rules)
    for number in range(games):
        show("playing random games, one by one", number, games)
        _check_game(checked, rng)


def _check_game(checked: _Checked, rng: np.random.Generator) -> None:
    rules, checked.path = checked.rules, []
    position = checked.call("random_initial", rng) if rules.overrides("random_initial") else checked.call("initial")
    answers = checked.answers(position)
    checked.require(not answers.finished, "initial: the game must not be over before the first move")
    rewards: list[tuple[int, float]] = []
    while not answers.finished and len(checked.path) < rules.max_moves:
        checked.require_same(checked.answers(position), answers, "{}: must give the same answer twice")
        if answers.key is not None:
            alike = "key: positions with one key must agree in all answers, not so in `{}`"
            checked.require_same(answers, checked.known.setdefault(answers.key, answers), alike)
        action: Any
        if isinstance(rules.actions, Discrete):
            action = int(rng.choice(answers.legal_actions))
        else:
            action = rng.uniform(*rules.actions).astype(np.float32)
        successor, again = (checked.call("play", position, action) for _ in range(2))
        checked.require(successor is not None, "play: must return the position after the move, returned None")
        reward = checked.call("reward", position, action, successor)
        fine = isinstance(reward, (Real, np.number)) and math.isfinite(reward)
        checked.require(fine, f"reward: must be a finite number, is {reward!r}")
        kept = "play: must leave the position that it is given as it was, for search goes on from there; `{}` changed"
        checked.require_same(checked.answers(position), answers, kept)
        rewards.append((answers.to_play, float(reward)))
        checked.path.append(action)
        answers = checked.answers(successor)
        twice = "play: the same move must lead to the same, and `{}` differed"
        checked.require_same(checked.answers(again), answers, twice)
        position = checked.position = successor
    _check_totals(checked, rewards)


def _check_totals(checked: _Checked, rewards: Sequence[tuple[int, float]]) -> None:
    total = 0.0
    for player, reward in reversed(rewards):
        total = (reward if player == 0 else -reward) + checked.rules.discount * total
        checked.require(
            abs(total) <= 1 + ROUNDING,
            "reward: from every position on, the rewards must add up to a total within [-1, 1], as values do; "
            f"here they come to {abs(total):.3g}, so divide all rewards by the most that a game can bring",
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, (Integral, np.integer)) and not isinstance(value, (bool, np.bool_))
