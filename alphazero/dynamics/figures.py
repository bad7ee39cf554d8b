"""Figures of terms and equations, and of their trajectories."""

from __future__ import annotations

from matplotlib.figure import Figure
from torch import Tensor

from alphazero.dynamics.equations import WORST, Case, Choice, Recovered
from alphazero.dynamics.lotka_volterra import OBSERVED, Extrapolation
from alphazero.dynamics.ude import NONE, Observed, Term, fit, fixed, inputs_of, predict

TRUTH, NETWORK, EQUATION, DATA = "#8a9299", "#d98324", "#2f6690", "#2b3036"
SHOWN = 3  # trajectories


def trajectories(case: Case, held_out: Observed, network: Term, equation: Term | None) -> Figure:
    """Held-out observations, and the completed models' trajectories, each from the start that fits best."""
    shown = held_out.at(slice(SHOWN))
    figure = _figure(3.4 * len(case.states), 3.2)
    for axes, name in zip(figure.subplots(1, len(case.states), squeeze=False)[0], case.states, strict=True):
        axes.set(xlabel="time, s", title=name)
    for found, style, colour, label in ((network, "-", NETWORK, "network"), (equation, "--", EQUATION, "equation")):
        if found is None:
            continue
        starts = fit(case.incomplete, fixed(found), NONE, shown).starts
        states = predict(case.incomplete, found, shown, starts)
        for number, axes in enumerate(figure.axes):
            lines = axes.plot(shown.times.T, states[..., number].T, style, color=colour, linewidth=1.6, zorder=2)
            lines[0].set_label(label)
    for number, axes in enumerate(figure.axes):
        times, states = shown.times.flatten(), shown.states[..., number].flatten()
        seen = shown.noise[..., number].flatten().isfinite()
        axes.plot(times[seen], states[seen], ".", color=DATA, markersize=3, label="observed", zorder=1, alpha=0.6)
    figure.axes[0].legend(frameon=False)
    return figure


def term(case: Case, held_out: Observed, network: Term, equation: Term | None) -> Figure:
    """The term along held-out trajectories."""
    shown = held_out.at(slice(SHOWN))
    starts = fit(case.incomplete, fixed(network), NONE, shown).starts
    inputs = inputs_of(case.incomplete, predict(case.incomplete, network, shown, starts), shown)
    figure = _figure(4.6 * case.incomplete.outputs, 3.4)
    subplots = figure.subplots(1, case.incomplete.outputs, squeeze=False)[0]

    def draw(value: Tensor, style: str, colour: str, width: float, label: str) -> None:
        for axes, output in zip(subplots, value, strict=True):
            lines = axes.plot(shown.times.T, output.view(len(shown.times), -1).T, style, color=colour, linewidth=width)
            lines[0].set_label(label)

    if case.truth:
        draw(case.truth(inputs), "-", TRUTH, 5.0, "truth")
    draw(network(inputs), "-", NETWORK, 1.6, "network")
    if equation:
        draw(equation(inputs), "--", EQUATION, 1.6, "equation")
    for number, axes in enumerate(subplots):
        part = f", {'xy'[number]}" if len(subplots) == 2 else ""
        axes.set(xlabel="time, s", title=f"${case.symbol}${part}, {case.unit}")
    subplots[0].legend(frameon=False)
    return figure


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
