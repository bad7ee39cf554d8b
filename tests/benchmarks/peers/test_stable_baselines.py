"""Stable-Baselines3 learns to aim in the same environment; skipped where it is missing."""

from __future__ import annotations

import numpy as np
import pytest

from games.trebuchet.env import TrebuchetEnv

pytest.importorskip("stable_baselines3")
from benchmarks.peers.stable_baselines import Shots, decaying


def test_rivals_learn_in_the_gymnasium_environment() -> None:
    shots, env, actions = Shots(3, seed=0), TrebuchetEnv(), np.array([[-0.2, 0.5], [0.0, 0.0], [0.3, -0.9]], np.float32)
    observed, before = shots.reset(), shots.states
    _, rewards, over, _ = shots.step(actions)
    assert over.all()
    assert shots.observation_space == env.observation_space
    assert shots.action_space == env.action_space
    for row, action in enumerate(actions):
        options = {"wind": before.winds[row, 0].item(), "target": before.target[row].item()}
        np.testing.assert_allclose(env.reset(options=options)[0], observed[row], rtol=1e-6)
        _, reward, terminated, *_ = env.step(action)
        assert terminated
        assert reward == pytest.approx(float(rewards[row]), abs=1e-6)


def test_rates_decay_with_the_share_of_training_that_is_left() -> None:
    assert [decaying(4.0)(left) for left in (1.0, 0.5, 0.0)] == pytest.approx([4.0, 2.0, 0.02 * 4.0])
    assert [decaying(4.0, power=3)(left) for left in (1.0, 0.5, 0.0)] == pytest.approx([4.0, 0.5, 0.02 * 4.0])
