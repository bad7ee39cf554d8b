"""Predators and prey after Lotka and Volterra: how their numbers change when they meet is unknown.

The example of C. Rackauckas et al., "Universal Differential Equations for Scientific Machine Learning"
(arXiv:2001.04385), with the candidates that it has: all monomials up to the fifth degree, and sines.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.dynamics.equations import Candidate, Case
from alphazero.dynamics.ude import Incomplete, Observed, Term, follow, predict

BIRTH, EATEN, FED, DEATH = 1.3, 0.9, 0.8, 1.8  # rates: of prey born and eaten, of predators fed and dying
COUNTS = (0.44249296, 4.6280594)  # of prey and of predators, at first
OBSERVED, HELD_OUT, LONG = 3.0, 6.0, 20.0  # times up to which counts are observed, held out, and extrapolated
NOTHING = torch.zeros(1, 0, dtype=torch.float64)


def lotka_volterra() -> Case:
    """Counts of prey x and predators y; the term is the rate [2, B] at which their meetings change both."""

    def rates(value: Tensor, y: Tensor, given: Tensor) -> Tensor:
        return torch.stack([BIRTH * y[0] + value[0], -DEATH * y[1] + value[1]])

    def monomial(x: int, y: int) -> tuple[str, Term]:
        parts = [f"{name}^{power}" if power > 1 else name for name, power in (("x", x), ("y", y)) if power]
        return " ".join(parts) or "1", lambda state: state[0] ** x * state[1] ** y

    functions = [monomial(x, degree - x) for degree in range(6) for x in range(degree, -1, -1)]
    functions += [(r"\sin x", lambda y: y[0].sin()), (r"\sin y", lambda y: y[1].sin())]

    def candidate(name: str, function: Term, place: int) -> Candidate:
        axis = torch.eye(2, dtype=torch.float64)[:, place, None]
        return Candidate(rf"{name}\,\vec e_{'xy'[place]}", lambda y: axis * function(y))

    return Case(
        name="lotka-volterra",
        symbol=r"\vec f",
        unit="1/s",
        states=("x", "y"),
        given=(),
        incomplete=Incomplete(lambda y, given: y, rates, outputs=2, scale=5.0),
        library=tuple(candidate(name, function, place) for place in (0, 1) for name, function in functions),
        pieces=5,
        truth=lambda y: torch.stack([-EATEN * y[0] * y[1], FED * y[0] * y[1]]),
    )


def predators_and_prey(start: float, end: float, noise: float, generator: torch.Generator) -> Observed:
    """Ten counts a unit of time, with errors as a part of each coordinate's mean, as in the paper."""
    times = torch.linspace(0, end, round(10 * end) + 1, dtype=torch.float64)
    late = times >= start - 1e-9
    states = true_counts(times)[late]
    deviation = (noise * states.mean(0)).expand_as(states)
    error = torch.randn(states.shape, generator=generator, dtype=torch.float64)
    return Observed(times[None, late], (states + deviation * error)[None], NOTHING, deviation[None])


def true_counts(times: Tensor) -> Tensor:
    """Counts of prey and of predators [T, 2] at times [T], the first of which is 0."""
    case, start = lotka_volterra(), torch.tensor(COUNTS, dtype=torch.float64)[:, None]
    assert case.truth is not None
    truth, of = case.truth, case.incomplete
    return follow(lambda y: of.rates(truth(y), y, y), start, times[None], substeps=50)[:, :, 0]


class Extrapolation(NamedTuple):
    """True and found counts [T, 2] at times [T] up to LONG."""

    times: Tensor
    true: Tensor
    found: Tensor

    def errors(self) -> dict[str, float]:
        """The error's norm over the truth's, and the largest error as a part of the true value."""
        off = (self.found - self.true).abs()
        return {"of_norm": (off.norm() / self.true.norm()).item(), "worst": (off / self.true).max().item()}


def extrapolate(term: Term, start: Tensor) -> Extrapolation:
    """Follows an equation's term from `start` [1, 2], at time 0."""
    times = torch.linspace(0, LONG, 401, dtype=torch.float64)
    moments = Observed(times[None], torch.zeros(1, len(times), 2), NOTHING, torch.ones(1, len(times), 2))
    found = predict(lotka_volterra().incomplete, term, moments, start, substeps=5)[0]
    return Extrapolation(times, true_counts(times), found)
