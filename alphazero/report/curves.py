"""Curves of a run: strength, losses and whatever else was recorded, over iterations or core-time.

What a history lacks is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alphazero.report.metrics_table import ALL_METRICS, Curve
from alphazero.report.position_figures import AMBER, BLUE, GREEN, GREY, INK, PLUM, RED, plain_axes
from alphazero.runs.metrics import History, opponents_of

OPPONENT_COLOURS = (BLUE, AMBER, GREEN, PLUM, RED)
SCALES = {"thousandths": 1e-3, "thousand": 1e3, "%": 0.01}  # by the first word of a unit
Curves = Mapping[str, Curve]  # by tag


def curves_figure(history: History) -> Figure:
    """Strength, losses and buffer over the run; time in core-minutes if all iterations know it, else in iterations."""
    run = _Run(history)
    strength = run.recorded(strength_curves(history))
    losses = run.recorded(_overview("losses")) or run.recorded({"loss/total": Curve("losses", "total")})
    buffer = run.recorded(_overview("buffer"))
    rows: list[Any] = [["strength", "strength"]] if strength else []  # matplotlib's own type of a mosaic is closed
    lower = [name for name, curves in (("losses", losses), ("buffer", buffer)) if curves]
    rows += [lower if len(lower) == 2 else lower * 2] if lower else []
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(10, 3.2 * max(1, len(rows))), layout=layout, facecolor="white")
    if not rows:
        figure.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center", color=GREY)
        return figure
    axes = figure.subplot_mosaic(rows, height_ratios=[1.25, 1][: len(rows)])
    if strength:
        run.draw_strength(axes["strength"], strength)
    if losses:
        run.draw(axes["losses"], losses)
        caption(axes["losses"], "Loss on the replay buffer", "nats a sample")
        axes["losses"].set_ylim(bottom=min(0.0, axes["losses"].get_ylim()[0]))
    if buffer:
        largest = max(series(history, tag)[1].max() for tag in buffer)
        scale, unit = (1e6, "million") if largest >= 1e6 else (1e3, "thousand")
        run.draw(axes["buffer"], buffer, scale=scale)
        caption(axes["buffer"], "Replay buffer", f"{unit} samples")
        axes["buffer"].set_ylim(bottom=0)
    for panel in axes.values():
        run.label_time(panel)
        label_ends(panel, figure.get_figheight())
    return figure


def learning_figure(history: History) -> Figure | None:
    """A panel for everything that learning and self-play record; None if the history has nothing of it."""
    run = _Run(history)
    names = dict.fromkeys(curve.panel for metric in ALL_METRICS for curve in metric.curves)
    panels = {
        name: curves
        for name in names
        if (curves := run.recorded({m.tag: curve for m in ALL_METRICS for curve in m.curves if curve.panel == name}))
    }
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)
    figure = Figure(figsize=(4.4 * columns, 2.6 * rows), layout=layout, facecolor="white")
    every_axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in every_axes[len(panels) :]:
        axes.set_axis_off()
    for number, ((name, curves), axes) in enumerate(zip(panels.items(), every_axes, strict=False)):
        title, _, unit = name.partition(", ")
        run.draw(axes, curves, scale=SCALES.get(unit.split()[0], 1.0))
        caption(axes, title, unit)
        if min(np.min(np.asarray(line.get_ydata())) for line in axes.get_lines()) >= 0:
            axes.set_ylim(bottom=0)
        run.label_time(axes, name=number + columns >= len(panels))
        label_ends(axes, figure.get_figheight())
    return figure


def strength_figure(history: History) -> Figure | None:
    """Points against each opponent with their intervals, and the results behind them; None without any."""
    run = _Run(history)
    curves = run.recorded(strength_curves(history))
    if not curves:
        return None
    results = {tag.removesuffix("/points"): curve for tag, curve in curves.items()}
    results = {tag: curve for tag, curve in results.items() if series(history, f"{tag}/win")[0]}
    columns = min(2, max(1, len(results)))
    rows = math.ceil(len(results) / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(10, 4.2 + 2.3 * rows), layout=layout, facecolor="white")
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=[4.2, *[2.3] * rows])
    points = figure.add_subplot(grid[0, :])
    run.draw_strength(points, curves)
    run.label_time(points)
    label_ends(points, figure.get_figheight())
    for number, (tag, curve) in enumerate(results.items()):
        axes = figure.add_subplot(grid[1 + number // columns, number % columns])
        _draw_results(axes, history, tag, curve.label.replace("\n", " "))
        if number == 0:
            bars, names = axes.get_legend_handles_labels()
            figure.legend(bars, names, loc="outside lower left", ncols=3, frameon=False, labelcolor=INK, fontsize=9)
    return figure


def strength_curves(history: History) -> dict[str, Curve]:
    """The agent's points against each opponent, then its network's alone; some may have no values."""
    return {
        tag.format(opponent=opponent): curve._replace(
            label=curve.label.format(opponent=opponent), colour=OPPONENT_COLOURS[i % len(OPPONENT_COLOURS)]
        )
        for tag, curve in _overview("strength").items()
        for i, opponent in enumerate(opponents_of(history))
    }


def series(history: History, tag: str) -> tuple[list[int], NDArray[np.float64]]:
    """The iterations that have a finite value of the tag, and these values."""
    iterations = [i for i in sorted(history) if math.isfinite(history[i].get(tag, math.nan))]
    return iterations, np.array([history[i][tag] for i in iterations])


def _overview(panel: str) -> dict[str, Curve]:
    return {m.tag: m.overview for m in ALL_METRICS if m.overview and m.overview.panel == panel}


def _draw_results(axes: Axes, history: History, tag: str, title: str) -> None:
    """Games won, drawn and lost, one bar for each time they were counted."""
    iterations = series(history, f"{tag}/win")[0]
    bottom = np.zeros(len(iterations))
    for outcome, name, colour in (("win", "won", GREEN), ("draw", "drawn", "#c9d0d5"), ("loss", "lost", RED)):
        share = 100 * np.array([history[i].get(f"{tag}/{outcome}", 0.0) for i in iterations])
        axes.bar(range(len(iterations)), share, 0.8, bottom=bottom, color=colour, label=name)
        bottom += share
    caption(axes, title, "% of games, by iteration")
    axes.set_ylim(0, 100)
    step = math.ceil(len(iterations) / 6)
    axes.set_xticks(range(0, len(iterations), step), [str(i) for i in iterations[::step]])


class _Run:
    """A history and the place of its iterations on the axis of time."""

    def __init__(self, history: History) -> None:
        self.history, self.time = history, "iteration"
        self.x = {i: float(i) for i in history}
        seconds = dict(zip(*series(history, "time/core_seconds"), strict=True))
        if seconds and set(seconds) == set(history):
            unit, scale = ("core-hours", 3600) if max(seconds.values()) >= 5 * 3600 else ("core-minutes", 60)
            self.time = f"{unit} of training"
            self.x = {i: float(seconds[i]) / scale for i in history}

    def recorded(self, curves: Curves) -> Curves:
        """Those of the curves that have values."""
        return {tag: curve for tag, curve in curves.items() if series(self.history, tag)[0]}

    def draw(self, axes: Axes, curves: Curves, *, scale: float = 1.0, marker: str = "") -> None:
        for tag, (_, label, colour, style) in curves.items():
            iterations, y = series(self.history, tag)
            dots = marker or ("o" if len(iterations) == 1 else "")
            x = [self.x[i] for i in iterations]
            axes.plot(x, y / scale, style, color=colour, lw=1.6, marker=dots, ms=4, mew=0, label=label)

    def draw_strength(self, axes: Axes, curves: Curves) -> None:
        self.draw(axes, curves, marker="o")
        for tag, curve in curves.items():
            iterations, low = series(self.history, f"{tag}_low")
            high = series(self.history, f"{tag}_high")[1]
            if len(low) and len(low) == len(high):
                x = [self.x[i] for i in iterations]
                axes.fill_between(x, low, high, color=curve.colour, alpha=0.13, linewidth=0)
        everything = np.concatenate([series(self.history, tag)[1] for tag in curves])
        if everything.min() < 0 or everything.max() > 1:  # a game for one: points are what it earned
            caption(axes, "Strength", "points a game")
            return
        caption(axes, "Points won against fixed opponents", "share of points: 1 for a win, ½ for a draw")
        show_shares(axes)

    def label_time(self, axes: Axes, *, name: bool = True) -> None:
        """From the run's start to its last iteration, the same for all panels."""
        end = max([1.0, *self.x.values()])
        axes.set_xlim(-0.01 * end, 1.01 * end)
        if name:
            axes.set_xlabel(self.time, fontsize=9, color=INK)


def show_shares(axes: Axes) -> None:
    """Makes the y-axis one of shares of points."""
    axes.axhline(0.5, color=GREY, lw=0.8, ls=(0, (2, 3)), zorder=0)
    axes.set_ylim(-0.02, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def caption(axes: Axes, title: str, unit: str) -> None:
    """Puts title and unit above the left corner."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=20)
    axes.annotate(unit, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=GREY)
    plain_axes(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))


def label_ends(axes: Axes, figure_height: float) -> None:
    """Names each curve at its right end, moved apart where they would overlap; the height is in inches."""
    labelled = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    bottom, top = axes.get_ylim()
    line_height = 13 / (72 * axes.get_position().height * figure_height)
    ends = [(float(np.asarray(line.get_ydata())[-1]) - bottom) / (top - bottom) for line in labelled]
    order = np.argsort(ends, kind="stable")
    room = np.array([line_height * (str(labelled[i].get_label()).count("\n") + 1) for i in order])
    place = np.array(ends)[order]
    for upper in range(1, len(place)):  # up from the lowest, then down again from the top
        place[upper] = max(place[upper], place[upper - 1] + (room[upper - 1] + room[upper]) / 2)
    ceiling = 1.02
    for lower in reversed(range(len(place))):
        place[lower] = min(place[lower], ceiling - room[lower] / 2)
        ceiling = place[lower] - room[lower] / 2
    for i, height in zip(order, place, strict=True):
        axes.annotate(
            str(labelled[i].get_label()), (1, height), (6, 0), xycoords="axes fraction", textcoords="offset points",
            color=labelled[i].get_color(), fontsize=9, va="center", annotation_clip=False,
        )  # fmt: skip
