"""Aiming at one target: which angle and counterweight land the projectile there, in this wind?

`descend` goes down the squared miss step by step, as the talk does; `home_in` needs a handful of shots, from anywhere.
Both use the simulator's gradient. (`aiming_network` has learned all answers at once, and gives one without any shot.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.optimize import brentq

from games.trebuchet.game import ANGLES, COUNTERWEIGHTS
from games.trebuchet.physics import POUND, shoot_with_gradient
from games.trebuchet.published import NoShotError, shoot_published


class Fired(NamedTuple):
    """A shot: its distance in m, and by how much that grows per degree and per unit of the counterweight."""

    distance: float
    by_angle: float
    by_counterweight: float


class Simulator(NamedTuple):
    """A trebuchet to aim. fire: by wind in m/s, angle in degrees, counterweight in `unit`. counterweights: bounds."""

    fire: Callable[[float, float, float], Fired]
    counterweights: tuple[float, float]
    unit: str


class Aimed(NamedTuple):
    """The result of a method.

    angle: degrees. counterweight: in the simulator's unit. distance: m. miss: m, below 0 if the shot falls short.
    shots: how many it fired. hit: whether the miss is tolerated. A target that `home_in` has not hit is out of reach,
    and distance is then the nearest to it that can be reached.
    """

    angle: float
    counterweight: float
    distance: float
    miss: float
    shots: int
    hit: bool


def fire(wind: float, angle: float, counterweight: float) -> Fired:
    shot, gradient = shoot_with_gradient(wind, angle, counterweight)
    return Fired(shot.distance, gradient.angle, gradient.counterweight)


def fire_published(wind: float, angle: float, pounds: float) -> Fired:
    """Fires with the talk's own numbers. A counterweight that is too light does not throw."""
    aim = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (angle, pounds)]
    try:
        distance = shoot_published(wind, *aim)
    except NoShotError:
        return Fired(0.0, 0.0, 0.0)
    by_angle, by_pound = torch.autograd.grad(distance, aim)
    return Fired(distance.item(), by_angle.item(), by_pound.item())


PHYSICS = Simulator(fire, COUNTERWEIGHTS, "kg")
PUBLISHED = Simulator(fire_published, (COUNTERWEIGHTS[0] / POUND, COUNTERWEIGHTS[1] / POUND), "lb")
START = (55.0, 220 * POUND)  # degrees and kg: the talk's


def descend(
    wind: float,
    target: float,
    *,
    start: tuple[float, float] = START,
    rate: float = 0.1,
    steps: int = 10,
    tolerance: float = 0.0,
    simulator: Simulator = PHYSICS,
) -> Aimed:
    """Gradient descent on (distance - target)^2 in degrees and kg, until the miss is tolerated, or for `steps` steps.

    The talk ("The impact of differentiable programming") takes 10 steps of 0.1, from 55 degrees and 220 lb. Where its
    rate is too high for the slope, so that a step would make the miss larger, the step is a failure and the rate is
    halved from there on. If the target is out of reach, it creeps towards the best shot. ValueError as `home_in`.
    """
    setting = _checked(wind, target, start, simulator)
    fired, shots = simulator.fire(wind, *setting), 1
    for _ in range(steps):
        miss = fired.distance - target
        if abs(miss) <= tolerance:
            break
        moved = _clipped(
            setting[0] - rate * 2 * miss * fired.by_angle,
            setting[1] - rate * 2 * miss * fired.by_counterweight,
            simulator,
        )
        tried, shots = simulator.fire(wind, *moved), shots + 1
        if abs(tried.distance - target) < abs(miss):
            setting, fired = moved, tried
        else:
            rate /= 2
    return _aimed(setting, fired.distance, target, shots, tolerance)


def home_in(
    wind: float,
    target: float,
    *,
    start: tuple[float, float] = START,
    tolerance: float = 1e-6,
    simulator: Simulator = PHYSICS,
) -> Aimed:
    """Hits every target within reach, by the Gauss-Newton method; the steps are the shortest within the bounds.

    Where that gets stuck, it searches the straight line between the settings of the nearest and the farthest shot, on
    which the target must be if it is within reach at all. If it is not, one of the two is the answer.

    ValueError for a wind or a target that is no finite number, a start out of bounds, a tolerance of 0 or less.
    """
    setting = _checked(wind, target, start, simulator)
    if not tolerance > 0:
        raise ValueError(f"the tolerance must be above 0, not {tolerance}")
    fired, shots = simulator.fire(wind, *setting), 1
    part = 1.0
    while abs(fired.distance - target) > tolerance and part > 1e-3:
        step = _shortest_step(setting, fired, target, simulator)
        moved = _clipped(setting[0] + part * step[0], setting[1] + part * step[1], simulator)
        tried, shots = simulator.fire(wind, *moved), shots + 1
        # A fraction of the step makes the miss that much smaller if the distance is about linear (Armijo's rule).
        if abs(tried.distance - target) <= (1 - part / 10) * abs(fired.distance - target):
            setting, fired, part = moved, tried, 1.0
        else:
            part /= 2
    if abs(fired.distance - target) <= tolerance:
        return _aimed(setting, fired.distance, target, shots, tolerance)
    found = _between_extremes(wind, target, tolerance, simulator)
    return found._replace(shots=shots + found.shots)


def _shortest_step(
    setting: tuple[float, float], fired: Fired, target: float, simulator: Simulator
) -> tuple[float, float]:
    """The smallest change of angle and counterweight, in parts of their ranges, that should hit; within bounds."""
    bounds = (ANGLES, simulator.counterweights)
    slopes = [slope * (high - low) for slope, (low, high) in zip(fired[1:], bounds, strict=True)]
    places = [(value - low) / (high - low) for value, (low, high) in zip(setting, bounds, strict=True)]
    step, free, missing = [0.0, 0.0], [0, 1], target - fired.distance
    while free:
        steepness = sum(slopes[i] ** 2 for i in free)
        if steepness == 0:
            break
        wanted = {i: missing * slopes[i] / steepness for i in free}
        beyond = [i for i in free if not 0 <= places[i] + wanted[i] <= 1]
        for i in beyond or free:
            step[i] = min(max(wanted[i], -places[i]), 1 - places[i])
        if not beyond:
            break
        missing -= sum(slopes[i] * step[i] for i in beyond)
        free = [i for i in free if i not in beyond]
    angle, counterweight = (part * (high - low) for part, (low, high) in zip(step, bounds, strict=True))
    return angle, counterweight


def _between_extremes(wind: float, target: float, tolerance: float, simulator: Simulator) -> Aimed:
    """Aims between the nearest shot, which is in a corner, and the farthest, which has the heaviest counterweight."""
    shots = 0

    def count(angle: float, counterweight: float) -> Fired:
        nonlocal shots
        shots += 1
        return simulator.fire(wind, angle, counterweight)

    light, heavy = simulator.counterweights
    far = (brentq(lambda angle: count(angle, heavy).by_angle, *ANGLES, xtol=1e-9), heavy)
    corners = [(angle, counterweight) for angle in ANGLES for counterweight in (light, heavy)]
    near = min(corners, key=lambda corner: count(*corner).distance)

    def miss(part: float) -> float:
        return count(*between(part)).distance - target

    def between(part: float) -> tuple[float, float]:
        return near[0] + part * (far[0] - near[0]), near[1] + part * (far[1] - near[1])

    if miss(0.0) >= 0:
        setting = near
    elif miss(1.0) <= 0:
        setting = far
    else:
        setting = between(brentq(miss, 0.0, 1.0, xtol=1e-13))
    distance = count(*setting).distance
    return _aimed(setting, distance, target, shots, tolerance)


def _checked(wind: float, target: float, start: tuple[float, float], simulator: Simulator) -> tuple[float, float]:
    for name, value, unit in (("wind", wind, "m/s"), ("target", target, "m")):
        if not math.isfinite(value):
            raise ValueError(f"the {name} must be a finite number of {unit}, not {value}")
    named = (
        ("angle", "degrees", ANGLES, start[0]),
        ("counterweight", simulator.unit, simulator.counterweights, start[1]),
    )
    for name, unit, (low, high), value in named:
        if not low <= value <= high:
            raise ValueError(f"the {name} must be from {low:.4g} to {high:.4g} {unit}, not {value}")
    return start


def _clipped(angle: float, counterweight: float, simulator: Simulator) -> tuple[float, float]:
    light, heavy = simulator.counterweights
    return min(max(angle, ANGLES[0]), ANGLES[1]), min(max(counterweight, light), heavy)


def _aimed(setting: tuple[float, float], distance: float, target: float, shots: int, tolerance: float) -> Aimed:
    miss = distance - target
    return Aimed(*setting, distance, miss, shots, abs(miss) <= tolerance)
