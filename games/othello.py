"""Othello on a square board of any even side, as `docs/othello.md` explains it.

    scripts/train.py configs/othello6.toml        trains it on six by six cells
    --game 'games.othello:Othello(side=8)'        the full board, on any configuration

Cells, and the actions that put a disc on them, are numbered in reading order; the last action passes:

    1   0  1  2  3  4  5
    2   6  7  8  9 10 11
    3  12 13 14 15 16 17
    4  18 19 20 21 22 23
    5  24 25 26 27 28 29
    6  30 31 32 33 34 35
        a  b  c  d  e  f

A position is two boards of a number a row, whose bits are the row's cells, the left one the lowest. So a shift moves
all discs of a row at once, and boards of any side fit.

The rules, on which search spends its time, are written twice: in tensor operations for any device, and compiled for the
CPU, where many small operations cost far more than their work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from alphazero.game import CompiledRules, Discrete, Game, Symmetry, Transition
from alphazero.game.compilation import arrays, njit, step_compiled

COLUMNS = "abcdefghijklmnop"
SIDES = range(4, len(COLUMNS) + 1, 2)
KEYED = 6  # the longest side of which 64 bits can number all positions
DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))  # rows down, columns right


class OthelloState(NamedTuple):
    """B positions as the player to move sees them.

    mine:   [B, side] int32, the discs of the player to move, a bit a cell; the top row first.
    theirs: [B, side] int32, those of the opponent.
    turn:   [B] int8, who moves, 0 or 1.
    done:   [B] bool.
    """

    mine: Tensor
    theirs: Tensor
    turn: Tensor
    done: Tensor


class Othello(Game[OthelloState]):
    """Action a puts a disc on cell a (a1 is top left); the last action passes, legal where nothing else is."""

    num_players = 2

    def __init__(self, side: int = 6) -> None:
        if type(side) is not int or side not in SIDES:
            raise ValueError(f"side must be an even number from {SIDES[0]} to {SIDES[-1]}, is {side!r}")
        self.side = side
        self.name = f"othello_{side}x{side}"  # type: ignore[misc]
        self.actions = Discrete(side * side + 1)
        self.observation_shape = (2, side, side)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> OthelloState:
        device = generator.device if generator is not None else torch.device("cpu")
        dark = torch.zeros(batch, self.side, dtype=torch.int32, device=device)
        middle = slice(self.side // 2 - 1, self.side // 2 + 1)
        left, right = (1 << column for column in range(self.side)[middle])
        dark[:, middle] = torch.tensor([right, left], dtype=torch.int32, device=device)
        turn = torch.zeros(batch, dtype=torch.int8, device=device)
        return OthelloState(dark, dark.flip(1), turn, turn.bool())

    def to_play(self, state: OthelloState) -> Tensor:
        return state.turn

    def legal(self, state: OthelloState) -> Tensor:
        return legal_compiled(state) if state.mine.is_cpu else legal_in_tensors(state)

    def step(self, state: OthelloState, action: Tensor) -> Transition[OthelloState]:
        return step_compiled(_step_kernel, state, action) if state.mine.is_cpu else step_in_tensors(state, action)

    @property
    def compiled_rules(self) -> CompiledRules | None:
        return _rules_kernel if type(self) is Othello else None  # others may have rules of their own

    def observe(self, state: OthelloState) -> Tensor:
        """Two planes, the top row first: discs of the player to move, the opponent's."""
        return _cells(torch.stack((state.mine, state.theirs), 1)).to(torch.float32)

    def symmetries(self) -> Sequence[Symmetry]:
        """The two diagonal mirrors and the half turn; the other turns and mirrors exchange the colours of the start."""
        cells = torch.arange(self.side**2).view(self.side, self.side)

        def half_turn(x: Tensor) -> Tensor:
            return x.flip(-2, -1)

        def mirror(x: Tensor) -> Tensor:
            return x.transpose(-2, -1)

        def other_mirror(x: Tensor) -> Tensor:
            return half_turn(mirror(x))

        maps = (half_turn, mirror, other_mirror)
        return [Symmetry(map_, (*map_(cells).flatten().tolist(), self.side**2)) for map_ in maps]

    @property
    def has_key(self) -> bool:
        return self.side <= KEYED

    def key(self, state: OthelloState) -> Tensor:
        """Each cell is a digit to base 3, and the player to move another."""
        digits = _cells(state.mine) + 2 * _cells(state.theirs)
        return (digits.flatten(1) * _constants(self.side, digits.device).powers).sum(1) * 2 + state.turn

    def heuristic(self, state: OthelloState) -> Tensor:
        """Corners, which can never be turned, and mobility, the number of moves: mine less theirs, in (-1, 1).

        The simplest parts of the stability and mobility that P. S. Rosenbloom 1982, "A world-championship-level Othello
        program", values; the weights are this project's.
        """
        mobility = self.legal(state)[:, :-1].sum(1) - self.legal(_exchanged(state))[:, :-1].sum(1)
        discs = _cells(state.mine) - _cells(state.theirs)
        corners = discs[:, :: self.side - 1, :: self.side - 1].sum((1, 2))
        return torch.tanh(0.25 * corners + 0.05 * mobility)

    def render(self, state: OthelloState) -> str:
        marks = ".xo" if int(state.turn[0]) == 0 else ".ox"
        cells = _cells(state.mine[0]) + 2 * _cells(state.theirs[0])
        rows = [" ".join(marks[cell] for cell in row) for row in cells.tolist()]
        margin = len(str(self.side))
        return "\n".join(
            [
                *(f"{number:>{margin}} {row}" for number, row in enumerate(rows, 1)),
                " " * margin + " " + " ".join(COLUMNS[: self.side]),
            ]
        )

    def from_board(self, board: Tensor, to_play: int | None = None) -> OthelloState:
        if to_play is None:
            raise ValueError("after passes the number of discs does not tell who moves: say to_play, 0 or 1")
        bits = 1 << torch.arange(self.side)
        x, o = (((board == mark) * bits).sum(1)[None].to(torch.int32) for mark in (1, 2))
        turn = torch.tensor([to_play], dtype=torch.int8)
        state = OthelloState(*((o, x) if to_play else (x, o)), turn, torch.zeros(1, dtype=torch.bool))
        over = self.legal(state)[:, -1] & self.legal(_exchanged(state))[:, -1]  # neither can put a disc
        return state._replace(done=over)

    def action_name(self, action: int) -> str:
        row, column = divmod(action, self.side)
        return "pass" if row == self.side else f"{COLUMNS[column]}{row + 1}"


def _exchanged(state: OthelloState) -> OthelloState:
    """With the opponent to move."""
    return state._replace(mine=state.theirs, theirs=state.mine)


class _Constants(NamedTuple):
    full: int  # the cells of a row
    powers: Tensor  # [cells] of 3
    left: Tensor  # [8, 1, 1] by how many bits a disc moves to lower ones in its row, in each direction
    right: Tensor  # [8, 1, 1] and to higher ones


@lru_cache
def _constants(side: int, device: torch.device) -> _Constants:
    right = torch.tensor([[[right]] for _, right in DIRECTIONS], dtype=torch.int32, device=device)
    powers = 3 ** torch.arange(side * side if side <= KEYED else 0, device=device)
    return _Constants((1 << side) - 1, powers, left=-right.clamp(max=0), right=right.clamp(min=0))


def _cells(discs: Tensor) -> Tensor:
    """[..., side, side] int32, 1 where there is a disc, of boards [..., side]."""
    return (discs[..., None] >> torch.arange(discs.shape[-1], device=discs.device)) & 1


# In tensors


def legal_in_tensors(state: OthelloState) -> Tensor:
    places = _cells(_places(state.mine, state.theirs)).flatten(1) != 0
    return torch.cat((places, ~places.any(1, keepdim=True)), 1)


def step_in_tensors(state: OthelloState, action: Tensor) -> Transition[OthelloState]:
    batch, side = state.mine.shape
    row, column = (action // side)[:, None], (action % side)[:, None]  # the row of a pass is none
    disc = (torch.arange(side, device=action.device) == row).to(torch.int32) << column.to(torch.int32)
    lines = _lines(disc, state.theirs)
    bracketed = (_moved(lines) & state.mine != 0).any(2, keepdim=True)
    turned = reduce(torch.bitwise_or, lines.where(bracketed, 0))
    mine, theirs = state.mine | disc | turned, state.theirs ^ turned
    movable = (_places(torch.cat((mine, theirs)), torch.cat((theirs, mine))) != 0).any(1)
    running = ~state.done
    done = state.done | ~movable.view(2, batch).any(0)  # neither has a move
    lead = (_cells(mine) - _cells(theirs)).sum((1, 2))
    reward = torch.where(done & running, lead.sign(), 0).to(torch.float32)
    successor = OthelloState(
        mine=torch.where(running[:, None], theirs, state.mine),
        theirs=torch.where(running[:, None], mine, state.theirs),
        turn=state.turn ^ running.to(torch.int8),
        done=done,
    )
    return Transition(successor, reward, done)


def _moved(discs: Tensor) -> Tensor:
    """[8, B, side], the discs one cell further in each direction; what leaves the board is gone."""
    constants = _constants(discs.shape[-1], discs.device)
    aside = ((discs << constants.right) >> constants.left) & constants.full
    return torch.cat((F.pad(aside[:3, :, 1:], (0, 1)), aside[3:5], F.pad(aside[5:, :, :-1], (1, 0))))


def _lines(start: Tensor, theirs: Tensor) -> Tensor:
    """[8, B, side], in each direction the opponent's discs that follow one another from those of `start` on."""
    lines = _moved(start) & theirs
    for _ in range(start.shape[-1] - 3):
        lines = lines | (_moved(lines) & theirs)
    return lines


def _places(mine: Tensor, theirs: Tensor) -> Tensor:
    """[B, side], the empty cells at which such a line ends: where the owner of `mine` may put a disc."""
    ends: Tensor = reduce(torch.bitwise_or, _moved(_lines(mine, theirs)))
    return ends & ~(mine | theirs)


# Compiled


def legal_compiled(state: OthelloState) -> Tensor:
    batch, side = state.mine.shape
    legal = torch.empty(batch, side * side + 1, dtype=torch.bool)
    _legal_kernel(*arrays(state.mine, state.theirs, legal))
    return legal


@njit()
def _legal_kernel(mine: NDArray[np.int32], theirs: NDArray[np.int32], legal: NDArray[np.bool_]) -> None:
    places = np.empty(mine.shape[1], np.int32)
    for b in range(len(mine)):
        _find_places(mine[b], theirs[b], places)
        _write_legal(places, legal[b])


@njit()
def _step_kernel(mine, theirs, turn, done, action, new_mine, new_theirs, new_turn, new_done, reward):  # type: ignore[no-untyped-def]
    places = np.empty(mine.shape[1], np.int32)
    for b in range(len(mine)):
        new_turn[b], new_done[b], reward[b] = _play(
            mine[b], theirs[b], turn[b], done[b], action[b], new_mine[b], new_theirs[b], places
        )


@njit()
def _rules_kernel(mine, theirs, turn, done, place, action, first, reward, finished, turned, legal):  # type: ignore[no-untyped-def]
    places = np.empty(mine.shape[1], np.int32)
    for b in range(len(place)):
        old, new = place[b], first + b
        turn[new], done[new], reward[b] = _play(
            mine[old], theirs[old], turn[old], done[old], action[b], mine[new], theirs[new], places
        )
        finished[b], turned[b] = done[new], turn[new] != turn[old]
        _write_legal(places, legal[b])


@njit()
def _play(mine, theirs, turn, done, action, new_mine, new_theirs, places):  # type: ignore[no-untyped-def]
    """Writes the successor's discs and its places; returns who moves then, whether the game is over, and the reward."""
    side = len(mine)
    if done:
        new_mine[:], new_theirs[:], places[:] = mine, theirs, 0
        return turn, True, 0
    new_mine[:], new_theirs[:] = theirs, mine
    if action < side * side:
        _put(mine, theirs, action // side, action % side, new_mine, new_theirs)
    if _find_places(new_mine, new_theirs, places):
        return turn ^ 1, False, 0
    if _find_places(new_theirs, new_mine, places):
        places[:] = 0
        return turn ^ 1, False, 0
    lead = 0
    for row in range(side):
        lead += _bits(new_theirs[row]) - _bits(new_mine[row])
    return turn ^ 1, True, np.sign(lead)


@njit()
def _put(mine, theirs, row, column, new_mine, new_theirs):  # type: ignore[no-untyped-def]
    """Puts a disc of the owner of `mine`, who is the opponent in the successor, and turns what it brackets."""
    side = len(mine)
    new_theirs[row] |= 1 << column
    for down, right in DIRECTIONS:
        r, c = row + down, column + right
        while 0 <= r < side and 0 <= c < side and (theirs[r] >> c) & 1:
            r, c = r + down, c + right
        if 0 <= r < side and 0 <= c < side and (mine[r] >> c) & 1:
            r, c = r - down, c - right
            while r != row or c != column:  # back along the line
                new_theirs[r] |= 1 << c
                new_mine[r] &= ~(1 << c)
                r, c = r - down, c - right


@njit()
def _find_places(mine, theirs, places):  # type: ignore[no-untyped-def]
    """Writes where the owner of `mine` may put a disc, a word a row; returns whether there is such a cell.

    Along a row, lines grow until they end. All others grow from row to row, downwards and then upwards.
    """
    side = len(mine)
    for row in range(side):
        own, other = np.int64(mine[row]), np.int64(theirs[row])
        right, left = (own << 1) & other, (own >> 1) & other
        places[row] = 0
        while right | left:
            right, left = right << 1, left >> 1
            places[row] |= (right | left) & ~other
            right, left = right & other, left & other
    found, full = np.int64(0), (1 << side) - 1
    for top, down in ((0, 1), (side - 1, -1)):
        own = straight = left = right = np.int64(0)
        for i in range(side):
            row = top + i * down
            other = np.int64(theirs[row])
            places[row] |= straight | left >> 1 | right << 1
            straight, left, right = (straight | own) & other, (left | own) >> 1 & other, (right | own) << 1 & other
            own = np.int64(mine[row])
            places[row] &= full & ~(own | other)
            found |= places[row]
    return found != 0


@njit()
def _write_legal(places, legal):  # type: ignore[no-untyped-def]
    """[cells + 1] bool from a word a row; a pass is legal where nothing else is."""
    side, passes = len(places), True
    for row in range(side):
        word = places[row]
        passes = passes and word == 0
        for column in range(side):
            legal[row * side + column] = (word >> column) & 1
    legal[side * side] = passes


@njit()
def _bits(row: int) -> int:
    count = 0
    while row:
        row &= row - 1
        count += 1
    return count
