"""Turns the term that a network has learned into an equation, by sparse regression over candidates.

S. L. Brunton, J. L. Proctor, J. N. Kutz, "Discovering governing equations from data by sparse identification of
nonlinear dynamical systems" (PNAS 2016). The regression asks how each candidate would change the trajectories, to
first order around the network's. The best set of candidates of each size is then fitted to the observations through the
solver, and the likeliest of these equations is taken (Schwarz 1978). All is repeated around it until it stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alphazero.dynamics import ude
from alphazero.dynamics.sparse_regression import Regression, resampled, supports
from alphazero.dynamics.ude import DiscoveryError, Incomplete, Learned, Model, Observed, Term

WORST = 2.0  # the largest residual of held-out trajectories that passes, in standard deviations of the noise
ROUNDS = 4  # of regression, each around the last one's equation
STEPS = 15  # of an equation's fit: one that could be right takes a handful
SMOOTHED = 11  # observations to which a cubic is fitted, for the states' derivatives


class Candidate(NamedTuple):
    """A term that an equation may have. name: in TeX. value: [M, B], of inputs [I, B]."""

    name: str
    value: Term


class Equation(NamedTuple):
    """A sum of candidates. coefficients: [K]. deviations: [K], their standard errors."""

    candidates: tuple[Candidate, ...]
    coefficients: Tensor
    deviations: Tensor

    def term(self, inputs: Tensor) -> Tensor:
        """[M, B], of inputs [I, B]."""
        return total(self.candidates)(self.coefficients, inputs)

    def rows(self) -> list[tuple[str, float, float]]:
        """The name of each candidate, its coefficient and standard error."""
        names = [candidate.name for candidate in self.candidates]
        return list(zip(names, self.coefficients.tolist(), self.deviations.tolist(), strict=True))

    def formula(self, symbol: str) -> str:
        """The equation in TeX."""
        parts = [rf"{value:+.{_digits(value, deviation)}g}\,{name}" for name, value, deviation in self.rows()]
        return f"{symbol} = {' '.join(parts).lstrip('+')}"

    def text(self, symbol: str) -> str:
        """The equation for a terminal."""
        return plain(self.formula(symbol))


def plain(formula: str) -> str:
    """Simple TeX, as of candidates' names, for a terminal."""
    for tex, said in ((r"\,", " "), (r"\vec ", ""), (r"\perp", "⊥"), (r"\tau", "τ"), ("\\", "")):
        formula = formula.replace(tex, said)
    return formula


def _digits(value: float, deviation: float) -> int:
    """The number of digits that are known, and one more."""
    known = math.log10(abs(value) / deviation) if value and deviation else 7.0
    return min(max(math.ceil(known) + 1, 2), 8)


def total(candidates: Sequence[Candidate]) -> Model:
    """The sum of the candidates, each times a parameter."""

    def model(parameters: Tensor, inputs: Tensor) -> Tensor:
        values = torch.stack([candidate.value(inputs) for candidate in candidates])
        return torch.einsum("k,kmb->mb", parameters, values)

    return model


class Case(NamedTuple):
    """An unknown term, with all that it takes to find it.

    symbol: its name in TeX. states, given: names of the observations' coordinates. incomplete: the equations around it.
    library: its candidates. pieces: into how many trajectories are cut to learn it. truth: the term, where known.
    """

    name: str
    symbol: str
    unit: str
    states: tuple[str, ...]
    given: tuple[str, ...]
    incomplete: Incomplete
    library: tuple[Candidate, ...]
    pieces: int
    truth: Term | None = None


class Choice(NamedTuple):
    """An equation of the path. residual: see `Fit`. held_out: that of other trajectories, by their degrees of freedom.

    criterion: Schwarz's; the less, the more likely.
    """

    equation: Equation
    residual: float
    held_out: float
    criterion: float


class Recovered(NamedTuple):
    """The network's term as an equation.

    path: the equations it was chosen from, the one with fewest terms first. shares: the shares of resamples in which
    each of its candidates was found. network: the network's residual of held-out trajectories. direct: the equation by
    sparse regression straight from the data; None where too few states were observed for that, or unevenly.
    """

    best: Choice
    path: tuple[Choice, ...]
    shares: tuple[float, ...]
    network: float
    direct: Equation | None


class PoorFitError(DiscoveryError):
    """No equation of the library describes the data. path: the best equation of each size."""

    def __init__(self, message: str, path: tuple[Choice, ...]) -> None:
        super().__init__(message)
        self.path = path


def recover(
    of: Incomplete,
    library: tuple[Candidate, ...],
    learned: Learned,
    observed: Observed,
    held_out: Observed,
    *,
    generator: torch.Generator,
    report: Callable[[str], object] = lambda said: None,
) -> Recovered:
    """Finds the equation of the term that was learned from `observed`.

    PoorFitError if no equation of the library describes the trajectories that were held out; DiscoveryError if there
    is not enough data to tell its candidates apart.
    """
    ude.check_observed(observed)
    ude.check_observed(held_out)
    numbers = int(observed.noise.isfinite().sum())
    free = numbers - observed.states[:, 0].numel()
    if free < len(library):
        raise DiscoveryError(
            f"too little data: {numbers} numbers of {len(observed.states)} trajectories, {free} without their starts: "
            f"too few to tell {len(library)} candidates apart. Observe more, or offer fewer"
        )
    tried: dict[tuple[int, ...], ude.Fit] = {}

    def criterion(support: tuple[int, ...]) -> float:
        return numbers * tried[support].residual ** 2 + len(support) * math.log(numbers)

    around = learned
    likeliest: tuple[int, ...] = ()
    for _ in range(ROUNDS):
        report("regression over the candidates")
        regression = through_solver(of, library, around, observed)
        for support in map(tuple, supports(regression)):
            if support not in tried:
                report(f"fitting an equation of {len(support)}")
                model = total([library[number] for number in support])
                guess = torch.from_numpy(regression.coefficients(support))
                starts = around.fit.starts
                tried[support] = ude.fit(of, model, guess, observed, starts=starts, pieces=learned.pieces, steps=STEPS)
        before, likeliest = likeliest, min(tried, key=criterion)
        if likeliest == before:
            break
        # The equation may be too far from the network's trajectories for the linearisation there.
        around = Learned(_equation(library, likeliest, tried[likeliest]).term, tried[likeliest], learned.pieces)

    seen = int(held_out.noise.isfinite().sum())
    freedom = max(seen - held_out.states[:, 0].numel(), 1)

    def score(term: Term) -> float:
        """The held-out residual: only the starts are fitted, and their degrees of freedom are taken off."""
        found = ude.fit(of, ude.fixed(term), ude.NONE, held_out, pieces=learned.pieces, steps=STEPS)
        return found.residual * math.sqrt(seen / freedom)

    path = []
    for size in sorted({len(support) for support in tried}):
        report(f"held-out trajectories of an equation of {size}")
        support = min((one for one in tried if len(one) == size), key=criterion)
        equation = _equation(library, support, tried[support])
        path.append(Choice(equation, tried[support].residual, score(equation.term), criterion(support)))
    by_network = score(learned.term)
    best = min(path, key=lambda choice: choice.criterion)
    if not best.held_out <= WORST:
        raise PoorFitError(
            f"no equation of these {len(library)} candidates describes the data: the best one misses held-out "
            f"trajectories by {best.held_out:.3g} standard deviations of their noise (up to {WORST:g} would pass; the "
            f"network has {by_network:.3g}). The right term is not among them, or there is more noise than was said, "
            "or observations are too far apart for the solver's steps",
            tuple(path),
        )
    report("resampling")
    shares = resampled(regression, [library.index(one) for one in best.equation.candidates], generator)
    gaps = observed.times.diff(dim=1)
    even = bool((gaps.amax(1) < 1.001 * gaps.amin(1)).all())
    dense = observed.times.shape[1] >= SMOOTHED and bool(observed.noise.isfinite().all())
    direct = regress(of, library, observed) if even and dense else None
    return Recovered(best, tuple(path), shares, by_network, direct)


def _equation(library: tuple[Candidate, ...], support: Sequence[int], fitted: ude.Fit) -> Equation:
    return Equation(tuple(library[number] for number in support), fitted.parameters, fitted.deviations)


def through_solver(of: Incomplete, library: tuple[Candidate, ...], learned: Learned, observed: Observed) -> Regression:
    """The misses of the observations with a sum of candidates in place of the term, to first order.

    A small change of the term changes trajectories linearly. So with the misses m of the learned term, their
    derivatives J_t by the term and J_c by the candidates, the sum with coefficients c misses by m - J_t + J_c c, in
    standard deviations of the noise, while the starts are free to change as well. This weights the regression as the
    data do.
    """
    added = total((*library, Candidate("learned", learned.term)))

    def model(parameters: Tensor, inputs: Tensor) -> Tensor:
        return learned.term(inputs) + added(parameters, inputs)

    size = len(library) + 1
    shooting = ude.Shooting(of, model, observed, size, pieces=learned.pieces, prior=math.inf)
    states = ude.predict(of, learned.term, shooting.pieces, learned.fit.starts)
    inputs = ude.inputs_of(of, states, shooting.pieces)
    for candidate in library:
        if not candidate.value(inputs).isfinite().all():
            raise DiscoveryError(f"the candidate {candidate.name} is not finite in all states that were met")
    unknown = shooting.joined(torch.zeros(size, dtype=torch.float64), learned.fit.starts)
    rows = slice(0, -size)  # the last ones are the prior's
    misses, jacobian = shooting.misses(unknown)[rows], shooting.jacobian(unknown)[rows]
    jacobian[:, size - 1] -= misses
    both, free = jacobian[:, :size], torch.linalg.qr(jacobian[:, size:]).Q
    both = (both - free @ (free.T @ both)).numpy()
    pieces, coordinates = len(shooting.pieces.times), observed.states.shape[2]
    piece = np.r_[np.arange(pieces).repeat(shooting.weights[0].numel()), shooting.seams.numpy().repeat(coordinates)]
    # Pieces of a trajectory depend on one another: they are blocks only where there is no other trajectory.
    block = piece // (pieces // len(observed.times)) if len(observed.times) > 1 else piece
    return Regression([both[block == number] for number in range(int(block.max()) + 1)])


def regress(of: Incomplete, library: tuple[Candidate, ...], observed: Observed) -> Equation:
    """Sparse regression straight on the data: on the states' derivatives, smoothed, less the known part of the rates.

    The number of terms is chosen by how much they leave of these derivatives.
    """
    import pysindy  # takes a second to load

    slopes = pysindy.SmoothedFiniteDifference(smoother_kws={"window_length": SMOOTHED})
    dy = np.stack(list(map(slopes, observed.states.numpy(), observed.times.numpy())))
    y, given = observed.states.flatten(0, 1).T, observed.given.repeat_interleave(observed.states.shape[1], 0).T
    inputs = of.inputs(y, given)
    known = of.rates(torch.zeros(of.outputs, inputs.shape[1], dtype=torch.float64), y, given)
    # The rates are linear in the term's value, so each candidate's part of them is known.
    parts = [(of.rates(candidate.value(inputs), y, given) - known).flatten() for candidate in library]
    features = torch.stack(parts, 1).numpy()
    target = np.moveaxis(dy, 2, 0).ravel() - known.flatten().numpy()
    concerned = np.abs(features).sum(1) > 0
    regression, rows = Regression([np.c_[features, target][concerned]]), int(concerned.sum())

    def criterion(support: list[int]) -> float:
        return rows * math.log(max(regression.left(support), 1e-300) / rows) + len(support) * math.log(rows)

    best = min(supports(regression), key=criterion)
    spread = np.linalg.norm(np.linalg.pinv(regression.features[:, best]), axis=1)
    deviation = spread * math.sqrt(regression.left(best) / (rows - len(best)))
    chosen = tuple(library[number] for number in best)
    return Equation(chosen, torch.from_numpy(regression.coefficients(best)), torch.from_numpy(deviation))
