"""OpenSpiel's games: they say what OpenSpiel and our own rules say, and those that cannot be played are refused."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import pytest
import torch

from alphazero.game import Game, check_game, load_game, random_actions
from alphazero.game.batched import BatchedGame
from games.connect_four import ConnectFour
from games.open_spiel import OpenSpiel, playable
from games.tic_tac_toe import TicTacToe

pyspiel = pytest.importorskip("pyspiel")

# `benchmarks/python_games.py open_spiel` checks all of them, and trains them.
QUICK = ("tic_tac_toe", "connect_four", "clobber", "dots_and_boxes", "nim", "mancala", "oware", "cliff_walking")
WITH_PARAMETERS = (
    "hex(board_size=4)",
    "breakthrough(rows=5,columns=4)",
    "misere(game=tic_tac_toe())",
    "go(board_size=3)",
)


def path_of(game: str) -> str:
    return f"games.open_spiel:OpenSpiel({game!r})"


@pytest.mark.parametrize("game", [*QUICK, *WITH_PARAMETERS])
def test_games_keep_every_promise(game: str) -> None:
    check_game(load_game(path_of(game)), games=4)


def test_all_games_that_fit_are_found() -> None:
    """Two players or one who move in turn, no chance, nothing hidden, observed as tensors, and no file to read."""
    names = playable()
    assert len(names) >= 29
    assert {"chess", "go", "othello", "hex", "breakthrough", "checkers", "mancala", "pentago"} <= set(names)
    assert {"backgammon", "kuhn_poker", "phantom_ttt", "goofspiel", "efg_game"}.isdisjoint(names)


@pytest.mark.parametrize(
    ("theirs", "ours", "planes"), [("tic_tac_toe", TicTacToe(), (1, 2)), ("connect_four", ConnectFour(), (0, 1))]
)
def test_they_play_our_own_games_as_we_do(theirs: str, ours: Game, planes: tuple[int, int]) -> None:
    """Their planes belong to the two players, ours to the one to move and the other; their rows may be upside down."""
    game, generated = load_game(path_of(theirs)), torch.Generator().manual_seed(0)
    now, expected = game.initial(100), ours.initial(100)
    while not bool(expected.done.all()):
        running = ~expected.done
        assert torch.equal(game.legal(now)[running], ours.legal(expected)[running])
        assert torch.equal(game.to_play(now)[running], ours.to_play(expected)[running])
        action = ours.actions.random(ours.legal(expected), generated)
        now, *outcome = game.step(now, action)
        expected, *expected_outcome = ours.step(expected, action)
        assert all(map(torch.equal, outcome, expected_outcome))
        seen, ours_seen = game.observe(now)[~expected.done], ours.observe(expected)[~expected.done]
        assert torch.equal(seen[:, -1, 0, 0], ours.to_play(expected)[~expected.done].float())
        assert torch.equal(seen[:, list(planes)].sum((1, 2, 3)), ours_seen.sum((1, 2, 3)))


@pytest.mark.parametrize("name", ["othello", "hex(board_size=5)", "cliff_walking", "gomoku(size=5)"])
def test_a_game_is_openspiel_s(name: str) -> None:
    game, rng = load_game(path_of(name)), random.Random(1)
    assert isinstance(game, BatchedGame)
    theirs, now, total = pyspiel.load_game(name).new_initial_state(), game.initial(1), 0.0
    while not theirs.is_terminal():
        player = theirs.current_player()
        assert game.to_play(now).tolist() == [player]
        assert game.legal(now)[0].nonzero()[:, 0].tolist() == theirs.legal_actions()
        seen = game.observe(now)[0].numpy()
        if game.num_players == 2:
            assert np.all(seen[-1] == player)
            seen = seen[:-1]
        assert seen.ravel().tolist() == pytest.approx(theirs.observation_tensor(player))
        assert game.render(now) == str(theirs)
        action = rng.choice(theirs.legal_actions())
        theirs.apply_action(action)
        now, reward, _ = game.step(now, torch.tensor([action]))
        total += float(reward) * (1 if player == 0 else -1)
    assert now.done.tolist() == [True]
    most = max(1, abs(theirs.get_game().min_utility()), abs(theirs.get_game().max_utility()))
    assert total == pytest.approx(theirs.returns()[0] / most, abs=1e-5)


def test_boards_are_plain_text() -> None:
    """OpenSpiel paints some boards in colours, which neither figures nor files have."""
    game = load_game(path_of("twixt"))
    assert "\x1b" in str(pyspiel.load_game("twixt").new_initial_state())
    assert "\x1b" not in game.render(game.initial(1))


def test_no_game_is_longer_than_the_limit() -> None:
    game = load_game("games.open_spiel:OpenSpiel('go(board_size=5)', max_moves=10)")
    state = game.initial(20)
    for _ in range(10):
        assert not bool(state.done.all())
        state = game.step(state, random_actions(game, state, torch.Generator().manual_seed(0))).state
    assert bool(state.done.all())
    assert state.moves.shape == (20, 10)


@pytest.mark.parametrize(
    ("game", "names"),
    [
        ("hex(board_size=2)", ["a1", "b1", "a2", "b2"]),
        ("tic_tac_toe", [f"({row},{column})" for row in range(3) for column in range(3)]),  # without x and o
        ("nim(pile_sizes=1;2)", ["pile:1,_take:1;", "pile:2,_take:1;", "2", "pile:2,_take:2;"]),  # 2: never legal
        ("quoridor", ["0", "1"]),  # a pawn's move and a wall's share their names
    ],
)
def test_actions_have_openspiel_s_names_where_they_tell_them_apart(game: str, names: list[str]) -> None:
    rules = OpenSpiel(game)
    assert [rules.action_name(action) for action in range(len(names))] == names


@pytest.mark.parametrize(
    ("game", "message"),
    [
        ("hexx", "OpenSpiel has no game 'hexx'; did you mean hex?"),
        ("hex(size=3)", "cannot load 'hex(size=3)': Unknown parameter 'size'. Available parameters are: board_size"),
        ("hex(", "OpenSpiel cannot load 'hex(': Missing closing bracket"),
        ("misere(game=hexx())", "OpenSpiel cannot load 'misere(game=hexx())': Unknown game 'hexx'."),
        ("backgammon", "backgammon cannot be played: it has chance, which search would foresee"),
        ("phantom_ttt", "phantom_ttt cannot be played: it hides information from players, which search would see"),
        ("goofspiel", "goofspiel cannot be played: its players move at the same time"),
        ("chinese_checkers(players=3)", "has 3 players; only games for one or two can be played"),
        ("dots_and_boxes(num_rows=2000,num_cols=2000)", "cannot be played: it has"),
        ("hex(board_size=0)", "hex(board_size=0) cannot be played: it has 0 actions"),
        ("misere(game=efg_game(filename=/etc/passwd))", "misere reads a file, which may be a stranger's"),
    ],
)
def test_what_cannot_be_played_is_refused_with_the_reason(game: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"cannot|no game|only games|reads") as refused:
        load_game(path_of(game))
    assert message in str(refused.value)


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(ValueError, match=r'pip install "alphazero-engine\[open_spiel\]"'):
        OpenSpiel("hex")


def test_arguments_are_those_of_the_configuration() -> None:
    game: Any = load_game(path_of("breakthrough(rows=5,columns=4)"))
    assert game.observation_shape == (4, 5, 4)
