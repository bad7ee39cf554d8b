"""Boards become the positions that they show, or are refused with the reason."""

from __future__ import annotations

import pytest
import torch

from alphazero.game import Game, whose_turn
from alphazero.game.conformance import ConformanceError, check_game
from alphazero.game.grid import read_board
from games.breakthrough import Breakthrough
from games.connect_four import ConnectFour
from games.hex import Hex
from games.othello import Othello
from games.tic_tac_toe import TicTacToe
from tests.positions import board, random_positions, tic_tac_toe_board

GAMES: list[Game] = [ConnectFour(), TicTacToe(), Hex(side=4), Othello(side=6), Breakthrough(rows=5, columns=4)]


def cells(picture: str) -> torch.Tensor:
    found = read_board(picture)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("game", GAMES, ids=lambda game: game.name)
def test_all_that_follows_is_as_in_the_position_itself(game: Game) -> None:
    """Moves are played on from both: they lead to the same ends."""
    positions = random_positions(game, 40, plies=8, seed=1)
    for index in range(40):
        state = type(positions)(*(field[index : index + 1] for field in positions))
        found = game.from_board(cells(game.render(state)), int(game.to_play(state)))
        for _ in range(12):
            assert torch.equal(game.observe(found), game.observe(state))
            assert torch.equal(game.to_play(found), game.to_play(state))
            legal = game.legal(state)
            assert torch.equal(game.legal(found), legal)
            action = legal.float().argmax(1)
            (found, *one), (state, *other) = game.step(found, action), game.step(state, action)
            assert one == other
            if other[1]:
                break


def test_pictures_are_read_as_by_the_tests_own_reader() -> None:
    picture = """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . o . . .
        . . . x . . .
        . . o x x . .
    """
    assert ConnectFour().from_board(cells(picture)) == board(picture)
    picture = "x . o\n. x .\n. . ."
    assert TicTacToe().from_board(cells(picture)) == tic_tac_toe_board("x . o / . x . / . . .")


@pytest.mark.parametrize(
    ("game", "picture", "to_play", "over"),
    [
        (TicTacToe(), "x x x\no o .\n. . .", None, True),
        (TicTacToe(), "x o x\nx o o\no x x", None, True),
        (TicTacToe(), "x x .\no o .\n. . .", None, False),
        (Hex(side=2), "x o\n x .", None, True),  # top to bottom
        (Hex(side=2), "x .\n . .", None, False),
        (Othello(side=4), "x x x x\nx x x x\nx x x x\nx x x .", 0, True),  # nobody can turn any
        (Othello(side=4), ". . . .\n. o x .\n. x o .\n. . . .", 1, False),
        (Breakthrough(rows=3, columns=2), "x .\n. .\n. x", 1, True),  # it has come home
        (Breakthrough(rows=3, columns=2), "o .\n. .\n. x", 1, False),
    ],
)
def test_the_end_is_seen(game: Game, picture: str, to_play: int | None, over: bool) -> None:
    assert bool(game.from_board(cells(picture), to_play).done) == over


@pytest.mark.parametrize(
    ("game", "picture", "to_play", "fault"),
    [
        (TicTacToe(), "x x .\n. . .\n. . .", None, "x has 2 marks and o has 0, though they take turns"),
        (TicTacToe(), "x o .\n. . .\n. . .", 1, "x has 1 marks and o has 1, so it is the turn of x"),
        (TicTacToe(), "o o o\nx x .\nx . .", None, None),
        (TicTacToe(), "x x x\no o .\no . .", None, "x has three in a row already, so it cannot be its turn"),
        (Hex(side=2), "x o\n x o", None, "the game is over"),
        (Othello(side=4), ". . . .\n. o x .\n. x o .\n. . . .", None, "say to_play, 0 or 1"),
        (Breakthrough(rows=3, columns=2), "o .\n. .\n. x", None, "say to_play, 0 or 1"),
    ],
)
def test_what_cannot_be_is_told(game: Game, picture: str, to_play: int | None, fault: str | None) -> None:
    if fault is None:
        assert game.from_board(cells(picture), to_play).done
        return
    with pytest.raises(ValueError, match=fault):
        game.from_board(cells(picture), to_play)


def test_four_in_a_row_of_the_one_to_move_cannot_be() -> None:
    picture = "\n".join([". . . . . . ."] * 4 + ["o o o . . . .", "x x x x o . ."])
    with pytest.raises(ValueError, match="x has four in a row already, so it cannot be its turn"):
        ConnectFour().from_board(cells(picture))


def test_the_conformance_kit_holds_boards_to_what_is_shown() -> None:
    class Turned(TicTacToe):
        def from_board(self, board: torch.Tensor, to_play: int | None = None):  # type: ignore[no-untyped-def]
            return super().from_board(board.flip(1), to_play)

    class Unread(Turned):
        def from_board(self, board: torch.Tensor, to_play: int | None = None):  # type: ignore[no-untyped-def]
            return TicTacToe.from_board(self, board, to_play)

        def render(self, state):  # type: ignore[no-untyped-def]
            return "somewhere"

    with pytest.raises(ConformanceError, match=r"from_board: .* must agree in legal"):
        check_game(Turned())
    with pytest.raises(ConformanceError, match=r"from_board: the game has it, so `render` must show a board"):
        check_game(Unread())

    class Drawn(TicTacToe):
        def render(self, state):  # type: ignore[no-untyped-def]
            return "somewhere"

    check_game(Drawn())  # the boards of another drawing are not its own
    assert not Drawn().has_boards


def test_who_moves_follows_from_the_marks() -> None:
    assert [whose_turn(cells(picture)) for picture in ("x o\n. .", "x .\n. .")] == [0, 1]
    assert read_board("x .\n. .\n o to move") is not None
    assert read_board("x .\n. .\n o to move")[1] == 1  # type: ignore[index]
    assert read_board("4453") is None
    assert read_board("move 3") is None
