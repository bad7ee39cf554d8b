"""The targets to aim at are always the same and within reach, and misses are distances from them."""

from __future__ import annotations

import torch

from benchmarks.targets import held_out_targets, median_and_most, misses, misses_of
from games.trebuchet.game import FARTHEST, NEAREST, Aiming, farthest
from games.trebuchet.physics import DEFAULT


def test_held_out_targets_are_always_the_same_ones_and_can_be_hit() -> None:
    states = held_out_targets(100)
    assert torch.equal(states.target, held_out_targets(100).target)
    assert ((states.target >= NEAREST) & (states.target <= FARTHEST)).all()
    assert (states.target <= farthest(states.winds[:, 0], DEFAULT)).all()


def test_a_miss_is_how_far_from_the_target_it_lands() -> None:
    states = held_out_targets(3)
    actions = torch.zeros(3, 2)
    landed = Aiming().step(states, actions).state.distance
    assert torch.equal(misses(lambda _: actions, states), (landed - states.target).abs())


def test_the_median_miss_and_the_one_that_95_of_100_are_within() -> None:
    assert median_and_most(torch.arange(101.0).flip(0)) == [50.0, 95.0]


def test_a_shot_that_does_not_land_misses_by_far() -> None:
    angle, counterweight = (
        torch.tensor([45.0, 45.0]).double(),
        torch.tensor([0.001, 45.0]).double(),
    )  # a gram lifts none
    assert misses_of(Aiming(), angle, counterweight, held_out_targets(2)).isinf().tolist() == [True, False]
