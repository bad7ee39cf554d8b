"""Rendered boards read back: any game whose `render` shows marks in rows has coloured and drawn boards.

People also hand boards in, as text or as numbers, to ask for what an agent thinks of them.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

ROW = re.compile(r"(?:(?P<name>\S+)\s+)??(?P<marks>[xoXO.·_-](?:\s+[xoXO.·_-])+)")  # two marks at least

TO_MOVE = re.compile(r"\b([xo]) to move\b")  # as a terminal says below a board


class Grid(NamedTuple):
    """A rendered board that consists of x, o and empty cells.

    cells: a string of x, o and . a row, the top one first.
    row_names, column_names: the labels beside and below, empty where there are none.
    lean: by how many cells each row lies to the right of the one above: half a cell on a board of hexagons, else 0.
    """

    cells: list[str]
    row_names: list[str]
    column_names: list[str]
    lean: float = 0.0


def read_grid(text: str) -> Grid | None:
    """The grid that a rendered position shows; None if it shows anything else."""
    cells, row_names, column_names, starts = list[str](), list[str](), list[str](), list[int]()
    for line in filter(str.strip, text.splitlines()):
        if row := ROW.fullmatch(line.strip()):
            cells.append("".join(row["marks"].split()).lower().translate(str.maketrans("·-_", "...")))
            row_names.append(row["name"] or "")
            starts.append(line.index(row["marks"]))
        elif cells and not column_names and len(line.split()) == len(cells[0]):
            column_names.extend(line.split())
        else:
            return None
    if len(cells) < 2 or len(set(map(len, cells))) > 1:
        return None
    hexagons = all(lower == upper + 1 for upper, lower in pairwise(starts))  # where a cell is a mark and a space
    return Grid(cells, row_names, column_names, 0.5 if hexagons else 0.0)


def read_board(text: str) -> tuple[Tensor, int | None] | None:
    """The board that a text shows, as `Game.from_board` takes it, and who moves if it says "x to move"; or None.

    Brackets around a mark, as around the last move in a terminal, are skipped, and so is what stands below the board.
    """
    shown = re.sub(r"[\[\]]", " ", text)
    lines = [line for line in shown.splitlines() if line.strip()]
    marked = [number for number, line in enumerate(lines) if ROW.fullmatch(line.strip())]
    grid = read_grid("\n".join(lines[marked[0] : marked[-1] + 1])) if marked else None
    if grid is None:
        return None
    said = TO_MOVE.search(shown)
    board = torch.tensor([[".xo".index(mark) for mark in row] for row in grid.cells], dtype=torch.int8)
    return board, "xo".index(said[1]) if said else None


def whose_turn(board: Tensor, to_play: int | None = None) -> int:
    """Whose turn it is where every move adds a mark, and the first player began: 0 or 1.

    to_play: the answer, if it is known. ValueError if the numbers of marks contradict it, or the rules.
    """
    first, second = (int((board == mark).sum()) for mark in (1, 2))
    if first - second not in (0, 1):
        raise ValueError(f"x has {first} marks and o has {second}, though they take turns and x begins")
    if to_play not in (None, first - second):
        raise ValueError(f"x has {first} marks and o has {second}, so it is the turn of {'xo'[first - second]}")
    return first - second
