"""A shot of the trebuchet, which can be differentiated by everything it depends on.

    shot = shoot(wind=5.0, angle=45.0, counterweight=44.5)      in m/s, degrees and kg
    shot.distance                                               78.8 m

The projectile slides on the ground, swings in the sling, and flies with quadratic drag in the wind (`mechanics`).
Lift-off, release and landing are found as roots, and derivatives account for how their times change.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from games.trebuchet import mechanics, solver
from games.trebuchet.mechanics import AT, LENGTH, Aim, Constants, Real
from games.trebuchet.solver import Terms

FOOT, POUND = 0.3048, 0.45359237  # in m and kg
STEEPEST = 90.0  # degrees
SMALL = 256  # shots: fewer are not worth a second thread
MAY_BE_0 = {"beam_mass", "beam_inertia", "weight_inertia", "air_density", "drag_coefficient"}


def _all(value: Real, holds: Callable[[float], bool]) -> bool:
    return all(map(holds, value.flatten().tolist())) if isinstance(value, Tensor) else holds(value)


@dataclass(frozen=True)
class Trebuchet:
    """Dimensions, in m, kg and s; numbers, or tensors to differentiate by. The defaults are those of Trebuchet.jl.

    beam_inertia: about its centre of mass, in its middle; None: that of a thin rod.
    ValueError if it cannot be built.
    """

    pivot_height: Real = 5.0 * FOOT
    long_arm: Real = 6.792 * FOOT
    short_arm: Real = 1.75 * FOOT
    weight_arm: Real = 2.0 * FOOT
    sling: Real = 6.833 * FOOT
    projectile_mass: Real = 0.328 * POUND
    projectile_radius: Real = 0.1245 * FOOT
    beam_mass: Real = 10.65 * POUND
    beam_inertia: Real | None = None
    weight_inertia: Real = POUND * FOOT**2
    gravity: Real = 9.80665
    air_density: Real = 1.0
    drag_coefficient: Real = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, may_be_0 = getattr(self, field.name), field.name in MAY_BE_0
            if value is None and field.name == "beam_inertia":
                continue
            if not _all(value, math.isfinite) or not _all(value, (0.0).__le__ if may_be_0 else (0.0).__lt__):
                least = "from" if may_be_0 else "above"
                raise ValueError(f"trebuchet: {field.name} must be a finite number {least} 0, not {value}")
        if not _all(self.pivot_height / self.long_arm, lambda ratio: ratio < 1):
            raise ValueError(
                f"trebuchet: the long arm ({self.long_arm} m) must reach from the pivot to the ground; "
                f"pivot_height is {self.pivot_height} m"
            )

    @cached_property
    def constants(self) -> Constants:
        """The constants of the equations of motion."""
        length, centre = self.long_arm + self.short_arm, (self.long_arm - self.short_arm) / 2
        inertia = self.beam_mass * length**2 / 12 if self.beam_inertia is None else self.beam_inertia
        area = math.pi * self.projectile_radius**2
        constants = Constants(
            h=self.pivot_height,
            l=self.long_arm,
            s=self.short_arm,
            w=self.weight_arm,
            e=self.sling,
            m=self.projectile_mass,
            beam=inertia + self.beam_mass * centre**2,
            hung=self.weight_inertia,
            moment=self.beam_mass * centre,
            g=self.gravity,
            k=self.air_density * self.drag_coefficient * area / (2 * self.projectile_mass),
        )
        return Constants(*(value if isinstance(value, Tensor) else float(value) for value in constants))


DEFAULT = Trebuchet()


class Trajectory(NamedTuple):
    """A shot in S + 1 moments, those of the throw first; what comes after the end repeats it.

    time: [S + 1, ...] s. projectile: [S + 1, ..., 2], x and y in m from the pivot.
    turned: [S + 1, ..., 3], the angles of beam, weight arm and sling (see `mechanics`), in radians; after the release
    as they were then.
    """

    time: Tensor
    projectile: Tensor
    turned: Tensor


class Shot(NamedTuple):
    """The outcome of a shot: numbers and bools, or tensors of the batch's shape, [...].

    distance: m from the pivot; of a shot that has not landed, where the projectile was last.
    lift_off_time, release_time, landing_time: s; inf for what never came.
    lift_off, release: [..., 6], angles of beam, weight arm and sling in radians and their rates; 0 if it never came.
    landing: [..., 4], x, y, and velocity.
    lifted, released, landed: whether it came to that. A shot is good if it has landed.
    slack: whether the sling was loose at some moment before the release: then the equations did not hold any more.
    backwards: whether it was thrown to the left.
    trajectory: if it was asked for.
    """

    distance: Real
    lift_off_time: Real
    release_time: Real
    landing_time: Real
    lift_off: Real
    release: Real
    landing: Real
    lifted: Real
    released: Real
    landed: Real
    slack: Real
    backwards: Real
    trajectory: Trajectory | None = None


class Gradient(NamedTuple):
    """The gradient of the distance: m per m/s, per degree, and per kg."""

    wind: float
    angle: float
    counterweight: float


def shoot(
    wind: Real,
    angle: Real,
    counterweight: Real,
    *,
    trebuchet: Trebuchet = DEFAULT,
    terms: Terms | None = None,
    trajectory: bool = False,
) -> Shot:
    """Fires: wind along the throw in m/s, angle of release above the horizon in degrees, counterweight in kg.

    Numbers make a shot of numbers, fast. Otherwise it is one of float64 tensors, which can be differentiated: if only
    these three are tensors, on the CPU, the distance by them, fast; everything by everything if the trebuchet has
    tensors, a term is replaced, the trajectory is asked for, or the tensors are elsewhere. A shot that fails is
    flagged, and its derivatives are finite.

    ValueError for numbers that are not finite, an angle beyond 90 degrees, a counterweight of 0 or less.
    """
    check(wind, angle, counterweight)
    plain = all(isinstance(value, float) for value in trebuchet.constants) and terms is None and not trajectory
    tensors = [value for value in (wind, angle, counterweight) if isinstance(value, Tensor)]
    if plain and not tensors:
        return _shot_of(_fire(wind, angle, counterweight, trebuchet, gradient=False))
    device = tensors[0].device if tensors else torch.device("cpu")
    wind, angle, counterweight = torch.broadcast_tensors(
        *(torch.as_tensor(value, dtype=torch.float64, device=device) for value in (wind, angle, counterweight))
    )
    if plain and device.type == "cpu":
        distance, record = _fired(wind, angle, counterweight, trebuchet)
        return _shot_of(record)._replace(distance=distance)
    shot = _solve(wind, angle, counterweight, trebuchet, terms or Terms())
    return shot if trajectory else shot._replace(trajectory=None)


def shoot_with_gradient(
    wind: float, angle: float, counterweight: float, *, trebuchet: Trebuchet = DEFAULT
) -> tuple[Shot, Gradient]:
    """`shoot` for numbers, with the gradient of the distance, which is 0 if the shot fails."""
    check(wind, angle, counterweight)
    record = _fire(wind, angle, counterweight, trebuchet, gradient=True)
    by_wind, by_radian, by_kg = record[AT.gradient :].tolist()
    return _shot_of(record), Gradient(by_wind, math.radians(by_radian), by_kg)


def check(wind: Real, angle: Real, counterweight: Real) -> None:
    """ValueError if a shot cannot be fired so."""
    if not _all(wind, math.isfinite):
        raise ValueError(f"the wind must be a finite number of m/s, not {wind}")
    if not _all(angle, lambda degrees: abs(degrees) <= STEEPEST):
        raise ValueError(f"the angle of release must be from -90 to 90 degrees, not {angle}")
    if not _all(counterweight, lambda kg: 0 < kg < math.inf):
        raise ValueError(f"the counterweight must be a finite number of kg above 0, not {counterweight}")


def _fire(wind: float, angle: float, counterweight: float, trebuchet: Trebuchet, *, gradient: bool) -> np.ndarray:
    record = np.empty(LENGTH)
    mechanics.shot(float(wind), math.radians(angle), float(counterweight), trebuchet.constants, gradient, record)
    return record


def _shot_of(record: Any) -> Shot:
    """The shots of a record, an array or a tensor [..., LENGTH]."""
    one = record.ndim == 1

    def field(start: int, length: int) -> Any:
        part = record[..., start : start + length]
        return part if length > 1 else part[0].item() if one else part[..., 0]

    ended = field(AT.ended, 1)
    return Shot(
        distance=field(AT.distance, 1),
        lift_off_time=field(AT.lift_off_time, 1),
        release_time=field(AT.release_time, 1),
        landing_time=field(AT.landing_time, 1),
        lift_off=field(AT.lift_off, 6),
        release=field(AT.release, 6),
        landing=field(AT.landing, 4),
        lifted=ended >= 1,
        released=ended >= 2,
        landed=ended >= 3,
        slack=field(AT.tension, 1) < 0,
        backwards=field(AT.backwards, 1) > 0,
    )


class _Fired(torch.autograd.Function):
    """Shots of a plain trebuchet on the CPU: their distances, which can be differentiated once, and their records."""

    @staticmethod
    def forward(
        ctx: Any, wind: Tensor, angle: Tensor, counterweight: Tensor, trebuchet: Trebuchet
    ) -> tuple[Tensor, Tensor]:
        gradient = any(ctx.needs_input_grad)
        shape = wind.shape
        inputs = [value.detach().reshape(-1).numpy() for value in (wind, angle.deg2rad(), counterweight)]
        record = np.empty((len(inputs[0]), LENGTH))
        threads = max(1, min(torch.get_num_threads(), len(record) // SMALL))
        cuts = np.linspace(0, len(record), threads + 1).astype(int)

        def fire(number: int) -> None:
            rows = slice(cuts[number], cuts[number + 1])
            mechanics.shots(*(value[rows] for value in inputs), trebuchet.constants, gradient, record[rows])

        if threads == 1:
            fire(0)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(fire, range(threads)))
        record[:, AT.gradient + 1] *= math.pi / 180
        records = torch.from_numpy(record).view(*shape, LENGTH)
        ctx.save_for_backward(records)
        ctx.mark_non_differentiable(records)
        return records[..., AT.distance].clone(), records

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (records,) = ctx.saved_tensors
        by_inputs = gradients[0][..., None] * records[..., AT.gradient :]
        return *by_inputs.unbind(-1), None


_fired: Callable[[Tensor, Tensor, Tensor, Trebuchet], tuple[Tensor, Tensor]] = _Fired.apply


def _solve(wind: Tensor, angle: Tensor, counterweight: Tensor, trebuchet: Trebuchet, terms: Terms) -> Shot:
    """Shots by `solver`: everything can be differentiated, and there is a trajectory."""
    shape, of = wind.shape, trebuchet.constants
    wind, angle, counterweight = wind.reshape(-1), angle.reshape(-1).deg2rad(), counterweight.reshape(-1)
    aim = Aim(counterweight, angle.sin(), angle.cos())
    unit = solver.unit(of).to(wind.device) + torch.zeros_like(wind)
    tilt = torch.as_tensor(of.h / of.l, dtype=torch.float64, device=wind.device).asin()
    nothing = torch.zeros_like(wind)
    y = torch.stack([math.pi / 2 + tilt + nothing, nothing, 1.5 * math.pi + nothing, nothing, nothing, nothing])
    alive = torch.ones_like(wind, dtype=torch.bool)
    slide = solver.integrate(solver.sliding(aim, of), y, unit / 10, alive)
    swing = solver.integrate(solver.swinging(aim, of, terms), slide.state, unit / 20, slide.ended)
    a, _, c = solver.turns(swing.state)
    (x, height), (u, v) = mechanics.place(a, c, of), mechanics.velocity(a, c, of)
    flight = solver.integrate(solver.flying(of, terms), torch.stack([x, height, u - wind, v]), unit, swing.ended)
    flown = torch.where(flight.ended, flight.time, flight.times[-1])
    distance = flight.state[0] + wind * flown
    landing = torch.stack([distance, flight.state[1], flight.state[2] + wind, flight.state[3]])

    def shaped(value: Tensor) -> Tensor:
        """From [..., B] to [..., *shape of the batch]."""
        return value.reshape((*value.shape[:-1], *shape))

    def last(value: Tensor, real: Tensor) -> Tensor:
        value = torch.where(real, value, 0.0)
        return shaped(value).movedim(0, -1)

    throw = torch.cat([slide.states, swing.states])
    a, _, c = solver.turns(throw.movedim(1, 0))
    air = torch.stack([flight.states[:, 0] + wind * flight.times, flight.states[:, 1]], 1)
    times = [slide.times, slide.times[-1] + swing.times, slide.times[-1] + swing.times[-1] + flight.times]
    turned = torch.cat([throw[:, :3], swing.state[:3].expand(len(air), -1, -1)])
    return Shot(
        distance=shaped(torch.where(flight.ended, distance, distance.detach())),
        lift_off_time=shaped(slide.time),
        release_time=shaped(slide.time + swing.time),
        landing_time=shaped(slide.time + swing.time + flight.time),
        lift_off=last(slide.state, slide.ended),
        release=last(swing.state, swing.ended),
        landing=last(landing, flight.ended),
        lifted=shaped(slide.ended),
        released=shaped(swing.ended),
        landed=shaped(flight.ended),
        slack=shaped(torch.minimum(slide.tension, swing.tension) < 0),
        backwards=shaped((u < 0) & swing.ended),
        trajectory=Trajectory(
            time=shaped(torch.cat(times)),
            projectile=shaped(torch.cat([torch.stack(mechanics.place(a, c, of), 1), air])).movedim(1, -1),
            turned=shaped(turned).movedim(1, -1),
        ),
    )
