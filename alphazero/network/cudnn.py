"""A residual network on a GPU with cuDNN's fused operations: convolution, bias, residual and ReLU in one.

In separate operations, each of them reads and writes all activations again; together these take as long as the
convolutions themselves.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alphazero.network.architectures import Block, InferenceModule, ResidualNetwork, lay_out, scalar_value

PADDED = ((1, 1), (1, 1), (1, 1), 1)  # stride, padding, dilation and groups of a 3 x 3 convolution


class FusedResidual(nn.Module):
    """The same as an `InferenceModule` of a residual network, whose weights it shares."""

    def __init__(self, network: ResidualNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        of = self.network
        x = of.placed(of.stem(observation))
        for block in of.blocks:
            assert isinstance(block, Block)
            # cuDNN reads what is added even with a factor of 0: so it is x, which is finite.
            y = convolved(x, block.conv1, x, 0.0)
            x = convolved(y, block.conv2, x, 1.0)
        policy, value = (torch.relu_(conv(x)).flatten(1) for conv in (of.policy_conv, of.value_conv))
        hidden = torch.relu_(of.value_hidden(value))
        return of.policy(policy), scalar_value(of.value(hidden))


def convolved(x: Tensor, convolution: nn.Conv2d, added: Tensor, factor: float) -> Tensor:
    """relu(convolution(x) + factor * added)."""
    return torch.cudnn_convolution_add_relu(x, convolution.weight, added, factor, convolution.bias, *PADDED)


def fused(module: InferenceModule) -> nn.Module:
    """The module in fused operations, with the same weights in the same places; itself where it cannot be."""
    weight = next(module.parameters(), torch.zeros(()))
    if weight.device.type != "cuda":
        return module
    network = module.network
    torch.backends.cudnn.benchmark = True  # the batches of a search are all of one size: the best algorithm counts
    if not isinstance(network, ResidualNetwork) or not network.blocks:
        return module
    return FusedResidual(network) if _can_fuse(network.stem.out_channels, weight.dtype, weight.device) else module


@lru_cache(maxsize=64)
def _can_fuse(width: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether cuDNN has the fused operation and computes the same; warns if it does not."""
    generator = torch.Generator(device).manual_seed(0)
    with torch.inference_mode():
        convolution = nn.Conv2d(width, width, 3, padding=1, device=device, dtype=dtype)
        for parameter in convolution.parameters():
            parameter.normal_(std=width**-0.5 / 3, generator=generator)
        layout = lay_out(convolution, (width, 6, 7))
        x, added = (
            torch.randn(16, width, 6, 7, generator=generator, device=device, dtype=dtype).to(memory_format=layout)
            for _ in range(2)
        )
        try:
            found = convolved(x, convolution, added, 1.0).float()
        except RuntimeError as error:
            reason = " ".join(str(error).split())
        else:
            expected = F.relu(convolution(x) + added).float()
            # Each rounds its sum once or twice to the type's precision.
            tolerance = 8 * torch.finfo(dtype).eps * float(expected.abs().max())
            if dtype == torch.float32:
                tolerance = max(tolerance, 1e-2)  # cuDNN's TF32
            if torch.allclose(found, expected, rtol=0, atol=tolerance):
                return True
            reason = f"its result is off by {float((found - expected).abs().max()):.2g}"
    warnings.warn(
        f"cuDNN's fused convolutions do not work here, so the network runs without them ({reason})",
        RuntimeWarning,
        stacklevel=3,
    )
    return False
