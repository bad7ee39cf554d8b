"""Equations are recovered whose terms are known, and refused where they are not in the library."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from alphazero.dynamics import figures
from alphazero.dynamics.equations import (
    Candidate,
    Case,
    Equation,
    PoorFitError,
    Recovered,
    plain,
    recover,
    regress,
    through_solver,
)
from alphazero.dynamics.sparse_regression import Regression, supports
from alphazero.dynamics.ude import DiscoveryError, Incomplete, Learned, Observed, fit, learn, predict
from alphazero.report.position_figures import png

# x'' = -x + term, and the term is -0.3 x' - 0.5 x^3: a spring that gets stiffer, with friction.
SPRING = Incomplete(lambda y, given: y, lambda value, y, given: torch.stack([y[1], -y[0] + value[0]]), 1, 1.0)
LIBRARY = (
    Candidate("1", lambda y: torch.ones_like(y[:1])),
    Candidate("x", lambda y: y[:1]),
    Candidate("v", lambda y: y[1:]),
    Candidate("x^2", lambda y: y[:1] ** 2),
    Candidate("x v", lambda y: y[:1] * y[1:]),
    Candidate("v^2", lambda y: y[1:] ** 2),
    Candidate("x^3", lambda y: y[:1] ** 3),
    Candidate("|v|v", lambda y: y[1:].abs() * y[1:]),
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def truth(y: Tensor) -> Tensor:
    return -0.3 * y[1:] - 0.5 * y[:1] ** 3


CASE = Case("spring", "f", "m/s²", ("x", "v"), (), SPRING, LIBRARY, 6, truth)


def springs(noise: float, seed: int, *, count: int = 5, moments: int = 25) -> Observed:
    source = generator(seed)
    starts = 3 * torch.rand(count, 2, generator=source, dtype=torch.float64) - 1.5
    times = torch.linspace(0, 4, moments, dtype=torch.float64).repeat(count, 1)
    nothing = torch.zeros(count, 0, dtype=torch.float64)
    unseen = torch.zeros(count, moments, 2, dtype=torch.float64)
    exact = predict(SPRING, truth, Observed(times, unseen, nothing, unseen), starts, substeps=20)
    deviation = (noise * exact.square().mean((0, 1)).sqrt()).expand_as(exact)
    states = exact + deviation * torch.randn(exact.shape, generator=source, dtype=torch.float64)
    return Observed(times, states, nothing, deviation)


def learned(observed: Observed, noise: float) -> Learned:
    prior = 1.0 if noise else 10.0
    return learn(SPRING, observed, generator=generator(), prior=prior, pieces=CASE.pieces, steps=15)


@pytest.fixture(scope="module")
def noisy() -> tuple[Observed, Observed, Learned]:
    observed = springs(0.02, 1)
    return observed, springs(0.02, 2), learned(observed, 0.02)


@pytest.fixture(scope="module")
def found(noisy: tuple[Observed, Observed, Learned]) -> Recovered:
    observed, held_out, network = noisy
    return recover(SPRING, LIBRARY, network, observed, held_out, generator=generator())


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
    """What it says a sum of candidates leaves is what the fit to the trajectories leaves, as far as they are linear."""
    observed, _, network = noisy
    regression = through_solver(SPRING, LIBRARY, network, observed)
    support = [2, 6]

    def model(parameters: Tensor, inputs: Tensor) -> Tensor:
        return parameters[0] * inputs[1:] + parameters[1] * inputs[:1] ** 3

    fitted = fit(SPRING, model, torch.tensor([-0.2, -0.4]), observed, pieces=CASE.pieces)
    numbers = observed.states.numel()
    assert regression.left(support) == pytest.approx(numbers * fitted.residual**2, rel=0.02)
    assert regression.coefficients(support) == pytest.approx(fitted.parameters.numpy(), rel=0.02)


def test_supports_are_those_of_an_exhaustive_search() -> None:
    """Collinear columns, among which greedy ways go astray."""
    source = np.random.default_rng(3)
    base = source.normal(size=(200, 3))
    columns = np.c_[base, base @ source.normal(size=(3, 4)) + 0.3 * source.normal(size=(200, 4))]
    target = columns[:, [0, 3, 5]] @ [1.0, -1.2, 0.7] + 0.05 * source.normal(size=200)
    regression = Regression([np.c_[columns, target][rows] for rows in (slice(0, 90), slice(90, 200))])
    met = supports(regression)
    for size in (1, 2, 3):
        every = [list(one) for one in itertools.combinations(range(7), size)]
        sums = [
            np.square(target - columns[:, one] @ np.linalg.lstsq(columns[:, one], target)[0]).sum() for one in every
        ]
        assert every[int(np.argmin(sums))] in met
        assert regression.left(every[0]) == pytest.approx(sums[0])
    assert [0, 3, 5] in met


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


def test_pictures_show_what_was_found(noisy: tuple[Observed, Observed, Learned], found: Recovered) -> None:
    _, held_out, network = noisy
    term = figures.term(CASE, held_out, network.term, found.best.equation.term)
    drawn = {line.get_label(): line for line in term.axes[0].lines if not line.get_label().startswith("_")}
    assert set(drawn) == {"truth", "network", "equation"}
    # The lines of the truth and of the equation, point by point.
    apart = np.abs(drawn["truth"].get_ydata() - drawn["equation"].get_ydata()).max()
    assert apart < 0.05
    sparsity = figures.sparsity(found.path, network=found.network)
    sizes, residuals = sparsity.axes[0].lines[0].get_data()
    assert (len(sizes), min(residuals)) == (len(found.path), min(choice.held_out for choice in found.path))
    for figure in (
        term,
        sparsity,
        figures.trajectories(CASE, held_out, network.term, None),
        figures.formula(CASE, found),
    ):
        assert png(figure).startswith(b"\x89PNG")
    text = " ".join(one.get_text() for one in figures.formula(CASE, found).texts)
    assert found.best.equation.formula("f") in text


def test_misses_are_drawn_for_the_models_that_have_some() -> None:
    figure = figures.misses({"true": [(2, 0.1), (5, 0.1)], "wrong": [(2, 9.0)], "network": [], "equation": [(5, 0.2)]})
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [2, 1, 1]
    assert math.isclose(figure.axes[0].lines[1].get_ydata()[0], 9.0)
