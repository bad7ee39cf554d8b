"""PUCT's score, its policy of visits, and the moments of Dirichlet noise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from alphazero.config import SearchConfig
from alphazero.game import ILLEGAL, map_states
from alphazero.mcts import puct
from alphazero.mcts.evaluator import UniformEvaluator
from alphazero.mcts.search import search
from alphazero.mcts.tree import Edges
from games.connect_four import ConnectFour
from tests.evaluators import ScrambledEvaluator
from tests.positions import board

GAME = ConnectFour()
CONFIG = SearchConfig(algorithm="puct", simulations=32)

# Columns 1, 4 and 7 are full: four actions are left.
THREE_FULL = board("""
    o . . x . . x
    x . . o . . o
    o . . x . . x
    x . . o . . o
    o . . x . . x
    x . . o . . o""")
LEGAL = [1, 2, 4, 5]


def test_the_score_is_the_papers() -> None:
    node = Edges(
        logits=torch.tensor([[0.0, 0.0, ILLEGAL]]),
        prior=torch.tensor([[0.75, 0.25, 0.0]]),
        visits=torch.tensor([[2, 0, 0]]),
        q=torch.tensor([[0.4, 0.0, 0.0]]),
        raw_value=torch.tensor([0.0]),
        value=torch.tensor([0.1]),
    )
    # N = 3 with the node's own evaluation; an unvisited action has the node's value.
    exploration = (1.25 + math.log((3 + 19652 + 1) / 19652)) * math.sqrt(3)
    expected = [0.4 + exploration * 0.75 / 3, 0.1 + exploration * 0.25 / 1, -math.inf]
    torch.testing.assert_close(puct.scores(node, CONFIG), torch.tensor([expected]))


def test_the_policy_is_the_share_of_visits() -> None:
    result = search(ScrambledEvaluator(GAME), GAME, GAME.initial(8), CONFIG, torch.Generator().manual_seed(0))
    torch.testing.assert_close(result.policy, result.visits / 32)
    torch.testing.assert_close(result.policy.sum(1), torch.ones(8))
    assert (result.visits.gather(1, result.action[:, None])[:, 0] == result.visits.amax(1)).all()


def test_the_value_is_the_mean_of_the_root_and_all_that_was_backed_up() -> None:
    """After one simulation: the root's own value and the child's, with its sign turned."""
    evaluator, config = ScrambledEvaluator(GAME), replace(CONFIG, simulations=1, dirichlet_fraction=0.0)
    root = GAME.initial(1)
    result = search(evaluator, GAME, root, config, torch.Generator())
    child = GAME.step(root, result.action).state
    mean = (evaluator(root).value - evaluator(child).value) / 2
    torch.testing.assert_close(result.value, mean)
    torch.testing.assert_close(result.q.gather(1, result.action[:, None])[:, 0], -evaluator(child).value)


@pytest.mark.parametrize(("alpha", "fraction"), [(1.0, 1.0), (0.3, 1.0), (0.3, 0.25)])
def test_dirichlet_noise_has_its_mean_and_variance_on_legal_actions_alone(alpha: float, fraction: float) -> None:
    draws, legal = 20_000, len(LEGAL)
    config = replace(CONFIG, simulations=1, dirichlet_alpha=alpha, dirichlet_fraction=fraction)
    roots = map_states(lambda field: field.expand(draws).clone(), THREE_FULL)
    result = search(UniformEvaluator(GAME), GAME, roots, config, torch.Generator().manual_seed(0))
    assert result.prior[:, [0, 3, 6]].eq(0).all()
    torch.testing.assert_close(result.prior.sum(1), torch.ones(draws))
    # A component of Dir(alpha) over n actions is Beta(alpha, (n - 1) alpha).
    component = stats.beta(alpha, (legal - 1) * alpha)
    variance = component.var() * fraction**2
    fourth = (component.stats("k").item() + 3) * variance**2  # the fourth central moment
    for action in LEGAL:
        noise = result.prior[:, action].double()
        assert abs(float(noise.mean()) - 1 / legal) < 5 * math.sqrt(variance / draws)
        assert abs(float(noise.var()) - variance) < 5 * math.sqrt((fourth - variance**2) / draws)


def test_a_temperature_flattens_the_roots_prior() -> None:
    config = replace(CONFIG, simulations=1, dirichlet_fraction=0.0, prior_temperature=2.0)
    evaluator = ScrambledEvaluator(GAME)
    result = search(evaluator, GAME, THREE_FULL, config, torch.Generator())
    logits = evaluator(THREE_FULL).logits[:, LEGAL]
    torch.testing.assert_close(result.prior[:, LEGAL], (logits / 2).softmax(1))
