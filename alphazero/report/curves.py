"""Curves of a run: strength, losses and whatever else was recorded, over iterations or core-time.

What a history lacks is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alphazero.arena.evaluation import ALONE
from alphazero.report.colours import AMBER, BLUE, GREEN, GREY, INK, PLUM, RED
from alphazero.report.metrics_table import ALL_METRICS, BUFFER, LOSS, STRENGTH, Curve
from alphazero.report.position_figures import in_rows, literal, new_figure, plain_axes
from alphazero.runs.metrics import History, opponents_of

OPPONENT_COLOURS = (BLUE, AMBER, GREEN, PLUM, RED)
TARGET_ENTROPY = "target_entropy"
OWN = f"strength/{ALONE}"  # of tags in a game for one
EVEN = 30  # the largest value of a metric by the least, from which on its axis is logarithmic
SCALES = {"thousandths": 1e-3, "thousand": 1e3, "million": 1e6, "%": 0.01}  # by the first word of a unit


def curves_figure(history: History, units: Mapping[str, str] | None = None) -> Figure:
    """Strength, losses and buffer over the run; time in core-minutes if all iterations know it, else in iterations.

    units: of a game's own metrics (`Game.metric_units`).
    """
    run, curves = _Run(history), [*strength_curves(history).items()]
    curves += [(m.tag, m.overview) for m in ALL_METRICS if m.overview and m.overview.panel != STRENGTH]
    own = run.panels(metric_curves(history, units or {}))
    panels = run.panels([("loss/total", Curve(LOSS, "total"))]) | run.panels(curves) | own
    lower = [name for name in (LOSS, BUFFER) if name in panels]
    shown = ([STRENGTH] * (STRENGTH in panels), *in_rows(own, 2), lower)
    rows: list[Any] = [row * (2 // len(row)) for row in shown if row]
    figure = new_figure(10, 3.2 * max(1, len(rows)))
    if not rows:
        figure.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center", color=GREY)
        return figure
    for name, axes in figure.subplot_mosaic(rows, height_ratios=[1.25, *[1] * (len(rows) - 1)]).items():
        millions = max(series(history, tag)[1].max() for tag in panels[name]) >= 1e6
        run.draw(axes, name.replace("thousand", "million") if millions else name, panels[name])
    return figure


def learning_figure(history: History) -> Figure | None:
    """A panel for everything that learning and self-play record; None if the history has nothing of it."""
    run = _Run(history)
    panels = run.panels((metric.tag, curve) for metric in ALL_METRICS for curve in metric.curves)
    if not panels:
        return None
    rows = in_rows(panels, 3)
    columns = len(rows[0])
    figure = new_figure(4.4 * columns, 2.6 * len(rows), w_pad=0.14)
    for number, (name, axes) in enumerate(figure.subplot_mosaic(rows).items()):
        run.draw(axes, name, panels[name], name_time=number + columns >= len(panels))
    return figure


def strength_figure(history: History, units: Mapping[str, str] | None = None) -> Figure | None:
    """Points against each opponent with their intervals, and the results behind them; None without any.

    Of a game for one, rewards and the game's own metrics, which have these units.
    """
    run = _Run(history)
    curves = run.panels(strength_curves(history).items()).get(STRENGTH)
    if not curves:
        return None
    results = [tag for tag in curves if series(history, tag.replace("/points", "/win"))[0]]
    own = run.panels(metric_curves(history, units or {}))
    below = in_rows([*results, *own], 2)
    rows = [[STRENGTH] * (len(below[0]) if below else 1), *below]
    heights = [4.2, *[2.3] * (len(rows) - 1)]
    figure = new_figure(10, sum(heights))
    axes = figure.subplot_mosaic(rows, height_ratios=heights)
    for name, panel in ({STRENGTH: curves} | own).items():
        run.draw(axes[name], name, panel)
    for tag in results:
        _draw_results(axes[tag], history, tag.removesuffix("/points"), curves[tag].label.replace("\n", " "))
    if results:
        bars, names = axes[results[0]].get_legend_handles_labels()
        figure.legend(bars, names, loc="outside lower left", ncols=3, frameon=False, labelcolor=INK, fontsize=9)
    return figure


def strength_curves(history: History) -> dict[str, Curve]:
    """The agent's points against each opponent, then its network's alone; some may have no values."""

    def label(text: str, opponent: str) -> str:
        """In a game for one there is nobody to be against."""
        return text.format(opponent=opponent).replace(f"against {ALONE}", "").strip() or "agent"

    return {
        metric.tag.format(opponent=opponent): curve._replace(label=label(curve.label, opponent), colour=colour)
        for metric in ALL_METRICS
        if (curve := metric.overview) and curve.panel == STRENGTH
        for opponent, colour in zip(opponents_of(history), cycle(OPPONENT_COLOURS), strict=False)
    }


def metrics_alone(history: History) -> list[str]:
    """The game's own metrics that the history has, of a game for one."""
    tags = dict.fromkeys(tag for scalars in history.values() for tag in scalars)
    return [tag.removeprefix(f"{OWN}/").removesuffix("_median") for tag in tags if re.match(f"{OWN}/.*_median$", tag)]


def metric_curves(history: History, units: Mapping[str, str]) -> Iterator[tuple[str, Curve]]:
    """The tags and curves of the game's own metrics: a panel for each, of the agent's and its network's games."""
    for name in metrics_alone(history):
        unit = f"{units[name]}: " if name in units else ""
        panel = f"{name.capitalize()}, {unit}median, and 95th percentile (dashed)"
        for role, who, colour in (("strength", "agent", BLUE), ("network", "network alone", GREEN)):
            yield f"{role}/{ALONE}/{name}_median", Curve(panel, who, colour)
            yield f"{role}/{ALONE}/{name}_95", Curve(panel, "_95", colour, "--")


def series(history: History, tag: str) -> tuple[list[int], NDArray[np.float64]]:
    """The iterations that have a finite value of the tag, and these values."""
    iterations = [i for i in sorted(history) if math.isfinite(history[i].get(tag, math.nan))]
    return iterations, np.array([history[i][tag] for i in iterations])


def _draw_results(axes: Axes, history: History, tag: str, title: str) -> None:
    """Games won, drawn and lost, one bar for each time they were counted."""
    iterations = series(history, f"{tag}/win")[0]
    bottom = np.zeros(len(iterations))
    for outcome, name, colour in (("win", "won", GREEN), ("draw", "drawn", "#c9d0d5"), ("loss", "lost", RED)):
        share = 100 * np.array([history[i].get(f"{tag}/{outcome}", 0.0) for i in iterations])
        axes.bar(range(len(iterations)), share, 0.8, bottom=bottom, color=colour, label=name)
        bottom += share
    caption(axes, title, "% of games, by iteration")
    step = math.ceil(len(iterations) / 6)
    axes.set(ylim=(0, 100), xticks=range(0, len(iterations), step), xticklabels=map(str, iterations[::step]))


class _Run:
    """A history and the place of its iterations on the axis of time."""

    def __init__(self, history: History) -> None:
        self.history, self.time = history, "iteration"
        # Below the entropy of the improved policy, the loss is that of a density (continuous actions): of another kind.
        loss, limit = (dict(zip(*series(history, f"loss/{name}"), strict=True)) for name in ("policy", TARGET_ENTROPY))
        self.left_out = {f"loss/{TARGET_ENTROPY}"} if any(loss[i] < limit[i] for i in loss.keys() & limit) else set()
        self.x = {i: float(i) for i in history}
        seconds = dict(zip(*series(history, "time/core_seconds"), strict=True))
        if seconds and set(seconds) == set(history):
            unit, scale = ("core-hours", 3600) if max(seconds.values()) >= 5 * 3600 else ("core-minutes", 60)
            self.time = f"{unit} of training"
            self.x = {i: float(seconds[i]) / scale for i in history}

    def panels(self, curves: Iterable[tuple[str, Curve]]) -> dict[str, dict[str, Curve]]:
        """Those of the curves that have values, by panel and tag."""
        panels: dict[str, dict[str, Curve]] = {}
        for tag, curve in curves:
            if tag not in self.left_out and series(self.history, tag)[0]:
                panels.setdefault(curve.panel, {})[tag] = curve
        return panels

    def draw(self, axes: Axes, panel: str, curves: Mapping[str, Curve], *, name_time: bool = True) -> None:
        """Draws curves by tag, with the bands of their intervals where these are recorded.

        Time goes from the run's start to its last iteration in all panels; values go from 0 on if none is negative.
        """
        title, _, unit = panel.partition(", ")
        scale, strength = SCALES.get(unit.split()[0], 1.0), panel == STRENGTH
        for tag, (_, label, colour, style) in curves.items():
            (bounded, low), (_, high) = (series(self.history, f"{tag}_{bound}") for bound in ("low", "high"))
            if len(low) and len(low) == len(high):
                axes.fill_between([self.x[i] for i in bounded], low, high, color=colour, alpha=0.13, linewidth=0)
            iterations, y = series(self.history, tag)
            dots = "o" if strength or len(iterations) == 1 else ""
            x = [self.x[i] for i in iterations]
            axes.plot(x, y / scale, style, color=colour, lw=1.6, marker=dots, ms=4, mew=0, label=literal(label))
        values = np.concatenate([series(self.history, tag)[1] for tag in curves])
        alone = any(ALONE in tag.split("/") for tag in curves)
        shares = strength and not alone and values.min() >= 0 and values.max() <= 1
        if strength and not shares:
            title, unit = "Reward", "mean of a game, with its 95 % interval"
        caption(axes, title, unit)
        if shares:
            show_shares(axes)
        elif alone and not strength and 0 < EVEN * values.min() < values.max():
            axes.set_yscale("log")
            axes.minorticks_off()
        elif not strength and values.min() >= 0:
            axes.set_ylim(bottom=0)
        end = max([1.0, *self.x.values()])
        axes.set_xlim(-0.01 * end, 1.01 * end)
        if name_time:
            axes.set_xlabel(self.time, fontsize=9, color=INK)
        label_ends(axes)


def show_shares(axes: Axes) -> None:
    """Makes the y-axis one of shares of points."""
    axes.axhline(0.5, color=GREY, lw=0.8, ls=(0, (2, 3)), zorder=0)
    axes.set(ylim=(-0.02, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1], yticklabels=["0 %", "25 %", "50 %", "75 %", "100 %"])


def caption(axes: Axes, title: str, unit: str) -> None:
    """Puts title and unit above the left corner."""
    axes.set_title(literal(title), loc="left", fontsize=12, fontweight="bold", color=INK, pad=20)
    axes.annotate(
        literal(unit), (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=GREY
    )
    plain_axes(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))


def label_ends(axes: Axes) -> None:
    """Names each curve at its right end, moved apart where they would overlap."""
    lines: list[Any] = sorted(axes.get_legend_handles_labels()[0], key=lambda line: line.get_ydata()[-1])
    scale = axes.yaxis.get_transform()
    bottom, top, *ends = scale.transform(np.array([*axes.get_ylim(), *(line.get_ydata()[-1] for line in lines)]))
    ends = (np.array(ends) - bottom) / (top - bottom)
    room = 13 / 72 * axes.figure.dpi / axes.bbox.height * np.array([line.get_label().count("\n") + 1 for line in lines])
    stacked = np.cumsum(room) - room / 2  # places that do not overlap: each name is moved up from these, none too far
    place = stacked + np.minimum(np.maximum.accumulate(ends - stacked), 1.02 - room.sum())
    for line, height in zip(lines, place, strict=True):
        axes.annotate(
            line.get_label(), (1, height), (6, 0), xycoords="axes fraction", textcoords="offset points",
            color=line.get_color(), fontsize=9, va="center", annotation_clip=False,
        )  # fmt: skip
