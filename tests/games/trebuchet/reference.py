"""References for shots: exact ones from a file; and SciPy's, with the equations as virtualtrebuchet.com prints them.

Those have angles between the parts.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from games.trebuchet import Trebuchet

SOLVER: dict[str, Any] = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}


EXACT = Path(__file__).parents[2] / "data" / "trebuchet_exact.csv"
# Another machine, in which no dimension has its default.
OTHER = Trebuchet(
    pivot_height=2.1, long_arm=3.4, short_arm=0.8, weight_arm=0.7, sling=2.9, projectile_mass=0.6,
    projectile_radius=0.06, beam_mass=9.0, beam_inertia=11.0, weight_inertia=0.4, gravity=3.7, air_density=1.3,
    drag_coefficient=0.47,
)  # fmt: skip


def exact(*columns: str) -> list[Tensor]:
    with EXACT.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 80
    return [torch.tensor([float(row[column]) for row in rows], dtype=torch.float64) for column in columns]


def reference_shot(  # noqa: PLR0915
    wind: float, angle: float, counterweight: float, of: Trebuchet
) -> tuple[float, float, float, float]:
    """Times of lift-off, release and landing, and the distance."""
    long, short, hang, sling, height = of.long_arm, of.short_arm, of.weight_arm, of.sling, of.pivot_height
    beam, ball, weight, g = of.beam_mass, of.projectile_mass, counterweight, of.gravity
    centre = (long - short) / 2
    inertia_a = beam * (long + short) ** 2 / 12 if of.beam_inertia is None else of.beam_inertia
    inertia_w = of.weight_inertia
    drag = of.air_density * of.drag_coefficient * np.pi * of.projectile_radius**2
    r = np.radians(angle)

    def on_ground(t: float, y: np.ndarray) -> np.ndarray:
        aq, wq, sq, aw, ww, sw = y
        sin_as, cos_as = np.sin(aq + sq), np.cos(aq + sq)
        m11 = (
            -ball * long**2 * (-1 + 2 * np.sin(aq) * np.cos(sq) / sin_as) + inertia_a + inertia_w + beam * centre**2
            + ball * long**2 * np.sin(aq) ** 2 / sin_as**2
            + weight * (short**2 + hang**2 + 2 * short * hang * np.cos(wq))
        )  # fmt: skip
        m12 = inertia_w + hang * weight * (hang + short * np.cos(wq))
        m22 = inertia_w + weight * hang**2
        bend = cos_as * sw * (sw + 2 * aw) / sin_as + (cos_as / sin_as + long * np.cos(aq) / (sling * sin_as)) * aw**2
        r1 = (
            g * centre * beam * np.sin(aq) + long * sling * ball * (np.sin(sq) * (aw + sw) ** 2 + np.cos(sq) * bend)
            + long * ball * np.sin(aq) * (long * np.sin(sq) * aw**2 - sling * bend) / sin_as
            - g * weight * (short * np.sin(aq) + hang * np.sin(aq + wq))
            - short * hang * weight * np.sin(wq) * (aw**2 - (aw + ww) ** 2)
        )  # fmt: skip
        r2 = -hang * weight * (g * np.sin(aq + wq) + short * np.sin(wq) * aw**2)
        daw, dww = np.linalg.solve([[m11, m12], [m12, m22]], [r1, r2])
        dsw = -bend - (long * np.sin(aq) + sling * sin_as) * daw / (sling * sin_as)
        return np.array([aw, ww, sw, daw, dww, dsw])

    def in_sling(t: float, y: np.ndarray) -> np.ndarray:
        aq, wq, sq, aw, ww, sw = y
        m11 = (
            inertia_a + inertia_w + beam * centre**2 + ball * (long**2 + sling**2 + 2 * long * sling * np.cos(sq))
            + weight * (short**2 + hang**2 + 2 * short * hang * np.cos(wq))
        )  # fmt: skip
        m12 = inertia_w + hang * weight * (hang + short * np.cos(wq))
        m13 = sling * ball * (sling + long * np.cos(sq))
        m22, m33 = inertia_w + weight * hang**2, ball * sling**2
        r1 = (
            g * centre * beam * np.sin(aq) + g * ball * (long * np.sin(aq) + sling * np.sin(aq + sq))
            - g * weight * (short * np.sin(aq) + hang * np.sin(aq + wq))
            - long * sling * ball * np.sin(sq) * (aw**2 - (aw + sw) ** 2)
            - short * hang * weight * np.sin(wq) * (aw**2 - (aw + ww) ** 2)
        )  # fmt: skip
        r2 = -hang * weight * (g * np.sin(aq + wq) + short * np.sin(wq) * aw**2)
        r3 = sling * ball * (g * np.sin(aq + sq) - long * np.sin(sq) * aw**2)
        return np.array([aw, ww, sw, *np.linalg.solve([[m11, m12, m13], [m12, m22, 0], [m13, 0, m33]], [r1, r2, r3])])

    def in_flight(t: float, y: np.ndarray) -> np.ndarray:
        u, v = y[2] - wind, y[3]
        slowed = drag * np.hypot(u, v) / (2 * ball)
        return np.array([y[2], y[3], -slowed * u, -g - slowed * v])

    def velocity(y: np.ndarray) -> np.ndarray:
        aq, _, sq, aw, _, sw = y
        tip, end = np.array([np.cos(aq), np.sin(aq)]), np.array([np.cos(aq + sq), np.sin(aq + sq)])
        return -long * aw * tip - sling * (aw + sw) * end

    def ground_force(t: float, y: np.ndarray) -> float:
        aq, _, sq, aw, _, sw = y
        _, _, _, daw, _, dsw = on_ground(t, y)
        pull = -long * (np.cos(aq) * daw - np.sin(aq) * aw**2)
        pull -= sling * (np.cos(aq + sq) * (daw + dsw) - np.sin(aq + sq) * (aw + sw) ** 2)
        tilt = aq + sq - np.pi
        return float(g + pull / np.tan(tilt))

    def off_direction(t: float, y: np.ndarray) -> float:
        u, v = velocity(y)
        return float(np.sin(r) * u - np.cos(r) * v)

    def above_ground(t: float, y: np.ndarray) -> float:
        return float(y[1] + height)

    above_ground.direction = -1  # type: ignore[attr-defined]
    for ending in (ground_force, off_direction, above_ground):
        ending.terminal = True  # type: ignore[attr-defined]
    tilt = np.arcsin(height / long)
    start = [np.pi / 2 + tilt, -(np.pi / 2 + tilt), np.pi - tilt, 0, 0, 0]
    slide = solve_ivp(on_ground, (0, 10), start, events=ground_force, **SOLVER)
    swing = solve_ivp(in_sling, (0, 10), slide.y_events[0][0], events=off_direction, **SOLVER)
    release = swing.y_events[0][0]
    aq, _, sq = release[:3]
    place = long * np.array([-np.sin(aq), np.cos(aq)]) + sling * np.array([-np.sin(aq + sq), np.cos(aq + sq)])
    flight = solve_ivp(in_flight, (0, 100), [*place, *velocity(release)], events=above_ground, **SOLVER)
    times = np.cumsum([slide.t[-1], swing.t[-1], flight.t[-1]])
    return (*times.tolist(), float(flight.y_events[0][0][0]))
