"""The targets that the benchmarks of aiming measure on, and their misses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from games.trebuchet.game import Aiming, TrebuchetState
from games.trebuchet.physics import shoot

HELD_OUT = 20_260_101  # seed of the held-out targets: no training has it

Policy = Callable[[TrebuchetState], Tensor]  # actions [B, 2] for states


def held_out_targets(count: int = 1000) -> TrebuchetState:
    """Winds and targets within reach that no training uses."""
    return Aiming().initial(count, generator=torch.Generator().manual_seed(HELD_OUT))


def misses(policy: Policy, states: TrebuchetState) -> Tensor:
    """[B] m; inf if the shot fails."""
    game = Aiming()
    return misses_of(game, *game.setting(states, policy(states)), states)


def misses_of(game: Aiming, angle: Tensor, counterweight: Tensor, states: TrebuchetState) -> Tensor:
    """The misses [B] with these settings, [B] degrees and kg."""
    shot = shoot(states.winds[:, 0], angle, counterweight, trebuchet=game.trebuchet)
    return torch.where(shot.landed, (shot.distance - states.target).abs(), torch.inf)


def median_and_most(miss: Tensor) -> list[float]:
    """The median miss, and the one that 95 % are within."""
    found: list[float] = miss.double().quantile(torch.tensor([0.5, 0.95], dtype=torch.float64)).tolist()
    return found
