"""The mechanics of a trebuchet with a hinged counterweight: equations of motion, and a compiled solution of them.

The equations are those of http://www.virtualtrebuchet.com (documentation, "Equations of motion"), for angles from the
vertical instead of angles between the parts, which makes them shorter. They are plain arithmetic: on floats, compiled
below; on tensors, differentiated by torch in `solver`. (One long file: Numba caches machine code by its own file,
and would not notice that the equations have changed in another.)

The angles of beam, weight arm and sling are A, B and C, counterclockwise from upright. The throw goes to the right,
and the pivot is the origin:

    tip of the long arm     l (-sin A, cos A)
    projectile              there + e (-sin C, cos C)
    tip of the short arm    s (sin A, -cos A)
    counterweight           there + w (sin B, -cos B)
"""

from __future__ import annotations

from math import asin, cos, inf, isfinite, pi, sin, sqrt
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import DOP853

from alphazero.game.compilation import njit

# A float or a tensor; what is done with it here is the same.
Real = Any


class Constants(NamedTuple):
    """The constants of a trebuchet in the equations, in kg, m and s.

    h: height of the pivot. l, s, w, e: lengths of long arm, short arm, weight arm and sling. m: mass of the
    projectile. beam: inertia of the beam about the pivot. hung: inertia of the counterweight about its centre.
    moment: mass of the beam times the distance of its centre from the pivot, towards the long arm's tip.
    g: gravity. k: drag, in 1/m; a speed v through the air is slowed by k v^2.
    """

    h: Real
    l: Real  # noqa: E741
    s: Real
    w: Real
    e: Real
    m: Real
    beam: Real
    hung: Real
    moment: Real
    g: Real
    k: Real


class Turn(NamedTuple):
    """An angle, by its sine and cosine, and its rate in rad/s."""

    sin: Real
    cos: Real
    rate: Real


def sliding(a: Turn, b: Turn, c: Turn, weight: Real, of: Constants) -> tuple[Real, Real, Real]:
    """Accelerations of A, B and C while the projectile slides on the ground, without friction.

    weight: mass of the counterweight.
    """
    # It stays on the ground: l cos A + e cos C = -h. Differentiated twice, that is C'' = -bend - lever A''.
    lever = of.l * a.sin / (of.e * c.sin)
    bend = (c.cos * c.rate * c.rate + of.l / of.e * a.cos * a.rate * a.rate) / c.sin
    # And its x'' = along A'' + across.
    along = of.e * c.cos * lever - of.l * a.cos
    across = of.l * a.sin * a.rate * a.rate + of.e * (c.sin * c.rate * c.rate + c.cos * bend)
    coupling = weight * of.s * of.w
    m_ab = coupling * (a.cos * b.cos + a.sin * b.sin)
    swing = coupling * (a.sin * b.cos - a.cos * b.sin)
    m_aa = of.beam + weight * of.s * of.s + of.m * along * along
    m_bb = of.hung + weight * of.w * of.w
    r_a = of.g * (of.moment - weight * of.s) * a.sin - swing * b.rate * b.rate - of.m * along * across
    r_b = swing * a.rate * a.rate - of.g * weight * of.w * b.sin
    determinant = m_aa * m_bb - m_ab * m_ab
    a_dot = (r_a * m_bb - r_b * m_ab) / determinant
    return a_dot, (r_b * m_aa - r_a * m_ab) / determinant, -bend - lever * a_dot


def swinging(a: Turn, b: Turn, c: Turn, weight: Real, of: Constants, torque: Real = 0.0) -> tuple[Real, Real, Real]:
    """Accelerations of A, B and C while the projectile hangs in the sling. torque: on the beam, besides gravity's."""
    coupling, whip = weight * of.s * of.w, of.m * of.l * of.e
    m_ab = coupling * (a.cos * b.cos + a.sin * b.sin)
    m_ac = whip * (a.cos * c.cos + a.sin * c.sin)
    s_ab = coupling * (a.sin * b.cos - a.cos * b.sin)
    s_ac = whip * (a.sin * c.cos - a.cos * c.sin)
    m_aa = of.beam + weight * of.s * of.s + of.m * of.l * of.l
    m_bb, m_cc = of.hung + weight * of.w * of.w, of.m * of.e * of.e
    r_a = of.g * (of.moment + of.m * of.l - weight * of.s) * a.sin - s_ab * b.rate * b.rate - s_ac * c.rate * c.rate
    r_a = r_a + torque
    r_b = s_ab * a.rate * a.rate - of.g * weight * of.w * b.sin
    r_c = s_ac * a.rate * a.rate + of.g * of.m * of.e * c.sin
    x_b, x_c = m_ab / m_bb, m_ac / m_cc
    a_dot = (r_a - r_b * x_b - r_c * x_c) / (m_aa - m_ab * x_b - m_ac * x_c)
    return a_dot, r_b / m_bb - x_b * a_dot, r_c / m_cc - x_c * a_dot


def flying(u: Real, v: Real, speed: Real, of: Constants) -> tuple[Real, Real]:
    """Acceleration in flight. u, v: velocity through the air, without the wind's; speed: its magnitude."""
    return -of.k * speed * u, -of.g - of.k * speed * v


def place(a: Turn, c: Turn, of: Constants) -> tuple[Real, Real]:
    """The projectile's place while the sling is tight."""
    return -of.l * a.sin - of.e * c.sin, of.l * a.cos + of.e * c.cos


def velocity(a: Turn, c: Turn, of: Constants) -> tuple[Real, Real]:
    """The projectile's velocity while the sling is tight."""
    return -of.l * a.cos * a.rate - of.e * c.cos * c.rate, -of.l * a.sin * a.rate - of.e * c.sin * c.rate


def acceleration(a: Turn, c: Turn, a_dot: Real, c_dot: Real, of: Constants) -> tuple[Real, Real]:
    """The projectile's acceleration while the sling is tight, by those of A and C."""
    return (
        of.l * (a.sin * a.rate * a.rate - a.cos * a_dot) + of.e * (c.sin * c.rate * c.rate - c.cos * c_dot),
        -of.l * (a.cos * a.rate * a.rate + a.sin * a_dot) - of.e * (c.cos * c.rate * c.rate + c.sin * c_dot),
    )


def forces_sliding(c: Turn, x: Real, of: Constants) -> tuple[Real, Real]:
    """The ground's and the sling's force on the projectile's mass while it slides. x: its acceleration."""
    tension = x / c.sin
    return of.g + tension * c.cos, tension


def force_swinging(c: Turn, x: Real, up: Real, of: Constants) -> Real:
    """The sling's force on the projectile's mass while it hangs in it. x, up: its acceleration."""
    return x * c.sin - (up + of.g) * c.cos


# --- Compiled: a shot, and its gradient

# The eighth-order method of Dormand and Prince (Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I,
# II.5: DOP853), a row for each stage. Tuples, since their numbers become constants in the machine code.
A = tuple(tuple(float(weight) for weight in row[:stage]) for stage, row in enumerate(DOP853.A[:12]))
B, E3, E5 = (tuple(float(weight) for weight in row[:12]) for row in (DOP853.B, DOP853.E3, DOP853.E5))

SLIDING, SWINGING, FLYING = 0, 1, 2
TOLERANCE = 1e-9  # of a step; distances are then good to 1e-7 m
PATIENCE = 10.0  # in sqrt(long arm / gravity): a stage of the throw that takes longer does not end
LONGEST_FLIGHT = 1000.0  # s
MOST_STEPS = 2000  # of a stage

compiled = njit(error_model="numpy", fastmath={"contract", "reassoc", "arcp", "nsz"})
_sliding, _swinging, _flying = compiled(sliding), compiled(swinging), compiled(flying)
_place, _velocity, _acceleration = compiled(place), compiled(velocity), compiled(acceleration)
_forces_sliding, _force_swinging = compiled(forces_sliding), compiled(force_swinging)


class Aim(NamedTuple):
    """The aim of a shot: mass of the counterweight, sine and cosine of the angle of release."""

    weight: Real
    sin: Real
    cos: Real


@compiled
def rates(stage, y, dy, aim, of, tangents):
    """Writes the derivative of the state y into dy.

    y: A, B, C and their rates, or in flight x, y and the velocity through the air; behind them, with `tangents`, their
    derivatives: by the counterweight, or in flight by the velocity at the start, in some direction.
    """
    if stage == FLYING:
        u, v = y[2], y[3]
        speed = sqrt(u * u + v * v)
        dy[0], dy[1] = u, v
        dy[2], dy[3] = _flying(u, v, speed, of)
        if tangents:
            along = of.k * (u * y[6] + v * y[7]) / max(speed, 1e-300)
            dy[4], dy[5] = y[6], y[7]
            dy[6], dy[7] = -along * u - of.k * speed * y[6], -along * v - of.k * speed * y[7]
        return
    a, b, c = Turn(sin(y[0]), cos(y[0]), y[3]), Turn(sin(y[1]), cos(y[1]), y[4]), Turn(sin(y[2]), cos(y[2]), y[5])
    dy[0], dy[1], dy[2] = y[3], y[4], y[5]
    if stage == SLIDING:
        dy[3], dy[4], dy[5] = _sliding(a, b, c, aim.weight, of)
        if tangents:
            sliding_tangent(a, b, c, y, dy, aim.weight, of)
    else:
        dy[3], dy[4], dy[5] = _swinging(a, b, c, aim.weight, of)
        if tangents:
            swinging_tangent(a, b, c, y, dy, aim.weight, of)


@compiled
def sliding_tangent(a, b, c, y, dy, weight, of):
    """The tangents' derivative: `sliding` differentiated by the counterweight, along y[6:]; dy has its results."""
    va, vb, vc = y[6], y[7], y[8]
    a_dot, b_dot, aa, cc = dy[3], dy[4], a.rate * a.rate, c.rate * c.rate
    cot = c.cos / c.sin * vc
    ratio = of.l / of.e
    lever = ratio * a.sin / c.sin
    v_lever = ratio * a.cos * va / c.sin - lever * cot
    bend = (c.cos * cc + ratio * a.cos * aa) / c.sin
    v_bend = (
        2 * c.cos * c.rate * y[11] - c.sin * vc * cc + ratio * (2 * a.cos * a.rate * y[9] - a.sin * va * aa)
    ) / c.sin - bend * cot
    along = of.e * c.cos * lever - of.l * a.cos
    v_along = of.e * (c.cos * v_lever - c.sin * vc * lever) + of.l * a.sin * va
    across = of.l * a.sin * aa + of.e * (c.sin * cc + c.cos * bend)
    v_across = of.l * (a.cos * va * aa + 2 * a.sin * a.rate * y[9]) + of.e * (
        c.cos * vc * cc + 2 * c.sin * c.rate * y[11] - c.sin * vc * bend + c.cos * v_bend
    )
    arms = of.s * of.w
    cos_ab, sin_ab = a.cos * b.cos + a.sin * b.sin, a.sin * b.cos - a.cos * b.sin
    m_ab = weight * arms * cos_ab
    v_m_ab = arms * (cos_ab - weight * sin_ab * (va - vb))
    swing, v_swing = weight * arms * sin_ab, arms * (sin_ab + weight * cos_ab * (va - vb))
    m_aa = of.beam + weight * of.s * of.s + of.m * along * along
    m_bb = of.hung + weight * of.w * of.w
    # The accelerations' tangents must balance those of the forces, less those of the masses.
    q_a = (
        of.g * ((of.moment - weight * of.s) * a.cos * va - of.s * a.sin)
        - v_swing * b.rate * b.rate
        - 2 * swing * b.rate * y[10]
        - of.m * (v_along * across + along * v_across)
        - (of.s * of.s + 2 * of.m * along * v_along) * a_dot
        - v_m_ab * b_dot
    )
    q_b = (
        v_swing * aa
        + 2 * swing * a.rate * y[9]
        - of.g * of.w * (b.sin + weight * b.cos * vb)
        - v_m_ab * a_dot
        - of.w * of.w * b_dot
    )
    determinant = m_aa * m_bb - m_ab * m_ab
    v_a_dot = (q_a * m_bb - q_b * m_ab) / determinant
    dy[6], dy[7], dy[8], dy[9] = y[9], y[10], y[11], v_a_dot
    dy[10] = (q_b * m_aa - q_a * m_ab) / determinant
    dy[11] = -v_bend - v_lever * a_dot - lever * v_a_dot


@compiled
def swinging_tangent(a, b, c, y, dy, weight, of):
    """The tangents' derivative: `swinging` differentiated, as in `sliding_tangent`."""
    va, vb, vc = y[6], y[7], y[8]
    a_dot, b_dot, c_dot, aa = dy[3], dy[4], dy[5], a.rate * a.rate
    arms, whip = of.s * of.w, of.m * of.l * of.e
    cos_ab, sin_ab = a.cos * b.cos + a.sin * b.sin, a.sin * b.cos - a.cos * b.sin
    m_ab, s_ab = weight * arms * cos_ab, weight * arms * sin_ab
    v_m_ab, v_s_ab = arms * cos_ab - s_ab * (va - vb), arms * sin_ab + m_ab * (va - vb)
    m_ac = whip * (a.cos * c.cos + a.sin * c.sin)
    s_ac = whip * (a.sin * c.cos - a.cos * c.sin)
    v_m_ac, v_s_ac = -s_ac * (va - vc), m_ac * (va - vc)
    m_aa = of.beam + weight * of.s * of.s + of.m * of.l * of.l
    m_bb, m_cc = of.hung + weight * of.w * of.w, of.m * of.e * of.e
    q_a = (
        of.g * ((of.moment + of.m * of.l - weight * of.s) * a.cos * va - of.s * a.sin)
        - v_s_ab * b.rate * b.rate
        - 2 * s_ab * b.rate * y[10]
        - v_s_ac * c.rate * c.rate
        - 2 * s_ac * c.rate * y[11]
        - of.s * of.s * a_dot
        - v_m_ab * b_dot
        - v_m_ac * c_dot
    )
    q_b = (
        v_s_ab * aa
        + 2 * s_ab * a.rate * y[9]
        - of.g * of.w * (b.sin + weight * b.cos * vb)
        - v_m_ab * a_dot
        - of.w * of.w * b_dot
    )
    q_c = v_s_ac * aa + 2 * s_ac * a.rate * y[9] + of.g * of.m * of.e * c.cos * vc - v_m_ac * a_dot
    x_b, x_c = m_ab / m_bb, m_ac / m_cc
    v_a_dot = (q_a - q_b * x_b - q_c * x_c) / (m_aa - m_ab * x_b - m_ac * x_c)
    dy[6], dy[7], dy[8], dy[9] = y[9], y[10], y[11], v_a_dot
    dy[10], dy[11] = q_b / m_bb - x_b * v_a_dot, q_c / m_cc - x_c * v_a_dot


@compiled
def watch(stage, y, dy, aim, of):
    """The function whose change of sign ends the stage, and the sling's force on the projectile's mass.

    The function is the ground's force; the velocity across the direction of release; the height.
    """
    if stage == FLYING:
        return y[1] + of.h, 0.0
    a, c = Turn(sin(y[0]), cos(y[0]), y[3]), Turn(sin(y[2]), cos(y[2]), y[5])
    x, up = _acceleration(a, c, dy[3], dy[5], of)
    if stage == SLIDING:
        return _forces_sliding(c, x, of)
    u, v = _velocity(a, c, of)
    return aim.sin * u - aim.cos * v, _force_swinging(c, x, up, of)


# fmt: off
@compiled
def step(stage, y, h, k, new, aim, of, n, tangents):
    """A step of DOP853 from y to `new`. k[0]: the derivative at y; n: how many numbers y has.

    Written out, since loops over the table take half as long again.
    """
    for j in range(n):
        new[j] = y[j] + h * (A[1][0] * k[0, j])
    rates(stage, new, k[1], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (A[2][0] * k[0, j] + A[2][1] * k[1, j])
    rates(stage, new, k[2], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (A[3][0] * k[0, j] + A[3][2] * k[2, j])
    rates(stage, new, k[3], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (A[4][0] * k[0, j] + A[4][2] * k[2, j] + A[4][3] * k[3, j])
    rates(stage, new, k[4], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (A[5][0] * k[0, j] + A[5][3] * k[3, j] + A[5][4] * k[4, j])
    rates(stage, new, k[5], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (A[6][0] * k[0, j] + A[6][3] * k[3, j] + A[6][4] * k[4, j] + A[6][5] * k[5, j])
    rates(stage, new, k[6], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (
            A[7][0] * k[0, j] + A[7][3] * k[3, j] + A[7][4] * k[4, j] + A[7][5] * k[5, j] + A[7][6] * k[6, j]
        )
    rates(stage, new, k[7], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (
            A[8][0] * k[0, j] + A[8][3] * k[3, j] + A[8][4] * k[4, j]
            + A[8][5] * k[5, j] + A[8][6] * k[6, j] + A[8][7] * k[7, j]
        )
    rates(stage, new, k[8], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (
            A[9][0] * k[0, j] + A[9][3] * k[3, j] + A[9][4] * k[4, j] + A[9][5] * k[5, j]
            + A[9][6] * k[6, j] + A[9][7] * k[7, j] + A[9][8] * k[8, j]
        )
    rates(stage, new, k[9], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (
            A[10][0] * k[0, j] + A[10][3] * k[3, j] + A[10][4] * k[4, j] + A[10][5] * k[5, j]
            + A[10][6] * k[6, j] + A[10][7] * k[7, j] + A[10][8] * k[8, j] + A[10][9] * k[9, j]
        )
    rates(stage, new, k[10], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (
            A[11][0] * k[0, j] + A[11][3] * k[3, j] + A[11][4] * k[4, j] + A[11][5] * k[5, j] + A[11][6] * k[6, j]
            + A[11][7] * k[7, j] + A[11][8] * k[8, j] + A[11][9] * k[9, j] + A[11][10] * k[10, j]
        )
    rates(stage, new, k[11], aim, of, tangents)
    for j in range(n):
        new[j] = y[j] + h * (
            B[0] * k[0, j] + B[5] * k[5, j] + B[6] * k[6, j] + B[7] * k[7, j]
            + B[8] * k[8, j] + B[9] * k[9, j] + B[10] * k[10, j] + B[11] * k[11, j]
        )
# fmt: on


# fmt: off
@compiled
def error(y, new, h, k, n):
    """The error of a step over the tolerance: the norm of Hairer, Norsett and Wanner, II.10."""
    fifth, third = 0.0, 0.0
    for j in range(n):
        scale = 1 / (TOLERANCE * (1 + max(abs(y[j]), abs(new[j]))))
        five = scale * (
            E5[0] * k[0, j] + E5[5] * k[5, j] + E5[6] * k[6, j] + E5[7] * k[7, j]
            + E5[8] * k[8, j] + E5[9] * k[9, j] + E5[10] * k[10, j] + E5[11] * k[11, j]
        )
        three = scale * (
            E3[0] * k[0, j] + E3[5] * k[5, j] + E3[6] * k[6, j] + E3[7] * k[7, j]
            + E3[8] * k[8, j] + E3[9] * k[9, j] + E3[10] * k[10, j] + E3[11] * k[11, j]
        )
        fifth += five * five
        third += three * three
    return abs(h) * fifth / sqrt(n * (fifth + 0.01 * third)) if fifth > 0 else 0.0
# fmt: on


@compiled
def polish(stage, y, h, k, new, aim, of, n, tangents):
    """A step of Runge and Kutta's fourth-order method, in place, for very small h. k[0]: the derivative at y."""
    for number in range(1, 4):
        part = h if number == 3 else h / 2
        for j in range(n):
            new[j] = y[j] + part * k[number - 1, j]
        rates(stage, new, k[number], aim, of, tangents)
    for j in range(n):
        y[j] += h / 6 * (k[0, j] + 2 * k[1, j] + 2 * k[2, j] + k[3, j])


@compiled
def finish(stage, y, h, k, new, aim, of, before, after, n, tangents):
    """Takes y to the end of the stage, within a step h over which `watch` goes from `before` to `after`.

    k[12]: the derivative at y; k[0] is then the one at the end. Returns the time that takes. Newton's method, with the
    slope between the last two points, within the two where the sign is known to change between.
    """
    low, high, time = 0.0, h, h * before / (before - after)
    here, far = k[13], True
    last, slope, move = before, (after - before) / h, time
    for _ in range(60):
        if far:  # a whole step; near by, a little one from the last point is as good
            for j in range(n):
                k[0, j] = k[12, j]
            step(stage, y, time, k, new, aim, of, n, tangents)
            for j in range(n):
                here[j] = new[j]
        else:
            polish(stage, here, move, k, new, aim, of, n, tangents)
        rates(stage, here, k[0], aim, of, tangents)
        now, _ = watch(stage, here, k[0], aim, of)
        if (now < 0) == (before < 0):
            low = time
        else:
            high = time
        if now != last:
            slope = (now - last) / move
        then = time - now / slope
        if not low <= then <= high:
            then = (low + high) / 2
        last, move, time = now, then - time, then
        far = abs(move) > 1e-3 * h
        if abs(move) < 1e-15:
            break
    for j in range(n):
        y[j] = here[j]
    return time


@compiled
def advance(stage, y, h, limit, k, new, aim, of, tangents):
    """Integrates y to the end of the stage, with a first step h; k[0] is then the derivative there.

    Returns the time that takes, or -1 if it does not end within `limit`, and the least force of the sling.
    """
    judged = 4 if stage == FLYING else 6
    n = 2 * judged if tangents else judged
    time, least = 0.0, inf
    rates(stage, y, k[0], aim, of, tangents)
    before, tension = watch(stage, y, k[0], aim, of)
    if stage == SWINGING:
        # The projectile still moves along the ground, and the rest of its velocity is rounding. An angle of 0 degrees
        # does not release it now, towards 180 degrees, but when it comes round.
        u, _ = _velocity(Turn(sin(y[0]), cos(y[0]), y[3]), Turn(sin(y[2]), cos(y[2]), y[5]), of)
        before = aim.sin * u if aim.sin != 0 else -1e-9
    if stage == FLYING:
        before = max(before, 0.0)  # lands at once if released on the ground
    for _ in range(MOST_STEPS):
        if time > limit:
            break
        step(stage, y, h, k, new, aim, of, n, tangents)
        wrong = error(y, new, h, k, judged)
        if not wrong < 1:  # nor if it is no number
            h *= max(0.2, 0.9 * wrong**-0.125) if isfinite(wrong) else 0.2
            continue
        for j in range(n):
            k[12, j] = k[0, j]
        rates(stage, new, k[0], aim, of, tangents)
        after, tension = watch(stage, new, k[0], aim, of)
        if (after < 0) != (before < 0):
            return time + finish(stage, y, h, k, new, aim, of, before, after, n, tangents), least
        for j in range(n):
            y[j] = new[j]
        least = min(least, tension)
        time, before = time + h, after
        h *= min(6.0, 0.9 * max(wrong, 1e-12) ** -0.125)
    return -1.0, least


class Record(NamedTuple):
    """The places at which `shot` writes its results, in an array of LENGTH numbers.

    ended: how many stages ended. tension: the sling's least force on the projectile's mass. backwards: 1 if the
    projectile was released to the left. lift_off, release: angles and rates then. landing: x, y and velocity.
    gradient: of the distance by wind, angle (in radians) and weight.
    """

    distance: int = 0
    ended: int = 1
    lift_off_time: int = 2
    release_time: int = 3
    landing_time: int = 4
    tension: int = 5
    backwards: int = 6
    lift_off: int = 7
    release: int = 13
    landing: int = 19
    gradient: int = 23


AT = Record()
LENGTH = 26


@compiled
def differentiate(wind, aim, of, release, pull, fall, end, time, by):
    """Writes the derivatives of the distance, x + wind time in the air, by wind, angle and weight.

    release: the throw's state then, and its derivative by the weight. pull, fall: the projectile's acceleration just
    before and just after. end: the flight's state, and its derivative by a velocity across `fall`. time: of the flight.
    """
    a, c = (
        Turn(sin(release[0]), cos(release[0]), release[3]),
        Turn(sin(release[2]), cos(release[2]), release[5]),
    )
    u, v = _velocity(a, c, of)
    # By the velocity at the start. Across `fall`: as the tangents say, and as the time changes until it lands. Along
    # it: as for a later start on the same path.
    by_height = -(end[2] + wind) / end[3]
    across, along = end[4] + by_height * end[5], -u - by_height * v
    square = fall[0] * fall[0] + fall[1] * fall[1]
    by_u = (along * fall[0] - across * fall[1]) / square
    by_v = (along * fall[1] + across * fall[0]) / square
    # By the weight, were the time of release the same: where the projectile is, and its velocity.
    x_w, height_w = _velocity(Turn(a.sin, a.cos, release[6]), Turn(c.sin, c.cos, release[8]), of)
    va, vc = a.rate * release[6], c.rate * release[8]
    u_w = of.l * (a.sin * va - a.cos * release[9]) + of.e * (c.sin * vc - c.cos * release[11])
    v_w = -of.l * (a.cos * va + a.sin * release[9]) - of.e * (c.cos * vc + c.sin * release[11])
    # By a later release, and how much later it is.
    later = u + by_height * v + by_u * pull[0] + by_v * pull[1]
    turning = aim.sin * pull[0] - aim.cos * pull[1]
    by[0] = time - by_u
    by[1] = -later * (aim.cos * u + aim.sin * v) / turning
    by[2] = x_w + by_height * height_w + by_u * u_w + by_v * v_w - later * (aim.sin * u_w - aim.cos * v_w) / turning


@compiled
def shot(wind, angle, weight, of, gradient, record):
    """Fires, and writes a `Record`; the gradient only if asked for.

    A shot that does not end has times of inf, a gradient of 0, and as distance the projectile's last place.
    """
    aim = Aim(weight, sin(angle), cos(angle))
    k, y, new = np.zeros((14, 12)), np.zeros(12), np.empty(12)
    y[0], y[1], y[2] = pi / 2 + asin(of.h / of.l), 0.0, 1.5 * pi
    unit = sqrt(of.l / of.g)
    record[:] = 0.0
    record[AT.lift_off_time : AT.tension + 1] = inf
    stage, clock = SLIDING, 0.0
    while stage < FLYING:
        time, least = advance(stage, y, unit / 20, PATIENCE * unit, k, new, aim, of, gradient)
        record[AT.tension] = min(record[AT.tension], least)
        if time < 0:
            break
        clock += time
        record[AT.lift_off_time + stage] = clock
        record[AT.lift_off + 6 * stage : AT.release + 6 * stage] = y[:6]
        stage += 1
    record[AT.ended] = stage
    a, c = Turn(sin(y[0]), cos(y[0]), y[3]), Turn(sin(y[2]), cos(y[2]), y[5])
    x, height = _place(a, c, of)
    record[AT.distance] = x
    if stage < FLYING:
        return
    u, v = _velocity(a, c, of)
    record[AT.backwards] = 1.0 if u < 0 else 0.0
    release, pull = y.copy(), _acceleration(a, c, k[0, 3], k[0, 5], of)
    fall = _flying(u - wind, v, sqrt((u - wind) * (u - wind) + v * v), of)
    y[0], y[1], y[2], y[3] = x, height, u - wind, v
    y[4], y[5], y[6], y[7] = 0.0, 0.0, -fall[1], fall[0]  # across the path of the velocity
    time, _ = advance(stage, y, unit, LONGEST_FLIGHT, k, new, aim, of, gradient)
    record[AT.distance] = y[0] + wind * max(time, 0.0)
    if time < 0:
        return
    record[AT.ended], record[AT.landing_time] = 3.0, clock + time
    record[AT.landing], record[AT.landing + 1] = record[AT.distance], y[1]
    record[AT.landing + 2], record[AT.landing + 3] = y[2] + wind, y[3]
    if gradient:
        differentiate(wind, aim, of, release, pull, fall, y, time, record[AT.gradient :])


@compiled
def shots(winds, angles, weights, of, gradient, records):
    """`shot` for each row."""
    for row in range(len(records)):
        shot(winds[row], angles[row], weights[row], of, gradient, records[row])
