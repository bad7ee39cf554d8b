"""Compiled shots against exact ones and against SciPy."""

from __future__ import annotations

import pytest
import torch

from games.trebuchet import Trebuchet, shoot, shoot_with_gradient
from games.trebuchet.physics import POUND
from games.trebuchet.published import swapped
from tests.games.trebuchet.reference import OTHER, exact, reference_shot


def test_with_the_inertias_exchanged_too() -> None:
    wind, angle, pounds, distance = exact("wind", "angle", "weight", "distance_swapped")
    shot = shoot(wind, angle, pounds * POUND, trebuchet=swapped(Trebuchet()))
    torch.testing.assert_close(shot.distance, distance, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("wind", "angle", "pounds", "distance"), [(0, 45, 98.09, 63.7249244454), (-10, 20, 60, 34.9697393816)]
)
def test_single_shots(wind: float, angle: float, pounds: float, distance: float) -> None:
    shot, _ = shoot_with_gradient(wind, angle, pounds * POUND)
    assert shot.distance == pytest.approx(distance, abs=1e-6)
    assert shoot(wind, angle, pounds * POUND).distance == pytest.approx(shot.distance, rel=1e-12)


@pytest.mark.parametrize(("wind", "angle", "counterweight"), [(3, 40, 60), (-7, 65, 90), (0, 0, 70), (2, -25, 60)])
@pytest.mark.parametrize("trebuchet", [Trebuchet(), OTHER], ids=["default", "other"])
def test_scipy_agrees(wind: float, angle: float, counterweight: float, trebuchet: Trebuchet) -> None:
    shot = shoot(wind, angle, counterweight, trebuchet=trebuchet)
    ours = (shot.lift_off_time, shot.release_time, shot.landing_time, shot.distance)
    assert ours == pytest.approx(reference_shot(wind, angle, counterweight, trebuchet), rel=1e-7)


def test_the_smallest_angles_throw_forwards_and_backwards() -> None:
    up, level, down = (shoot(0.0, angle, 45.0) for angle in (1e-5, 0.0, -1e-5))
    assert up.distance == pytest.approx(level.distance, abs=1e-3)
    assert not level.backwards
    assert down.backwards
    assert down.landed
    assert abs(down.distance) < 1
