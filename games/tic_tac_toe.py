"""Tic-tac-toe: three by three cells, three in a row wins.

A position is two boards of nine bits; bit and action share the number of a cell, in reading order:

    3  0 1 2
    2  3 4 5
    1  6 7 8
       a b c
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import Discrete, Game, Symmetry, Transition, whose_turn

SIDE = 3
CELLS = SIDE * SIDE
BOARD = (1 << CELLS) - 1
LINES = (
    *(0b111 << SIDE * row for row in range(SIDE)),
    *(0b1001001 << column for column in range(SIDE)),
    0b100010001,
    0b001010100,
)


class TicTacToeState(NamedTuple):
    """B positions as the player to move sees them.

    mine:   [B] int16, the marks of the player to move.
    theirs: [B] int16, those of the opponent.
    turn:   [B] int8, who moves, 0 or 1.
    done:   [B] bool.
    """

    mine: Tensor
    theirs: Tensor
    turn: Tensor
    done: Tensor


class _Constants(NamedTuple):
    cells: Tensor  # [9] int16, the bit of each cell
    lines: Tensor  # [8] int16, the cells of each line


@lru_cache
def _constants(device: torch.device) -> _Constants:
    return _Constants(
        cells=torch.tensor([1 << cell for cell in range(CELLS)], dtype=torch.int16, device=device),
        lines=torch.tensor(LINES, dtype=torch.int16, device=device),
    )


class TicTacToe(Game[TicTacToeState]):
    """Action a marks cell a; people write a1 (bottom left) to c3 (top right)."""

    name = "tic_tac_toe"
    num_players = 2
    actions = Discrete(CELLS)
    observation_shape = (2, SIDE, SIDE)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> TicTacToeState:
        device = generator.device if generator is not None else torch.device("cpu")
        empty = torch.zeros(batch, dtype=torch.int16, device=device)
        return TicTacToeState(empty, empty, empty.to(torch.int8), empty.to(torch.bool))

    def to_play(self, state: TicTacToeState) -> Tensor:
        return state.turn

    def legal(self, state: TicTacToeState) -> Tensor:
        return ((state.mine | state.theirs)[:, None] & _constants(state.mine.device).cells) == 0

    def step(self, state: TicTacToeState, action: Tensor) -> Transition[TicTacToeState]:
        constants = _constants(state.mine.device)
        moved = state.mine | constants.cells[action]
        won = ((moved[:, None] & constants.lines) == constants.lines).any(1)
        running = ~state.done
        done = state.done | won | ((moved | state.theirs) == BOARD)
        successor = TicTacToeState(
            mine=torch.where(running, state.theirs, state.mine),
            theirs=torch.where(running, moved, state.theirs),
            turn=state.turn ^ running.to(torch.int8),
            done=done,
        )
        return Transition(successor, (won & running).to(torch.float32), done)

    def observe(self, state: TicTacToeState) -> Tensor:
        """Two planes [3, 3], the top row first: marks of the player to move, the opponent's."""
        both = torch.stack((state.mine, state.theirs), 1)
        marked = (both[:, :, None] & _constants(state.mine.device).cells) != 0
        return marked.to(torch.float32).view(-1, *self.observation_shape)

    def symmetries(self) -> Sequence[Symmetry]:
        """The quarter turns and mirrors of the square, less the identity."""
        return tuple(
            _symmetry(turns, mirrored) for turns in range(4) for mirrored in (False, True) if turns or mirrored
        )

    def key(self, state: TicTacToeState) -> Tensor:
        return state.mine.to(torch.int64) | state.theirs.to(torch.int64) << CELLS

    def heuristic(self, state: TicTacToeState) -> Tensor:
        """Lines still open to me less those open to the opponent, as a share of 9 (at most 8 are).

        The e(p) of Nilsson 1971, "Problem-Solving Methods in Artificial Intelligence", scaled.
        """
        lines = _constants(state.mine.device).lines
        both = torch.stack((state.theirs, state.mine), 1)
        open_lines = ((both[:, :, None] & lines) == 0).sum(-1)
        return (open_lines[:, 0] - open_lines[:, 1]).to(torch.float32) / (len(LINES) + 1)

    def render(self, state: TicTacToeState) -> str:
        planes = self.observe(state)[0]
        x, o = planes if int(self.to_play(state)[0]) == 0 else planes.flip(0)
        rows = [
            " ".join([str(SIDE - r), *("x" if x[r, c] else "o" if o[r, c] else "." for c in range(SIDE))])
            for r in range(SIDE)
        ]
        return "\n".join([*rows, "  " + " ".join("abc")])

    def from_board(self, board: Tensor, to_play: int | None = None) -> TicTacToeState:
        turn = whose_turn(board, to_play)
        constants = _constants(board.device)
        both = torch.stack((board == 1, board == 2)).flatten(1).roll(-turn, 0)
        mine, theirs = (both * constants.cells).sum(1, dtype=torch.int16)[:, None]
        won = [((marks[:, None] & constants.lines) == constants.lines).any(1) for marks in (mine, theirs)]
        if won[0]:
            raise ValueError(f"{'xo'[turn]} has three in a row already, so it cannot be its turn")
        done = won[1] | ((mine | theirs) == BOARD)
        return TicTacToeState(mine, theirs, torch.tensor([turn], dtype=torch.int8), done)

    def action_name(self, action: int) -> str:
        return f"{'abc'[action % SIDE]}{SIDE - action // SIDE}"


def _symmetry(turns: int, mirrored: bool) -> Symmetry:
    def turn(planes: Tensor) -> Tensor:
        return torch.rot90(planes.flip(-1) if mirrored else planes, turns, (-2, -1))

    grid = torch.arange(CELLS).view(SIDE, SIDE)
    return Symmetry(turn, tuple(turn(grid).flatten().tolist()))
