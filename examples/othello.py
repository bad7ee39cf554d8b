"""Othello on six by six cells: a board game of your own, as `docs/othello.md` explains it.

    scripts/train.py configs/othello6.toml      trains it
    --game examples.othello:Othello8            the full board, on any configuration

A position is two boards of a bit a cell; bit and action share the number of a cell, in reading order:

    1   0  1  2  3  4  5
    2   6  7  8  9 10 11
    3  12 13 14 15 16 17
    4  18 19 20 21 22 23
    5  24 25 26 27 28 29
    6  30 31 32 33 34 35
        a  b  c  d  e  f
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from alphazero.game import Discrete, Game, Symmetry, Transition

COLUMNS = "abcdefgh"


class OthelloState(NamedTuple):
    """B positions as the player to move sees them.

    mine:   [B] int64, the discs of the player to move.
    theirs: [B] int64, those of the opponent.
    turn:   [B] int8, who moves, 0 or 1.
    done:   [B] bool.
    """

    mine: Tensor
    theirs: Tensor
    turn: Tensor
    done: Tensor


class Othello(Game[OthelloState]):
    """Action a puts a disc on cell a (a1 is top left); the last action passes, legal where nothing else is."""

    name, num_players, side = "othello_6x6", 2, 6

    def __init__(self) -> None:
        self.actions = Discrete(self.side**2 + 1)
        self.observation_shape = (2, self.side, self.side)

    def initial(self, batch: int, *, generator: torch.Generator | None = None) -> OthelloState:
        device = generator.device if generator is not None else torch.device("cpu")
        middle = self.side * (self.side // 2 - 1) + self.side // 2 - 1  # of the four cells, that at the top left
        dark = torch.full((batch,), (2 + (1 << self.side)) << middle, device=device)
        light = torch.full((batch,), (1 + (2 << self.side)) << middle, device=device)
        turn = torch.zeros(batch, dtype=torch.int8, device=device)
        return OthelloState(dark, light, turn, turn.bool())

    def to_play(self, state: OthelloState) -> Tensor:
        return state.turn

    def legal(self, state: OthelloState) -> Tensor:
        places = self._places(state.mine, state.theirs)
        return torch.cat((self._cells(places), (places == 0)[:, None]), 1)

    def step(self, state: OthelloState, action: Tensor) -> Transition[OthelloState]:
        disc = _constants(self.side, action.device).discs[action]
        lines = self._lines(disc, state.theirs)
        flipped = torch.where((self._moved(lines) & state.mine) != 0, lines, 0).sum(0)
        mine, theirs = state.mine | disc | flipped, state.theirs ^ flipped
        running = ~state.done
        places = self._places(torch.cat((mine, theirs)), torch.cat((theirs, mine)))
        done = state.done | (places.view(2, -1) == 0).all(0)  # neither has a move
        lead = self._cells(mine).sum(1) - self._cells(theirs).sum(1)
        reward = torch.where(done & running, lead.sign(), 0).to(torch.float32)
        successor = OthelloState(
            mine=torch.where(running, theirs, state.mine),
            theirs=torch.where(running, mine, state.theirs),
            turn=state.turn ^ running.to(torch.int8),
            done=done,
        )
        return Transition(successor, reward, done)

    def observe(self, state: OthelloState) -> Tensor:
        """Two planes, the top row first: discs of the player to move, the opponent's."""
        both = torch.stack((self._cells(state.mine), self._cells(state.theirs)), 1)
        return both.to(torch.float32).unflatten(2, (self.side, self.side))

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
        return self.side <= 6  # eight by eight cells have more positions than 64 bits have numbers

    def key(self, state: OthelloState) -> Tensor:
        """Each cell is a digit to base 3, and the player to move another."""
        digits = self._cells(state.mine) + 2 * self._cells(state.theirs)
        return (digits * _constants(self.side, digits.device).powers).sum(1) * 2 + state.turn

    def heuristic(self, state: OthelloState) -> Tensor:
        """Corners, which can never be turned, and mobility, the number of moves: mine less theirs, in (-1, 1)."""
        discs, others = torch.cat((state.mine, state.theirs)), torch.cat((state.theirs, state.mine))
        corners = self._cells(discs)[:, [0, self.side - 1, -self.side, -1]].sum(1)
        mobility = self._cells(self._places(discs, others)).sum(1)
        mine, theirs = (0.25 * corners + 0.05 * mobility).view(2, -1)
        return torch.tanh(mine - theirs)

    def render(self, state: OthelloState) -> str:
        mine, theirs = self.observe(state)[0].long()
        marks = ".xo" if int(state.turn[0]) == 0 else ".ox"
        rows = [" ".join(marks[cell] for cell in row) for row in (mine + 2 * theirs).tolist()]
        return "\n".join(
            [*(f"{number} {row}" for number, row in enumerate(rows, 1)), "  " + " ".join(COLUMNS[: self.side])]
        )

    def action_name(self, action: int) -> str:
        row, column = divmod(action, self.side)
        return "pass" if row == self.side else f"{COLUMNS[column]}{row + 1}"

    def _cells(self, discs: Tensor) -> Tensor:
        """[B, cells] bool, where there is a disc."""
        return (discs[:, None] & _constants(self.side, discs.device).discs[:-1]) != 0

    def _moved(self, discs: Tensor) -> Tensor:
        """[8, B], the discs one cell further in each direction; what leaves the board is gone."""
        constants = _constants(self.side, discs.device)
        return ((discs << constants.up) >> constants.down) & constants.entered

    def _lines(self, start: Tensor, theirs: Tensor) -> Tensor:
        """[8, B], in each direction the opponent's discs that follow one another from those of `start` on."""
        lines = self._moved(start) & theirs
        for _ in range(self.side - 3):
            lines = lines | (self._moved(lines) & theirs)
        return lines

    def _places(self, mine: Tensor, theirs: Tensor) -> Tensor:
        """[B] the empty cells at which such a line ends: where the owner of `mine` may put a disc."""
        ends = reduce(torch.bitwise_or, self._moved(self._lines(mine, theirs)))
        return ends & ~(mine | theirs)


class Othello8(Othello):
    """The full board."""

    name, side = "othello_8x8", 8


class _Constants(NamedTuple):
    discs: Tensor  # [actions] the bit of each cell, and none for the pass
    powers: Tensor  # [cells] of 3
    up: Tensor  # [8, 1] by how many bits a disc moves to higher cells, in each direction
    down: Tensor  # [8, 1] and to lower ones
    entered: Tensor  # [8, 1] the cells that it can come to, all but those of an edge or two


@lru_cache
def _constants(side: int, device: torch.device) -> _Constants:
    cells = torch.arange(side**2)
    row, column = cells // side, cells % side
    directions = [(rows, columns) for rows in (-1, 0, 1) for columns in (-1, 0, 1) if rows or columns]
    steps = torch.tensor([[rows * side + columns] for rows, columns in directions])
    entered = [
        (row - rows).clamp(0, side - 1).eq(row - rows) & (column - columns).clamp(0, side - 1).eq(column - columns)
        for rows, columns in directions
    ]
    discs = 1 << cells
    constants = _Constants(
        discs=torch.cat((discs, torch.zeros(1, dtype=torch.int64))),
        powers=3**cells,
        up=steps.clamp(min=0),
        down=-steps.clamp(max=0),
        entered=(torch.stack(entered) * discs).sum(1, keepdim=True),
    )
    return _Constants(*(constant.to(device) for constant in constants))
