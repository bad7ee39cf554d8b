"""Breakthrough: who first brings a piece to the other end of the board, or captures all of the opponent's, wins.

A piece moves one cell ahead, straight or diagonally, and captures diagonally alone. Both players' pieces fill the two
rows before them, or on boards of less than six rows one. The first player, x, moves up:

    6  o o o o o o
    5  o o o o o o
    4  . . . . . .
    3  . . . . . .
    2  x x x x x x
    1  x x x x x x
       a b c d e f

A position is stored as the player to move sees it, who always moves up: with every move the rows are reversed. Moves
keep one name for both players, so each player has actions of their own: three for every cell in reading order, of the
board as that player sees it, which move the piece on it ahead and towards column a, straight, or away from column a.
Those of the second player come after all of the first.

The rules, on which search spends its time, are written twice: in tensor operations for any device, and compiled for the
CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from alphazero.game import CompiledRules, Discrete, Game, Symmetry, Transition, num_actions
from alphazero.game.compilation import arrays, njit, step_compiled

LETTERS = "abcdefghijklmnop"
ROWS, COLUMNS = range(3, 17), range(2, len(LETTERS) + 1)
KEYED = 38  # the most cells of which 64 bits can number all positions
WAYS = 3  # ahead: towards column a, straight, away from it


class BreakthroughState(NamedTuple):
    """B positions as the player to move sees them, who moves up.

    mine:   [B, rows, columns] bool, the pieces of the player to move; the top row first.
    theirs: [B, rows, columns] bool, those of the opponent.
    turn:   [B] int8, who moves, 0 or 1.
    done:   [B] bool.
    """

    mine: Tensor
    theirs: Tensor
    turn: Tensor
    done: Tensor


class Breakthrough(Game[BreakthroughState]):
    """The module says what the actions are; people write a2b3, from a2 to b3."""

    num_players = 2

    def __init__(self, rows: int = 6, columns: int = 6) -> None:
        for name, number, allowed in (("rows", rows, ROWS), ("columns", columns, COLUMNS)):
            if type(number) is not int or number not in allowed:
                raise ValueError(f"{name} must be a whole number from {allowed[0]} to {allowed[-1]}, is {number!r}")
        self.rows, self.columns = rows, columns
        self.name = f"breakthrough_{rows}x{columns}"  # type: ignore[misc]
        self.actions = Discrete(2 * rows * columns * WAYS)
        self.observation_shape = (2, rows, columns)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> BreakthroughState:
        device = generator.device if generator is not None else torch.device("cpu")
        mine = torch.zeros(batch, self.rows, self.columns, dtype=torch.bool, device=device)
        mine[:, -2 if self.rows >= 6 else -1 :] = True
        turn = torch.zeros(batch, dtype=torch.int8, device=device)
        return BreakthroughState(mine, mine.flip(1), turn, turn.bool())

    def to_play(self, state: BreakthroughState) -> Tensor:
        return state.turn

    def legal(self, state: BreakthroughState) -> Tensor:
        return legal_compiled(state) if state.mine.is_cpu else legal_in_tensors(state)

    def step(self, state: BreakthroughState, action: Tensor) -> Transition[BreakthroughState]:
        return step_compiled(_step_kernel, state, action) if state.mine.is_cpu else step_in_tensors(state, action)

    @property
    def compiled_rules(self) -> CompiledRules | None:
        return _rules_kernel if type(self) is Breakthrough else None  # others may have rules of their own

    def observe(self, state: BreakthroughState) -> Tensor:
        """Two planes, the row to reach first: pieces of the player to move, the opponent's."""
        return torch.stack((state.mine, state.theirs), 1).to(torch.float32)

    def symmetries(self) -> Sequence[Symmetry]:
        """Left and right exchanged."""
        actions = torch.arange(num_actions(self)).view(2, self.rows, self.columns, WAYS)
        return (Symmetry(lambda observation: observation.flip(-1), tuple(actions.flip(2, 3).flatten().tolist())),)

    @property
    def has_key(self) -> bool:
        return self.rows * self.columns <= KEYED

    def key(self, state: BreakthroughState) -> Tensor:
        """Each cell is a digit to base 3, and the player to move another."""
        digits = (state.mine + 2 * state.theirs.to(torch.int64)).flatten(1)
        return (digits * 3 ** torch.arange(digits.shape[1], device=digits.device)).sum(1) * 2 + state.turn

    def heuristic(self, state: BreakthroughState) -> Tensor:
        """10 points for each piece, 2.5 for each row that the furthest has come: mine less theirs, in (-1, 1).

        The points are those of M. P. D. Schadd 2011, "Selective search in games of different complexity".
        """
        rows = torch.arange(self.rows, device=state.mine.device)
        mine, theirs = state.mine.sum(2), state.theirs.flip(1).sum(2)  # by row, the furthest first
        furthest = [torch.where(pieces > 0, self.rows - 1 - rows, 0).amax(1) for pieces in (mine, theirs)]
        lead = 10 * (mine - theirs).sum(1) + 2.5 * (furthest[0] - furthest[1])
        return torch.tanh(lead / 40)

    def render(self, state: BreakthroughState) -> str:
        boards = state.mine[0].to(torch.int8), state.theirs[0].to(torch.int8)
        x, o = boards if int(state.turn[0]) == 0 else (board.flip(0) for board in reversed(boards))
        margin = len(str(self.rows))
        rows = [
            f"{self.rows - row:>{margin}} {' '.join('.xo'[cell] for cell in line)}"
            for row, line in enumerate((x + 2 * o).tolist())
        ]
        return "\n".join([*rows, " " * (margin + 1) + " ".join(LETTERS[: self.columns])])

    def from_board(self, board: Tensor, to_play: int | None = None) -> BreakthroughState:
        if to_play is None:
            raise ValueError("the pieces do not tell who moves: say to_play, 0 or 1")
        mine, theirs = (board == 1, board == 2) if to_play == 0 else (board.flip(0) == 2, board.flip(0) == 1)
        arrived, left = mine[0].any() | theirs[-1].any(), mine.any() & theirs.any()
        turn = torch.tensor([to_play], dtype=torch.int8)
        return BreakthroughState(mine[None], theirs[None], turn, (arrived | ~left)[None])

    def action_name(self, action: int) -> str:
        player, move = divmod(action, self.rows * self.columns * WAYS)
        cell, way = divmod(move, WAYS)
        row, column = divmod(cell, self.columns)
        # Beyond the board, where no move leads, there are no columns: "<" and ">".
        to = f"<{LETTERS[: self.columns]}>"[column + way]
        start, end = (row + 1, row) if player else (self.rows - row, self.rows - row + 1)
        return f"{LETTERS[column]}{start}{to}{end}"


# In tensors


def legal_in_tensors(state: BreakthroughState) -> Tensor:
    free, empty = ~state.mine, ~(state.mine | state.theirs)
    left = F.pad(free[:, :-1, :-1], (1, 0, 1, 0))  # whether the cell ahead and to the left is free
    straight = F.pad(empty[:, :-1], (0, 0, 1, 0))
    right = F.pad(free[:, :-1, 1:], (0, 1, 1, 0))
    moves = (torch.stack((left, straight, right), -1) & state.mine[..., None]).flatten(1)
    first = (state.turn == 0)[:, None]
    return torch.cat((moves & first, moves & ~first), 1)


def step_in_tensors(state: BreakthroughState, action: Tensor) -> Transition[BreakthroughState]:
    batch, rows, columns = state.mine.shape
    cells = torch.arange(rows * columns, device=action.device)
    start, way = action % (len(cells) * WAYS) // WAYS, action % WAYS
    end = start - columns + way - 1
    left, reached = ((cells == cell[:, None]).view(batch, rows, columns) for cell in (start, end))
    mine, theirs = (state.mine & ~left) | reached, state.theirs & ~reached
    running = ~state.done
    won = running & ((end < columns) | ~theirs.flatten(1).any(1))
    successor = BreakthroughState(
        mine=torch.where(running[:, None, None], theirs.flip(1), state.mine),
        theirs=torch.where(running[:, None, None], mine.flip(1), state.theirs),
        turn=state.turn ^ running.to(torch.int8),
        done=state.done | won,
    )
    return Transition(successor, won.to(torch.float32), successor.done)


# Compiled


def legal_compiled(state: BreakthroughState) -> Tensor:
    batch, rows, columns = state.mine.shape
    legal = torch.empty(batch, 2 * rows * columns * WAYS, dtype=torch.bool)
    _legal_kernel(*arrays(state.mine, state.theirs, state.turn, legal))
    return legal


@njit()
def _legal_kernel(mine, theirs, turn, legal):  # type: ignore[no-untyped-def]
    for b in range(len(mine)):
        _write_legal(mine[b], theirs[b], turn[b], legal[b])


@njit()
def _step_kernel(mine, theirs, turn, done, action, new_mine, new_theirs, new_turn, new_done, reward):  # type: ignore[no-untyped-def]
    for b in range(len(mine)):
        new_turn[b], new_done[b], reward[b] = _play(
            mine[b], theirs[b], turn[b], done[b], action[b], new_mine[b], new_theirs[b]
        )


@njit()
def _rules_kernel(mine, theirs, turn, done, place, action, first, reward, finished, turned, legal):  # type: ignore[no-untyped-def]
    for b in range(len(place)):
        old, new = place[b], first + b
        turn[new], done[new], reward[b] = _play(
            mine[old], theirs[old], turn[old], done[old], action[b], mine[new], theirs[new]
        )
        finished[b], turned[b] = done[new], turn[new] != turn[old]
        _write_legal(mine[new], theirs[new], turn[new], legal[b])


@njit()
def _play(mine, theirs, turn, done, action, new_mine, new_theirs):  # type: ignore[no-untyped-def]
    """Writes the successor's pieces; returns who moves then, whether the game is over, and the reward."""
    if done:
        new_mine[:], new_theirs[:] = mine, theirs
        return turn, True, 0
    rows, columns = mine.shape
    new_mine[:], new_theirs[:] = theirs[::-1], mine[::-1]
    cell, way = action % (rows * columns * WAYS) // WAYS, action % WAYS
    row, column = rows - 1 - cell // columns, cell % columns  # as the opponent sees them
    new_theirs[row, column] = False
    new_theirs[row + 1, column + way - 1] = True
    new_mine[row + 1, column + way - 1] = False
    won = row + 1 == rows - 1 or not new_mine.any()
    return turn ^ 1, won, won


@njit()
def _write_legal(mine, theirs, turn, legal):  # type: ignore[no-untyped-def]
    rows, columns = mine.shape
    legal[:] = False
    first = rows * columns * WAYS if turn else 0
    for row in range(1, rows):
        for column in range(columns):
            if mine[row, column]:
                action = first + (row * columns + column) * WAYS
                legal[action] = column > 0 and not mine[row - 1, column - 1]
                legal[action + 1] = not (mine[row - 1, column] or theirs[row - 1, column])
                legal[action + 2] = column < columns - 1 and not mine[row - 1, column + 1]
