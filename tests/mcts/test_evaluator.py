"""Evaluators that need no network."""

from __future__ import annotations

import math

import torch

from alphazero.mcts.evaluator import TimedEvaluator, UniformEvaluator
from games.connect_four import ConnectFour
from tests.positions import random_positions
from tests.stubs import Drift

GAME = ConnectFour()
RANDOM = torch.Generator()
POSITIONS = random_positions(GAME, 37, plies=11, seed=0)


def test_uniform_says_nothing_and_samples_a_box_evenly() -> None:
    said = UniformEvaluator(GAME)(POSITIONS, RANDOM)
    assert said.logits.eq(0).all()
    assert said.value.eq(0).all()
    game, count = Drift(), 200
    actions = UniformEvaluator(game, samples=50)(game.initial(count), RANDOM.manual_seed(0)).actions
    assert actions is not None
    assert actions.shape == (count, 50, 2)
    low, high = map(torch.tensor, game.actions)
    assert ((actions >= low) & (actions <= high)).all()
    # Uniform between bounds: mean 0, variance width^2 / 12.
    assert (actions.mean((0, 1)).abs() < 5 * (high - low) / math.sqrt(12 * count * 50)).all()


def test_a_timed_evaluator_counts_positions() -> None:
    timed = TimedEvaluator(UniformEvaluator(GAME))
    for _ in range(3):
        timed(POSITIONS, RANDOM)
    assert timed.evaluations == 3 * len(POSITIONS.mine)
    assert timed.seconds > 0
