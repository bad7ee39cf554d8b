"""Rendered boards read back, so that any game whose `render` shows marks in rows has coloured and drawn boards."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

ROW = re.compile(r"(?:(?P<name>\S+)\s+)??(?P<marks>[xoXO.·_-](?:\s+[xoXO.·_-])+)")  # two marks at least


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
