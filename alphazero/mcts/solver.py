"""Proofs in the tree: MCTS-Solver, Winands, Björnsson and Saito, "Monte-Carlo Tree Search Solver" (CG 2008), with the
bounds of Cazenave and Saffidine, "Score Bounded Monte-Carlo Tree Search" (CG 2010).

A node's value lies between the greatest low and the greatest high bound of its edges; an edge that nobody has taken
may be worth anything from -1 to 1. Where both bounds meet, and an edge to a finished node is worth as much, the value
is proven: the node counts as finished from then on, so that no simulation goes into it any more, and its value is exact
for all nodes above it. (Bounds also meet where rewards on the way add up to the most that a game can bring, before the
rest of the line is known.) An edge that cannot be worth more than another one surely is gets no more simulations
either, except at the root, whose visits count.

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
    plies:     [B, N] int32, of proven nodes: how many moves the proven line takes to the game's end.
    """

    low: Tensor
    high: Tensor
    plies: Tensor


class EdgeBounds(NamedTuple):
    """What is proven about the edges of a node of B trees, for the node's player.

    low, high: [B, A] float32; an illegal edge is worth the least.
    plies:     [B, A] int32, as in `Bounds`, and one more for the edge itself; 0 where nothing is proven.
    """

    low: Tensor
    high: Tensor
    plies: Tensor

    @property
    def least(self) -> Tensor:
        """[B], what the node is worth at least."""
        return self.low.amax(-1)

    @property
    def exact(self) -> Tensor:
        """[B, A] bool, which edges are worth as much, and no more."""
        return (self.plies > 0) & (self.low == self.least[:, None])

    @property
    def shortest(self) -> Tensor:
        """[B] int32, the plies of the soonest win, or of the latest other end, among the exact edges."""
        soonest = torch.where(self.exact, self.plies, torch.iinfo(torch.int32).max).amin(-1)
        latest = torch.where(self.exact, self.plies, 0).amax(-1)
        return torch.where(self.least > 0, soonest, latest)


def edge_bounds(tree: Tree[S], bounds: Bounds, node: Tensor) -> EdgeBounds:
    """Those at `node` [B] int64."""
    rows = torch.arange(tree.batch, device=node.device)
    child, legal = tree.children[rows, node].long(), tree.logits[rows, node] != ILLEGAL
    rows, behind = rows[:, None], child.clamp(min=0)
    reward, discount = tree.reward[rows, behind], tree.discount[rows, behind]
    ends = [(reward + discount * bound[rows, behind]).clamp(-1, 1) for bound in (bounds.low, bounds.high)]
    visited = child >= 0
    low = torch.where(visited, torch.minimum(*ends), -1.0)
    high = torch.where(visited, torch.maximum(*ends), torch.where(legal, 1.0, -1.0))
    proven = visited & tree.finished[rows, behind]
    return EdgeBounds(low, high, torch.where(proven, 1 + bounds.plies[rows, behind], 0))


def tighten(tree: Tree[S], bounds: Bounds, node: Tensor) -> tuple[Tensor, Tensor]:
    """Brings the bounds of `node` [B] up to date with those of its edges, and returns them, [B] each.

    A node that is proven becomes finished; one whose bounds do not meet loses the edges that are out of question.
    """
    rows = torch.arange(tree.batch, device=node.device)
    edges = edge_bounds(tree, bounds, node)
    low, high = edges.least, edges.high.amax(-1)
    met = low == high
    proven = met & edges.exact.any(-1)
    bounds.low[rows, node], bounds.high[rows, node] = low, high
    bounds.plies[rows, node] = torch.where(proven, edges.shortest, 0)
    tree.finished[rows, node] = proven
    out = (tree.children[rows, node] >= 0) & (edges.high <= low[:, None]) & (~met & (node != 0))[:, None]
    tree.logits[rows, node] = torch.where(out, ILLEGAL, tree.logits[rows, node])
    tree.prior[rows, node] = torch.where(out, 0.0, tree.prior[rows, node])
    return low, high


def root_edge_bounds(tree: Tree[S], bounds: Bounds) -> EdgeBounds:
    """Those of the roots."""
    return edge_bounds(tree, bounds, torch.zeros(tree.batch, dtype=torch.int64, device=tree.children.device))


def eligible(tree: Tree[S], bounds: Bounds) -> Tensor:
    """[B, A] bool, the root's actions that nothing speaks against.

    Of a proven root: the soonest wins, or the latest of other ends. Of others: those which no other action is proven to
    be as good as or better than.
    """
    edges = root_edge_bounds(tree, bounds)
    least = edges.least[:, None]
    of_proven = edges.exact & (edges.plies == edges.shortest[:, None])
    # Where an action is worth `least` at least and perhaps more, one that is worth no more is out.
    open_end = ((edges.low == least) & (edges.high > least)).any(-1, keepdim=True)
    of_others = torch.where(open_end, edges.high > least, edges.high >= least)
    return torch.where(tree.finished[:, :1], of_proven, of_others)
