"""Two terms of the trebuchet's equations to learn from observed shots with `alphazero.dynamics`.

`drag`: how the air slows the projectile is unknown; flights are observed. The truth is k |v| v.
`gravity`: the torque of gravity on the arm is unknown (the terms of r1 that the talk hides); throws are observed, from
lift-off to release. The truth has sin A, W sin A, W sin B and sin C, with the counterweight W in kg.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.dynamics.equations import Candidate, Case
from alphazero.dynamics.trajectories import observe
from alphazero.dynamics.ude import DiscoveryError, Incomplete, Observed, Term, follow
from games.trebuchet import mechanics, solver
from games.trebuchet.game import COUNTERWEIGHTS, truncated_normal
from games.trebuchet.mechanics import Aim, Constants
from games.trebuchet.physics import DEFAULT, Shot, Trebuchet, shoot
from games.trebuchet.solver import Terms

MOMENTS = 50  # of a trajectory
UNSEEN = 9  # moments between release and landing, if nothing else is observed
SUBSTEPS = 10  # of integration, between two moments: trajectories are then good to 1e-8


class Settings(NamedTuple):
    """Settings of B shots, float64: wind [B] m/s, angle [B] degrees, counterweight [B] kg."""

    wind: Tensor
    angle: Tensor
    counterweight: Tensor


def draw(count: int, generator: torch.Generator) -> Settings:
    """Settings that people would try: winds of the truncated normal distribution, 20 to 70 degrees, all weights."""
    wind, angle, counterweight = torch.rand(3, count, generator=generator, dtype=torch.float64)
    low, high = COUNTERWEIGHTS
    return Settings(truncated_normal(wind), 20 + 50 * angle, low + (high - low) * counterweight)


def observe_flights(
    settings: Settings, noise: float, generator: torch.Generator, *, trebuchet: Trebuchet = DEFAULT
) -> Observed:
    """Flights from release to landing: x and y in m, and their velocity. `given` is the wind.

    noise: standard deviation of the errors, as a part of each coordinate's root mean square.
    """
    of, shot = trebuchet.constants, _fired(settings, trebuchet)
    a, _, c = solver.turns(shot.release.T)
    start = torch.stack([*mechanics.place(a, c, of), *mechanics.velocity(a, c, of)])
    start[2] -= settings.wind
    times = _moments(shot.landing_time - shot.release_time)
    states = follow(solver.flying(of, Terms()).rates, start, times, substeps=SUBSTEPS).movedim(2, 0)
    states[..., 0] += settings.wind[:, None] * times
    states[..., 2] += settings.wind[:, None]
    return observe(times, states, settings.wind[:, None], noise, generator)


def observe_throws(
    settings: Settings, noise: float, generator: torch.Generator, *, trebuchet: Trebuchet = DEFAULT
) -> Observed:
    """Throws from lift-off to release: angles A, B and C in radians, and their rates. `given` is the counterweight."""
    shot = _fired(settings, trebuchet)
    aim = _aim(settings.counterweight)
    times = _moments(shot.release_time - shot.lift_off_time)
    rates = solver.swinging(aim, trebuchet.constants, Terms()).rates
    states = follow(rates, shot.lift_off.T, times, substeps=SUBSTEPS).movedim(2, 0)
    return observe(times, states, settings.counterweight[:, None], noise, generator)


def ends(observed: Observed) -> Observed:
    """Flights of which only the release and the time and place of landing were observed: no velocity there.

    Moments between are kept for the solver's steps, with infinite noise.
    """
    share = torch.linspace(0, 1, UNSEEN + 2, dtype=torch.float64)
    states = torch.zeros(len(observed.times), len(share), observed.states.shape[2], dtype=torch.float64)
    noise = torch.full_like(states, torch.inf)
    states[:, 0], noise[:, 0] = observed.states[:, 0], observed.noise[:, 0]
    states[:, -1, :2], noise[:, -1, :2] = observed.states[:, -1, :2], observed.noise[:, -1, :2]
    first, last = observed.times[:, :1], observed.times[:, -1:]
    return Observed(first + share * (last - first), states, observed.given, noise)


def _fired(settings: Settings, trebuchet: Trebuchet) -> Shot:
    shot = shoot(*settings, trebuchet=trebuchet)
    failed = (~shot.landed).nonzero()
    if len(failed):
        number = int(failed[0])
        wind, angle, counterweight = (value[number].item() for value in settings)
        raise DiscoveryError(
            f"shot {number} fails (wind {wind:g} m/s, {angle:g} degrees, {counterweight:g} kg): nothing to observe"
        )
    return shot


def _aim(counterweight: Tensor) -> Aim:
    """The aim for the equations of the throw, which do not depend on the angle of release."""
    return Aim(counterweight, torch.zeros_like(counterweight), torch.ones_like(counterweight))


def _moments(duration: Tensor) -> Tensor:
    return duration[:, None] * torch.linspace(0, 1, MOMENTS, dtype=torch.float64)


def drag(trebuchet: Trebuchet = DEFAULT) -> Case:
    """The deceleration in flight, [2, B] m/s^2, by the velocity through the air, [2, B] m/s."""
    of = trebuchet.constants

    def rates(value: Tensor, y: Tensor, given: Tensor) -> Tensor:
        """Rates of x, y and their velocity; the equations of flight are for the velocity through the air."""
        flight = solver.flying(of, Terms(drag=lambda u, v: (value[0], value[1])))
        return torch.cat([y[2:], flight.rates(y)[2:]])

    def speed(v: Tensor) -> Tensor:
        return v.square().sum(0).clamp(min=1e-300).sqrt()

    def turned(v: Tensor) -> Tensor:
        return torch.stack([-v[1], v[0]])

    def x(value: Tensor) -> Tensor:
        return torch.stack([value, torch.zeros_like(value)])

    def y(value: Tensor) -> Tensor:
        return torch.stack([torch.zeros_like(value), value])

    library = (
        Candidate(r"\vec e_x", lambda v: x(torch.ones_like(v[0]))),
        Candidate(r"\vec e_y", lambda v: y(torch.ones_like(v[0]))),
        Candidate(r"\vec v / |v|", lambda v: v / speed(v)),
        Candidate(r"\vec v", lambda v: v),
        Candidate(r"|v|\,\vec v", lambda v: speed(v) * v),
        Candidate(r"|v|^2\,\vec v", lambda v: speed(v) ** 2 * v),
        Candidate(r"\vec v_\perp", turned),
        Candidate(r"|v|\,\vec v_\perp", lambda v: speed(v) * turned(v)),
        Candidate(r"v_x\,\vec e_x", lambda v: x(v[0])),
        Candidate(r"v_x^2\,\vec e_x", lambda v: x(v[0].square())),
        Candidate(r"v_x^2\,\vec e_y", lambda v: y(v[0].square())),
        Candidate(r"v_x v_y\,\vec e_x", lambda v: x(v[0] * v[1])),
        Candidate(r"|v_x| v_x\,\vec e_x", lambda v: x(v[0].abs() * v[0])),
        Candidate(r"|v_y| v_y\,\vec e_y", lambda v: y(v[1].abs() * v[1])),
    )
    return Case(
        name="drag",
        symbol=r"\vec a",
        unit="m/s²",
        states=("x, m", "y, m", "x', m/s", "y', m/s"),
        given=("wind, m/s",),
        incomplete=Incomplete(lambda y, given: torch.stack([y[2] - given[0], y[3]]), rates, outputs=2, scale=10.0),
        library=library,
        pieces=3,
        truth=lambda v: of.k * speed(v) * v,
    )


def with_drag(term: Term) -> Terms:
    """Terms to shoot with, with this one in place of the drag."""

    def drag(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        x, y = term(torch.stack([u, v]))
        return x, y

    return Terms(drag=drag)


def gravity(trebuchet: Trebuchet = DEFAULT) -> Case:
    """The torque on the arm, [1, B] N m, by A, B and C in radians and the counterweight in kg, [4, B]."""
    of: Constants = trebuchet.constants

    def rates(value: Tensor, y: Tensor, given: Tensor) -> Tensor:
        terms = Terms(gravity=lambda a, b, c, weight: value[0])
        return solver.swinging(_aim(given[0]), of, terms).rates(y)

    def truth(inputs: Tensor) -> Tensor:
        """The part of r1 in the published equations that comes from beam, projectile and counterweight."""
        a, b, c, weight = inputs
        beam, ball = of.moment * a.sin(), of.m * (of.l * a.sin() + of.e * c.sin())
        torque: Tensor = of.g * (beam + ball - weight * (of.s * a.sin() + of.w * b.sin()))
        return torque[None]

    def candidate(name: str, value: Callable[..., Tensor]) -> Candidate:
        return Candidate(name, lambda inputs: value(*inputs[:3])[None])

    of_angles = [
        candidate("1", lambda a, b, c: torch.ones_like(a)),
        candidate(r"\sin A", lambda a, b, c: a.sin()),
        candidate(r"\cos A", lambda a, b, c: a.cos()),
        candidate(r"\sin B", lambda a, b, c: b.sin()),
        candidate(r"\cos B", lambda a, b, c: b.cos()),
        candidate(r"\sin C", lambda a, b, c: c.sin()),
        candidate(r"\cos C", lambda a, b, c: c.cos()),
        candidate(r"\sin 2A", lambda a, b, c: (2 * a).sin()),
        candidate(r"\sin(A-B)", lambda a, b, c: (a - b).sin()),
        candidate(r"\sin(A-C)", lambda a, b, c: (a - c).sin()),
    ]

    def times_weight(one: Candidate) -> Candidate:
        name = "W" if one.name == "1" else rf"W {one.name}"
        return Candidate(name, lambda inputs: inputs[3] * one.value(inputs))

    return Case(
        name="gravity",
        symbol=r"\tau",
        unit="N m",
        states=("A", "B", "C", "A', 1/s", "B', 1/s", "C', 1/s"),
        given=("W, kg",),
        incomplete=Incomplete(lambda y, given: torch.cat([y[:3], given]), rates, outputs=1, scale=300.0),
        library=(*of_angles, *map(times_weight, of_angles)),
        pieces=3,
        truth=truth,
    )


def with_gravity(term: Term) -> Terms:
    """Terms to shoot with, with this one in place of gravity's torque."""
    return Terms(gravity=lambda a, b, c, weight: term(torch.stack([a, b, c, weight]))[0])
