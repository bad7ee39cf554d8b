"""Hex: who connects two opposite sides of the board wins; x the top and the bottom, o the left and the right.

Cells, and the actions that put a stone on them, are numbered in reading order; each touches six others:

    1  0  1  2  3  4
     2  5  6  7  8  9
      3 10 11 12 13 14
       4 15 16 17 18 19
        5 20 21 22 23 24
           a  b  c  d  e

Stones that touch one another are a group, and a position says of every stone which group it belongs to. A move joins
the groups around its cell. So a win is seen at once, in the same few operations on every board, and none is searched.

The rules, on which search spends its time, are written twice: in tensor operations for any device, and compiled for the
CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from alphazero.game import CompiledRules, Discrete, Game, Symmetry, Transition, whose_turn
from alphazero.game.compilation import arrays, njit, step_compiled

COLUMNS = "abcdefghijklmnopqrs"
SIDES = range(2, len(COLUMNS) + 1)
KEYED = 6  # the longest side of which 64 bits can number all positions
NEIGHBOURS = ((-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0))  # rows down, columns right
FROM, TO, FLOATING = 1, 2, 3  # groups at the side where a player's way begins, at the other, the first of all others


class HexState(NamedTuple):
    """B positions as the player to move sees them.

    mine:   [B, side, side] int16, the group of each stone of the player to move, 0 where there is none; the top row
        first. All groups that touch the top (of x) or the left side (of o) are FROM, those at the opposite side TO; any
        other is FLOATING and the cell of the stone that joined it last.
    theirs: [B, side, side] int16, those of the opponent.
    turn:   [B] int8, who moves, 0 or 1.
    done:   [B] bool.
    """

    mine: Tensor
    theirs: Tensor
    turn: Tensor
    done: Tensor


class Hex(Game[HexState]):
    """Action a puts a stone on cell a (a1 is top left). There is no swap of sides after the first move."""

    num_players = 2

    def __init__(self, side: int = 5) -> None:
        if type(side) is not int or side not in SIDES:
            raise ValueError(f"side must be a whole number from {SIDES[0]} to {SIDES[-1]}, is {side!r}")
        self.side = side
        self.name = f"hex_{side}x{side}"  # type: ignore[misc]
        self.actions = Discrete(side * side)
        self.observation_shape = (3, side, side)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> HexState:
        device = generator.device if generator is not None else torch.device("cpu")
        empty = torch.zeros(batch, self.side, self.side, dtype=torch.int16, device=device)
        turn = torch.zeros(batch, dtype=torch.int8, device=device)
        return HexState(empty, empty, turn, turn.bool())

    def to_play(self, state: HexState) -> Tensor:
        return state.turn

    def legal(self, state: HexState) -> Tensor:
        return ((state.mine | state.theirs) == 0).flatten(1)

    def step(self, state: HexState, action: Tensor) -> Transition[HexState]:
        return step_compiled(_step_kernel, state, action) if state.mine.is_cpu else step_in_tensors(state, action)

    @property
    def compiled_rules(self) -> CompiledRules | None:
        return _rules_kernel if type(self) is Hex else None  # others may have rules of their own

    def observe(self, state: HexState) -> Tensor:
        """Three planes, the top row first: stones of the player to move, the opponent's, cells at sides of the former.

        The third tells who connects what. The board is not turned so that the network always connects the same sides:
        the actions would turn with it, and a move would have another name for each player.
        """
        stones = torch.stack((state.mine, state.theirs), 1) != 0
        sides = _sides(self.side, state.turn.device)[state.turn.long()]
        return torch.cat((stones, sides[:, None]), 1).to(torch.float32)

    def symmetries(self) -> Sequence[Symmetry]:
        """The half turn. The two mirrors along the diagonals exchange the players' sides."""
        return (Symmetry(lambda observation: observation.flip(-2, -1), tuple(reversed(range(self.side**2)))),)

    @property
    def has_key(self) -> bool:
        return self.side <= KEYED

    def key(self, state: HexState) -> Tensor:
        """Each cell is a digit to base 3: who moves follows from the number of stones."""
        digits = (state.mine != 0) + 2 * (state.theirs != 0)
        return (digits.flatten(1) * 3 ** torch.arange(self.side**2, device=digits.device)).sum(1)

    def heuristic(self, state: HexState) -> Tensor:
        """How many stones fewer I need to connect my sides, if the opponent only passed, than the opponent would.

        The distance from which J. van Rijswijck 2000, "Are bees better than fruitflies?", starts. Squashed to (-1, 1).
        """
        lead = lead_compiled if state.mine.is_cpu else lead_in_tensors
        return torch.tanh(0.4 * lead(state))

    def render(self, state: HexState) -> str:
        marks = ".xo" if int(state.turn[0]) == 0 else ".ox"
        cells = (state.mine[0] != 0) + 2 * (state.theirs[0] != 0)
        margin = len(str(self.side))
        rows = [
            f"{' ' * row}{row + 1:>{margin}} {' '.join(marks[cell] for cell in line)}"
            for row, line in enumerate(cells.tolist())
        ]
        return "\n".join([*rows, " " * (margin + 1 + self.side) + " ".join(COLUMNS[: self.side])])

    def from_board(self, board: Tensor, to_play: int | None = None) -> HexState:
        whose_turn(board, to_play)
        stones = [(board.flatten() == mark).nonzero()[:, 0].tolist() for mark in (1, 2)]
        state = self.initial(1)
        for number in range(sum(map(len, stones))):  # in any order: what is connected in the end is the same
            if state.done:
                raise ValueError("one player has connected the sides already: the game is over")
            state = self.step(state, torch.tensor([stones[number % 2][number // 2]])).state
        return state

    def action_name(self, action: int) -> str:
        return f"{COLUMNS[action % self.side]}{action // self.side + 1}"


@lru_cache
def _sides(side: int, device: torch.device) -> Tensor:
    """[2, side, side] bool, the cells at the sides that each player connects."""
    ends = torch.zeros(side, side, dtype=torch.bool, device=device)
    ends[[0, -1]] = True
    return torch.stack((ends, ends.T))


@lru_cache
def _neighbours(side: int, device: torch.device) -> Tensor:
    """[cells, 6] int64, the cells around each; beyond the board a number past the last."""
    cells = F.pad(torch.arange(side**2).view(side, side), (1, 1, 1, 1), value=side**2)
    around = [cells[1 + down : side + 1 + down, 1 + right : side + 1 + right] for down, right in NEIGHBOURS]
    return torch.stack(around, -1).view(side**2, len(NEIGHBOURS)).to(device)


def step_in_tensors(state: HexState, action: Tensor) -> Transition[HexState]:
    batch, side, _ = state.mine.shape
    mine = state.mine.flatten(1)
    around = F.pad(mine, (0, 1)).gather(1, _neighbours(side, action.device)[action])
    along = torch.where(state.turn == 0, action // side, action % side)  # on the way from FROM to TO
    ends = torch.stack((FROM * (along == 0), TO * (along == side - 1)), 1)
    joined = torch.cat((around, ends.to(torch.int16)), 1)
    starts, arrives = (joined == FROM).any(1), (joined == TO).any(1)
    group = torch.where(starts, FROM, torch.where(arrives, TO, action + FLOATING)).to(torch.int16)
    member = (mine != 0) & (mine[:, :, None] == joined[:, None]).any(2)
    member = member | (torch.arange(side**2, device=action.device) == action[:, None])
    moved = torch.where(member, group[:, None], mine).view(batch, side, side)
    running = ~state.done
    won = starts & arrives & running
    successor = HexState(
        mine=torch.where(running[:, None, None], state.theirs, state.mine),
        theirs=torch.where(running[:, None, None], moved, state.theirs),
        turn=state.turn ^ running.to(torch.int8),
        done=state.done | won,
    )
    return Transition(successor, won.to(torch.float32), successor.done)


def lead_in_tensors(state: HexState) -> Tensor:
    """[B] int64, the stones that the opponent needs to connect two sides, less those that the player to move needs."""
    side = state.mine.shape[1]
    mine, theirs = state.mine != 0, state.theirs != 0
    stones = torch.stack((mine, theirs)), torch.stack((theirs, mine))
    across = torch.stack((state.turn != 0, state.turn == 0))[:, :, None, None]  # from the left to the right
    own, other = (torch.where(across, boards.transpose(-2, -1), boards) for boards in stones)
    closed = side + 1  # where no way is, and more than any way needs that is worth counting
    needed = torch.full(own.shape, closed, device=own.device)
    while True:  # the ways grow by a cell, from the top
        around = F.pad(needed, (1, 1, 1, 1), value=closed)
        around[..., 0, :] = 0
        least = torch.stack(
            [around[..., 1 + down : side + 1 + down, 1 + right : side + 1 + right] for down, right in NEIGHBOURS]
        ).amin(0)
        longer = torch.where(other, closed, (least + ~own).clamp(max=closed))
        if torch.equal(longer, needed):
            to_the_bottom: Tensor = needed[..., -1, :].amin(-1)
            return to_the_bottom[1] - to_the_bottom[0]
        needed = longer


@njit()
def _step_kernel(mine, theirs, turn, done, action, new_mine, new_theirs, new_turn, new_done, reward):  # type: ignore[no-untyped-def]
    for b in range(len(mine)):
        new_turn[b], new_done[b], reward[b] = _play(
            mine[b], theirs[b], turn[b], done[b], action[b], new_mine[b], new_theirs[b]
        )


@njit()
def _rules_kernel(mine, theirs, turn, done, place, action, first, reward, finished, turned, legal):  # type: ignore[no-untyped-def]
    side = mine.shape[1]
    for b in range(len(place)):
        old, new = place[b], first + b
        turn[new], done[new], reward[b] = _play(
            mine[old], theirs[old], turn[old], done[old], action[b], mine[new], theirs[new]
        )
        finished[b], turned[b] = done[new], turn[new] != turn[old]
        for row in range(side):
            for column in range(side):
                legal[b, row * side + column] = (mine[new, row, column] | theirs[new, row, column]) == 0


@njit()
def _play(mine, theirs, turn, done, action, new_mine, new_theirs):  # type: ignore[no-untyped-def]
    """Writes the successor's groups; returns who moves then, whether the game is over, and the reward."""
    if done:
        new_mine[:], new_theirs[:] = mine, theirs
        return turn, True, 0
    new_mine[:], new_theirs[:] = theirs, mine
    side = len(mine)
    row, column = action // side, action % side
    along = column if turn else row
    starts, arrives = along == 0, along == side - 1
    for down, right in NEIGHBOURS:
        r, c = row + down, column + right
        group = mine[r, c] if 0 <= r < side and 0 <= c < side else 0
        starts, arrives = starts or group == FROM, arrives or group == TO
    joint = FROM if starts else TO if arrives else action + FLOATING
    new_theirs[row, column] = joint
    for down, right in NEIGHBOURS:
        r, c = row + down, column + right
        if 0 <= r < side and 0 <= c < side and mine[r, c] != 0 and new_theirs[r, c] != joint:
            _rename(new_theirs, mine[r, c], joint)
    won = starts and arrives
    if won:
        _rename(new_theirs, TO, FROM)
    return turn ^ 1, won, won


@njit()
def _rename(groups: NDArray[np.int16], old: int, new: int) -> None:
    side = len(groups)
    for row in range(side):
        for column in range(side):
            if groups[row, column] == old:
                groups[row, column] = new


def lead_compiled(state: HexState) -> Tensor:
    lead = torch.empty(len(state.mine), dtype=torch.int64)
    _lead_kernel(*arrays(state.mine, state.theirs, state.turn, lead))
    return lead


@njit()
def _lead_kernel(mine, theirs, turn, lead):  # type: ignore[no-untyped-def]
    needed = np.empty(mine.shape[1:], np.int64)
    for b in range(len(mine)):
        lead[b] = _needed(theirs[b], mine[b], turn[b] == 0, needed) - _needed(mine[b], theirs[b], turn[b] != 0, needed)


@njit()
def _needed(own, other, across, needed):  # type: ignore[no-untyped-def]
    """How many stones the owner of `own` needs to connect two sides: across the board, or from top to bottom."""
    side = len(own)
    closed = side + 1
    needed[:] = closed
    shortest, grows = closed, True
    while grows:
        grows = False
        for row in range(side):
            for column in range(side):
                if other[row, column] != 0:
                    continue
                along = column if across else row
                least = 0 if along == 0 else closed
                for down, right in NEIGHBOURS:
                    r, c = row + down, column + right
                    if 0 <= r < side and 0 <= c < side:
                        least = min(least, needed[r, c])
                least += own[row, column] == 0
                if least < needed[row, column]:
                    needed[row, column], grows = least, True
                    if along == side - 1:
                        shortest = min(shortest, least)
    return shortest
