"""Other solvers fire the same shots; those of packages that are missing are skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.ode_solvers import diffrax_shots, scipy_shot, torchdiffeq_shot
from benchmarks.trebuchet import agree
from games.trebuchet.physics import POUND

ROOT = Path(__file__).resolve().parents[3]
EXACT = np.genfromtxt(ROOT / "tests" / "data" / "trebuchet_exact.csv", delimiter=",", names=True)
INPUTS = (EXACT["wind"], EXACT["angle"], EXACT["weight"] * POUND)
SLOPES = np.stack([EXACT[f"ddistance_d{name}"] / unit for name, unit in (("wind", 1), ("angle", 1), ("weight", POUND))])


def test_scipy_fires_the_same_shots() -> None:
    shots = [scipy_shot(*inputs) for inputs in zip(*(values[:5].tolist() for values in INPUTS), strict=True)]
    agree("scipy", EXACT["distance"][:5], shots)


def test_torchdiffeq_fires_the_same_shot() -> None:
    pytest.importorskip("torchdiffeq")
    distance, slope = torchdiffeq_shot(*(float(values[0]) for values in INPUTS))
    agree("torchdiffeq", EXACT["distance"][0], distance, (SLOPES[:, 0], slope))


def test_diffrax_fires_the_same_shots() -> None:
    pytest.importorskip("diffrax")
    distances, slopes = diffrax_shots()(*INPUTS)
    agree("diffrax", EXACT["distance"], distances, (SLOPES.T, slopes))
