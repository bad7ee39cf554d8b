"""The policies of both kinds of games against torch's distributions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from alphazero.config import SearchConfig
from alphazero.game import Game
from alphazero.mcts.policy import policy_of
from games.tic_tac_toe import TicTacToe
from tests.positions import random_positions
from tests.stubs import Drift

GAME, DRIFT = TicTacToe(), Drift()
STATES = random_positions(GAME, 40, plies=7, seed=0)
LEGAL = GAME.legal(STATES)
NOTHING = torch.zeros(40, 0, 0)  # what is sampled of a discrete game's actions


def outputs(batch: int, width: int, *, seed: int = 0) -> Tensor:
    return 3 * torch.randn(batch, width, generator=torch.Generator().manual_seed(seed))


def test_a_discrete_game_has_the_categorical_distribution_over_its_legal_actions() -> None:
    output = outputs(40, 9)
    log_policy, entropy = policy_of(GAME).log_policy(output, LEGAL, NOTHING)
    for row, legal in enumerate(LEGAL):
        expected = Categorical(logits=output[row, legal])
        torch.testing.assert_close(log_policy[row, legal], expected.logits)
        torch.testing.assert_close(entropy[row], expected.entropy())


def test_illegal_actions_weigh_nothing_and_have_no_gradient() -> None:
    output = outputs(40, 9).requires_grad_()
    log_policy, entropy = policy_of(GAME).log_policy(output, LEGAL, NOTHING)
    target = LEGAL / LEGAL.sum(1, keepdim=True)
    loss = -(target * log_policy).sum()
    expected = sum(-Categorical(logits=output[row, legal]).logits.mean() for row, legal in enumerate(LEGAL))
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss + entropy.sum(), output)
    assert gradient.isfinite().all()
    assert gradient[~LEGAL].eq(0).all()
    assert log_policy.exp()[~LEGAL].eq(0).all()


def test_the_mode_is_the_likeliest_legal_action() -> None:
    output = outputs(40, 9)
    found = policy_of(GAME).mode(output, LEGAL)
    assert not LEGAL.gather(1, output.argmax(1, keepdim=True)).all()  # else the mask would not matter
    for row, legal in enumerate(LEGAL.tolist()):
        assert int(found[row]) == max((a for a in range(9) if legal[a]), key=lambda a: float(output[row, a]))


def test_a_box_has_independent_normal_distributions() -> None:
    """The deviation is 1e-3 exp(softplus(output)), in coordinates in which the Box reaches from -1 to 1."""
    output = outputs(5, 4)
    points = torch.rand(5, 6, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    density, entropy = policy_of(DRIFT).log_policy(output, torch.zeros(5, 0, dtype=torch.bool), points)
    expected = Normal(output[:, None, :2], 1e-3 * (1 + output[:, None, 2:].exp()))
    torch.testing.assert_close(density, expected.log_prob(points).sum(-1))
    torch.testing.assert_close(entropy, expected.entropy().sum(-1)[:, 0])


def test_a_boxs_mode_and_samples_go_between_actions_and_coordinates() -> None:
    policy, low, high = policy_of(DRIFT), *map(torch.tensor, DRIFT.actions)
    output = torch.tensor([[0.0, 0.5, 1.0, 1.0], [-3.0, 1.0, 1.0, 1.0]])
    mode = policy.mode(output, torch.zeros(2, 0, dtype=torch.bool))
    torch.testing.assert_close(mode, torch.tensor([[0.0, 0.1], [-0.3, 0.2]]))  # three quarters of the way; a corner
    corners = torch.stack([low, high, (low + high) / 2])[None]
    expected = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]])
    torch.testing.assert_close(policy.coordinates(corners), expected)
    assert policy_of(GAME).coordinates(NOTHING) is NOTHING


@pytest.mark.parametrize(("game", "width", "shapes"), [(GAME, 9, (9, (0, 0))), (DRIFT, 4, (7, (7, 2)))])
def test_the_shapes_suit_the_game(game: Game, width: int, shapes: tuple[int, tuple[int, int]]) -> None:
    policy = policy_of(game)
    assert policy.outputs == width
    assert policy.shapes(SearchConfig(sampled_actions=7)) == shapes


def test_a_fresh_head_has_the_deviation_asked_for_and_no_other_bias() -> None:
    bias = torch.zeros(4)
    policy_of(DRIFT).initialise(bias, 0.3)
    assert bias[:2].eq(0).all()
    torch.testing.assert_close(1e-3 * (1 + bias[2:].exp()), torch.full((2,), 0.3))
    bias = torch.arange(9.0)
    policy_of(GAME).initialise(bias, 0.3)
    assert bias.tolist() == list(range(9))
