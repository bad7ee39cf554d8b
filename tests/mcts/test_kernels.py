"""The compiled kernels are held to the tensor operations, whose formulas can be read beside the papers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from alphazero.config import SearchConfig
from alphazero.game import Game, State
from alphazero.mcts.evaluator import Evaluator, UniformEvaluator
from alphazero.mcts.search import search
from alphazero.mcts.tree_search import SearchResult
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.evaluators import ScrambledEvaluator
from tests.positions import random_positions
from tests.stubs import Again, Drift, Mine

CONFIGS = {
    "gumbel": SearchConfig(simulations=48),
    "gumbel_few_considered": SearchConfig(simulations=48, considered_actions=3),
    "gumbel_shallow": SearchConfig(simulations=48, max_depth=2),
    "gumbel_rescaled": SearchConfig(simulations=48, rescale_q=True, c_scale=0.1),
    "puct": SearchConfig(algorithm="puct", simulations=48),
    "puct_shallow": SearchConfig(algorithm="puct", simulations=48, max_depth=3),
    "puct_rescaled": SearchConfig(algorithm="puct", simulations=48, rescale_q=True),
    "gumbel_solver": SearchConfig(simulations=48, solver=True),
    "gumbel_solver_shallow": SearchConfig(simulations=48, max_depth=3, solver=True),
    "gumbel_solver_rescaled": SearchConfig(simulations=48, rescale_q=True, c_scale=0.1, solver=True),
    "puct_solver": SearchConfig(algorithm="puct", simulations=48, solver=True),
}


def both(game: Game, evaluator: Evaluator, roots: State, config: SearchConfig) -> tuple[SearchResult, SearchResult]:
    """The results of the kernels and of the tensor operations, under the same noise."""
    compiled, tensors = (
        search(evaluator, game, roots, config, torch.Generator().manual_seed(1), compiled=c) for c in (True, False)
    )
    return compiled, tensors


def assert_the_same(compiled: SearchResult, tensors: SearchResult) -> None:
    for name in ("action", "visits", "depth", "proven", "plies"):
        torch.testing.assert_close(getattr(compiled, name), getattr(tensors, name), rtol=0, atol=0, msg=name)
    # Means over up to 48 values of at most 1, whose float32 sums are rounded in another order: 48 units of 2^-24.
    # The policy's logits carry Q times (c_visit + 48) / 2, so 49 times that. The scores carry it whole, and are rounded
    # where they are up to 100 large.
    unit = 48 * 2**-24
    for name, tolerance in (("q", unit), ("value", 49 * unit), ("policy", 49 * unit), ("scores", 98 * unit + 2**-17)):
        torch.testing.assert_close(getattr(compiled, name), getattr(tensors, name), rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("game", [ConnectFour(), TicTacToe()], ids=lambda game: game.name)
def test_kernels_and_tensors_search_the_same_trees(game: Game, name: str) -> None:
    roots = random_positions(game, 60, plies=29 if game.name == "connect_four" else 8, seed=0)
    assert_the_same(*both(game, ScrambledEvaluator(game), roots, CONFIGS[name]))


@pytest.mark.parametrize("algorithm", ["gumbel", "puct"])
@pytest.mark.parametrize("game", [Again(), Mine(), Drift()], ids=lambda game: game.name)
def test_they_agree_on_consecutive_moves_discounts_and_sampled_actions(game: Game, algorithm: str) -> None:
    config = replace(CONFIGS[algorithm], simulations=40)
    roots = game.initial(5, generator=torch.Generator().manual_seed(0))
    assert_the_same(*both(game, UniformEvaluator(game, samples=6), roots, config))
