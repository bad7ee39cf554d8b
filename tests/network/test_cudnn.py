"""The fused network computes what the plain one does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from alphazero.config import NetworkConfig
from alphazero.network.architectures import inference_module, make_network
from alphazero.network.cudnn import FusedResidual, fused
from alphazero.network.inference import TorchEvaluator
from games.connect_four import ConnectFour
from tests.networks import KINDS, trained
from tests.positions import random_positions

GAME = ConnectFour()


@pytest.mark.parametrize("kind", KINDS)
def test_on_the_cpu_the_network_stays_as_it_is(kind: str) -> None:
    module = inference_module(trained(kind, 1))
    assert fused(module) is module


def test_convolutions_biases_residuals_and_heads_are_in_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def convolution(
        x: Tensor, weight: Tensor, added: Tensor, factor: float, bias: Tensor,
        stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int], groups: int,
    ) -> Tensor:  # fmt: skip
        """What torch documents of cuDNN's; factors other than 0 and 1 do not occur."""
        assert factor in {0, 1}
        return F.relu(F.conv2d(x, weight, bias, stride, padding, dilation, groups) + factor * added)

    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", convolution)
    module = inference_module(trained("residual", 1))
    observation = GAME.observe(random_positions(GAME, 20, plies=20, seed=0))
    network = module.network
    for found, expected in zip(FusedResidual(network)(observation), module(observation), strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float32, 0.01)])
def test_on_a_gpu_it_agrees_with_the_cpu(dtype: torch.dtype, tolerance: float) -> None:
    """Values differ by no more than roundings add up to; logits are tens here, so theirs is a share of the greatest."""
    module = inference_module(trained("residual", 1))
    states = random_positions(GAME, 64, plies=20, seed=0)
    evaluator = TorchEvaluator(GAME, module, device="cuda", dtype=dtype)
    expected = inference_module(trained("residual", 1))(GAME.observe(states))
    for _ in range(3):  # memory that was used before holds other numbers
        found = evaluator(type(states)(*(field.cuda() for field in states)), torch.Generator("cuda"))
        scale = float(expected[0].abs().max())
        torch.testing.assert_close(found.logits.cpu() / scale, expected[0] / scale, rtol=0, atol=tolerance)
        torch.testing.assert_close(found.value.cpu(), expected[1], rtol=0, atol=10 * tolerance)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("width", [32, 64, 128])
def test_networks_of_usual_widths_are_fused(width: int) -> None:
    module = inference_module(make_network(GAME, NetworkConfig(blocks=1, width=width)))
    evaluator = TorchEvaluator(GAME, module, device="cuda", dtype=torch.bfloat16)
    assert isinstance(evaluator.predict, FusedResidual)
