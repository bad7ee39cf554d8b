"""Proofs in the tree: MCTS-Solver, Winands, Björnsson and Saito, "Monte-Carlo Tree Search Solver" (CG 2008), with the
bounds of Cazenave and Saffidine, "Score Bounded Monte-Carlo Tree Search" (CG 2010).

A node's value lies between the greatest low and the greatest high bound of its edges; an edge that nobody has taken
may be worth anything from -1 to 1. Where both bounds meet, the value is proven: the node counts as finished from then
on, so that no simulation goes into it any more, and its value is exact for all nodes above it. An edge that cannot be
worth more than another one surely is gets no more simulations either, except at the root, whose visits count.

For games whose actions can all be tried: with sampled actions, nothing is proven about the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from alphazero.game import ILLEGAL, S

if TYPE_CHECKING:
    from alphazero.mcts.tree import Tree


class Bounds(NamedTuple):
    """Between what the values of B trees' N nodes are proven to be, for each node's player.

    low, high: [B, N] float32.
    plies:     [B, N] int32, where both are the same: how many moves the proven line takes to the game's end.
    """

    low: Tensor
    high: Tensor
    plies: Tensor


def edge_bounds(tree: Tree[S], bounds: Bounds, node: Tensor) -> tuple[Tensor, Tensor]:
    """low and high [B, A] of the edges at `node` [B], for the node's player; an illegal one is worth the least."""
    rows = torch.arange(tree.batch, device=node.device)
    child, legal = tree.children[rows, node].long(), tree.logits[rows, node] != ILLEGAL
    rows, behind = rows[:, None], child.clamp(min=0)
    reward, discount = tree.reward[rows, behind], tree.discount[rows, behind]
    ends = [(reward + discount * bound[rows, behind]).clamp(-1, 1) for bound in (bounds.low, bounds.high)]

    def of_edges(ends: Tensor, unvisited: float) -> Tensor:
        return torch.where(child >= 0, ends, torch.where(legal, unvisited, -1.0))

    return of_edges(torch.minimum(*ends), -1.0), of_edges(torch.maximum(*ends), 1.0)


def tighten(tree: Tree[S], bounds: Bounds, node: Tensor) -> tuple[Tensor, Tensor]:
    """Brings the bounds of `node` [B] up to date with those of its edges, and returns them, [B] each.

    A node whose bounds meet becomes finished; one whose bounds do not meet loses the edges that are out of question.
    """
    rows = torch.arange(tree.batch, device=node.device)
    edge_low, edge_high = edge_bounds(tree, bounds, node)
    low, high = edge_low.amax(-1), edge_high.amax(-1)
    proven = low == high
    bounds.low[rows, node], bounds.high[rows, node] = low, high
    bounds.plies[rows, node] = torch.where(proven, shortest(tree, bounds, node), 0)
    tree.finished[rows, node] = proven
    visited = tree.children[rows, node] >= 0
    out = visited & (edge_high <= low[:, None]) & (~proven & (node != 0))[:, None]
    tree.logits[rows, node] = torch.where(out, ILLEGAL, tree.logits[rows, node])
    tree.prior[rows, node] = torch.where(out, 0.0, tree.prior[rows, node])
    return low, high


def proven_edges(tree: Tree[S], bounds: Bounds, node: Tensor) -> tuple[Tensor, Tensor]:
    """Which edges at `node` [B] surely have its low bound as their value, [B, A] bool, and how many plies they take."""
    rows = torch.arange(tree.batch, device=node.device)
    child, (low, high) = tree.children[rows, node].long(), edge_bounds(tree, bounds, node)
    plies = 1 + bounds.plies[rows[:, None], child.clamp(min=0)]
    return (child >= 0) & (low == high) & (low == low.amax(-1, keepdim=True)), plies


def shortest(tree: Tree[S], bounds: Bounds, node: Tensor) -> Tensor:
    """[B] int32, the plies of the soonest win, or of the latest other end, among the proven edges at `node` [B]."""
    exact, plies = proven_edges(tree, bounds, node)
    soonest = torch.where(exact, plies, torch.iinfo(torch.int32).max).amin(-1)
    latest = torch.where(exact, plies, 0).amax(-1)
    return torch.where(edge_bounds(tree, bounds, node)[0].amax(-1) > 0, soonest, latest)


def eligible(tree: Tree[S], bounds: Bounds) -> Tensor:
    """[B, A] bool, the root's actions that nothing speaks against.

    Of a proven root: the soonest wins, or the latest of other ends. Of others: those which no other action is proven to
    be as good as or better than.
    """
    root = torch.zeros(tree.batch, dtype=torch.int64, device=tree.children.device)
    low, high = edge_bounds(tree, bounds, root)
    least = low.amax(-1, keepdim=True)
    exact, plies = proven_edges(tree, bounds, root)
    of_proven = exact & (plies == shortest(tree, bounds, root)[:, None])
    # Where an action is worth `least` at least and perhaps more, one that is worth no more is out.
    open_end = ((low == least) & (high > least)).any(-1, keepdim=True)
    of_others = torch.where(open_end, high > least, high >= least)
    return torch.where(tree.finished[:, :1], of_proven, of_others)
