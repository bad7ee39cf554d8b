"""A probe asks a game, and checks the promises that each of its functions makes for every answer."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from alphazero.game.drawing import fields
from alphazero.game.interface import Game, Transition, num_actions
from alphazero.game.states import State, batch_size, field_names, named_fields, take


class ConformanceError(AssertionError):
    """A game broke a promise. The message names the function, the promise and the state."""


Fields = dict[str, Tensor]
Answers = dict[tuple[str, str], Tensor]  # by function and field


class Positions(NamedTuple):
    """M positions of random games.

    state: their states.
    game:  [M] int64, which of the games each belongs to.
    ply:   [M] int64, how many moves were played before it.
    done:  [M] bool, whether it is finished, as `step` said.
    """

    state: State
    game: Tensor
    ply: Tensor
    done: Tensor


class Ply(NamedTuple):
    """A ply of the random games, which are played together until the last has ended and a few plies more.

    action, reward: of each game, [games, ...].
    """

    before: Positions
    action: Tensor
    reward: Tensor
    after: Positions


class Probe:
    """Asks a game; refuses answers of the wrong shape or type, and calls that fail or alter their input."""

    def __init__(self, game: Game) -> None:
        self.game = game
        # The functions of a state alone, and the form of what they answer for each.
        self.queries: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "to_play": ((), torch.int8),
            "legal": ((num_actions(game) if game.discrete else 0,), torch.bool),
            "observe": (game.observation_shape, torch.float32),
            "heuristic": ((), torch.float32),
        } | ({"key": ((), torch.int64)} if game.has_key else {})

    def require(self, holds: Tensor, promise: str, positions: Positions, field: str = "") -> None:
        """Raises for the first position at which `holds`, [M] bool, does not."""
        if bool(holds.all()):
            return
        index = (~holds).nonzero()[0]
        place = f"state {int(positions.game[index])} at ply {int(positions.ply[index])}"
        place += f", field `{field}`" if field else ""
        state = take(positions.state, index)
        try:
            picture = str(self.game.render(state))
        except Exception:  # a fault of `render` is reported by its own check
            picture = fields(state)
        raise ConformanceError(f"{promise} ({place})\n{picture}")

    def require_same(
        self, given: Fields, expected: Fields, promise: str, positions: Positions, *, unless: Tensor | bool = False
    ) -> None:
        """Raises for the first position at which a field is another, unless it may be."""
        for name, field in given.items():
            self.require(same_rows(field, expected[name]) | unless, promise, positions, name)

    def call(self, function: str, *arguments: Any, positions: Positions | None = None, **options: Any) -> Any:
        """The answer of a function, which must not fail."""
        try:
            return getattr(self.game, function)(*arguments, **options)
        except Exception as error:
            plies = f" (states at plies {int(positions.ply.min())} to {int(positions.ply.max())})" if positions else ""
            raise ConformanceError(f"{function}: must not fail, but raised {error!r}{plies}") from error

    def ask(self, function: str, positions: Positions, *actions: Tensor) -> Any:
        """The answer of a function about positions, which must not change its input either."""
        given = {**named_fields(positions.state), **dict(zip(["the action"], actions, strict=False))}
        kept = {name: tensor.clone() for name, tensor in given.items()}
        answer = self.call(function, positions.state, *actions, positions=positions)
        self.require_same(given, kept, f"{function}: must not change its input in place", positions)
        return answer

    def query(self, function: str, positions: Positions) -> Tensor:
        """The answer of one of the `queries`."""
        shape, dtype = self.queries[function]
        shape = (batch_size(positions.state), *shape)
        return require_tensor(f"{function}: its answer", self.ask(function, positions), shape, dtype, positions)

    def step(self, positions: Positions, action: Tensor) -> Transition:
        transition = self.ask("step", positions, action)
        require_type("step: its answer", transition, Transition)
        given, (successor, reward, done) = positions.state, transition
        require_type("step: the successor", successor, type(given))
        for name, before, after in zip(field_names(type(given)), given, successor, strict=True):
            require_tensor(f"step: field `{name}`", after, tuple(before.shape), before.dtype, positions)
        require_tensor("step: reward", reward, (batch_size(given),), torch.float32, positions)
        require_tensor("step: done", done, (batch_size(given),), torch.bool, positions)
        self.require(reward.isfinite(), "step: rewards must be finite", positions)
        return transition  # type: ignore[no-any-return]

    def answers(self, positions: Positions, actions: Tensor) -> Answers:
        """Everything that the game says of the positions, and of the actions there."""
        answers = {(function, ""): self.query(function, positions) for function in self.queries}
        return answers | {("step", name): field for name, field in named_fields(self.step(positions, actions)).items()}


def require_type(name: str, value: object, expected: type) -> None:
    if not isinstance(value, expected):
        raise ConformanceError(f"{name} must be a {expected.__name__}, is a {type(value).__name__}")


def require_tensor(name: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype, positions: Positions) -> Tensor:
    require_type(name, value, Tensor)
    actual, expected = (tuple(value.shape), value.dtype, value.device), (shape, dtype, positions.game.device)
    for aspect, is_, must_be in zip(("shape", "dtype", "device"), actual, expected, strict=True):
        if is_ != must_be:
            raise ConformanceError(f"{name} must have {aspect} {must_be}, has {is_}")
    return value  # type: ignore[no-any-return]


def same_rows(a: Tensor, b: Tensor, *, rounding: bool = False) -> Tensor:
    """[M] bool, whether the rows of two tensors agree; `rounding` ignores the last digits of floats."""
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if rounding and a.is_floating_point() else {"rtol": 0.0, "atol": 0.0}
    same = torch.isclose(a, b, equal_nan=a.is_floating_point(), **tolerance)
    return same.reshape(len(same), math.prod(same.shape[1:])).all(1)
