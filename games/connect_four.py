"""Connect-four: seven columns of six cells, four in a row wins.

A position is two 64-bit boards, seven bits a column (six cells and a guard that stops lines from
running over into the next column), the lowest cell first:

    bit  5 12 19 26 33 40 47
         4 11 18 25 32 39 46
         3 10 17 24 31 38 45
         2  9 16 23 30 37 44
         1  8 15 22 29 36 43
         0  7 14 21 28 35 42

The layout is Fhourstones' (J. Tromp, https://tromp.github.io/c4/c4.html).

The rules, on which search spends its time, and the heuristic, on which minimax does, are written twice: in tensor
operations for any device, and compiled for the CPU, where twenty small operations cost far more than their work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alphazero.game import CompiledRules, Discrete, Game, Symmetry, Transition, whose_turn
from alphazero.game.compilation import arrays, njit, step_compiled
from games.connect_four_solver import BITBULLY_MISSING, bitbully_installed, exact_scores

COLUMNS, ROWS = 7, 6
HEIGHT = ROWS + 1
BOTTOM = sum(1 << HEIGHT * column for column in range(COLUMNS))
BOARD = BOTTOM * ((1 << ROWS) - 1)
MIDDLE = ((1 << ROWS) - 1) << HEIGHT * 3  # the middle column
INNER = MIDDLE | MIDDLE >> HEIGHT | MIDDLE << HEIGHT  # with its two neighbours
DIRECTIONS = (1, HEIGHT, HEIGHT - 1, HEIGHT + 1)  # vertical, horizontal, two diagonals


class ConnectFourState(NamedTuple):
    """B positions as the player to move sees them.

    mine:   [B] int64, the stones of the player to move.
    theirs: [B] int64, those of the opponent.
    turn:   [B] int8, who moves, 0 or 1.
    done:   [B] bool.
    """

    mine: Tensor
    theirs: Tensor
    turn: Tensor
    done: Tensor


class _Constants(NamedTuple):
    bottom: Tensor  # [7] the lowest cell of each column
    column: Tensor  # [7] all cells of each column
    top: Tensor  # [7] the highest cell of each column
    shifts: Tensor  # [4, 1] bits between neighbours in each direction
    double_shifts: Tensor  # [4, 1] twice that
    cells: Tensor  # [6, 7] the cell at each row (top first) and column


@lru_cache
def _constants(device: torch.device) -> _Constants:
    column = torch.arange(COLUMNS, device=device) * HEIGHT
    row = torch.arange(ROWS - 1, -1, -1, device=device)
    one = torch.ones((), dtype=torch.int64, device=device)
    return _Constants(
        bottom=one << column,
        column=((one << ROWS) - 1) << column,
        top=(one << ROWS - 1) << column,
        shifts=torch.tensor(DIRECTIONS, device=device)[:, None],
        double_shifts=2 * torch.tensor(DIRECTIONS, device=device)[:, None],
        cells=column + row[:, None],
    )


def has_four(stones: Tensor) -> Tensor:
    """[B] bool, whether [B] int64 stones hold four in a row."""
    constants = _constants(stones.device)
    pairs = stones & (stones >> constants.shifts)
    return (pairs & (pairs >> constants.double_shifts)).any(0)


class ConnectFour(Game[ConnectFourState]):
    """Action c drops a stone into column c (0 to 6; people write 1 to 7)."""

    name = "connect_four"
    num_players = 2
    actions = Discrete(COLUMNS)
    observation_shape = (2, ROWS, COLUMNS)

    @property
    def has_solver(self) -> bool:
        return bitbully_installed() if type(self).solve is ConnectFour.solve else super().has_solver

    @property
    def solver_help(self) -> str:
        return BITBULLY_MISSING

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> ConnectFourState:
        device = generator.device if generator is not None else torch.device("cpu")
        empty = torch.zeros(batch, dtype=torch.int64, device=device)
        return ConnectFourState(empty, empty, empty.to(torch.int8), empty.to(torch.bool))

    def to_play(self, state: ConnectFourState) -> Tensor:
        return state.turn

    def legal(self, state: ConnectFourState) -> Tensor:
        return legal_compiled(state) if state.mine.is_cpu else legal_in_tensors(state)

    def step(self, state: ConnectFourState, action: Tensor) -> Transition[ConnectFourState]:
        return step_compiled(_step_kernel, state, action) if state.mine.is_cpu else step_in_tensors(state, action)

    @property
    def compiled_rules(self) -> CompiledRules | None:
        return _rules_kernel if type(self) is ConnectFour else None  # others may have rules of their own

    def observe(self, state: ConnectFourState) -> Tensor:
        """Two planes [6, 7], the top row first: stones of the player to move, the opponent's."""
        cells = _constants(state.mine.device).cells
        both = torch.stack((state.mine, state.theirs), 1)
        return ((both[:, :, None, None] >> cells) & 1).to(torch.float32)

    def symmetries(self) -> Sequence[Symmetry]:
        return (Symmetry(lambda observation: observation.flip(-1), tuple(reversed(range(COLUMNS)))),)

    def key(self, state: ConnectFourState) -> Tensor:
        """Stones of the player to move, plus a guard on top of each column (Fhourstones' code)."""
        return state.mine + (state.mine | state.theirs) + BOTTOM

    def heuristic(self, state: ConnectFourState) -> Tensor:
        """Threats first, then the centre.

        A threat is an empty cell that would complete four; each counts 1, a stone in the middle
        column 0.2, in the two columns beside it 0.1. Mine less theirs, squashed to (-1, 1).
        """
        lead = lead_compiled if state.mine.is_cpu else lead_in_tensors
        return torch.tanh(0.25 * lead(state))

    def solve(self, state: ConnectFourState) -> Tensor:
        """Through the optional package bitbully; see `games.connect_four_solver`. Of finished states all -inf."""
        mine, theirs = self.observe(state).to(torch.int8).unbind(1)
        turn = state.turn[:, None, None]
        boards = mine * (1 + turn) + theirs * (2 - turn)
        scores = torch.full((len(boards), COLUMNS), -torch.inf, device=boards.device)
        scores[~state.done] = exact_scores(boards[~state.done]).to(boards.device)
        return scores

    def render(self, state: ConnectFourState) -> str:
        first_moves = int(self.to_play(state)[0]) == 0
        planes = self.observe(state)[0]
        x, o = (planes[0], planes[1]) if first_moves else (planes[1], planes[0])
        rows = [" ".join("x" if x[r, c] else "o" if o[r, c] else "." for c in range(COLUMNS)) for r in range(ROWS)]
        return "\n".join([*rows, " ".join(self.action_name(c) for c in range(COLUMNS))])

    def from_board(self, board: Tensor, to_play: int | None = None) -> ConnectFourState:
        turn = whose_turn(board, to_play)
        x, o = (int((1 << _constants(board.device).cells)[board == mark].sum()) for mark in (1, 2))
        if ((x | o) + BOTTOM) & (x | o):
            raise ValueError("a stone hangs in the air")
        mine, theirs = (torch.tensor([stones]) for stones in ((x, o), (o, x))[turn])
        if has_four(mine):
            raise ValueError(f"{'xo'[turn]} has four in a row already, so it cannot be its turn")
        done = has_four(theirs) | ((mine | theirs) == BOARD)
        return ConnectFourState(mine, theirs, torch.tensor([turn], dtype=torch.int8), done)

    def action_name(self, action: int) -> str:
        return str(action + 1)


def legal_in_tensors(state: ConnectFourState) -> Tensor:
    top = _constants(state.mine.device).top
    return ((state.mine | state.theirs)[:, None] & top) == 0


def step_in_tensors(state: ConnectFourState, action: Tensor) -> Transition[ConnectFourState]:
    constants = _constants(state.mine.device)
    stones = state.mine | state.theirs
    # Adding a column's lowest cell to its stones carries up to its lowest empty cell.
    cell = (stones + constants.bottom.index_select(0, action)) & constants.column.index_select(0, action)
    moved = state.mine | cell
    won = has_four(moved)
    running = ~state.done
    reward = (won & running).to(torch.float32)
    done = state.done | won | ((stones | cell) == BOARD)
    successor = ConnectFourState(
        mine=torch.where(state.done, state.mine, state.theirs),
        theirs=torch.where(state.done, state.theirs, moved),
        turn=state.turn ^ running.view(torch.int8),
        done=done,
    )
    return Transition(successor, reward, done)


def legal_compiled(state: ConnectFourState) -> Tensor:
    legal = torch.empty(len(state.mine), COLUMNS, dtype=torch.bool)
    _legal_kernel(*arrays(state.mine, state.theirs, legal))
    return legal


@njit()
def _legal_kernel(mine: NDArray[np.int64], theirs: NDArray[np.int64], legal: NDArray[np.bool_]) -> None:
    for b in range(len(mine)):
        _legal_columns(mine[b] | theirs[b], legal[b])


@njit()
def _legal_columns(stones: int, legal: NDArray[np.bool_]) -> None:
    for column in range(COLUMNS):
        legal[column] = (stones >> (HEIGHT * column + ROWS - 1)) & 1 == 0


@njit()
def _step_kernel(
    mine: NDArray[np.int64],
    theirs: NDArray[np.int64],
    turn: NDArray[np.int8],
    done: NDArray[np.bool_],
    action: NDArray[np.int64],
    new_mine: NDArray[np.int64],
    new_theirs: NDArray[np.int64],
    new_turn: NDArray[np.int8],
    new_done: NDArray[np.bool_],
    reward: NDArray[np.float32],
) -> None:
    for b in range(len(mine)):
        new_mine[b], new_theirs[b], new_turn[b], new_done[b], reward[b] = _drop(
            mine[b], theirs[b], turn[b], done[b], action[b]
        )


@njit()
def _rules_kernel(mine, theirs, turn, done, place, action, first, reward, finished, turned, legal):  # type: ignore[no-untyped-def]
    for b in range(len(place)):
        old, new = place[b], first + b
        mine[new], theirs[new], turn[new], done[new], reward[b] = _drop(
            mine[old], theirs[old], turn[old], done[old], action[b]
        )
        finished[b], turned[b] = done[new], turn[new] != turn[old]
        _legal_columns(mine[new] | theirs[new], legal[b])


@njit()
def _drop(mine: int, theirs: int, turn: int, done: bool, action: int) -> tuple[int, int, int, bool, bool]:
    """`step_in_tensors` of one state, whose new fields it returns, and the reward; it explains the arithmetic."""
    if done:
        return mine, theirs, turn, True, False
    stones = mine | theirs
    bottom = 1 << HEIGHT * action
    cell = (stones + bottom) & (bottom * ((1 << ROWS) - 1))
    moved = mine | cell
    four = 0
    for shift in DIRECTIONS:
        pairs = moved & (moved >> shift)
        four |= pairs & (pairs >> 2 * shift)
    return theirs, moved, turn ^ 1, four != 0 or (stones | cell) == BOARD, four != 0


def lead_in_tensors(state: ConnectFourState) -> Tensor:
    """[B] float32, the heuristic's points of the player to move less those of the opponent."""
    empty = BOARD & ~(state.mine | state.theirs)

    def points(stones: Tensor) -> Tensor:
        threats = _completing_cells(stones) & empty
        return _count(threats) + 0.1 * (_count(stones & MIDDLE) + _count(stones & INNER))

    return points(state.mine) - points(state.theirs)


def lead_compiled(state: ConnectFourState) -> Tensor:
    lead = torch.empty(len(state.mine))
    _lead_kernel(*arrays(state.mine, state.theirs, lead))
    return lead


def _completing_cells(stones: Tensor) -> Tensor:
    """[B] int64, the cells, free or not, that complete four in a row with three of the stones."""
    shifts = _constants(stones.device).shifts
    up, up2, up3 = stones << shifts, stones << 2 * shifts, stones << 3 * shifts
    down, down2, down3 = stones >> shifts, stones >> 2 * shifts, stones >> 3 * shifts
    lines = (up & up2 & (up3 | down)) | (down & down2 & (down3 | up))
    return lines[0] | lines[1] | lines[2] | lines[3]


def _count(boards: Tensor) -> Tensor:
    """The number of bits set, float32 of the same shape (parallel sums of fields)."""
    x = boards - ((boards >> 1) & 0x5555555555555555)
    x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F
    for half in (8, 16, 32):
        x = x + (x >> half)
    return (x & 0x7F).to(torch.float32)


@njit()
def _lead_kernel(mine: NDArray[np.int64], theirs: NDArray[np.int64], lead: NDArray[np.float32]) -> None:
    for b in range(len(mine)):
        empty = BOARD & ~(mine[b] | theirs[b])
        lead[b] = _points(mine[b], empty) - _points(theirs[b], empty)


@njit()
def _points(stones: int, empty: int) -> np.float32:
    lines = 0
    for shift in DIRECTIONS:
        up, up2, down, down2 = stones << shift, stones << 2 * shift, stones >> shift, stones >> 2 * shift
        lines |= (up & up2 & ((stones << 3 * shift) | down)) | (down & down2 & ((stones >> 3 * shift) | up))
    central = _bits(stones & MIDDLE) + _bits(stones & INNER)
    return np.float32(_bits(lines & empty)) + np.float32(0.1) * np.float32(central)


@njit()
def _bits(board: int) -> int:
    count = 0
    while board:
        board &= board - 1
        count += 1
    return count
