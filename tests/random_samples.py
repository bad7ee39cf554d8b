"""Samples of tic-tac-toe with random targets."""

from __future__ import annotations

import torch

from alphazero.game import take
from alphazero.replay import Samples, no_actions
from games.tic_tac_toe import TicTacToe
from tests.positions import random_positions

GAME = TicTacToe()


def samples(count: int, *, seed: int = 0) -> Samples:
    """Different random tic-tac-toe positions with random targets, policies on legal moves alone."""
    generator = torch.Generator().manual_seed(seed)
    state = random_positions(GAME, 8 * count, plies=6, seed=seed)
    first = {key: index for index, key in reversed(list(enumerate(GAME.key(state).tolist())))}  # of each position
    state = take(state, torch.tensor(sorted(first.values()))[torch.randperm(len(first), generator=generator)[:count]])
    assert len(state.mine) == count
    policy = torch.where(GAME.legal(state), torch.rand(count, 9, generator=generator), 0.0)
    outcome = torch.randint(-1, 2, (count,), generator=generator).float()
    return Samples(
        state=state,
        end=take(state, torch.arange(count).flip(0)),
        policy=policy / policy.sum(1, keepdim=True),
        value=2 * torch.rand(count, generator=generator) - 1,
        outcome=outcome,
        drawn=(outcome == 0).float(),
        root_value=torch.zeros(count),
        plies_left=torch.randint(1, 9, (count,), generator=generator, dtype=torch.int32),
        iteration=torch.zeros(count, dtype=torch.int32),
        weight=torch.ones(count),
        sampled=no_actions(count),
        played_out=torch.ones(count),
    )
