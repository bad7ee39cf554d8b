"""Shots against exact ones, against SciPy, and against their own differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from games.trebuchet import Shot, Trebuchet, shoot
from games.trebuchet.physics import FOOT, POUND
from games.trebuchet.published import swapped
from tests.games.trebuchet.reference import exact


def solved(wind: Tensor, angle: Tensor, counterweight: Tensor) -> Shot:
    """Fires by the solver in torch."""
    return shoot(wind, angle, counterweight, trajectory=True)


@pytest.mark.parametrize("fire", [shoot, solved], ids=["compiled", "torch"])
def test_times_distances_and_gradients_are_exact(fire: Callable[..., Shot]) -> None:
    wind, angle, pounds = (column.requires_grad_() for column in exact("wind", "angle", "weight"))
    shot = fire(wind, angle, pounds * POUND)
    lift_off, release, landing, distance = exact("lift_off_time", "release_time", "landing_time", "distance")
    for ours, theirs in ((shot.lift_off_time, lift_off), (shot.release_time, release), (shot.landing_time, landing)):
        torch.testing.assert_close(ours.detach(), theirs, atol=1e-7, rtol=0)
    torch.testing.assert_close(shot.distance.detach(), distance, atol=1e-6, rtol=0)
    ours_by = torch.autograd.grad(shot.distance.sum(), (wind, angle, pounds))
    for one, other in zip(ours_by, exact("ddistance_dwind", "ddistance_dangle", "ddistance_dweight"), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert shot.landed.all()
    assert not shot.slack.any()


def test_drag_and_radius_are_known() -> None:
    assert Trebuchet().constants.k == pytest.approx(0.0152036870, abs=5e-11)
    assert Trebuchet().long_arm == pytest.approx(6.792 * FOOT)


# --- What goes wrong


@pytest.mark.parametrize(("exchange", "tight", "loose"), [(False, 272, 274), (True, 264, 265)])
def test_the_sling_goes_slack_under_heavy_weights(exchange: bool, tight: float, loose: float) -> None:
    trebuchet = swapped(Trebuchet()) if exchange else Trebuchet()
    pounds = torch.tensor([tight, loose], dtype=torch.float64)
    for trajectory in (False, True):
        shot = shoot(0.0, 45.0, pounds * POUND, trebuchet=trebuchet, trajectory=trajectory)
        assert shot.slack.tolist() == [False, True]
        assert shot.landed.all()


@pytest.mark.parametrize("fire", [shoot, solved], ids=["compiled", "torch"])
def test_failed_shots_are_flagged_and_spoil_nothing(fire: Callable[..., Shot]) -> None:
    inputs = [
        torch.tensor(values, dtype=torch.float64, requires_grad=True)
        for values in ([0.0, 0.0, 5.0], [45.0, -30.0, 45.0], [10 * POUND, 45.0, 45.0])
    ]
    shot = fire(*inputs)
    assert shot.lifted.tolist() == [False, True, True]
    assert shot.landed.tolist() == [False, True, True]
    assert shot.backwards.tolist() == [False, True, False]
    assert shot.landing_time[0] == math.inf
    assert shot.distance[1] < 0
    for gradient in torch.autograd.grad(shot.distance.sum(), inputs):
        assert gradient.isfinite().all()
        assert gradient[0] == 0
        assert gradient[1:].abs().min() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((math.nan, 45.0, 45.0), r"the wind must be a finite number of m/s, not nan"),
        ((torch.tensor([0.0, math.inf]), 45.0, 45.0), r"the wind must be a finite number"),
        ((0.0, 91.0, 45.0), r"the angle of release must be from -90 to 90 degrees, not 91"),
        ((0.0, 45.0, -1.0), r"the counterweight must be a finite number of kg above 0, not -1"),
        ((0.0, 45.0, torch.tensor([1.0, 0.0])), r"the counterweight must be"),
    ],
)
def test_wrong_shots_are_refused(arguments: tuple[float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shoot(*arguments)


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ({"sling": 0.0}, r"trebuchet: sling must be a finite number above 0, not 0.0"),
        ({"beam_mass": -1.0}, r"trebuchet: beam_mass must be a finite number from 0, not -1.0"),
        ({"gravity": math.inf}, r"trebuchet: gravity must be a finite number above 0, not inf"),
        ({"pivot_height": 3.0}, r"the long arm \(2.07.* m\) must reach from the pivot to the ground; .* is 3.0 m"),
    ],
)
def test_wrong_dimensions_are_refused(dimensions: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trebuchet(**dimensions)
    with pytest.raises(TypeError, match="slnig"):
        Trebuchet(slnig=2.0)  # type: ignore[call-arg]


def test_a_batch_is_its_shots_whatever_its_shape_and_the_threads() -> None:
    angles = torch.linspace(20, 60, 600, dtype=torch.float64).view(300, 2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        shot = shoot(torch.tensor(3.0), angles, 50.0)
    finally:
        torch.set_num_threads(before)
    assert shot.distance.shape == shot.landed.shape == (300, 2)
    assert shot.release.shape == (300, 2, 6)
    for row, column in ((0, 0), (299, 1), (150, 1)):
        one = shoot(3.0, angles[row, column].item(), 50.0)
        # To rounding: the compiler may order sums otherwise where shots are inlined.
        assert shot.distance[row, column].item() == pytest.approx(one.distance, rel=1e-12)
        assert shot.release[row, column].tolist() == pytest.approx(one.release.tolist(), rel=1e-11)
