"""The old place of `games.othello`, for one version: `Othello` is `Othello(side=6)`, `Othello8` is `Othello(side=8)`.

Runs of that time have positions of a number a board. They are kept here, so that such runs go on.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import Game, Symmetry, Transition
from games import othello


class OthelloState(NamedTuple):
    """As `games.othello.OthelloState`; mine, theirs: [B] int64, a bit a cell, in reading order."""

    mine: Tensor
    theirs: Tensor
    turn: Tensor
    done: Tensor


class Othello(Game[OthelloState]):
    """Six by six cells."""

    num_players, side = 2, 6

    def __init__(self) -> None:
        now = f"games.othello:Othello(side={self.side})"
        warnings.warn(
            f"examples.othello:{type(self).__name__} is called `{now}` now; the old name is read for one more version",
            FutureWarning,
            stacklevel=2,
        )
        self.now = othello.Othello(self.side)
        self.name, self.actions, self.observation_shape = self.now.name, self.now.actions, self.now.observation_shape

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> OthelloState:
        return self._then(self.now.initial(batch, generator=generator))

    def to_play(self, state: OthelloState) -> Tensor:
        return state.turn

    def legal(self, state: OthelloState) -> Tensor:
        return self.now.legal(self._now(state))

    def step(self, state: OthelloState, action: Tensor) -> Transition[OthelloState]:
        successor, reward, done = self.now.step(self._now(state), action)
        return Transition(self._then(successor), reward, done)

    def observe(self, state: OthelloState) -> Tensor:
        return self.now.observe(self._now(state))

    def symmetries(self) -> Sequence[Symmetry]:
        return self.now.symmetries()

    @property
    def has_key(self) -> bool:
        return self.now.has_key

    def key(self, state: OthelloState) -> Tensor:
        return self.now.key(self._now(state))

    def heuristic(self, state: OthelloState) -> Tensor:
        return self.now.heuristic(self._now(state))

    def render(self, state: OthelloState) -> str:
        return self.now.render(self._now(state))

    def action_name(self, action: int) -> str:
        return self.now.action_name(action)

    def _now(self, state: OthelloState) -> othello.OthelloState:
        mine, theirs = (
            ((board[:, None] >> self._shifts(board)) & ((1 << self.side) - 1)).to(torch.int32) for board in state[:2]
        )
        return othello.OthelloState(mine, theirs, state.turn, state.done)

    def _then(self, state: othello.OthelloState) -> OthelloState:
        mine, theirs = ((rows.to(torch.int64) << self._shifts(rows)).sum(1) for rows in state[:2])
        return OthelloState(mine, theirs, state.turn, state.done)

    def _shifts(self, board: Tensor) -> Tensor:
        return torch.arange(self.side, device=board.device) * self.side


class Othello8(Othello):
    """The full board."""

    side = 8
