"""Figures of terms and equations, and of their trajectories."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from alphazero.dynamics.equations import WORST, Case, Choice, Recovered
from alphazero.dynamics.lotka_volterra import OBSERVED, Extrapolation
from alphazero.dynamics.ude import NONE, Observed, Term, fit, fixed, inputs_of, predict
from alphazero.game import take

TRUTH, NETWORK, EQUATION, DATA = "#8a9299", "#d98324", "#2f6690", "#2b3036"
LINES = {"truth": ("-", TRUTH, 5.0), "network": ("-", NETWORK, 1.6), "equation": ("--", EQUATION, 1.6)}
SHOWN = 3  # trajectories


def trajectories(case: Case, held_out: Observed, network: Term, equation: Term | None) -> Figure:
    """Held-out observations, and the completed models' trajectories, each from the start that fits best."""
    shown, figure = take(held_out, slice(SHOWN)), _figure(3.4 * len(case.states), 3.2)
    subplots = figure.subplots(1, len(case.states), squeeze=False)[0]
    for label, found in (("network", network), ("equation", equation)):
        if found:
            _draw(subplots, shown.times, _followed(case, shown, found).movedim(2, 0), label)
    for number, (axes, name) in enumerate(zip(subplots, case.states, strict=True)):
        axes.set(xlabel="time, s", title=name)
        seen = shown.noise[..., number].isfinite()
        times, values = shown.times[seen], shown.states[..., number][seen]
        axes.plot(times, values, ".", color=DATA, markersize=3, label="observed", zorder=1, alpha=0.6)
    subplots[0].legend(frameon=False)
    return figure


def term(case: Case, held_out: Observed, network: Term, equation: Term | None) -> Figure:
    """The term along held-out trajectories."""
    shown, figure = take(held_out, slice(SHOWN)), _figure(4.6 * case.incomplete.outputs, 3.4)
    inputs = inputs_of(case.incomplete, _followed(case, shown, network), shown)
    subplots = figure.subplots(1, case.incomplete.outputs, squeeze=False)[0]
    for label, found in (("truth", case.truth), ("network", network), ("equation", equation)):
        if found:
            _draw(subplots, shown.times, found(inputs).unflatten(1, shown.times.shape), label)
    for number, axes in enumerate(subplots):
        part = f", {'xy'[number]}" if len(subplots) == 2 else ""
        axes.set(xlabel="time, s", title=f"${case.symbol}${part}, {case.unit}")
    subplots[0].legend(frameon=False)
    return figure


def _followed(case: Case, shown: Observed, term: Term) -> Tensor:
    """[B, T, N]: trajectories of the completed model from the starts that fit best."""
    return predict(case.incomplete, term, shown, fit(case.incomplete, fixed(term), NONE, shown).starts)


def _draw(subplots: Iterable[Axes], times: Tensor, values: Tensor, label: str) -> None:
    """Draws values [N, B, T] at times [B, T], a coordinate in each of N subplots."""
    style, colour, width = LINES[label]
    for axes, value in zip(subplots, values, strict=True):
        axes.plot(times.T, value.T, style, color=colour, linewidth=width)[0].set_label(label)


def sparsity(path: tuple[Choice, ...], *, network: float | None = None) -> Figure:
    """Residuals of held-out trajectories and the criterion, by the number of terms."""
    figure = _figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    sizes = [len(choice.equation.candidates) for choice in path]
    left.semilogy(sizes, [choice.held_out for choice in path], "o", color=EQUATION, label="equations")
    if network is not None:
        left.axhline(network, color=NETWORK, label="network")
    left.axhline(WORST, color=TRUTH, linestyle=":", label="passes below")
    left.set(xlabel="terms", ylabel="held-out residual, σ", xticks=range(1, max(sizes) + 1))
    left.legend(frameon=False)
    least = min(choice.criterion for choice in path)
    right.semilogy(sizes, [1 + choice.criterion - least for choice in path], "o", color=EQUATION)
    right.set(xlabel="terms", ylabel="Schwarz's criterion over the least, + 1", xticks=range(1, max(sizes) + 1))
    return figure


def formula(case: Case, recovered: Recovered) -> Figure:
    """The equation, with its coefficients' standard errors and shares, and the one straight from the data."""
    best, direct = recovered.best.equation, recovered.direct
    lines = [f"${best.formula(case.symbol)}$"]
    for candidate, value, error, share in zip(
        best.candidates, best.coefficients.tolist(), best.deviations.tolist(), recovered.shares, strict=True
    ):
        lines.append(rf"${candidate.name}$:  {value:.7g} ± {error:.1g}, in {share:.0%} of resamples")
    if direct:
        lines += ["", "straight from the data, without the network:", f"${direct.formula(case.symbol)}$"]
    figure = Figure(figsize=(9, 0.6 + 0.42 * len(lines)), facecolor="white")
    for number, line in enumerate(lines):
        height = 1 - (number + 0.7) / (len(lines) + 0.4)
        size = 16 if number == 0 else 10
        figure.text(0.03, height, line, fontsize=size, color=EQUATION if number == 0 else DATA, va="center")
    return figure


def extrapolation(case: Case, found: Extrapolation) -> Figure:
    """The true trajectory and the equation's, far beyond the moments that were observed."""
    figure = _figure(8, 3.6)
    axes = figure.subplots()
    axes.axvspan(0, OBSERVED, color="#e3e7ea", label="observed")
    for name, colour, true, ours in zip(case.states, (EQUATION, NETWORK), found.true.T, found.found.T, strict=True):
        axes.plot(found.times, true, color=colour, alpha=0.4, linewidth=4, label=f"{name}, truth")
        axes.plot(found.times, ours, "--", color=colour, label=f"{name}, equation")
    axes.set(xlabel="time, s", ylabel="count")
    axes.legend(frameon=False, ncols=3)
    return figure


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")
