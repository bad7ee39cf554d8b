"""Figures of positions: a board with its policy, policies over time.

Every function returns a `matplotlib.figure.Figure` made without pyplot, so that no window opens and
nothing outlives it; `png` makes the content of a file of one.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Circle, FancyBboxPatch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from torch import Tensor

from alphazero.game import Game, State, num_actions
from alphazero.game.grid import Grid, read_grid
from alphazero.report.colours import AMBER, BLUE, BOARD, FAINT, GREY, INK

SEATS = ("the first player", "the second player")
DISC_COLOURS = {"x": BLUE, "o": AMBER}
MOST_BARS = 16
MOST_COLUMN_NAMES = 20


def new_figure(width: float, height: float, *, w_pad: float = 0.12, h_pad: float = 0.12) -> Figure:
    """An empty figure, whose panels are kept apart; all in inches."""
    return Figure((width, height), layout=ConstrainedLayoutEngine(w_pad=w_pad, h_pad=h_pad), facecolor="white")


def literal(text: str) -> str:
    """The text for a figure, in which matplotlib would take what is between two dollars for mathematics."""
    return text.replace("$", r"\$")


def in_rows(names: Iterable[Any], most: int) -> list[Any]:  # matplotlib's own type of a mosaic is closed
    """A mosaic of the panels, at most so many a row."""
    rest = list(names)
    columns = min(most, len(rest))
    return [[*rest[i : i + columns], *["."] * (i + columns - len(rest))] for i in range(0, len(rest), columns or 1)]


def png(figure: Figure, *, dpi: int = 150) -> bytes:
    """The figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """The figure as [height, width, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def plain_axes(axes: Axes, which: Literal["x", "y"], *, labelsize: float = 9) -> None:
    """Leaves only faint lines to read values by, which lie along the axis `which`."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.grid(axis=which, color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=labelsize, labelcolor=INK)
    (axes.xaxis if which == "x" else axes.yaxis).set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def player_names(game: Game, state: State) -> tuple[str, str]:
    """The players' names: x and o if the boards show these."""
    return ("x", "o") if read_grid(game.render(state)) else SEATS


def board_figure(game: Game, state: State, policy: Tensor | NDArray[Any], value: float) -> Figure:
    """The position of a batch of one beside its policy, under its value.

    policy: [A], probabilities of a discrete game's actions.
    value: in [-1, 1], for the player to move.
    """
    figure = Figure(figsize=(8.4, 4.2), layout="constrained", facecolor="white")
    board, bars = figure.subplots(1, 2, width_ratios=(1.1, 1))
    board.set_axis_off()
    if grid := read_grid(text := game.render(state)):
        _draw_grid(board, grid)
    else:
        _draw_text(board, text)
    mover = player_names(game, state)[int(game.to_play(state)[0])]
    owner = f" for {mover}, to move" if game.num_players == 2 else ""
    board.set_title(f"value{owner}: {value:+.2f}".replace("-", "−"), color=INK, fontsize=11)
    _draw_policy(bars, game, state, torch.as_tensor(policy).detach().double().cpu().numpy())
    return figure


def _draw_text(axes: Axes, text: str) -> None:
    lines = text.splitlines() or [""]
    size = min(14.0, 480 / max(map(len, lines)), 190 / len(lines))  # so that it fits half the figure
    axes.text(0.5, 0.5, literal(text), family="monospace", fontsize=size, ha="center", va="center", color=INK)


def _draw_grid(axes: Axes, grid: Grid) -> None:
    height = len(grid.cells)
    width = len(grid.cells[0]) + grid.lean * (height - 1)
    # A box with rounded corners, a little smaller so that the line is not cut.
    corner, style = (-0.4, -0.4), "round,pad=0.15"
    axes.add_patch(FancyBboxPatch(corner, width - 0.2, height - 0.2, boxstyle=style, color=BOARD, linewidth=0))
    size = min(20.0, 77 / max(height, width))
    names: dict[str, Any] = {"color": GREY, "fontsize": 10, "ha": "center", "va": "center"}
    for row, marks in enumerate(grid.cells):
        y, left = height - 1 - row, grid.lean * row
        for column, mark in enumerate(marks):
            x = left + column
            axes.add_patch(Circle((x, y), 0.4, facecolor=DISC_COLOURS.get(mark, "white"), linewidth=0))
            if mark in DISC_COLOURS:
                axes.text(x, y, mark, color="white", fontsize=size, ha="center", va="center")
        axes.text(left - 0.9, y, literal(grid.row_names[row]), **names)
    for column, name in enumerate(grid.column_names):
        axes.text(grid.lean * height + column, -0.85, literal(name), **names)
    axes.set(xlim=(-1.2, width - 0.3), ylim=(-1.1, height - 0.3), aspect="equal")


def _draw_policy(axes: Axes, game: Game, state: State, policy: NDArray[np.float64]) -> None:
    """Draws bars for the legal actions, or for the likeliest if there are too many."""
    legal = torch.nonzero(game.legal(state)[0]).flatten().cpu().numpy()
    shown = np.sort(legal[np.argsort(-policy[legal], kind="stable")[:MOST_BARS]])
    axes.set_title("policy" if len(shown) == len(legal) else f"policy, the likeliest {MOST_BARS} of {len(legal)} moves")
    axes.title.set(color=INK, fontsize=11)
    if not len(shown):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no legal move", ha="center", va="center", color=GREY)
        return
    likeliest = policy[shown].max()
    colours = [BLUE if p == likeliest else "#a9c1d3" for p in policy[shown]]
    drawn = axes.barh(range(len(shown)), policy[shown], color=colours, height=0.7)
    axes.bar_label(drawn, [f" {100 * p:.0f} %" for p in policy[shown]], color=INK, fontsize=9)
    axes.set_yticks(range(len(shown)), [literal(game.action_name(int(action))) for action in shown], color=INK)
    axes.set(xlim=(0, max(1e-9, float(likeliest)) * 1.18), ylim=(len(shown) - 0.5, -0.5), xticks=[])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def policy_heatmap(game: Game, policies_over_time: Mapping[int, NDArray[Any]]) -> Figure:
    """The policies of P fixed positions over time: a panel each, a row an iteration, a column an action.

    policies_over_time: by iteration, [P, A] probabilities.
    """
    iterations = sorted(policies_over_time)
    policies = np.stack([np.asarray(policies_over_time[iteration], dtype=np.float64) for iteration in iterations], 1)
    rows = in_rows(range(len(policies)), 4)
    columns, width = len(rows[0]), min(5.0, max(2.4, 0.32 * num_actions(game)))
    figure = Figure(figsize=(width * columns + 1.2, 2.9 * len(rows) + 0.6), layout="constrained", facecolor="white")
    panels = figure.subplot_mosaic(rows, sharex=True, sharey=True)
    names = [literal(game.action_name(action)) for action in range(num_actions(game))]
    step = math.ceil(len(names) / MOST_COLUMN_NAMES)
    labelled = np.linspace(0, len(iterations) - 1, min(len(iterations), 8)).round().astype(int)
    for position, axes in panels.items():
        axes.imshow(policies[position], cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(f"position {position + 1}", color=INK, fontsize=11)
        axes.set_xticks(range(0, len(names), step), names[::step], fontsize=8, color=INK)
        axes.set_yticks(labelled, [str(iterations[row]) for row in labelled], fontsize=8, color=INK)
        axes.tick_params(length=0, labelbottom=position + columns >= len(policies))
        axes.spines[:].set_color(FAINT)
    figure.supxlabel("action", fontsize=10, color=INK)
    figure.supylabel("iteration", fontsize=10, color=INK)
    percent = PercentFormatter(1, symbol=" %")
    bar = figure.colorbar(panels[0].images[0], ax=list(panels.values()), shrink=0.8, pad=0.02, format=percent)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=INK)
    bar.set_label("probability of the action", fontsize=9, color=INK)
    return figure
