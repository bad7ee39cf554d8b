"""Motion between the solver's steps against SciPy, and against conserved quantities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from games.trebuchet import shoot
from games.trebuchet.physics import DEFAULT
from games.trebuchet.scene import Motion, machine

SHOT = shoot(5.0, 45.0, 70.0, trajectory=True)  # lands at 91.95 m


def test_between_the_steps_the_flight_is_that_of_the_equations() -> None:
    motion, of = Motion(SHOT, DEFAULT), DEFAULT
    drag = of.air_density * of.drag_coefficient * math.pi * of.projectile_radius**2 / (2 * of.projectile_mass)

    def rates(_: float, y: np.ndarray) -> list[float]:
        u, v = y[2] - 5.0, y[3]
        return [y[2], y[3], -drag * math.hypot(u, v) * u, -of.gravity - drag * math.hypot(u, v) * v]

    release, landing = float(SHOT.release_time), float(SHOT.landing_time)
    start = motion.ball(np.array([release]))[0]
    near = motion.ball(np.array([release, release + 1e-6]))
    speed = (near[1] - near[0]) / 1e-6
    times = np.linspace(release, landing, 50)
    flight = solve_ivp(rates, (release, landing), [*start, *speed], t_eval=times, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(motion.ball(times), flight.y[:2].T, atol=0.01)
    assert motion.ball(np.array([landing]))[0] == pytest.approx([float(SHOT.distance), 0.0], abs=1e-9)


def test_between_the_steps_the_throw_keeps_to_the_ground_and_the_energy() -> None:
    motion, of = Motion(SHOT, DEFAULT), DEFAULT.constants
    slid = motion.ball(np.linspace(0, float(SHOT.lift_off_time), 200))
    assert np.abs(slid[:, 1]).max() < 0.002
    assert slid[0] == pytest.approx([of.e - math.sqrt(of.l**2 - of.h**2), 0.0], abs=1e-9)  # laid out under the beam

    times, step = np.linspace(0.01, float(SHOT.release_time) - 0.01, 150), 1e-5
    before, now, after = (motion.turned(times + part * step) for part in (-1, 0, 1))
    a, b, _ = now.T
    va, vb, _ = ((after - before) / (2 * step)).T
    ball = (motion.ball(times + step) - motion.ball(times - step)) / (2 * step)
    weight = (of.s * np.cos(a) * va + of.w * np.cos(b) * vb, of.s * np.sin(a) * va + of.w * np.sin(b) * vb)
    moving = of.beam * va**2 + of.hung * vb**2 + of.m * (ball**2).sum(1) + 70 * (weight[0] ** 2 + weight[1] ** 2)
    high = of.moment * np.cos(a) + of.m * motion.ball(times)[:, 1] - 70 * (of.s * np.cos(a) + of.w * np.cos(b))
    energy = moving / 2 + of.g * high
    assert np.ptp(energy) < 0.01 * np.ptp(of.g * high)


def test_the_sling_and_the_arms_keep_their_lengths() -> None:
    motion, of = Motion(SHOT, DEFAULT), DEFAULT.constants
    for time in np.linspace(0, float(SHOT.release_time), 20):
        parts = machine(motion.turned(np.array([time]))[0], DEFAULT)
        ball = motion.ball(np.array([time]))[0]
        assert np.hypot(*(parts.tip - ball)) == pytest.approx(of.e, abs=1e-9)
        assert np.hypot(*(parts.tip - [0, of.h])) == pytest.approx(of.l, abs=1e-9)
        assert np.hypot(*(parts.short_tip - parts.weight)) == pytest.approx(of.w, abs=1e-9)
        assert np.hypot(*(parts.tip - parts.short_tip)) == pytest.approx(of.l + of.s, abs=1e-9)
