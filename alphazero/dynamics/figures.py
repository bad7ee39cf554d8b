"""Figures of terms and equations, and of their trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from alphazero.dynamics.equations import WORST, Case, Choice, Recovered
from alphazero.dynamics.lotka_volterra import OBSERVED, Extrapolation
from alphazero.dynamics.ude import NONE, Observed, Term, fit, fixed, inputs_of, predict
from alphazero.game import take

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUTH, NETWORK, EQUATION, DATA = "#8a9299", "#d98324", "#2f6690", "#2b3036"
LINES = {"truth": ("-", TRUTH, 5.0), "network": ("-", NETWORK, 1.6), "equation": ("--", EQUATION, 1.6)}
SHOWN = 3  # trajectories


def trajectories(case: Case, held_out: Observed, network: Term, equation: Term | None) -> Figure:
    """Held-out observations, and the completed models' trajectories, each from the start that fits best."""
    shown, figure = take(held_out, slice(SHOWN)), _figure(3.4 * len(case.states), 3.2)
    terms = {"network": network, "equation": equation}
    followed = {label: _followed(case, shown, found).movedim(2, 0) for label, found in terms.items() if found}
    _draw(figure, case.states, shown.times, followed)
    for number, axes in enumerate(figure.axes):
        seen = shown.noise[..., number].isfinite()
        times, values = shown.times[seen], shown.states[..., number][seen]
        axes.plot(times, values, ".", color=DATA, markersize=3, label="observed", zorder=1, alpha=0.6)
    figure.axes[0].legend(frameon=False)
    return figure


def term(case: Case, held_out: Observed, network: Term, equation: Term | None) -> Figure:
    """The term along held-out trajectories."""
    shown, figure = take(held_out, slice(SHOWN)), _figure(4.6 * case.incomplete.outputs, 3.4)
    inputs = inputs_of(case.incomplete, _followed(case, shown, network), shown)
    terms = {"truth": case.truth, "network": network, "equation": equation}
    values = {label: found(inputs).unflatten(1, shown.times.shape) for label, found in terms.items() if found}
    parts = (", x", ", y") if case.incomplete.outputs == 2 else ("",) * case.incomplete.outputs
    _draw(figure, [f"${case.symbol}${part}, {case.unit}" for part in parts], shown.times, values)
    figure.axes[0].legend(frameon=False)
    return figure


def _followed(case: Case, shown: Observed, term: Term) -> Tensor:
    """[B, T, N]: trajectories of the completed model from the starts that fit best."""
    return predict(case.incomplete, term, shown, fit(case.incomplete, fixed(term), NONE, shown).starts)


def _draw(figure: Figure, titles: Sequence[str], times: Tensor, drawn: Mapping[str, Tensor]) -> None:
    """Draws values [N, B, T] by label, at times [B, T]: a coordinate in each of N subplots."""
    for number, axes in enumerate(figure.subplots(1, len(titles), squeeze=False)[0]):
        axes.set(xlabel="time, s", title=titles[number])
        for label, values in drawn.items():
            style, colour, width = LINES[label]
            axes.plot(times.T, values[number].T, style, color=colour, linewidth=width)[0].set_label(label)


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
    for (name, value, error), share in zip(best.rows(), recovered.shares, strict=True):
        lines.append(rf"${name}$:  {value:.7g} ± {error:.1g}, in {share:.0%} of resamples")
    if direct:
        lines += ["", "straight from the data, without the network:", f"${direct.formula(case.symbol)}$"]
    figure = _figure(9, 0.6 + 0.42 * len(lines), layout=None)
    for number, line in enumerate(lines):
        height = 1 - (number + 0.7) / (len(lines) + 0.4)
        size, colour = (10, DATA) if number else (16, EQUATION)
        figure.text(0.03, height, line, fontsize=size, color=colour, va="center")
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


def _figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Figure:
    from matplotlib.figure import Figure  # takes its time to load

    return Figure(figsize=(width, height), layout=layout, facecolor="white")
