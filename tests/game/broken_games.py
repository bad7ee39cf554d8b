"""Games that break a promise, each by one change of a sound game (Walk is the smallest), and the message about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor

from alphazero.game import Discrete, Game, Transition
from alphazero.game.conformance import ConformanceError, check_game
from games.tic_tac_toe import TicTacToe, TicTacToeState


class Walk(Game):
    """The smallest game, without any optional method: six steps, left or right."""

    name = "walk"
    num_players = 1
    actions = Discrete(2)
    observation_shape = (2,)

    class State(NamedTuple):
        place: Tensor  # [B, 2] float64, place and time

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> Any:
        device = None if generator is None else generator.device
        return self.State(torch.zeros((batch, 2), dtype=torch.float64, device=device))

    def to_play(self, state: Any) -> Tensor:
        return torch.zeros_like(state.place[:, 0], dtype=torch.int8)

    def legal(self, state: Any) -> Tensor:
        return torch.ones_like(state.place, dtype=torch.bool)

    def step(self, state: Any, action: Tensor) -> Transition:
        finished = state.place[:, 1] >= 6
        move = torch.stack((2 * action - 1, torch.ones_like(action)), 1) * ~finished[:, None]
        successor = self.State(state.place + move)
        return Transition(successor, 0.0 * move[:, 0].float(), successor.place[:, 1] >= 6)

    def observe(self, state: Any) -> Tensor:
        return cast(Tensor, state.place.float())


class Broken(NamedTuple):
    base: type[Game]
    changes: dict[str, Any]  # attributes and methods in place of the base's
    message: str


def broken(base: type[Game], **changes: Any) -> Game:
    return cast(Game, type(f"Broken{base.__name__}", (base,), changes)())


def where_it_says(name: str, change: Callable[[Any, Any], Any], message: str, base: type[Game] = TicTacToe) -> Broken:
    """A game whose method `name` answers `change(state, the base's answer)`."""

    def method(self: Game, state: Any, *action: Tensor) -> Any:
        return change(state, getattr(base, name)(self, state, *action))

    return Broken(base, {name: method}, f"{name}: {message}")


def step_with(name: str, change: Callable[[Any, Transition], Tensor], message: str) -> Broken:
    """A game whose `step` returns another reward, done or field of the state."""

    def step(state: TicTacToeState, transition: Transition) -> Transition:
        changed = {name: change(state, transition)}
        if name in {"reward", "done"}:
            return transition._replace(**changed)
        return transition._replace(state=transition.state._replace(**changed))

    return where_it_says("step", step, message)


def assert_caught(case: Broken) -> None:
    """The conformance kit finds the fault, and says it as the case does."""
    with pytest.raises(ConformanceError) as caught:
        check_game(broken(case.base, **case.changes), max_moves=50)
    assert re.match(case.message, str(caught.value)), str(caught.value)
