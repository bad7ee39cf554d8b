"""Games small enough to be searched to all their ends, position by position."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from alphazero.game import Game, State, take


def values_of_first_moves(game: Game, value: Callable[[State, Tensor], Tensor]) -> dict[str, float]:
    """What each first move is worth by perfect play, by its name; the game must have a key, and players who alternate.

    value: of finished successors, from their state and the reward of the move that led there, for who made that move.
    """
    states, plies = game.initial(1), []
    while len(states[0]):
        parent, action = game.legal(states).nonzero().unbind(1)
        successor, reward, done = game.step(take(states, parent), action)
        keys, place = game.key(successor)[~done].unique(return_inverse=True)
        child = torch.full_like(parent, -1)  # of finished ones
        child[~done] = place
        plies.append((len(states[0]), parent, action, child, value(successor, reward).float()))
        first = torch.zeros_like(keys).scatter_(0, place, (~done).nonzero()[:, 0])
        states = take(successor, first)
    best = torch.zeros(0)
    for count, parent, _, child, ended in reversed(plies):
        worth = ended.clone()
        worth[child >= 0] = -best[child[child >= 0]]
        best = torch.full((count,), -torch.inf).scatter_reduce(0, parent, worth, "amax")
    names = map(game.action_name, plies[0][2].tolist())
    return dict(zip(names, worth.tolist(), strict=True))
