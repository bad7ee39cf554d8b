"""Surrogates of games whose steps are known."""

from __future__ import annotations

import pytest
import torch

from alphazero.arena.players import AgentPlayer
from alphazero.config import SearchConfig
from alphazero.dynamics.surrogate import (
    Surrogate,
    approximate,
    encoded,
    errors,
    flattened,
    learn_step,
    random_play,
    unflattened,
)
from alphazero.game import take
from alphazero.mcts.evaluator import Evaluation
from games.tic_tac_toe import TicTacToe
from tests.stubs import Drift, DriftState, Mine

DRIFT = Drift()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def drifting() -> Surrogate:
    return learn_step(DRIFT, random_play(DRIFT, 2500, generator()), generator=generator(), width=32, steps=800)


def test_a_network_learns_a_known_function_and_a_constant() -> None:
    inputs = 4 * torch.rand(500, 2, generator=generator(), dtype=torch.float64) - 2
    outputs = torch.stack([inputs[:, 0].sin() + inputs[:, 1] ** 2, torch.full((500,), 7.0)], 1)
    losses: list[float] = []
    network = approximate(
        inputs, outputs, generator=generator(), width=24, steps=300, report=lambda step, loss: losses.append(loss)
    )
    others = 3 * torch.rand(200, 2, generator=generator(1), dtype=torch.float64) - 1.5
    expected = others[:, 0].sin() + others[:, 1] ** 2
    assert (network(others)[:, 0] - expected).abs().max() < 0.02
    assert (network(others)[:, 1] == 7).all()
    assert losses[-1] < 1e-3 * losses[0]
    again = approximate(inputs, outputs, generator=generator(), width=24, steps=300)
    assert torch.equal(again(others), network(others))


def test_random_play_is_of_the_games_own_steps_and_of_those_after_the_end() -> None:
    seen = random_play(DRIFT, 1000, generator(), batch=64)
    assert len(seen.reward) == 1000
    after, reward, done = DRIFT.step(seen.states, seen.actions)
    assert torch.equal(after.position, seen.after.position)
    assert torch.equal(reward, seen.reward)
    assert torch.equal(done, seen.done)
    over = seen.states.steps == 0
    # Three steps and the one that changes nothing: a quarter of all.
    assert over.double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert torch.equal(seen.after.position[over], seen.states.position[over])


def test_the_step_is_learned(drifting: Surrogate) -> None:
    off = errors(drifting, random_play(DRIFT, 500, generator(1)))
    assert off["position"] < 0.01  # of a few tenths
    assert off["reward"] < 0.01
    assert off["steps"] == off["done"] == 0


def test_search_in_it_finds_the_best_first_action(drifting: Surrogate) -> None:
    """As good as a search in the game itself, beside the best one in closed form."""
    states = DRIFT.initial(40, generator=generator(2))
    config = SearchConfig(simulations=64, sampled_actions=32, considered_actions=32, uniform_share=1.0)

    def untaught(states: DriftState, source: torch.Generator) -> Evaluation:
        return Evaluation(torch.zeros(len(states.steps), 4), torch.zeros(len(states.steps)))

    off = {}
    for name, game in (("game", DRIFT), ("surrogate", drifting)):
        player = AgentPlayer(game, untaught, config, seed=0)
        off[name] = (player.actions(states) - DRIFT.optimal_action(states)).norm(dim=1).mean().item()
    assert off["surrogate"] < 1.1 * off["game"]


def test_it_can_be_differentiated_by_actions(drifting: Surrogate) -> None:
    states = DriftState(torch.tensor([[0.1, -0.1]]), torch.tensor([1]))
    action = torch.tensor([[0.05, 0.02]], requires_grad=True)
    (ours,) = torch.autograd.grad(drifting.step(states, action).reward.sum(), action)
    (true,) = torch.autograd.grad(DRIFT.step(states, action).reward.sum(), action)
    torch.testing.assert_close(ours, true, atol=0.05, rtol=0)


def test_a_known_rule_of_the_reward_is_used() -> None:
    def rule(before: DriftState, action: torch.Tensor, after: DriftState) -> torch.Tensor:
        return after.position[:, 0] * 10

    game = learn_step(
        DRIFT, random_play(DRIFT, 200, generator()), generator=generator(), reward=rule, width=8, steps=20
    )
    states = DRIFT.initial(5, generator=generator())
    after, reward, _ = game.step(states, torch.zeros(5, 2))
    assert torch.equal(reward, 10 * after.position[:, 0])


def test_whole_numbers_and_truths_are_kept_and_discrete_actions_learned() -> None:
    game = Mine()
    surrogate = learn_step(game, random_play(game, 600, generator()), generator=generator(), width=16, steps=200)
    off = errors(surrogate, random_play(game, 300, generator(1)))
    assert off["depth"] == off["done"] == 0
    assert off["reward"] < 0.01
    board = TicTacToe()
    states = board.initial(3)
    back = unflattened(flattened(states), states)
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(back, states, strict=True))
    assert encoded(board, torch.tensor([2, 0, 8])).argmax(1).tolist() == [2, 0, 8]


def test_all_else_is_the_games_own(drifting: Surrogate) -> None:
    states = drifting.initial(4, generator=generator())
    assert torch.equal(states.position, DRIFT.initial(4, generator=generator()).position)
    assert torch.equal(drifting.observe(states), DRIFT.observe(states))
    assert torch.equal(drifting.legal(states), DRIFT.legal(states))
    assert torch.equal(drifting.to_play(states), DRIFT.to_play(states))
    assert drifting.actions == DRIFT.actions
    first = take(states, slice(1))
    assert drifting.render(first) == DRIFT.render(first)
    assert drifting.metrics(states) == {}
    assert drifting.discount == DRIFT.discount
