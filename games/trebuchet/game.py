"""Aiming a trebuchet as games for one player with continuous actions: land the projectile on a target in the wind.

`Aiming` is one shot, free in angle and counterweight. In `Siege` there are several shots at one target, the wind of
each is known, and between two of them angle and counterweight can change only so far: so it pays to prepare the next
shots.

The reward of a shot is -ln(1 + miss / 1 cm) / ln(1 + 100 m / 1 cm), over the number of shots: 0 for a hit, and every
factor in the miss counts alike, from centimetres on. A shot that fails, or misses by 100 m or more, has -1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from alphazero.game import Box, Game, Transition, where
from games.trebuchet.physics import DEFAULT, Shot, Trebuchet, shoot
from games.trebuchet.solver import Terms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDS, BREEZE = 10.0, 5.0  # m/s: the strongest, and the standard deviation of the normal distribution within
NEAREST, FARTHEST = 20.0, 100.0  # m, of targets
ANGLES = (0.0, 90.0)  # degrees
COUNTERWEIGHTS = (20.0, 120.0)  # kg: lighter ones hardly throw, under heavier ones the sling goes slack
FINEST, COARSEST = 0.01, 100.0  # m, of misses


class TrebuchetState(NamedTuple):
    """B sieges, float64.

    winds: [B, N] m/s, of each shot. target: [B] m. angle, counterweight: [B], the trebuchet's setting. fired: [B]
    int64, the shots so far. distance: [B] m, of the last of them; 0 before.
    """

    winds: Tensor
    target: Tensor
    angle: Tensor
    counterweight: Tensor
    fired: Tensor
    distance: Tensor


class Siege(Game[TrebuchetState]):
    """Four shots, before each of which the setting changes by at most 5 degrees and 8 kg. The first setting is drawn.

    An action is a number from -1 to 1 for the angle and one for the counterweight: the part of that change.
    """

    name: ClassVar[str] = "trebuchet_siege"
    num_players: ClassVar[int] = 1
    actions = Box((-1.0, -1.0), (1.0, 1.0))
    metric_units: Mapping[str, str] = MappingProxyType({"miss": "m"})
    shots = 4
    turn: ClassVar[tuple[float, float]] = (5.0, 8.0)  # degrees, kg

    def __init__(self, trebuchet: Trebuchet = DEFAULT, terms: Terms | None = None) -> None:
        """terms: in place of terms of the equations, see `shoot`. Targets are within reach with the true ones."""
        self.trebuchet, self.terms = trebuchet, terms
        self.observation_shape = (2 * self.shots + 3,)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> TrebuchetState:
        """Winds of a truncated normal distribution, and a target within reach in all of them."""
        device = generator.device if generator is not None else torch.device("cpu")

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=device, dtype=torch.float64)

        winds = truncated_normal(uniform(batch, self.shots))
        reach = farthest(winds, self.trebuchet).amin(1).clamp(max=FARTHEST)
        return TrebuchetState(
            winds=winds,
            target=NEAREST + (reach - NEAREST) * uniform(batch),
            angle=torch.lerp(*_ends(ANGLES, device), uniform(batch)),
            counterweight=torch.lerp(*_ends(COUNTERWEIGHTS, device), uniform(batch)),
            fired=torch.zeros(batch, dtype=torch.int64, device=device),
            distance=torch.zeros(batch, dtype=torch.float64, device=device),
        )

    def to_play(self, state: TrebuchetState) -> Tensor:
        return torch.zeros_like(state.fired, dtype=torch.int8)

    def legal(self, state: TrebuchetState) -> Tensor:
        return torch.ones(len(state.fired), 0, dtype=torch.bool, device=state.fired.device)

    def setting(self, state: TrebuchetState, action: Tensor) -> tuple[Tensor, Tensor]:
        """Angle in degrees and counterweight in kg [B] after an action [B, 2]."""
        angle, counterweight = (action.double().clamp(-1, 1) * torch.tensor(self.turn, device=action.device)).unbind(1)
        return (state.angle + angle).clamp(*ANGLES), (state.counterweight + counterweight).clamp(*COUNTERWEIGHTS)

    def wind(self, state: TrebuchetState) -> Tensor:
        """[B] m/s, of the shot to come; afterwards, of the last."""
        return state.winds.gather(1, state.fired.clamp(max=self.shots - 1)[:, None])[:, 0]

    def step(self, state: TrebuchetState, action: Tensor) -> Transition[TrebuchetState]:
        """Can be differentiated by the action, and by winds and target."""
        return self.fire(state, action)[1]

    def fire(self, state: TrebuchetState, action: Tensor) -> tuple[Shot, Transition[TrebuchetState]]:
        """`step`, with the shots themselves; those of finished sieges mean nothing."""
        over = state.fired >= self.shots
        angle, counterweight = self.setting(state, action)
        shot = shoot(self.wind(state), angle, counterweight, trebuchet=self.trebuchet, terms=self.terms)
        reward = torch.where(shot.landed, score(shot.distance - state.target), -1.0) / self.shots
        after = TrebuchetState(state.winds, state.target, angle, counterweight, state.fired + 1, shot.distance)
        return shot, Transition(
            where(over, state, after), torch.where(over, 0.0, reward).float(), over | (after.fired >= self.shots)
        )

    def observe(self, state: TrebuchetState) -> Tensor:
        """[B, 2 N + 3], about -1 to 1: winds of the shots to come, 1 for each that comes, target, setting."""
        place = torch.arange(self.shots, device=state.fired.device) + state.fired[:, None]
        comes = place < self.shots
        winds = torch.where(comes, state.winds.gather(1, place.clamp(max=self.shots - 1)), 0.0) / WINDS
        others = (
            _from_centre(state.target, NEAREST, FARTHEST),
            _from_centre(state.angle, *ANGLES),
            _from_centre(state.counterweight, *COUNTERWEIGHTS),
        )
        return torch.cat([winds, comes.double(), torch.stack(others, 1)], 1).float()

    def metrics(self, state: TrebuchetState) -> dict[str, Tensor]:
        """miss: of the last shot."""
        return {"miss": (state.distance - state.target).abs()}

    def figure(self, state: TrebuchetState, action: Tensor) -> Figure:
        """The shot."""
        from games.trebuchet.render import draw

        angle, counterweight = self.setting(state, action)
        settings = (float(self.wind(state)), float(angle), float(counterweight))
        return draw(*settings, target=float(state.target[0]), trebuchet=self.trebuchet)


class Aiming(Siege):
    """One shot, with any angle and counterweight: an action of -1 is the least, one of 1 the most."""

    name: ClassVar[str] = "trebuchet"
    shots = 1

    def __init__(self, trebuchet: Trebuchet = DEFAULT, terms: Terms | None = None) -> None:
        super().__init__(trebuchet, terms)
        self.observation_shape = (2,)

    def setting(self, state: TrebuchetState, action: Tensor) -> tuple[Tensor, Tensor]:
        angle, counterweight = (action.double().clamp(-1, 1) / 2 + 0.5).unbind(1)
        return (
            torch.lerp(*_ends(ANGLES, action.device), angle),
            torch.lerp(*_ends(COUNTERWEIGHTS, action.device), counterweight),
        )

    def observe(self, state: TrebuchetState) -> Tensor:
        """[B, 2]: wind and target."""
        return torch.stack((state.winds[:, 0] / WINDS, _from_centre(state.target, NEAREST, FARTHEST)), 1).float()


def score(miss: Tensor) -> Tensor:
    """The reward of a single shot, from -1 to 0, by its miss in m (see above)."""
    return -torch.log1p(miss.abs().clamp(max=COARSEST) / FINEST) / math.log1p(COARSEST / FINEST)


def truncated_normal(share: Tensor) -> Tensor:
    """The quantiles of the winds at these shares, from 0 to 1."""
    most = math.erf(WINDS / BREEZE / math.sqrt(2))
    return BREEZE * math.sqrt(2) * torch.erfinv((2 * share - 1) * most)


def farthest(wind: Tensor, trebuchet: Trebuchet) -> Tensor:
    """The farthest distance in these winds, m, good to 2 cm. Every target from NEAREST to there can be hit."""
    winds, reach = _reach(trebuchet)
    place = (wind.double().clamp(-WINDS, WINDS).cpu() + WINDS) / (2 * WINDS) * (len(winds) - 1)
    left = place.long().clamp(max=len(winds) - 2)
    return torch.lerp(reach[left], reach[left + 1], place - left).to(wind.device)


@lru_cache(maxsize=8)
def _reach(trebuchet: Trebuchet) -> tuple[Tensor, Tensor]:
    """Winds, and the farthest distance of the heaviest counterweight in each."""
    winds = torch.linspace(-WINDS, WINDS, 81, dtype=torch.float64)
    angles = torch.linspace(*ANGLES, 91, dtype=torch.float64)
    shot = shoot(winds[:, None], angles, COUNTERWEIGHTS[1], trebuchet=trebuchet)
    return winds, torch.where(shot.landed, shot.distance, 0.0).amax(1)


def _ends(bounds: tuple[float, float], device: torch.device) -> tuple[Tensor, Tensor]:
    low, high = (torch.tensor(bound, dtype=torch.float64, device=device) for bound in bounds)
    return low, high


def _from_centre(value: Tensor, low: float, high: float) -> Tensor:
    """-1 at `low` and 1 at `high`."""
    return (2 * value - low - high) / (high - low)
