"""Minimax over batches of states, with alpha-beta pruning, to a fixed depth, for any game."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import Game, State, batch_size, num_actions, take

# The discount of a ply, beside the game's own; see `minimax`.
SHRINK = 2.0**-40

# By how much a bound is widened at each ply, relative to its size: more than its rounding, far less than SHRINK.
SLACK = 2.0**-48

# States expanded at once: enough to keep torch busy, few enough that their children stay in the
# processor's cache. With many actions or large states there are fewer, so that the children (a state each, and
# EDGE bytes of numbers about it) take no more than MEMORY bytes a ply, though the rules may need some times as many.
FRONTIER, EDGE, MEMORY = 1 << 14, 64, 1 << 24

# Lines of play below a batch of states, from which on pruning saves more than its smaller batches cost.
WORTH_PRUNING = 1 << 18


def minimax(
    game: Game,
    states: State,
    *,
    depth: int,
    best_only: bool = False,
    check: Callable[[int], object] = lambda done: None,
) -> Tensor:
    """The value of every action after `depth` plies of best play, for the player to move.

    [B, A] float64; -inf where the action is illegal, meaningless where the state is finished.
    Beyond the horizon stands the game's heuristic; games that end before it count as they ended.
    With `best_only`, which is faster, an action that is not among the best has any value below theirs.
    `check(0)` is called every few milliseconds, or seconds in slow games, and may raise to end it.

    Shannon 1950, "Programming a computer for playing chess", section 3, over the game's own signs:

        score(s, a) = r + discount * (1 - SHRINK) * (+-) max_b score(s', b)

    with a minus exactly where `to_play` changes from s to s', so that players may move twice in a
    row and a game for one is a plain maximum. Without the factor 1 - SHRINK, which is ours, every
    win is worth the same, and a player may put it off for ever. With it a win is worth more the
    sooner it comes, and a loss the later. Over fewer than 2^15 plies it takes less from a reward
    than half the distance between neighbouring float32 numbers. So it decides between equal values
    only, and in a game that is rewarded at its end `minimax(...).float()` is the exact value.
    """
    scores = torch.full((batch_size(states), num_actions(game)), -torch.inf, dtype=torch.float64)
    scores = scores.to(states[0].device)
    frontier = at_once(game, states)
    for start in range(0, len(scores), frontier):
        part = take(states, slice(start, start + frontier))
        everything = scores.new_full((batch_size(part),), torch.inf)
        window = Window(-everything, everything, margin=4 * SLACK) if best_only else None
        parent, action, found = _edge_scores(game, part, depth, window, check)
        scores[start + parent, action] = found
    return scores


def at_once(game: Game, states: State) -> int:
    """How many states are expanded at once."""
    children = sum(field[:1].nbytes for field in states) + EDGE
    return max(1, min(FRONTIER, MEMORY // (num_actions(game) * children)))


class Window(NamedTuple):
    """The values between which it matters how much states are worth, [M] float64; beyond, on which side is enough.

    margin: how far below the best action others must be told from it.
    """

    alpha: Tensor
    beta: Tensor
    margin: float = 0.0


def _edge_scores(
    game: Game, states: State, depth: int, window: Window | None, check: Callable[[int], object]
) -> tuple[Tensor, Tensor, Tensor]:
    """Parent and action [E] int64 of every legal edge, and its score [E] float64 for the player to move there.

    Without a window all scores are exact; with one, those that matter are, and others are on their side of it.
    """
    check(0)
    count = batch_size(states)
    parent, action = game.legal(states).nonzero(as_tuple=True)
    successor, reward, done = game.step(take(states, parent), action)
    same_player = game.to_play(states)[parent] == game.to_play(successor)
    r, g = reward.to(torch.float64), game.discount * (1 - SHRINK) * torch.where(same_player, 1.0, -1.0).double()
    scores = torch.where(done, r, -torch.inf)
    if window is None or depth == 1 or count * (len(parent) / max(1, count)) ** depth < WORTH_PRUNING:
        edges = (~done).nonzero()[:, 0]
        scores[edges] = r[edges] + g[edges] * _values(game, take(successor, edges), depth - 1, None, check)
        return parent, action, scores
    # Knuth and Moore 1975, "An analysis of alpha-beta pruning": once the likeliest action is searched, its score bounds
    # what the others are searched for. These come all at once, so that batches stay large.
    likely = torch.full((count, num_actions(game)), -torch.inf, dtype=torch.float64, device=r.device)
    likely[parent, action] = torch.where(done, -torch.inf, r + g * game.heuristic(successor))
    first = likely.argmax(1)[parent] == action
    for turn in (first, ~first):
        best = torch.full_like(window.alpha, -torch.inf).scatter_reduce(0, parent, scores, "amax")
        edges = (turn & ~done & (best < window.beta)[parent]).nonzero()[:, 0]
        low, high = torch.maximum(window.alpha, best - window.margin)[parent[edges]], window.beta[parent[edges]]
        bounds = [(bound - r[edges]) / g[edges] for bound in (low, high)]
        low, high = torch.minimum(*bounds), torch.maximum(*bounds)
        below = Window(low - SLACK * (1 + low.abs()), high + SLACK * (1 + high.abs()))
        scores[edges] = r[edges] + g[edges] * _values(game, take(successor, edges), depth - 1, below, check)
    return parent, action, scores


def _values(game: Game, states: State, depth: int, window: Window | None, check: Callable[[int], object]) -> Tensor:
    """[M] float64, the value of unfinished states for the player to move, `depth` plies before the horizon."""
    if depth == 0:
        return game.heuristic(states).to(torch.float64)
    states, position = _merge(game, states)
    worst = torch.full((batch_size(states),), -torch.inf, dtype=torch.float64, device=position.device)
    if window:  # of states that were merged, the widest
        alpha = (-worst).scatter_reduce(0, position, window.alpha, "amin")
        window = Window(alpha, worst.scatter_reduce(0, position, window.beta, "amax"))
    values = []
    frontier = at_once(game, states)
    for start in range(0, len(worst), frontier):
        part = slice(start, start + frontier)
        within = window and Window(window.alpha[part], window.beta[part])
        parent, _, scores = _edge_scores(game, take(states, part), depth, within, check)
        values.append(worst[part].scatter_reduce(0, parent, scores, "amax"))
    return torch.cat(values or [worst])[position]


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
