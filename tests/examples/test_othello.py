"""Othello against published counts on the full board, and on six by six cells against rules written plainly."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alphazero.game import check_game, take
from alphazero.game.grid import read_grid
from alphazero.game.loading import load_game
from examples.othello import Othello, Othello8, OthelloState

SIDE = 6
GAME = Othello()
Cell = tuple[int, int]  # row and column
Board = dict[Cell, int]  # whose disc lies where: 0 or 1


# The rules once more, a cell at a time.


def start() -> Board:
    return {(2, 3): 0, (3, 2): 0, (2, 2): 1, (3, 3): 1}


def turned(board: Board, player: int, cell: Cell) -> set[Cell]:
    """The discs that a disc of the player on this cell would turn over."""
    found: set[Cell] = set()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            line: list[Cell] = []
            row, column = cell[0] + down, cell[1] + right
            while board.get((row, column)) == 1 - player:
                line.append((row, column))
                row, column = row + down, column + right
            if board.get((row, column)) == player:
                found.update(line)
    return found


def places(board: Board, player: int) -> list[Cell]:
    cells = [(row, column) for row in range(SIDE) for column in range(SIDE)]
    return [cell for cell in cells if cell not in board and turned(board, player, cell)]


def played(board: Board, player: int, cell: Cell) -> Board:
    return board | dict.fromkeys({cell, *turned(board, player, cell)}, player)


def over(board: Board) -> bool:
    return not places(board, 0) and not places(board, 1)


def state_of(board: Board, player: int) -> OthelloState:
    sides = [sum(1 << SIDE * row + column for (row, column), who in board.items() if who == side) for side in (0, 1)]
    mine, theirs = sides[player], sides[1 - player]
    fields = (torch.tensor([value]) for value in (mine, theirs, player, over(board)))
    state = OthelloState(*fields)
    return state._replace(turn=state.turn.to(torch.int8))


def test_both_sizes_keep_the_promises_and_are_found_by_name() -> None:
    for path in ("examples.othello:Othello", "examples.othello:Othello8"):
        check_game(load_game(path), games=16)


def test_the_full_board_has_as_many_games_as_published() -> None:
    """At nine plies the first passes are among them (https://aartbik.blogspot.com/2009/02/perft-for-reversi.html)."""
    game, counts = Othello8(), []
    states = game.initial(1)
    for _ in range(8):
        index, action = game.legal(states).nonzero().unbind(1)
        counts.append(len(action))
        states = game.step(take(states, index), action).state
    counts.append(int(game.legal(states).sum()))
    assert counts == [4, 12, 56, 244, 1396, 8200, 55092, 390216, 3005288]


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_whole_games_go_as_the_plain_rules_say(chance: random.Random) -> None:
    board, player, state = start(), 0, GAME.initial(1)
    while True:
        assert [int(field[0]) for field in state] == [int(field[0]) for field in state_of(board, player)]
        if over(board):
            break
        cells = places(board, player)
        expected = [SIDE * row + column for row, column in cells] or [SIDE * SIDE]
        assert GAME.legal(state)[0].nonzero()[:, 0].tolist() == expected
        number = chance.randrange(len(expected))
        state, reward, done = GAME.step(state, torch.tensor([expected[number]]))
        board = played(board, player, cells[number]) if cells else board
        mover, player = player, 1 - player
        lead = sum(1 if who == mover else -1 for who in board.values()) if over(board) else 0
        assert (float(reward), bool(done)) == ((lead > 0) - (lead < 0), over(board))


def test_the_counts_of_the_small_board_are_those_of_the_plain_rules() -> None:
    nodes, states, plain, counts = [(start(), 0)], GAME.initial(1), [], []
    for _ in range(5):
        nodes = [(played(board, player, cell), 1 - player) for board, player in nodes for cell in places(board, player)]
        plain.append(len(nodes))
        index, action = GAME.legal(states).nonzero().unbind(1)
        counts.append(len(action))
        states = GAME.step(take(states, index), action).state
    assert counts == plain


PERFECT = """
    28  9  8  7 31 32
    22 14  1  4 17 16
    27 13  o  x  6 15
    19  2  x  o  5 12
    24 23  3 10 26 29
    21 18 20 11 25 30
"""


def test_a_game_of_perfect_play_ends_as_published() -> None:
    """With 16 discs to 20: J. Feinstein, https://www.maths.nottingham.ac.uk/plp/pmzjff/Othello/6x6sol.html.

    The numbers are those of the moves; passes have none.
    """
    cells = PERFECT.split()
    order = sorted((int(number), cell) for cell, number in enumerate(cells) if number.isdecimal())
    state = GAME.initial(1)
    for _, cell in order:
        if GAME.legal(state)[0, GAME.parse_action("pass")]:
            state = GAME.step(state, torch.tensor([GAME.parse_action("pass")])).state
        assert GAME.legal(state)[0, cell]
        state, _, done = GAME.step(state, torch.tensor([cell]))
    assert done
    board = GAME.render(state)
    assert (board.count("x"), board.count("o")) == (16, 20)


FIRST = """\
1 . . . . . .
2 . . x . . .
3 . . x x . .
4 . . x o . .
5 . . . . . .
6 . . . . . .
  a b c d e f"""


def test_names_and_pictures() -> None:
    assert [GAME.action_name(action) for action in (0, 5, 6, 35, 36)] == ["a1", "f1", "a2", "f6", "pass"]
    assert Othello8().action_name(63) == "h8"
    start = GAME.initial(1)
    names = [GAME.action_name(action) for action in GAME.legal(start)[0].nonzero()[:, 0].tolist()]
    assert names == ["c2", "b3", "e4", "d5"]
    assert GAME.render(start).splitlines()[2:4] == ["3 . . o x . .", "4 . . x o . ."]
    state = GAME.step(start, torch.tensor([GAME.parse_action("c2")])).state
    assert GAME.render(state) == FIRST
    assert read_grid(GAME.render(state)) is not None
    assert GAME.observe(state)[0].sum((1, 2)).tolist() == [1, 4]


def test_the_heuristic_counts_corners_and_moves() -> None:
    """Of the player to move; the first has a corner, and both the same number of moves."""
    board = {(0, 0): 0, (0, 1): 1, (5, 5): 0}
    assert (len(places(board, 0)), len(places(board, 1))) == (1, 0)
    for player in (0, 1):
        guess = float(GAME.heuristic(state_of(board, player)))
        assert guess == pytest.approx((1 - 2 * player) * torch.tensor(2 * 0.25 + 0.05).tanh().item())


def test_keys_are_numbers_to_base_three_with_the_player_to_move() -> None:
    """The greatest: 36 discs of the opponent, and the second player to move."""
    full = dict.fromkeys(((row, column) for row in range(SIDE) for column in range(SIDE)), 0)
    assert int(GAME.key(state_of(full, 1))) == 2 * (3**36 - 1) + 1
    single = [state_of({cell: owner}, player) for cell in full for owner in (0, 1) for player in (0, 1)]
    assert len({int(GAME.key(state)) for state in single}) == len(single) == 144
    assert GAME.has_key
    assert not Othello8().has_key
