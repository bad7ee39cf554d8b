"""What both shells have in common: the review, the board, and the text that was typed."""

from __future__ import annotations

import pytest

from alphazero.game.messages import printable
from alphazero.game.record import Record
from alphazero.shell.base import draw
from games.tic_tac_toe import TicTacToe
from tests.shell.both_shells import SolvedTicTacToe, shells


def test_a_review_names_the_mistakes() -> None:
    """x takes a corner, o answers at the edge: the lost reply. Then x lets the win go, and o gives it back."""
    play, _, printed = shells(SolvedTicTacToe(), "a3 b3 b1 b2")
    play.onecmd("review")
    lines = printed.getvalue().splitlines()
    rows = [line.split() for line in lines if line[:1].isdigit()]
    assert [(row[1], row[2], row[4], row[5]) for row in rows] == [
        ("x", "a3", "draw", "draw"),
        ("o", "b3", "draw", "loss"),
        ("x", "b1", "win", "draw"),
        ("o", "b2", "draw", "loss"),  # a1 then threatens a2 and c1
    ]
    assert rows[1][6:] == ["b2"]  # only the centre holds against a corner
    assert lines[-1] == "mistakes at moves 2, 3, 4"


def test_a_game_without_mistakes_and_one_without_moves() -> None:
    play, _, printed = shells(SolvedTicTacToe(), "a3 b2")
    play.onecmd("review")
    assert printed.getvalue().endswith("no mistakes\n")
    play.onecmd("restart")
    play.onecmd("review")
    assert printed.getvalue().endswith("there is no move to review yet\n")


@pytest.mark.parametrize(("text", "shown"), [("abc", "'abc'"), ("a\x1b[2J", r"'a\x1b[2J'"), ("é", "'é'")])
def test_typed_text_is_shown_without_control_characters(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_garbage_is_cut() -> None:
    assert len(printable("x" * 10_000)) < 50


def test_the_board_is_coloured_and_the_last_move_in_brackets() -> None:
    drawn = draw(Record(TicTacToe(), "b2 a3"), colours=True)
    assert drawn.plain == "3 [o] .  .\n2  .  x  .\n1  .  .  .\n   a  b  c"
    styled = {drawn.plain[span.start : span.end]: str(span.style) for span in drawn.spans}
    assert "blue" in styled["x"]
    assert "yellow" in styled["o"]
    plain = draw(Record(TicTacToe(), "b2 a3"), colours=False)
    assert not [span for span in plain.spans if span.style]
    assert plain.plain == drawn.plain


def test_capital_letters_do_as_well() -> None:
    play, _, printed = shells(TicTacToe())
    play.onecmd("B2")
    play.onecmd("MOVES")
    assert printed.getvalue().endswith("b2\n")
