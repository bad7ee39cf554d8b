"""The least that a game must define, and four of its states."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import Discrete, Game, Transition


class CoinsState(NamedTuple):
    """coins: [B] int64; purses: [B, 2] float32."""

    coins: Tensor
    purses: Tensor


class Coins(Game):
    """The least that a game must define."""

    name = "coins"
    num_players = 2
    actions = Discrete(3)
    observation_shape = (1,)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> CoinsState:
        return CoinsState(torch.full((batch,), 5), torch.zeros(batch, 2))

    def to_play(self, state: CoinsState) -> Tensor:
        return torch.zeros_like(state.coins, dtype=torch.int8)

    def legal(self, state: CoinsState) -> Tensor:
        return torch.ones((len(state.coins), 3), dtype=torch.bool)

    def step(self, state: CoinsState, action: Tensor) -> Transition:
        raise NotImplementedError

    def observe(self, state: CoinsState) -> Tensor:
        return state.coins[:, None].float()


class Pile(Coins):
    """Coins with an argument."""

    def __init__(self, coins: int = 5, *, name: str = "pile") -> None:
        self.coins, self.name = coins, name  # type: ignore[misc]


STATE = CoinsState(torch.arange(4), torch.arange(8.0).view(4, 2))


def fields(state: CoinsState) -> tuple[list[int], list[list[float]]]:
    return state.coins.tolist(), state.purses.tolist()
