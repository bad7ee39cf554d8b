"""Predators and prey against SciPy's solution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from alphazero.dynamics.equations import total
from alphazero.dynamics.lotka_volterra import COUNTS, extrapolate, lotka_volterra, predators_and_prey, true_counts

BORN, EATEN, FED, DIE = 1.3, 0.9, 0.8, 1.8  # of the paper's example


def scipys_counts(times: np.ndarray) -> np.ndarray:
    def change(t: float, y: np.ndarray) -> list[float]:
        return [BORN * y[0] - EATEN * y[0] * y[1], FED * y[0] * y[1] - DIE * y[1]]

    return np.asarray(solve_ivp(change, (0, times[-1]), COUNTS, rtol=1e-9, atol=1e-9, t_eval=times).y).T


def test_the_true_counts_are_scipys() -> None:
    times = np.linspace(0, 20, 401)
    np.testing.assert_allclose(true_counts(torch.from_numpy(times)).numpy(), scipys_counts(times), atol=1e-5)


def test_counts_have_errors_as_a_part_of_their_mean() -> None:
    observed = predators_and_prey(3.0, 6.0, 0.005, torch.Generator().manual_seed(0))
    assert observed.times[0].tolist() == pytest.approx(np.linspace(3, 6, 31).tolist())
    exact = torch.from_numpy(scipys_counts(np.linspace(0, 6, 61))[30:])
    torch.testing.assert_close(observed.noise[0, 0], 0.005 * exact.mean(0), rtol=1e-4, atol=0)
    off = (observed.states[0] - exact) / observed.noise[0]
    assert off.square().mean().sqrt().item() == pytest.approx(1, abs=4 / np.sqrt(2 * off.numel()))


def test_the_truth_is_a_sum_of_two_candidates() -> None:
    """The paper's library: 21 monomials of two variables up to the fifth degree and two sines, for each coordinate."""
    case = lotka_volterra()
    chosen = {candidate.name: candidate for candidate in case.library}
    assert len(chosen) == len(case.library) == 2 * (21 + 2)
    y = torch.rand(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both = [chosen[r"x y\,\vec e_x"], chosen[r"x y\,\vec e_y"]]
    found = total(both)(torch.tensor([-EATEN, FED], dtype=torch.float64), y)
    assert case.truth is not None
    torch.testing.assert_close(found, case.truth(y))


def test_the_truth_extrapolates_without_error_and_another_start_does_not() -> None:
    case = lotka_volterra()
    start = torch.tensor([COUNTS], dtype=torch.float64)
    assert max(extrapolate(case.truth, start).errors().values()) < 1e-3
    off = extrapolate(case.truth, 1.01 * start)
    assert off.errors()["of_norm"] == pytest.approx(((off.found - off.true).norm() / off.true.norm()).item())
    assert 0.01 < off.errors()["of_norm"] < off.errors()["worst"]
