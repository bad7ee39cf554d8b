"""Games that draw no board of their own are drawn from what the player to move observes."""

from __future__ import annotations

from textwrap import dedent

import pytest
import torch
from torch import Tensor

from alphazero.game import Game
from alphazero.game.drawing import draw
from alphazero.game.grid import read_grid
from alphazero.game.probe import ConformanceError, Positions, Probe
from games.connect_four import ConnectFour
from games.tic_tac_toe import TicTacToe
from tests.game.coins import STATE, Coins, CoinsState
from tests.positions import board, tic_tac_toe_board
from tests.stubs import Drift

LEGEND = "numbers: planes that the player to move observes"


class Plain(TicTacToe):
    """Tic-tac-toe without a board of its own."""

    render = Game.render


class Seen(Coins):
    """A game that looks the same always."""

    def __init__(self, *planes: object) -> None:
        self.seen = torch.tensor(planes)

    def observe(self, state: CoinsState) -> Tensor:
        return self.seen[None].expand(len(state.coins), *self.seen.shape)


def picture(game: Game) -> list[str]:
    return draw(game, game.initial(1)).splitlines()


def test_tic_tac_toe_as_each_player_sees_it() -> None:
    first = tic_tac_toe_board("x . o / . x . / . . o")
    assert draw(TicTacToe(), first).splitlines() == ["as the first player sees it", "0 . 1", ". 0 .", ". . 1", LEGEND]
    second = tic_tac_toe_board("x . o / . x . / x . o")
    assert draw(TicTacToe(), second).splitlines() == ["as the second player sees it", "1 . 0", ". 1 .", "1 . 0", LEGEND]


def test_connect_four() -> None:
    state = board("""
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . o . . .
        . . x x . . .
        o . x o x . .
    """)
    expected = """\
        as the second player sees it
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . 0 . . .
        . . 1 1 . . .
        0 . 1 0 1 . .
        numbers: planes that the player to move observes"""
    assert draw(ConnectFour(), state) == dedent(expected)


def test_cells_of_several_planes_and_of_other_values() -> None:
    game = Seen([[1, 0.0], [1, 0]], [[0, 1], [1, 0]], [[0, 0], [0.25, -1]])
    assert picture(game) == [
        "as the first player sees it",
        "0          1",
        "0,1,2=0.25 2=-1",
        LEGEND,
    ]


def test_constant_planes_are_told_below() -> None:
    game = Seen([[1.0] * 3] * 2, [[0, 0, 1], [0, 0, 0]], [[0] * 3] * 2, [[0.5] * 3] * 2)
    assert picture(game) == ["as the first player sees it", ". . 1", ". . .", "everywhere: 0,3=0.5", LEGEND]


@pytest.mark.parametrize("shape", [(2, 19, 19), (2, 26, 38)])
def test_boards_that_fit_are_drawn(shape: tuple[int, ...]) -> None:
    rows = [" ".join("." * shape[2])] * shape[1]
    assert picture(Seen(*torch.zeros(shape).tolist())) == ["as the first player sees it", *rows, LEGEND]


@pytest.mark.parametrize("shape", [(2, 27, 3), (2, 3, 39), (6,), (3, 3), (1, 2, 3, 3)])
def test_of_all_others_the_fields_are_shown(shape: tuple[int, ...]) -> None:
    assert picture(Seen(*torch.zeros(shape).tolist())) == ["coins: 5", "purses: [0.0, 0.0]"]


def test_wide_cells_may_not_fit() -> None:
    columns = 20
    game = Seen([[0.0, *[1] * columns]])
    assert picture(game)[1] == ". " + " ".join(["0"] * columns)
    game = Seen([[0.0, *[0.25] * columns]])
    assert picture(game) == ["coins: 5", "purses: [0.0, 0.0]"]


def test_in_a_game_for_one_the_player_has_no_number() -> None:
    game = Seen([[0.0, 1]])
    game.num_players = 1  # type: ignore[misc]
    assert picture(game) == ["as the player sees it", ". 0", LEGEND]
    assert picture(Drift())[0].startswith("position: ")


def test_no_board_is_taken_for_one_of_x_and_o() -> None:
    """Not even an empty one, whose last line has as many words as the board has columns."""
    game = Seen(*[[[0.0] * 8] * 8] * 2)
    assert len(LEGEND.split()) == 8
    assert read_grid(draw(game, game.initial(1))) is None


def test_faults_are_shown_as_boards_and_faults_of_observe_as_fields() -> None:
    state = tic_tac_toe_board("x . . / . . . / . . .")
    one = Positions(state, *(torch.zeros(1, dtype=torch.int64) for _ in range(2)), state.done)
    with pytest.raises(ConformanceError, match=r"wrong \(state 0 at ply 0\)\nas the second player sees it\n1 \. \."):
        Probe(Plain()).require(torch.tensor([False]), "wrong", one)
    game = Plain()
    game.observe = lambda state: 1 / 0  # type: ignore[method-assign,assign,return-value]
    with pytest.raises(
        ConformanceError, match=r"wrong \(state 0 at ply 0\)\nmine: 0\ntheirs: 1\nturn: 1\ndone: False$"
    ):
        Probe(game).require(torch.tensor([False]), "wrong", one)


def test_fields_have_a_line_each() -> None:
    assert draw(Coins(), STATE) == "coins: 0\npurses: [0.0, 1.0]"
