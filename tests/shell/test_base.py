"""What both shells have in common: the review, the board, and the text that was typed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from alphazero.game.messages import printable
from alphazero.game.record import Record
from alphazero.shell.base import Shell, draw
from games.hex import Hex
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


def test_rows_of_hexagons_lean() -> None:
    drawn = draw(Record(Hex(side=3), "b2 a3"), colours=False)
    assert drawn.plain == "1  .  .  .\n 2  .  x  .\n   3 [o] .  .\n       a  b  c"


def test_capital_letters_do_as_well() -> None:
    play, _, printed = shells(TicTacToe())
    play.onecmd("B2")
    play.onecmd("MOVES")
    assert printed.getvalue().endswith("b2\n")


def says(shell: Shell, line: str, printed: io.StringIO) -> str:
    printed.seek(0)
    printed.truncate()
    shell.onecmd(line)
    return printed.getvalue()


def test_undo_takes_back_as_many_turns_as_it_is_told() -> None:
    play, explore, printed = shells(TicTacToe(), "a3 b2 a1 a2 c2")  # minimax has the moves b2 and a2
    for line, left in (("undo", "a3 b2 a1 a2"), ("undo 2", "a3 b2"), ("undo 2", ""), ("undo", "")):
        explore.record = Record(TicTacToe(), "a3 b2 a1 a2 c2") if line == "undo" and left else explore.record
        says(explore, line, printed)
        assert explore.record.moves == left, line
    assert says(explore, "undo 2", printed) == "there is no move to take back\n"
    for moves, line, left in (
        ("a3 b2 a1 a2 c2", "undo", "a3 b2 a1 a2"),
        ("a3 b2 a1 a2 c2", "undo 2", "a3 b2"),
        ("a3 b2 a1 a2 c2", "undo 3", ""),
        ("a3 b2 a1 a2", "undo", "a3 b2"),  # minimax's answer too
        ("a3 b2 a1 a2", "undo 2", ""),
    ):
        play.record = Record(TicTacToe(), moves)
        says(play, line, printed)
        assert play.record.moves == left, (moves, line)
    play.record = Record(TicTacToe(), "a3 b2 a1 a2")
    assert says(play, "undo 3", printed) == "only 2 can be taken back, not 3\n"
    says(play, "resign", printed)
    says(play, "undo 2", printed)  # the resignation is a turn
    assert (play.resigned, play.record.moves) == (None, "a3 b2")
    says(play, "resign", printed)
    assert "only 1 can be taken back, not 2" in says(play, "undo 3", printed)
    assert play.resigned is not None
    play.seats = ["minimax:1", "random"]
    says(play, "undo", printed)
    says(play, "undo 2", printed)
    assert play.record.moves == ""


@pytest.mark.parametrize("line", ["undo 0", "undo -1", "undo x", "undo 1 2", "undo 1e3", f"undo {'9' * 5000}"])
def test_undo_wants_a_number(line: str) -> None:
    play, explore, printed = shells(TicTacToe(), "a3 b2")
    for shell in (play, explore):
        assert "is no number of times; say a whole number from 1" in says(shell, line, printed)
        assert shell.record.moves == "a3 b2"


def test_a_command_that_takes_nothing_says_so() -> None:
    """Otherwise what was meant by the rest of the line would be ignored."""
    for shell in shells(TicTacToe(), "a3 b2")[:2]:
        alone = [name for name in shell.commands() if f"{name}: " in (getattr(shell, f"do_{name}").__doc__ or "")]
        assert {"board", "moves", "restart", "review", "quit"} <= set(alone)
        printed = io.StringIO()
        shell.console = Console(file=printed, width=100)
        for name in alone:
            assert says(shell, f"{name} 3", printed) == f"`{name}` takes nothing after it, such as '3'\n"
        assert shell.record.moves == "a3 b2"
