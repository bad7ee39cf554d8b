"""The policy over continuous actions: a normal distribution in each dimension of the Box.

It lives in coordinates in which the Box is from -1 to 1, whatever its bounds. What is drawn outside is moved to the
edge, where the density stays that of the normal distribution: so the best action may well lie in a corner, and is
learned there as anywhere else.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from alphazero.game import Box, Discrete, Game, S

FINEST = 1e-3  # the least deviation: a network that is sure draws within a thousandth of the Box


class GaussianPolicy(NamedTuple):
    """mean, log_deviation: [B, D] float32, in the Box's coordinates."""

    mean: Tensor
    log_deviation: Tensor

    @classmethod
    def of(cls, output: Tensor) -> GaussianPolicy:
        """What a network's policy head [B, 2 D] says."""
        mean, spread = output.float().chunk(2, -1)
        return cls(mean, math.log(FINEST) + F.softplus(spread))

    def mode(self) -> Tensor:
        """[B, D], the likeliest action within the Box."""
        return self.mean.clamp(-1, 1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """[B, count, D], within the Box."""
        shape = (len(self.mean), count, self.mean.shape[1])
        noise = torch.randn(shape, generator=generator, device=self.mean.device)
        return (self.mean[:, None] + self.log_deviation.exp()[:, None] * noise).clamp(-1, 1)

    def log_density(self, actions: Tensor) -> Tensor:
        """[B, K], of actions [B, K, D]."""
        log_deviation = self.log_deviation[:, None]
        distance = (actions - self.mean[:, None]) / log_deviation.exp()
        return -(distance.square() / 2 + log_deviation + math.log(2 * math.pi) / 2).sum(-1)

    def entropy(self) -> Tensor:
        """[B], in nats, of the normal distribution: below 0 where it is narrow."""
        return (self.log_deviation + math.log(2 * math.pi * math.e) / 2).sum(-1)


def raw_deviation(deviation: float) -> float:
    """What a network has to say for a deviation above FINEST: the inverse of `GaussianPolicy.of`."""
    return math.log(math.expm1(math.log(deviation / FINEST)))


def policy_outputs(game: Game[S]) -> int:
    """By how many numbers a network tells its policy: a logit for each action, or two for each dimension of a Box."""
    return game.actions.n if isinstance(game.actions, Discrete) else 2 * len(game.actions.low)


def into_box(place: Tensor, box: Box) -> Tensor:
    """Actions [..., D] float32 of the game, by their coordinates from -1 to 1."""
    low, high = (torch.tensor(bound, dtype=torch.float32, device=place.device) for bound in box)
    # Rounding can carry the sum a last bit out of the Box.
    return torch.lerp(low, high, (place + 1) / 2).clamp(low, high)


def from_box(action: Tensor, box: Box) -> Tensor:
    """The coordinates of actions [..., D] of the game."""
    low, high = (torch.tensor(bound, dtype=torch.float32, device=action.device) for bound in box)
    return 2 * (action - low) / (high - low) - 1
