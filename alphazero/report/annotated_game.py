"""A game of self-play move by move, with the policies and values of its search, as text and as a figure.

All values are the search's, for the first player (of a game for one: its only player).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Patch, Rectangle
from torch import Tensor

from alphazero.game import Game, State, map_states, num_actions
from alphazero.game.grid import Grid, read_grid
from alphazero.report.position_figures import AMBER, BLUE, BOARD, DISC_COLOURS, FAINT, GREY, INK, SEATS, player_names
from alphazero.selfplay import Trajectories

TOP_ACTIONS = 3
MOST_BOARDS = 64  # in a figure; of longer games only every second position is shown, or every third, ...
LIKELIEST = 16  # actions of a position that are looked up on the board
NARROWEST, WIDEST, LARGEST_CELL = 9.0, 13.0, 0.34  # inches


class Move(NamedTuple):
    """A move, with the policy and the value behind it.

    number: from 1 on, counted from where self-play took over.
    before, after: the positions, each a batch of one.
    name:   of the action.
    policy: [A] float32, improved by the search.
    value:  the search's of the position before, for the first player.
    reward: for the first player, too.
    """

    number: int
    before: State
    after: State
    mover: int
    action: int
    name: str
    policy: Tensor
    value: float
    reward: float

    def likeliest(self, count: int) -> list[int]:
        """The actions of the greatest probabilities, without those of probability 0."""
        order = self.policy.argsort(descending=True, stable=True)[:count]
        return [int(action) for action in order if self.policy[action] > 0]


class AnnotatedGame:
    """A game of self-play with a title; `game` must be the one that was played."""

    def __init__(self, game: Game, played: Trajectories, title: str) -> None:
        """The game in the first slot of `played`. ValueError if it has no move."""
        self.game, self.title = game, title
        self.moves = [self._move(played, t) for t in range(int(played.length[0]))]
        if not self.moves:
            raise ValueError(f"{title}: there is no move to show")
        self.start = self.moves[0].before
        self.players = player_names(game, self.start)
        self.result = sum(move.reward for move in self.moves)  # undiscounted, for the first player

    def _move(self, played: Trajectories, t: int) -> Move:
        before = map_states(lambda field: field[0, t : t + 1], played.states)
        action, mover = played.action[0, t : t + 1], int(played.mover[0, t])
        sign = 1.0 if mover == 0 else -1.0
        return Move(
            number=t + 1,
            before=before,
            after=self.game.step(before, action).state,
            mover=mover,
            action=int(action),
            name=self.game.action_name(int(action)),
            policy=played.policy[0, t],
            value=sign * float(played.root_value[0, t]),
            reward=sign * float(played.reward[0, t]),
        )

    @property
    def outcome(self) -> str:
        if self.game.num_players == 1:
            return f"a return of {self.result:g}"
        return f"{self.players[self.result < 0]} wins" if self.result else "a draw"

    @property
    def viewpoint(self) -> str:
        if self.game.num_players == 1:
            return "values: the search's"
        first = self.players[0]
        who = "" if first == SEATS[0] else f" ({SEATS[0]})"
        return f"values: the search's, for {first}{who}: +1 a win, −1 a loss"

    @property
    def summary(self) -> str:
        count = f"{len(self.moves)} move" + "s" * (len(self.moves) > 1)
        return f"{self.title}: {count}, {self.outcome}"

    def text(self) -> str:
        """Every position with the move that led to it, its policy and value."""
        lines = [self.summary, self.viewpoint, "", self.game.render(self.start), ""]
        for move in self.moves:
            top = ((self.game.action_name(a), 100 * float(move.policy[a])) for a in move.likeliest(TOP_ACTIONS))
            likely = "  ".join(f"{name} {percent:.0f} %" for name, percent in top)
            who = f"{self.players[move.mover]} plays " if self.game.num_players == 2 else ""
            said = f"{move.number}. {who}{move.name}", f"value {signed(move.value)}", f"policy {likely}"
            lines += ["    ".join(said), self.game.render(move.after), ""]
        return "\n".join(lines)

    def figure(self) -> Figure | None:
        """The boards in order, and the value over the game; None if the game renders no grid.

        Each board shows the position after its move, which is ringed, and the policy of the search for it: as
        bars above the columns if every column is an action, else as dots in the cells of the likeliest.
        """
        start = read_grid(self.game.render(self.start))
        if start is None:
            return None
        step = math.ceil(len(self.moves) / (MOST_BOARDS - 1))
        shown = [move for move in self.moves if (len(self.moves) - move.number) % step == 0]
        boards = _Boards(self.game, start, len(shown) + 1)
        inches = boards.inches
        width, header, strip = max(NARROWEST, inches[0] + 0.5), 0.75, 1.9
        height = header + inches[1] + strip
        figure = Figure(figsize=(width, height), facecolor="white")
        axes = figure.add_axes((0.25 / width, strip / height, inches[0] / width, inches[1] / height))
        boards.draw(axes, start, shown)
        self._draw_values(figure.add_axes((0.85 / width, 0.5 / height, 1 - 1.15 / width, (strip - 0.85) / height)))
        left = 0.25 / width
        figure.text(left, 1 - 0.3 / height, self.title, fontsize=13, fontweight="bold", color=INK, va="center")
        policy = "bars above" if boards.bars else "dots in cells"
        said = [self.outcome, f"{policy}: the search's policy", "ringed: the move played", "number: value before it"]
        if self.game.num_players == 2:
            said[-1] += f", for {self.players[0]}"
            handles = [Patch(color=DISC_COLOURS[mark], label=mark) for mark in "xo"]
            figure.legend(handles=handles, loc="upper right", ncols=2, frameon=False, fontsize=10, labelcolor=INK)
        if step > 1:
            said.append(f"one board for {step} moves")
        figure.text(left, 1 - 0.57 / height, " · ".join(said), fontsize=9.5, color=GREY, va="center")
        return figure

    def _draw_values(self, axes: Axes) -> None:
        numbers = range(1, len(self.moves) + 2)
        values = np.array([*(move.value for move in self.moves), self.result])
        axes.fill_between(numbers, values.clip(min=0), color=BLUE, alpha=0.18, linewidth=0)
        axes.fill_between(numbers, values.clip(max=0), color=AMBER, alpha=0.18, linewidth=0)
        axes.plot(numbers[:-1], values[:-1], color=INK, lw=1.4, marker="o", ms=3, mew=0)
        axes.plot(numbers[-2:], values[-2:], color=INK, lw=1.2, ls=":")
        axes.plot(numbers[-1], values[-1], "D", color=INK, ms=5)
        axes.axhline(0, color=GREY, lw=0.8)
        if self.game.num_players == 2:
            axes.set_ylim(-1.12, 1.12)
            first, second = self.players
            axes.set_yticks([-1, 0, 1], [f"{second} wins", "even", f"{first} wins"])
        else:
            axes.grid(axis="y", color=FAINT, lw=0.8)
        axes.set_xlim(0.5, numbers[-1] + 0.5)
        step = max(1, math.ceil(len(numbers) / 45))
        axes.set_xticks(numbers[:-1:step])
        axes.set_xlabel("value before each move; ◆ the result", fontsize=9, color=INK)
        axes.tick_params(length=0, labelsize=8.5, labelcolor=INK)
        axes.spines[:].set_visible(False)


def signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")  # + 0.0 makes +0 of −0


class _Boards:
    """Boards in rows on one pair of axes, whose unit is a cell."""

    def __init__(self, game: Game, start: Grid, count: int) -> None:
        self.game = game
        self.height, self.width = len(start.cells), len(start.cells[0])
        self.bars = num_actions(game) == self.width
        # About twice as many columns as rows, and as many as fit a narrow figure; then with few gaps at the end.
        wide = max(round(math.sqrt(2 * count)), int(NARROWEST / (LARGEST_CELL * (self.width + 1))))
        self.columns = min(range(wide, wide + 3), key=lambda columns: -count % columns)
        # Cells: a gap to the right; a line of words and the bars above.
        self.cell = min(LARGEST_CELL, WIDEST / (self.columns * (self.width + 1)))
        self.room = 0.9 + 0.2 / self.cell + (1.5 if self.bars else 0)
        rows = math.ceil(count / self.columns)
        self.extent = self.columns * (self.width + 1) - 1, rows * (self.height + self.room) - 0.5
        self.inches = self.extent[0] * self.cell, self.extent[1] * self.cell
        self.patches: dict[str, list[Patch]] = {}  # by colour, and rings

    def draw(self, axes: Axes, start: Grid, moves: Sequence[Move]) -> None:
        """Draws the start and the positions after the moves, with y downwards."""
        left, top = self._draw_board(axes, 0, start, "start", "")
        if self.bars:
            for column in range(self.width):
                name, middle = self.game.action_name(column), left + column + 0.5
                axes.text(middle, top - 0.3, name, fontsize=7, color=GREY, ha="center", va="bottom")
        for place, move in enumerate(moves, start=1):
            self._draw_move(axes, place, move)
        for style, patches in self.patches.items():
            look: dict[str, Any] = {"facecolor": style, "linewidth": 0}
            if style == "ring":
                look = {"facecolor": "none", "edgecolor": "white", "linewidth": max(1.2, 8 * self.cell), "zorder": 3}
            axes.add_collection(PatchCollection(patches, **look))
        axes.set_xlim(0, self.extent[0])
        axes.set_ylim(self.extent[1], 0)
        axes.set_axis_off()

    def _draw_board(self, axes: Axes, place: int, grid: Grid, left_words: str, right_words: str) -> tuple[float, float]:
        """Returns the top left corner of the cells."""
        row, column = divmod(place, self.columns)
        left, top = column * (self.width + 1.0), row * (self.height + self.room) + self.room - 0.5
        box = FancyBboxPatch((left + 0.2, top + 0.2), self.width - 0.4, self.height - 0.4, boxstyle="round,pad=0.2")
        self._add(box, BOARD)
        for y, marks in enumerate(grid.cells, start=1):
            for x, mark in enumerate(marks, start=1):
                self._add(Circle((left + x - 0.5, top + y - 0.5), 0.41), DISC_COLOURS.get(mark, "white"))
        look: dict[str, Any] = {"y": top - (1.95 if self.bars else 0.4), "fontsize": 8.5, "va": "bottom", "color": INK}
        axes.text(x=left, s=left_words, fontweight="bold", **look)
        axes.text(x=left + self.width, s=right_words, ha="right", **look)
        return left, top

    def _draw_move(self, axes: Axes, place: int, move: Move) -> None:
        before, after = (read_grid(self.game.render(state)) for state in (move.before, move.after))
        assert before is not None
        assert after is not None
        mark = f"{'xo'[move.mover]} " if self.game.num_players == 2 else ""
        words = f"{move.number}  {mark}{move.name}", signed(move.value)
        left, top = self._draw_board(axes, place, after, *words)
        for row, column in changed_cells(before, after):
            self._add(Circle((left + column + 0.5, top + row + 0.5), 0.29, fill=False), "ring")
        colour = (BLUE, AMBER)[move.mover]
        if self.bars:
            for action, probability in enumerate(move.policy.tolist()):
                bar = Rectangle((left + action + 0.14, top - 0.35), 0.72, -1.3 * probability)
                self._add(bar, colour if action == move.action else f"{colour}70")
            self._add(Rectangle((left, top - 0.35), self.width, 0.05), BOARD)
            return
        for action in move.likeliest(LIKELIEST):
            successor = read_grid(self.game.render(self.game.step(move.before, torch.tensor([action])).state))
            cells = changed_cells(before, successor) if successor else []
            if action != move.action and len(cells) == 1:
                middle = left + cells[0][1] + 0.5, top + cells[0][0] + 0.5
                self._add(Circle(middle, 0.4 * math.sqrt(float(move.policy[action]))), f"{colour}70")

    def _add(self, patch: Patch, style: str) -> None:
        self.patches.setdefault(style, []).append(patch)


def changed_cells(before: Grid, after: Grid) -> list[list[int]]:
    """Rows and columns, from the top left on, of the cells that differ and are not empty afterwards."""
    old, new = (np.array([list(row) for row in grid.cells]) for grid in (before, after))
    cells: list[list[int]] = np.argwhere((new != old) & (new != ".")).tolist()
    return cells
