"""Universal differential equations: a network learns, through the solver, the term that an equation of motion lacks.

    dy/dt = rates(term(inputs(y)), y)        rates and inputs are known, the term is not

C. Rackauckas et al., "Universal Differential Equations for Scientific Machine Learning" (arXiv:2001.04385). The term
has parameters: it is a network here, and a sum of candidates in `equations`. Both are fitted to observed trajectories
by least squares with multiple shooting (Bock and Plitt 1984): trajectories are cut into pieces, the states at which
pieces start are unknown too, and each piece must start where the one before ends. So errors of the first observed
states do no harm, and no piece is long enough for a bad guess to diverge.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

FINEST = 1e-5  # of a coordinate's root mean square: no observation is trusted further
SEAM = 0.1  # of the observations' standard deviation: how well pieces have to join
NONE = torch.zeros(0, dtype=torch.float64)  # parameters, of a term that has none
SUBSTEPS = 2  # of integration, between two observations
AT_ONCE = 4096  # states that are linearised in one batch: few enough for their derivatives to fit in memory
HIDDEN = 12  # neurons of each of the network's two layers


class DiscoveryError(Exception):
    """The data are not enough to learn from, or no equation describes them; the message has the numbers."""


class Incomplete(NamedTuple):
    """An equation of motion that lacks a term, for B states y [N, B].

    inputs: [I, B], all that the term may depend on; of y and `given` [G, B].
    rates:  [N, B], the derivative of y by time; of the term's value [M, B], y and `given`. Linear in the value.
    outputs: M. scale: about how large the value is.
    """

    inputs: Callable[[Tensor, Tensor], Tensor]
    rates: Callable[[Tensor, Tensor, Tensor], Tensor]
    outputs: int
    scale: float


class Observed(NamedTuple):
    """B trajectories, each observed in T moments; float64.

    times: [B, T] s. states: [B, T, N]. given: [B, G], what else the equations depend on.
    noise: [B, T, N], standard deviations of the states' errors; inf for what was not observed: such a state matters
    only where a trajectory or a piece of it starts, as the first guess.
    """

    times: Tensor
    states: Tensor
    given: Tensor
    noise: Tensor


Term = Callable[[Tensor], Tensor]  # inputs [I, B] -> value [M, B]
Model = Callable[[Tensor, Tensor], Tensor]  # the same with parameters [P] before


def fixed(term: Term) -> Model:
    """A term as a model without parameters, to fit nothing but where trajectories start."""
    return lambda none, inputs: term(inputs)


class Fit(NamedTuple):
    """parameters: [P]. deviations: [P], their standard errors. starts: [S, N], where the S pieces start.

    residual: root mean square of what is left, in standard deviations of the noise. About 1 if the model is right, less
    what is fitted: the root of 1 - unknowns / numbers.
    """

    parameters: Tensor
    deviations: Tensor
    starts: Tensor
    residual: float


class Progress(NamedTuple):
    """step: evaluations done, of at most `steps`. residual: see `Fit`."""

    step: int
    steps: int
    residual: float


def check_observed(observed: Observed) -> None:
    """DiscoveryError for observations that cannot be learned from."""
    times, states, given, noise = observed
    fits = states.ndim == 3 and noise.shape == states.shape and times.shape == states.shape[:2]
    if not fits or given.ndim != 2 or len(given) != len(states):
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in observed._asdict().items())
        raise DiscoveryError(f"the observations' shapes do not fit together (see Observed): {shapes}")
    if len(states) < 1 or states.shape[1] < 2:
        seen = f"{len(states)} trajectories in {states.shape[1]} moments"
        raise DiscoveryError(f"too little data: {seen}; it takes 1 in 2 at least")
    for name, value in (("times", times), ("states", states), ("given", given)):
        if bad := (~value.isfinite()).nonzero().tolist():
            raise DiscoveryError(f"{name}{bad[0]} is {value[tuple(bad[0])].item()}, no finite number; leave it out")
    if not (noise >= 0).all():
        raise DiscoveryError("noise must be a standard deviation, from 0 to inf")
    if unseen := noise.isinf().all(0).all(0).nonzero().flatten().tolist():
        raise DiscoveryError(f"coordinate {unseen[0]} of the states is observed nowhere: its noise is infinite")
    if back := (times.diff(dim=1) <= 0).nonzero().tolist():
        raise DiscoveryError(f"the times of trajectory {back[0][0]} do not grow from moment {back[0][1]} to the next")


def follow(rates: Callable[[Tensor], Tensor], start: Tensor, times: Tensor, *, substeps: int = SUBSTEPS) -> Tensor:
    """[T, *start.shape]: from `start` at times[:, 0] on, at times [B, T, ...], whose moments start is multiplied by.

    The classical method of Runge and Kutta: between observations the steps are short anyway.
    """
    y, states = start, [start]
    for h in (times.diff(dim=1) / substeps).unbind(1):
        for _ in range(substeps):
            first = rates(y)
            second = rates(y + h / 2 * first)
            third = rates(y + h / 2 * second)
            fourth = rates(y + h * third)
            y = y + h / 6 * (first + 2 * second + 2 * third + fourth)
        states.append(y)
    return torch.stack(states)


def predict(of: Incomplete, term: Term, observed: Observed, starts: Tensor, *, substeps: int = SUBSTEPS) -> Tensor:
    """[B, T, N]: the trajectories from `starts` [B, N] on, with this term, at the times of the observations."""
    given = observed.given.T
    found = follow(lambda y: of.rates(term(of.inputs(y, given)), y, given), starts.T, observed.times, substeps=substeps)
    return found.movedim(2, 0)


def sensitivities(of: Incomplete, model: Model, parameters: Tensor, observed: Observed, starts: Tensor) -> Tensor:
    """[B, T, N, P + N]: the derivatives of the states of `predict` by the parameters, and of each by its own start.

    Their equations are solved by the same steps as those of motion: so they are exact derivatives. They are linear, and
    their coefficients depend on the motion alone: these are found for many moments at once.
    """
    batch, coordinates, size, given = *starts.shape, len(parameters), observed.given.T
    visited: list[Tensor] = []  # [N, B] each, all states in which `follow` asks for rates

    def change(y: Tensor, given: Tensor, parameters: Tensor) -> Tensor:
        return of.rates(model(parameters, of.inputs(y, given)), y, given)

    def motion(y: Tensor) -> Tensor:
        visited.append(y)
        return change(y, given, parameters)

    follow(motion, starts.T, observed.times)

    def of_one(y: Tensor, given: Tensor, parameters: Tensor) -> Tensor:
        return change(y[:, None], given[:, None], parameters)[:, 0]

    linearised = torch.func.vmap(torch.func.jacrev(of_one, (0, 2)), in_dims=(0, 0, None))

    def linear() -> Iterator[Tensor]:
        """[B, N, P + N]: in each of these states, the rates' derivatives by parameters and state."""
        for states in torch.stack(visited).mT.split(max(1, AT_ONCE // batch)):
            by_state, by_parameters = linearised(
                states.flatten(0, 1), observed.given.repeat(len(states), 1), parameters
            )
            yield from torch.cat([by_parameters, by_state], -1).unflatten(0, (-1, batch))

    coefficients = linear()

    def rates(moved: Tensor) -> Tensor:
        by_parameters, by_state = next(coefficients).split([size, coordinates], -1)
        moved = by_state @ moved
        moved[..., :size] += by_parameters
        return moved

    by_start = torch.eye(coordinates, dtype=torch.float64).expand(batch, -1, -1)
    first = torch.cat([by_start.new_zeros(batch, coordinates, size), by_start], -1)
    return follow(rates, first, observed.times[..., None, None]).movedim(0, 1)


def cut(observed: Observed, count: int) -> tuple[Observed, Tensor]:
    """Cuts each trajectory into `count` pieces, or as many as it has intervals; also returns those with one before.

    A piece ends where the next begins; that moment counts in the first one only. All pieces are equally long: for that
    the last moment may be repeated, and its repetitions do not count either.
    """
    batch, moments = observed.times.shape
    length = math.ceil((moments - 1) / count)
    count = math.ceil((moments - 1) / length)
    moment = (torch.arange(count)[:, None] * length + torch.arange(length + 1)).clamp(max=moments - 1)
    again = (moment.flatten().diff(prepend=torch.tensor([-1])) == 0).view_as(moment)
    pieces = Observed(
        observed.times[:, moment].flatten(0, 1),
        observed.states[:, moment].flatten(0, 1),
        observed.given.repeat_interleave(count, 0),
        observed.noise[:, moment].masked_fill(again[..., None], math.inf).flatten(0, 1),
    )
    return pieces, torch.arange(batch * count).view(batch, count)[:, 1:].flatten()


class Shooting:
    """Least squares of a model's trajectories: the unknowns are its parameters [P] and where the pieces start, [S, N].

    `unknown` [P + S N] holds both, the starts as so many sigmas [N] from where they were observed. prior: see `fit`.
    """

    def __init__(
        self, of: Incomplete, model: Model, observed: Observed, size: int, *, pieces: int, prior: float
    ) -> None:
        check_observed(observed)
        seen = observed.noise.isfinite()
        mean = observed.states.square().where(seen, 0.0).sum((0, 1)) / seen.sum((0, 1))
        finest = FINEST * mean.sqrt().clamp(min=1e-300)
        observed = observed._replace(noise=torch.maximum(observed.noise, finest))
        self.of, self.model, self.size, self.prior = of, model, size, prior
        self.sigma = observed.noise.amin((0, 1))
        self.pieces, self.seams = cut(observed, pieces)
        self.first_seen = self.pieces.states[:, 0]
        self.weights = 1 / self.pieces.noise
        self.numbers = int(self.pieces.noise.isfinite().sum())

    def joined(self, parameters: Tensor, starts: Tensor | None = None) -> Tensor:
        """[P + S N], of parameters and starts; None: as observed."""
        off = torch.zeros_like(self.first_seen) if starts is None else (starts - self.first_seen) / self.sigma
        return torch.cat([parameters.double(), off.flatten()])

    def split(self, unknown: Tensor) -> tuple[Tensor, Tensor]:
        return unknown[: self.size], self.first_seen + self.sigma * unknown[self.size :].view_as(self.first_seen)

    def residual(self, misses: Tensor) -> float:
        """Root mean square of the observations' misses."""
        return math.sqrt(misses[: self.weights.numel()].square().sum().item() / self.numbers)

    @torch.no_grad()
    def misses(self, unknown: Tensor) -> Tensor:
        """The misses of the observations, of the seams, and of the prior, in standard deviations."""
        parameters, starts = self.split(unknown)
        states = predict(self.of, lambda inputs: self.model(parameters, inputs), self.pieces, starts)
        seen = (states - self.pieces.states) * self.weights
        apart = (states[self.seams - 1, -1] - starts[self.seams]) / (SEAM * self.sigma)
        found = torch.cat([seen.flatten(), apart.flatten(), parameters / self.prior])
        # A trajectory that diverges is a very bad guess.
        return found.nan_to_num(1e9).clamp(-1e9, 1e9)

    def jacobian(self, unknown: Tensor) -> Tensor:
        """The derivatives of the misses by the unknowns."""
        parameters, starts = self.split(unknown)
        size, one = self.size, torch.eye(len(unknown), dtype=torch.float64)
        moved = sensitivities(self.of, self.model, parameters, self.pieces, starts)
        by_start = torch.block_diag(*(moved[..., size:] * self.sigma).flatten(1, 2))  # a piece depends on its own alone
        by_unknown = torch.cat([moved[..., :size].flatten(0, 2), by_start], 1).view(*moved.shape[:3], -1)
        starts_by_unknown = one[size:].view(*starts.shape, -1) * self.sigma[:, None]
        apart = by_unknown[self.seams - 1, -1] - starts_by_unknown[self.seams]
        rows = [by_unknown * self.weights[..., None], apart / (SEAM * self.sigma[:, None]), one[:size] / self.prior]
        found = torch.cat([row.reshape(-1, len(unknown)) for row in rows])
        return found.nan_to_num(0.0).clamp(-1e12, 1e12)


def fit(
    of: Incomplete,
    model: Model,
    parameters: Tensor,
    observed: Observed,
    *,
    starts: Tensor | None = None,
    prior: float = math.inf,
    pieces: int = 1,
    steps: int = 60,
    report: Callable[[Progress], object] = lambda progress: None,
) -> Fit:
    """Finds the parameters [P], from a first guess, whose trajectories come nearest to those observed.

    starts: a first guess of where the pieces start, [S, N]; None: as observed. prior: standard deviation that the
    parameters are believed to have, around 0. pieces: of each trajectory. Without parameters only starts are fitted.
    DiscoveryError for data that cannot be learned from.
    """
    shooting = Shooting(of, model, observed, len(parameters), pieces=pieces, prior=prior)
    evaluations = itertools.count(1)

    def misses(unknown: NDArray[np.float64]) -> NDArray[np.float64]:
        found = shooting.misses(torch.from_numpy(unknown))
        report(Progress(next(evaluations), steps, shooting.residual(found)))
        return found.numpy()

    def jacobian(unknown: NDArray[np.float64]) -> NDArray[np.float64]:
        return shooting.jacobian(torch.from_numpy(unknown)).numpy()

    first = shooting.joined(parameters, starts).numpy()
    found = least_squares(misses, first, jacobian, max_nfev=steps, ftol=1e-6, xtol=1e-10, gtol=1e-10)
    spread = np.linalg.norm(np.linalg.pinv(found.jac)[: len(parameters)], axis=1)
    parameters, starts = shooting.split(torch.from_numpy(found.x))
    return Fit(parameters, torch.from_numpy(spread), starts, shooting.residual(torch.from_numpy(found.fun)))


class Learned(NamedTuple):
    """A term that was fitted. pieces: into how many each trajectory was cut."""

    term: Term
    fit: Fit
    pieces: int


def learn(
    of: Incomplete, observed: Observed, *, generator: torch.Generator, prior: float, pieces: int = 1, **settings: Any
) -> Learned:
    """Fits a network to the observations. The less noise there is, the wider its prior may be.

    prior, pieces, and the settings `steps` and `report`: see `fit`.
    """
    check_observed(observed)
    states = observed.states
    if not observed.noise.isfinite().all():  # then about as without the term
        states = predict(of, lambda inputs: torch.zeros(of.outputs, inputs.shape[1]), observed, states[:, 0])
    model, first = network(inputs_of(of, states, observed), of.outputs, of.scale, generator)
    fitted = fit(of, model, first, observed, prior=prior, pieces=pieces, **settings)
    return Learned(lambda inputs: model(fitted.parameters, inputs), fitted, pieces)


def thoroughness(noise: float) -> dict[str, Any]:
    """Settings for `learn`. Exact data alone decide what the network becomes, and take longer to be exhausted."""
    return {"prior": 1.0, "steps": 40} if noise > 0 else {"prior": 10.0, "steps": 100}


def inputs_of(of: Incomplete, states: Tensor, observed: Observed) -> Tensor:
    """The term's, [I, B * T], of states [B, T, N]."""
    return of.inputs(states.flatten(0, 1).T, observed.given.repeat_interleave(states.shape[1], 0).T)


def network(inputs: Tensor, outputs: int, scale: float, generator: torch.Generator) -> tuple[Model, Tensor]:
    """A network of two layers of tanh for a term of about `scale`, and first parameters, which are small.

    inputs: [I, B], like those that it will have.
    """
    centre = inputs.mean(1, keepdim=True)
    spread = inputs.std(1, keepdim=True).clamp(min=1e-9)
    shapes = ((HIDDEN, len(inputs)), (HIDDEN, 1), (HIDDEN, HIDDEN), (HIDDEN, 1), (outputs, HIDDEN), (outputs, 1))
    sizes = [math.prod(shape) for shape in shapes]

    def model(parameters: Tensor, inputs: Tensor) -> Tensor:
        parts = [part.view(shape) for part, shape in zip(parameters.split(sizes), shapes, strict=True)]
        hidden = (parts[0] @ ((inputs - centre) / spread) + parts[1]).tanh()
        value: Tensor = parts[4] @ (parts[2] @ hidden + parts[3]).tanh() + parts[5]
        return scale * value

    first = [torch.randn(shape, generator=generator, dtype=torch.float64) / shape[1] ** 0.5 for shape in shapes]
    first[4:] = [0.01 * part for part in first[4:]]
    return model, torch.cat([part.flatten() for part in first])
