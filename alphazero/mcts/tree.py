"""The search trees of a batch of positions, and the steps of a simulation on them.

Everything here is tensor operations that work on any device without waiting for it; on the CPU,
`kernels` does the same, compiled, and tests hold the two together.

The structure is mctx's (https://github.com/google-deepmind/mctx): arrays over [B, N, A], a node
a simulation, statistics of an edge stored at its parent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple

import torch
from torch import Tensor

from alphazero.game import S, Transition, map_states
from alphazero.mcts import solver
from alphazero.mcts.evaluator import Evaluation
from alphazero.mcts.solver import Bounds

UNVISITED = -1  # the child index of an edge that no simulation has taken


class Tree(NamedTuple, Generic[S]):
    """B trees of at most N nodes with A actions each, float32 and int32. Node 0 is the root.

    Edges, all [B, N, A]:
    children: the node behind it, or UNVISITED.
    logits:   the evaluator's, ILLEGAL where the rules say so.
    prior:    their softmax.
    visits:   simulations that took it.
    q:        reward + discount * value of the child, a mean over its visits, for the node's player.

    Nodes, all [B, N]:
    parent, parent_action: how it is reached.
    reward:   of the edge that leads to it, for the player who took it.
    discount: of its value as seen from the parent; negative if another player moves, 0 if finished.
    raw_value: the evaluator's; 0 if finished.
    value:    mean over the node's own evaluation and all that was backed up through it.
    finished: bool, by the rules or because its value is proven.

    Node by node, so that the nodes of one simulation lie together (node n of tree b at n * B + b):
    states:  fields [N * B, ...], the position of every node.
    actions: [N * B, A, D] the sampled actions of a Box game, else None.

    bounds:  what is proven about the nodes, else None; see `solver`.
    """

    children: Tensor
    logits: Tensor
    prior: Tensor
    visits: Tensor
    q: Tensor
    parent: Tensor
    parent_action: Tensor
    reward: Tensor
    discount: Tensor
    raw_value: Tensor
    value: Tensor
    finished: Tensor
    states: S
    actions: Tensor | None
    bounds: Bounds | None = None

    @property
    def batch(self) -> int:
        return self.children.shape[0]


STATISTICS = Tree._fields[: Tree._fields.index("states")]  # all but the positions


class Edges(NamedTuple):
    """The statistics that a selection rule sees at one node of every tree.

    logits, prior, visits, q: [B, A] as in `Tree`.
    raw_value, value: [B].
    """

    logits: Tensor
    prior: Tensor
    visits: Tensor
    q: Tensor
    raw_value: Tensor
    value: Tensor


def make_tree(roots: S, evaluation: Evaluation, logits: Tensor, nodes: int, *, bounded: bool = False) -> Tree[S]:
    """Trees that hold their roots, with room for `nodes` nodes. `logits`: [B, A], masked. bounded: with `bounds`."""
    batch, width = logits.shape
    zeros = logits.new_zeros

    def store(field: Tensor) -> Tensor:
        room = field.new_zeros(nodes * batch, *field.shape[1:])
        room[:batch] = field
        return room

    tree = Tree(
        children=zeros(batch, nodes, width, dtype=torch.int32).fill_(UNVISITED),
        logits=zeros(batch, nodes, width),
        prior=zeros(batch, nodes, width),
        visits=zeros(batch, nodes, width, dtype=torch.int32),
        q=zeros(batch, nodes, width),
        parent=zeros(batch, nodes, dtype=torch.int32),
        parent_action=zeros(batch, nodes, dtype=torch.int32),
        reward=zeros(batch, nodes),
        discount=zeros(batch, nodes),
        raw_value=zeros(batch, nodes),
        value=zeros(batch, nodes),
        finished=zeros(batch, nodes, dtype=torch.bool),
        states=map_states(store, roots),
        actions=None if evaluation.actions is None else store(evaluation.actions),
        bounds=Bounds(zeros(batch, nodes) - 1, zeros(batch, nodes) + 1, zeros(batch, nodes, dtype=torch.int32))
        if bounded
        else None,
    )
    tree.logits[:, 0], tree.prior[:, 0] = logits, logits.softmax(-1)
    tree.raw_value[:, 0] = tree.value[:, 0] = evaluation.value
    return tree


def tree_bytes(roots: S, nodes: int, width: int) -> int:
    """The memory of a tree with so many nodes and actions: five numbers an edge, ten a node, and its state."""
    return nodes * (20 * width + 37 + sum(field[:1].nbytes for field in roots))


def enlarged(tree: Tree[S], nodes: int) -> Tree[S]:
    """The same trees with room for `nodes` nodes."""
    added = nodes - tree.children.shape[1]

    def by_tree(field: Tensor, filler: int = 0) -> Tensor:
        return torch.cat((field, field.new_full((tree.batch, added, *field.shape[2:]), filler)), 1)

    def by_node(field: Tensor) -> Tensor:
        return torch.cat((field, field.new_zeros(added * tree.batch, *field.shape[1:])))

    statistics = {name: by_tree(getattr(tree, name), UNVISITED if name == "children" else 0) for name in STATISTICS}
    actions = None if tree.actions is None else by_node(tree.actions)
    bounds = tree.bounds and Bounds(*(by_tree(field, new) for field, new in zip(tree.bounds, (-1, 1, 0), strict=True)))
    return tree._replace(**statistics, states=map_states(by_node, tree.states), actions=actions, bounds=bounds)


def subtree(tree: Tree[S], node: int) -> Tree[S]:
    """What lies below a node of a single tree, which becomes the root."""
    levels = [torch.tensor([node], device=tree.children.device)]
    while len(levels[-1]):
        children = tree.children[0, levels[-1]]
        levels.append(children[children != UNVISITED].long())
    index = torch.cat(levels)
    number = torch.zeros_like(tree.parent[0])  # of each node in the new tree
    number[index] = torch.arange(len(index), dtype=number.dtype, device=number.device)
    statistics = {name: getattr(tree, name)[:, index] for name in STATISTICS}
    children, parent = statistics["children"], statistics["parent"]
    statistics["children"] = torch.where(children == UNVISITED, UNVISITED, number[children.long().clamp(min=0)])
    statistics["parent"] = torch.where(index == node, 0, number[parent.long()])
    actions = None if tree.actions is None else tree.actions[index]
    bounds = tree.bounds and Bounds(*(bound[:, index] for bound in tree.bounds))
    states = map_states(lambda field: field[index], tree.states)
    return tree._replace(**statistics, states=states, actions=actions, bounds=bounds)


def edges_at(tree: Tree[S], node: Tensor) -> Edges:
    """The statistics at `node` [B] int64 of every tree."""
    rows = torch.arange(tree.batch, device=node.device)
    return Edges(*(getattr(tree, name)[rows, node] for name in Edges._fields))


def root_edges(tree: Tree[S]) -> Edges:
    """The statistics at every tree's root, in the tree's memory."""
    return Edges(*(getattr(tree, name)[:, 0] for name in Edges._fields))


def select(
    tree: Tree[S], root_scores: Tensor, scores: Callable[[Edges], Tensor], *, simulation: int, max_depth: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Walks every tree from its root to an edge whose child is to be evaluated.

    The walk takes the best by `root_scores` [B, A] and then by `scores(edges)` [B, A], first
    among equals, and stops at an unvisited edge, at the edge into a finished node, or after
    `max_depth` edges.

    Returns parent, action and the number of edges walked, [B] int64. The loop's length does not depend on the tensors,
    so that nothing waits for the device: after n simulations no tree is deeper than n edges.
    """
    rows = torch.arange(tree.batch, device=root_scores.device)
    parent = torch.zeros_like(rows)
    action = root_scores.argmax(-1)
    depth = torch.ones_like(rows)
    for _ in range(min(simulation, max_depth - 1)):
        child = tree.children[rows, parent, action].long()
        inner = (child >= 0) & ~tree.finished[rows, child.clamp(min=0)]
        node = torch.where(inner, child, parent)
        choice = scores(edges_at(tree, node)).argmax(-1)
        parent = node
        action = torch.where(inner, choice, action)
        depth = depth + inner
    return parent, action, depth


def expand(
    tree: Tree[S],
    edge: tuple[Tensor, Tensor],
    transition: Transition[S],
    evaluated: Tensor,
    logits: Tensor,
    discount: Tensor,
    *,
    simulation: int,
) -> Tensor:
    """Puts the child of the edge (parent, action) into the tree, and returns its node, [B] int64.

    A walk that ended in a known child (finished, or as deep as allowed) makes no new node, and leaves a finished one
    as it is. `evaluated` [B] are the evaluator's values, `logits` [B, A] masked, and `discount` [B] carries
    the sign of the edge.
    """
    parent, action = edge
    rows = torch.arange(tree.batch, device=parent.device)
    known = tree.children[rows, parent, action].long()
    node = torch.where(known >= 0, known, simulation + 1)
    # Of a node that stays as it is, what would be written goes where this simulation's new node would have been.
    room = torch.where(is_settled(tree, edge), simulation + 1, node)
    tree.children[rows, parent, action] = node.int()
    tree.parent[rows, room] = parent.int()
    tree.parent_action[rows, room] = action.int()
    tree.reward[rows, room] = transition.reward
    tree.discount[rows, room] = torch.where(transition.done, 0.0, discount)
    tree.finished[rows, room] = transition.done
    tree.raw_value[rows, room] = tree.value[rows, room] = torch.where(transition.done, 0.0, evaluated)
    tree.logits[rows, room], tree.prior[rows, room] = logits, logits.softmax(-1)
    if tree.bounds:
        tree.bounds.low[rows, room] = torch.where(transition.done, 0.0, -1.0)
        tree.bounds.high[rows, room] = torch.where(transition.done, 0.0, 1.0)
    return node


def is_settled(tree: Tree[S], edge: tuple[Tensor, Tensor]) -> Tensor:
    """[B] bool, whether the edge (parent, action) leads to a finished node that is known."""
    parent, action = edge
    rows = torch.arange(tree.batch, device=parent.device)
    child = tree.children[rows, parent, action].long()
    return (child >= 0) & tree.finished[rows, child.clamp(min=0)]


def backup(tree: Tree[S], node: Tensor, *, simulation: int, max_depth: int) -> None:
    """Backs the values of these nodes [B] int64, just expanded, up to the roots."""
    rows = torch.arange(tree.batch, device=node.device)
    gain = tree.value[rows, node]
    going = torch.ones_like(node, dtype=torch.bool)
    for _ in range(min(simulation + 1, max_depth)):
        above, edge = tree.parent[rows, node].long(), tree.parent_action[rows, node].long()
        gain = tree.reward[rows, node] + tree.discount[rows, node] * gain
        count = 1 + tree.visits[rows, above].sum(-1)
        if tree.bounds:
            low, high = solver.tighten(tree, tree.bounds, above)
            gain = gain.clamp(low, high)
        mean = (tree.value[rows, above] * count + gain) / (count + 1)
        if tree.bounds:
            mean = mean.clamp(low, high)
        tree.value[rows, above] = torch.where(going, mean, tree.value[rows, above])
        seen = tree.reward[rows, node] + tree.discount[rows, node] * tree.value[rows, node]
        tree.q[rows, above, edge] = torch.where(going, seen, tree.q[rows, above, edge])
        tree.visits[rows, above, edge] += going.int()
        going, node = going & (above != 0), above
