"""The exact score of every move in connect-four, from BitBully (M. Thill, https://github.com/MarkusThill/BitBully).

BitBully is an optional package: it is licensed under the AGPL, this project under the MIT licence, so it is
imported only when someone asks for perfect play. A solver with an opening book of 12 plies, it takes a few
milliseconds a position, and up to half a second for the hardest, those right behind the book.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor

BITBULLY_MISSING = (
    "perfect play of connect_four needs the package bitbully (licensed under the AGPL): "
    "pip install -c constraints.txt -e '.[perfect]'"
)


def bitbully_installed() -> bool:
    """Whether BitBully and its opening book, which is in a package of its own, can be imported."""
    return all(importlib.util.find_spec(package) for package in ("bitbully", "bitbully_databases"))


def exact_scores(boards: Tensor) -> Tensor:
    """[B, 7] float32, the score of each column for the player to move; -inf where it is full.

    boards: [B, 6, 7] of unfinished positions, the top row first: 0 empty, 1 the first player's stones, 2 the other's.

    0 is a draw. A win scores 22 less the stones that the winner will have played by then, so the sooner the
    more; a loss is the winner's score, negative (P. Pons, http://blog.gamesolver.org/solving-connect-four/02-test-protocol/).

    ValueError, for no positions too, if BitBully is not installed.
    """
    solver, board = _bitbully()
    scores = torch.full((len(boards), boards.shape[2]), -torch.inf)
    for row, rows in zip(scores, boards.tolist(), strict=True):
        for column, score in solver.score_all_moves(board(rows)).items():
            row[column] = score
    return scores


@cache
def _bitbully() -> tuple[Any, Any]:
    """The solver with its book loaded, which takes a moment, and the package's class of boards."""
    try:
        from bitbully import BitBully, Board

        return BitBully(), Board
    except ImportError as error:
        raise ValueError(BITBULLY_MISSING) from error
