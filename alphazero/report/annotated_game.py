"""A game of self-play move by move, with the policies and values of its search, as text and as a figure.

All values are the search's, for the first player (of a game for one: its only player).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Patch, Rectangle
from torch import Tensor

from alphazero.game import Game, State, map_states
from alphazero.game.grid import Grid, read_grid
from alphazero.report.position_figures import AMBER, BLUE, BOARD, DISC_COLOURS, FAINT, GREY, INK
from alphazero.selfplay import Trajectories

TOP_ACTIONS = 3
MOST_BOARDS = 64  # in a figure; of longer games only every second position is shown, or every third, ...
LIKELIEST = 16  # actions of a position that are looked up on the board
NARROWEST, WIDEST, LARGEST_CELL = 9.0, 13.0, 0.34  # inches
SEATS = ("the first player", "the second player")


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
        length = int(played.length[0])
        if length == 0:
            raise ValueError(f"{title}: there is no move to show")
        self.moves = [self._move(played, t) for t in range(length)]
        self.start = self.moves[0].before
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
    def players(self) -> tuple[str, str]:
        """The players' names: x and o if the boards show these."""
        return ("x", "o") if read_grid(self.game.render(self.start)) else SEATS

    @property
    def outcome(self) -> str:
        if self.game.num_players == 1:
            return f"a return of {self.result:g}"
        if self.result == 0:
            return "a draw"
        return f"{self.players[self.result < 0]} wins"

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
            likely = "  ".join(
                f"{self.game.action_name(action)} {100 * float(move.policy[action]):.0f} %"
                for action in move.likeliest(TOP_ACTIONS)
            )
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
        boards.draw_start(start)
        for place, move in enumerate(shown, start=1):
            boards.draw_move(place, move)
        boards.finish(axes)
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
        numbers, values = [move.number for move in self.moves], [move.value for move in self.moves]
        numbers, values = [*numbers, numbers[-1] + 1], [*values, self.result]
        for keep, colour in ((1, BLUE), (-1, AMBER)):
            side = [keep * max(0.0, keep * value) for value in values]
            axes.fill_between(numbers, side, color=colour, alpha=0.18, linewidth=0)
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
        self.bars = game_columns(game) == self.width
        # About twice as many columns as rows, and as many as fit a narrow figure; then with few gaps at the end.
        wide = max(round(math.sqrt(2 * count)), int(NARROWEST / (LARGEST_CELL * (self.width + 1))))
        self.columns = min(range(wide, wide + 3), key=lambda columns: -count % columns)
        self.rows = math.ceil(count / self.columns)
        # Cells: a gap to the right; a line of words and the bars above.
        self.cell = min(LARGEST_CELL, WIDEST / (self.columns * (self.width + 1)))
        self.words = 0.2 / self.cell
        self.room = 0.9 + self.words + (1.5 if self.bars else 0)
        self.patches: dict[str, list[Any]] = {}
        self.said: list[tuple[float, float, str, dict[str, Any]]] = []

    @property
    def extent(self) -> tuple[float, float]:
        return self.columns * (self.width + 1) - 1, self.rows * (self.height + self.room) - 0.5

    @property
    def inches(self) -> tuple[float, float]:
        return self.extent[0] * self.cell, self.extent[1] * self.cell

    def draw_start(self, grid: Grid) -> None:
        self._draw_board(0, grid)
        self._say(0, "start", "")
        if self.bars:
            left, top = self._corner(0)
            look = {"fontsize": 7, "color": GREY, "ha": "center", "va": "bottom"}
            for column in range(self.width):
                self.said.append((left + column + 0.5, top - 0.3, self.game.action_name(column), look))

    def draw_move(self, place: int, move: Move) -> None:
        before, after = (read_grid(self.game.render(state)) for state in (move.before, move.after))
        assert before is not None
        assert after is not None
        self._draw_board(place, after)
        left, top = self._corner(place)
        for row, column in changed_cells(before, after):
            self._add(Circle((left + column + 0.5, top + row + 0.5), 0.29, fill=False), "ring")
        mark = f"{'xo'[move.mover]} " if self.game.num_players == 2 else ""
        self._say(place, f"{move.number}  {mark}{move.name}", signed(move.value))
        if self.bars:
            for action, probability in enumerate(move.policy.tolist()):
                colour = BLUE if move.mover == 0 else AMBER
                bar = Rectangle((left + action + 0.14, top - 0.35), 0.72, -1.3 * probability)
                self._add(bar, colour if action == move.action else f"{colour}70")
            self._add(Rectangle((left, top - 0.35), self.width, 0.05), BOARD)
            return
        for action in move.likeliest(LIKELIEST):
            successor = read_grid(self.game.render(self.game.step(move.before, torch.tensor([action])).state))
            cells = changed_cells(before, successor) if successor else []
            if action != move.action and len(cells) == 1:
                (row, column) = cells[0]
                radius = 0.4 * math.sqrt(float(move.policy[action]))
                colour = BLUE if move.mover == 0 else AMBER
                self._add(Circle((left + column + 0.5, top + row + 0.5), radius), f"{colour}70")

    def finish(self, axes: Axes) -> None:
        """Draws everything, with y downwards."""
        for style, patches in self.patches.items():
            look: dict[str, Any] = {"facecolor": style, "linewidth": 0}
            if style == "ring":
                look = {"facecolor": "none", "edgecolor": "white", "linewidth": max(1.2, 8 * self.cell), "zorder": 3}
            axes.add_collection(PatchCollection(patches, **look))
        for x, y, text, look in self.said:
            axes.text(x, y, text, **look)
        axes.set_xlim(0, self.extent[0])
        axes.set_ylim(self.extent[1], 0)
        axes.set_axis_off()

    def _corner(self, place: int) -> tuple[float, float]:
        """The top left corner of the cells."""
        row, column = divmod(place, self.columns)
        return column * (self.width + 1.0), row * (self.height + self.room) + self.room - 0.5

    def _draw_board(self, place: int, grid: Grid) -> None:
        left, top = self._corner(place)
        box = FancyBboxPatch((left + 0.2, top + 0.2), self.width - 0.4, self.height - 0.4, boxstyle="round,pad=0.2")
        self._add(box, BOARD)
        for row, marks in enumerate(grid.cells):
            for column, mark in enumerate(marks):
                colour = DISC_COLOURS.get(mark, "white")
                self._add(Circle((left + column + 0.5, top + row + 0.5), 0.41), colour)

    def _say(self, place: int, left_words: str, right_words: str) -> None:
        left, top = self._corner(place)
        y = top - (1.95 if self.bars else 0.4)
        look: dict[str, Any] = {"fontsize": 8.5, "va": "bottom"}
        self.said.append((left, y, left_words, look | {"color": INK, "fontweight": "bold"}))
        self.said.append((left + self.width, y, right_words, look | {"color": INK, "ha": "right"}))

    def _add(self, patch: Any, style: str) -> None:
        self.patches.setdefault(style, []).append(patch)


def game_columns(game: Game) -> int:
    """The number of actions, which may be the columns of a board; 0 if they are continuous."""
    return getattr(game.actions, "n", 0)


def changed_cells(before: Grid, after: Grid) -> Sequence[tuple[int, int]]:
    """Rows and columns, from the top left on, of the cells that differ and are not empty afterwards."""
    return [
        (row, column)
        for row, (old, new) in enumerate(zip(before.cells, after.cells, strict=True))
        for column, (was, now) in enumerate(zip(old, new, strict=True))
        if now not in (was, ".")
    ]
