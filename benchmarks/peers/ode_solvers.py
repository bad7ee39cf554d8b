"""The default trebuchet's shot by other solvers, with our equations: SciPy, torchdiffeq and diffrax.

Angles in degrees, counterweights in kg, as in `shoot`. TOLERANCE is the loosest power of ten with which the
distances of all three are good to 1e-4 m; ours are good to 1e-7, so the comparison favours the others. torchdiffeq
and diffrax need the extra `peers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from games.trebuchet import Trebuchet, mechanics
from games.trebuchet.mechanics import LONGEST_FLIGHT, PATIENCE, Real, Turn

OF = Trebuchet().constants
UNIT = math.sqrt(OF.l / OF.g)
TILT = math.asin(OF.h / OF.l)
START = (math.pi / 2 + TILT, 0.0, 1.5 * math.pi, 0.0, 0.0, 0.0)
TOLERANCE = 1e-7

Answer = tuple[NDArray[Any], NDArray[Any]]  # distances [...], and their gradients [..., 3]


class Physics:
    """The stages of a shot, in the functions of math, of torch, or of jax.numpy. y: angles and rates, or in flight."""

    def __init__(self, functions: ModuleType) -> None:
        self.functions = functions

    def turns(self, y: Any) -> tuple[Turn, Turn, Turn]:
        sin, cos = self.functions.sin, self.functions.cos
        a, b, c = (Turn(sin(y[i]), cos(y[i]), y[i + 3]) for i in range(3))
        return a, b, c

    def sliding(self, y: Any, weight: Real) -> list[Real]:
        return [*y[3:6], *mechanics.sliding(*self.turns(y), weight, OF)]

    def swinging(self, y: Any, weight: Real) -> list[Real]:
        return [*y[3:6], *mechanics.swinging(*self.turns(y), weight, OF)]

    def flying(self, y: Any) -> list[Real]:
        u, v = y[2], y[3]
        return [u, v, *mechanics.flying(u, v, self.functions.hypot(u, v), OF)]

    def on_ground(self, y: Any, weight: Real) -> Real:
        a, b, c = self.turns(y)
        a_dot, _, c_dot = mechanics.sliding(a, b, c, weight, OF)
        return mechanics.forces_sliding(c, mechanics.acceleration(a, c, a_dot, c_dot, OF)[0], OF)[0]

    def off_direction(self, y: Any, angle: Real) -> Real:
        """angle: in radians."""
        a, _, c = self.turns(y)
        u, v = mechanics.velocity(a, c, OF)
        return self.functions.sin(angle) * u - self.functions.cos(angle) * v

    def height(self, y: Any) -> Real:
        return y[1] + OF.h

    def released(self, y: Any, wind: Real) -> list[Real]:
        """The flight's state at its start."""
        a, _, c = self.turns(y)
        (x, height), (u, v) = mechanics.place(a, c, OF), mechanics.velocity(a, c, OF)
        return [x, height, u - wind, v]


def scipy_shot(wind: float, angle: float, counterweight: float) -> float:
    """The distance, by DOP853, with equations on floats."""
    physics, radians = Physics(math), math.radians(angle)

    def solve(rates: Callable[[Any], Any], event: Callable[[Any], float], y: Sequence[float], limit: float) -> Any:
        def ending(t: float, y: NDArray[Any]) -> float:
            return event(y.tolist())

        ending.terminal = True  # type: ignore[attr-defined]
        return solve_ivp(
            lambda t, y: rates(y.tolist()),
            (0.0, limit),
            np.array(y),
            method="DOP853",
            events=ending,
            rtol=TOLERANCE,
            atol=TOLERANCE,
        )

    patience = PATIENCE * UNIT
    slide = solve(
        lambda y: physics.sliding(y, counterweight), lambda y: physics.on_ground(y, counterweight), START, patience
    )
    swing = solve(
        lambda y: physics.swinging(y, counterweight),
        lambda y: physics.off_direction(y, radians),
        slide.y[:, -1],
        patience,
    )
    flight = solve(physics.flying, physics.height, physics.released(swing.y[:, -1].tolist(), wind), LONGEST_FLIGHT)
    return float(flight.y[0, -1] + wind * flight.t[-1])


def torchdiffeq_shot(wind: float, angle: float, counterweight: float) -> Answer:
    """A shot by odeint_event, differentiated through the solver."""
    from torchdiffeq import odeint_event

    physics = Physics(torch)
    inputs = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (wind, angle, counterweight)]
    blows, degrees, weight = inputs

    def solve(rates: Callable[[Any], Any], event: Callable[[Any], Any], y: torch.Tensor) -> Any:
        time, states = odeint_event(
            lambda t, y: torch.stack(rates(y)),
            y,
            torch.zeros((), dtype=torch.float64),
            event_fn=lambda t, y: event(y),
            method="dopri5",
            rtol=TOLERANCE,
            atol=TOLERANCE,
        )
        return time, states[-1]

    start = torch.tensor(START, dtype=torch.float64)
    _, lifted = solve(lambda y: physics.sliding(y, weight), lambda y: physics.on_ground(y, weight), start)
    # The derivative of the time of an event knows the state only, so the angle must be part of that.
    _, let_go = solve(
        lambda y: [*physics.swinging(y, weight), torch.zeros_like(y[6])],
        lambda y: physics.off_direction(y, y[6]),
        torch.cat([lifted, degrees.deg2rad()[None]]),
    )
    time, landed = solve(physics.flying, physics.height, torch.stack(physics.released(let_go, blows)))
    distance = landed[0] + blows * time
    gradient = torch.stack(torch.autograd.grad(distance, inputs))
    return distance.detach().numpy(), gradient.numpy()


def diffrax_shots() -> Callable[..., Answer]:
    """A batch of shots by Tsit5, in float64; forward differentiation was faster here than reverse."""
    import diffrax
    import jax
    import jax.numpy as jnp
    import optimistix

    jax.config.update("jax_enable_x64", True)
    physics = Physics(jnp)

    def solve(
        rates: Callable[..., Any], event: Callable[..., Any], y: Any, about: Any, first: float, limit: float
    ) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, about: jnp.stack(rates(y, *about))),
            diffrax.Tsit5(),
            0.0,
            limit,
            first,
            y,
            about,
            stepsize_controller=diffrax.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
            event=diffrax.Event(lambda t, y, args, **_: event(y, *args), optimistix.Newton(rtol=1e-10, atol=1e-10)),
            adjoint=diffrax.ForwardMode(),
        )
        return solution.ts[-1], solution.ys[-1]

    def distance(wind: Any, angle: Any, weight: Any) -> Any:
        radians, patience = jnp.deg2rad(angle), PATIENCE * UNIT
        _, y = solve(physics.sliding, physics.on_ground, jnp.array(START), (weight,), UNIT / 20, patience)
        _, y = solve(
            lambda y, weight, _: physics.swinging(y, weight),
            lambda y, _, radians: physics.off_direction(y, radians),
            y,
            (weight, radians),
            UNIT / 20,
            patience,
        )
        start = jnp.stack(physics.released(y, wind))
        time, y = solve(physics.flying, physics.height, start, (), UNIT, LONGEST_FLIGHT)
        return y[0] + wind * time

    def with_gradient(*inputs: Any) -> Any:
        directions = tuple(jnp.eye(3))
        return jax.vmap(lambda *along: jax.jvp(distance, inputs, along), out_axes=(None, 0))(*directions)

    compiled = jax.jit(jax.vmap(with_gradient))

    def shots(winds: NDArray[Any], angles: NDArray[Any], counterweights: NDArray[Any]) -> Answer:
        distances, gradients = jax.block_until_ready(compiled(winds, angles, counterweights))
        return np.asarray(distances), np.asarray(gradients)

    return shots
