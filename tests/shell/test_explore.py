"""The explorer's commands, with and without a solver."""

from __future__ import annotations

from games.tic_tac_toe import TicTacToe
from tests.shell.both_shells import SolvedTicTacToe, shells


def test_the_explorer_asks_the_solver() -> None:
    _, explore, printed = shells(SolvedTicTacToe(), "a3")
    explore.onecmd("solve")
    rows = [line.split() for line in printed.getvalue().splitlines()[1:]]
    assert rows[0] == ["b2", "+0", "draw"]
    assert len(rows) == 8
    assert {row[-1] for row in rows[1:]} == {"loss"}


def test_several_moves_are_played_all_or_none() -> None:
    _, explore, printed = shells(TicTacToe(), "b2")
    explore.onecmd("do a3 b2 c1")
    assert "b2 is not legal here" in printed.getvalue()
    assert explore.record.moves == "b2"
    explore.onecmd("do a3 c1")
    assert explore.record.moves == "b2 a3 c1"
