"""Trees step by step: two simulations worked out by hand, and what every tree of a search must satisfy."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from alphazero.config import SearchConfig
from alphazero.game import ILLEGAL, Transition
from alphazero.mcts.evaluator import Evaluation
from alphazero.mcts.search import search_trees
from alphazero.mcts.tree import UNVISITED, Edges, Tree, backup, edges_at, expand, make_tree, select
from tests.mcts.golden import GoldenGroup, TableEvaluator, golden_groups, table_game


class Places(NamedTuple):
    """number: [B] int64."""

    number: Tensor


LOGITS = torch.tensor([[0.0, 1.0, ILLEGAL], [2.0, -1.0, 0.5]])


def two_trees(nodes: int = 4, actions: Tensor | None = None) -> Tree[Places]:
    evaluation = Evaluation(LOGITS, torch.tensor([0.2, -0.6]), actions)
    return make_tree(Places(torch.tensor([7, 8])), evaluation, LOGITS, nodes)


def put(
    tree: Tree[Places],
    edges: tuple[Tensor, Tensor],
    reward: list[float],
    done: list[bool],
    value: list[float],
    discount: list[float],
    *,
    simulation: int,
) -> list[int]:
    """Expands these edges, backs up, and returns the nodes."""
    transition = Transition(Places(torch.zeros(2, dtype=torch.int64)), torch.tensor(reward), torch.tensor(done))
    node = expand(tree, edges, transition, torch.tensor(value), LOGITS, torch.tensor(discount), simulation=simulation)
    backup(tree, node, simulation=simulation, max_depth=10)
    return node.tolist()


def test_a_new_tree_holds_its_root_alone() -> None:
    sampled = torch.rand(2, 3, 5)
    tree = two_trees(nodes=4, actions=sampled)
    assert (tree.batch, tree.children.shape) == (2, (2, 4, 3))
    assert tree.children.eq(UNVISITED).all()
    assert not tree.visits.any()
    torch.testing.assert_close(tree.prior[0, 0], torch.tensor([1 / (1 + torch.e), torch.e / (1 + torch.e), 0]))
    torch.testing.assert_close(tree.prior[1, 0], LOGITS[1].exp() / LOGITS[1].exp().sum())
    assert tree.raw_value[:, 0].tolist() == tree.value[:, 0].tolist() == pytest.approx([0.2, -0.6])
    assert tree.states.number.tolist() == [7, 8, 0, 0, 0, 0, 0, 0]  # node n of tree b at n * 2 + b
    assert tree.actions is not None
    assert torch.equal(tree.actions[:2], sampled)
    assert two_trees().actions is None


def test_the_edges_of_each_trees_own_node() -> None:
    tree = two_trees()
    tree.q.copy_(torch.arange(24.0).view(2, 4, 3))
    tree.value.copy_(torch.arange(8.0).view(2, 4))
    edges = edges_at(tree, torch.tensor([3, 1]))
    assert edges.q.tolist() == [[9, 10, 11], [15, 16, 17]]
    assert edges.value.tolist() == [3, 5]


def test_two_simulations_by_hand() -> None:
    """The first tree goes deeper; the second comes to a finished node, and again to the same."""
    tree = two_trees()
    best = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])

    def last(edges: Edges) -> Tensor:
        return torch.tensor([0.0, 0.0, 1.0]).expand(2, 3)

    parent, action, depth = select(tree, best, last, simulation=0, max_depth=10)
    assert (parent.tolist(), action.tolist(), depth.tolist()) == ([0, 0], [0, 2], [1, 1])
    assert put(tree, (parent, action), [0.1, 0.5], [False, True], [0.6, 0.9], [-0.5, -0.5], simulation=0) == [1, 1]
    # 0.1 - 0.5 * 0.6, and 0.5 without what the evaluator says of a finished position; then means with 0.2 and -0.6.
    assert tree.q[[0, 1], 0, [0, 2]].tolist() == pytest.approx([-0.2, 0.5])
    assert tree.value[:, 0].tolist() == pytest.approx([0.0, -0.05], abs=1e-7)
    assert tree.value[:, 1].tolist() == pytest.approx([0.6, 0.0])

    parent, action, depth = select(tree, best, last, simulation=1, max_depth=10)
    assert (parent.tolist(), action.tolist(), depth.tolist()) == ([1, 0], [2, 2], [2, 1])
    assert put(tree, (parent, action), [0.3, 0.5], [False, True], [-0.4, 0.9], [1.0, -0.5], simulation=1) == [2, 1]
    # The first tree's gain is 0.3 - 0.4 at node 1, whose mean becomes (0.6 - 0.1) / 2, and 0.1 + 0.05 at the root.
    assert tree.q[0, 1, 2].item() == pytest.approx(-0.1)
    assert tree.value[0, :3].tolist() == pytest.approx([(0.2 - 0.2 + 0.15) / 3, 0.25, -0.4])
    assert tree.q[0, 0, 0].item() == pytest.approx(0.1 - 0.5 * 0.25)
    # The second's: 0.5 once more.
    assert tree.value[1, :2].tolist() == pytest.approx([(-0.6 + 0.5 + 0.5) / 3, 0.0])
    assert tree.q[1, 0, 2].item() == pytest.approx(0.5)
    assert tree.visits[:, 0].tolist() == [[2, 0, 0], [0, 0, 2]]
    assert tree.visits[0, 1].tolist() == [0, 0, 1]
    assert tree.children[0, :2].tolist() == [[1, -1, -1], [-1, -1, 2]]
    assert tree.children[1, 0].tolist() == [-1, -1, 1]
    assert (tree.parent[0, 2].item(), tree.parent_action[0, 2].item()) == (1, 2)


@pytest.mark.parametrize("max_depth", [1, 2, 3])
def test_a_walk_is_at_most_as_long_as_allowed(max_depth: int) -> None:
    """Along a path of three nodes, every action the first."""
    tree = two_trees()
    scores = torch.tensor([[1.0, 0.0, 0.0]] * 2)
    for simulation in range(3):
        edges = torch.full((2,), simulation), torch.zeros(2, dtype=torch.int64)
        put(tree, edges, [0.0, 0.0], [False, False], [0.0, 0.0], [1.0, 1.0], simulation=simulation)
    parent, action, depth = select(tree, scores, lambda edges: scores, simulation=3, max_depth=max_depth)
    assert (parent.tolist(), action.tolist(), depth.tolist()) == ([max_depth - 1] * 2, [0, 0], [max_depth] * 2)


def test_the_first_of_equals_is_taken() -> None:
    parent, action, _ = select(two_trees(), torch.zeros(2, 3), lambda edges: edges.q, simulation=0, max_depth=1)
    assert (parent.tolist(), action.tolist()) == ([0, 0], [0, 0])


# One golden world of each size and number of players, however it was searched.
WORLDS = list({group.parameters.world: group for group in golden_groups()}.values())


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("max_depth", [0, 2])
@pytest.mark.parametrize("group", WORLDS, ids=lambda group: group.parameters.world)
def test_every_value_is_a_mean_over_what_lies_below(group: GoldenGroup, algorithm: str, max_depth: int) -> None:
    """By the sums of the definition, in plain loops, over the trees that a search has left."""
    game, simulations = table_game(group), 24
    config = SearchConfig(algorithm=algorithm, simulations=simulations, max_depth=max_depth).without_noise()
    roots = game.states(group.roots[:3])
    found = search_trees(TableEvaluator(group.world), game, roots, config, torch.Generator(), compiled=False).tree
    tree = Tree(*(field.tolist() if isinstance(field, Tensor) else field for field in found))  # type: ignore[arg-type]
    for row in range(found.batch):
        assert sum(tree.visits[row][0]) == simulations
        for node, action in itertools.product(*map(range, found.children.shape[1:])):
            child = tree.children[row][node][action]
            visits = tree.visits[row][node][action]
            assert (child == UNVISITED) == (visits == 0)
            if visits:
                assert (tree.parent[row][child], tree.parent_action[row][child]) == (node, action)
                seen = tree.reward[row][child] + tree.discount[row][child] * tree.value[row][child]
                assert tree.q[row][node][action] == pytest.approx(seen, abs=1e-6)
                below = sum(tree.visits[row][child])
                assert visits == 1 + below or (below == 0 and (tree.finished[row][child] or max_depth))
        for node in range(found.children.shape[1]):
            visits, q = tree.visits[row][node], tree.q[row][node]
            total = tree.raw_value[row][node] + sum(n * each for n, each in zip(visits, q, strict=True))
            assert tree.value[row][node] == pytest.approx(total / (1 + sum(visits)), abs=2e-6)
