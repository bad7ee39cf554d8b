"""Equations are recovered whose terms are known, and refused where they are not in the library."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alphazero.dynamics.equations import (
    Candidate,
    Equation,
    PoorFitError,
    Recovered,
    plain,
    recover,
    regress,
    through_solver,
)
from alphazero.dynamics.ude import DiscoveryError, Learned, Observed, fit
from tests.dynamics.springs import CASE, LIBRARY, SPRING, generator, learned, springs, truth


def names(equation: Equation) -> list[str]:
    return [candidate.name for candidate in equation.candidates]


def test_the_right_terms_are_recovered_from_noise_and_no_others(found: Recovered) -> None:
    equation = found.best.equation
    assert names(equation) == ["v", "x^3"]
    off = (equation.coefficients - torch.tensor([-0.3, -0.5])) / equation.deviations
    assert (off.abs() < 4).all()
    assert (equation.deviations < 0.02).all()
    assert found.shares == (1.0, 1.0)
    assert found.best.held_out < 1.2
    assert found.best.held_out <= found.network
    by_size = {len(choice.equation.candidates): choice for choice in found.path}
    assert by_size[1].held_out > 2 * by_size[2].held_out
    assert by_size[3].residual <= by_size[2].residual * 1.001


def test_without_noise_they_are_exact() -> None:
    observed = springs(0.0, 1)
    exact = recover(SPRING, LIBRARY, learned(observed, 0.0), observed, springs(0.0, 2), generator=generator())
    assert names(exact.best.equation) == ["v", "x^3"]
    assert exact.best.equation.coefficients.tolist() == pytest.approx([-0.3, -0.5], rel=1e-4)


def test_straight_from_the_data_the_same_terms_are_further_off(found: Recovered) -> None:
    """Smoothed differences lag behind: they are good for the terms at best."""
    observed = springs(0.0, 1, moments=200)
    direct = regress(SPRING, LIBRARY, observed)
    assert {"v", "x^3"} <= set(names(direct))
    coefficients = dict(zip(names(direct), direct.coefficients.tolist(), strict=True))
    assert coefficients["v"] == pytest.approx(-0.3, abs=0.03)
    assert coefficients["x^3"] == pytest.approx(-0.5, abs=0.03)
    by_network = dict(zip(names(found.best.equation), found.best.equation.coefficients.tolist(), strict=True))
    from_noise = dict(zip(names(found.direct), found.direct.coefficients.tolist(), strict=True))
    assert abs(by_network["x^3"] + 0.5) < abs(from_noise.get("x^3", 0.0) + 0.5)


def test_without_the_right_term_it_says_so_with_numbers(noisy: tuple[Observed, Observed, Learned]) -> None:
    observed, held_out, network = noisy
    poor = tuple(candidate for candidate in LIBRARY if candidate.name in {"1", "x", "x^2", "v^2"})
    with pytest.raises(
        PoorFitError, match=r"misses held-out trajectories by [1-9][\d.]+ standard deviations"
    ) as raised:
        recover(SPRING, poor, network, observed, held_out, generator=generator())
    assert raised.value.path
    assert min(choice.held_out for choice in raised.value.path) > 2


def test_too_little_data_is_refused(noisy: tuple[Observed, Observed, Learned]) -> None:
    _, held_out, network = noisy
    few = springs(0.02, 1, count=1, moments=4)
    with pytest.raises(DiscoveryError, match="too little data: 8 numbers of 1 trajectories, 6 without their starts"):
        recover(SPRING, LIBRARY, network, few, held_out, generator=generator())


def test_a_candidate_that_is_not_finite_is_named(noisy: tuple[Observed, Observed, Learned]) -> None:
    observed, held_out, network = noisy
    bad = (*LIBRARY, Candidate(r"\log x", lambda y: y[:1].log()))
    with pytest.raises(DiscoveryError, match=r"candidate \\log x is not finite"):
        recover(SPRING, bad, network, observed, held_out, generator=generator())


def test_candidates_without_any_effect_are_refused(noisy: tuple[Observed, Observed, Learned]) -> None:
    observed, held_out, network = noisy
    nothing = tuple(Candidate(name, lambda y: torch.zeros_like(y[:1])) for name in ("0", "0 x"))
    with pytest.raises(DiscoveryError, match="no candidate changes anything that was observed"):
        recover(SPRING, nothing, network, observed, held_out, generator=generator())


def test_one_trajectory_is_resampled_by_its_pieces(noisy: tuple[Observed, Observed, Learned]) -> None:
    observed, _, network = noisy
    assert len(through_solver(SPRING, LIBRARY, network, observed).blocks) == len(observed.times)
    alone = Observed(*(field[:1] for field in observed))
    starts = network.fit.starts[: CASE.pieces]
    single = network._replace(fit=network.fit._replace(starts=starts))
    assert len(through_solver(SPRING, LIBRARY, single, alone).blocks) == CASE.pieces


def test_regression_through_the_solver_foresees_the_fit(noisy: tuple[Observed, Observed, Learned]) -> None:
    """Its residual for a sum of candidates is that of the fit to the trajectories, as far as these are linear."""
    observed, _, network = noisy
    regression = through_solver(SPRING, LIBRARY, network, observed)
    support = [2, 6]

    def model(parameters: Tensor, inputs: Tensor) -> Tensor:
        return parameters[0] * inputs[1:] + parameters[1] * inputs[:1] ** 3

    fitted = fit(SPRING, model, torch.tensor([-0.2, -0.4]), observed, pieces=CASE.pieces)
    numbers = observed.states.numel()
    assert regression.left(support) == pytest.approx(numbers * fitted.residual**2, rel=0.02)
    assert regression.coefficients(support) == pytest.approx(fitted.parameters.numpy(), rel=0.02)


def test_a_formula_has_as_many_digits_as_are_known() -> None:
    equation = Equation(
        (Candidate(r"|v|\,\vec v", truth), Candidate(r"\sin A", truth)),
        torch.tensor([0.0152036870, -3.2], dtype=torch.float64),
        torch.tensor([1e-5, 0.5], dtype=torch.float64),
    )
    assert equation.formula(r"\vec a") == r"\vec a = 0.015204\,|v|\,\vec v -3.2\,\sin A"
    assert plain(equation.formula(r"\vec a")) == "a = 0.015204 |v| v -3.2 sin A"
    assert equation.term(torch.tensor([[1.0], [2.0]], dtype=torch.float64)).item() == pytest.approx(
        (0.0152036870 - 3.2) * (-0.6 - 0.5)
    )
