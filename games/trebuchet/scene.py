"""The scene of a shot, to be drawn: the machine and the projectile at any moment, and the outcome in words.

The solver's steps are far apart. Between them, angles (of the throw) and places (of the flight) are cubic splines, one
a stage, with the derivatives that are known at its ends. After the release the machine stays as it was then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from games.trebuchet import mechanics
from games.trebuchet.mechanics import Turn
from games.trebuchet.physics import Shot, Trebuchet, shoot


class Scene(NamedTuple):
    """Everything that is drawn. shot: None while the trebuchet is loaded."""

    wind: float
    angle: float | None
    counterweight: float | None
    target: float | None
    trebuchet: Trebuchet
    shot: Shot | None
    earlier: Sequence[float]

    def setting(self) -> str:
        parts = [f"wind {self.wind:+.1f} m/s"]
        if self.angle is not None:
            parts.append(f"angle {self.angle:.1f}°")
        if self.counterweight is not None:
            parts.append(f"counterweight {self.counterweight:.1f} kg")
        if self.target is not None:
            parts.append(f"target {self.target:.1f} m")
        return "   ".join(parts)

    def outcome(self) -> str:
        if self.shot is None:
            return "loaded"
        if not self.shot.released:
            return "the sling never let go"
        if not self.shot.landed:
            return "never landed"
        distance = float(self.shot.distance)
        said = f"landed at {distance:.1f} m"
        if self.target is not None:
            miss = distance - self.target
            said += f", {abs(miss):.2f} m {'short' if miss < 0 else 'too far'}"
        flaws = {"thrown backwards": self.shot.backwards, "sling slack on the way": self.shot.slack}
        said_too = ", ".join(flaw for flaw, there in flaws.items() if there)
        return f"{said} ({said_too})" if said_too else said


class Motion:
    """A shot at any moment; heights are above the ground.

    end: s, the time of landing, or the last known moment.
    """

    def __init__(self, shot: Shot, trebuchet: Trebuchet) -> None:
        if shot.trajectory is None:
            raise ValueError("the shot has no trajectory to draw; fire it with shoot(..., trajectory=True)")
        if shot.trajectory.time.dim() != 1:
            raise ValueError(f"one shot can be drawn at a time, not a batch of {list(shot.trajectory.time.shape[1:])}")
        self.of = trebuchet.constants
        time, place, turned = (part.detach().cpu().numpy() for part in shot.trajectory)
        self.end = float(time[-1])
        self._lift_off, self._release = (min(float(when), self.end) for when in (shot.lift_off_time, shot.release_time))
        lift_off, release, landing = (
            np.asarray(known, float) if came else None
            for known, came in zip(
                (shot.lift_off, shot.release, shot.landing), (shot.lifted, shot.released, shot.landed), strict=True
            )
        )

        def rates(state: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
            return None if state is None else state[3:]

        self._slide = spline(time, turned, 0.0, self._lift_off, np.zeros(3), rates(lift_off))
        self._swing = spline(time, turned, self._lift_off, self._release, rates(lift_off), rates(release))
        start = None if release is None else np.array(mechanics.velocity(*turns(release[:3], release[3:]), self.of))
        self._flight = spline(time, place, self._release, self.end, start, None if landing is None else landing[2:])

    def turned(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, 3], the angles of beam, weight arm and sling in radians, at `times` [T]."""
        times = times.clip(0.0, self._release)
        return np.where((times < self._lift_off)[:, None], self._slide(times), self._swing(times))

    def ball(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """[T, 2], the projectile's places."""
        times = times.clip(0.0, self.end)
        a, c = turns(self.turned(times), np.zeros(3))
        thrown = np.stack(mechanics.place(a, c, self.of), 1)
        place: NDArray[np.float64] = np.where((times < self._release)[:, None], thrown, self._flight(times))
        place[:, 1] += self.of.h
        return place

    @cached_property
    def moments(self) -> NDArray[np.float64]:
        """Moments close enough for a smooth path: the throw is fast, and has half of them."""
        return np.union1d(np.linspace(0.0, self._release, 200), np.linspace(self._release, self.end, 200))


def spline(
    time: NDArray[np.float64],
    values: NDArray[np.float64],
    start: float,
    end: float,
    rate_then: NDArray[np.float64] | None,
    rate_at_end: NDArray[np.float64] | None,
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A spline through `values` [S, D] at `time` [S], from start to end. A rate [D] that is None is not known."""
    within = (time >= start - 1e-9) & (time <= end + 1e-9)
    time, values = time[within], values[within]
    new = np.diff(time, prepend=-math.inf) > 1e-12
    time, values = time[new], values[new]
    if len(time) < 2:  # the stage is over at once
        return lambda times: np.broadcast_to(values[0], (len(times), values.shape[1]))
    ends = tuple("not-a-knot" if rate is None else (1, rate) for rate in (rate_then, rate_at_end))
    through: Callable[[NDArray[np.float64]], NDArray[np.float64]] = CubicSpline(time, values, bc_type=ends)
    return through


def turns(turned: NDArray[np.float64], rates: NDArray[np.float64]) -> tuple[Turn, Turn]:
    """The turns of beam and sling."""
    return tuple(Turn(np.sin(turned[..., i]), np.cos(turned[..., i]), rates[..., i]) for i in (0, 2))  # type: ignore[return-value]


def at_rest(trebuchet: Trebuchet) -> NDArray[np.float64]:
    """[3], the angles of a loaded trebuchet."""
    return np.array([math.pi / 2 + math.asin(trebuchet.constants.h / trebuchet.constants.l), 0.0, 1.5 * math.pi])


class Machine(NamedTuple):
    """Points of the trebuchet, [2] each: x from the pivot, and the height."""

    tip: NDArray[np.float64]
    short_tip: NDArray[np.float64]
    weight: NDArray[np.float64]
    pouch: NDArray[np.float64]


def machine(turned: NDArray[np.float64], trebuchet: Trebuchet) -> Machine:
    of = trebuchet.constants
    a, b, c = (np.array([math.sin(angle), -math.cos(angle)]) for angle in turned)
    pivot = np.array([0.0, of.h])
    tip, short_tip = pivot - of.l * a, pivot + of.s * a
    return Machine(tip, short_tip, short_tip + of.w * b, tip - of.e * c)


def scene_of(
    wind: float,
    angle: float | None,
    counterweight: float | None,
    target: float | None,
    trebuchet: Trebuchet,
    shot: Shot | None,
    earlier: Sequence[float],
) -> Scene:
    if not all(isinstance(value, float) for value in trebuchet.constants):
        raise ValueError("a trebuchet can be drawn whose dimensions are numbers, not tensors")
    if shot is None and angle is not None and counterweight is not None:
        with torch.no_grad():
            shot = shoot(wind, angle, counterweight, trebuchet=trebuchet, trajectory=True)
    elif shot is None and (angle is None) != (counterweight is None):
        raise ValueError("firing takes an angle and a counterweight; one of the two is missing")
    for name, value in (("wind", wind), ("target", target)):
        if value is not None and not math.isfinite(value):
            raise ValueError(f"the {name} must be a finite number, not {value}")
    return Scene(wind, angle, counterweight, target, trebuchet, shot, earlier)
