"""From a network that has learned a term to the term's equation, by sparse regression over candidates.

S. L. Brunton, J. L. Proctor, J. N. Kutz, "Discovering governing equations from data by sparse identification of
nonlinear dynamical systems" (PNAS 2016). Candidates are taken in one after the other, each time the one that explains
most, or left out, each time the one that explains least (`pysindy`'s SSR). Each set that is met on the way is then
fitted to the observed trajectories, through the solver, and of these equations the one is taken that they are most
likely from (Schwarz 1978): a regression alone would take the network's errors for the term's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pysindy
import torch
from numpy.typing import NDArray
from torch import Tensor

from alphazero.discovery.fitting import (
    NONE,
    DiscoveryError,
    Incomplete,
    Learned,
    Model,
    Observed,
    Term,
    check_observed,
    cut,
    fit,
    fixed,
    inputs_of,
    predict,
)

MOST_TERMS = 6  # of an equation
WORST = 2.0  # residual of held-out trajectories, in standard deviations of the noise, that an equation may have
RESAMPLES = 20  # for the shares of a candidate
STEPS = 15  # of an equation's fit: one that could be right takes a handful
RIDGE = 1e-10  # of the regressions: none, but for what rounding needs


class Candidate(NamedTuple):
    """A term that an equation may have. name: as in TeX. value: [M, B], of inputs [I, B]."""

    name: str
    value: Term


class Equation(NamedTuple):
    """A sum of candidates. coefficients, deviations: [K], and their standard errors."""

    candidates: tuple[Candidate, ...]
    coefficients: Tensor
    deviations: Tensor

    def term(self, inputs: Tensor) -> Tensor:
        """[M, B], of inputs [I, B]."""
        return total(self.candidates)(self.coefficients, inputs)

    def formula(self, symbol: str) -> str:
        """In TeX."""
        parts = [
            rf"{coefficient:+.{digits}g}\,{candidate.name}"
            for candidate, coefficient, digits in zip(
                self.candidates, self.coefficients.tolist(), map(_digits, self.coefficients, self.deviations),
                strict=True,
            )
        ]  # fmt: skip
        return f"{symbol} = {' '.join(parts).lstrip('+')}"

    def text(self, symbol: str) -> str:
        """The same for a terminal."""
        return plain(self.formula(symbol))


def plain(formula: str) -> str:
    """TeX of the simple kind that names are here, for a terminal."""
    for tex, said in ((r"\,", " "), (r"\vec ", ""), (r"\perp", "⊥"), (r"\tau", "τ"), ("\\", "")):
        formula = formula.replace(tex, said)
    return formula


def _digits(value: Tensor, deviation: Tensor) -> int:
    """As many as are known, and one more."""
    known = math.log10(abs(value.item()) / deviation.item()) if value and deviation else 6.0
    return min(max(math.ceil(known) + 1, 2), 8)


def total(candidates: Sequence[Candidate]) -> Model:
    """Their sum, times one parameter each."""

    def model(parameters: Tensor, inputs: Tensor) -> Tensor:
        values = torch.stack([candidate.value(inputs) for candidate in candidates])
        return torch.einsum("k,kmb->mb", parameters, values)

    return model


class Case(NamedTuple):
    """A term that is unknown, in full.

    symbol: its name in TeX. unit: its. states: the coordinates' names. incomplete: the equations around it. library:
    what it may consist of. pieces: in which trajectories are cut to learn it. truth: the term itself, where known.
    """

    name: str
    symbol: str
    unit: str
    states: tuple[str, ...]
    incomplete: Incomplete
    library: tuple[Candidate, ...]
    pieces: int
    truth: Term | None = None


class Choice(NamedTuple):
    """An equation of the path. residual, held_out: of the observed and of other trajectories, see `Fit`.

    criterion: Schwarz's; the less, the more likely.
    """

    equation: Equation
    residual: float
    held_out: float
    criterion: float


class Recovered(NamedTuple):
    """What the network's term is, as an equation.

    path: those it was chosen from, the one with fewest terms first. shares: of resampled data, how often each of its
    candidates was met among so many. network: the network's residual of held-out trajectories. direct: what sparse
    regression finds straight from the data.
    """

    best: Choice
    path: tuple[Choice, ...]
    shares: tuple[float, ...]
    network: float
    direct: Equation


class PoorFitError(DiscoveryError):
    """No equation of the library describes the data. path: those that were tried."""

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
    """The equation of the term that was learned from `observed`.

    PoorFitError if no equation of the library describes the trajectories that were held out; DiscoveryError if there
    is not enough data to tell its candidates apart.
    """
    check_observed(observed)
    check_observed(held_out)
    numbers = int(observed.noise.isfinite().sum())
    free = numbers - observed.states[:, 0].numel()
    if free < len(library):
        raise DiscoveryError(
            f"too little data: {numbers} numbers of {len(observed.states)} trajectories, {free} without their starts: "
            f"too few to tell {len(library)} candidates apart. Observe more, or offer fewer"
        )
    report("regression over the candidates")
    pieces, _ = cut(observed, learned.pieces)
    inputs = inputs_of(of, predict(of, learned.term, pieces, learned.fit.starts), pieces)
    value = learned.term(inputs)
    features = torch.stack([candidate.value(inputs).flatten() for candidate in library], 1).numpy()
    check_features(features, library)
    target = value.flatten().numpy()

    def score(term: Term) -> float:
        return fit(of, fixed(term), NONE, held_out, pieces=learned.pieces, steps=STEPS).residual

    path = []
    for support in supports(features, target):
        chosen = tuple(library[number] for number in support)
        report(f"fitting an equation of {len(chosen)}")
        guess = torch.from_numpy(np.linalg.lstsq(features[:, support], target, rcond=None)[0])
        fitted = fit(of, total(chosen), guess, observed, starts=learned.fit.starts, pieces=learned.pieces, steps=STEPS)
        equation = Equation(chosen, fitted.parameters, fitted.deviations)
        criterion = numbers * fitted.residual**2 + len(support) * math.log(numbers)
        path.append(Choice(equation, fitted.residual, score(equation.term), criterion))
    by_network = score(learned.term)
    best = min(path, key=lambda choice: choice.criterion, default=None)
    if best is None or not best.held_out <= WORST:
        said = f"misses held-out trajectories by {best.held_out:.3g}" if best else "is not to be found"
        raise PoorFitError(
            f"no equation of these {len(library)} candidates describes the data: the best one {said} standard "
            f"deviations of their noise (up to {WORST:g} would pass; the network has {by_network:.3g}). "
            "The right term is not among them, or there is more noise than was said",
            tuple(path),
        )
    report("resampling")
    support = [library.index(one) for one in best.equation.candidates]
    shares = _shares(features, target, support, value.shape, generator)
    return Recovered(best, tuple(path), shares, by_network, regress(of, library, observed))


def check_features(features: NDArray[np.float64], library: Sequence[Candidate]) -> None:
    for candidate, column in zip(library, features.T, strict=True):
        if not np.isfinite(column).all():
            raise DiscoveryError(f"the candidate {candidate.name} has no finite value in all states that were observed")


def supports(features: NDArray[np.float64], target: NDArray[np.float64]) -> list[list[int]]:
    """Of candidates [rows, K], the sets of MOST_TERMS at most that are met on both ways, the smallest first."""
    # Columns that are 0 throughout cannot be told from nothing, and have no norm.
    real = np.flatnonzero(np.square(features).sum(0) > 0)
    most = min(MOST_TERMS, len(real))
    taken: list[int] = []
    found: set[tuple[int, ...]] = set()
    while len(taken) < most:
        left = [_left(features[:, [*taken, int(number)]], target) for number in real]
        taken.append(int(real[np.argmin(left)]))
        found.add(tuple(sorted(taken)))
    if len(real) > 1:
        way_back = pysindy.SSR(alpha=RIDGE, criteria="model_residual", max_iter=len(real) - 1, normalize_columns=True)
        way_back.fit(features[:, real], target[:, None])
        found |= {tuple(real[np.flatnonzero(np.ravel(step))].tolist()) for step in way_back.history_}
    return [list(support) for support in sorted(found, key=lambda one: (len(one), one)) if 0 < len(support) <= most]


def _left(columns: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Of the target's square, what these columns do not explain."""
    return float(np.square(target - columns @ np.linalg.lstsq(columns, target, rcond=None)[0]).sum())


def _shares(
    features: NDArray[np.float64],
    target: NDArray[np.float64],
    support: list[int],
    shape: torch.Size,
    generator: torch.Generator,
) -> tuple[float, ...]:
    """How often each candidate of the support is among the so many that are left, of states drawn with replacement."""
    outputs, states = shape
    met = np.zeros(len(support))
    rows = np.arange(outputs * states).reshape(outputs, states)
    for _ in range(RESAMPLES):
        drawn = rows[:, torch.randint(states, (states,), generator=generator).numpy()].ravel()
        as_many = [set(found) for found in supports(features[drawn], target[drawn]) if len(found) == len(support)]
        met += [any(number in found for found in as_many) for number in support]
    return tuple((met / RESAMPLES).tolist())


def regress(of: Incomplete, library: tuple[Candidate, ...], observed: Observed) -> Equation:
    """Sparse regression straight on the data: the states' derivatives, smoothed, less what is known.

    There is nothing else to choose by than how much each number of terms leaves of these derivatives.
    """
    slopes = pysindy.SmoothedFiniteDifference(smoother_kws={"window_length": min(11, observed.times.shape[1])})
    dy = np.stack([
        slopes(states.numpy(), times.numpy())
        for states, times in zip(observed.states, observed.times, strict=True)
    ])  # fmt: skip
    inputs = inputs_of(of, observed.states, observed)
    y, given = observed.states.flatten(0, 1).T, observed.given.repeat_interleave(observed.states.shape[1], 0).T
    known = of.rates(torch.zeros(of.outputs, inputs.shape[1], dtype=torch.float64), y, given)
    # The rates are linear in the term's value: so each candidate's part of them is known.
    parts = [(of.rates(candidate.value(inputs), y, given) - known).flatten() for candidate in library]
    features = torch.stack(parts, 1).numpy()
    target = torch.from_numpy(dy).flatten(0, 1).T.flatten().numpy() - known.flatten().numpy()
    concerned = np.abs(features).sum(1) > 0
    features, target = features[concerned], target[concerned]
    best, least = None, math.inf
    for support in supports(features, target):
        columns = features[:, support]
        coefficients = np.linalg.lstsq(columns, target, rcond=None)[0]
        left = np.square(columns @ coefficients - target).sum()
        criterion = len(target) * math.log(left / len(target)) + len(support) * math.log(len(target))
        if criterion < least:
            variance = left / (len(target) - len(support)) * np.diag(np.linalg.pinv(columns.T @ columns))
            chosen = tuple(library[number] for number in support)
            best = Equation(chosen, torch.from_numpy(coefficients), torch.from_numpy(np.sqrt(variance)))
            least = criterion
    assert best is not None
    return best
