"""Shots in torch: whole batches, on any device, differentiated by anything; a term may be replaced by a network.

The method is that of `mechanics`, with a step size for each shot. The end of a stage is found without recording; then
the accepted steps are taken once more for torch to differentiate. One step of Newton's method on the
time of the end adds nothing to it but its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from games.trebuchet import mechanics
from games.trebuchet.mechanics import (
    E3,
    E5,
    LONGEST_FLIGHT,
    MOST_STEPS,
    PATIENCE,
    TOLERANCE,
    A,
    B,
    Constants,
    Real,
    Turn,
)

ROOT_STEPS = 12  # of regula falsi with the Illinois rule: eight are enough for all digits
MOST_RECORDED = 256  # shots whose steps autograd records whole; those of more shots are done again for derivatives


class Terms(NamedTuple):
    """Functions in place of terms of the equations; None: the term itself.

    drag:    deceleration in flight, (x, y) in m/s^2, by the velocity through the air, u and v [B] in m/s.
    gravity: torque of gravity on the arm while the projectile swings, all else turning with it, in N m, by the angles
             A, B and C and the counterweight in kg, [B]. (It stands in r1 of the published equations.)
    """

    drag: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    gravity: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] | None = None


class Stage(NamedTuple):
    """A part of the shot.

    rates: of a state [N, B]. ending: of a state and its rates, [B], changes its sign when the stage ends.
    tension: of the same, [B], the sling's force on the projectile's mass. limit: s, after which it does not end.
    at_start: the value of `ending` at the start, where rounding may change its sign (see `mechanics.advance`).
    """

    rates: Callable[[Tensor], Tensor]
    ending: Callable[[Tensor, Tensor], Tensor]
    tension: Callable[[Tensor, Tensor], Tensor]
    limit: Tensor
    at_start: Callable[[Tensor], Tensor]


class End(NamedTuple):
    """The end of a stage, for B shots.

    state: [N, B]. time: [B] s since its start, inf where it did not end. ended: [B] bool. tension: [B], the least.
    times, states: [S + 1, B] and [S + 1, N, B] of all steps; those after the end repeat it.
    """

    state: Tensor
    time: Tensor
    ended: Tensor
    tension: Tensor
    times: Tensor
    states: Tensor


def sliding(aim: mechanics.Aim, of: Constants) -> Stage:
    def rates(y: Tensor) -> Tensor:
        return torch.stack([*y[3:], *mechanics.sliding(*turns(y), aim.weight, of)])

    def forces(y: Tensor, dy: Tensor) -> tuple[Real, Real]:
        a, _, c = turns(y)
        return mechanics.forces_sliding(c, mechanics.acceleration(a, c, dy[3], dy[5], of)[0], of)

    def ground(y: Tensor, dy: Tensor) -> Real:
        return forces(y, dy)[0]

    return Stage(rates, ground, lambda y, dy: forces(y, dy)[1], PATIENCE * unit(of), lambda y: ground(y, rates(y)))


def swinging(aim: mechanics.Aim, of: Constants, terms: Terms) -> Stage:
    def rates(y: Tensor) -> Tensor:
        a, b, c = turns(y)
        torque: Real = 0.0
        if terms.gravity is not None:
            known = (
                (of.moment + of.m * of.l - aim.weight * of.s) * a.sin + of.m * of.e * c.sin - aim.weight * of.w * b.sin
            )
            torque = terms.gravity(y[0], y[1], y[2], aim.weight) - of.g * known
        return torch.stack([*y[3:], *mechanics.swinging(a, b, c, aim.weight, of, torque)])

    def across(y: Tensor, dy: Tensor) -> Real:
        a, _, c = turns(y)
        u, v = mechanics.velocity(a, c, of)
        return aim.sin * u - aim.cos * v

    def tension(y: Tensor, dy: Tensor) -> Real:
        a, _, c = turns(y)
        return mechanics.force_swinging(c, *mechanics.acceleration(a, c, dy[3], dy[5], of), of)

    def at_start(y: Tensor) -> Tensor:
        a, _, c = turns(y)
        return torch.where(aim.sin == 0, -1e-9, aim.sin * mechanics.velocity(a, c, of)[0])

    return Stage(rates, across, tension, PATIENCE * unit(of), at_start)


def flying(of: Constants, terms: Terms) -> Stage:
    def rates(y: Tensor) -> Tensor:
        u, v = y[2], y[3]
        if terms.drag is None:
            speed = (u * u + v * v).clamp(min=1e-300).sqrt()
            return torch.stack([u, v, *mechanics.flying(u, v, speed, of)])
        slowed, sunk = terms.drag(u, v)
        return torch.stack([u, v, -slowed, -of.g - sunk])

    return Stage(
        rates,
        lambda y, dy: y[1] + of.h,
        lambda y, dy: torch.full_like(y[0], torch.inf),
        torch.tensor(LONGEST_FLIGHT, dtype=torch.float64),
        lambda y: (y[1] + of.h).clamp(min=0.0),
    )


def turns(y: Tensor) -> tuple[Turn, Turn, Turn]:
    sin, cos = y[:3].sin(), y[:3].cos()
    return Turn(sin[0], cos[0], y[3]), Turn(sin[1], cos[1], y[4]), Turn(sin[2], cos[2], y[5])


def unit(of: Constants) -> Tensor:
    """The time that is natural for the throw, s."""
    return torch.as_tensor(of.l / of.g, dtype=torch.float64).sqrt()


def method_step(rates: Callable[[Tensor], Tensor], y: Tensor, h: Tensor) -> tuple[Tensor, list[Tensor]]:
    """A step of DOP853 of length h [B]; also the derivatives within it, for `error`."""
    k = [rates(y)]
    for row in A[1:]:
        k.append(rates(y + h * _mix(row, k)))
    return y + h * _mix(B, k), k


def _mix(weights: tuple[float, ...], k: list[Tensor]) -> Tensor:
    total = torch.zeros_like(k[0])
    for weight, one in zip(weights, k, strict=True):
        if weight:
            total = total + weight * one
    return total


def error(y: Tensor, new: Tensor, h: Tensor, k: list[Tensor]) -> Tensor:
    """[B], the error of a step over the tolerance: the norm of Hairer, Norsett and Wanner, II.10."""
    scale = TOLERANCE * (1 + torch.maximum(y.abs(), new.abs()))
    fifth, third = ((_mix(weights, k) / scale).square().sum(0) for weights in (E5, E3))
    return h * fifth / (len(y) * (fifth + 0.01 * third)).sqrt().clamp(min=1e-300)


class Steps(NamedTuple):
    """lengths: of the steps taken, [B] each, 0 for a shot whose stage had ended; ended: [B] bool."""

    lengths: list[Tensor]
    ended: Tensor
    tension: Tensor


@torch.no_grad()
def find_end(stage: Stage, y: Tensor, h: Tensor, alive: Tensor) -> Steps:
    """The steps to the end of the stage."""
    before = stage.at_start(y)
    lengths: list[Tensor] = []
    time, least = torch.zeros_like(h), torch.full_like(h, torch.inf)
    ended = torch.zeros_like(alive)
    going = alive
    # The step in which each shot ends: from where, how long it was, what ends the stage before and after, its number.
    last = [y, h, before, before, torch.zeros_like(h)]
    for _ in range(MOST_STEPS):
        if not going.any():
            break
        new, k = method_step(stage.rates, y, h)
        wrong = error(y, new, h, k)
        good = going & (wrong < 1)
        dy = stage.rates(new)
        after = stage.ending(new, dy)
        over = good & ((after < 0) != (before < 0))
        length = torch.where(good, h, 0.0)
        number = torch.full_like(h, len(lengths))
        last = [torch.where(over, now, then) for now, then in zip((y, h, before, after, number), last, strict=True)]
        if good.any():
            lengths.append(length)
        ended, passed = ended | over, good & ~over
        y = torch.where(passed, new, y)
        before = torch.where(passed, after, before)
        least = torch.where(passed, torch.minimum(least, stage.tension(new, dy)), least)
        time = time + length
        going = going & ~over & (time <= stage.limit)
        factor = torch.where(wrong < 1, (0.9 * wrong.clamp(min=1e-12) ** -0.125).clamp(max=6.0), 0.0)
        slower = torch.where(wrong.isfinite(), (0.9 * wrong**-0.125).clamp(min=0.2), 0.2)
        h = h * torch.where(good, factor, slower)
    root, step = find_root(stage, *last[:4]), last[4]
    lengths = [torch.where(ended & (step == number), root, length) for number, length in enumerate(lengths)]
    return Steps(lengths, ended, least)


def find_root(stage: Stage, y: Tensor, h: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The length [B] of the step, at most h, that ends the stage; meaningless where none does.

    Regula falsi with the Illinois rule (Dowell and Jarratt 1971).
    """
    left, right, low, high = torch.zeros_like(h), h, before, after
    for _ in range(ROOT_STEPS):
        middle = right - high * (right - left) / (high - low)
        middle = torch.where(middle.isfinite(), middle, right)
        new, _ = method_step(stage.rates, y, middle)
        value = stage.ending(new, stage.rates(new))
        crossed = (value < 0) != (high < 0)
        left, low = torch.where(crossed, right, left), torch.where(crossed, high, low / 2)
        right, high = middle, value
    return right


def integrate(stage: Stage, y: Tensor, h: Tensor, alive: Tensor) -> End:
    """Integrates from y [N, B] to the end of the stage the shots that are alive [B], with a first step h [B]."""
    steps = find_end(stage, y.detach(), h, alive)
    time = torch.zeros_like(h)
    times, states = [time], [y]

    def step(y: Tensor, length: Tensor) -> Tensor:
        return method_step(stage.rates, y, length)[0]

    for length in steps.lengths:
        y = step(y, length) if len(h) <= MOST_RECORDED else checkpoint(step, y, length, use_reentrant=False)
        time = time + length
        times.append(time)
        states.append(y)
    late = -newton(stage, y)
    dy = stage.rates(y)
    y, time = torch.where(steps.ended, y + late * dy, y), torch.where(steps.ended, time + late, torch.inf)
    return End(y, time, steps.ended, steps.tension, torch.stack(times), torch.stack(states))


def newton(stage: Stage, y: Tensor) -> Tensor:
    """[B], by how much the stage has ended too late: about 0, but with the derivatives of the time of its end."""
    with torch.no_grad():
        dy, tiny = stage.rates(y), 1e-6
        values = []
        for moved in (y + tiny * dy, y - tiny * dy):
            values.append(stage.ending(moved, stage.rates(moved)))
        slope = (values[0] - values[1]) / (2 * tiny)
        slope = torch.where(slope.isfinite() & (slope != 0), slope, 1.0)
    return stage.ending(y, stage.rates(y)) / slope
