"""The transformer computes what the papers' formulas say, and learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import erf, softmax
from torch import nn

from alphazero.config import LearnerConfig, NetworkConfig
from alphazero.learner import Learner
from alphazero.runs.configuration import load_config
from examples.transformer import BoardTransformer
from games.tic_tac_toe import TicTacToe
from tests.random_samples import samples
from tests.training_runs import ROOT

Array = NDArray[np.float64]


def by_hand(network: BoardTransformer, board: Array) -> tuple[Array, Array]:
    """Logits and value of a board [planes, height, width], one token and one head after the other."""
    w: dict[str, Array] = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}

    def linear(name: str, x: Array) -> Array:
        return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"])

    def norm(name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return np.asarray(scaled * w[f"{name}.weight"] + w[f"{name}.bias"])

    planes, height, width = board.shape
    cells = np.array([[board[p, r, c] for p in range(planes)] for r in range(height) for c in range(width)])
    x = linear("embedding", cells) + w["position"]
    for number, block in enumerate(network.blocks):
        name = f"blocks.{number}"
        query, key, value = np.split(linear(f"{name}.qkv", norm(f"{name}.norm1", x)), 3, axis=1)
        size = x.shape[1] // block.heads
        seen = np.zeros_like(x)
        for head in range(block.heads):
            part = slice(head * size, (head + 1) * size)
            attention = softmax(query[:, part] @ key[:, part].T / np.sqrt(size), axis=1)  # Vaswani et al. 2017, (1)
            seen[:, part] = attention @ value[:, part]
        x = x + linear(f"{name}.out", seen)
        hidden = linear(f"{name}.mlp.0", norm(f"{name}.norm2", x))
        x = x + linear(f"{name}.mlp.2", hidden / 2 * (1 + erf(hidden / np.sqrt(2))))
    x = norm("norm", x)
    return linear("policy", x.reshape(-1)), linear("value", x.mean(0))


def test_it_computes_what_the_formulas_say() -> None:
    torch.manual_seed(0)
    network = BoardTransformer((2, 3, 4), 5, 3, layers=2, width=12, heads=3).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    boards = torch.randn(4, 2, 3, 4)
    logits, value = network(boards)
    for number, board in enumerate(boards.double().numpy()):
        expected = by_hand(network, board)
        np.testing.assert_allclose(logits[number].detach(), expected[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(value[number].detach(), expected[1], rtol=1e-4, atol=1e-4)


def test_a_cell_s_place_counts() -> None:
    torch.manual_seed(0)
    network = BoardTransformer((2, 3, 3), 9, 3).eval()
    boards = torch.zeros(2, 2, 3, 3)
    boards[0, 0, 0, 0] = boards[1, 0, 2, 2] = 1
    assert not torch.allclose(*network(boards)[1])


@pytest.mark.parametrize(("shape", "options"), [((7,), {}), ((2, 3, 3), {"width": 10, "heads": 4})])
def test_a_shape_that_does_not_fit_is_named(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"it needs a board \[planes, height, width\], and heads that divide"):
        BoardTransformer(shape, 9, 3, **options)


def test_it_learns_random_samples_by_heart_bit_by_bit() -> None:
    """Each under all symmetries, so that there are eight times as many."""
    config = NetworkConfig(kind="examples.transformer:BoardTransformer", options={"width": 32})
    learner = Learner(
        TicTacToe(), LearnerConfig(batch_size=32, precision="float32", warmup=0.0, schedule="constant"), config, seed=1
    )
    many = samples(32)
    first = learner.learn(many, [0.0], torch.Generator().manual_seed(0))
    learner.learn(many, [3e-3] * 300, torch.Generator().manual_seed(1))
    last = learner.learn(many, [0.0], torch.Generator().manual_seed(0))
    assert last["loss/value"] < first["loss/value"]
    above = [one["loss/policy"] - one["loss/target_entropy"] for one in (first, last)]
    assert above[1] < 0.7 * above[0]


def test_its_configuration_is_that_of_tic_tac_toe_with_another_network() -> None:
    own, plain = (load_config(ROOT / "configs" / f"tic_tac_toe{name}.toml") for name in ("_transformer", ""))
    assert own.network.kind == "examples.transformer:BoardTransformer"
    assert replace(own, network=plain.network) == plain
