"""Curves of a run: strength, losses and whatever else was recorded, over iterations or core-time.

What a history lacks is left out. A history holds by iteration the scalars by tag, as `metrics.csv` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from alphazero.report.position_figures import AMBER, BLUE, FAINT, GREEN, GREY, INK, PLUM, RED
from alphazero.runs.metrics import opponents_of

OPPONENT_COLOURS = (BLUE, AMBER, GREEN, PLUM, RED)


class Curve(NamedTuple):
    """A scalar over the run, and how it is drawn."""

    tag: str
    label: str
    colour: str
    style: str = "-"


class Panel(NamedTuple):
    """Curves that share a scale, in thousands, hundredths, or as they are."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    scale: float = 1.0


PANELS = (
    Panel(
        "Loss on the replay buffer",
        "nats a sample",
        (Curve("loss/total", "total", INK), Curve("loss/policy", "policy", BLUE), Curve("loss/value", "value", AMBER)),
    ),
    Panel(
        "Policy",
        "nats a sample",
        (
            Curve("loss/policy", "loss", BLUE),
            Curve("loss/target_entropy", "target's\nentropy", BLUE, ":"),
            Curve("loss/policy_entropy", "network's\nentropy", GREEN, "--"),
        ),
    ),
    Panel(
        "Loss by stage of the game",
        "nats a sample; thirds of the buffer by moves left",
        (
            Curve("loss_by_stage/opening", "opening", BLUE),
            Curve("loss_by_stage/middle", "middle", PLUM),
            Curve("loss_by_stage/end", "end", AMBER),
        ),
    ),
    Panel("Learning rate", "thousandths", (Curve("loss/learning_rate", "", BLUE),), 1e-3),
    Panel("Norm of the gradient", "before it is clipped", (Curve("loss/gradient_norm", "", BLUE),)),
    Panel(
        "Replay buffer",
        "thousand samples",
        (
            Curve("buffer/window", "window", GREY, ":"),
            Curve("buffer/samples", "samples", BLUE),
            Curve("buffer/distinct", "distinct", GREEN),
        ),
        1e3,
    ),
    Panel("Length of games", "moves after the opening", (Curve("self_play/game_length", "", BLUE),)),
    Panel(
        "Results of self-play",
        "% of games",
        (
            Curve("self_play/first_player_wins", "first\nplayer wins", BLUE),
            Curve("self_play/draws", "draws", GREY),
        ),
        0.01,
    ),
    Panel("Depth of the search", "deepest edge, mean over moves", (Curve("self_play/tree_depth", "", BLUE),)),
    Panel("Simulations", "a move of self-play", (Curve("self_play/simulations", "", BLUE),)),
    Panel("Evaluations from the cache", "% of all asked for", (Curve("self_play/cache_hits", "", BLUE),), 0.01),
    Panel("Speed of self-play", "thousand simulations/s", (Curve("self_play/simulations_per_second", "", BLUE),), 1e3),
    Panel("Speed of self-play", "positions/s", (Curve("self_play/positions_per_second", "", BLUE),)),
    Panel(
        "CPU time",
        "% of self-play and learning",
        (
            Curve("time/inference", "inference", BLUE),
            Curve("time/learning", "learning", AMBER),
            Curve("time/tree", "tree", GREEN),
        ),
        0.01,
    ),
    Panel("Memory", "MB resident", (Curve("memory/resident_mb", "", BLUE),)),
)


def curves_figure(history: Mapping[int, Mapping[str, float]]) -> Figure:
    """Strength, losses and buffer over the run, as far as the history has them.

    history: by iteration, scalars by tag. Time in core-minutes if all iterations say it, else
    iterations.
    """
    strength = strength_curves(history)
    losses = [
        Curve("loss/policy", "policy", BLUE),
        Curve("loss/target_entropy", "target's entropy:\nthe policy's limit", BLUE, ":"),
        Curve("loss/value", "value", AMBER),
    ]
    if not _present(history, losses):
        losses = [Curve("loss/total", "total", BLUE)]
    buffer = [
        Curve("buffer/window", "window", GREY, ":"),  # first, so that the samples hide it once they fill it
        Curve("buffer/samples", "samples", BLUE),
        Curve("buffer/distinct", "distinct positions", GREEN),
    ]
    strength, losses, buffer = (_present(history, curves) for curves in (strength, losses, buffer))
    rows: list[Any] = [["strength", "strength"]] if strength else []  # matplotlib's own type of a mosaic is closed
    lower = [name for name, curves in (("losses", losses), ("buffer", buffer)) if curves]
    rows += [lower if len(lower) == 2 else lower * 2] if lower else []
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(10, 3.2 * max(1, len(rows))), layout=layout, facecolor="white")
    if not rows:
        figure.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center", color=GREY)
        return figure
    axes = figure.subplot_mosaic(rows, height_ratios=[1.25, 1][: len(rows)])
    x_label, x = _time_axis(history)
    if strength:
        _draw_strength(axes["strength"], history, x, strength)
    if losses:
        _draw_curves(axes["losses"], history, x, losses)
        caption(axes["losses"], "Loss on the replay buffer", "nats a sample")
        axes["losses"].set_ylim(bottom=min(0.0, axes["losses"].get_ylim()[0]))
    if buffer:
        scale, unit = (1e6, "million") if _largest(history, buffer) >= 1e6 else (1e3, "thousand")
        _draw_curves(axes["buffer"], history, x, buffer, scale=scale)
        caption(axes["buffer"], "Replay buffer", f"{unit} samples")
        axes["buffer"].set_ylim(bottom=0)
    for panel in axes.values():
        _span_run(panel, x)
        panel.set_xlabel(x_label, fontsize=9, color=INK)
        label_ends(panel, figure.get_figheight())
    return figure


def learning_figure(history: Mapping[int, Mapping[str, float]]) -> Figure | None:
    """A panel for everything that learning and self-play record; None if the history has nothing of it."""
    panels = [panel for panel in PANELS if _present(history, panel.curves)]
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.12)
    figure = Figure(figsize=(4.4 * columns, 2.6 * rows), layout=layout, facecolor="white")
    every_axes = figure.subplots(rows, columns, squeeze=False).flatten()
    x_label, x = _time_axis(history)
    for axes in every_axes[len(panels) :]:
        axes.set_axis_off()
    for number, (panel, axes) in enumerate(zip(panels, every_axes, strict=False)):
        _draw_curves(axes, history, x, _present(history, panel.curves), scale=panel.scale)
        caption(axes, panel.title, panel.unit)
        if min(np.min(np.asarray(line.get_ydata())) for line in axes.get_lines()) >= 0:
            axes.set_ylim(bottom=0)
        _span_run(axes, x)
        if number + columns >= len(panels):
            axes.set_xlabel(x_label, fontsize=9, color=INK)
        label_ends(axes, figure.get_figheight())
    return figure


def strength_figure(history: Mapping[int, Mapping[str, float]]) -> Figure | None:
    """Points against each opponent with their intervals, and the results behind them; None without any."""
    curves = _present(history, strength_curves(history))
    if not curves:
        return None
    results = [curve for curve in curves if _series(history, f"{curve.tag.removesuffix('/points')}/win")[0]]
    columns = min(2, max(1, len(results)))
    rows = math.ceil(len(results) / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(10, 4.2 + 2.3 * rows), layout=layout, facecolor="white")
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=[4.2, *[2.3] * rows])
    x_label, x = _time_axis(history)
    points = figure.add_subplot(grid[0, :])
    _draw_strength(points, history, x, curves)
    _span_run(points, x)
    points.set_xlabel(x_label, fontsize=9, color=INK)
    label_ends(points, figure.get_figheight())
    for number, curve in enumerate(results):
        axes = figure.add_subplot(grid[1 + number // columns, number % columns])
        _draw_results(axes, history, curve)
        if number == 0:
            bars, names = axes.get_legend_handles_labels()
            figure.legend(bars, names, loc="outside lower left", ncols=3, frameon=False, labelcolor=INK, fontsize=9)
    return figure


def _draw_results(axes: Axes, history: Mapping[int, Mapping[str, float]], curve: Curve) -> None:
    """Games won, drawn and lost, one bar for each time they were counted."""
    tag = curve.tag.removesuffix("/points")
    iterations = _series(history, f"{tag}/win")[0]
    bottom = np.zeros(len(iterations))
    for outcome, name, colour in (("win", "won", GREEN), ("draw", "drawn", "#c9d0d5"), ("loss", "lost", RED)):
        share = 100 * np.array([history[i].get(f"{tag}/{outcome}", 0.0) for i in iterations])
        axes.bar(range(len(iterations)), share, 0.8, bottom=bottom, color=colour, label=name)
        bottom += share
    caption(axes, curve.label.replace("\n", " "), "% of games, by iteration")
    axes.set_ylim(0, 100)
    step = math.ceil(len(iterations) / 6)
    axes.set_xticks(range(0, len(iterations), step), [str(i) for i in iterations[::step]])


def strength_curves(history: Mapping[int, Mapping[str, float]]) -> list[Curve]:
    """Of the agent against each opponent, then of its network alone; some may have no values."""
    return [
        Curve(f"{tag}/{opponent}/points", label.format(opponent), OPPONENT_COLOURS[i % len(OPPONENT_COLOURS)], style)
        for tag, label, style in (("strength", "against {}", "-"), ("network", "network alone\nagainst {}", ":"))
        for i, opponent in enumerate(opponents_of(history))
    ]


def _series(history: Mapping[int, Mapping[str, float]], tag: str) -> tuple[list[int], NDArray[np.float64]]:
    """The iterations that have a finite value of the tag, and these values."""
    iterations = [i for i in sorted(history) if math.isfinite(history[i].get(tag, math.nan))]
    return iterations, np.array([history[i][tag] for i in iterations])


def _present(history: Mapping[int, Mapping[str, float]], curves: Sequence[Curve]) -> list[Curve]:
    return [curve for curve in curves if _series(history, curve.tag)[0]]


def _largest(history: Mapping[int, Mapping[str, float]], curves: Sequence[Curve]) -> float:
    return max(float(_series(history, curve.tag)[1].max()) for curve in curves)


def _time_axis(history: Mapping[int, Mapping[str, float]]) -> tuple[str, dict[int, float]]:
    """The axis' label and every iteration's place on it."""
    seconds = dict(zip(*_series(history, "time/core_seconds"), strict=True))
    if set(seconds) != set(history):
        return "iteration", {i: float(i) for i in history}
    longest = max(seconds.values())
    unit, scale = ("core-hours", 3600) if longest >= 5 * 3600 else ("core-minutes", 60)
    return f"{unit} of training", {i: float(seconds[i]) / scale for i in history}


def _span_run(axes: Axes, x: Mapping[int, float]) -> None:
    """From the run's start to its last iteration, the same for all panels."""
    end = max([1.0, *x.values()])
    axes.set_xlim(-0.01 * end, 1.01 * end)


def _draw_curves(
    axes: Axes, history: Mapping[int, Mapping[str, float]], x: Mapping[int, float], curves: Sequence[Curve],
    *, scale: float = 1.0, marker: str = "",
) -> None:  # fmt: skip
    for curve in curves:
        iterations, y = _series(history, curve.tag)
        dots = marker or ("o" if len(iterations) == 1 else "")
        places = [x[i] for i in iterations]
        axes.plot(
            places, y / scale, curve.style, color=curve.colour, lw=1.6, marker=dots, ms=4, mew=0, label=curve.label
        )


def _draw_strength(
    axes: Axes, history: Mapping[int, Mapping[str, float]], x: Mapping[int, float], curves: Sequence[Curve]
) -> None:
    _draw_curves(axes, history, x, curves, marker="o")
    for curve in curves:
        iterations, low = _series(history, f"{curve.tag}_low")
        high = _series(history, f"{curve.tag}_high")[1]
        if len(low) and len(low) == len(high):
            axes.fill_between([x[i] for i in iterations], low, high, color=curve.colour, alpha=0.13, linewidth=0)
    everything = np.concatenate([_series(history, curve.tag)[1] for curve in curves])
    if everything.min() < 0 or everything.max() > 1:  # a game for one: points are what it earned
        caption(axes, "Strength", "points a game")
        return
    caption(axes, "Points won against fixed opponents", "share of points: 1 for a win, ½ for a draw")
    axes.axhline(0.5, color=GREY, lw=0.8, ls=(0, (2, 3)), zorder=0)
    axes.set_ylim(-0.02, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def caption(axes: Axes, title: str, unit: str) -> None:
    """Title and unit above the left corner; only faint lines to read values by."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=20)
    axes.annotate(unit, (0, 1), (0, 7), xycoords="axes fraction", textcoords="offset points", fontsize=9, color=GREY)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
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
