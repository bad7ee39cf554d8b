"""Aims at one target against SciPy's shots and extremes, and the talk's figures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize_scalar

from games.trebuchet import Trebuchet, shoot
from games.trebuchet.aim import PUBLISHED, descend, fire_published, home_in
from games.trebuchet.game import ANGLES, COUNTERWEIGHTS, farthest
from games.trebuchet.physics import DEFAULT
from tests.games.trebuchet.reference import reference_shot


def test_the_talks_ten_steps() -> None:
    found = descend(5.0, 100.0, start=(55.0, 220.0), simulator=PUBLISHED)
    assert found.distance == pytest.approx(99.79941172730138, rel=1e-9)
    assert found.shots == 11
    assert not found.hit


def test_a_descent_goes_down_until_it_hits() -> None:
    distances = [descend(5.0, 100.0, steps=steps).distance for steps in range(8)]
    assert distances == sorted(distances)
    assert distances[-1] < 100
    # The first step, by differences: 0.1 down the slopes of the squared miss.
    (angle, weight), tiny = (55.0, 99.7903214), 1e-4
    miss = shoot(5.0, angle, weight).distance - 100
    by_angle = (shoot(5.0, angle + tiny, weight).distance - shoot(5.0, angle - tiny, weight).distance) / (2 * tiny)
    by_weight = (shoot(5.0, angle, weight + tiny).distance - shoot(5.0, angle, weight - tiny).distance) / (2 * tiny)
    first = descend(5.0, 100.0, steps=1)
    assert first[:2] == pytest.approx((angle - 0.2 * miss * by_angle, weight - 0.2 * miss * by_weight), rel=1e-5)
    found = descend(5.0, 100.0, steps=1000, tolerance=1e-3)
    assert found.hit
    assert abs(found.miss) <= 1e-3
    assert found.shots < 200


def test_a_descent_with_too_high_a_rate_gets_no_worse_and_stays_within_bounds() -> None:
    start = (75.0, 25.0)
    first = descend(10.0, 90.0, start=start, rate=100.0, steps=0)
    found = descend(10.0, 90.0, start=start, rate=100.0, steps=30)
    assert abs(found.miss) < abs(first.miss) / 10
    assert ANGLES[0] <= found.angle <= ANGLES[1]
    assert COUNTERWEIGHTS[0] <= found.counterweight <= COUNTERWEIGHTS[1]


@pytest.mark.parametrize(
    ("wind", "target", "start"),
    [(5, 100, (55, 100)), (-8, 30, (0, 20)), (10, 20, (0, 20)), (0, 90.8, (80, 25)), (-10, 61.7, (90, 120))],
)
def test_scipy_hits_with_the_same_aim(wind: float, target: float, start: tuple[float, float]) -> None:
    found = home_in(wind, target, start=start)
    assert found.hit
    *_, distance = reference_shot(wind, found.angle, found.counterweight, Trebuchet())
    assert distance == pytest.approx(target, abs=1.5e-6)
    assert found.shots <= 40


def test_scipys_angle_is_ours() -> None:
    found = home_in(3.0, 70.0, start=(60.0, 60.0))

    def miss(angle: float) -> float:
        return reference_shot(3.0, angle, found.counterweight, Trebuchet())[3] - 70.0

    angle = brentq(miss, found.angle - 5, found.angle + 5, xtol=1e-9)
    assert found.angle == pytest.approx(angle, abs=1e-5)


def test_every_target_within_reach_is_hit_from_anywhere() -> None:
    generator = np.random.default_rng(7)
    winds = generator.uniform(-10, 10, 300)
    reach = farthest(torch.from_numpy(winds), DEFAULT).numpy()
    shots = []
    for wind, target in zip(winds, generator.uniform(20, reach), strict=True):
        start = (generator.uniform(*ANGLES), generator.uniform(*COUNTERWEIGHTS))
        found = home_in(wind, target, start=start)
        assert found.hit
        assert found.distance == pytest.approx(target, abs=1e-6)
        assert found.distance == pytest.approx(shoot(wind, found.angle, found.counterweight).distance, rel=1e-12)
        assert ANGLES[0] <= found.angle <= ANGLES[1]
        assert COUNTERWEIGHTS[0] <= found.counterweight <= COUNTERWEIGHTS[1]
        shots.append(found.shots)
    assert np.mean(shots) < 7
    assert max(shots) < 60


@pytest.mark.parametrize("wind", [-10.0, 0.0, 4.4])
@pytest.mark.parametrize("start", [(55.0, 100.0), (0.0, 20.0), (90.0, 120.0)])
def test_out_of_reach_is_answered_by_the_farthest_shot(wind: float, start: tuple[float, float]) -> None:
    def short(angle: float) -> float:
        return -float(shoot(wind, angle, COUNTERWEIGHTS[1]).distance)

    best = minimize_scalar(short, bounds=(1, 89), method="bounded", options={"xatol": 1e-7})
    for beyond in (0.001, 1.0, 1000.0):
        found = home_in(wind, beyond - best.fun, start=start)
        assert not found.hit
        assert found.distance == pytest.approx(-best.fun, abs=1e-6)
        assert found.angle == pytest.approx(best.x, abs=1e-2)
        assert found.miss == pytest.approx(-beyond, abs=1e-6)
        assert found.shots < 120
    assert home_in(wind, -best.fun - 0.001, start=start).hit


def test_too_near_is_answered_by_the_nearest_shot() -> None:
    angles, weights = torch.linspace(0, 90, 91).double(), torch.linspace(20, 120, 51).double()
    for wind in (-10.0, 10.0):
        found = home_in(wind, -100.0)
        assert not found.hit
        assert found.distance == pytest.approx(shoot(wind, angles[:, None], weights).distance.min().item(), abs=1e-6)


@pytest.mark.parametrize("aim", [descend, home_in])
@pytest.mark.parametrize(
    ("wind", "target", "start", "message"),
    [
        (math.nan, 50.0, (45.0, 50.0), "the wind must be a finite number of m/s, not nan"),
        (0.0, math.inf, (45.0, 50.0), "the target must be a finite number of m, not inf"),
        (0.0, 50.0, (91.0, 50.0), "the angle must be from 0 to 90 degrees, not 91"),
        (0.0, 50.0, (45.0, math.nan), "the counterweight must be from 20 to 120 kg, not nan"),
    ],
)
def test_wrong_aims_are_refused(
    aim: Callable[..., object], wind: float, target: float, start: tuple[float, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        aim(wind, target, start=start)
    with pytest.raises(ValueError, match="the tolerance must be above 0, not 0"):
        home_in(0.0, 50.0, tolerance=0.0)


def test_the_talks_trebuchet_does_not_throw_with_too_light_a_weight() -> None:
    assert fire_published(0.0, 45.0, 10.0) == (0, 0, 0)
