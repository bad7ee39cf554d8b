"""The shot of the talk "The impact of differentiable programming", number for number.

The talk's numbers come from Trebuchet.jl, which takes explicit Euler's steps of 1/60 s, exchanges the two moments of
inertia by an oversight, and has the counterweight in pounds (the talk says kg). They differ from the converged ones of
`physics` by metres. The end of a stage is searched at ten places of a step and then on Hermite's cubic through its
ends, as DifferentialEquations.jl does. The change of its velocity since the step began, not its acceleration, tells
whether the projectile has lifted off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from scipy.optimize import brentq
from torch import Tensor

from games.trebuchet import mechanics
from games.trebuchet.mechanics import Aim, Real
from games.trebuchet.physics import POUND, Trebuchet, check
from games.trebuchet.solver import turns

STEP = 1 / 60  # s
PLACES = 10  # within a step
MOST_STEPS = 6000

# A function of a state [N], the state at the start of the step, and the time since then in s.
Ending = Callable[[Tensor, Tensor, float | Tensor], Tensor]


class Cubic(NamedTuple):
    """Hermite's cubic through the ends of a step, by their states and rates; called with the part of the step."""

    start: Tensor
    end: Tensor
    start_rates: Tensor
    end_rates: Tensor

    def __call__(self, part: float | Tensor) -> Tensor:
        bend = (1 - 2 * part) * (self.end - self.start)
        bend = bend + STEP * ((part - 1) * self.start_rates + part * self.end_rates)
        return (1 - part) * self.start + part * self.end + part * (part - 1) * bend


class NoShotError(Exception):
    """A stage does not end."""


def swapped(trebuchet: Trebuchet) -> Trebuchet:
    """The trebuchet with the inertias of beam and counterweight exchanged."""
    of = trebuchet.constants
    beam = of.beam - trebuchet.beam_mass * ((of.l - of.s) / 2) ** 2
    return replace(trebuchet, beam_inertia=of.hung, weight_inertia=beam)


def shoot_published(wind: Tensor | float, angle: Tensor | float, pounds: Tensor | float) -> Tensor:
    """The distance in m; wind in m/s, angle in degrees, counterweight in pounds. Can be differentiated.

    NoShotError if the counterweight is too light, ValueError as `physics.shoot`.
    """
    wind, angle, pounds = (torch.as_tensor(value, dtype=torch.float64) for value in (wind, angle, pounds))
    check(wind, angle, pounds)
    of = swapped(Trebuchet()).constants
    aim = Aim(pounds * POUND, angle.deg2rad().sin(), angle.deg2rad().cos())

    def sliding(y: Tensor) -> Tensor:
        return torch.stack([*y[3:], *mechanics.sliding(*turns(y), aim.weight, of)])

    def swinging(y: Tensor) -> Tensor:
        return torch.stack([*y[3:], *mechanics.swinging(*turns(y), aim.weight, of)])

    def flying(y: Tensor) -> Tensor:
        u, v = y[2] - wind, y[3]
        return torch.stack([y[2], v, *mechanics.flying(u, v, (u * u + v * v).sqrt(), of)])

    def velocity(y: Tensor) -> Tensor:
        a, _, c = turns(y)
        return torch.stack(mechanics.velocity(a, c, of))

    def ground(y: Tensor, began: Tensor, since: float | Tensor) -> Real:
        if since == 0:
            return torch.tensor(of.g, dtype=torch.float64)
        tension = (velocity(y) - velocity(began))[0] / since / y[2].sin()
        if since == STEP and tension < 0:
            raise NoShotError(f"the sling goes slack on the ground; a counterweight of {pounds:g} lb is too light")
        return of.g + tension * y[2].cos()

    def across(y: Tensor, began: Tensor, since: float | Tensor) -> Real:
        u, v = velocity(y)
        return (aim.cos * v - aim.sin * u) / (u * u + v * v).sqrt()

    def height(y: Tensor, began: Tensor, since: float | Tensor) -> Real:
        return y[1] + of.h

    tilt = torch.tensor(of.h / of.l, dtype=torch.float64).asin()
    nothing = torch.zeros_like(tilt)
    upright = torch.tensor(torch.pi, dtype=torch.float64)
    y = torch.stack([upright / 2 + tilt, nothing, 1.5 * upright, nothing, nothing, nothing])
    y = euler(swinging, across, euler(sliding, ground, y))
    a, _, c = turns(y)
    return euler(flying, height, torch.stack([*mechanics.place(a, c, of), *mechanics.velocity(a, c, of)]))[0]


def euler(rates: Callable[[Tensor], Tensor], ending: Ending, y: Tensor) -> Tensor:
    """The state where `ending` first changes its sign."""
    with torch.no_grad():
        last = float(ending(y, y, 0.0))
    for _ in range(MOST_STEPS):
        dy = rates(y)
        new = y + STEP * dy
        cubic, left = Cubic(y, new, dy, rates(new)), 0.0
        for place in range(1, PLACES + 1):
            right = place / PLACES
            with torch.no_grad():
                now = float(ending(cubic(right), y, right * STEP))
            if (now < 0) != (last < 0):
                return cubic(when(cubic, ending, left, right))
            left, last = right, now
        y = new
    raise NoShotError(f"no end in sight after {MOST_STEPS * STEP:.0f} s")


def when(cubic: Cubic, ending: Ending, left: float, right: float) -> Tensor:
    """The part of the step at which `ending` changes its sign, between two places; with its derivatives."""

    def value(part: float | Tensor) -> Tensor:
        return ending(cubic(part), cubic.start, part * STEP)

    tiny = 1e-12
    with torch.no_grad():
        low, high = float(value(max(left, tiny))), float(value(right))
        if (low < 0) == (high < 0):  # it changed as the step began
            return torch.zeros((), dtype=torch.float64)
        root = brentq(lambda part: float(value(part)), max(left, tiny), right, xtol=1e-15)
        slope = (value(root + 1e-7) - value(root - 1e-7)) / 2e-7
    return torch.as_tensor(root - value(root) / slope)
