"""The policy over continuous actions: a normal distribution in each dimension of the Box.

It uses coordinates in which the Box reaches from -1 to 1, whatever its bounds. A sample outside is moved to the edge,
where the density stays that of the normal distribution: so the best action may lie in a corner, and is learned there
as anywhere else.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from alphazero.config import SearchConfig
from alphazero.game import Box

FINEST = 1e-3  # the least deviation: a network that is sure draws within a thousandth of the Box


class Gaussian(NamedTuple):
    """Normal distributions in the Box's coordinates. mean, log_deviation: [B, D] float32."""

    mean: Tensor
    log_deviation: Tensor

    @classmethod
    def of(cls, output: Tensor) -> Gaussian:
        """The distributions that a network's output [B, 2 D] stands for."""
        mean, raw = output.float().chunk(2, -1)
        return cls(mean, math.log(FINEST) + F.softplus(raw))

    def mode(self) -> Tensor:
        """The likeliest action [B, D] within the Box."""
        return self.mean.clamp(-1, 1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples [B, count, D] within the Box."""
        shape = (len(self.mean), count, self.mean.shape[1])
        noise = torch.randn(shape, generator=generator, device=self.mean.device)
        return (self.mean[:, None] + self.log_deviation.exp()[:, None] * noise).clamp(-1, 1)

    def log_density(self, actions: Tensor) -> Tensor:
        """The logarithm of the density [B, K] at actions [B, K, D]."""
        log_deviation = self.log_deviation[:, None]
        distance = (actions - self.mean[:, None]) / log_deviation.exp()
        return -(distance.square() / 2 + log_deviation + math.log(2 * math.pi) / 2).sum(-1)

    def entropy(self) -> Tensor:
        """The entropy [B] of the normal distribution, in nats: below 0 where it is narrow."""
        return (self.log_deviation + math.log(2 * math.pi * math.e) / 2).sum(-1)


class GaussianPolicy:
    """The policy of games with a Box of actions; see `policy.Policy`."""

    description = "[batch, 2 * dimensions], means and raw deviations of normal distributions (alphazero.mcts.gaussian)"
    bfloat16_suffices = False  # an action is a number itself, and needs more than three digits

    def __init__(self, box: Box) -> None:
        self.box = box
        self.outputs = 2 * len(box.low)

    def initialise(self, bias: Tensor, deviation: float) -> None:
        bias[len(self.box.low) :] = raw_deviation(deviation)

    def shapes(self, config: SearchConfig) -> tuple[int, tuple[int, int]]:
        return config.sampled_actions, (config.sampled_actions, len(self.box.low))

    def mode(self, output: Tensor, legal: Tensor) -> Tensor:
        del legal  # everything in the Box is
        return into_box(Gaussian.of(output).mode(), self.box)

    def coordinates(self, sampled: Tensor) -> Tensor:
        return from_box(sampled, self.box)

    def log_policy(self, output: Tensor, legal: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
        del legal
        gaussian = Gaussian.of(output)
        return gaussian.log_density(sampled), gaussian.entropy()


def raw_deviation(deviation: float) -> float:
    """The network's output for a deviation above FINEST: the inverse of `Gaussian.of`."""
    return math.log(math.expm1(math.log(deviation / FINEST)))


def into_box(place: Tensor, box: Box) -> Tensor:
    """Actions [..., D] float32 of the game, by their coordinates from -1 to 1."""
    low, high = box.bounds(place.device)
    # Rounding can carry the sum a last bit out of the Box.
    return torch.lerp(low, high, (place + 1) / 2).clamp(low, high)


def from_box(action: Tensor, box: Box) -> Tensor:
    """The coordinates of actions [..., D] of the game."""
    low, high = box.bounds(action.device)
    return 2 * (action - low) / (high - low) - 1
