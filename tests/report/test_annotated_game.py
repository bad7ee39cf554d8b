"""Annotated games whose moves, values and boards are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from alphazero.game import Game, concatenate, num_actions
from alphazero.replay import no_actions
from alphazero.report import annotated_game
from alphazero.report.annotated_game import AnnotatedGame
from alphazero.report.colours import AMBER, BLUE, BOARD
from alphazero.report.position_figures import png
from alphazero.selfplay import Trajectories
from games.connect_four import ConnectFour
from games.hex import Hex
from games.tic_tac_toe import TicTacToe
from tests.stubs import Mine


def played(
    game: Game, moves: Sequence[str], values: Sequence[float], policies: Sequence[dict[str, float]]
) -> Trajectories:
    """The game of these moves from the start; values for the player to move, policies by action name."""
    states, rewards, state = [], [], game.initial(1)
    for move in moves:
        states.append(state)
        state, reward, _ = game.step(state, torch.tensor([game.parse_action(move)]))
        rewards.append(float(reward))
    policy = torch.zeros(len(moves), num_actions(game))
    for row, named in zip(policy, policies, strict=True):
        for name, probability in named.items():
            row[game.parse_action(name)] = probability
    every = concatenate(states)
    return Trajectories(
        states=type(every)(*(field[None] for field in every)),
        action=torch.tensor([[game.parse_action(move) for move in moves]]),
        policy=policy[None],
        root_value=torch.tensor([list(values)]),
        reward=torch.tensor([rewards]),
        surprise=torch.zeros(1, len(moves)),
        mover=game.to_play(every)[None].to(torch.int8),
        sampled=no_actions(1, len(moves)),
        length=torch.tensor([len(moves)]),
    )


def diagonal() -> Trajectories:
    """x takes a1, b2 and c3, while o looks on from the top."""
    policies = [{"a1": 1.0}, {"a3": 0.5, "b3": 0.25, "c3": 0.25}, {"b2": 0.75, "c2": 0.25}, {"b3": 1.0}, {"c3": 1.0}]
    return played(TicTacToe(), ["a1", "a3", "b2", "b3", "c3"], [0.1, -0.2, 0.3, -0.4, 0.999], policies)


def test_text_shows_each_move_with_its_policy_and_the_first_players_value() -> None:
    assert AnnotatedGame(TicTacToe(), diagonal(), "a game").text().split("\n") == [
        "a game: 5 moves, x wins",
        "values: the search's, for x (the first player): +1 a win, −1 a loss",
        "",
        "3 . . .",
        "2 . . .",
        "1 . . .",
        "  a b c",
        "",
        "1. x plays a1    value +0.10    policy a1 100 %",
        "3 . . .",
        "2 . . .",
        "1 x . .",
        "  a b c",
        "",
        "2. o plays a3    value +0.20    policy a3 50 %  b3 25 %  c3 25 %",
        "3 o . .",
        "2 . . .",
        "1 x . .",
        "  a b c",
        "",
        "3. x plays b2    value +0.30    policy b2 75 %  c2 25 %",
        "3 o . .",
        "2 . x .",
        "1 x . .",
        "  a b c",
        "",
        "4. o plays b3    value +0.40    policy b3 100 %",
        "3 o o .",
        "2 . x .",
        "1 x . .",
        "  a b c",
        "",
        "5. x plays c3    value +1.00    policy c3 100 %",
        "3 o o x",
        "2 . x .",
        "1 x . .",
        "  a b c",
        "",
    ]


@pytest.mark.parametrize(
    ("game", "moves", "outcome"),
    [
        (ConnectFour(), "1213141", "x wins"),
        (ConnectFour(), "21315121", "o wins"),
        (TicTacToe(), ["b2", "a1", "c1", "a3", "a2", "c2", "b3", "b1", "c3"], "a draw"),
    ],
)
def test_the_outcome(game: Game, moves: Sequence[str], outcome: str) -> None:
    annotated = AnnotatedGame(game, played(game, moves, [0.0] * len(moves), [{}] * len(moves)), "a game")
    assert annotated.outcome == outcome
    assert annotated.summary == f"a game: {len(moves)} moves, {outcome}"


def patches(figure: Figure, style: str) -> list[tuple[float, float, float]]:
    """Middle x, middle y and height of the boards' patches with this colour, or of the rings."""
    found = []
    for collection in figure.axes[0].collections:
        assert isinstance(collection, PatchCollection)
        is_ring = len(collection.get_facecolor()) == 0
        colour = "ring" if is_ring else to_hex(collection.get_facecolor()[0], keep_alpha=len(style) == 9)
        if colour == style:
            boxes = [path.get_extents() for path in collection.get_paths()]
            found += [((b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2, b.height) for b in boxes]
    return found


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_every_board_rings_the_move_in_its_cell() -> None:
    figure = AnnotatedGame(TicTacToe(), diagonal(), "a game").figure()
    assert figure is not None
    png(figure, dpi=40)
    assert words(figure)[::2] == ["start", "1  x a1", "2  o a3", "3  x b2", "4  o b3", "5  x c3"]
    assert words(figure)[1::2] == ["", "+0.10", "+0.20", "+0.30", "+0.40", "+1.00"]
    # All six boards stand in one row, four cells apart; y points downwards.
    places = [(x - 4 * board, y) for board, (x, y, _) in enumerate(patches(figure, "ring"), start=1)]
    top = min(y for _, y in places)
    assert [(round(x - 0.5), round(y - top)) for x, y in places] == [(0, 2), (0, 0), (1, 1), (1, 0), (2, 0)]


def test_rows_of_hexagons_lean() -> None:
    """A board is four cells wide, of which the lowest row begins with the second; boards stand five cells apart."""
    game = Hex(side=3)
    figure = AnnotatedGame(game, played(game, ["a1", "a3", "c2"], [0.0] * 3, [{}] * 3), "a game").figure()
    assert figure is not None
    places = [(x - 5 * board - 0.5, y) for board, (x, y, _) in enumerate(patches(figure, "ring"), start=1)]
    top = min(y for _, y in places)
    assert [(x, y - top) for x, y in places] == [pytest.approx(place) for place in ((0, 0), (1, 2), (2.5, 1))]


def test_dots_are_as_large_as_the_policy_of_the_moves_not_played() -> None:
    figure = AnnotatedGame(TicTacToe(), diagonal(), "a game").figure()
    assert figure is not None
    dots = {round(x - 0.5 - 8): height for x, _, height in patches(figure, f"{AMBER}70")}  # on the board after o's a3
    assert sorted(dots) == [1, 2]
    disc = max(height for _, _, height in patches(figure, AMBER))
    for height in dots.values():
        assert (height / disc) ** 2 == pytest.approx(0.25, rel=0.1)


def test_bars_above_the_columns_are_the_policy() -> None:
    game = ConnectFour()
    policies = [{"4": 0.6, "3": 0.3, "5": 0.1}, {"1": 0.2, "4": 0.8}]
    figure = AnnotatedGame(game, played(game, "44", [0.0, 0.0], policies), "a game").figure()
    assert figure is not None
    png(figure, dpi=40)
    assert words(figure)[2:9] == list("1234567")
    # Bars of x's move stand above the second board, eight cells to the right; so does o's above the third.
    boards = min(y - height / 2 for _, y, height in patches(figure, BOARD) if height > 1)
    bars = [patch for colour in (BLUE, f"{BLUE}70") for patch in patches(figure, colour)]
    heights = {round(x - 8 + 0.5): height for x, y, height in bars if y < boards}
    assert sorted(heights) == [1, 2, 3, 4, 5, 6, 7]
    assert heights[4] / heights[3] == pytest.approx(2)
    assert heights[3] / heights[5] == pytest.approx(3)


def test_the_strip_shows_the_first_players_values_and_the_result() -> None:
    game = ConnectFour()
    figure = AnnotatedGame(game, played(game, "21315121", [0.1, 0.2] * 4, [{}] * 8), "a game").figure()
    assert figure is not None
    line, ending, result = figure.axes[1].lines[:3]
    np.testing.assert_allclose(line.get_ydata(), [0.1, -0.2] * 4)
    np.testing.assert_allclose(ending.get_ydata(), [-0.2, -1])
    assert list(result.get_xdata()) == [9]
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["o wins", "even", "x wins"]


def test_a_long_game_shows_fewer_boards_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotated_game, "MOST_BOARDS", 4)
    figure = AnnotatedGame(TicTacToe(), diagonal(), "a game").figure()
    assert figure is not None
    assert words(figure)[::2] == ["start", "1  x a1", "3  x b2", "5  x c3"]
    assert "one board for 2 moves" in figure.texts[1].get_text()


class Described(TicTacToe):
    """Renders as text that is not a grid."""

    def render(self, state: object) -> str:
        return "a position\nin words"


def test_a_game_that_renders_no_grid_has_text_alone() -> None:
    annotated = AnnotatedGame(Described(), diagonal(), "a game")
    assert annotated.figure() is None
    assert "2. the second player plays a3    value +0.20" in annotated.text()
    assert "values: the search's, for the first player: +1 a win" in annotated.text()


def test_a_game_for_one_has_a_return() -> None:
    game = Mine()
    annotated = AnnotatedGame(game, played(game, ["1", "1", "0"], [0.4, 0.5, 0.25], [{"1": 1.0}] * 3), "a game")
    assert annotated.outcome == "a reward of 0.2"  # two steps at 0.05 each, and the purse of 0.3
    assert "3. 0    value +0.25    policy 1 100 %" in annotated.text()


def test_a_game_without_moves_is_an_error() -> None:
    with pytest.raises(ValueError, match="a game: there is no move to show"):
        AnnotatedGame(TicTacToe(), diagonal()._replace(length=torch.tensor([0])), "a game")
