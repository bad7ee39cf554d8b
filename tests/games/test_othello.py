"""Othello against OpenSpiel, published counts and solutions, and against rules written plainly, a cell at a time."""

from __future__ import annotations

import random
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alphazero.game import State, check_game, named_fields, num_actions, random_actions, take
from alphazero.game.grid import read_grid
from alphazero.game.loading import load_game
from benchmarks.rules import PAIRS, play_beside
from games.othello import (
    Othello,
    OthelloState,
    legal_compiled,
    legal_in_tensors,
    step_in_tensors,
)
from tests.solving import values_of_first_moves

GAME = Othello()
Cell = tuple[int, int]  # row and column
Board = dict[Cell, int]  # whose disc lies where: 0 or 1


# The rules once more, a cell at a time.


def start(side: int) -> Board:
    low, high = side // 2 - 1, side // 2
    return {(low, high): 0, (high, low): 0, (low, low): 1, (high, high): 1}


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


def places(board: Board, player: int, side: int) -> list[Cell]:
    cells = [(row, column) for row in range(side) for column in range(side)]
    return [cell for cell in cells if cell not in board and turned(board, player, cell)]


def played(board: Board, player: int, cell: Cell) -> Board:
    return board | dict.fromkeys({cell, *turned(board, player, cell)}, player)


def over(board: Board, side: int) -> bool:
    return not places(board, 0, side) and not places(board, 1, side)


def state_of(board: Board, player: int, side: int = 6) -> OthelloState:
    def rows(owner: int) -> list[int]:
        return [sum(1 << column for column in range(side) if board.get((row, column)) == owner) for row in range(side)]

    mine, theirs = (torch.tensor([rows(owner)], dtype=torch.int32) for owner in (player, 1 - player))
    return OthelloState(mine, theirs, torch.tensor([player], dtype=torch.int8), torch.tensor([over(board, side)]))


@pytest.mark.parametrize("side", [4, 6, 8, 10, 16])
def test_all_sizes_keep_the_promises_and_are_found_by_name(side: int) -> None:
    game = load_game(f"games.othello:Othello(side={side})")
    assert game.name == f"othello_{side}x{side}"
    check_game(game, games=16)


@pytest.mark.parametrize("side", [0, -4, 2, 5, 7, 18, 6.0, "6", True])
def test_other_sizes_are_refused(side: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"side must be an even number from 4 to 16, is {side!r}")):
        Othello(side)  # type: ignore[arg-type]


def test_whole_games_go_as_in_openspiel() -> None:
    """And the rules in tensors are the compiled ones; `benchmarks/rules.py` plays more."""
    for pair in PAIRS:
        if "othello" in pair.peer:
            assert play_beside(pair, games=300, seed=1) > 300 * 58


@pytest.mark.parametrize("side", [4, 6, 8, 16])
def test_the_compiled_rules_are_those_in_tensors(side: int) -> None:
    """Of games that go on, and of those that are over, where any action must do."""
    game, generator, passes = Othello(side), torch.Generator().manual_seed(0), 0
    state = game.initial(128)
    while not state.done.all():
        legal = legal_in_tensors(state)
        assert torch.equal(legal_compiled(state), legal)
        passes += int(legal[~state.done, -1].sum())
        any_action = torch.randint(num_actions(game), state.done.shape, generator=generator)
        action = torch.where(state.done, any_action, random_actions(game, state, generator))
        compiled, tensors = (named_fields(step(state, action)) for step in (game.step, step_in_tensors))
        for name, field in compiled.items():
            torch.testing.assert_close(field, tensors[name], rtol=0, atol=0, msg=name)
        state = game.step(state, action).state
    assert passes


def test_the_full_board_has_as_many_games_as_published() -> None:
    """At nine plies the first passes are among them (https://aartbik.blogspot.com/2009/02/perft-for-reversi.html)."""
    game, counts = Othello(side=8), []
    states = game.initial(1)
    for _ in range(8):
        index, action = game.legal(states).nonzero().unbind(1)
        counts.append(len(action))
        states = game.step(take(states, index), action).state
    counts.append(int(game.legal(states).sum()))
    assert counts == [4, 12, 56, 244, 1396, 8200, 55092, 390216, 3005288]


def test_perfect_play_on_the_smallest_board_ends_as_published() -> None:
    """3 discs to 11, whatever the first move, all four being the same (Wikipedia, "Computer Othello")."""

    def lead(state: State, reward: Tensor) -> Tensor:
        discs = game.observe(state).sum((2, 3))
        return discs[:, 1] - discs[:, 0]

    game = Othello(side=4)
    assert values_of_first_moves(game, lead) == dict.fromkeys(("b1", "a2", "d3", "c4"), 3 - 11)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([4, 6, 8, 12]), st.randoms(use_true_random=False))
def test_whole_games_go_as_the_plain_rules_say(side: int, chance: random.Random) -> None:
    game, board, player = Othello(side), start(side), 0
    state = game.initial(1)
    while True:
        assert [field.tolist() for field in state] == [field.tolist() for field in state_of(board, player, side)]
        if over(board, side):
            break
        cells = places(board, player, side)
        expected = [side * row + column for row, column in cells] or [side * side]
        assert game.legal(state)[0].nonzero()[:, 0].tolist() == expected
        number = chance.randrange(len(expected))
        state, reward, done = game.step(state, torch.tensor([expected[number]]))
        board = played(board, player, cells[number]) if cells else board
        mover, player = player, 1 - player
        lead = sum(1 if who == mover else -1 for who in board.values()) if over(board, side) else 0
        assert (float(reward), bool(done)) == ((lead > 0) - (lead < 0), over(board, side))


def test_the_counts_of_the_small_board_are_those_of_the_plain_rules() -> None:
    nodes, states, plain, counts = [(start(6), 0)], GAME.initial(1), [], []
    for _ in range(5):
        nodes = [
            (played(board, player, cell), 1 - player) for board, player in nodes for cell in places(board, player, 6)
        ]
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
    assert [Othello(side=16).action_name(action) for action in (159, 255, 256)] == ["p10", "p16", "pass"]
    start = GAME.initial(1)
    names = [GAME.action_name(action) for action in GAME.legal(start)[0].nonzero()[:, 0].tolist()]
    assert names == ["c2", "b3", "e4", "d5"]
    assert GAME.render(start).splitlines()[2:4] == ["3 . . o x . .", "4 . . x o . ."]
    state = GAME.step(start, torch.tensor([GAME.parse_action("c2")])).state
    assert GAME.render(state) == FIRST
    assert GAME.observe(state)[0].sum((1, 2)).tolist() == [1, 4]
    large = read_grid(Othello(side=10).render(Othello(side=10).initial(1)))
    assert large is not None
    assert large.cells[4:6] == ["....ox....", "....xo...."]
    assert (large.row_names, large.column_names) == ([str(row) for row in range(1, 11)], list("abcdefghij"))


def test_the_heuristic_counts_corners_and_moves() -> None:
    """Of the player to move; the first has two corners and one move, the other neither."""
    board = {(0, 0): 0, (0, 1): 1, (5, 5): 0}
    assert (len(places(board, 0, 6)), len(places(board, 1, 6))) == (1, 0)
    for player in (0, 1):
        guess = float(GAME.heuristic(state_of(board, player)))
        assert guess == pytest.approx((1 - 2 * player) * torch.tensor(2 * 0.25 + 0.05).tanh().item())


def test_keys_are_numbers_to_base_three_with_the_player_to_move() -> None:
    """The greatest: 36 discs of the opponent, and the second player to move."""
    full = dict.fromkeys(((row, column) for row in range(6) for column in range(6)), 0)
    assert int(GAME.key(state_of(full, 1))) == 2 * (3**36 - 1) + 1
    single = [state_of({cell: owner}, player) for cell in full for owner in (0, 1) for player in (0, 1)]
    assert len({int(GAME.key(state)) for state in single}) == len(single) == 144
    assert [Othello(side).has_key for side in (4, 6, 8)] == [True, True, False]
