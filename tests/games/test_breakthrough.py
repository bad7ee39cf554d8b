"""Breakthrough against OpenSpiel, and positions as pictures."""

from __future__ import annotations

import re

import pytest
import torch

from alphazero.game import check_game, concatenate, named_fields, num_actions, random_actions
from alphazero.game.grid import read_grid
from alphazero.game.loading import load_game
from alphazero.game.record import Record
from benchmarks.rules import PAIRS, Pair, play_beside
from games.breakthrough import (
    Breakthrough,
    BreakthroughState,
    legal_compiled,
    legal_in_tensors,
    step_in_tensors,
)


def position(picture: str, turn: int) -> tuple[Breakthrough, BreakthroughState]:
    """A game of the picture's size, and the unfinished position in the picture; x moves up."""
    cells = [line.split() for line in picture.strip().splitlines()]
    boards = [torch.tensor([[[cell == mark for cell in line] for line in cells]]) for mark in "xo"]
    mine, theirs = (board.flip(1) for board in reversed(boards)) if turn else boards
    state = BreakthroughState(mine, theirs, torch.tensor([turn], dtype=torch.int8), torch.tensor([False]))
    game = Breakthrough(len(cells), len(cells[0]))
    assert game.render(state).split("\n")[0].split()[1:] == cells[0]
    return game, state


def outcomes(game: Breakthrough, state: BreakthroughState) -> dict[str, float]:
    """The reward of each legal move, by its name; it ends the game exactly where it wins."""
    found = {}
    for action in game.legal(state)[0].nonzero()[:, 0].tolist():
        _, reward, done = game.step(state, torch.tensor([action]))
        assert bool(done) == (float(reward) == 1)
        found[game.action_name(action)] = float(reward)
    return found


@pytest.mark.parametrize(("rows", "columns"), [(3, 2), (5, 4), (6, 6), (8, 8), (16, 16)])
def test_all_sizes_keep_the_promises_and_are_found_by_name(rows: int, columns: int) -> None:
    game = load_game(f"games.breakthrough:Breakthrough(rows={rows}, columns={columns})")
    assert game.name == f"breakthrough_{rows}x{columns}"
    check_game(game, games=16)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((2, 6), "rows must be a whole number from 3 to 16, is 2"),
        ((17, 6), "rows must be a whole number from 3 to 16, is 17"),
        ((6, 1), "columns must be a whole number from 2 to 16, is 1"),
        ((6, 17), "columns must be a whole number from 2 to 16, is 17"),
        ((6.0, 6), "rows must be a whole number from 3 to 16, is 6.0"),
        ((6, "6"), "columns must be a whole number from 2 to 16, is '6'"),
    ],
)
def test_other_sizes_are_refused(size: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Breakthrough(*size)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if "break" in pair.peer], ids=lambda pair: pair.peer)
def test_whole_games_go_as_in_openspiel(pair: Pair) -> None:
    """And the rules in tensors are the compiled ones; `benchmarks/rules.py` plays more."""
    assert play_beside(pair, games=300, seed=1) > 300 * 10


@pytest.mark.parametrize(("rows", "columns"), [(3, 2), (6, 6), (7, 5)])
def test_the_compiled_rules_are_those_in_tensors(rows: int, columns: int) -> None:
    """Of games that go on, and of those that are over, where any action must do."""
    game, generator = Breakthrough(rows, columns), torch.Generator().manual_seed(0)
    state = game.initial(128)
    while not state.done.all():
        assert torch.equal(legal_compiled(state), legal_in_tensors(state))
        any_action = torch.randint(num_actions(game), state.done.shape, generator=generator)
        action = torch.where(state.done, any_action, random_actions(game, state, generator))
        compiled, tensors = (named_fields(step(state, action)) for step in (game.step, step_in_tensors))
        for name, field in compiled.items():
            torch.testing.assert_close(field, tensors[name], rtol=0, atol=0, msg=name)
        state = game.step(state, action).state


MIDDLE = """
    . o . . o
    . . . . .
    o . o . .
    x o x . .
    . x x . .
    x . . . .
"""


def test_pieces_move_ahead_and_capture_diagonally_alone() -> None:
    x, o = (outcomes(*position(MIDDLE, turn)) for turn in (0, 1))
    assert set(x) == {"a1a2", "c2b3", "c2d3", "a3b4", "c3b4", "c3d4"}
    assert set(o) == {"b6a5", "b6b5", "b6c5", "e6d5", "e6e5", "c4d3", "b3a2", "b3c2"}


ENDS = """
    . . . .
    x . o .
    . o . .
    . . . x
"""


def test_who_reaches_the_other_end_wins() -> None:
    x, o = (outcomes(*position(ENDS, turn)) for turn in (0, 1))
    assert x == {"a3a4": 1, "a3b4": 1, "d1c2": 0, "d1d2": 0}
    assert o == {"b2a1": 1, "b2b1": 1, "b2c1": 1, "c3c2": 0, "c3d2": 0}


def test_who_captures_the_last_piece_wins() -> None:
    picture = """
        . . . .
        . o . .
        x . . .
        . . . .
    """
    assert outcomes(*position(picture, 0)) == {"a2a3": 0, "a2b3": 1}
    assert outcomes(*position(picture, 1)) == {"b3a2": 1, "b3b2": 0, "b3c2": 0}


def test_names_and_pictures() -> None:
    game = Breakthrough()
    record = Record(game, "a2b3 f5e4")
    assert record.moves == "a2b3 f5e4"
    assert game.render(record.state).split("\n") == [
        "6 o o o o o o",
        "5 o o o o o .",
        "4 . . . . o .",
        "3 . x . . . .",
        "2 . x x x x x",
        "1 x x x x x x",
        "  a b c d e f",
    ]
    assert read_grid(game.render(record.state)) is not None
    legal = [{game.action_name(a) for a in game.legal(s)[0].nonzero()[:, 0].tolist()} for s in record.states[:2]]
    assert {"a2a3", "a2b3", "f2e3"} <= legal[0]
    assert {"a5a4", "a5b4", "f5e4"} <= legal[1]
    assert [len(names) for names in legal] == [16, 16]


def test_both_players_see_themselves_move_up() -> None:
    picture = """
        o . o
        . o .
        . x .
        x . x
    """
    (game, first), (_, second) = (position(picture, turn) for turn in (0, 1))
    assert torch.equal(game.observe(first), game.observe(second))
    legal = game.legal(concatenate([first, second])).view(2, 2, -1)
    assert torch.equal(legal[0, 0], legal[1, 1])
    assert not legal[0, 1].any()
    assert not legal[1, 0].any()


def test_boards_of_less_than_six_rows_begin_with_one_row_each() -> None:
    assert Breakthrough(5, 3).render(Breakthrough(5, 3).initial(1)).split("\n")[:5] == [
        "5 o o o",
        "4 . . .",
        "3 . . .",
        "2 . . .",
        "1 x x x",
    ]


def test_the_heuristic_counts_pieces_and_the_furthest_row() -> None:
    """x: two pieces, the furthest two rows ahead; o: three pieces, the furthest one."""
    picture = """
        o . o .
        . o . .
        x . . .
        . . . .
        . x . .
    """
    for turn, sign in ((0, 1), (1, -1)):
        game, state = position(picture, turn)
        expected = torch.tensor(sign * (10 * (2 - 3) + 2.5 * (2 - 1)) / 40).tanh().item()
        assert float(game.heuristic(state)) == pytest.approx(expected)


def test_keys_tell_who_moves() -> None:
    picture = """
        o o
        . .
        x x
    """
    keys = [int(game.key(state)) for game, state in (position(picture, turn) for turn in (0, 1))]
    boards = 3**4 + 3**5 + 2 * (3**0 + 3**1)  # which both see alike
    assert keys == [2 * boards, 2 * boards + 1]
    assert [Breakthrough(6, 6).has_key, Breakthrough(8, 8).has_key] == [True, False]
