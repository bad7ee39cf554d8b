"""The curve of a run's strength: points of its checkpoints, played again once it is over, beside what training saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from alphazero.report.curves import OPPONENT_COLOURS, caption, label_ends
from alphazero.report.position_figures import GREY, INK

LONGEST_NAME = 22
RECORDED = {"agent": "strength", "network": "network"}  # what training calls them in its tags


class CurvePoint(NamedTuple):
    """What a checkpoint won of an opponent's points, or earned a game where there is none ("")."""

    iteration: int
    role: Literal["agent", "network"]
    opponent: str
    points: float
    interval: tuple[float, float]


def curve_figure(points: Sequence[CurvePoint], history: Mapping[int, Mapping[str, float]], *, title: str) -> Figure:
    """A panel for the agent and one for its network alone, a line with 95 % intervals for each opponent.

    history: scalars by iteration and tag; what it has of the same opponents is drawn in thin lines.
    """
    opponents = list(dict.fromkeys(point.opponent for point in points))
    end = max((point.iteration for point in points), default=1)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(11, 4.4), layout=layout, facecolor="white")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, role in zip(panels, ("agent", "network"), strict=True):
        for number, opponent in enumerate(opponents):
            colour = OPPONENT_COLOURS[number % len(OPPONENT_COLOURS)]
            own = sorted(point for point in points if (point.role, point.opponent) == (role, opponent))
            _draw_recorded(axes, history, f"{RECORDED[role]}/{opponent}/points", colour)
            iterations, shares = [point.iteration for point in own], [point.points for point in own]
            if not own:  # the benchmark was stopped
                continue
            name = opponent if len(opponent) <= LONGEST_NAME else f"…{opponent[1 - LONGEST_NAME :]}"
            axes.plot(iterations, shares, color=colour, lw=1.8, marker="o", ms=4.5, mew=0, label=name or role)
            for point in own:  # a little apart, where several opponents share an iteration
                place = point.iteration + end * 0.006 * (number - (len(opponents) - 1) / 2)
                axes.vlines(place, *point.interval, color=colour, lw=1.2, alpha=0.5)
    for axes, name in zip(panels, (f"{title}: the agent", "its network alone"), strict=True):
        caption(axes, name, "share of points, thin as training measured it" if opponents != [""] else "reward a game")
        axes.set_xlabel("iteration", fontsize=9, color=INK)
        axes.set_xlim(0, 1.02 * end)
        if opponents != [""]:
            axes.axhline(0.5, color=GREY, lw=0.8, ls=(0, (2, 3)), zorder=0)
            axes.set_ylim(-0.02, 1.03)
            axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.tick_params(labelleft=True)
        label_ends(axes, figure.get_figheight())
    return figure


def _draw_recorded(axes: Axes, history: Mapping[int, Mapping[str, float]], tag: str, colour: str) -> None:
    """A thin line through the iterations that have the tag."""
    seen = [i for i in sorted(history) if math.isfinite(history[i].get(tag, math.nan))]
    axes.plot(seen, [history[i][tag] for i in seen], color=colour, lw=0.8, alpha=0.7, label="_training")
