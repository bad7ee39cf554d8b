"""Pictures of a run: positions with their policies, policies over time, training curves.

Every function returns a `matplotlib.figure.Figure` made without pyplot, so that no window opens and
nothing outlives it; `png` turns one into a file's content.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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

BLUE, AMBER, GREEN, PLUM, RED, GREY = "#2f6690", "#d98324", "#4c8c5e", "#80487a", "#b8433c", "#8a9299"
OPPONENT_COLOURS = (BLUE, AMBER, GREEN, PLUM, RED)
INK, FAINT, BOARD = "#2b3036", "#e3e7ea", "#d5dde3"
DISC_COLOURS = {"x": BLUE, "o": AMBER}
MOST_BARS = 16
MOST_COLUMN_NAMES = 20


def png(figure: Figure, *, dpi: int = 150) -> bytes:
    """The figure as the content of a PNG file."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """The figure as [height, width, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


# ---------------------------------------------------------------------------------- positions


class Grid(NamedTuple):
    """A rendered board that consists of x, o and empty cells.

    cells: a string of x, o and . a row, the top one first.
    row_names, column_names: the labels beside and below, empty where there are none.
    """

    cells: list[str]
    row_names: list[str]
    column_names: list[str]


def read_grid(text: str) -> Grid | None:
    """The grid that a rendered position shows; None if it shows anything else."""
    cells: list[str] = []
    row_names: list[str] = []
    column_names: list[str] = []
    for tokens in (line.split() for line in text.splitlines() if line.strip()):
        name, marks = ("", tokens) if _are_marks(tokens) else (tokens[0], tokens[1:])
        if _are_marks(marks):
            cells.append("".join(marks).lower().translate(str.maketrans("·-_", "...")))
            row_names.append(name)
        elif cells and not column_names and len(tokens) == len(cells[0]):
            column_names = tokens
        else:
            return None
    if len(cells) < 2 or len(set(map(len, cells))) > 1:
        return None
    return Grid(cells, row_names, column_names)


def _are_marks(tokens: Sequence[str]) -> bool:
    return len(tokens) > 1 and all(len(token) == 1 and token in "xoXO.·-_" for token in tokens)


def board_figure(game: Game, state: State, policy: Tensor | NDArray[Any], value: float, *, title: str = "") -> Figure:
    """The position of a batch of one beside the policy, with the value in words.

    policy: [A], probabilities of a discrete game's actions.
    value: in [-1, 1], for the player to move.
    """
    text = game.render(state)
    grid = read_grid(text)
    figure = Figure(figsize=(8.4, 4.2), layout="constrained", facecolor="white")
    board, bars = figure.subplots(1, 2, width_ratios=(1.1, 1))
    if grid is None:
        _draw_text(board, text)
    else:
        _draw_grid(board, grid)
    seat = int(game.to_play(state)[0])
    mover = ("x", "o")[seat] if grid is not None else ("the first player", "the second player")[seat]
    owner = f" for {mover}, to move" if game.num_players == 2 else ""
    board.set_title(f"value{owner}: {value:+.2f}".replace("-", "−"), color=INK, fontsize=11)
    _draw_policy(bars, game, state, torch.as_tensor(policy).detach().double().cpu().numpy())
    if title:
        figure.suptitle(title, color=INK, fontsize=13)
    return figure


def _draw_text(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    lines = text.splitlines() or [""]
    size = min(14.0, 480 / max(map(len, lines)), 190 / len(lines))  # so that it fits half the figure
    axes.text(0.5, 0.5, text, family="monospace", fontsize=size, ha="center", va="center", color=INK)


def _draw_grid(axes: Axes, grid: Grid) -> None:
    height, width = len(grid.cells), len(grid.cells[0])
    # In a clipped box of rounded corners, pulled in a little so that the line is not cut.
    axes.add_patch(
        FancyBboxPatch((-0.4, -0.4), width - 0.2, height - 0.2, boxstyle="round,pad=0.15", color=BOARD, linewidth=0)
    )
    size = min(20.0, 77 / max(height, width))
    names: dict[str, Any] = {"color": GREY, "fontsize": 10, "ha": "center", "va": "center"}
    for row, marks in enumerate(grid.cells):
        y = height - 1 - row
        for x, mark in enumerate(marks):
            axes.add_patch(Circle((x, y), 0.4, facecolor=DISC_COLOURS.get(mark, "white"), linewidth=0))
            if mark in DISC_COLOURS:
                axes.text(x, y, mark, color="white", fontsize=size, ha="center", va="center")
        axes.text(-0.9, y, grid.row_names[row], **names)
    for x, name in enumerate(grid.column_names):
        axes.text(x, -0.85, name, **names)
    axes.set_xlim(-1.2, width - 0.3)
    axes.set_ylim(-1.1, height - 0.3)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _draw_policy(axes: Axes, game: Game, state: State, policy: NDArray[np.float64]) -> None:
    """Bars of the legal actions; of more than fit, the likeliest."""
    legal = torch.nonzero(game.legal(state)[0]).flatten().cpu().numpy()
    shown = legal
    if len(legal) > MOST_BARS:
        shown = np.sort(legal[np.argsort(-policy[legal], kind="stable")[:MOST_BARS]])
    axes.set_title("policy" if len(shown) == len(legal) else f"policy, the likeliest {MOST_BARS} of {len(legal)} moves")
    axes.title.set(color=INK, fontsize=11)
    if not len(shown):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no legal move", ha="center", va="center", color=GREY)
        return
    likeliest = policy[shown].max()
    colours = [BLUE if p == likeliest else "#a9c1d3" for p in policy[shown]]
    rows = np.arange(len(shown))
    axes.barh(rows, policy[shown], color=colours, height=0.7)
    for row, probability in zip(rows, policy[shown], strict=True):
        axes.text(probability, float(row), f" {100 * probability:.0f} %", va="center", color=INK, fontsize=9)
    axes.set_yticks(rows, [game.action_name(int(action)) for action in shown], color=INK)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(0, max(1e-9, float(likeliest)) * 1.18)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def policy_heatmap(game: Game, policies_over_time: Mapping[int, NDArray[Any]], *, titles: Sequence[str] = ()) -> Figure:
    """How the policy of P fixed positions changed: a panel each, a row an iteration, a column an action.

    policies_over_time: by iteration, [P, A] probabilities.
    titles: of the panels; by default the positions are numbered.
    """
    iterations = sorted(policies_over_time)
    policies = np.stack([np.asarray(policies_over_time[iteration], dtype=np.float64) for iteration in iterations], 1)
    positions, columns = len(policies), min(4, len(policies))
    rows = math.ceil(positions / columns)
    width = min(5.0, max(2.4, 0.32 * num_actions(game)))
    figure = Figure(figsize=(width * columns + 1.2, 2.9 * rows + 0.6), layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    names = [game.action_name(action) for action in range(num_actions(game))]
    step = math.ceil(len(names) / MOST_COLUMN_NAMES)
    labelled = np.linspace(0, len(iterations) - 1, min(len(iterations), 8)).round().astype(int)
    image = None
    for position, axes in enumerate(panels):
        if position >= positions:
            axes.set_axis_off()
            continue
        image = axes.imshow(policies[position], cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(titles[position] if titles else f"position {position + 1}", color=INK, fontsize=11)
        axes.set_xticks(range(0, len(names), step), names[::step], fontsize=8, color=INK)
        axes.set_yticks(labelled, [str(iterations[row]) for row in labelled], fontsize=8, color=INK)
        axes.tick_params(length=0, labelbottom=position + columns >= positions)
        axes.spines[:].set_color(FAINT)
    figure.supxlabel("action", fontsize=10, color=INK)
    figure.supylabel("iteration", fontsize=10, color=INK)
    if image is not None:
        bar = figure.colorbar(image, ax=list(panels), shrink=0.8, pad=0.02, format=PercentFormatter(1, symbol=" %"))
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, labelsize=8, labelcolor=INK)
        bar.set_label("probability of the action", fontsize=9, color=INK)
    return figure


# ------------------------------------------------------------------------------------- curves


class Curve(NamedTuple):
    """A scalar over the run, and how it is drawn."""

    tag: str
    label: str
    colour: str
    style: str = "-"


def curves_figure(history: Mapping[int, Mapping[str, float]]) -> Figure:
    """Strength, losses and buffer over the run, as far as the history has them.

    history: by iteration, scalars by tag. Time in core-minutes if all iterations say it, else
    iterations.
    """
    opponents = opponents_of(history)
    strength = [
        Curve(f"{tag}/{opponent}/points", label.format(opponent), OPPONENT_COLOURS[i % len(OPPONENT_COLOURS)], style)
        for tag, label, style in (("strength", "against {}", "-"), ("network", "network alone\nagainst {}", ":"))
        for i, opponent in enumerate(opponents)
    ]
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
        _caption(axes["losses"], "Loss on the replay buffer", "nats a sample")
        axes["losses"].set_ylim(bottom=min(0.0, axes["losses"].get_ylim()[0]))
    if buffer:
        scale, unit = (1e6, "million") if _largest(history, buffer) >= 1e6 else (1e3, "thousand")
        _draw_curves(axes["buffer"], history, x, buffer, scale=scale)
        _caption(axes["buffer"], "Replay buffer", f"{unit} samples")
        axes["buffer"].set_ylim(bottom=0)
    end = max(1.0, *x.values(), 0.0)
    for panel in axes.values():
        panel.set_xlim(-0.01 * end, 1.01 * end)
        panel.set_xlabel(x_label, fontsize=9, color=INK)
        _label_ends(panel, figure.get_figheight())
    return figure


def opponents_of(history: Mapping[int, Mapping[str, float]]) -> list[str]:
    """The opponents whose games the history tells of, in the order of their first games."""
    tags = (tag for scalars in history.values() for tag in scalars)
    return list(dict.fromkeys(t.split("/")[1] for t in tags if t.startswith("strength/") and t.count("/") > 1))


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
        _caption(axes, "Strength", "points a game")
        return
    _caption(axes, "Points won against fixed opponents", "share of points: 1 for a win, ½ for a draw")
    axes.axhline(0.5, color=GREY, lw=0.8, ls=(0, (2, 3)), zorder=0)
    axes.set_ylim(-0.02, 1.03)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])


def _caption(axes: Axes, title: str, unit: str) -> None:
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


def _label_ends(axes: Axes, figure_height: float) -> None:
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
