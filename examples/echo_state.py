"""A surrogate of stiff equations: a continuous-time echo state network on Robertson's reaction.

    examples/echo_state.py [--reservoir 100] [--samples 64] [--out FOLDER]

R. Anantharaman et al., "Accelerating Simulation of Stiff Nonlinear Systems using Continuous-Time Echo State Networks"
(arXiv:2010.04004). A random dynamical system, the reservoir, is driven once by the solution at one set of rates:

    r' = tanh(A r + W x(p*, t)),        x(p, t) is about Wout(p) r(t)

For some other rates p the equations are solved, and Wout(p) fitted by least squares; between these it is interpolated
by radial basis functions. At new rates nothing is solved any more, and since the reservoir has gone through all time
scales of the equations, so do its sums. Rates are within 10 % of Robertson's (0.04, 3e7, 1e4), times up to 1e5.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphazero.shell import cli

# isort: split
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.integrate import solve_ivp
from scipy.interpolate import RBFInterpolator
from scipy.stats import qmc

from alphazero.report.position_figures import png
from alphazero.report.terminal import make_table

Array = NDArray[np.float64]

RATES = np.array([0.04, 3e7, 1e4])
NEARBY = 0.1
FIRST, LAST = 1e-8, 1e5  # when nothing has happened yet, and the end
SCALE = np.array([1.0, 4e-5, 1.0])  # of the three concentrations
SPANS = ((1e-5, 1e-2), (1e-2, 1e2), (1e2, LAST))  # how the second one comes up, stays, and all react away
MOMENTS = 200  # for the fits, evenly in the logarithm


def follow(
    change: Callable[[float, Array], Array], start: Array, *, max_step: float = 0.1, **how: Any
) -> Callable[[Array], Array]:
    """States [N, T] at times [T], of equations that are solved in the logarithm of time, by small steps of it."""
    span = (math.log(FIRST), math.log(LAST))
    found = solve_ivp(
        lambda s, y: math.exp(s) * change(math.exp(s), y), span, start,
        method="Radau", dense_output=True, max_step=max_step, **how,
    )  # fmt: skip
    return lambda times: np.asarray(found.sol(np.log(times)))


def solve(rates: Array, *, max_step: float = 0.1) -> Callable[[Array], Array]:
    """Robertson's three concentrations [3, T] at times [T]."""
    slow, fast, back = rates

    def change(t: float, x: Array) -> Array:
        made, lost, returned = slow * x[0], fast * x[1] ** 2, back * x[1] * x[2]
        return np.array([returned - made, made - returned - lost, lost])

    start = np.array([1.0, slow * FIRST, 0.0])
    return follow(change, start, max_step=max_step, rtol=1e-7, atol=1e-12)


class Surrogate(NamedTuple):
    """reservoir: [N + 1, T] at times [T], the last row 1. weights: [B, 3 (N + 1)], of rates over Robertson's [B, 3]."""

    reservoir: Callable[[Array], Array]
    weights: RBFInterpolator

    def __call__(self, rates: Array, times: Array) -> Array:
        """Concentrations [3, T]."""
        weights = self.weights((rates / RATES)[None]).reshape(3, -1)
        return SCALE[:, None] * (weights @ self.reservoir(times))


def drive(size: int, solution: Callable[[Array], Array], generator: np.random.Generator) -> Callable[[Array], Array]:
    """The reservoir, driven by a solution."""
    # Neurons forget at rates of all the time scales there are, and listen to one another a little. They are as large
    # as the time is long in which they forget.
    forget = 10 ** generator.uniform(-5, 5, size=size)
    inner = (0.3 * generator.normal(size=(size, size)) / math.sqrt(size) - np.eye(size)) * forget
    outer = generator.normal(size=(size, 3))

    def change(t: float, r: Array) -> Array:
        return np.asarray(np.tanh(inner @ r + outer @ (solution(np.asarray(t)) / SCALE)))

    def slope(s: float, r: Array) -> Array:
        return np.asarray(math.exp(s) * (1 - change(math.exp(s), r) ** 2)[:, None] * inner)

    echo = follow(change, np.zeros(size), jac=slope, rtol=1e-6, atol=1e-6 / forget)

    def reservoir(times: Array) -> Array:
        return np.concatenate([forget[:, None] * echo(times), np.ones((1, len(times)))])

    return reservoir


def learn(size: int, samples: int, seed: int, console: Console) -> Surrogate:
    generator = np.random.default_rng(seed)
    reservoir = drive(size, solve(RATES), generator)
    times = np.geomspace(SPANS[0][0], LAST, MOMENTS)
    inverse = np.linalg.pinv(reservoir(times), rcond=1e-10)
    places = qmc.scale(qmc.Sobol(3, rng=generator).random(samples), 1 - NEARBY, 1 + NEARBY)
    solved = track(places, "solving at samples", console=console, transient=True)
    weights = np.stack([((solve(place * RATES)(times) / SCALE[:, None]) @ inverse).ravel() for place in solved])
    return Surrogate(reservoir, RBFInterpolator(places, weights))


def main() -> int:
    return cli.run(run, stopped="Stopped; nothing was saved.")


def run() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--reservoir", type=int, default=100, help="number of neurons (100)")
    parser.add_argument("--samples", type=int, default=64, help="rates to solve at and learn from; a power of two (64)")
    parser.add_argument("--tests", type=int, default=20, help="other rates to compare at (20)")
    parser.add_argument("--seed", type=cli.seed, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/discovered/echo_state"), help="folder for the results")
    arguments, console = parser.parse_args(), cli.console()
    if min(arguments.reservoir, arguments.tests) < 1 or arguments.samples < 8:
        parser.error("--reservoir and --tests must be from 1, --samples from 8")
    arguments.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    surrogate = learn(arguments.reservoir, arguments.samples, arguments.seed, console)
    console.print(f"learned from {arguments.samples} solutions in {time.perf_counter() - started:.0f} s")
    generator = np.random.default_rng(arguments.seed + 1)
    tests = RATES * generator.uniform(1 - NEARBY, 1 + NEARBY, size=(arguments.tests, 3))
    times = np.geomspace(SPANS[0][0], LAST, 1000)
    errors, seconds = [], np.zeros(2)
    for rates in tests:
        begun = time.perf_counter()
        solve(rates, max_step=math.inf)(times)
        between = time.perf_counter()
        found = surrogate(rates, times)
        seconds += between - begun, time.perf_counter() - between
        true = solve(rates)(times)
        errors.append(np.abs(found - true) / np.abs(true).max(1, keepdims=True))
    error = np.stack(errors)
    spans = [f"t from {first:g} to {last:g}" for first, last in SPANS]
    made = make_table("largest error, as a part of the largest value", ["concentration"], spans)
    worst = np.array([error[:, :, (times >= a) & (times <= b)].max((0, 2)) for a, b in SPANS])
    for number in range(3):
        made.add_row(f"{number + 1}", *(f"{value:.3%}" for value in worst[:, number]))
    console.print(made)
    ratio = seconds[0] / seconds[1]
    said = f"{ratio:.0f} times faster than SciPy's Radau (rtol 1e-7), in steps of its own choice"
    console.print(f"{arguments.tests} other rates: {said}")
    results = {"worst": worst.T.tolist(), "spans": SPANS, "faster": ratio}
    (arguments.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    (arguments.out / "echo_state.png").write_bytes(png(concentrations(surrogate, tests[0], times, error)))
    console.print(f"Results: {arguments.out}", soft_wrap=True)


def concentrations(surrogate: Surrogate, rates: Array, times: Array, error: Array) -> Figure:
    """The three concentrations at rates of the test, and below the median and the largest error of all of them."""
    figure = Figure(figsize=(11, 5), layout="constrained", facecolor="white")
    upper, lower = figure.subplots(2, 3, sharex=True, height_ratios=(3, 2))
    true, found = solve(rates)(times), surrogate(rates, times)
    for number in range(3):
        upper[number].semilogx(times, true[number], color="#8a9299", linewidth=5, label="Radau")
        upper[number].semilogx(times, found[number], "--", color="#2f6690", label="echo state")
        upper[number].set_title(f"concentration {number + 1}")
        lower[number].loglog(times, np.median(error[:, number], 0).clip(1e-9), color="#2f6690", label="median")
        lower[number].loglog(times, error[:, number].max(0).clip(1e-9), color="#d98324", label="largest")
        lower[number].set(xlabel="time", ylim=(1e-7, 1))
    upper[0].legend(frameon=False)
    lower[0].legend(frameon=False)
    lower[0].set_ylabel("relative error")
    return figure


if __name__ == "__main__":
    sys.exit(main())
