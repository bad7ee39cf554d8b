"""Gumbel AlphaZero's formulas against tables and sums worked out by hand from the paper."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphazero.config import SearchConfig
from alphazero.game import ILLEGAL, State
from alphazero.mcts import gumbel
from alphazero.mcts.evaluator import Evaluation, UniformEvaluator
from alphazero.mcts.search import search
from alphazero.mcts.tree import Edges
from games.tic_tac_toe import TicTacToe

# Danihelka et al. 2022, algorithm 2: phases of floor(n / (ceil(log2 m) left)) visits, at least 1, to each action left.
TABLES = {
    (4, 16): "0000 1111 | 22 33 44 55",  # 2 phases: 16 / (2 * 4) = 2, 16 / (2 * 2) = 4
    (16, 32): "0000000000000000 | 11111111 | 2222 3333",  # 4 phases: 0 -> 1, 1, 2; the budget ends there
    (8, 50): "00000000 11111111 | 2222 3333 4444 5555 | 66 77 88 99 aa bb cc dd | ee",  # 3: 2, 4, 8; again 8
    (3, 6): "000 | 11 2",  # 2 phases: 1; 3 // 2 = 1, but two go on
    (2, 5): "00 11 2",  # 1 phase: 2, and then as before
    (7, 3): "000",  # fewer simulations than actions
    (1, 4): "0 1 2 3",
    (0, 2): "0 1",  # a finished root
}


@pytest.mark.parametrize(("considered", "simulations"), TABLES)
def test_sequential_halving_follows_the_table(considered: int, simulations: int) -> None:
    table = [int(visits, 16) for visits in TABLES[considered, simulations] if visits not in " |"]
    assert list(gumbel.considered_visits(considered, simulations)) == table


@given(st.integers(1, 40), st.integers(1, 300))
def test_every_simulation_finds_an_action_with_the_visits_asked_for(considered: int, simulations: int) -> None:
    counts = [0] * considered
    for visits in gumbel.considered_visits(considered, simulations):
        counts[counts.index(visits)] += 1
    assert sum(counts) == simulations
    assert max(counts) - sorted(counts)[-min(2, considered)] <= 1  # the last two are visited equally often


def edges(**fields: list[float]) -> Edges:
    """One node; everything not given is 0."""
    width = len(fields["prior"])
    rows = {name: torch.tensor([fields.get(name, [0.0] * width)]) for name in ("logits", "prior", "q")}
    visits = torch.tensor([fields["visits"]], dtype=torch.int32)
    return Edges(**rows, visits=visits, raw_value=torch.tensor(fields["raw_value"]), value=torch.zeros(1))


def test_an_unvisited_action_is_worth_the_mixed_value() -> None:
    node = edges(prior=[0.2, 0.3, 0.5], visits=[3, 1, 0], q=[0.5, -1.0, 0.0], raw_value=[0.1])
    # (0.1 + 4 (0.2 * 0.5 + 0.3 * -1.0) / (0.2 + 0.3)) / (1 + 4)
    mixed = (0.1 + 4 * -0.2 / 0.5) / 5
    torch.testing.assert_close(gumbel.completed_q(node), torch.tensor([[0.5, -1.0, mixed]]))


def test_without_visits_the_improved_policy_is_the_prior() -> None:
    logits = [0.3, -1.0, 2.0]
    node = edges(logits=logits, prior=torch.tensor(logits).softmax(0).tolist(), visits=[0, 0, 0], raw_value=[0.7])
    torch.testing.assert_close(gumbel.improved_policy(node, SearchConfig()), node.prior)


def test_the_improved_policy_adds_scaled_q_to_the_logits() -> None:
    node = edges(logits=[0.0, 1.0], prior=[0.27, 0.73], visits=[6, 2], q=[0.25, -0.25], raw_value=[0.0])
    # sigma(q) = (10 + 6) 0.5 q = 2 and -2, so the logits become 2 and -1: a softmax of their difference.
    share = 1 / (1 + math.exp(-3))
    policy = gumbel.improved_policy(node, SearchConfig(c_visit=10, c_scale=0.5))
    torch.testing.assert_close(policy, torch.tensor([[share, 1 - share]]))


def test_rescaled_q_spans_zero_to_one_over_legal_actions_whatever_the_rewards_size() -> None:
    node = edges(
        logits=[0.0, 0.0, 0.0, ILLEGAL], prior=[1 / 3] * 3 + [0], visits=[1, 1, 1, 0], q=[-40, 0, 60, 0], raw_value=[0]
    )
    config = SearchConfig(c_visit=1, c_scale=0.5, rescale_q=True)
    # (1 + 1) 0.5 = 1 times 0, 0.4 and 1
    torch.testing.assert_close(gumbel.improved_policy(node, config)[:, :3], torch.tensor([[0.0, 0.4, 1.0]]).softmax(1))


def test_with_one_simulation_actions_come_up_as_often_as_the_policy_says() -> None:
    """The Gumbel-max trick: the argmax of logits plus noise is a draw from their softmax."""
    draws, game = 20_000, TicTacToe()
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 0.0, 0.3, -0.4])

    def evaluator(states: State, generator: torch.Generator) -> Evaluation:
        return Evaluation(logits.expand(len(states.mine), -1), torch.zeros(len(states.mine)))

    config = SearchConfig(simulations=1)
    result = search(evaluator, game, game.initial(draws), config, torch.Generator().manual_seed(0))
    shares = result.action.bincount(minlength=9) / draws
    expected = logits.softmax(0)
    # 5 standard deviations of a binomial share: all nine within them but once in 200,000 seeds.
    assert ((shares - expected).abs() < 5 * (expected * (1 - expected) / draws).sqrt()).all()
    assert (result.visits.sum(1) == 1).all()


def test_without_noise_and_knowledge_the_first_of_equals_is_chosen() -> None:
    game = TicTacToe()
    config = SearchConfig(simulations=1, gumbel_scale=0.0)
    result = search(UniformEvaluator(game), game, game.initial(1), config, torch.Generator())
    assert int(result.action) == 0
