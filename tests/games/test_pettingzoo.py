"""PettingZoo's board games say what our own rules and python-chess say; others are refused with the reason."""

from __future__ import annotations

import pickle
import sys

import pytest
import torch

from alphazero.game import Game, as_game, check_game, load_game
from games.connect_four import ConnectFour
from games.pettingzoo import PettingZoo
from games.tic_tac_toe import TicTacToe

chess = pytest.importorskip("chess")
pytest.importorskip("pettingzoo")


@pytest.mark.parametrize(("env", "max_moves"), [("tictactoe_v3", 9), ("connect_four_v3", 42), ("chess_v6", 3)])
def test_games_keep_every_promise(env: str, max_moves: int) -> None:
    check_game(PettingZoo(env, max_moves), games=2)


@pytest.mark.parametrize(
    ("theirs", "ours", "cells"),
    [
        ("connect_four_v3", ConnectFour(), list(range(7))),
        (
            "tictactoe_v3",
            TicTacToe(),
            [3 * row + column for column in range(3) for row in range(3)],
        ),  # column by column
    ],
)
def test_they_play_our_own_games_as_we_do(theirs: str, ours: Game, cells: list[int]) -> None:
    """`cells`: our number of each of their actions."""
    game, generated = as_game(PettingZoo(theirs)), torch.Generator().manual_seed(0)
    now, expected, numbers = game.initial(20), ours.initial(20), torch.tensor(cells)
    while not bool(expected.done.all()):
        running = ~expected.done
        assert torch.equal(game.legal(now)[running], ours.legal(expected)[running][:, numbers])
        assert torch.equal(game.to_play(now)[running], ours.to_play(expected)[running])
        seen, planes = game.observe(now)[running], ours.observe(expected)[running]
        if theirs == "tictactoe_v3":
            planes = planes.transpose(2, 3)
        assert torch.equal(seen, planes)
        action = ours.actions.random(ours.legal(expected), generated)
        now, *outcome = game.step(now, numbers.argsort()[action])
        expected, *expected_outcome = ours.step(expected, action)
        assert all(map(torch.equal, outcome, expected_outcome))


def test_chess_ends_with_the_fool_s_mate() -> None:
    """1. f3 e5 2. g4 Qh4#, the shortest game; python-chess says how many moves each position has."""
    rules = PettingZoo("chess_v6")
    position, board = rules.initial(), chess.Board()
    for name in ("f2f3", "e7e5", "g2g4", "d8h4"):
        assert len(rules.legal_actions(position)) == board.legal_moves.count()
        assert rules.to_play(position) == (0 if board.turn else 1)
        board.push_uci(name)
        followers = [rules.play(position, action) for action in rules.legal_actions(position)]
        before, position = position, next(p for p in followers if p.env.board.board_fen() == board.board_fen())
    assert rules.finished(position)
    assert rules.reward(before, 0, position) == 1.0


def test_another_process_makes_the_environment_anew() -> None:
    again = pickle.loads(pickle.dumps(PettingZoo("tictactoe_v3", 9)))
    assert (again.name, again.max_moves) == ("tictactoe_v3", 9)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("chess", "PettingZoo has no classic environment 'chess', but chess_v6, connect_four_v3, "),
        ("leduc_holdem_v4", "leduc_holdem_v4 cannot be played: it hides information"),
    ],
)
def test_what_cannot_be_played_is_refused_with_the_reason(env: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_game(f"games.pettingzoo:PettingZoo({env!r})")


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.setitem(sys.modules, "pettingzoo.classic", None)
    with pytest.raises(ValueError, match=r'pip install "alphazero-engine\[pettingzoo\]"'):
        PettingZoo("chess_v6")
