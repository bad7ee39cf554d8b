"""Springs whose equation is known: x'' = -x + term, observed with noise."""

from __future__ import annotations

import torch
from torch import Tensor

from alphazero.dynamics.equations import Candidate, Case
from alphazero.dynamics.trajectories import observe
from alphazero.dynamics.ude import Incomplete, Learned, Observed, learn, predict

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
    return observe(times, exact, nothing, noise, source)


def learned(observed: Observed, noise: float) -> Learned:
    prior = 1.0 if noise else 10.0
    return learn(SPRING, observed, generator=generator(), prior=prior, pieces=CASE.pieces, steps=15)
