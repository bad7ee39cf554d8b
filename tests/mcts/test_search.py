"""Search is held to the golden trees of mctx, and the kernels to the tensor operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alphazero.config import SearchConfig
from alphazero.game.record import Record
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.mcts.search import search, search_trees
from games.connect_four import ConnectFour
from tests.mcts.golden import GoldenGroup, TableEvaluator, golden_groups, table_game

GROUPS = [group for group in golden_groups() if group.parameters.unvisited == "mean"]


def search_config(group: GoldenGroup) -> SearchConfig:
    p = group.parameters
    return SearchConfig(
        algorithm=p.algorithm,
        simulations=p.simulations,
        max_depth=p.max_depth or 0,
        rescale_q=p.rescale_values,
        considered_actions=p.max_num_considered_actions or 16,
        c_visit=p.maxvisit_init,
        c_scale=p.value_scale,
        c_init=p.pb_c_init,
        c_base=p.pb_c_base,
        dirichlet_fraction=0.0,
    )


def test_there_are_at_least_200_golden_trees() -> None:
    assert sum(len(group.roots) for group in GROUPS) >= 200


# The tensor operations are slow on small batches: a third of the groups, and test_kernels.py holds the two together.
CASES = [
    pytest.param(group, compiled, id=f"{group.name}-{'kernels' if compiled else 'tensors'}")
    for number, group in enumerate(GROUPS)
    for compiled in (True, False)
    if compiled or number % 3 == 0
]


@pytest.mark.parametrize(("group", "compiled"), CASES)
def test_search_agrees_with_mctx(group: GoldenGroup, compiled: bool) -> None:
    game = table_game(group)
    result = search(
        TableEvaluator(group.world),
        game,
        game.states(group.roots),
        search_config(group),
        torch.Generator(),
        gumbel_noise=torch.from_numpy(np.asarray(group.gumbel)),
        compiled=compiled,
    )
    np.testing.assert_array_equal(result.visits, group.visits)
    np.testing.assert_array_equal(result.action, group.action)
    # mctx and we round sums of up to 64 float32 in different orders.
    np.testing.assert_allclose(result.q, group.q, atol=2e-6)
    np.testing.assert_allclose(result.policy, group.policy, atol=2e-5)


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
def test_the_main_line_of_a_forced_win_is_that_win(algorithm: str) -> None:
    """x makes three in the bottom row, open at both ends: whatever o answers, x completes the four."""
    game = ConnectFour()
    config = SearchConfig(algorithm=algorithm, simulations=800).without_noise()
    position = Record(game, "4455")
    states = type(position.state)(*(field.expand(2).clone() for field in position.state))
    trees = search_trees(UniformEvaluator(game), game, states, config, torch.Generator())
    for row in range(2):
        line = trees.main_line(row)
        assert line[0] in (2, 5)
        for action in line:
            position.play(action)
        assert (position.finished, position.score, len(line)) == (True, 1.0, 3)
        position = Record(game, "4455")
