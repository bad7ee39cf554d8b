"""Rendered boards read back, so that any game whose `render` shows marks in rows has coloured and drawn boards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Grid(NamedTuple):
    """A rendered board that consists of x, o and empty cells.

    cells: a string of x, o and . a row, the top one first.
    row_names, column_names: the labels beside and below, empty where there are none.
    """

    cells: list[str]
    row_names: list[str]
    column_names: list[str]


def read_grid(text: str) -> Grid | None:
    """The grid that a rendered position shows; None if it shows anything else."""
    cells: list[str] = []
    row_names: list[str] = []
    column_names: list[str] = []
    for tokens in (line.split() for line in text.splitlines() if line.strip()):
        name, marks = ("", tokens) if _are_marks(tokens) else (tokens[0], tokens[1:])
        if _are_marks(marks):
            cells.append("".join(marks).lower().translate(str.maketrans("·-_", "...")))
            row_names.append(name)
        elif cells and not column_names and len(tokens) == len(cells[0]):
            column_names = tokens
        else:
            return None
    if len(cells) < 2 or len(set(map(len, cells))) > 1:
        return None
    return Grid(cells, row_names, column_names)


def _are_marks(tokens: Sequence[str]) -> bool:
    return len(tokens) > 1 and all(len(token) == 1 and token in "xoXO.·-_" for token in tokens)
