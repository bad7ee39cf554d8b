"""Least squares through the solver, against closed forms of linear regression, SciPy's solver, and differences."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from alphazero.dynamics import ude
from alphazero.dynamics.ude import (
    NONE,
    DiscoveryError,
    Incomplete,
    Observed,
    Progress,
    cut,
    fit,
    fixed,
    inputs_of,
    learn,
    predict,
    sensitivities,
)

# dy/dt = term: the term is a slope.
SLOPE = Incomplete(lambda y, given: y, lambda value, y, given: value, outputs=1, scale=1.0)

# A pendulum of the length `given`, in m, whose gravity is the term, in m/s^2: angle and its rate.
PENDULUM = Incomplete(
    lambda y, given: y[:1], lambda value, y, given: torch.stack([y[1], -value[0] / given[0]]), outputs=1, scale=10.0
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def constant(parameters: Tensor, inputs: Tensor) -> Tensor:
    return parameters[:, None] * torch.ones_like(inputs)


def swing(parameters: Tensor, inputs: Tensor) -> Tensor:
    """g sin(angle), and a term in the angle's third power."""
    return parameters[0] * inputs.sin() + parameters[1] * inputs**3


def line(noise: float, *, moments: int = 30, slope: float = 0.7) -> Observed:
    """One trajectory, a straight line that starts at 2."""
    times = torch.linspace(0, 3, moments, dtype=torch.float64).square()[None]  # not evenly
    states = (2 + slope * times)[..., None]
    deviation = torch.full_like(states, noise)
    states = states + deviation * torch.randn(states.shape, generator=generator(), dtype=torch.float64)
    return Observed(times, states, torch.zeros(1, 0, dtype=torch.float64), deviation)


def pendulums(noise: float = 0.0, *, moments: int = 25) -> Observed:
    """Three, of different lengths, by SciPy."""
    lengths, times = (0.5, 1.0, 2.0), np.linspace(0, 2.0, moments)
    states = []
    for length in lengths:
        found = solve_ivp(
            lambda t, y, length=length: [y[1], -9.81 / length * math.sin(y[0])], (0, 2), [1.0, 0.5],
            method="DOP853", rtol=1e-11, atol=1e-11, t_eval=times,
        )  # fmt: skip
        states.append(found.y.T)
    exact = torch.from_numpy(np.stack(states))
    deviation = (noise * exact.square().mean((0, 1)).sqrt()).expand_as(exact)
    blurred = exact + deviation * torch.randn(exact.shape, generator=generator(), dtype=torch.float64)
    given = torch.tensor(lengths, dtype=torch.float64)[:, None]
    return Observed(torch.from_numpy(times).repeat(len(lengths), 1), blurred, given, deviation)


def test_a_slope_and_its_standard_error_are_those_of_linear_regression() -> None:
    observed = line(0.1)
    found = fit(SLOPE, constant, torch.zeros(1), observed)
    times, states = observed.times[0], observed.states[0, :, 0]
    centred = times - times.mean()
    slope = (centred * states).sum() / centred.square().sum()
    assert found.parameters.item() == pytest.approx(slope.item(), rel=1e-6)
    assert found.deviations.item() == pytest.approx(0.1 / centred.square().sum().sqrt().item(), rel=1e-6)
    rest = states - states.mean() - slope * centred
    assert found.residual == pytest.approx(rest.square().mean().sqrt().item() / 0.1, rel=1e-6)
    assert found.starts.item() == pytest.approx((states.mean() - slope * times.mean()).item(), rel=1e-6)


@pytest.mark.parametrize("pieces", [2, 4, 7, 29, 1000])
def test_pieces_join_to_the_line_that_a_single_one_is(pieces: int) -> None:
    """30 moments are no multiple of most of these: repetitions count nothing."""
    whole = fit(SLOPE, constant, torch.zeros(1), line(0.1))
    found = fit(SLOPE, constant, torch.zeros(1), line(0.1), pieces=pieces)
    # Seams may yield by a tenth of the noise each, so by less than a tenth of the standard error in all.
    assert found.parameters.item() == pytest.approx(whole.parameters.item(), abs=0.1 * whole.deviations.item())


def test_what_was_not_observed_does_not_count() -> None:
    observed = line(0.1)
    states, noise = observed.states.clone(), observed.noise.clone()
    states[0, 10], noise[0, 10] = 1e9, math.inf
    left = [number for number in range(30) if number != 10]
    without = Observed(observed.times[:, left], observed.states[:, left], observed.given, observed.noise[:, left])
    for pieces in (1, 4):
        found = fit(SLOPE, constant, torch.zeros(1), observed._replace(states=states, noise=noise), pieces=pieces)
        assert found.residual == pytest.approx(1, abs=0.5)
        expected = fit(SLOPE, constant, torch.zeros(1), without).parameters.item()
        assert found.parameters.item() == pytest.approx(expected, rel=1e-3)


def test_a_prior_is_ridge_regression() -> None:
    observed, prior = line(0.1), 0.05
    found = fit(SLOPE, constant, torch.zeros(1), observed, prior=prior)
    times, states = observed.times[0], observed.states[0, :, 0]
    centred = times - times.mean()
    precision = centred.square().sum() / 0.1**2
    expected = (centred * states).sum() / 0.1**2 / (precision + prior**-2)
    assert found.parameters.item() == pytest.approx(expected.item(), rel=1e-5)


def test_trajectories_are_scipys_to_the_fourth_order() -> None:
    observed, errors = pendulums(), []
    for substeps in (4, 8):
        states = predict(
            PENDULUM, lambda inputs: 9.81 * inputs.sin(), observed, observed.states[:, 0], substeps=substeps
        )
        errors.append((states - observed.states).abs().max().item())
    assert errors[1] < 1e-6
    assert errors[0] / errors[1] == pytest.approx(2**4, rel=0.15)


@pytest.mark.parametrize("at_once", [1, 7, 4096])
def test_sensitivities_are_differences(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many states are linearised in one batch; there are 3 trajectories."""
    monkeypatch.setattr(ude, "AT_ONCE", at_once)
    observed = pendulums()
    parameters, starts = torch.tensor([9.0, 0.4], dtype=torch.float64), observed.states[:, 0]
    ours = sensitivities(PENDULUM, swing, parameters, observed, starts)

    def states(parameters: Tensor, starts: Tensor) -> Tensor:
        return predict(PENDULUM, lambda inputs: swing(parameters, inputs), observed, starts)

    for number, step in enumerate(1e-5 * torch.eye(2, dtype=torch.float64)):
        by_parameter = (states(parameters + step, starts) - states(parameters - step, starts)) / 2e-5
        torch.testing.assert_close(ours[..., number], by_parameter, atol=1e-8, rtol=1e-7)
        by_start = (states(parameters, starts + step) - states(parameters, starts - step)) / 2e-5
        torch.testing.assert_close(ours[..., 2 + number], by_start, atol=1e-8, rtol=1e-7)


@pytest.mark.parametrize("pieces", [1, 4])
def test_gravity_is_learned_from_pendulums(pieces: int) -> None:
    exact = fit(PENDULUM, swing, torch.tensor([5.0, 1.0]), pendulums(), pieces=pieces)
    assert exact.parameters.tolist() == pytest.approx([9.81, 0.0], abs=1e-3)
    noisy = fit(PENDULUM, swing, torch.tensor([5.0, 1.0]), pendulums(0.01), pieces=pieces)
    off = (noisy.parameters - torch.tensor([9.81, 0.0])) / noisy.deviations
    assert (off.abs() < 4).all()
    assert (noisy.deviations < 0.3).all()
    # Of 150 numbers 8 are fitted: 6 starts and 2 parameters.
    assert noisy.residual == pytest.approx(math.sqrt(1 - 8 / 150), abs=4 / math.sqrt(2 * 150))


def test_a_network_learns_the_term_where_it_was_seen() -> None:
    observed, told = pendulums(), []
    learned = learn(PENDULUM, observed, generator=generator(), prior=10.0, pieces=6, report=told.append)
    inputs = inputs_of(PENDULUM, observed.states, observed)
    torch.testing.assert_close(learned.term(inputs), 9.81 * inputs.sin(), atol=0.02, rtol=0)
    assert isinstance(told[-1], Progress)
    assert [progress.step for progress in told] == list(range(1, len(told) + 1))
    assert told[-1].residual < told[0].residual
    twice = [learn(PENDULUM, observed, generator=generator(), prior=10.0, pieces=6, steps=4) for _ in range(2)]
    assert torch.equal(*(one.fit.parameters for one in twice))


def test_without_parameters_only_the_starts_are_fitted() -> None:
    observed = line(0.1)
    found = fit(SLOPE, fixed(lambda inputs: torch.full_like(inputs, 0.7)), NONE, observed)
    rest = observed.states[0, :, 0] - 0.7 * observed.times[0]
    assert found.starts.item() == pytest.approx(rest.mean().item(), rel=1e-6)


def test_a_guess_that_flies_off_to_infinity_is_only_a_bad_one() -> None:
    explosive = Incomplete(lambda y, given: y, lambda value, y, given: value * y**2, outputs=1, scale=1.0)
    observed = line(0.1)
    found = fit(explosive, constant, torch.tensor([1e6]), observed, steps=5)
    assert math.isfinite(found.residual)


@dataclass
class Broken:
    """A fault in observations, and its message."""

    change: dict[str, Tensor]
    said: str


TIMES = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    "broken",
    [
        Broken({"states": torch.tensor([[[1.0], [math.nan], [2.0]]])}, r"states\[0, 1, 0\] is nan, no finite number"),
        Broken({"times": torch.tensor([[0.0, math.inf, 2.0]])}, r"times\[0, 1\] is inf"),
        Broken({"times": torch.tensor([[0.0, 2.0, 2.0]])}, "trajectory 0 do not grow from moment 1 to the next"),
        Broken({"noise": torch.full((1, 3, 1), -1.0)}, "from 0 to inf"),
        Broken({"noise": torch.full((1, 3, 1), math.inf)}, "coordinate 0 of the states is observed nowhere"),
        Broken({"given": torch.zeros(2, 0)}, r"shapes do not fit together .* given \[2, 0\]"),
        Broken(
            {"times": TIMES[:, :1], "states": torch.zeros(1, 1, 1), "noise": torch.zeros(1, 1, 1)},
            "too little data: 1 trajectories in 1 moments",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_named(broken: Broken) -> None:
    whole = Observed(TIMES, torch.zeros(1, 3, 1), torch.zeros(1, 0), torch.zeros(1, 3, 1))
    with pytest.raises(DiscoveryError, match=broken.said):
        fit(SLOPE, constant, torch.zeros(1), whole._replace(**broken.change))


def test_each_moment_counts_in_one_piece_and_pieces_meet() -> None:
    observed = line(0.1, moments=12)
    for count in (1, 2, 3, 5, 11):
        pieces, seams = cut(observed, count)
        assert int(pieces.noise.isfinite().sum()) == 12
        assert torch.equal(pieces.times[seams - 1, -1], pieces.times[seams, 0])
        assert pieces.times.min() == observed.times.min()
        assert pieces.times.max() == observed.times.max()
