"""Figures of positions show the game's own words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from alphazero.report.position_figures import board_figure, pixels, png, policy_heatmap
from games.connect_four import ConnectFour
from games.hex import Hex
from games.tic_tac_toe import TicTacToe


def _texts(figure: Figure) -> set[str]:
    png(figure)  # draws the figure, which also fills in the ticks
    return {text.get_text() for axes in figure.axes for text in [axes.title, *axes.texts, *axes.get_yticklabels()]}


def test_a_board_figure_says_whose_value_it_is_and_shows_legal_moves() -> None:
    game = TicTacToe()
    state = game.step(game.initial(1), torch.tensor([4])).state
    texts = _texts(board_figure(game, state, torch.full((9,), 0.1), -0.314))
    assert {"value for o, to move: −0.31", "x", "a1", " 10 %"} <= texts
    assert "b2" not in texts


def test_rows_of_hexagons_lean() -> None:
    game = Hex(side=3)
    board = board_figure(game, game.initial(1), torch.full((9,), 1 / 9), 0.0).axes[0]
    middles = [patch.center for patch in board.patches if isinstance(patch, Circle)]
    assert middles == [(column + row / 2, 2 - row) for row in range(3) for column in range(3)]
    names = {text.get_text(): text.get_position() for text in board.texts}
    assert [names[row][0] for row in "123"] == pytest.approx([-0.9, -0.4, 0.1])
    assert [names[column][0] for column in "abc"] == [1.5, 2.5, 3.5]


class Described(TicTacToe):
    """Renders as text that is not a grid."""

    def render(self, state: object) -> str:
        return "a position\nin words"


def test_a_board_figure_falls_back_on_text() -> None:
    game = Described()
    texts = _texts(board_figure(game, game.initial(1), np.full(9, 1 / 9), 0.5))
    assert {"a position\nin words", "value for the first player, to move: +0.50"} <= texts


class Priced(Described):
    """Names and draws in dollars; between two of them matplotlib would see mathematics, and fail of this one."""

    def render(self, state: object) -> str:
        return r"$\x$"

    def action_name(self, action: int) -> str:
        return rf"${action}\x$"


def test_dollars_are_dollars() -> None:
    game = Priced()
    texts = _texts(board_figure(game, game.initial(1), np.full(9, 1 / 9), 0.5))
    assert {r"\$\x\$", r"\$8\x\$"} <= texts  # escaped, as matplotlib wants it
    png(policy_heatmap(game, {0: np.full((1, 9), 1 / 9)}))


def test_a_board_figure_of_a_finished_game() -> None:
    game = TicTacToe()
    state = game.initial(1)
    for action in (0, 1, 2, 4, 3, 5, 7, 6, 8):
        state = game.step(state, torch.tensor([action])).state
    assert "no legal move" in _texts(board_figure(game, state, torch.zeros(9), 0.0))


def test_a_heatmap_has_a_panel_a_position_with_a_row_an_iteration() -> None:
    policies = {iteration: np.random.default_rng(iteration).dirichlet(np.ones(7), 5) for iteration in (0, 20, 40)}
    figure = policy_heatmap(ConnectFour(), policies)
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_title()]
    assert [image.get_array().shape for image in images] == [(3, 7)] * 5
    np.testing.assert_array_equal(images[4].get_array()[1], policies[20][4])
    assert pixels(figure).shape[2] == 3
