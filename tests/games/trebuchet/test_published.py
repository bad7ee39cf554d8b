"""The talk's own numbers."""

from __future__ import annotations

import csv

import pytest
import torch

from games.trebuchet.published import NoShotError, shoot_published
from tests.games.trebuchet.reference import EXACT


def test_the_talks_shot_and_its_gradient() -> None:
    inputs = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (5.0, 55.0, 220.0)]
    distance = shoot_published(*inputs)
    assert distance.item() == pytest.approx(93.53880897080582, rel=1e-12)
    gradient = [part.item() for part in torch.autograd.grad(distance, inputs)]
    assert gradient == pytest.approx([4.296867939687003, -1.4268043075186865, 0.07697968187505561], rel=1e-6)


def test_the_talks_descent() -> None:
    """Ten steps of 0.1 down the squared miss, from 55 degrees and 220 pounds, with 5 m/s of wind, to 100 m."""
    aim = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (55.0, 220.0)]
    for _ in range(10):
        slopes = torch.autograd.grad((shoot_published(5.0, *aim) - 100).square(), aim)
        aim = [(value - 0.1 * slope).detach().requires_grad_() for value, slope in zip(aim, slopes, strict=True)]
    assert shoot_published(5.0, *aim).item() == pytest.approx(99.79941172730138, rel=1e-9)


def test_other_shots_of_the_package() -> None:
    with EXACT.open(newline="") as file:
        rows = list(csv.DictReader(file))[::8]
    for row in rows:
        distance = shoot_published(*(float(row[name]) for name in ("wind", "angle", "weight")))
        assert distance.item() == pytest.approx(float(row["distance_euler60"]), rel=1e-9)


def test_a_weight_that_is_too_light() -> None:
    with pytest.raises(NoShotError, match="a counterweight of 10 lb is too light"):
        shoot_published(0.0, 45.0, 10.0)
