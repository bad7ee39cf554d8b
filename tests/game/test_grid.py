"""Boards as text are read as grids; other text is not."""

from __future__ import annotations

import pytest
import torch

from alphazero.game.grid import read_grid
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe


def test_boards_of_the_games_are_grids() -> None:
    game = ConnectFour()
    state = game.step(game.initial(1), torch.tensor([3])).state
    grid = read_grid(game.render(state))
    assert grid is not None
    assert grid.cells == ["......."] * 5 + ["...x..."]
    assert grid.column_names == list("1234567")
    assert grid.row_names == [""] * 6
    small = read_grid(TicTacToe().render(TicTacToe().initial(1)))
    assert small == (["..."] * 3, ["3", "2", "1"], ["a", "b", "c"], 0)


@pytest.mark.parametrize(
    ("text", "lean"),
    [
        ("1 . .\n 2 . .\n    a b", 0.5),
        (" 9 . .\n 10 . .\n  11 . .", 0.5),  # where the marks begin counts
        (". .\n . .\n  x o", 0.5),
        (" 9 . .\n10 . .\n   a b", 0),
        (". .\n  . .\n    . .", 0),
        (". .\n . .\n . .", 0),
    ],
)
def test_rows_that_begin_further_right_are_those_of_hexagons(text: str, lean: float) -> None:
    grid = read_grid(text)
    assert grid is not None
    assert grid.lean == lean


@pytest.mark.parametrize("text", ["", "heaps: 3 4 5", "x . .\n. o", "x . .\n? . .", "mine: 5\ntheirs: 3"])
def test_other_text_is_no_grid(text: str) -> None:
    assert read_grid(text) is None
