"""The games of aiming and of the siege."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import truncnorm

from alphazero.game import random_actions
from alphazero.game.conformance import check_game
from games.trebuchet import shoot
from games.trebuchet.game import COUNTERWEIGHTS, Aiming, Siege, farthest, score, truncated_normal
from games.trebuchet.physics import DEFAULT


@pytest.mark.parametrize("game", [Aiming(), Siege()], ids=["aiming", "siege"])
def test_the_rules_keep_every_promise(game: Siege) -> None:
    check_game(game)


def test_a_tenth_of_the_miss_is_worth_as_much_from_centimetres_on() -> None:
    misses = torch.tensor([0.0, 0.09, -0.99, 9.99, 99.99, 100.0, -500.0], dtype=torch.float64)
    hundred = 4.0000434  # log10(1 + 100 / 0.01)
    expected = [0, -1 / hundred, -2 / hundred, -3 / hundred, -4 / hundred, -1, -1]
    assert score(misses).tolist() == pytest.approx(expected, abs=1e-8)


def test_winds_are_of_the_truncated_normal_distribution() -> None:
    shares = torch.tensor([0.0, 0.001, 0.2, 0.5, 0.77, 1.0], dtype=torch.float64)
    expected = truncnorm(-2, 2, scale=5).ppf(shares.numpy())
    assert truncated_normal(shares).tolist() == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("wind", [-10.0, -3.3, 0.07, 10.0])
def test_as_far_as_it_throws(wind: float) -> None:
    def short(angle: float) -> float:
        return -float(shoot(wind, angle, COUNTERWEIGHTS[1]).distance)

    best = minimize_scalar(short, bounds=(1, 89), method="bounded", options={"xatol": 1e-6})
    assert farthest(torch.tensor([wind]), DEFAULT).item() == pytest.approx(-best.fun, abs=0.02)


def test_targets_are_within_reach_of_every_wind_and_hits_are_possible() -> None:
    game = Siege()
    state = game.initial(500, generator=torch.Generator().manual_seed(3))
    assert state.target.min() >= 20
    assert state.target.max() <= 100
    for shot in range(4):
        assert (state.target <= farthest(state.winds[:, shot], DEFAULT)).all()
    hardest = (farthest(state.winds.amin(1), DEFAULT) - state.target).argmin()
    angles = torch.linspace(0, 60, 6001, dtype=torch.float64)
    shot = shoot(state.winds[hardest].amin(), angles, COUNTERWEIGHTS[1])
    assert (shot.distance - state.target[hardest]).abs().min() < 0.05


def test_one_shot_is_fired_with_what_the_action_says() -> None:
    game = Aiming()
    state = game.initial(3, generator=torch.Generator().manual_seed(1))
    action = torch.tensor([[0.0, 0.0], [-1.0, 1.0], [0.5, -0.5]])
    after, reward, done = game.step(state, action)
    assert after.angle.tolist() == [45, 0, 67.5]
    assert after.counterweight.tolist() == [70, 120, 45]
    assert done.all()
    for row in range(3):
        shot = shoot(state.winds[row, 0].item(), after.angle[row].item(), after.counterweight[row].item())
        assert after.distance[row].item() == pytest.approx(shot.distance, rel=1e-12)
        miss = torch.tensor(shot.distance, dtype=torch.float64) - state.target[row]
        assert reward[row].item() == pytest.approx(score(miss).item(), rel=1e-6)
    assert game.observe(state)[:, 0].tolist() == pytest.approx((state.winds[:, 0] / 10).tolist())
    assert game.observe(state)[:, 1].tolist() == pytest.approx(((state.target - 60) / 40).tolist())


def test_the_setting_changes_only_so_far_and_the_winds_come_in_their_order() -> None:
    game, generator = Siege(), torch.Generator().manual_seed(2)
    state = game.initial(40, generator=generator)
    total = torch.zeros(40)
    for shot in range(4):
        seen = game.observe(state)
        torch.testing.assert_close(seen[:, 0].double() * 10, state.winds[:, shot], atol=1e-5, rtol=0)
        assert seen[:, 4:8].sum(1).tolist() == [4 - shot] * 40
        after, reward, done = game.step(state, random_actions(game, state, generator))
        assert (after.angle - state.angle).abs().max() <= 5
        assert (after.counterweight - state.counterweight).abs().max() <= 8
        expected = shoot(state.winds[:, shot], after.angle, after.counterweight).distance
        torch.testing.assert_close(after.distance, expected, rtol=1e-12, atol=1e-12)
        assert bool(done.all()) == (shot == 3)
        total, state = total + reward, after
    assert (total >= -1).all()
    assert (total < 0).all()


def test_the_reward_can_be_differentiated_by_the_action() -> None:
    game = Aiming()
    state = game.initial(5, generator=torch.Generator().manual_seed(4))
    action = torch.full((5, 2), -0.2, dtype=torch.float64, requires_grad=True)

    def miss(action: torch.Tensor) -> torch.Tensor:
        after, _, _ = game.step(state, action)
        return (after.distance - state.target).square()

    (gradient,) = torch.autograd.grad(miss(action).sum(), action)
    for dimension in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[dimension] = 1e-4
        with torch.no_grad():
            difference = (miss(action + step) - miss(action - step)) / 2e-4
        torch.testing.assert_close(gradient[:, dimension], difference, rtol=1e-5, atol=1e-4)
