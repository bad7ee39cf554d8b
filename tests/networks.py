"""Small networks for connect-four whose weights are all random."""

from __future__ import annotations

import torch
from torch import nn

from alphazero.config import NetworkConfig
from alphazero.network.architectures import Network, make_network
from games.connect_four import ConnectFour

CONFIGS = {
    "residual": NetworkConfig(kind="residual", blocks=2, width=8, head_channels=3, value_width=5),
    "placed": NetworkConfig(blocks=2, width=8, head_channels=3, value_width=5, position_bias=True, end_weight=1.0),
    "dense": NetworkConfig(kind="dense", blocks=2, width=16, value_head="scalar"),
}
KINDS = list(CONFIGS)


def trained(kind: str, seed: int) -> Network:
    """A network for connect-four whose weights and running statistics are all random."""
    torch.manual_seed(seed)
    network = make_network(ConnectFour(), CONFIGS[kind])
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()
