"""Minimax over batches of states: every line of play to a fixed depth, for any game."""

from __future__ import annotations

import torch
from torch import Tensor

from alphazero.game import Game, State, batch_size, num_actions, take

# The discount of a ply, beside the game's own; see `minimax`.
SHRINK = 2.0**-40

# States expanded at once: enough to keep torch busy, few enough that their children stay in the
# processor's cache. Memory grows with this times the actions times the depth, never with the batch.
FRONTIER = 1 << 14


def minimax(game: Game, states: State, *, depth: int) -> Tensor:
    """The value of every action after `depth` plies of best play, for the player to move.

    [B, A] float64; -inf where the action is illegal, meaningless where the state is finished.
    Beyond the horizon stands the game's heuristic; games that end before it count as they ended.

    Shannon 1950, "Programming a computer for playing chess", section 3, over the game's own signs:

        score(s, a) = r + discount * (1 - SHRINK) * (+-) max_b score(s', b)

    with a minus exactly where `to_play` changes from s to s', so that players may move twice in a
    row and a game for one is a plain maximum. Without the factor 1 - SHRINK, which is ours, every
    win is worth the same, and a player may put it off for ever. With it a win is worth more the
    sooner it comes, and a loss the later. Over fewer than 2^15 plies it takes less from a reward
    than half the distance between neighbouring float32 numbers. So it decides between equal values
    only, and in a game that is rewarded at its end `minimax(...).float()` is the exact value.
    """
    parent, action = game.legal(states).nonzero(as_tuple=True)
    scores = torch.full((batch_size(states), num_actions(game)), -torch.inf, dtype=torch.float64, device=parent.device)
    # Actions with everything below them, a few at a time, so that no batch is too large.
    for parents, moves in zip(parent.split(FRONTIER), action.split(FRONTIER), strict=True):
        scores[parents, moves] = _edge_scores(game, states, parents, moves, depth)
    return scores


def _edge_scores(game: Game, states: State, parent: Tensor, action: Tensor, depth: int) -> Tensor:
    """[E] float64, the score of playing action [E] in states[parent [E]], for the player to move there."""
    successor, reward, done = game.step(take(states, parent), action)
    running = (~done).nonzero()[:, 0]
    children = take(successor, running)
    same_player = game.to_play(states)[parent[running]] == game.to_play(children)
    value = _values(game, children, depth - 1)
    scores = reward.to(torch.float64)
    scores[running] += game.discount * (1 - SHRINK) * torch.where(same_player, value, -value)
    return scores


def _values(game: Game, states: State, depth: int) -> Tensor:
    """[M] float64, the value of unfinished states for the player to move, `depth` plies before the horizon."""
    if depth == 0:
        return game.heuristic(states).to(torch.float64)
    states, position = _merge(game, states)
    parts = range(0, max(1, batch_size(states)), FRONTIER)  # at least one
    return torch.cat([_best(game, take(states, slice(i, i + FRONTIER)), depth) for i in parts])[position]


def _best(game: Game, states: State, depth: int) -> Tensor:
    """[M] float64, the score of the best action of each state."""
    parent, action = game.legal(states).nonzero(as_tuple=True)
    worst = torch.full((batch_size(states),), -torch.inf, dtype=torch.float64, device=parent.device)
    return worst.scatter_reduce(0, parent, _edge_scores(game, states, parent, action, depth), "amax")


def _merge(game: Game, states: State) -> tuple[State, Tensor]:
    """The distinct states, [U], and which of them each of the M given ones is, [M] int64.

    Many orders of the same moves lead to one position, as `game.key` tells; a game without keys
    keeps all its states.
    """
    count = batch_size(states)
    if not game.has_key:
        return states, torch.arange(count, device=game.to_play(states).device)
    key = game.key(states)
    distinct, position = key.unique(return_inverse=True)
    representative = torch.empty_like(distinct).scatter_(0, position, torch.arange(count, device=key.device))
    return take(states, representative), position
