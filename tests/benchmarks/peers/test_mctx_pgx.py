"""mctx and pgx do the work that is compared; skipped where they are missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alphazero.network.architectures import inference_module
from games.connect_four import ConnectFour
from tests.networks import trained
from tests.positions import random_positions

pytest.importorskip("mctx")
pytest.importorskip("pgx")
from benchmarks.peers.mctx_pgx import jax_network, jax_uniform, mctx_work


def test_the_network_in_jax_answers_as_ours() -> None:
    game = ConnectFour()
    module = inference_module(trained("residual", 3))
    observation = game.observe(random_positions(game, 32, plies=20, seed=1))
    with torch.inference_mode():
        ours = module(observation)
    theirs = jax_network(module, "float32")(observation.permute(0, 2, 3, 1).numpy())  # channels last
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(other), mine, atol=1e-4)


def test_without_a_network_all_actions_are_alike_and_values_0() -> None:
    logits, value = jax_uniform(np.zeros((5, 6, 7, 2)))
    assert logits.shape == (5, 7)
    assert len(np.unique(logits)) == 1
    assert np.asarray(value).tolist() == [0.0] * 5


@pytest.mark.parametrize("network", [True, False])
def test_a_call_makes_a_move_in_every_game_and_counts_its_simulations(network: bool) -> None:
    module = inference_module(trained("residual", 3)) if network else None
    work = mctx_work(4, 6, module)
    assert [work(), work()] == [4 * 6] * 2
