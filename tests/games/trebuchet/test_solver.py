"""Shots in torch: derivatives by anything against differences, terms that are replaced, and trajectories."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from games.trebuchet import Terms, Trebuchet, shoot, solver
from tests.games.trebuchet.reference import OTHER


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


@pytest.mark.parametrize("recorded", [0, 1])
def test_derivatives_by_a_networks_weights_are_those_of_differences(
    recorded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its steps are recorded whole or done again."""
    monkeypatch.setattr(solver, "MOST_RECORDED", recorded)
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
