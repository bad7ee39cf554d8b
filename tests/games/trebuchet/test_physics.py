"""Shots against exact ones, against SciPy, and against their own differences."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from games.trebuchet import Shot, Terms, Trebuchet, shoot, shoot_with_gradient
from games.trebuchet.physics import FOOT, POUND
from games.trebuchet.published import swapped
from tests.games.trebuchet.reference import reference_shot

EXACT = Path(__file__).parents[2] / "data" / "trebuchet_exact.csv"
# Another machine, in which no dimension is what it is by default.
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


def solved(wind: Tensor, angle: Tensor, counterweight: Tensor) -> Shot:
    """By the solver in torch."""
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


def test_derivatives_by_all_dimensions_are_those_of_differences() -> None:
    names = [field.name for field in fields(OTHER)]
    values = {name: torch.tensor(getattr(OTHER, name), dtype=torch.float64, requires_grad=True) for name in names}
    shot = shoot(torch.tensor([3.0]), torch.tensor([40.0]), torch.tensor([60.0]), trebuchet=Trebuchet(**values))
    watched = {"distance": shot.distance, "lift_off_time": shot.lift_off_time, "landing_time": shot.landing_time}
    for what, found in watched.items():
        ours = torch.autograd.grad(found.sum(), list(values.values()), retain_graph=True, allow_unused=True)
        for name, one in zip(names, ours, strict=True):
            value = getattr(OTHER, name)
            step = 1e-4 * value
            ends = [
                getattr(shoot(3.0, 40.0, 60.0, trebuchet=replace(OTHER, **{name: value + by})), what)
                for by in (2 * step, step, -step, -2 * step)
            ]
            difference = (-ends[0] + 8 * ends[1] - 8 * ends[2] + ends[3]) / (12 * step)
            assert (0.0 if one is None else one.item()) == pytest.approx(difference, rel=1e-5, abs=1e-7), (what, name)


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


def test_the_smallest_angles_throw_forwards_and_backwards() -> None:
    up, level, down = (shoot(0.0, angle, 45.0) for angle in (1e-5, 0.0, -1e-5))
    assert up.distance == pytest.approx(level.distance, abs=1e-3)
    assert not level.backwards
    assert down.backwards
    assert down.landed
    assert abs(down.distance) < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((math.nan, 45.0, 45.0), r"the wind is to be a finite number of m/s, not nan"),
        ((torch.tensor([0.0, math.inf]), 45.0, 45.0), r"the wind is to be a finite number"),
        ((0.0, 91.0, 45.0), r"the angle of release is to be from -90 to 90 degrees, not 91"),
        ((0.0, 45.0, -1.0), r"the counterweight is to be a finite number of kg above 0, not -1"),
        ((0.0, 45.0, torch.tensor([1.0, 0.0])), r"the counterweight is to be"),
    ],
)
def test_what_cannot_be_fired_is_refused(arguments: tuple[float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shoot(*arguments)


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ({"sling": 0.0}, r"trebuchet: sling is to be a finite number above 0, not 0.0"),
        ({"beam_mass": -1.0}, r"trebuchet: beam_mass is to be a finite number from 0, not -1.0"),
        ({"gravity": math.inf}, r"trebuchet: gravity is to be a finite number above 0, not inf"),
        ({"pivot_height": 3.0}, r"the long arm \(2.07.* m\) has to reach from the pivot to the ground; .* is 3.0 m"),
    ],
)
def test_what_cannot_be_built_is_refused(dimensions: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trebuchet(**dimensions)
    with pytest.raises(TypeError, match="slnig"):
        Trebuchet(slnig=2.0)  # type: ignore[call-arg]


# --- Terms, trajectories


def test_the_true_terms_may_stand_in_for_themselves() -> None:
    inputs = [torch.tensor(values, dtype=torch.float64) for values in ([4.0, -3.0], [50.0, 35.0], [40.0, 60.0])]
    of = Trebuchet().constants

    def drag(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        speed = (u * u + v * v).sqrt()
        return of.k * speed * u, of.k * speed * v

    def gravity(a: Tensor, b: Tensor, c: Tensor, weight: Tensor) -> Tensor:
        """r1 of the published equations: of the beam, the projectile and the counterweight."""
        beam, ball = of.moment * a.sin(), of.m * (of.l * a.sin() + of.e * c.sin())
        return of.g * (beam + ball - weight * (of.s * a.sin() + of.w * b.sin()))

    true = shoot(*inputs).distance
    for terms in (Terms(drag=drag), Terms(gravity=gravity), Terms(drag, gravity)):
        torch.testing.assert_close(shoot(*inputs, terms=terms).distance, true, atol=1e-6, rtol=0)
    without = shoot(*inputs, terms=Terms(drag=lambda u, v: (0 * u, 0 * v)))
    vacuum = shoot(*inputs, trebuchet=Trebuchet(air_density=0.0))
    torch.testing.assert_close(without.distance, vacuum.distance, atol=1e-6, rtol=0)
    assert (vacuum.distance > true + 1).all()


def test_derivatives_by_a_networks_weights_are_those_of_differences() -> None:
    factor = torch.tensor([0.01, 0.3], dtype=torch.float64, requires_grad=True)

    def distance() -> Tensor:
        terms = Terms(
            drag=lambda u, v: (factor[0] * u.abs() * u, factor[0] * v.abs() * v),
            gravity=lambda a, b, c, weight: -250 * a.sin() - factor[1] * b.sin(),
        )
        return shoot(torch.tensor([2.0]), torch.tensor([45.0]), torch.tensor([50.0]), terms=terms).distance.sum()

    (ours,) = torch.autograd.grad(distance(), factor)
    for place, step in enumerate((1e-5, 1e-3)):
        ends = []
        for by in (step, -step):
            with torch.no_grad():
                factor[place] += by
                ends.append(float(distance()))
                factor[place] -= by
        assert ours[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)


def test_a_trajectory_leads_from_the_ground_to_the_ground() -> None:
    shot = shoot(5.0, 45.0, 45.0, trajectory=True)
    assert shot.trajectory is not None
    time, projectile, turned = shot.trajectory
    assert (time.diff() >= 0).all()
    assert time[-1].item() == pytest.approx(shot.landing_time.item())
    assert projectile.shape == (len(time), 2)
    assert turned.shape == (len(time), 3)
    assert projectile[0, 1].item() == pytest.approx(-Trebuchet().pivot_height)
    sliding = time <= shot.lift_off_time
    torch.testing.assert_close(projectile[sliding, 1], projectile[0, 1].expand(int(sliding.sum())), atol=1e-9, rtol=0)
    assert projectile[-1].tolist() == pytest.approx([shot.distance.item(), -Trebuchet().pivot_height])


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
