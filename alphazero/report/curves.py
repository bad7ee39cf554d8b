"""Curves of a run: strength, losses and whatever else was recorded, over iterations or core-time.

What a history lacks is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alphazero.report.metrics_table import ALL_METRICS, LOSS, Curve
from alphazero.report.position_figures import AMBER, BLUE, GREEN, GREY, INK, PLUM, RED, new_figure, plain_axes
from alphazero.runs.metrics import History, opponents_of

OPPONENT_COLOURS = (BLUE, AMBER, GREEN, PLUM, RED)
SCALES = {"thousandths": 1e-3, "thousand": 1e3, "million": 1e6, "%": 0.01}  # by the first word of a unit
Curves = Mapping[str, Curve]  # by tag


def curves_figure(history: History) -> Figure:
    """Strength, losses and buffer over the run; time in core-minutes if all iterations know it, else in iterations."""
    run = _Run(history)
    strength, buffer = run.recorded(strength_curves(history)), run.recorded(_overview("buffer"))
    losses = run.recorded(_overview("losses")) or run.recorded({"loss/total": Curve("losses", "total")})
    lower = ["losses"] * bool(losses) + ["buffer"] * bool(buffer)
    rows: list[Any] = [row * (2 // len(row)) for row in (["strength"] * bool(strength), lower) if row]
    figure = new_figure(10, 3.2 * max(1, len(rows)))
    if not rows:
        figure.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center", color=GREY)
        return figure
    axes = figure.subplot_mosaic(rows, height_ratios=[1.25, 1][: len(rows)])
    if strength:
        run.draw_strength(axes["strength"], strength)
    if losses:
        run.draw_panel(axes["losses"], LOSS, losses)
    if buffer:
        largest = max(series(history, tag)[1].max() for tag in buffer)
        unit = "million" if largest >= 1e6 else "thousand"
        run.draw_panel(axes["buffer"], f"Replay buffer, {unit} samples", buffer)
    return figure


def learning_figure(history: History) -> Figure | None:
    """A panel for everything that learning and self-play record; None if the history has nothing of it."""
    run, panels = _Run(history), dict[str, dict[str, Curve]]()
    for metric in ALL_METRICS:
        for curve in metric.curves if series(history, metric.tag)[0] else ():
            panels.setdefault(curve.panel, {})[metric.tag] = curve
    if not panels:
        return None
    rows = _in_rows(panels, 3)
    columns = len(rows[0])
    figure = new_figure(4.4 * columns, 2.6 * len(rows), w_pad=0.14)
    for number, (name, axes) in enumerate(figure.subplot_mosaic(rows).items()):
        run.draw_panel(axes, name, panels[name], name_time=number + columns >= len(panels))
    return figure


def strength_figure(history: History) -> Figure | None:
    """Points against each opponent with their intervals, and the results behind them; None without any."""
    run = _Run(history)
    curves = run.recorded(strength_curves(history))
    if not curves:
        return None
    results = [tag for tag in curves if series(history, tag.replace("/points", "/win"))[0]]
    rows = _in_rows(results, 2)
    rows.insert(0, ["points"] * (len(rows[0]) if rows else 1))
    heights = [4.2, *[2.3] * (len(rows) - 1)]
    figure = new_figure(10, sum(heights))
    axes = figure.subplot_mosaic(rows, height_ratios=heights)
    run.draw_strength(axes["points"], curves)
    for tag in results:
        _draw_results(axes[tag], history, tag.removesuffix("/points"), curves[tag].label.replace("\n", " "))
    if results:
        bars, names = axes[results[0]].get_legend_handles_labels()
        figure.legend(bars, names, loc="outside lower left", ncols=3, frameon=False, labelcolor=INK, fontsize=9)
    return figure


def _in_rows(names: Iterable[str], most: int) -> list[Any]:  # matplotlib's own type of a mosaic is closed
    """A mosaic of the panels, at most so many a row."""
    rest = list(names)
    columns = min(most, len(rest))
    return [[*rest[i : i + columns], *["."] * (i + columns - len(rest))] for i in range(0, len(rest), columns or 1)]


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

    def draw_panel(self, axes: Axes, name: str, curves: Curves, *, name_time: bool = True) -> None:
        """Draws curves under the panel's name, from 0 on if none is negative."""
        title, _, unit = name.partition(", ")
        values = self._draw(axes, curves, scale=SCALES.get(unit.split()[0], 1.0))
        caption(axes, title, unit)
        if values.min() >= 0:
            axes.set_ylim(bottom=0)
        self._finish(axes, name_time=name_time)

    def draw_strength(self, axes: Axes, curves: Curves) -> None:
        """Draws points, and the band of their intervals where these are recorded."""
        for tag, curve in curves.items():
            iterations, low = series(self.history, f"{tag}_low")
            high = series(self.history, f"{tag}_high")[1]
            if len(low) and len(low) == len(high):
                x = [self.x[i] for i in iterations]
                axes.fill_between(x, low, high, color=curve.colour, alpha=0.13, linewidth=0)
        points = self._draw(axes, curves, marker="o")
        if points.min() < 0 or points.max() > 1:  # a game for one: points are what it earned
            caption(axes, "Strength", "points a game")
        else:
            caption(axes, "Points won against fixed opponents", "share of points: 1 for a win, ½ for a draw")
            show_shares(axes)
        self._finish(axes)

    def _draw(self, axes: Axes, curves: Curves, *, scale: float = 1.0, marker: str = "") -> NDArray[np.float64]:
        """Returns all values."""
        every = [series(self.history, tag) for tag in curves]
        for (iterations, y), (_, label, colour, style) in zip(every, curves.values(), strict=True):
            dots = marker or ("o" if len(iterations) == 1 else "")
            x = [self.x[i] for i in iterations]
            axes.plot(x, y / scale, style, color=colour, lw=1.6, marker=dots, ms=4, mew=0, label=label)
        return np.concatenate([y for _, y in every])

    def _finish(self, axes: Axes, *, name_time: bool = True) -> None:
        """Time goes from the run's start to its last iteration in all panels; then curves get their names."""
        end = max([1.0, *self.x.values()])
        axes.set_xlim(-0.01 * end, 1.01 * end)
        if name_time:
            axes.set_xlabel(self.time, fontsize=9, color=INK)
        label_ends(axes)


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


def label_ends(axes: Axes) -> None:
    """Names each curve at its right end, moved apart where they would overlap."""
    labelled = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    bottom, top = axes.get_ylim()
    line_height = 13 / 72 * axes.figure.dpi / axes.bbox.height
    ends = np.array([(float(np.asarray(line.get_ydata())[-1]) - bottom) / (top - bottom) for line in labelled])
    order = np.argsort(ends, kind="stable")
    room = np.array([line_height * (str(labelled[i].get_label()).count("\n") + 1) for i in order])
    stacked = np.cumsum(room) - room / 2  # places that do not overlap: each name is moved up from these, none too far
    place = stacked + np.minimum(np.maximum.accumulate(ends[order] - stacked), 1.02 - room.sum())
    for i, height in zip(order, place, strict=True):
        axes.annotate(
            str(labelled[i].get_label()), (1, height), (6, 0), xycoords="axes fraction", textcoords="offset points",
            color=labelled[i].get_color(), fontsize=9, va="center", annotation_clip=False,
        )  # fmt: skip
