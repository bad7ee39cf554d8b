"""A transformer over the cells of a board: a network of your own, as `docs/your_own_network.md` explains it.

    scripts/train.py configs/tic_tac_toe_transformer.toml
    --network.kind examples.transformer:BoardTransformer      on any configuration of a game with a board

Each cell is a token: its planes in `width` numbers, and a learned position. Every cell then looks at every other,
block by block. The policy reads all cells, the value their mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): "pre-norm", Xiong et al. 2020."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, cells, width]."""
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=2)
        )
        seen = F.scaled_dot_product_attention(query, key, value)  # [B, heads, cells, width / heads]
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class BoardTransformer(nn.Module):
    """Tokens are cells; Vaswani et al. 2017, Dosovitskiy et al. 2021."""

    def __init__(
        self,
        observation_shape: tuple[int, ...],
        actions: int,
        outcomes: int,
        *,
        layers: int = 2,
        width: int = 48,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if len(observation_shape) != 3 or width % heads:
            raise ValueError(f"it needs a board [planes, height, width], and heads that divide width = {width}")
        planes, cells = observation_shape[0], observation_shape[1] * observation_shape[2]
        self.embedding = nn.Linear(planes, width)
        self.position = nn.Parameter(0.02 * torch.randn(cells, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.policy = nn.Linear(cells * width, actions)
        self.value = nn.Linear(width, outcomes)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, actions] and value [B, outcomes] of observations [B, planes, height, width]."""
        tokens = observation.flatten(2).transpose(1, 2)  # [B, cells, planes]
        x = self.norm(self.blocks(self.embedding(tokens) + self.position))
        return self.policy(x.flatten(1)), self.value(x.mean(1))
