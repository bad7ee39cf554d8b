"""A game of self-play move by move, with the policies and values of its search, as text and as a figure.

All values are the search's, for the first player (of a game for one: its only player).
"""

from __future__ import annotations

import math
from collections import defaultdict
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
from alphazero.report.colours import AMBER, BLUE, BOARD, FAINT, GREY, INK
from alphazero.report.metrics_table import percent
from alphazero.report.position_figures import DISC_COLOURS, SEATS, literal, player_names
from alphazero.selfplay import Trajectories

TOP_ACTIONS = 3
MOST_BOARDS = 64  # in a figure; of longer games only every second position is shown, or every third, ...
LIKELIEST = 16  # actions of a position that are looked up on the board
NARROWEST, WIDEST, LARGEST_CELL = 9.0, 13.0, 0.34  # inches


class Move(NamedTuple):
    """A move, with the policy and the value behind it.

    number: from 1 on, counted from where self-play took over.
    before: the position, a batch of one.
    policy: [A] float32, improved by the search.
    value:  the search's of the position before, for the first player.
    reward: for the first player, too.
    """

    number: int
    before: State
    mover: int
    action: int
    policy: Tensor
    value: float
    reward: float

    def likeliest(self, count: int) -> list[int]:
        """The actions of the greatest probabilities, without those of probability 0."""
        order = self.policy.argsort(descending=True, stable=True)[:count]
        return [int(action) for action in order if self.policy[action] > 0]


class AnnotatedGame:
    """A game of self-play with a title; `game` must be the one that was played.

    boards: the positions as text, the first before all moves.
    """

    def __init__(self, game: Game, played: Trajectories, title: str) -> None:
        """The game in the first slot of `played`. ValueError if it has no move."""
        self.game, self.title = game, title
        self.moves = [_move(played, t) for t in range(int(played.length[0]))]
        if not self.moves:
            raise ValueError(f"{title}: there is no move to show")
        start, *others = (move.before for move in self.moves)
        end = game.step(self.moves[-1].before, torch.tensor([self.moves[-1].action])).state
        self.boards = [game.render(state) for state in (start, *others, end)]
        self.players = player_names(game, start)
        self.result = sum(move.reward for move in self.moves)  # undiscounted, for the first player

    @property
    def outcome(self) -> str:
        if self.game.num_players == 1:
            return f"a reward of {self.result:g}"
        return f"{self.players[self.result < 0]} wins" if self.result else "a draw"

    @property
    def summary(self) -> str:
        count = f"{len(self.moves)} move" + "s" * (len(self.moves) > 1)
        return f"{self.title}: {count}, {self.outcome}"

    def text(self) -> str:
        """Every position with the move that led to it, its policy and value."""
        name, viewpoint = self.game.action_name, "values: the search's"
        if self.game.num_players == 2:
            seat = "" if self.players == SEATS else f" ({SEATS[0]})"
            viewpoint += f", for {self.players[0]}{seat}: +1 a win, −1 a loss"
        lines = [self.summary, viewpoint, "", self.boards[0], ""]
        for move, board in zip(self.moves, self.boards[1:], strict=True):
            likely = "  ".join(f"{name(a)} {percent(float(move.policy[a]))}" for a in move.likeliest(TOP_ACTIONS))
            who = f"{self.players[move.mover]} plays " if self.game.num_players == 2 else ""
            said = f"{move.number}. {who}{name(move.action)}", f"value {signed(move.value)}", f"policy {likely}"
            lines += ["    ".join(said), board, ""]
        return "\n".join(lines)

    def figure(self) -> Figure | None:
        """The boards in order, and the value over the game; None if the game renders no grid.

        Each board shows the position after its move, which is ringed, and the policy of the search for it: as
        bars above the columns if every column is an action, else as dots in the cells of the likeliest.
        """
        grids = [grid for board in self.boards if (grid := read_grid(board))]
        if len(grids) < len(self.boards):
            return None
        step = math.ceil(len(self.moves) / (MOST_BOARDS - 1))
        shown = [move for move in self.moves if (len(self.moves) - move.number) % step == 0]
        boards = _Boards(self.game, grids, shown)
        header, strip, (across, down) = 0.75, 1.9, (cells * boards.cell for cells in boards.extent)
        width, height = max(NARROWEST, across + 0.5), header + down + strip
        figure, left = Figure(figsize=(width, height), facecolor="white"), 0.25 / width
        boards.draw(figure.add_axes((left, strip / height, across / width, down / height)))
        self._draw_values(figure.add_axes((0.85 / width, 0.5 / height, 1 - 1.15 / width, (strip - 0.85) / height)))
        figure.text(left, 1 - 0.3 / height, literal(self.title), fontsize=13, fontweight="bold", color=INK, va="center")
        policy = "bars above" if boards.bars else "dots in cells"
        said = [self.outcome, f"{policy}: the search's policy", "ringed: the move played", "number: value before it"]
        if self.game.num_players == 2:
            said[-1] += f", for {self.players[0]}"
            handles = [Patch(color=colour, label=mark) for mark, colour in DISC_COLOURS.items()]
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
            first, second = self.players
            axes.set(ylim=(-1.12, 1.12), yticks=[-1, 0, 1], yticklabels=[f"{second} wins", "even", f"{first} wins"])
        else:
            axes.grid(axis="y", color=FAINT, lw=0.8)
        axes.set(xlim=(0.5, numbers[-1] + 0.5), xticks=numbers[: -1 : math.ceil(len(numbers) / 45)])
        axes.set_xlabel("value before each move; ◆ the result", fontsize=9, color=INK)
        axes.tick_params(length=0, labelsize=8.5, labelcolor=INK)
        axes.spines[:].set_visible(False)


def _move(played: Trajectories, t: int) -> Move:
    before = map_states(lambda field: field[0, t : t + 1], played.states)
    mover = int(played.mover[0, t])
    value, reward = (float(each[0, t]) * (1, -1)[mover] for each in (played.root_value, played.reward))
    return Move(t + 1, before, mover, int(played.action[0, t]), played.policy[0, t], value, reward)


def signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")  # + 0.0 makes +0 of −0


class _Boards:
    """Boards in rows on one pair of axes, whose unit is a cell: the start, and the positions after some of the moves.

    grids: of all positions, the start first.
    """

    def __init__(self, game: Game, grids: Sequence[Grid], moves: Sequence[Move]) -> None:
        self.game, self.grids, self.moves = game, grids, moves
        self.height, self.lean, columns = len(grids[0].cells), grids[0].lean, len(grids[0].cells[0])
        self.width = columns + self.lean * (self.height - 1)
        self.bars = num_actions(game) == columns
        # About twice as many columns as rows, and as many as fit a narrow figure; then with few gaps at the end.
        count = len(moves) + 1
        wide = max(round(math.sqrt(2 * count)), int(NARROWEST / (LARGEST_CELL * (self.width + 1))))
        self.columns = min(range(wide, wide + 3), key=lambda columns: -count % columns)
        # Cells: a gap to the right; a line of words and the bars above.
        self.cell = min(LARGEST_CELL, WIDEST / (self.columns * (self.width + 1)))
        self.room = 0.9 + 0.2 / self.cell + (1.5 if self.bars else 0)
        rows = math.ceil(count / self.columns)
        self.extent = self.columns * (self.width + 1) - 1, rows * (self.height + self.room) - 0.5
        self.patches, self.rings = defaultdict[str, list[Patch]](list), list[Patch]()  # the former by colour

    def draw(self, axes: Axes) -> None:
        """Draws all boards, with y downwards."""
        left, top = self._draw_board(axes, 0, self.grids[0], "start", "")
        if self.bars:
            for column in range(num_actions(self.game)):
                name, middle = literal(self.game.action_name(column)), left + column + 0.5
                axes.text(middle, top - 0.3, name, fontsize=7, color=GREY, ha="center", va="bottom")
        for place, move in enumerate(self.moves, start=1):
            self._draw_move(axes, place, move)
        for colour, patches in self.patches.items():
            axes.add_collection(PatchCollection(patches, facecolor=colour, linewidth=0))
        rings = PatchCollection(self.rings, facecolor="none", edgecolor="white", lw=max(1.2, 8 * self.cell), zorder=3)
        axes.add_collection(rings)
        axes.set(xlim=(0, self.extent[0]), ylim=(self.extent[1], 0))
        axes.set_axis_off()

    def _draw_board(self, axes: Axes, place: int, grid: Grid, left_words: str, right_words: str) -> tuple[float, float]:
        """Returns the top left corner of the cells."""
        row, column = divmod(place, self.columns)
        left, top = column * (self.width + 1.0), row * (self.height + self.room) + self.room - 0.5
        box = FancyBboxPatch((left + 0.2, top + 0.2), self.width - 0.4, self.height - 0.4, boxstyle="round,pad=0.2")
        self.patches[BOARD].append(box)
        for (y, x), mark in np.ndenumerate([list(marks) for marks in grid.cells]):
            self.patches[DISC_COLOURS.get(mark, "white")].append(Circle(self._middle(left, top, y, x), 0.41))
        look: dict[str, Any] = {"y": top - (1.95 if self.bars else 0.4), "fontsize": 8.5, "va": "bottom", "color": INK}
        axes.text(x=left, s=literal(left_words), fontweight="bold", **look)
        axes.text(x=left + self.width, s=right_words, ha="right", **look)
        return left, top

    def _middle(self, left: float, top: float, row: int, column: int) -> tuple[float, float]:
        """The middle of a cell of the board with this corner."""
        return left + column + self.lean * row + 0.5, top + row + 0.5

    def _draw_move(self, axes: Axes, place: int, move: Move) -> None:
        before, after = self.grids[move.number - 1 : move.number + 1]
        mark = f"{'xo'[move.mover]} " if self.game.num_players == 2 else ""
        words = f"{move.number}  {mark}{self.game.action_name(move.action)}", signed(move.value)
        left, top = self._draw_board(axes, place, after, *words)
        for row, column in changed_cells(before, after):
            self.rings.append(Circle(self._middle(left, top, row, column), 0.29, fill=False))
        colour = (BLUE, AMBER)[move.mover]
        if self.bars:
            for action, probability in enumerate(move.policy.tolist()):
                bar = Rectangle((left + action + 0.14, top - 0.35), 0.72, -1.3 * probability)
                self.patches[colour if action == move.action else f"{colour}70"].append(bar)
            self.patches[BOARD].append(Rectangle((left, top - 0.35), self.width, 0.05))
            return
        for action in move.likeliest(LIKELIEST):
            successor = read_grid(self.game.render(self.game.step(move.before, torch.tensor([action])).state))
            cells = changed_cells(before, successor) if successor else []
            if action != move.action and len(cells) == 1:
                middle = self._middle(left, top, *cells[0])
                self.patches[f"{colour}70"].append(Circle(middle, 0.4 * math.sqrt(float(move.policy[action]))))


def changed_cells(before: Grid, after: Grid) -> list[list[int]]:
    """Rows and columns, from the top left on, of the cells that differ and are not empty afterwards."""
    old, new = (np.array([list(row) for row in grid.cells]) for grid in (before, after))
    cells: list[list[int]] = np.argwhere((new != old) & (new != ".")).tolist()
    return cells
